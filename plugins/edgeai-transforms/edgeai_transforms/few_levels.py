"""Planes of few levels: their means are fractions, and rounding those to whole numbers would lose the picture.

A plane of single bits shrinks to nothing when the mean of a third of ones is rounded to 0. Where there are few levels,
or the header shows few of them, a plane goes on in float32, with the range that its whole numbers had; everywhere else
in its own dtype, where half a level is nothing.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, Final

import numpy as np

from edgeai.api import Array, Frame

FEW: Final = 64
"""So many levels are few: half of one is 0.8 % of what is seen, or more."""
_WHOLE: Final = tuple(map(np.dtype, ("uint8", "uint16", "int16")))
_SPARSE: Final = 64
"""Rows and columns between pixels that are looked at before all are."""


def stored_range(frame: Frame) -> tuple[int, int]:
    """Least and greatest stored value that Bits Stored and the sign allow."""
    if frame.whole_range is not None:
        return frame.whole_range
    if frame.pixels.dtype.kind == "i":
        return -(2 ** (frame.bits_stored - 1)), 2 ** (frame.bits_stored - 1) - 1
    return 0, 2**frame.bits_stored - 1


def is_whole(frame: Frame) -> bool:
    """Whether its pixels are whole numbers within Bits Stored, or means of such."""
    return frame.pixels.dtype.kind in "iu" or (frame.whole_range is not None and frame.stored_units)


def unrounded(frame: Frame) -> Frame:
    """The frame as float32 where it has few levels; itself everywhere else."""
    kind, size = frame.pixels.dtype.kind, frame.pixels.dtype.itemsize
    if not frame.stored_units or kind not in "iu" or size > 2 or not (_shows_few(frame) or _has_few(frame.pixels)):
        return frame
    return replace(frame, pixels=frame.pixels.astype(np.float32), whole_range=stored_range(frame))


def rounded(frame: Frame) -> Frame:
    """The frame in whole numbers again, for steps that take no others."""
    if frame.whole_range is None or not frame.stored_units or frame.pixels.dtype.kind != "f":
        return frame
    low, high = frame.whole_range
    dtype = next(each for each in _WHOLE if limits(each)[0] <= low and high <= limits(each)[1])
    pixels = np.rint(np.clip(frame.pixels, low, high)).astype(dtype)
    return replace(frame, pixels=pixels, whole_range=None)


@cache
def limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Least and greatest value of a dtype of whole numbers; numpy takes long to say so."""
    known = np.iinfo(dtype)
    return int(known.min), int(known.max)


def _shows_few(frame: Frame) -> bool:
    """Whether the header says that there are few levels, or makes few of them visible."""
    grey = frame.grayscale
    tables = [len(lut.data) for lut in (grey.modality_lut, *grey.voi_luts) if lut is not None]
    slope = abs(grey.rescale_slope) or 1.0
    widths = [] if grey.modality_lut else [window.width / slope for window in grey.windows]
    levels: list[float] = [2.0**frame.bits_stored, *tables, *widths]
    return min(levels) <= FEW


def _has_few(pixels: Array) -> bool:
    # A picture of many levels shows them in a few pixels already, and then the others are not touched here.
    if pixels.size == 0 or _levels(pixels[::_SPARSE, ::_SPARSE]) > FEW:
        return False
    return _levels(pixels) <= FEW


def _levels(pixels: Array) -> int:
    """From the least value to the greatest, both counted."""
    return int(pixels.max()) - int(pixels.min()) + 1
