"""On which cells of the source image a model's map is decided, cleaned, measured and outlined."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edgeai.api import Frame, Geometry

Field: TypeAlias = npt.NDArray[np.float32]
Mask: TypeAlias = npt.NDArray[np.bool_]
Edges: TypeAlias = npt.NDArray[np.int64]
Affine: TypeAlias = tuple[float, float, float, float, float, float]

_WHOLE: Final = 2.0
"""Source pixels that a pixel of the model's map covers at least, along either axis, where it is a cell itself."""
_SIMPLEST: Final = 0.25
"""Share of such a pixel that no contour needs to keep."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells:
    """What a map covers of a source image, cut into cells: as fine as the model's answer deserves, and no finer.

    A detector's image has twelve times the pixels a side that a model gives; working on all of them would cost more
    than the model did. There a cell is a pixel of the model's answer, its edges moved to the nearest whole source
    pixel, so that nothing is interpolated and thin shapes stay. Where the map is finer than half of that, or lies
    turned in the source, it is brought onto squares of the source by linear interpolation: half a pixel of the
    answer, or one source pixel.

    Attributes:
        x, y: edges of the cells along each axis, in whole source pixels.
        origin: where the first cell begins, along x and y, in source pixels; not moved.
        size: a cell's sides along x and y, in source pixels; not moved.
        grain: cells that a pixel of the model's map covers, along x and along y.
        inside: (rows, columns) of the cells: those that the model saw. Elsewhere nothing is claimed.
        taken: rows and columns of the model's map that are the cells, where they are its own pixels.
        matrix: index of a cell -> index in the model's map, 2 x 3, as OpenCV wants it, where they are not.
    """

    x: Edges
    y: Edges
    origin: tuple[float, float]
    size: tuple[float, float]
    grain: tuple[float, float]
    inside: Mask
    taken: tuple[slice, slice] | None = None
    matrix: npt.NDArray[np.float64] | None = None

    def measured(self, mask: Mask) -> tuple[float, tuple[float, float], tuple[float, float, float, float]]:
        """Area, centroid (x, y) and box (x0, y0, x1, y1) of a mask that holds something, in source pixels."""
        y, x = self.y.astype(np.float64), self.x.astype(np.float64)
        heights, widths = np.diff(y), np.diff(x)
        ones = mask.astype(np.float32)  # whole numbers up to 65535 columns or rows: sums that it holds exactly
        by_row = (ones @ widths.astype(np.float32)) * heights
        by_column = (heights.astype(np.float32) @ ones) * widths
        area = float(by_row.sum())
        middle = (float(by_column @ (x[1:] + x[:-1]) / 2 / area), float(by_row @ (y[1:] + y[:-1]) / 2 / area))
        rows, columns = np.flatnonzero(by_row), np.flatnonzero(by_column)
        box = (float(x[columns[0]]), float(y[rows[0]]), float(x[columns[-1] + 1]), float(y[rows[-1] + 1]))
        return area, middle, box


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plane:
    """The source image in ``cells``, for the map of one frame."""

    geometry: Geometry
    cells: Cells

    @classmethod
    def of(cls, frame: Frame, rows: int, columns: int) -> Plane:
        """The plane for a map of ``rows`` x ``columns`` that covers ``frame``, as the model saw it."""
        source = frame.geometry
        affine = source.scaled(frame.columns / columns, frame.rows / rows).affine
        return cls(geometry=source, cells=_cells(affine, (rows, columns), (source.source_rows, source.source_columns)))

    @property
    def finest(self) -> float:
        """Distance, in source pixels, that no contour needs to keep."""
        return _SIMPLEST * min(size * grain for size, grain in zip(self.cells.size, self.cells.grain, strict=True))

    def resample(self, values: Field) -> Field:
        """A map of the model on this plane; beyond its edge its outermost values go on."""
        cells = self.cells
        if cells.taken is not None:
            return np.ascontiguousarray(values[cells.taken])
        assert cells.matrix is not None
        rows, columns = cells.inside.shape
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        out: Field = cv2.warpAffine(values, cells.matrix, (columns, rows), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return out

    def full(self, mask: Mask) -> Mask:
        """The mask on the source's own pixels."""
        x, y = self.cells.x, self.cells.y
        whole = np.zeros((self.geometry.source_rows, self.geometry.source_columns), bool)
        whole[y[0] : y[-1], x[0] : x[-1]] = mask.repeat(np.diff(y), axis=0).repeat(np.diff(x), axis=1)
        return whole


@lru_cache(maxsize=4)  # images of one device are of few sizes, and all frames of a cine of one
def _cells(affine: Affine, shape: tuple[int, int], source: tuple[int, int]) -> Cells:
    """For a map of ``shape`` (rows, columns) whose pixels lie in a source of that size as ``affine`` says."""
    a, b, _, d, e, _ = affine
    if b == d == 0.0 and min(a, e) >= _WHOLE:
        return _own(affine, shape, source)
    return _squares(affine, shape, source)


def _squares(affine: Affine, shape: tuple[int, int], source: tuple[int, int]) -> Cells:
    """Squares of the source, half a pixel of the map or one source pixel a side."""
    a, b, _, d, e, _ = affine
    grain = (math.hypot(a, d), math.hypot(b, e))
    step = max(1, round(min(grain) / 2))
    lies = Geometry(source_rows=source[0], source_columns=source[1], affine=affine)
    corners = lies.from_source(np.array([(0.5, 0.5), (1.5, 0.5), (0.5, 1.5)]) * step) - 0.5
    matrix = np.stack((corners[1] - corners[0], corners[2] - corners[0], corners[0]), axis=1)
    y, x = (np.minimum(np.arange(-(-extent // step) + 1) * step, extent) for extent in source)
    return Cells(
        x=x,
        y=y,
        origin=(0.0, 0.0),
        size=(float(step), float(step)),
        grain=(grain[0] / step, grain[1] / step),
        inside=_seen(matrix, shape, (len(x) - 1, len(y) - 1)),
        matrix=matrix,
    )


def _own(affine: Affine, shape: tuple[int, int], source: tuple[int, int]) -> Cells:
    """The map's own pixels, as many as lie in the source."""
    a, _, c, _, e, f = affine
    rows, y = _within(f, e, shape[0], source[0])
    columns, x = _within(c, a, shape[1], source[1])
    inside = np.ones((len(y) - 1, len(x) - 1), bool)
    inside.setflags(write=False)
    return Cells(
        x=x,
        y=y,
        origin=(c + a * columns.start, f + e * rows.start),
        size=(a, e),
        grain=(1.0, 1.0),
        inside=inside,
        taken=(rows, columns),
    )


def _within(start: float, size: float, count: int, extent: int) -> tuple[slice, Edges]:
    """Which of so many pixels, each of that size, have a whole pixel of the source, and their edges there."""
    edges = np.clip(np.floor(start + size * np.arange(count + 1) + 0.5), 0, extent).astype(np.int64)
    kept = np.flatnonzero(np.diff(edges))
    if not len(kept):
        return slice(0, 0), edges[:1]
    first, last = int(kept[0]), int(kept[-1]) + 1
    return slice(first, last), edges[first : last + 1]


def _seen(matrix: npt.NDArray[np.float64], shape: tuple[int, int], size: tuple[int, int]) -> Mask:
    """Cells of a plane of ``size`` (columns, rows) that a map of ``shape`` (rows, columns) covers; read-only."""
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    ones = np.ones(shape, np.uint8)
    seen: Mask = cv2.warpAffine(ones, matrix, size, flags=flags).astype(bool)
    seen.setflags(write=False)
    return seen
