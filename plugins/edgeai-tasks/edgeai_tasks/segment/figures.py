"""Figures of masks: overlap, and how far apart the outlines are.

Dice 1945 and Jaccard 1912; Hausdorff distance at the 95th percentile and average symmetric surface distance as in
Metrics Reloaded (Maier-Hein et al., Nature Methods 2024), by SciPy's exact Euclidean distance transform.

Conventions, for one label in one image:

* both masks empty: Dice and IoU 1, distances 0; the model was right that nothing is there.
* one mask empty: Dice and IoU 0, distances the image's diagonal. A miss left out would make the mean look better.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeai.api import EvaluationFailed
from edgeai.api import Flags as Mask
from edgeai_tasks.libraries import needed

OVERLAPS = ("dice", "iou")
DISTANCES = ("hd95", "surface_distance")
NAMES = (*OVERLAPS, *DISTANCES)
_PERCENTILE = 95


def overlap(truth: Mask, drawn: Mask) -> tuple[float, float]:
    """(Dice, intersection over union), 0 to 1.

    Raises:
        EvaluationFailed: ``evaluate.shapes``.
    """
    _check(truth, drawn)
    both, total = int((truth & drawn).sum()), int(truth.sum()) + int(drawn.sum())
    if not total:
        return 1.0, 1.0
    return 2 * both / total, both / (total - both)


def distances(truth: Mask, drawn: Mask, spacing: tuple[float, float] = (1.0, 1.0)) -> tuple[float, float]:
    """(HD95, average symmetric surface distance), in the unit of ``spacing`` (between rows, between columns).

    HD95 is the greater of the two directed 95th percentiles; the average is over the border pixels of both masks.

    Raises:
        EvaluationFailed: ``evaluate.shapes``.
    """
    _check(truth, drawn)
    if not truth.any() or not drawn.any():
        worst = math.hypot(truth.shape[0] * spacing[0], truth.shape[1] * spacing[1])
        return (0.0, 0.0) if truth.any() == drawn.any() else (worst, worst)
    rows, columns = (np.flatnonzero((truth | drawn).any(axis=axis)) for axis in (1, 0))
    cut = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    one, other = (_border(np.pad(mask[cut], 1)) for mask in (truth, drawn))
    there, back = _to(other, spacing)[one], _to(one, spacing)[other]
    hd95 = max(float(np.percentile(there, _PERCENTILE)), float(np.percentile(back, _PERCENTILE)))
    return hd95, float((there.sum() + back.sum()) / (len(there) + len(back)))


def figures_of(
    truth: Mask, drawn: Mask, spacing: tuple[float, float], names: tuple[str, ...] = NAMES
) -> dict[str, float]:
    """Those of ``NAMES`` that are asked for, of one label in one image."""
    wanted: dict[tuple[str, ...], Callable[[], tuple[float, float]]] = {
        OVERLAPS: lambda: overlap(truth, drawn),
        DISTANCES: lambda: distances(truth, drawn, spacing),
    }
    measured: dict[str, float] = {}
    for pair, measure in wanted.items():
        if set(pair) & set(names):
            measured |= dict(zip(pair, measure(), strict=True))
    return {name: measured[name] for name in names}


def _border(mask: Mask) -> Mask:
    """Pixels of the mask that have a side in common with what is outside it."""
    eroded: Mask = needed("scipy.ndimage").binary_erosion(mask)
    return mask & ~eroded


def _to(border: Mask, spacing: tuple[float, float]) -> npt.NDArray[np.float64]:
    """From each pixel to the nearest of the border."""
    transform: Any = needed("scipy.ndimage").distance_transform_edt
    distance: npt.NDArray[np.float64] = transform(~border, sampling=spacing)
    return distance


def _check(truth: Mask, drawn: Mask) -> None:
    if truth.shape != drawn.shape or truth.ndim != 2 or truth.dtype != np.bool_ or drawn.dtype != np.bool_:
        raise EvaluationFailed(
            f"masks do not fit: {truth.dtype}{truth.shape} and {drawn.dtype}{drawn.shape}", code="evaluate.shapes"
        )
