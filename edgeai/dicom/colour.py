"""Decoded colour to RGB (PS3.3 C.7.6.3.1.2 and C.7.9)."""

from __future__ import annotations

from functools import cache

import numpy as np

from edgeai.api.errors import PixelsRejected
from edgeai.api.tensors import Array
from edgeai.dicom.layout import Palette, PixelLayout


@cache
def _chroma() -> tuple[Array, Array, Array]:
    """What Cr adds to red, (Cb, Cr) to green and Cb to blue: the inverse of C.7.6.3.1.2, rounded half up.

    Y is whole, so rounding its sum is rounding the other term, and three look-ups replace a floating-point
    matrix. Whole-numbered fractions, because one pair (178, 78) lies on a tie that floats miss.
    """
    offset = np.arange(-128, 128)
    red = _rounded(1402 * offset, 1000)
    blue = _rounded(1772 * offset, 1000)
    green = _rounded(-114 * 1772 * offset[:, None] - 299 * 1402 * offset[None, :], 587 * 1000)
    return red, green.ravel(), blue


def _rounded(numerator: Array, denominator: int) -> Array:
    rounded: Array = (2 * numerator + denominator) // (2 * denominator)
    return rounded.astype(np.int16)


def ybr_to_rgb(pixels: Array) -> Array:
    """YBR_FULL (rows, columns, 3) uint8 -> RGB of the same shape.

    Raises:
        PixelsRejected: ``pixels.photometric``, more than 8 bits a sample.
    """
    if pixels.dtype != np.uint8:
        raise PixelsRejected("YBR_FULL with more than 8 bits a sample", code="pixels.photometric")
    red, green, blue = _chroma()
    luma = pixels[..., 0].astype(np.int16)
    cb, cr = pixels[..., 1], pixels[..., 2]
    rgb = np.empty(pixels.shape, dtype=np.uint8)
    both = cb.astype(np.uint16) << 8 | cr
    for index, plane in enumerate((red[cr], green[both], blue[cb])):
        plane += luma
        np.clip(plane, 0, 255, out=plane)
        rgb[..., index] = plane
    return rgb


def palette_to_rgb(pixels: Array, layout: PixelLayout) -> tuple[Array, int]:
    """PALETTE COLOR indices -> RGB, and the bits of one sample.

    Entries stay as wide as the palette makes them: uint8 up to 8 bits, else uint16 (C.7.9.1). Indices below
    the first mapped value take the first entry, those above the last take the last (C.7.6.3.1.5).

    Raises:
        PixelsRejected: ``pixels.palette``.
    """
    palette = layout.palette
    if palette is None:
        raise PixelsRejected("PALETTE COLOR without a palette", code="pixels.palette")
    tables, first, bits = _tables(palette)
    index = np.clip(pixels.astype(np.int32) - first, 0, tables.shape[0] - 1)
    rgb: Array = tables[index]
    return rgb, bits


def _tables(palette: Palette) -> tuple[Array, int, int]:
    """(entries, 3), the first value mapped and the bits an entry."""
    if len(set(palette.descriptors)) != 1:
        raise PixelsRejected("the three palettes have different descriptors", code="pixels.palette")
    entries, first, bits = palette.descriptors[0]
    planes = [expand_segments(data.tolist(), entries) if palette.segmented else data for data in palette.data]
    if any(plane.size != entries for plane in planes):
        raise PixelsRejected(f"a palette that does not have its {entries} entries", code="pixels.palette")
    tables = np.stack(planes, axis=-1)
    if bits <= 8 and int(tables.max()) > 0xFF:
        raise PixelsRejected("a palette of 8 bits with entries that need more", code="pixels.palette")
    return tables.astype(np.uint8 if bits <= 8 else np.uint16), first, 8 if bits <= 8 else 16


def expand_segments(words: list[int], entries: int) -> Array:
    """A segmented palette (C.7.9.2) written out.

    Raises:
        PixelsRejected: ``pixels.palette``, damaged or longer than ``entries``.
    """
    values: list[int] = []
    try:
        position = 0
        while position < len(words):
            position = _segment(words, position, values, entries, nested=False)
    except IndexError:
        raise PixelsRejected("a segmented palette that ends inside a segment", code="pixels.palette") from None
    return np.array(values, dtype=np.uint16)


def _segment(words: list[int], position: int, values: list[int], entries: int, *, nested: bool) -> int:
    """Append one discrete (0), linear (1) or indirect (2) segment to ``values``; where the next one begins."""
    kind, length = words[position], words[position + 1]
    if kind == 0:
        values += [words[position + 2 + number] for number in range(length)]
        position += 2 + length
    elif kind == 1 and values:
        start, end = values[-1], words[position + 2]
        values += [round(start + (end - start) * step / length) for step in range(1, length + 1)]
        position += 3
    elif kind == 2 and not nested:
        target = (words[position + 2] | words[position + 3] << 16) // 2  # a byte offset into words
        for _ in range(length):
            target = _segment(words, target, values, entries, nested=True)
        position += 4
    else:
        raise PixelsRejected(f"a segmented palette with a segment of kind {kind}", code="pixels.palette")
    if len(values) > entries:
        raise PixelsRejected(f"a segmented palette with more than {entries} entries", code="pixels.palette")
    return position
