"""Encapsulated Pixel Data (PS3.5 A.4): from fragments to one run of bytes a frame, read only when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import BinaryIO, Final, NamedTuple

import numpy as np

from edgeai.api.errors import PixelsRejected
from edgeai.dicom.doubles import PIXEL_DATA_TWICE, elements_after, same_bytes
from edgeai.dicom.encoding import UNDEFINED
from edgeai.dicom.layout import PixelLayout
from edgeai.dicom.limits import HeaderLimits

_TAG_LENGTH: Final = Struct("<HHL")
_ITEM: Final = (0xFFFE, 0xE000)
_END: Final = (0xFFFE, 0xE0DD)
_STARTS: Final = {
    "jpeg": b"\xff\xd8\xff",
    "jpeg-lossless": b"\xff\xd8\xff",
    "jpeg-ls": b"\xff\xd8\xff",
    "jpeg2000": b"\xff\x4f\xff\x51",
    "htj2k": b"\xff\x4f\xff\x51",
}
_MAX_FRAGMENTS: Final = 1_000_000
_LIMITS: Final = HeaderLimits()


class Fragment(NamedTuple):
    """Where a fragment's bytes lie in the file."""

    offset: int
    length: int


class Fragments(NamedTuple):
    """The fragments of each frame, in frame order; and whether all stand twice in the file."""

    frames: list[Sequence[Fragment]]
    are_doubled: bool


def frame_fragments(file: BinaryIO, layout: PixelLayout) -> Fragments:
    """Which fragments make up which frame. Reads item headers only, unless there are other Pixel Data behind.

    Raises:
        PixelsRejected: ``pixels.short``, the file ends inside; ``pixels.fragments``, fragments and
            frames do not go together; ``pixels.empty``, a frame without bytes; ``pixels.twice``, there are two.
    """
    table, fragments, end = _items(file, layout)
    frames = _group(file, table, fragments, layout)
    for number, frame in enumerate(frames, start=1):
        if not any(fragment.length for fragment in frame):
            raise PixelsRejected(f"frame {number} has no bytes", code="pixels.empty")
    return Fragments(frames, _are_doubled(file, layout, end))


def ends_in_time(file: BinaryIO, layout: PixelLayout) -> bool:
    """Whether the fragments end before the file does, with their delimiter."""
    try:
        _items(file, layout)
    except PixelsRejected as error:
        return error.code != "pixels.short"
    return True


def _are_doubled(file: BinaryIO, layout: PixelLayout, end: int) -> bool:
    """Whether the same Pixel Data follow once more. Of two different ones DCMTK takes the first, pydicom the last."""
    first, length, doubled = layout.offset, end - layout.offset, False
    while end + 8 <= layout.file_bytes:
        _, again, start = elements_after(file, end, layout.file_bytes, False, False, _LIMITS)
        if again is None:
            break
        if doubled or again.length != UNDEFINED or not same_bytes(file, first, start, length):
            raise PixelsRejected(f"{PIXEL_DATA_TWICE}, and they are not the same", code="pixels.twice")
        end, doubled = start + length, True
    return doubled


def read_fragments(file: BinaryIO, fragments: Sequence[Fragment]) -> bytes:
    """The bytes of one frame.

    Raises:
        PixelsRejected: ``pixels.short``, the file has become shorter since its items were walked.
    """
    parts = []
    for fragment in fragments:
        file.seek(fragment.offset)
        left = fragment.length
        while left:  # a file without a buffer gives no more than 2 GiB at a time
            part = file.read(left)
            if not part:
                raise _short()
            left -= len(part)
            parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)  # an empty fragment is no part


def _short() -> PixelsRejected:
    return PixelsRejected("the file ends inside its encapsulated Pixel Data", code="pixels.short")


def _items(file: BinaryIO, layout: PixelLayout) -> tuple[tuple[int, ...], list[Fragment], int]:
    """The Basic Offset Table, every fragment after it, and where they end in the file."""
    position = layout.offset
    fragments: list[Fragment] = []
    while True:
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            raise _short()
        group, element, length = _TAG_LENGTH.unpack(head)
        if (group, element) == _END:
            break
        if (group, element) != _ITEM or length == 0xFFFFFFFF:
            raise PixelsRejected(f"no fragment begins at offset {position}", code="pixels.fragments")
        fragments.append(Fragment(position + 8, length))
        position += 8 + length
        if position > layout.file_bytes:
            raise _short()
        if len(fragments) > _MAX_FRAGMENTS:
            raise PixelsRejected(f"more than {_MAX_FRAGMENTS} fragments", code="pixels.fragments")
    if not fragments:
        raise PixelsRejected("encapsulated Pixel Data without a Basic Offset Table", code="pixels.fragments")
    if fragments[0].length != 4 * layout.frames:
        return (), fragments[1:], position + 8  # empty, or of no use
    raw = read_fragments(file, fragments[:1])
    return tuple(int(offset) for offset in np.frombuffer(raw, dtype="<u4")), fragments[1:], position + 8


def _group(
    file: BinaryIO, table: tuple[int, ...], fragments: list[Fragment], layout: PixelLayout
) -> list[Sequence[Fragment]]:
    """Which fragments make up which frame, by the first rule that applies."""
    frames = layout.frames
    if layout.extended_offsets is not None:
        return _by_extended_offsets(fragments, layout)
    if frames == 1 and fragments:
        return [fragments]
    if len(fragments) == frames:
        return [[fragment] for fragment in fragments]
    if len(table) == frames:
        return _by_offsets(table, fragments)
    starts = _by_start_marker(file, fragments, layout)
    if len(starts) == frames:
        return starts
    raise PixelsRejected(f"{len(fragments)} fragments cannot be shared out to {frames} frames", code="pixels.fragments")


def _by_offsets(table: Sequence[int], fragments: list[Fragment]) -> list[Sequence[Fragment]]:
    """Offsets count from the first fragment's item tag (PS3.5 A.4)."""
    index = {fragment.offset - fragments[0].offset: number for number, fragment in enumerate(fragments)}
    bounds = [index.get(offset, -1) for offset in table]
    ends = [*bounds[1:], len(fragments)]
    if bounds[0] != 0 or any(start < 0 or end <= start for start, end in zip(bounds, ends, strict=True)):
        raise PixelsRejected("the offset table does not point at fragments in order", code="pixels.fragments")
    return [fragments[start:end] for start, end in zip(bounds, ends, strict=True)]


def _by_extended_offsets(fragments: list[Fragment], layout: PixelLayout) -> list[Sequence[Fragment]]:
    """Extended Offset Table (PS3.3 C.7.6.3.1.8): one fragment a frame, and how many of its bytes count."""
    assert layout.extended_offsets is not None
    offsets, lengths = (table.tolist() for table in layout.extended_offsets)
    if len(offsets) != layout.frames or len(lengths) not in (0, layout.frames) or len(fragments) != layout.frames:
        raise PixelsRejected("the Extended Offset Table does not fit the frames", code="pixels.fragments")
    frames = _by_offsets(offsets, fragments)
    if not lengths:
        return frames
    if any(length > frame[0].length for frame, length in zip(frames, lengths, strict=True)):
        raise PixelsRejected("an Extended Offset Table length passes its fragment", code="pixels.fragments")
    return [[Fragment(frame[0].offset, length)] for frame, length in zip(frames, lengths, strict=True)]


def _by_start_marker(file: BinaryIO, fragments: list[Fragment], layout: PixelLayout) -> list[Sequence[Fragment]]:
    """A fragment that begins with the codec's start marker begins a frame."""
    marker = _STARTS.get(layout.syntax.codec)
    frames: list[list[Fragment]] = []
    for fragment in fragments:
        file.seek(fragment.offset)
        if marker is not None and file.read(min(fragment.length, len(marker))) == marker:
            frames.append([])
        if not frames:
            return []
        frames[-1].append(fragment)
    return list(frames)
