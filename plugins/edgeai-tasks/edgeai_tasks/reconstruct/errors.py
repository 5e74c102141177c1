"""How far a picture is from its reconstruction: at each pixel, and in one number."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeai.api import Array

Map: TypeAlias = npt.NDArray[np.float64]


def error_map(picture: Array, made: Array, *, squared: bool, smooth_px: int) -> Map:
    """(rows, columns): the mean over its colours, and over a square about it as far as the picture reaches.

    Args:
        picture: (rows, columns) or (rows, columns, colours), as the model saw it.
        made: likewise, as the model gave it.
        squared: whether the square of the distance counts.
        smooth_px: side of the square, odd.
    """
    error = np.abs(picture.astype(np.float64) - made.astype(np.float64))
    if squared:
        error *= error
    if error.ndim == 3:
        error = error.mean(axis=2)
    return error if smooth_px == 1 else _boxed(_boxed(error, smooth_px // 2, 0), smooth_px // 2, 1)


def score_of(errors: Map, part: float) -> float:
    """The mean of the largest so large a part, of one pixel at least."""
    count = max(1, math.ceil(errors.size * part - 1e-9))
    if count == errors.size:
        return float(errors.mean())
    return float(np.partition(errors.ravel(), errors.size - count)[-count:].mean())


def cells_of(errors: Map, most: int) -> Map:
    """(fewer rows, fewer columns): the mean over equal parts, of which so many lie along the longer side at most."""
    share = min(1.0, most / max(errors.shape))
    rows, columns = (_edges(extent, max(1, round(extent * share))) for extent in errors.shape)
    sums = np.add.reduceat(np.add.reduceat(errors, rows[:-1], axis=0), columns[:-1], axis=1)
    means: Map = sums / np.outer(np.diff(rows), np.diff(columns))
    return means


def _edges(extent: int, parts: int) -> npt.NDArray[np.intp]:
    return np.linspace(0, extent, parts + 1).round().astype(np.intp)


def _boxed(values: Map, half: int, axis: int) -> Map:
    """The mean of so many neighbours on either side, and of the value itself, along an axis."""
    length = values.shape[axis]
    sums = np.cumsum(values, axis=axis)
    sums = np.concatenate((np.zeros_like(np.take(sums, [0], axis=axis)), sums), axis=axis)
    low = np.clip(np.arange(length) - half, 0, length)
    high = np.clip(np.arange(length) + half + 1, 0, length)
    shape = [1, 1]
    shape[axis] = length
    means: Map = (np.take(sums, high, axis=axis) - np.take(sums, low, axis=axis)) / (high - low).reshape(shape)
    return means
