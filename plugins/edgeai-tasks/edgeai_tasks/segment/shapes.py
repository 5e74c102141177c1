"""Shapes on the cells of a source image: cleaned, outlined, measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from contourpy import Mpl2005ContourGenerator

from edgeai.api import Array
from edgeai_tasks.segment.plane import Cells, Field, Mask, Plane

Ring: TypeAlias = npt.NDArray[np.float64]
"""(n, 2), x and y in source pixels, closed."""

_LEAST = np.float32(1e-6)
_COARSER = 1.5
_HAIR = 1e-3
"""Of a cell."""
_FINE = 0.3
_SAME_AREA = 0.02
_POINTS_A_RING = 8
_BLUR_REACH = 4.0
"""Deviations that OpenCV's Gaussian reaches in float32."""


def filled(mask: Mask) -> Mask:
    """The mask without holes: what no path, from pixel side to pixel side, connects to the border."""
    outside = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    _, parts = cv2.connectedComponents(outside, connectivity=4)
    out: Mask = parts[1:-1, 1:-1] != parts[0, 0]
    return out


def pieces(mask: Mask, cells: Cells, *, least: float, largest: bool) -> tuple[Mask, int]:
    """The mask's pieces (joined at sides or corners) of at least ``least`` source pixels, or the largest one; how many.

    Without either wish they are only counted.
    """
    if not mask.any():
        return mask, 0
    around = window(mask)
    count, parts = cv2.connectedComponents(mask[around].view(np.uint8), connectivity=8)
    if not least and not largest:
        return mask, count - 1
    heights, widths = np.diff(cells.y)[around[0]], np.diff(cells.x)[around[1]]
    areas = np.bincount(parts.ravel(), np.outer(heights, widths).ravel(), count)
    kept = areas >= least
    kept[0] = False  # the background
    if largest and kept.any():
        first = int(np.argmax(np.where(kept, areas, -1)))
        kept = np.arange(count) == first
    if not kept[1:].all():
        mask = np.zeros_like(mask)
        mask[around] = kept[parts]
    return mask, int(kept.sum())


def window(mask: Mask, reach: tuple[int, int] = (0, 0)) -> tuple[slice, slice]:
    """Rows and columns that hold the mask, and up to ``reach`` (along x, along y) more on each side.

    What is done to a mask is done there: a finding is seldom as large as the image. The mask must hold something.
    """
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    x, y = reach
    return slice(max(0, top - y), top + height + y), slice(max(0, left - x), left + width + x)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outline:
    """Rings around a mask, at sub-pixel accuracy: ``points`` (n, 2) in source pixels, ring i from ``starts[i]``."""

    points: Ring
    starts: npt.NDArray[np.intp]
    _steps: Ring = field(init=False)
    """From each point to the next of its ring; 0 from a ring's last, which repeats its first."""
    _areas: npt.NDArray[np.float64] = field(init=False)
    """Signed, of each ring."""

    def __post_init__(self) -> None:
        steps = np.zeros_like(self.points)
        np.subtract(self.points[1:], self.points[:-1], out=steps[:-1])
        steps[self.starts[1:] - 1] = 0.0
        object.__setattr__(self, "_steps", steps)
        areas = np.zeros(0)
        if len(self.starts):
            (x, y), (dx, dy) = self.points.T, steps.T
            areas = np.add.reduceat(x * dy - y * dx, self.starts) / 2
        object.__setattr__(self, "_areas", areas)

    @classmethod
    def around(cls, mask: Mask, margin: Field, plane: Plane) -> Outline:
        """The line where ``margin`` (above 0 inside) crosses 0, as the mask was cleaned.

        Models answer almost 0 or almost 1, so that the line would follow the stairs of their pixels and be 6 % too
        long; a blur by one such pixel takes the stairs away. Where it takes more than those (threads, specks), the line
        goes between the mask's own pixels. Along the border of the image the line is the border.
        """
        sigma_x, sigma_y = plane.cells.grain
        around = window(mask, (_blurred(sigma_x), _blurred(sigma_y)))
        corner = (around[1].start, around[0].start)
        mask, margin = mask[around], margin[around]
        sharp = _sharp(mask, margin)
        if min(sigma_x, sigma_y) > _FINE:
            soft = cv2.GaussianBlur(sharp, (0, 0), sigma_x, sigmaY=sigma_y, borderType=cv2.BORDER_REPLICATE)
            smooth = cls._of(soft, plane, corner)
            area = float(np.count_nonzero(mask)) * math.prod(plane.cells.size)
            if abs(smooth.enclosed() - area) < _SAME_AREA * area:
                return smooth
        return cls._of(sharp, plane, corner)

    @classmethod
    def _of(cls, values: Field, plane: Plane, corner: tuple[int, int]) -> Outline:
        """Of values whose first cell is cell ``corner`` (x, y) of the plane."""
        padded = cv2.copyMakeBorder(values, 2, 2, 2, 2, cv2.BORDER_REPLICATE)
        for edge in (np.s_[0, :], np.s_[-1, :], np.s_[:, 0], np.s_[:, -1]):
            padded[edge] = -np.abs(padded[edge])
        rings = _zero_lines(padded)
        if not rings:
            return cls(points=np.empty((0, 2)), starts=np.empty(0, np.intp))
        points = np.concatenate(rings)
        limits = (plane.geometry.source_columns, plane.geometry.source_rows)
        for axis, limit in enumerate(limits):  # numpy takes long over rows of two
            along = points[:, axis]
            source = plane.cells.origin[axis] + (along + corner[axis]) * plane.cells.size[axis]
            np.clip(source, 0.0, limit, out=along)
        starts = np.cumsum([0, *(len(ring) for ring in rings[:-1])], dtype=np.intp)
        return cls(points=points, starts=starts)

    def enclosed(self) -> float:
        """Area inside, in square pixels; holes run the other way round and count against it."""
        return abs(float(self._areas.sum()))

    def length(self, scale: tuple[float, float] = (1.0, 1.0)) -> float:
        """Of all rings together; ``scale`` is the size of a pixel along x and y."""
        x, y = self._steps.T
        if scale != (1.0, 1.0):
            x, y = x * scale[0], y * scale[1]
        return float(np.hypot(x, y).sum())

    def simplified(self, most_points: int, *, finest: float) -> tuple[Ring, ...]:
        """The largest rings with few enough points (Ramer 1972, Douglas and Peucker 1973), largest first.

        Args:
            most_points: of all rings together.
            finest: distance, in source pixels, that no line needs to keep.
        """
        if not len(self.starts):
            return ()
        rings = self._largest(max(1, most_points // _POINTS_A_RING))
        simple = [ring.astype(np.float32) for ring in rings]
        tolerance = finest
        while True:
            # What a coarser line keeps, a finer one has kept: the next round looks at these points alone.
            simple = [line for ring in simple if len(line := _simplified(ring, tolerance)) > 2]
            if not simple:  # smaller than the tolerance: its own few points are the shape
                return (rings[0][:most_points],)
            if sum(map(len, simple)) <= most_points:
                return tuple(ring.astype(np.float64) for ring in simple)
            tolerance *= _COARSER

    def _largest(self, most: int) -> list[Ring]:
        areas = np.abs(self._areas)
        ends = np.append(self.starts[1:], len(self.points))
        order = np.argsort(-areas, kind="stable")[:most]
        return [self.points[self.starts[i] : ends[i] - 1] for i in order]  # the last point repeats the first


def _blurred(sigma: float) -> int:
    """Cells within which a blurred mask differs from nothing, and again as many that took part in the blur there."""
    return 2 * math.ceil(_BLUR_REACH * sigma + 1) + 1


def _sharp(mask: Mask, margin: Field) -> Field:
    """The margin: above 0 in the mask and below elsewhere, whatever the cleaning made of it; never 0."""
    out = np.abs(margin)
    np.maximum(out, _LEAST, out=out)
    np.negative(out, out=out)
    sharp: Field = cv2.copyTo(np.maximum(margin, _LEAST), mask.view(np.uint8), out)
    return sharp


def _zero_lines(field: npt.NDArray[Any]) -> list[Ring]:
    """Closed lines where the field is 0, in cells from the corner of the first that is no padding.

    By the first of contourpy's algorithms, which gives the lines that its default gives, in less than half the time.
    """
    x, y = _coordinates(*field.shape)
    generator = Mpl2005ContourGenerator(x, y, field.astype(np.float64), None)  # type: ignore[arg-type]  # no mask
    lines: Any = generator.lines(0.0)
    rings: list[Ring] = lines[0]
    return rings


@lru_cache(maxsize=4)
def _coordinates(rows: int, columns: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Of the cells' centres, with two of padding on each side: one on the border itself and one a hair beyond it.

    So a line runs along the border, and meets it where it would have left the image.
    """
    each = (
        np.concatenate(([-_HAIR, 0.0], np.arange(n - 4) + 0.5, [n - 4.0, n - 4.0 + _HAIR])) for n in (columns, rows)
    )
    x, y = np.meshgrid(*each)
    return x, y


def _simplified(ring: Field, tolerance: float) -> Field:
    simple: Field = cv2.approxPolyDP(ring, tolerance, True).reshape(-1, 2)
    return simple


def ranked(spread: Sequence[Field]) -> tuple[npt.NDArray[np.uint16], Field, Field]:
    """Of two maps or more, in each cell: the greatest (of equals, which are common in int8, the first), and the next.

    Returns:
        Which map it is of, its value, and the greatest value of the others.
    """
    best, next_best = spread[0], np.full_like(spread[0], -np.inf)
    top = np.zeros(best.shape, np.uint16)
    for index, values in enumerate(spread[1:], start=1):
        np.copyto(top, index, where=values > best)
        next_best = np.maximum(next_best, np.minimum(best, values))
        best = np.maximum(best, values)
    return top, best, next_best


def softmax(values: Array) -> Field:
    """Over the first axis."""
    powers = values - values.max(axis=0)
    np.exp(powers, out=powers)
    powers /= powers.sum(axis=0)
    out: Field = powers.astype(np.float32, copy=False)
    return out


def sigmoid(values: Array) -> Field:
    """Element by element, without overflow."""
    out: Field = (0.5 * values).astype(np.float32, copy=False)
    np.tanh(out, out=out)
    out += np.float32(1.0)
    out *= np.float32(0.5)
    return out
