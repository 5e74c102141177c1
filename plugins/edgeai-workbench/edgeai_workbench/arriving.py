"""A source image that was turned, cut or resized, as if it had arrived so: its spacing and its regions."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from edgeai.api import Geometry, UltrasoundRegion


def arrived(was: Geometry, moved: Geometry, rows: int, columns: int) -> Geometry:
    """The geometry of a source image that is the old one, moved.

    Args:
        was: of the old source image.
        moved: takes points of the new one to the old one.
        rows: of the new one.
        columns: likewise.
    """
    spacing = None if was.pixel_spacing_mm is None else _spacing(was.pixel_spacing_mm, moved.affine)
    regions = tuple(_region(region, moved, rows, columns) for region in was.regions)
    return Geometry(
        source_rows=rows,
        source_columns=columns,
        pixel_spacing_mm=spacing,
        regions=tuple(region for region in regions if region is not None),
        spacing_from=was.spacing_from,
    )


def _spacing(was: tuple[float, float], affine: tuple[float, float, float, float, float, float]) -> tuple[float, float]:
    """(between rows, between columns): how far a step down, and one to the right, is in the old picture."""
    a, b, _, d, e, _ = affine
    down, across = was
    return math.hypot(b * across, e * down), math.hypot(a * across, d * down)


def _region(region: UltrasoundRegion, moved: Geometry, rows: int, columns: int) -> UltrasoundRegion | None:
    """The least box around what the region became; ``None`` where nothing of it is left."""
    x0, y0, x1, y1 = region.min_x0, region.min_y0, region.max_x1 + 1, region.max_y1 + 1
    corners = moved.from_source([(x0, y0), (x1, y0), (x0, y1), (x1, y1)])
    low = np.maximum(0, np.round(corners.min(axis=0))).astype(int)
    high = np.minimum((columns, rows), np.round(corners.max(axis=0))).astype(int)
    if (high <= low).any():
        return None
    across, down = region.delta_x_mm, region.delta_y_mm
    if across is not None and down is not None:
        down, across = _spacing((abs(down), abs(across)), moved.affine)
    return replace(
        region,
        min_x0=int(low[0]),
        min_y0=int(low[1]),
        max_x1=int(high[0]) - 1,
        max_y1=int(high[1]) - 1,
        delta_x_mm=across,
        delta_y_mm=down,
    )
