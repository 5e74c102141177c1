"""Boxes as a network gives them: about its own cells or anchors, and how they become corners."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from edgeai_tasks.detect.boxes import Boxes

LARGEST: Final = math.log(1000.0 / 16.0)
"""What a size may be multiplied by at most, as a logarithm: of Detectron2, so that no logit makes an infinite box."""


def about(reference: Boxes, deltas: npt.NDArray[np.float64], scales: tuple[float, ...]) -> Boxes:
    """Boxes that were given about others: ``reference`` (n, 4) and ``deltas`` (n, ..., 4) as x, y, w, h.

    The centre moves by that share of the reference's sides, and the sides grow by that power of e, each divided by its
    scale (Girshick et al., CVPR 2014; the variances 0.1 and 0.2 of SSD are the scales 10 and 5).
    """
    between = (len(reference), *(1,) * (deltas.ndim - 2), 2)
    low, high = reference[:, :2].reshape(between), reference[:, 2:].reshape(between)
    sides = high - low
    moved = deltas / np.asarray(scales, np.float64)
    centre = (low + high) / 2 + moved[..., :2] * sides
    half = np.exp(np.minimum(moved[..., 2:], LARGEST)) * sides / 2
    return np.concatenate((centre - half, centre + half), axis=-1)


def turned(values: npt.NDArray[np.float64], order: str) -> npt.NDArray[np.float64]:
    """Pairs of y and x as pairs of x and y, along the last axis; ``xy`` are left as they are."""
    return values[..., [1, 0, 3, 2]] if order == "yx" else values
