"""Boxes as arrays: how far they overlap, and which of two sets are the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Boxes: TypeAlias = npt.NDArray[np.float64]
"""(n, 4): x0, y0, x1, y1, outer edges in pixels of one plane."""
Numbers: TypeAlias = npt.NDArray[np.intp]

SAME: Final = 0.5
"""Intersection over union from which two boxes are of the same thing (Everingham et al. 2010, PASCAL VOC)."""


def overlaps(one: Boxes, other: Boxes) -> npt.NDArray[np.float64]:
    """(n, m): intersection over union of each of one with each of the other; 0 where both are without area."""
    low = np.maximum(one[:, np.newaxis, :2], other[np.newaxis, :, :2])
    high = np.minimum(one[:, np.newaxis, 2:], other[np.newaxis, :, 2:])
    both = np.prod(np.clip(high - low, 0.0, None), axis=2)
    union = areas(one)[:, np.newaxis] + areas(other)[np.newaxis, :] - both
    ratio: npt.NDArray[np.float64] = np.divide(both, union, out=np.zeros_like(both), where=union > 0)
    return ratio


def areas(boxes: Boxes) -> npt.NDArray[np.float64]:
    """(n,): in square pixels; 0 of a box that ends before it begins."""
    area: npt.NDArray[np.float64] = np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0.0, None), axis=1)
    return area


def paired(one: Boxes, other: Boxes, least: float = SAME) -> list[tuple[int, int]]:
    """Places in the one and in the other that are of the same thing: the pairs that overlap most first.

    The same pairs whichever of the two comes first, so that agreement is one relation and not two.
    """
    shares = overlaps(one, other)
    pairs = [(int(n), int(m)) for n, m in np.argwhere(shares >= least)]
    pairs.sort(key=lambda pair: (-shares[pair], sorted((tuple(one[pair[0]]), tuple(other[pair[1]])))))
    taken: list[tuple[int, int]] = []
    for n, m in pairs:
        if all(n != first and m != second for first, second in taken):
            taken.append((n, m))
    return taken


def corners(boxes: Boxes) -> npt.NDArray[np.float64]:
    """(n, 4, 2): x and y of each box's corners, in turn around it."""
    return boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]


def carried(boxes: Boxes, move: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]) -> Boxes:
    """The boxes about corners that were moved by ``move``, (n, 2) -> (n, 2): what was turned is in a larger one."""
    moved = move(corners(boxes).reshape(-1, 2)).reshape(-1, 4, 2)
    to: Boxes = np.concatenate((moved.min(axis=1), moved.max(axis=1)), axis=1)
    return to


def clipped(boxes: Boxes, rows: float, columns: float) -> Boxes:
    """The parts of the boxes that lie in a plane of that extent; one that lies beside it has no area left."""
    return np.clip(boxes, 0.0, np.array([columns, rows, columns, rows], np.float64))
