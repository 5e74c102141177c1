"""When two models say the same of where something is: the same labels, in much the same place."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from edgeai.api import Finding, Findings, Region

SAME: Final = 0.8
"""Dice of two outlines from which they are the same place: what differs is a fifth at most of what both have."""

_GRID: Final = 256
"""Cells along the longer side of what both outlines take up."""


def difference(before: Findings, now: Findings) -> str:
    """See ``ComparingTask``."""
    old, new = _by_label(before), _by_label(now)
    for label, frame in {**old, **new}:
        one, other = old.get((label, frame)), new.get((label, frame))
        where = f"{label} in frame {frame}" if frame is not None else label
        if (one is not None and one.present) != (other is not None and other.present):
            return f"{where} is {'stated' if other is not None and other.present else 'stated no longer'}"
        if one is None or other is None or one.region is None or other.region is None or not one.present:
            continue
        overlap = _dice(one.region, other.region)
        if overlap < SAME:
            return f"{where} lies elsewhere, Dice {overlap:.2f}"
    return ""


def _by_label(findings: Findings) -> dict[tuple[str, int | None], Finding]:
    return {(finding.label, finding.frame_number): finding for finding in findings if finding.kind == "segment"}


def _dice(one: Region, other: Region) -> float:
    points = [point for region in (one, other) for contour in region.contours for point in contour]
    if not one.contours or not other.contours:
        return 1.0 if one.contours == other.contours else 0.0
    corner, far = np.min(points, axis=0), np.max(points, axis=0)
    scale = (_GRID - 1) / max(1e-6, float((far - corner).max()))
    first, second = (_filled(region, corner, scale) for region in (one, other))
    return 2.0 * float((first & second).sum()) / max(1.0, float(first.sum()) + float(second.sum()))


def _filled(region: Region, corner: npt.NDArray[np.float64], scale: float) -> npt.NDArray[np.bool_]:
    """By the even-odd rule, as ``Region.contours`` is meant."""
    grid = np.zeros((_GRID, _GRID), np.uint8)
    rings = [np.round((np.asarray(ring) - corner) * scale).astype(np.int32) for ring in region.contours]
    cv2.fillPoly(grid, rings, 1)
    return grid.astype(bool)
