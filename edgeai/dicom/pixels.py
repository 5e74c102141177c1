"""A file's pixels as Frames, one at a time: as stored where grey, as RGB where colour."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from edgeai.api.errors import ConfigError, PixelsRejected
from edgeai.api.imaging import Frame
from edgeai.api.results import Note
from edgeai.api.tensors import Array
from edgeai.dicom import codecs, colour, fastpath
from edgeai.dicom.codecs import Decoded
from edgeai.dicom.codestream import bare_codestream, read_codestream
from edgeai.dicom.doubles import PIXEL_DATA_TWICE
from edgeai.dicom.encapsulated import frame_fragments, read_fragments
from edgeai.dicom.header import Header, read_header
from edgeai.dicom.layout import GREY, PixelLayout, check
from edgeai.dicom.limits import PixelLimits
from edgeai.dicom.native import native_frames, says_too_few_bits, significant
from edgeai.dicom.notes import DOUBLED, DOUBTFUL


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeOptions:
    """What to decode, and which shortcuts are allowed.

    Attributes:
        fast: names out of ``fastpath.NAMES``: all of them change the numbers. A frame that has no
            such shortcut is decoded exactly.
        min_rows, min_columns: what the model takes in; ``reduced`` keeps at least twice that, ``smallest`` at least
            that, and both do nothing while either is 0.
        frames: frame numbers from 1, or ``None`` for all. Each comes once, in ascending order.
    """

    fast: frozenset[str] = frozenset()
    min_rows: int = 0
    min_columns: int = 0
    frames: Sequence[int] | None = None


_TOO_FEW_BITS: Final = Note(
    code=DOUBTFUL, text="Bits Stored (0028,0101) is less than the values there are need; what is above was cut off"
)
_TWICE: Final = Note(code=DOUBLED, text=f"{PIXEL_DATA_TWICE}, with the same value")
_DEFAULT_OPTIONS = DecodeOptions()
_DEFAULT_LIMITS = PixelLimits()


def read_frames(
    path: str | os.PathLike[str],
    options: DecodeOptions = _DEFAULT_OPTIONS,
    *,
    header: Header | None = None,
    limits: PixelLimits = _DEFAULT_LIMITS,
    known: Callable[[int], Frame | None] | None = None,
) -> Iterator[Frame]:
    """Decode frames lazily. Overlays are ignored.

    Grey frames hold stored values in native dtype: float32 or float64 for (Double) Float Pixel Data, uint8
    for single bits, and a read-only view of the mapped file where it is uncompressed, so the file must stay
    as it is. Colour frames are RGB, uint8 or uint16: palettes applied, YBR converted (JPEG by libjpeg's own
    integer arithmetic, within one grey level of the Standard's equations).

    What the header alone can tell is refused here; what the pixel data shows, when its frame is reached.

    Args:
        path: a DICOM file.
        options: what to decode, and how.
        header: what ``read_header`` gave for this file, if it was read already.
        limits: of what is decoded at all.
        known: asked for each frame when its turn comes; one that it gives is not decoded, but handed on as it is.

    Raises:
        DicomRejected: as ``read_header``, when no header is given.
        DicomRejected: ``dicom.structure``, when the first frame of a deflated data set is reached: behind the pixels
            stands something else that there may be one of.
        PixelsRejected: the pixel data is not what the header promises; the code says how.
        ConfigError: ``config.unknown-fast-path``.
    """
    if unknown := options.fast - fastpath.NAMES:
        raise ConfigError(
            f"no fast path is called {', '.join(sorted(unknown))}",
            code="config.unknown-fast-path",
            remedy=f"use {' or '.join(sorted(fastpath.NAMES))}",
        )
    header = header or read_header(path)
    layout = _checked(header, limits)
    numbers = _numbers(options.frames, layout)
    if known is None:
        return _frames(path, options, header, layout, numbers)
    # Frames are asked for one by one, so that none is read ahead that turns out to be known.
    asked: deque[int] = deque()
    decoded = _frames(path, options, header, layout, iter(asked.popleft, 0))
    return _unless_known(known, numbers, asked, decoded)


def read_stored(
    path: str | os.PathLike[str],
    *,
    frames: Sequence[int] | None = None,
    header: Header | None = None,
    limits: PixelLimits = _DEFAULT_LIMITS,
) -> Iterator[Array]:
    """Stored values as the codec gives them: no colour conversion, no palette. Raises as ``read_frames``."""
    header = header or read_header(path)
    layout = _checked(header, limits)
    numbers = _numbers(frames, layout)
    if layout.syntax.codec == "native":
        return (significant(values, layout) for _, values, _ in _native(path, layout, numbers))
    return (_decode(data, layout).values for _, data, _ in _compressed(path, layout, numbers))


def _checked(header: Header, limits: PixelLimits) -> PixelLayout:
    if header.pixels is None:
        raise PixelsRejected("the instance has no Pixel Data", code="pixels.none")
    check(header.pixels, limits)
    return header.pixels


def _numbers(frames: Sequence[int] | None, layout: PixelLayout) -> Sequence[int]:
    if frames is None:
        return range(1, layout.frames + 1)
    numbers = sorted(set(frames))
    if numbers and not (numbers[0] >= 1 and numbers[-1] <= layout.frames):
        raise PixelsRejected(
            f"frames {numbers[0]} to {numbers[-1]} were asked for, there are {layout.frames}",
            code="pixels.no-such-frame",
        )
    return numbers


def _unless_known(
    known: Callable[[int], Frame | None],
    numbers: Iterable[int],
    asked: deque[int],
    decoded: Generator[Frame, None, None],
) -> Iterator[Frame]:
    with closing(decoded):
        for number in numbers:
            frame = known(number)
            if frame is None:
                asked.append(number)
                frame = next(decoded)
            yield frame


def _frames(
    path: str | os.PathLike[str], options: DecodeOptions, header: Header, layout: PixelLayout, numbers: Iterable[int]
) -> Generator[Frame, None, None]:
    if layout.syntax.codec == "native":
        for number, values, notes in _native(path, layout, numbers):
            decoded = Decoded(values, layout.photometric_interpretation, notes)
            yield _frame(header, layout, number, _cut(decoded, layout))
        return
    for number, data, notes in _compressed(path, layout, numbers):
        stream = read_codestream(data, layout)
        shortcut = fastpath.plan(layout, stream, options.fast, options.min_rows, options.min_columns)
        halvings = 0
        if shortcut is not None and stream is not None:
            decoded, halvings = Decoded(*fastpath.decode_shortcut(data, layout, stream, shortcut)), shortcut.halvings
        elif layout.syntax.codec == "jpeg" and stream is not None and codecs.converts_itself(layout, stream):
            decoded = Decoded(codecs.jpeg_rgb(data, layout), "RGB")
        else:
            decoded = _decode(data, layout)
        if notes:
            decoded = replace(decoded, notes=(*decoded.notes, *notes))
        yield _frame(header, layout, number, decoded, halvings)


def _native(
    path: str | os.PathLike[str], layout: PixelLayout, numbers: Iterable[int]
) -> Iterator[tuple[int, Array, tuple[Note, ...]]]:
    """(number, stored values, notes) of each frame. What stands behind a plain file's pixels its header has told."""
    notes: tuple[Note, ...] = ()
    if layout.syntax.deflated:
        from edgeai.dicom.deflated import notes_behind  # hardly anybody deflates

        notes = notes_behind(path, layout)
    for number, values in native_frames(path, layout, numbers):
        yield number, values, notes


def _compressed(
    path: str | os.PathLike[str], layout: PixelLayout, numbers: Iterable[int]
) -> Iterator[tuple[int, bytes, tuple[Note, ...]]]:
    """(number, codestream, notes) of each frame, read when its turn comes."""
    # Unbuffered: item headers lie far apart, and a frame is read at once.
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - making a path takes as long as finding a fragment
        fragments = frame_fragments(file, layout)
        notes = (_TWICE,) if fragments.are_doubled else ()
        for number in numbers:
            yield number, bare_codestream(read_fragments(file, fragments.frames[number - 1]), layout), notes


def _decode(data: bytes, layout: PixelLayout) -> Decoded:
    return _cut(codecs.decode_frame(data, layout, read_codestream(data, layout)), layout)


def _cut(decoded: Decoded, layout: PixelLayout) -> Decoded:
    """Only the bits up to High Bit; what else is there is told, where it looks as if it belonged to the values."""
    kept = significant(decoded.values, layout)
    if kept is decoded.values:
        return decoded
    notes = (*decoded.notes, _TOO_FEW_BITS) if says_too_few_bits(decoded.values, layout) else decoded.notes
    return replace(decoded, values=kept, notes=notes)


def _frame(header: Header, layout: PixelLayout, number: int, decoded: Decoded, halvings: int = 0) -> Frame:
    values, photometric = decoded.values, decoded.photometric_interpretation
    bits = layout.bits_stored
    if photometric == "PALETTE COLOR":
        values, bits = colour.palette_to_rgb(values, layout)
        photometric = "RGB"
    elif photometric in ("YBR_FULL", "YBR_FULL_422"):
        values, photometric = colour.ybr_to_rgb(values), "RGB"
    elif photometric not in (*GREY, "RGB"):
        raise PixelsRejected(f"decoded to {photometric}, which is not understood", code="pixels.photometric")
    geometry, grayscale = header.of_frame(number)
    if halvings:
        geometry = fastpath.reduced_geometry(geometry, layout, halvings)
    return Frame(
        pixels=np.ascontiguousarray(values),
        number=number,
        geometry=geometry,
        instance=header.instance,
        photometric_interpretation=photometric,
        bits_stored=bits,
        grayscale=grayscale,
        notes=decoded.notes,
    )
