"""What a pixel of a network's answer is in the unit that is stated, by the frame's geometry and spacing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from edgeai.api import Frame, Spacing, TaskFailed
from edgeai_tasks.sizes import PIXELS

AS_IT_IS: Final = "none"
SOURCE: Final = "source-pixel"
MODEL: Final = "model-pixel"

UNITS: Final[Mapping[str, tuple[int, float]]] = {
    "mm": (1, 1.0),
    "cm": (1, 0.1),
    "mm2": (2, 1.0),
    "cm2": (2, 0.01),
    PIXELS: (1, 1.0),
}
"""Unit of what is answered in pixels -> whether it is a length or an area, and how many of it a mm or mm2 is."""
_SAME: Final = 0.01
"""By so much of itself a length may be another along another axis: it is stated as if in between."""
_GRID: Final = 5
"""Points a side at which the sizes of pixels are asked for; odd, so that one is the middle."""


def factor_of(per: str, unit: str, frame: Frame) -> float:
    """By what an answer is multiplied to be in ``unit``.

    Args:
        per: ``AS_IT_IS``, ``SOURCE`` or ``MODEL``.
        unit: of ``UNITS``, where ``per`` is another than ``AS_IT_IS``.
        frame: as the model saw it.

    Raises:
        TaskFailed: ``task.no-spacing``: nothing says how large a pixel is, or regions of the picture say otherwise;
            ``task.unequal-spacing``: a length along the one axis is another along the other.
    """
    if per == AS_IT_IS:
        return 1.0
    a, b, _, d, e, _ = frame.geometry.affine if per == MODEL else (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    across, down = (1.0, 1.0)
    if unit != PIXELS:
        spacing = _spacing(frame)
        across, down = spacing.between_columns_mm, spacing.between_rows_mm
    dimension, units = UNITS[unit]
    if dimension == 2:
        return abs(a * e - b * d) * across * down * units
    wide, high = math.hypot(a * across, d * down), math.hypot(b * across, e * down)
    if abs(wide / high - 1.0) > _SAME:
        raise TaskFailed(
            f"regress: a pixel is {wide:.4g} wide and {high:.4g} high, so that a length in pixels is none in {unit}",
            code="task.unequal-spacing",
            remedy="make pixels as wide as high before the model and let it answer per model-pixel, or keep such "
            "images from it",
        )
    return (wide + high) / 2 * units


def _spacing(frame: Frame) -> Spacing:
    """That of the middle of what the model saw, and of all of it that says anything else than nothing.

    Of the anatomy alone: a measurement does not say of which plane its millimetres are.
    """
    geometry = frame.geometry
    if not geometry.regions and (everywhere := geometry.spacing()) is not None:
        return everywhere
    places = (np.arange(_GRID) + 0.5) / _GRID
    x, y = (each.ravel() for each in np.meshgrid(places * frame.columns, places * frame.rows))
    points = geometry.to_source(np.stack((x, y), axis=1))
    middle = geometry.spacing(*points[len(points) // 2])
    if middle is None:
        raise _unknown("nothing says how large a pixel of the anatomy is in the middle of what the model saw")
    edge = np.array((geometry.source_columns, geometry.source_rows))
    for across, down in points[((points >= 0) & (points < edge)).all(axis=1)].tolist():
        other = geometry.spacing(across, down)
        if other is not None and any(abs(o / m - 1.0) > _SAME for o, m in zip(other[:2], middle[:2], strict=True)):
            raise _unknown("the model saw regions whose pixels are of other sizes")
    return middle


def _unknown(why: str) -> TaskFailed:
    return TaskFailed(
        f"regress: {why}, so that no length is known",
        code="task.no-spacing",
        remedy="send images with Pixel Spacing or calibrated ultrasound regions; crop to one region before the model",
    )
