"""Where an outline runs: a tenth of a source pixel from a shape that a formula knows, however the image was resized."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgeai.api import (
    Frame,
    FrameContext,
    Geometry,
    MaskTask,
    Region,
    TaskRequest,
    TensorSpec,
    UltrasoundRegion,
)
from edgeai.testing.examples import instance_ref
from edgeai_tasks.segment import SPEC
from edgeai_tasks.segment.plane import Affine, Cells, Plane
from edgeai_tasks.segment.shapes import Outline, filled, pieces, ranked, sigmoid, softmax
from edgeai_tasks.sizes import common_spacing

SIDE = 256
CLOSE = 0.1
"""Source pixels."""

SOURCES = {
    "every pixel": (SIDE, SIDE, (1.0, 1.0)),
    "the model's pixels": (8 * SIDE, 8 * SIDE, (8.0, 8.0)),
    "the model's pixels, stretched in x": (8 * SIDE, 10 * SIDE, (10.0, 8.0)),
    "every pixel, stretched in y": (3 * SIDE, SIDE, (1.0, 1.0)),
}
"""Rows and columns of a source that was resized to the model's square, and the sides of its plane's cells."""

Field = npt.NDArray[np.float32]


class Disc:
    """A disc, or a ring of two circles, off the middle of an image: its probability, and how far a point is off it."""

    def __init__(self, rows: int, columns: int, *, hole: float = 0.0) -> None:
        self.geometry = Geometry(source_rows=rows, source_columns=columns).scaled(columns / SIDE, rows / SIDE)
        self.x, self.y = 0.53 * columns, 0.46 * rows
        self.radius = 0.44 * min(rows, columns)
        self.hole = hole * self.radius
        self._softness = min(rows, columns) / SIDE

    def field(self) -> Field:
        y, x = np.mgrid[0:SIDE, 0:SIDE] + 0.5
        points = self.geometry.to_source(np.stack((x.ravel(), y.ravel()), axis=1))
        away = self.from_middle(points)
        inside = np.minimum(self.radius - away, away - self.hole) if self.hole else self.radius - away
        return (0.5 * (1 + np.tanh(inside / self._softness / 4))).reshape(SIDE, SIDE).astype(np.float32)

    def from_middle(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.hypot(points[:, 0] - self.x, points[:, 1] - self.y)

    def frame(self, **more: Any) -> Frame:
        geometry = Geometry(
            source_rows=self.geometry.source_rows, source_columns=self.geometry.source_columns, **more
        ).scaled(self.geometry.source_columns / SIDE, self.geometry.source_rows / SIDE)
        return Frame(pixels=np.zeros((SIDE, SIDE), np.float32), number=1, geometry=geometry, instance=instance_ref())

    def outline(self) -> tuple[Outline, Plane]:
        plane = Plane.of(self.frame(), SIDE, SIDE)
        margin = plane.resample(self.field()) - np.float32(0.5)
        return Outline.around((margin >= 0) & plane.cells.inside, margin, plane), plane

    def region(self, **more: Any) -> Region:
        output = TensorSpec(name="out", dtype="float32", shape=(1, SIDE, SIDE, 1), layout="NHWC")
        task = SPEC.build(TaskRequest(options={"labels": ["disc"], "max_points": 4000}, outputs=(output,)))
        assert isinstance(task, MaskTask)
        frame = self.frame(**more)
        context = FrameContext(frame=frame, instance=frame.instance)
        region = task.interpret({"out": self.field()[np.newaxis, ..., np.newaxis]}, context)[0].region
        assert region is not None
        return region


def _frame(map_rows: int, map_columns: int, *, rows: int, columns: int, affine: Affine | None = None) -> Frame:
    """What a model saw of a source of that size; by default the whole, stretched to the map."""
    affine = affine or (columns / map_columns, 0.0, 0.0, 0.0, rows / map_rows, 0.0)
    geometry = Geometry(source_rows=rows, source_columns=columns, affine=affine)
    return Frame(
        pixels=np.zeros((map_rows, map_columns), np.float32), number=1, geometry=geometry, instance=instance_ref()
    )


def rings(outline: Outline) -> list[npt.NDArray[np.float64]]:
    return np.split(outline.points, outline.starts[1:])


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("hole", [0.0, 0.75])
def test_every_point_lies_on_the_shape(source: str, hole: float) -> None:
    rows, columns, size = SOURCES[source]
    disc = Disc(rows, columns, hole=hole)
    outline, plane = disc.outline()
    assert plane.cells.size == size
    wanted = [disc.radius, disc.hole] if hole else [disc.radius]
    assert len(outline.starts) == len(wanted)
    for ring, radius in zip(sorted(rings(outline), key=len, reverse=True), wanted, strict=True):
        off = disc.from_middle(ring) - radius
        assert np.abs(off).max() < CLOSE, (off.min(), off.max())
        assert np.array_equal(ring[0], ring[-1])
        angles = np.sort(np.arctan2(ring[:, 1] - disc.y, ring[:, 0] - disc.x))
        assert np.diff(angles).max() < 0.1, "all the way round"


@pytest.mark.parametrize("source", SOURCES)
def test_length_and_area_are_those_of_the_shape(source: str) -> None:
    rows, columns, _ = SOURCES[source]
    disc = Disc(rows, columns, hole=0.6)
    outline, _ = disc.outline()
    assert outline.length() == pytest.approx(2 * math.pi * (disc.radius + disc.hole), rel=2e-3)
    assert outline.enclosed() == pytest.approx(math.pi * (disc.radius**2 - disc.hole**2), rel=2e-3)
    assert outline.length((0.5, 0.5)) == pytest.approx(outline.length() / 2)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("hole", [0.0, 0.75])
def test_what_a_result_draws_lies_on_the_shape_too(source: str, hole: float) -> None:
    """Fewer points, and rounded to a tenth of a pixel."""
    rows, columns, _ = SOURCES[source]
    disc = Disc(rows, columns, hole=hole)
    region = disc.region()
    assert len(region.contours) == (2 if hole else 1)
    for ring, radius in zip(region.contours, (disc.radius, disc.hole), strict=False):
        points = np.array(ring)
        assert np.abs(disc.from_middle(points) - radius).max() < 2 * CLOSE
        middle = (points.max(axis=0) + points.min(axis=0)) / 2
        assert middle == pytest.approx((disc.x, disc.y), abs=max(0.2, 0.002 * radius))
    assert len(region.contours[0]) < 200, "fewer points than the line has"


def test_millimetres_of_unequal_spacing_are_of_the_axis_that_they_belong_to() -> None:
    disc = Disc(8 * SIDE, 8 * SIDE)
    region = disc.region(pixel_spacing_mm=(0.2, 0.3))
    a, b = 0.3 * disc.radius, 0.2 * disc.radius
    h = ((a - b) / (a + b)) ** 2
    assert region.perimeter_mm == pytest.approx(math.pi * (a + b) * (1 + 3 * h / (10 + math.sqrt(4 - 3 * h))), rel=2e-3)
    assert region.area_mm2 == pytest.approx(math.pi * a * b, rel=2e-3)
    narrow = Disc(8 * SIDE, 8 * SIDE)
    outline, _ = narrow.outline()
    assert outline.length((1.0, 0.0)) == pytest.approx(4 * disc.radius, rel=2e-3), "to and fro along x"
    assert outline.length((0.0, 1.0)) == pytest.approx(4 * disc.radius, rel=2e-3)


@pytest.mark.parametrize("scale", [1, 8])
def test_a_slanted_edge_is_where_it_is_and_the_border_is_the_border(scale: int) -> None:
    """Half of the image: no curve, so that smoothing moves nothing; from border to border."""
    side = scale * SIDE
    geometry = Geometry(source_rows=side, source_columns=side).scaled(scale, scale)
    y, x = (np.mgrid[0:SIDE, 0:SIDE] + 0.5) * scale
    below = (0.6 * side - (x + 0.5 * y)) / math.hypot(1, 0.5)
    field = (0.5 * (1 + np.tanh(below / scale / 4))).astype(np.float32)
    frame = Frame(pixels=np.zeros((SIDE, SIDE), np.float32), number=1, geometry=geometry, instance=instance_ref())
    plane = Plane.of(frame, SIDE, SIDE)
    assert plane.cells.size == (scale, scale)
    margin = plane.resample(field) - np.float32(0.5)
    points = Outline.around(margin >= 0, margin, plane).points
    off = np.abs(points[:, 0] + 0.5 * points[:, 1] - 0.6 * side) / math.hypot(1, 0.5)
    at_border = (points.min(axis=1) < CLOSE) | (points[:, 1] > side - CLOSE)
    away = (points.min(axis=1) > 12 * scale) & (points[:, 1] < side - 12 * scale)
    assert off[away].max() < CLOSE
    assert away.sum() > 50
    assert at_border.sum() > 50
    assert points.min() == 0.0
    assert points[:, 1].max() == side


def test_squares_of_the_last_row_and_column_may_be_smaller() -> None:
    """10 pixels in steps of 4: two whole squares and a half. Of a map that lies mirrored, and so is interpolated."""
    plane = Plane.of(_frame(1, 1, rows=10, columns=9, affine=(-9.0, 0.0, 9.0, 0.0, 10.0, 0.0)), 1, 1)
    assert (plane.cells.size, plane.cells.inside.shape) == ((4.0, 4.0), (3, 3))
    assert (plane.cells.y.tolist(), plane.cells.x.tolist()) == ([0, 4, 8, 10], [0, 4, 8, 9])
    mask = np.zeros((3, 3), bool)
    mask[2, 2] = mask[0, 1] = True
    full = plane.full(mask)
    assert full.shape == (10, 9)
    assert full.sum() == 2 * 1 + 16
    assert full[8:, 8:].all()
    assert full[0:4, 4:8].all()


# --- pieces and holes ---------------------------------------------------------------------------------


def _mask(*lines: str) -> npt.NDArray[np.bool_]:
    return np.array([[cell == "#" for cell in line] for line in lines])


def _even(mask: npt.NDArray[np.bool_]) -> Cells:
    rows, columns = mask.shape
    return Plane.of(_frame(rows, columns, rows=rows, columns=columns), rows, columns).cells


def test_a_hole_is_what_is_closed_off_by_sides_and_not_by_corners() -> None:
    closed = _mask(".##.", "#..#", ".##.")
    assert filled(closed).sum() == closed.sum() + 2, "a path does not pass between two corners"
    open_side = _mask("####", "#...", "####")
    assert np.array_equal(filled(open_side), open_side)
    full = _mask("##", "##")
    assert np.array_equal(filled(full), full)
    assert not filled(_mask("..", "..")).any()


@pytest.mark.parametrize(
    ("least", "largest", "count", "cells"),
    [(0, False, 3, 8), (1, False, 3, 8), (3, False, 2, 7), (4, False, 1, 4), (5, False, 0, 0), (0, True, 1, 4)],
)
def test_pieces_join_at_corners_and_small_ones_go(least: float, largest: bool, count: int, cells: int) -> None:
    mask = _mask("##....#", "##.....", ".......", "..#....", "...#...", "....#..")
    kept, parts = pieces(mask, _even(mask), least=least, largest=largest)
    assert (parts, int(kept.sum())) == (count, cells)
    assert not (kept & ~mask).any()
    assert kept[0, 0] == (count > 0)


def test_of_pieces_of_one_size_the_first_stays() -> None:
    kept, parts = pieces(_mask("#.#"), _even(_mask("#.#")), least=1, largest=True)
    assert (parts, kept.tolist()) == (1, [[True, False, False]])


# --- few points ---------------------------------------------------------------------------------------


def test_few_points_are_for_the_largest_rings() -> None:
    disc = Disc(SIDE, SIDE, hole=0.6)
    outline, _ = disc.outline()
    for most in (15, 16, 64):
        shapes = outline.simplified(most, finest=0.25)
        assert len(shapes) == min(2, most // 8)
        assert sum(map(len, shapes)) <= most
        assert disc.from_middle(shapes[0]) == pytest.approx(disc.radius, abs=CLOSE), "the largest first"
        assert not np.array_equal(shapes[0][0], shapes[0][-1]), "a ring is closed without saying so"
    assert len(outline.simplified(3, finest=0.25)[0]) == 3


def test_a_speck_below_the_tolerance_keeps_its_own_points_and_nothing_has_none() -> None:
    speck = Outline(points=np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)], float), starts=np.array([0]))
    assert [len(ring) for ring in speck.simplified(64, finest=50.0)] == [4]
    assert [len(ring) for ring in speck.simplified(3, finest=50.0)] == [3]
    nothing = Outline(points=np.empty((0, 2)), starts=np.empty(0, np.intp))
    assert (nothing.simplified(8, finest=1.0), nothing.enclosed(), nothing.length()) == ((), 0.0, 0.0)


# --- millimetres --------------------------------------------------------------------------------------


def test_one_scale_for_all_points_or_none() -> None:
    def region(x0: int, x1: int, delta: float) -> UltrasoundRegion:
        return UltrasoundRegion(min_x0=x0, min_y0=0, max_x1=x1, max_y1=99, delta_x_mm=delta, delta_y_mm=2 * delta)

    geometry = Geometry(
        source_rows=100, source_columns=100, regions=(region(0, 29, 0.1), region(30, 59, 0.1009), region(60, 79, 0.102))
    )
    first = (10.0, 10.0)
    sources = ("region",)
    spacing = common_spacing(geometry, [first, (20.0, 50.0)], sources)
    assert spacing is not None
    assert (spacing.between_rows_mm, spacing.between_columns_mm) == (0.2, 0.1)
    assert common_spacing(geometry, [first, (40.0, 50.0)], sources) == spacing, "rounded, not another scale"
    assert common_spacing(geometry, [first, (70.0, 50.0)], sources) is None
    assert common_spacing(geometry, [first, (90.0, 50.0)], sources) == spacing, "what nothing calibrates does not count"
    assert common_spacing(geometry, [(90.0, 50.0), first], sources) is None
    assert common_spacing(geometry, [first], ("pixel-spacing",)) is None


def test_two_axes_of_which_one_differs_are_another_scale() -> None:
    left = UltrasoundRegion(min_x0=0, min_y0=0, max_x1=49, max_y1=99, delta_x_mm=0.1, delta_y_mm=0.1)
    right = UltrasoundRegion(min_x0=50, min_y0=0, max_x1=99, max_y1=99, delta_x_mm=0.1, delta_y_mm=0.2)
    geometry = Geometry(source_rows=100, source_columns=100, regions=(left, right))
    assert common_spacing(geometry, [(10.0, 1.0), (60.0, 1.0)], ("region",)) is None


# --- probabilities ------------------------------------------------------------------------------------


def test_an_activation_gives_the_probabilities_of_its_formula() -> None:
    logits = np.array([-1000.0, -3.0, -0.25, 0.0, 0.5, 2.0, 1000.0])
    assert sigmoid(logits)[1:-1] == pytest.approx(1 / (1 + np.exp(-logits[1:-1])), abs=1e-6)
    assert sigmoid(logits)[[0, -1]].tolist() == [0.0, 1.0]
    maps = np.array([[1.0, 1000.0], [3.0, 0.0], [0.5, -1000.0]])
    powers = np.exp(maps[:, 0])
    assert softmax(maps)[:, 0] == pytest.approx(powers / powers.sum(), abs=1e-6)
    assert softmax(maps)[:, 1].tolist() == [1.0, 0.0, 0.0]


def test_which_label_a_cell_has_and_by_how_much() -> None:
    """Against numpy's own, with many equals, which an int8 model gives."""
    spread = list(np.random.default_rng(4).integers(0, 4, (5, 9, 7)).astype(np.float32))
    top, best, next_best = ranked(spread)
    assert np.array_equal(top, np.argmax(spread, axis=0))
    assert np.array_equal(best, np.max(spread, axis=0))
    for label, values in enumerate(spread):
        rivals = np.max([other for index, other in enumerate(spread) if index != label], axis=0)
        assert np.array_equal(values - np.where(top == label, next_best, best), values - rivals)


@pytest.mark.parametrize(("mode", "activation"), [("multi-label", "sigmoid"), ("multi-class", "softmax")])
def test_the_probability_that_is_told_is_the_mean_inside(mode: str, activation: str) -> None:
    output = TensorSpec(name="out", dtype="float32", shape=(1, 8, 8, 2), layout="NHWC")
    options = {"labels": ["a", "b"], "mode": mode, "activation": activation}
    task = SPEC.build(TaskRequest(options=options, outputs=(output,)))
    logits = np.full((1, 8, 8, 2), (-2.0, 1.0), np.float32)
    logits[0, 2:4, 2:6] = (0.75, -1.0)
    logits[0, 2:4, 4:6, 0] = 1.5
    geometry = Geometry(source_rows=8, source_columns=8)
    frame = Frame(pixels=np.zeros((8, 8), np.float32), number=1, geometry=geometry, instance=instance_ref())
    findings = task.interpret({"out": logits}, FrameContext(frame=frame, instance=frame.instance))
    odds = (0.75, 1.5) if activation == "sigmoid" else (1.75, 2.5)
    other = 1.0 if activation == "sigmoid" else 3.0
    wanted = [np.mean([1 / (1 + math.exp(-each)) for each in odds]), 1 / (1 + math.exp(-other))]
    assert [finding.probability for finding in findings] == pytest.approx(wanted, abs=1e-5)
