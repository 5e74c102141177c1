"""What is true of an image: its values, and where in it they are measured."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np

from edgeai.api import Cells, Column, Geometry

Point: TypeAlias = tuple[float, float]

SIDES: Final = ("x0", "y0", "x1", "y1")
COLUMNS: Final = tuple(
    Column(
        name=side,
        help=f"column of {side} of the box around all that is measured, outer edges in pixels of the image as it is "
        "stored: a picture that loses no more than what lies beyond it still has these values; without, it may lose "
        "nothing",
    )
    for side in SIDES
)
_CUT: Final = 1.0
"""Pixels by which a picture that is turned or resized may lose its edge."""
_SKEW: Final = 0.01
"""Cosine of the angle between the axes up to which it counts as a right one."""


@dataclass(frozen=True, slots=True)
class TrueValues:
    """Each value in its unit, and the corners of the place where they are measured; none: the whole image is."""

    values: tuple[float, ...]
    place: tuple[Point, ...] = ()


def place_of_row(cells: Cells) -> tuple[Point, ...]:
    """The corners of the box that a row tells; none where it tells none.

    Raises:
        DataRejected: ``data.value-invalid``: a box of fewer than four sides, or one that ends before it begins.
    """
    given = [side for side in SIDES if cells.has(side)]
    if not given:
        return ()
    if len(given) < len(SIDES):
        raise cells.wrong(f"a box needs {', '.join(SIDES)}, not {', '.join(given)} alone", code="data.value-invalid")
    x0, y0, x1, y1 = (cells.number(side) for side in SIDES)
    if x1 <= x0 or y1 <= y0:
        raise cells.wrong(f"the box {x0:g}, {y0:g}, {x1:g}, {y1:g} ends before it begins", code="data.value-invalid")
    return _corners(x0, y0, x1, y1)


def moved(truth: TrueValues, geometry: Geometry, extent: tuple[int, int]) -> TrueValues | None:
    """As ``Judge.moved``, of what is measured in the world.

    It stays as it is, unless some of the place was cut off, or the picture was skewed: then no size of a pixel says how
    long anything is.
    """
    if _skewed(geometry):
        return None
    rows, columns = extent
    corners = geometry.from_source(truth.place or _corners(0.0, 0.0, geometry.source_columns, geometry.source_rows))
    inside = (corners > -_CUT) & (corners < np.array((columns, rows)) + _CUT)
    if not inside.all():
        return None
    there = tuple((x, y) for x, y in np.round(corners, 6).tolist()) if truth.place else ()
    return replace(truth, place=there)


def _corners(x0: float, y0: float, x1: float, y1: float) -> tuple[Point, ...]:
    return (x0, y0), (x1, y0), (x0, y1), (x1, y1)


def _skewed(geometry: Geometry) -> bool:
    a, b, _, d, e, _ = geometry.affine
    return abs(a * b + d * e) > _SKEW * math.hypot(a, d) * math.hypot(b, e)
