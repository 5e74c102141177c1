"""The first bytes of a file or of an inflated stream: read as needed, never past a limit."""

from __future__ import annotations

import zlib
from typing import BinaryIO, Protocol

from edgeai.api.errors import DicomRejected

_FIRST_READ_BYTES = 16 * 1024
_INFLATE_INPUT_BYTES = 64 * 1024


class Reader(Protocol):
    """What a prefix is filled from."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; fewer, or none, only at the end."""
        ...


class Inflater:
    """Raw DEFLATE (RFC 1951) as PS3.5 A.5 wants it, never more output at once than was asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._engine = zlib.decompressobj(-zlib.MAX_WBITS)
        self._pending = b""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` inflated bytes; fewer only at the end of the stream.

        Raises:
            DicomRejected: ``dicom.deflate``, the stream is damaged or ends too early.
        """
        parts: list[bytes] = []
        wanted = size
        while wanted > 0 and not self._engine.eof:
            compressed = self._pending or self._file.read(_INFLATE_INPUT_BYTES)
            try:
                part = self._engine.decompress(compressed, wanted)
            except zlib.error as error:
                raise DicomRejected(f"the deflated data set is damaged: {error}", code="dicom.deflate") from error
            self._pending = self._engine.unconsumed_tail
            if not part and not compressed:
                raise DicomRejected("the deflated data set ends too early", code="dicom.deflate")
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)


class Prefix:
    """A growing buffer over a reader.

    Attributes:
        data: the bytes so far; offset 0 is where the reader stood at first.
        reader: where more come from; it stands behind the last byte of ``data``.
    """

    def __init__(self, reader: Reader, max_bytes: int) -> None:
        self.reader = reader
        self._max_bytes = max_bytes
        self._ended = False
        self.data = bytearray()
        self._grow(_FIRST_READ_BYTES)

    def behind(self, start: int) -> Prefix:
        """This one cut at ``start``, which is its offset 0 from now on: what was read is not read again."""
        del self.data[:start]
        return self

    def _grow(self, end: int) -> None:
        # A little past the limit is needed to see the header of the element that follows it.
        wanted = min(max(end, 2 * len(self.data)), self._max_bytes + _FIRST_READ_BYTES) - len(self.data)
        if wanted > 0 and not self._ended:
            part = self.reader.read(wanted)
            self._ended = len(part) < wanted
            self.data += part

    def has(self, end: int) -> bool:
        """Whether there are at least ``end`` bytes. Reads them if so.

        Raises:
            DicomRejected: ``dicom.header-too-large``, more than the limit would be needed.
        """
        if end <= len(self.data):
            return True
        self._grow(end)
        if end <= len(self.data):
            return True
        if not self._ended:
            raise DicomRejected(
                f"the header needs more than {self._max_bytes} bytes before Pixel Data",
                code="dicom.header-too-large",
                remedy="raise max_header_bytes if such files are expected",
            )
        return False

    def need(self, end: int) -> None:
        """Make sure of ``end`` bytes.

        Raises:
            DicomRejected: ``dicom.truncated``, there are fewer; ``dicom.header-too-large`` as ``has``.
        """
        if not self.has(end):
            raise cut_short(end, len(self.data))


def cut_short(needed: int, there: int) -> DicomRejected:
    """What a header is when the file ends inside it."""
    return DicomRejected(
        f"the header is cut short: {needed} bytes are needed, {there} are there", code="dicom.truncated"
    )
