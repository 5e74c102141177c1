"""Where a box lies in the source image, and how large it is there."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from edgeai.api import Frame, Geometry, Measurement, Region, Spacing
from edgeai_tasks.detect.boxes import Boxes, areas, carried, clipped
from edgeai_tasks.sizes import PIXELS, common_spacing

_DIGITS = 2
"""Of a source pixel, hundredths; of a millimetre one more."""


def in_source(boxes: Boxes, frame: Frame) -> tuple[Boxes, npt.NDArray[np.bool_]]:
    """Boxes of the plane in pixels of the source, as far as the model saw it and the image reaches.

    Returns:
        The boxes, and which of them lie in the image at all: what is in the padding alone is nowhere in it.
    """
    geometry = frame.geometry
    seen = clipped(boxes, frame.rows, frame.columns)
    placed = clipped(carried(seen, geometry.to_source), geometry.source_rows, geometry.source_columns)
    placed = np.round(placed, _DIGITS)
    return placed, areas(placed) > 0


def region_of(box: npt.NDArray[np.float64], geometry: Geometry, number: int, sources: Collection[str]) -> Region:
    """The box as a region: it has no contours, since nobody drew a line around what is in it."""
    x0, y0, x1, y1 = box.tolist()
    spacing = spacing_of(box, geometry, sources)
    area = (x1 - x0) * (y1 - y0)
    return Region(
        area_px=round(area, 4),
        area_mm2=round(area * spacing.between_rows_mm * spacing.between_columns_mm, 4) if spacing else None,
        box=(x0, y0, x1, y1),
        centroid=(round((x0 + x1) / 2, _DIGITS), round((y0 + y1) / 2, _DIGITS)),
        parts=1,
        frame_number=number,
        spacing_from=spacing.source if spacing else None,
    )


def sides_of(box: npt.NDArray[np.float64], spacing: Spacing | None) -> tuple[float, float]:
    """(width, height) in millimetres, or in pixels of the source."""
    width, height = float(box[2] - box[0]), float(box[3] - box[1])
    return (width * spacing.between_columns_mm, height * spacing.between_rows_mm) if spacing else (width, height)


def measurements(box: npt.NDArray[np.float64], spacing: Spacing | None) -> tuple[Measurement, ...]:
    """Width along the image's rows and height along its columns."""
    unit = "mm" if spacing else PIXELS
    sides = zip(("width", "height"), sides_of(box, spacing), strict=True)
    return tuple(Measurement(name=name, value=round(side, _DIGITS + 1), unit=unit) for name, side in sides)


def spacing_of(box: npt.NDArray[np.float64], geometry: Geometry, sources: Collection[str]) -> Spacing | None:
    """That of all of a box; ``None`` where nothing calibrates it, or its ends are of other scales."""
    x0, y0, x1, y1 = box.tolist()
    last = (max(x0, x1 - 1), max(y0, y1 - 1))
    centre = ((x0 + x1) / 2, (y0 + y1) / 2)
    return common_spacing(geometry, [centre, (x0, y0), (last[0], y0), (x0, last[1]), last], sources)
