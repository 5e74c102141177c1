"""From a model's map of probabilities to shapes in the source image: resampled, cleaned, outlined, measured."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from contourpy import FillType, LineType, SerialContourGenerator, ZInterp

from edgeai.api import Array, Frame, Geometry, Spacing

Field: TypeAlias = npt.NDArray[np.float32]
Mask: TypeAlias = npt.NDArray[np.bool_]
Ring: TypeAlias = npt.NDArray[np.float64]
"""(n, 2), x and y in source pixels, closed."""

_LEAST = np.float32(1e-6)
_COARSER = 1.5
_FINE = 0.3
_SAME_AREA = 0.02
_POINTS_A_RING = 8
_SAME_SCALE = 0.01
_BLUR_REACH = 4.0
"""Deviations that OpenCV's Gaussian reaches in float32."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plane:
    """The source image in steps of ``step`` pixels: as fine as the model's answer deserves, and no finer.

    A detector's image has twelve times the pixels a side that a model gives; working on all of them would cost more
    than the model did. A cell is at most as large as half a pixel of the model's answer, or one source pixel.

    Attributes:
        step: source pixels along a cell's side.
        inside: (rows, columns) of the plane: cells that the model saw. Elsewhere nothing is claimed.
        matrix: index of a cell -> index in the model's map, 2 x 3, as OpenCV wants it.
        grain: cells that a pixel of the model's map covers, along x and along y.
    """

    geometry: Geometry
    step: int
    inside: Mask
    matrix: npt.NDArray[np.float64]
    grain: tuple[float, float]

    @classmethod
    def of(cls, frame: Frame, rows: int, columns: int) -> Plane:
        """The plane for a map of ``rows`` x ``columns`` that covers ``frame``, as the model saw it."""
        map_geometry = frame.geometry.scaled(frame.columns / columns, frame.rows / rows)
        a, b, _, d, e, _ = map_geometry.affine
        grain = (math.hypot(a, d), math.hypot(b, e))
        step = max(1, round(min(grain) / 2))
        corners = map_geometry.from_source(np.array([(0.5, 0.5), (1.5, 0.5), (0.5, 1.5)]) * step) - 0.5
        matrix = np.stack((corners[1] - corners[0], corners[2] - corners[0], corners[0]), axis=1)
        source = frame.geometry
        size = (-(-source.source_columns // step), -(-source.source_rows // step))
        return cls(
            geometry=source,
            step=step,
            inside=_seen(tuple(matrix.ravel().tolist()), (rows, columns), size),
            matrix=matrix,
            grain=(grain[0] / step, grain[1] / step),
        )

    def resample(self, values: Field) -> Field:
        """A map of the model, bilinear, on this plane; beyond its edge its outermost values go on."""
        rows, columns = self.inside.shape
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        out: Field = cv2.warpAffine(values, self.matrix, (columns, rows), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return out

    def full(self, mask: Mask) -> Mask:
        """The mask on the source's own pixels."""
        whole = mask if self.step == 1 else mask.repeat(self.step, axis=0).repeat(self.step, axis=1)
        return np.ascontiguousarray(whole[: self.geometry.source_rows, : self.geometry.source_columns])

    def extents(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Edges of the cells along y and along x, in source pixels; the last cell may be smaller."""
        rows, columns = self.inside.shape
        y = np.minimum(np.arange(rows + 1) * self.step, self.geometry.source_rows).astype(np.float64)
        x = np.minimum(np.arange(columns + 1) * self.step, self.geometry.source_columns).astype(np.float64)
        return y, x


@lru_cache(maxsize=4)  # images of one device are of few sizes, and all frames of a cine of one
def _seen(matrix: tuple[float, ...], shape: tuple[int, int], size: tuple[int, int]) -> Mask:
    """Cells of a plane of ``size`` (columns, rows) that a map of ``shape`` (rows, columns) covers; read-only."""
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    ones = np.ones(shape, np.uint8)
    seen: Mask = cv2.warpAffine(ones, np.reshape(matrix, (2, 3)), size, flags=flags).astype(bool)
    seen.setflags(write=False)
    return seen


def filled(mask: Mask) -> Mask:
    """The mask without holes: what no path, from pixel side to pixel side, connects to the border."""
    outside = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    _, parts = cv2.connectedComponents(outside, connectivity=4)
    out: Mask = parts[1:-1, 1:-1] != parts[0, 0]
    return out


def pieces(mask: Mask, *, least: float, largest: bool) -> tuple[Mask, int]:
    """The mask's pieces (joined at sides or corners) of at least ``least`` cells, or the largest one; how many."""
    if not mask.any():
        return mask, 0
    around = window(mask)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask[around].view(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]
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
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = reach
    return (
        slice(max(0, int(rows[0]) - y), int(rows[-1]) + 1 + y),
        slice(max(0, int(columns[0]) - x), int(columns[-1]) + 1 + x),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outline:
    """Rings around a mask, at sub-pixel accuracy: ``points`` (n, 2) in source pixels, ring i from ``starts[i]``."""

    points: Ring
    starts: npt.NDArray[np.intp]

    @classmethod
    def around(cls, mask: Mask, margin: Field, plane: Plane) -> Outline:
        """The line where ``margin`` (above 0 inside) crosses 0, as the mask was cleaned.

        Models answer almost 0 or almost 1, so that the line would follow the stairs of their pixels and be 6 % too
        long; a blur by one such pixel takes the stairs away. Where it takes more than those (threads, specks), the line
        goes between the mask's own pixels. Along the border of the image the line is the border.
        """
        sigma_x, sigma_y = plane.grain
        around = window(mask, (_blurred(sigma_x), _blurred(sigma_y)))
        corner = (around[1].start, around[0].start)
        mask, margin = mask[around], margin[around]
        sharp = np.where(mask, np.maximum(margin, _LEAST), -np.maximum(np.abs(margin), _LEAST))
        if min(plane.grain) > _FINE:
            soft = cv2.GaussianBlur(sharp, (0, 0), sigma_x, sigmaY=sigma_y, borderType=cv2.BORDER_REPLICATE)
            smooth = cls._of(soft, plane, corner)
            area = float(np.count_nonzero(mask)) * plane.step**2
            if abs(smooth.enclosed() - area) < _SAME_AREA * area:
                return smooth
        return cls._of(sharp, plane, corner)

    @classmethod
    def _of(cls, values: Field, plane: Plane, corner: tuple[int, int]) -> Outline:
        """Of values whose first cell is cell ``corner`` (x, y) of the plane."""
        field = np.pad(values, 1, mode="edge")
        for edge in (np.s_[0, :], np.s_[-1, :], np.s_[:, 0], np.s_[:, -1]):
            field[edge] = -np.abs(field[edge])
        chunks: Any = _contours(field).lines(0.0)
        points, offsets = chunks[0][0], chunks[1][0]
        if points is None or offsets is None:
            return cls(points=np.empty((0, 2)), starts=np.empty(0, np.intp))
        source = (points - 0.5 + corner) * plane.step  # the padding is one cell, and a centre half of one
        limits = (plane.geometry.source_columns, plane.geometry.source_rows)
        return cls(points=np.clip(source, 0.0, limits), starts=offsets[:-1].astype(np.intp))

    def enclosed(self) -> float:
        """Area inside, in square pixels; holes run the other way round and count against it."""
        return abs(float(self._areas().sum()))

    def length(self, scale: tuple[float, float] = (1.0, 1.0)) -> float:
        """Of all rings together; ``scale`` is the size of a pixel along x and y."""
        return float(np.hypot(*(self._steps() * scale).T).sum())

    def simplified(self, most_points: int, *, finest: float) -> tuple[Ring, ...]:
        """The largest rings with few enough points (Ramer 1972, Douglas and Peucker 1973), largest first.

        Args:
            most_points: of all rings together.
            finest: distance, in source pixels, that no line needs to keep.
        """
        if not len(self.starts):
            return ()
        rings = self._largest(max(1, most_points // _POINTS_A_RING))
        tolerance = finest
        while True:
            simple = [_simplified(ring, tolerance) for ring in rings]
            shaped = [ring for ring in simple if len(ring) > 2]
            if sum(map(len, shaped)) <= most_points and shaped:
                return tuple(shaped)
            if not shaped:  # smaller than the tolerance: its own few points are the shape
                return (rings[0][:most_points],)
            tolerance *= _COARSER

    def _largest(self, most: int) -> list[Ring]:
        areas = np.abs(self._areas())
        ends = np.append(self.starts[1:], len(self.points))
        order = np.argsort(-areas, kind="stable")[:most]
        return [self.points[self.starts[i] : ends[i] - 1] for i in order]  # the last point repeats the first

    def _areas(self) -> npt.NDArray[np.float64]:
        """Signed, of each ring."""
        if not len(self.starts):
            return np.zeros(0)
        x, y = self.points.T
        dx, dy = self._steps().T
        areas: npt.NDArray[np.float64] = np.add.reduceat(x * dy - y * dx, self.starts) / 2
        return areas

    def _steps(self) -> Ring:
        """From each point to the next of its ring; 0 from a ring's last, which repeats its first."""
        steps = np.diff(self.points, axis=0, append=self.points[-1:])
        steps[self.starts[1:] - 1] = 0.0
        return steps


def _blurred(sigma: float) -> int:
    """Cells within which a blurred mask differs from nothing, and again as many that took part in the blur there."""
    return 2 * math.ceil(_BLUR_REACH * sigma + 1) + 1


def _contours(field: Field) -> SerialContourGenerator:
    """As ``contourpy.contour_generator`` makes it, which looks for masks and NaN first: three times the work."""
    x, y = _coordinates(*field.shape)
    return SerialContourGenerator(
        x,
        y,
        field.astype(np.float64),
        None,  # type: ignore[arg-type]  # no mask, as contourpy itself says it
        corner_mask=False,
        line_type=LineType.ChunkCombinedOffset,
        fill_type=FillType.OuterOffset,
        quad_as_tri=False,
        z_interp=ZInterp.Linear,
    )


@lru_cache(maxsize=4)
def _coordinates(rows: int, columns: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    x, y = np.meshgrid(np.arange(float(columns)), np.arange(float(rows)))
    return x, y


def _simplified(ring: Ring, tolerance: float) -> Ring:
    simple: Ring = cv2.approxPolyDP(ring.astype(np.float32), tolerance, True).reshape(-1, 2).astype(np.float64)
    return simple


def common_spacing(
    geometry: Geometry, points: Sequence[tuple[float, float]], sources: Collection[str]
) -> Spacing | None:
    """That of the first point; ``None`` where another point is of another scale.

    Points that nothing calibrates (a shape that juts out of its ultrasound region) do not count.
    """
    first = geometry.spacing(*points[0], sources=sources)
    if first is None or min(first[:2]) <= 0:
        return None
    for point in points[1:]:
        other = geometry.spacing(*point, sources=sources)
        if other is not None and any(abs(o / f - 1.0) > _SAME_SCALE for o, f in zip(other[:2], first[:2], strict=True)):
            return None
    return first


def softmax(values: Array) -> Field:
    """Over the first axis."""
    powers = np.exp(values - values.max(axis=0))
    out: Field = (powers / powers.sum(axis=0)).astype(np.float32)
    return out


def sigmoid(values: Array) -> Field:
    """Element by element, without overflow."""
    out: Field = (0.5 * (1.0 + np.tanh(0.5 * values))).astype(np.float32)
    return out
