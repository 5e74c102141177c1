"""What stands behind the pixels of a deflated data set (PS3.5 A.5): held against them as in a plain file.

It can be found only by inflating all of the pixels, which nobody should have to do for a header: so it is looked for
when the pixels are decoded.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from edgeai.api.errors import DicomRejected
from edgeai.api.results import Note
from edgeai.dicom.attributes import Attributes
from edgeai.dicom.doubles import MOST_PIXEL_DATA, ONE_OF_A_KIND, PIXEL_DATA_TWICE, compare, two_kinds
from edgeai.dicom.encoding import PIXEL_DATA_TAGS, Element
from edgeai.dicom.header import is_implicit
from edgeai.dicom.layout import PixelLayout
from edgeai.dicom.limits import HeaderLimits
from edgeai.dicom.notes import DOUBLED, Notes
from edgeai.dicom.prefix import Inflater, Prefix, Reader
from edgeai.dicom.walk import Walker
from edgeai.dicom.walkstate import structure

_PART_BYTES: Final = 1024 * 1024
_LIMITS: Final = HeaderLimits()


class _Onwards:
    """A reader that begins with bytes which were read ahead."""

    def __init__(self, ahead: bytes, reader: Reader) -> None:
        self._ahead, self._reader = ahead, reader

    def read(self, size: int, /) -> bytes:
        """As ``Reader``."""
        part, self._ahead = self._ahead[:size], self._ahead[size:]
        return part if len(part) == size else part + self._reader.read(size - len(part))


def notes_behind(path: str | os.PathLike[str], layout: PixelLayout) -> tuple[Note, ...]:
    """What stands behind the pixels once more, with the same value.

    Whatever does not hold together there was read by nobody, and says nothing.

    Raises:
        DicomRejected: ``dicom.structure``: there are other Pixel Data, or another value of what there may be one of.
    """
    with Path(path).open("rb") as file:
        file.seek(layout.deflated_from)
        stream = Prefix(Inflater(file), _LIMITS.max_header_bytes)
        implicit = is_implicit(stream, layout.syntax)
        dataset, pixels, rest = _elements(stream, implicit=implicit)
        first = _digest(rest, pixels.length) if pixels else ""
        if pixels is None or not first:
            return ()  # cut since its header was read: whoever decodes the frames says so
        for _ in range(MOST_PIXEL_DATA):
            try:
                behind, again, rest = _elements(Prefix(rest, _LIMITS.max_header_bytes), implicit=implicit)
            except DicomRejected:
                break
            compare(dataset, behind)
            if again is None:
                break
            if again.tag != pixels.tag:
                raise two_kinds(pixels, again)
            if again.length != pixels.length or _digest(rest, again.length) != first:
                raise structure(f"{PIXEL_DATA_TWICE}, and they are not the same")
            dataset.notes.add(DOUBLED, f"{PIXEL_DATA_TWICE}, with the same value")
        else:
            raise structure(f"{PIXEL_DATA_TWICE}, and more often than {MOST_PIXEL_DATA} times")
    return dataset.notes.all


def _elements(prefix: Prefix, *, implicit: bool) -> tuple[Attributes, Element | None, Reader]:
    """What there may be one of, the next Pixel Data, and a reader that stands at its value."""
    walker = Walker(prefix, big_endian=False, limits=_LIMITS, size=None)
    elements, pixels = walker.elements(0, implicit=implicit, wanted=ONE_OF_A_KIND, stop=PIXEL_DATA_TAGS)
    ahead = b"" if pixels is None else bytes(prefix.data[pixels.start :])
    return Attributes(prefix, walker, elements, False, Notes()), pixels, _Onwards(ahead, prefix.reader)


def _digest(reader: Reader, length: int) -> str:
    """Of so many bytes; empty where there are fewer."""
    digest = hashlib.sha256()
    while length > 0:
        try:
            part = reader.read(min(length, _PART_BYTES))
        except DicomRejected:
            return ""
        if not part:
            return ""
        digest.update(part)
        length -= len(part)
    return digest.hexdigest()


__all__ = ["notes_behind"]
