"""Native (uncompressed) Pixel Data, PS3.5 section 8 and annex D: mapped where the bytes already are the pixels."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from edgeai.api.errors import DicomRejected, PixelsRejected
from edgeai.api.tensors import Array
from edgeai.dicom.layout import PixelLayout
from edgeai.dicom.looking import within
from edgeai.dicom.prefix import Inflater

_SKIP_BYTES: Final = 1024 * 1024


def native_frames(
    path: str | os.PathLike[str], layout: PixelLayout, numbers: Iterable[int]
) -> Iterator[tuple[int, Array]]:
    """Number (from 1, ascending) and stored values of these frames, in native byte order.

    A grey frame whose bits need no correction is a read-only view of the mapped file; the file must
    not be cut short while it is in use (the operating system would kill the process).

    Raises:
        PixelsRejected: ``pixels.short`` or ``pixels.surplus``.
    """
    expected = layout.needed_bytes
    _check_length(layout, expected)
    if layout.syntax.deflated:
        with Path(path).open("rb") as file:
            file.seek(layout.deflated_from)
            yield from _deflated(Inflater(file), layout, numbers)
        return
    value = _mapped(path, layout)
    if value[expected + expected % 2 :].any():
        raise _surplus(value.size, expected)
    for number in numbers:
        first, last = _span(layout, number)
        yield number, decode_native(value[first:last], layout, number)


def _check_length(layout: PixelLayout, expected: int) -> None:
    """Hold the element's length against what the header's dimensions need.

    Less than one frame of surplus can be padding (section 8.1.1); then its bytes must be zero, which the
    caller sees to; it may as well have been left out at the file's end. A whole frame more is a frame that the header
    denies, or one that was cut off.
    """
    stated, there = layout.value_bytes or 0, layout.there_bytes
    if there < expected:
        raise _short(there, expected)
    if stated - expected < layout.most_padding:
        return
    if there == stated:
        raise _surplus(stated, expected)
    raise PixelsRejected(
        f"the file ends inside Pixel Data: that states {stated} bytes, {there} are there, "
        f"and the dimensions need {expected}",
        code="pixels.short",
        remedy="have the sender send the instance again; check Rows, Columns and Number of Frames there",
    )


def _mapped(path: str | os.PathLike[str], layout: PixelLayout) -> Array:
    """Pixel Data's bytes, mapped and read-only."""
    with Path(path).open("rb") as file:
        there = os.fstat(file.fileno()).st_size - layout.offset
        if there < layout.needed_bytes:  # cut since its header was read
            raise _short(there, layout.needed_bytes)
        mapped = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)
    return mapped[layout.offset : layout.offset + layout.there_bytes]


def _short(there: int, expected: int) -> PixelsRejected:
    return PixelsRejected(
        f"Pixel Data has {max(there, 0)} bytes, the dimensions need {expected}",
        code="pixels.short",
        remedy="have the sender send the instance again",
    )


def _surplus(there: int, expected: int) -> PixelsRejected:
    return PixelsRejected(
        f"Pixel Data has {there} bytes, the dimensions need only {expected}",
        code="pixels.surplus",
        remedy="check Rows, Columns, Number of Frames and Bits Allocated at the sender",
    )


def _span(layout: PixelLayout, number: int) -> tuple[int, int]:
    """First and one past the last byte that the frame touches; whole words where its bytes are swapped in words."""
    first = (number - 1) * layout.stored_bits
    start, end = first // 8, (first + layout.stored_bits + 7) // 8
    return (start - start % 2, end + end % 2) if layout.swapped_words else (start, end)


def _deflated(stream: Inflater, layout: PixelLayout, numbers: Iterable[int]) -> Iterator[tuple[int, Array]]:
    """Frames out of a deflated data set, inflated no further than the last one asked for."""
    position, held = 0, b""
    for number in numbers:
        first, last = (layout.offset + end for end in _span(layout, number))
        try:
            while position < first:
                skipped = stream.read(min(_SKIP_BYTES, first - position))
                if not skipped:
                    raise _short(position - layout.offset, last - layout.offset)
                position += len(skipped)
                held = skipped[-1:]
            overlap = held if first < position else b""  # single-bit frames share bytes
            raw = overlap + stream.read(last - position)
        except DicomRejected as error:
            raise _short(position - layout.offset, last - layout.offset) from error
        if len(raw) != last - first:
            raise _short(position - layout.offset, last - layout.offset)
        position, held = last, raw[-1:]
        yield number, decode_native(np.frombuffer(raw, dtype=np.uint8), layout, number)


def decode_native(raw: Array, layout: PixelLayout, number: int) -> Array:
    """One frame of bytes -> (rows, columns) or (rows, columns, samples) stored values."""
    if layout.bits_allocated == 1:
        skip = (number - 1) * layout.stored_bits % 8
        bits = np.unpackbits(raw, bitorder="little")  # section 8.1.1: the first pixel is the lowest bit
        return bits[skip : skip + layout.stored_bits].reshape(layout.shape)
    if layout.swapped_words:
        # Big-endian OW holds 8-bit pixels two a word, the second first (annex D.3), whatever frames they are of.
        skip = (number - 1) * layout.stored_bits // 8 % 2
        raw = raw.reshape(-1, 2)[:, ::-1].ravel()[skip : skip + layout.stored_bits // 8]
    if layout.photometric_interpretation == "YBR_FULL_422":
        return _upsample_422(raw, layout)
    stored = raw.view(layout.dtype.newbyteorder(">" if layout.syntax.big_endian else "<"))
    values: Array = stored.astype(layout.dtype, copy=False)
    if layout.samples > 1 and layout.planar == 1:
        planes = values.reshape(layout.samples, layout.rows, layout.columns)
        return np.ascontiguousarray(planes.transpose(1, 2, 0))
    return np.require(values.reshape(layout.shape), requirements=["C", "ALIGNED"])


def _upsample_422(raw: Array, layout: PixelLayout) -> Array:
    """Y1 Y2 Cb Cr for every two pixels (PS3.3 C.7.6.3.1.2); each pair shares its chrominance."""
    pairs = raw.reshape(layout.rows, layout.columns // 2, 4)
    pixels = np.empty((layout.rows, layout.columns // 2, 2, 3), dtype=np.uint8)
    pixels[..., 0] = pairs[..., :2]
    pixels[..., 1:] = pairs[..., None, 2:]
    return pixels.reshape(layout.shape)


def significant(values: Array, layout: PixelLayout) -> Array:
    """Only the bits up to High Bit, sign-extended (section 8.1.1); others may hold anything, old overlays above all.

    The array itself where no other bit is in use, which one pass over it decides.
    """
    if values.dtype.kind == "f" or layout.bits_allocated == 1:
        return values
    above = layout.bits_allocated - 1 - layout.high_bit
    if above == 0 and layout.bits_stored == layout.bits_allocated:
        return values
    if layout.high_bit == layout.bits_stored - 1:
        low, high = layout.stored_range
        if within(values, low if layout.signed else None, high):
            return values
    return (values << above) >> (layout.bits_allocated - layout.bits_stored)


def says_too_few_bits(values: Array, layout: PixelLayout) -> bool:
    """Whether stored values that ``significant`` had to cut mean something above High Bit, as far as one can tell.

    Zeros there and copies of the sign are what writers leave; overlays have their bit position in the header.
    """
    if layout.overlay_bits or layout.high_bit != layout.bits_stored - 1:
        return False
    low, high = layout.stored_range
    if not layout.signed:
        return bool(values.max() > high)
    above = values >> layout.bits_stored  # 0 where the sign was not copied
    is_odd = ((values < low) | (values > high)) & (above != 0)
    return bool(is_odd.any() or (values.min() < 0 and values.max() > high))
