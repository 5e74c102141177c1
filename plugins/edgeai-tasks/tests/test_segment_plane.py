"""The cells on which a map is decided: the model's own pixels where the image is larger, and what that may move."""

from __future__ import annotations

import math
from typing import Any

import contourpy
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edgeai.api import Frame, FrameContext, Geometry, MaskTask, Region, TaskRequest, TensorSpec
from edgeai.testing.examples import instance_ref
from edgeai_tasks.segment import SPEC
from edgeai_tasks.segment import plane as segment_plane
from edgeai_tasks.segment import shapes as segment_shapes
from edgeai_tasks.segment.plane import Affine, Cells, Plane

SIDE = 128
Field = npt.NDArray[np.float32]

PLACES: dict[str, Geometry] = {
    "stretched": Geometry(source_rows=1541, source_columns=1030).scaled(1030 / SIDE, 1541 / SIDE),
    "letterboxed": Geometry(source_rows=1500, source_columns=1250).scaled(1250 / 107, 1500 / SIDE).cropped(-10, 0),
    "cut out": Geometry(source_rows=1500, source_columns=1500).cropped(101.5, 52.25).scaled(9.3, 7.1),
    "over the edge": Geometry(source_rows=1000, source_columns=1000).cropped(-3.5, -3.5).scaled(8.0, 8.0),
    "twice as large": Geometry(source_rows=256, source_columns=256).scaled(2.0, 2.0),
}
"""Where a map of ``SIDE`` x ``SIDE`` lies in a source whose pixels are smaller than its own."""
TURNED: dict[str, Affine] = {
    "mirrored": (-4.0, 0.0, 512.0, 0.0, 4.0, 0.0),
    "transposed": (0.0, 4.0, 0.0, 4.0, 0.0, 0.0),
    "turned": (3.5, -1.5, 150.0, 1.5, 3.5, -20.0),
}


def _frame(geometry: Geometry) -> Frame:
    return Frame(pixels=np.zeros((SIDE, SIDE), np.float32), number=1, geometry=geometry, instance=instance_ref())


def _task(channels: int = 1, **options: Any) -> MaskTask:
    output = TensorSpec(name="out", dtype="float32", shape=(1, SIDE, SIDE, channels), layout="NHWC")
    labels = ["a", "b", "c"][:channels]
    task = SPEC.build(TaskRequest(options={"labels": labels, "max_points": 4000, **options}, outputs=(output,)))
    assert isinstance(task, MaskTask)
    return task


def _region(field: Field, geometry: Geometry, **options: Any) -> Region:
    frame = _frame(geometry)
    outputs = {"out": field.reshape(1, SIDE, SIDE, 1)}
    region = _task(**options).interpret(outputs, FrameContext(frame=frame, instance=frame.instance))[0].region
    assert region is not None
    return region


def _blobs(seed: int, softness: float) -> Field:
    """A few smooth shapes, some of which leave the map."""
    noise = np.random.default_rng(seed).normal(0, 1, (SIDE, SIDE))
    smooth = cv2.GaussianBlur(noise, (0, 0), 7.0)
    return (0.5 * (1 + np.tanh(smooth / smooth.std() * softness))).astype(np.float32)


def _distance(points: npt.NDArray[np.float64], rings: tuple[Any, ...]) -> float:
    """How far the farthest of the points is from closed lines."""
    nearest = np.full(len(points), np.inf)
    for ring in rings:
        starts = np.array(ring)
        steps = np.roll(starts, -1, axis=0) - starts
        squares = np.maximum((steps**2).sum(axis=1), 1e-12)
        along = np.clip(((points[:, None] - starts) * steps).sum(axis=2) / squares, 0, 1)
        away = np.linalg.norm(points[:, None] - starts - along[..., None] * steps, axis=2).min(axis=1)
        nearest = np.minimum(nearest, away)
    return float(nearest.max())


def _ellipses(seed: int, softness: float) -> Field:
    """Two ellipses, turned, away from the map's edges; they may touch."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    inside = np.full((SIDE, SIDE), -np.inf)
    for middle in (44, 84):
        a, b, turn = rng.uniform(18, 28), rng.uniform(11, 18), rng.uniform(0, math.pi)
        u = (x - middle) * math.cos(turn) + (y - 64) * math.sin(turn)
        v = (y - 64) * math.cos(turn) - (x - middle) * math.sin(turn)
        inside = np.maximum(inside, (1 - np.hypot(u / a, v / b)) * b)
    return (0.5 * (1 + np.tanh(inside * softness))).astype(np.float32)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("softness", [0.3, 50.0])
@pytest.mark.parametrize("seed", range(6))
def test_contours_and_area_are_within_half_a_pixel_of_the_model_of_those_on_a_finer_plane(
    place: str, softness: float, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The finer plane is interpolated at half a pixel of the model, as every image was once."""
    field, geometry = _ellipses(seed, softness), PLACES[place]
    own = _region(field, geometry)
    segment_plane._cells.cache_clear()
    monkeypatch.setattr(segment_plane, "_WHOLE", math.inf)
    fine = _region(field, geometry)
    segment_plane._cells.cache_clear()
    half = 0.5 * max(geometry.affine[0], geometry.affine[4])
    assert own.perimeter_px == pytest.approx(fine.perimeter_px, rel=0.02)
    assert own.area_px == pytest.approx(fine.area_px, rel=0.02)
    assert own.centroid == pytest.approx(fine.centroid, abs=half / 2)
    assert np.abs(np.subtract(own.box or (), fine.box or ())).max() <= 2 * half
    for one, other in ((own, fine), (fine, own)):
        points = np.concatenate([np.array(ring) for ring in one.contours])
        assert _distance(points, other.contours) <= half


@pytest.mark.parametrize("place", PLACES)
def test_masks_have_the_area_that_is_told_and_the_box(place: str) -> None:
    field, geometry = _blobs(1, 3.0), PLACES[place]
    frame = _frame(geometry)
    outputs = {"out": field.reshape(1, SIDE, SIDE, 1)}
    mask = _task().masks(outputs, FrameContext(frame=frame, instance=frame.instance))["a"]
    region = _region(field, geometry)
    assert mask.shape == (geometry.source_rows, geometry.source_columns)
    assert region.area_px == mask.sum()
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert region.box == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    y, x = np.nonzero(mask)
    assert region.centroid == pytest.approx((x.mean() + 0.5, y.mean() + 0.5), abs=0.01)


@pytest.mark.parametrize(
    ("place", "box"),
    [
        ("stretched", (0, 0, 1030, 1541)),
        ("letterboxed", (0, 0, 1250, 1500)),
        ("cut out", (102, 52, 1292, 961)),
        ("over the edge", (0, 0, 1000, 1000)),
    ],
)
def test_what_is_everywhere_is_all_that_the_model_saw_and_no_more(place: str, box: tuple[int, ...]) -> None:
    geometry = PLACES[place]
    region = _region(np.full((SIDE, SIDE), 0.9, np.float32), geometry)
    x0, y0, x1, y1 = box
    assert (region.box, region.area_px) == (box, (x1 - x0) * (y1 - y0))
    assert region.perimeter_px == pytest.approx(2 * (x1 - x0 + y1 - y0), rel=0.02)


def test_a_letterbox_says_nothing_about_its_own_padding() -> None:
    """A model answers for the padding too; that is no part of the image, and of no outline at its border."""
    geometry = PLACES["letterboxed"]
    field = np.full((SIDE, SIDE), 0.95, np.float32)
    field[:, 10:-11] = _blobs(2, 3.0)[:, 10:-11]
    cut = field.copy()
    cut[:, :10] = cut[:, -11:] = 0.0
    assert _region(field, geometry) == _region(cut, geometry)


def test_where_a_shape_leaves_the_image_its_corners_lie_on_the_border() -> None:
    geometry = PLACES["stretched"]
    field = np.full((SIDE, SIDE), 0.05, np.float32)
    field[20:41] = 0.95
    (ring,) = _region(field, geometry).contours
    y0, y1 = 20 * 1541 / SIDE, 41 * 1541 / SIDE
    corners = {(0.0, y0), (0.0, y1), (1030.0, y0), (1030.0, y1)}
    assert all(min(math.dist(corner, point) for point in ring) < 4.0 for corner in corners)
    assert _region(field, geometry).perimeter_px == pytest.approx(2 * (1030 + y1 - y0), rel=0.005)


@pytest.mark.parametrize("phase", np.linspace(0.0, 1.0, 9))
def test_a_line_as_thin_as_a_pixel_of_the_model_stays_whole(phase: float) -> None:
    """Interpolated half-way between two pixels it would be half as probable, and gone."""
    field = np.full((SIDE, SIDE), 0.02, np.float32)
    field[30, 8:56] = 0.9
    geometry = Geometry(source_rows=1300, source_columns=1300).cropped(0.0, 9.0 * phase).scaled(9.0, 9.0)
    region = _region(field, geometry)
    assert (region.parts, region.area_px) == (1, 48 * 81)


@pytest.mark.parametrize("name", TURNED)
def test_a_map_that_lies_turned_in_the_source_is_brought_there(name: str) -> None:
    geometry = Geometry(source_rows=512, source_columns=512, affine=TURNED[name])
    y, x = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    points = geometry.to_source(np.stack((x.ravel(), y.ravel()), axis=1))
    away = np.hypot(points[:, 0] - 240, points[:, 1] - 270)
    field = (0.5 * (1 + np.tanh((120 - away) / 16))).reshape(SIDE, SIDE).astype(np.float32)
    region = _region(field, geometry)
    assert region.area_px == pytest.approx(math.pi * 120**2, rel=0.01)
    assert region.perimeter_px == pytest.approx(2 * math.pi * 120, rel=0.01)
    assert region.centroid == pytest.approx((240, 270), abs=1.0)
    assert np.abs(np.hypot(*(np.array(region.contours[0]) - (240, 270)).T) - 120).max() < 1.0


def test_edges_are_the_nearest_whole_pixels_and_those_outside_are_left_out() -> None:
    cells = Plane.of(_frame(PLACES["over the edge"]), SIDE, SIDE).cells
    assert cells.x.tolist()[:3] == [0, 5, 13]
    assert cells.x[-1] == 1000
    assert cells.origin == (-3.5, -3.5)
    assert cells.taken == (slice(0, 126), slice(0, 126))
    far = Geometry(source_rows=500, source_columns=500).cropped(600.0, 0.0).scaled(4.0, 4.0)
    region = _region(np.full((SIDE, SIDE), 0.9, np.float32), far)
    assert (region.area_px, region.box, region.contours) == (0.0, None, ()), "the model saw nothing of the image"


@pytest.mark.parametrize(("least", "parts"), [(0, 2), (20, 2), (21, 1), (24, 1), (25, 0)])
def test_a_piece_counts_by_its_source_pixels(least: int, parts: int) -> None:
    """Of uneven cells: columns of 2 and 3 pixels."""
    cells = Cells(
        x=np.array([0, 2, 5, 7, 10]),
        y=np.array([0, 4, 8]),
        origin=(0.0, 0.0),
        size=(2.5, 4.0),
        grain=(1.0, 1.0),
        inside=np.ones((2, 4), bool),
    )
    mask = np.array([[True, True, False, True], [False, False, False, True]])  # 8 + 12, and 2 x 12
    assert segment_shapes.pieces(mask, cells, least=least, largest=False)[1] == parts
    kept, count = segment_shapes.pieces(mask, cells, least=0, largest=True)
    assert (count, kept.tolist()) == (1, [[False, False, False, True], [False, False, False, True]])


@pytest.mark.parametrize("seed", range(20))
def test_lines_are_those_of_contourpys_default_algorithm(seed: int) -> None:
    """All points, and each ring's area with its sign: holes run the other way round."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(5, 40, 2)
    field = cv2.GaussianBlur(rng.normal(0, 1, (rows, columns)), (0, 0), rng.uniform(0.3, 3))
    field = np.where(field > 0, 0.5, -0.5) if seed % 2 else field
    field[:, [0, -1]] = -np.abs(field[:, [0, -1]])
    field[[0, -1]] = -np.abs(field[[0, -1]])
    x, y = segment_shapes._coordinates(*field.shape)
    wanted: Any = contourpy.contour_generator(x, y, field, name="serial", line_type="Separate").lines(0.0)
    lines = segment_shapes._zero_lines(field)
    assert sorted(_signed(ring) for ring in lines) == pytest.approx(sorted(_signed(ring) for ring in wanted))
    assert {tuple(p) for ring in lines for p in ring.round(9)} == {tuple(p) for ring in wanted for p in ring.round(9)}
    assert all(np.array_equal(ring[0], ring[-1]) for ring in lines)


def _signed(ring: Any) -> float:
    x, y = np.asarray(ring).T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)
