"""How far two sets of outlines lie apart, in pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgeai.api.results import Point

_Points = npt.NDArray[np.float64]


def apart(one: Sequence[Sequence[Point]], other: Sequence[Sequence[Point]]) -> float:
    """The longest way from a point of either to the other's lines (Hausdorff); infinite where one alone is empty."""
    if one == other:
        return 0.0
    if not any(one) or not any(other):
        return math.inf
    return max(_away(one, other), _away(other, one))


def _away(points: Sequence[Sequence[Point]], rings: Sequence[Sequence[Point]]) -> float:
    starts = np.concatenate([np.asarray(ring, np.float64) for ring in rings if ring])
    ways = np.concatenate([np.roll(np.asarray(ring, np.float64), -1, axis=0) for ring in rings if ring]) - starts
    return max(_from(np.asarray(point, np.float64), starts, ways) for ring in points for point in ring)


def _from(point: _Points, starts: _Points, ways: _Points) -> float:
    """To the nearest of these lines, each from its start."""
    lengths = np.maximum((ways**2).sum(axis=1), np.finfo(np.float64).tiny)
    along = np.clip(((point - starts) * ways).sum(axis=1) / lengths, 0.0, 1.0)
    nearest = starts + along[:, np.newaxis] * ways
    return float(np.sqrt(((nearest - point) ** 2).sum(axis=1)).min())
