"""Segment: shapes of known size come back in source pixels and millimetres; what cannot be said is refused."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import numpy as np
import pytest

from edgeai.api import (
    Array,
    Finding,
    Findings,
    Frame,
    FrameContext,
    Geometry,
    MaskTask,
    Region,
    Task,
    TaskFailed,
    TaskRequest,
    TensorMismatch,
    TensorSpec,
    UltrasoundRegion,
)
from edgeai.testing.examples import instance_ref
from edgeai_tasks.segment import SPEC

SIDE = 128


def _task(channels: int | None = 1, layout: str = "NHWC", **options: Any) -> MaskTask:
    shape: tuple[int | None, ...] = {
        "NHWC": (1, SIDE, SIDE, channels),
        "NCHW": (1, channels, SIDE, SIDE),
        "NHW": (1, SIDE, SIDE),
    }[layout]
    output = TensorSpec(name="out", dtype="float32", shape=shape, layout=layout)
    task = SPEC.build(TaskRequest(options={"labels": ["head"], **options}, outputs=(output,)))
    assert isinstance(task, MaskTask)
    return task


def _context(
    geometry: Geometry | None = None, *, number: int = 1, rows: int = SIDE, columns: int = SIDE
) -> FrameContext:
    """A frame of ``rows`` x ``columns``, as the model saw it; by default the source itself."""
    geometry = geometry or Geometry(source_rows=rows, source_columns=columns)
    frame = Frame(
        pixels=np.zeros((rows, columns), np.float32), number=number, geometry=geometry, instance=instance_ref()
    )
    return FrameContext(frame=frame, instance=frame.instance)


def _resized(rows: int, columns: int, **more: Any) -> Geometry:
    """The geometry of a source that was stretched to the model's input."""
    return Geometry(source_rows=rows, source_columns=columns, **more).scaled(columns / SIDE, rows / SIDE)


def _out(*channels: Array, layout: str = "NHWC") -> dict[str, Array]:
    values = np.stack(channels, axis=-1 if layout != "NCHW" else 0).astype(np.float32)
    return {"out": values[np.newaxis] if layout != "NHW" else values[np.newaxis, ..., 0]}


def _box(x0: int, y0: int, x1: int, y1: int, inside: float = 0.9, outside: float = 0.05) -> Array:
    values = np.full((SIDE, SIDE), outside)
    values[y0:y1, x0:x1] = inside
    return values


def _ellipse(a: float, b: float, softness: float = 1.5) -> Array:
    """Probability of an ellipse about the middle, half axes in pixels of the model's map."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] + 0.5 - SIDE / 2
    return 1 / (1 + np.exp((np.hypot(x / a, y / b) - 1) * min(a, b) / softness))


def _region(findings: Findings, which: int = 0) -> Region:
    region = findings[which].region
    assert region is not None
    return region


def _one(task: Task, outputs: dict[str, Array], context: FrameContext | None = None) -> tuple[Finding, Region]:
    findings = task.interpret(outputs, context or _context())
    assert len(findings) == 1
    return findings[0], _region(findings)


# --- what is measured -------------------------------------------------------------------------


def test_a_box_in_its_own_pixels() -> None:
    finding, region = _one(_task(), _out(_box(20, 30, 60, 90)))
    assert (finding.kind, finding.label, finding.present, finding.threshold) == ("segment", "head", True, 0.5)
    assert finding.probability == pytest.approx(0.9)
    assert (region.area_px, region.box, region.centroid, region.parts) == (2400.0, (20, 30, 60, 90), (40, 60), 1)
    assert region.area_mm2 is region.perimeter_mm is None
    assert region.frame_number == 1


@pytest.mark.parametrize(("rows", "columns"), [(270, 400), (64, 64), (1500, 2000)])
def test_an_ellipse_keeps_its_size_through_every_resize(rows: int, columns: int) -> None:
    a, b = 40.0, 30.0
    geometry = _resized(rows, columns, pixel_spacing_mm=(0.2, 0.3))
    _, region = _one(_task(), _out(_ellipse(a, b)), _context(geometry))
    a_mm, b_mm = a * columns / SIDE * 0.3, b * rows / SIDE * 0.2
    h = ((a_mm - b_mm) / (a_mm + b_mm)) ** 2
    ramanujan = math.pi * (a_mm + b_mm) * (1 + 3 * h / (10 + math.sqrt(4 - 3 * h)))
    assert region.area_mm2 == pytest.approx(math.pi * a_mm * b_mm, rel=0.01)
    assert region.perimeter_mm == pytest.approx(ramanujan, rel=0.005)
    assert region.centroid == pytest.approx((columns / 2, rows / 2), abs=0.51)


@pytest.mark.parametrize(("rows", "columns"), [(128, 128), (270, 400), (1500, 2000)])
def test_a_perimeter_does_not_climb_the_stairs_of_a_saturated_map(rows: int, columns: int) -> None:
    """Counted along the pixels of an answer of 0 and 1, a circle is 6 % too long."""
    geometry = Geometry(source_rows=rows, source_columns=columns).scaled(columns / SIDE, columns / SIDE)
    radius = 0.3 * min(SIDE, rows * SIDE / columns)
    y, x = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    middle = (columns / 2, rows / 2)
    inside = np.hypot(x - SIDE / 2, y - rows * SIDE / columns / 2) < radius
    _, region = _one(_task(), _out(inside.astype(float)), _context(geometry))
    assert region.perimeter_px == pytest.approx(2 * math.pi * radius * columns / SIDE, rel=0.01)
    assert region.centroid == pytest.approx(middle, abs=0.6 * columns / SIDE)


def test_crop_and_scale_lead_back_to_the_source() -> None:
    geometry = Geometry(source_rows=500, source_columns=700).cropped(100, 50).scaled(2.0, 3.0)
    _, region = _one(_task(), _out(_box(10, 20, 30, 60)), _context(geometry))
    assert region.box == pytest.approx((120, 110, 160, 230), abs=1.0)
    assert region.area_px == pytest.approx(40 * 120, rel=0.03)


def test_an_output_smaller_than_the_input_covers_the_same_frame() -> None:
    context = _context(rows=2 * SIDE, columns=4 * SIDE)
    _, region = _one(_task(), _out(_box(32, 32, 64, 64)), context)
    assert region.box == pytest.approx((128, 64, 256, 128), abs=1.0)


def test_what_the_model_did_not_see_is_not_claimed() -> None:
    geometry = Geometry(source_rows=300, source_columns=300).cropped(100, 100)
    task = _task()
    everywhere = _out(np.full((SIDE, SIDE), 0.9))
    _, region = _one(task, everywhere, _context(geometry))
    assert region.box == (100, 100, 100 + SIDE, 100 + SIDE)
    assert region.area_px == SIDE * SIDE
    exclusive = _task(2, labels=["a", "b"], mode="multi-class")
    both = exclusive.interpret(_out(np.full((SIDE, SIDE), 0.9), np.full((SIDE, SIDE), 0.1)), _context(geometry))
    assert _region(both).area_px == SIDE * SIDE
    padded = Geometry(source_rows=100, source_columns=60).cropped(-20, -10)
    _, region = _one(task, everywhere, _context(padded))
    assert (region.box, region.area_px) == ((0, 0, 60, 100), 6000.0)


def test_masks_are_what_the_findings_measure() -> None:
    for rows, columns in ((270, 400), (1501, 1999), (50, 60)):
        context = _context(_resized(rows, columns))
        task = _task(fill_holes=True)
        outputs = _out(np.maximum(_ellipse(30, 20), _box(3, 3, 9, 7)))
        masks = task.masks(outputs, context)
        assert {name: (mask.shape, mask.dtype) for name, mask in masks.items()} == {"head": ((rows, columns), np.bool_)}
        assert _region(task.interpret(outputs, context)).area_px == masks["head"].sum()


def test_millimetres_come_from_the_ultrasound_region_that_holds_it() -> None:
    left = UltrasoundRegion(min_x0=0, min_y0=0, max_x1=63, max_y1=127, delta_x_mm=0.5, delta_y_mm=0.5)
    right = UltrasoundRegion(min_x0=64, min_y0=0, max_x1=127, max_y1=127, delta_x_mm=0.1, delta_y_mm=0.1)
    context = _context(Geometry(source_rows=SIDE, source_columns=SIDE, regions=(left, right)))
    assert _one(_task(), _out(_box(10, 10, 30, 30)), context)[1].area_mm2 == pytest.approx(400 * 0.25)
    assert _one(_task(), _out(_box(70, 10, 90, 30)), context)[1].area_mm2 == pytest.approx(400 * 0.01)
    both = _one(_task(), _out(_box(40, 10, 100, 30)), context)[1]
    assert (both.area_px, both.area_mm2, both.perimeter_mm) == (1200.0, None, None)


def test_contours_outline_the_mask_with_few_points() -> None:
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(1)
    wild = np.clip(_ellipse(50, 40) + 0.2 * rng.standard_normal((SIDE, SIDE)), 0, 1)
    for values, most in ((_ellipse(40, 30), 64), (wild, 32), (rng.random((SIDE, SIDE)), 16)):
        context = _context(_resized(270, 400))
        task = _task(max_points=most)
        region = _region(task.interpret(_out(values), context))
        assert region.contours
        assert 3 <= sum(map(len, region.contours)) <= most
        assert len(json.dumps(region.contours)) < 20 * most
        if values is wild or most == 16:
            continue
        drawn = Image.new("1", (400, 270))
        ImageDraw.Draw(drawn).polygon([(x - 0.5, y - 0.5) for x, y in region.contours[0]], fill=1)
        mask = task.masks(_out(values), context)["head"]
        assert (np.asarray(drawn) ^ mask).sum() < 0.02 * mask.sum()


def test_a_single_pixel_and_the_whole_image_have_an_outline() -> None:
    _, dot = _one(_task(), _out(_box(5, 6, 6, 7)))
    assert (dot.area_px, dot.box) == (1.0, (5, 6, 6, 7))
    assert len(dot.contours[0]) >= 3
    _, all_of_it = _one(_task(), _out(np.ones((SIDE, SIDE))))
    assert all_of_it.area_px == SIDE * SIDE
    assert all_of_it.perimeter_px == pytest.approx(4 * SIDE, rel=0.01)


# --- what counts ------------------------------------------------------------------------------


def test_an_empty_mask_is_a_finding_that_denies() -> None:
    finding, region = _one(
        _task(), _out(np.full((SIDE, SIDE), 0.49)), _context(_resized(200, 200, pixel_spacing_mm=(1, 1)))
    )
    assert (finding.present, finding.probability) == (False, None)
    assert (region.area_px, region.area_mm2, region.parts) == (0.0, 0.0, 0)
    assert region.box is region.centroid is None
    assert region.contours == ()


def test_holes_and_pieces() -> None:
    ring = _box(20, 20, 60, 60)
    ring[30:40, 30:40] = 0.1
    speck = np.maximum(ring, _box(100, 100, 103, 103))
    assert _one(_task(), _out(speck))[1].area_px == 1600 - 100 + 9
    assert _one(_task(fill_holes=True), _out(speck))[1].area_px == 1609
    assert _one(_task(fill_holes=True, largest_component=True), _out(speck))[1].area_px == 1600
    holed = _one(_task(), _out(ring))[1]
    assert (holed.parts, len(holed.contours)) == (1, 2)
    assert holed.perimeter_px == pytest.approx(4 * 40 + 4 * 10, rel=0.05)


def test_a_bay_at_the_border_is_no_hole() -> None:
    bay = _box(0, 20, 60, 60)
    bay[30:40, 0:40] = 0.0
    assert _one(_task(fill_holes=True), _out(bay))[1].area_px == 2400 - 400


@pytest.mark.parametrize(
    ("options", "parts"),
    [({"min_area_px": 9}, 2), ({"min_area_px": 10}, 1), ({"min_area_px": 2000}, 0), ({"min_area_mm2": 0.5}, 1)],
)
def test_small_pieces_do_not_count(options: dict[str, Any], parts: int) -> None:
    values = np.maximum(_box(20, 20, 60, 60), _box(100, 100, 103, 103))
    context = _context(Geometry(source_rows=SIDE, source_columns=SIDE, pixel_spacing_mm=(0.2, 0.2)))
    finding, region = _one(_task(**options), _out(values), context)
    assert (region.parts, finding.present) == (parts, parts > 0)


def test_millimetres_without_spacing_are_refused_unless_pixels_are_given() -> None:
    values = _out(_box(20, 20, 60, 60))
    with pytest.raises(TaskFailed) as caught:
        _one(_task(min_area_mm2=1), values)
    assert caught.value.code == "task.no-spacing"
    assert _one(_task(min_area_mm2=1, min_area_px=5), values)[0].present


def test_multi_label_overlaps_and_multi_class_does_not() -> None:
    first, second = _box(20, 20, 60, 60, 0.9), _box(40, 20, 80, 60, 0.8)
    both = _task(2, labels=["a", "b"]).interpret(_out(first, second), _context())
    assert [_region(both, i).area_px for i in (0, 1)] == [1600.0, 1600.0]
    none = np.full((SIDE, SIDE), 0.2)
    logits = _out(none * 10, first * 10, second * 10)
    task = _task(3, labels=["nothing", "a", "b"], mode="multi-class", activation="softmax", background="nothing")
    one = task.interpret(logits, _context())
    assert [(f.label, _region(one, i).area_px) for i, f in enumerate(one)] == [("a", 1600.0), ("b", 800.0)]
    masks = task.masks(logits, _context())
    assert not (masks["a"] & masks["b"]).any()


def test_of_equals_one_wins() -> None:
    half = np.full((SIDE, SIDE), 0.5)
    task = _task(2, labels=["a", "b"], mode="multi-class")
    areas = [_region(task.interpret(_out(half, half), _context()), i).area_px for i in (0, 1)]
    assert areas == [SIDE * SIDE, 0.0]


def test_a_hole_that_another_label_fills_is_none() -> None:
    outer = _box(20, 20, 60, 60, 0.8, 0.1)
    outer[30:40, 30:40] = 0.1
    inner = _box(30, 30, 40, 40, 0.8, 0.1)
    rest = 1 - outer - inner
    task = _task(3, labels=["x", "wall", "room"], mode="multi-class", background="x", fill_holes=True)
    answers = task.interpret(_out(rest, outer, inner), _context())
    assert [_region(answers, i).area_px for i in (0, 1)] == [1500.0, 100.0]


def test_thresholds_and_activations() -> None:
    values = np.maximum(_box(20, 20, 60, 60, 0.6), _box(80, 80, 90, 90, 0.95))
    assert _one(_task(thresholds={"head": 0.9}), _out(values))[1].area_px == 100.0
    logits = np.log(values / (1 - values))
    assert _one(_task(activation="sigmoid"), _out(logits))[1].area_px == 1700.0
    exclusive = _task(2, labels=["a", "b"], mode="multi-class", thresholds={"a": 0.7})
    answers = exclusive.interpret(_out(values, 1 - values), _context())
    assert _region(answers, 0).area_px == 100.0


@pytest.mark.parametrize("layout", ["NCHW", "NHW"])
def test_other_layouts(layout: str) -> None:
    _, region = _one(_task(layout=layout), _out(_box(20, 30, 60, 90), layout=layout))
    assert region.box == (20, 30, 60, 90)


# --- frames -----------------------------------------------------------------------------------


def test_an_instance_is_the_frame_where_it_is_largest() -> None:
    task = _task(2, labels=["a", "b"], per_frame=True)
    empty = np.zeros((SIDE, SIDE))
    frames = [
        task.interpret(
            _out(_box(0, 0, 10 * n, 10), _box(0, 0, 40 - 10 * n, 10) if n < 3 else empty), _context(number=n)
        )
        for n in (1, 2, 3)
    ]
    summary = task.summarise(frames, instance_ref())
    placed = [(f.label, f.frame_number, _region(summary, i).frame_number) for i, f in enumerate(summary)]
    assert placed[:2] == [("a", None, 3), ("b", None, 1)]
    assert [frame for _, frame, _ in placed[2:]] == [1, 1, 2, 2, 3, 3]
    assert [_region(summary, i).area_px for i in (0, 1)] == [300.0, 300.0]


def test_in_no_frame_is_denied() -> None:
    task = _task()
    frames = [task.interpret(_out(np.zeros((SIDE, SIDE))), _context(number=n)) for n in (1, 2)]
    (finding,) = task.summarise(frames, instance_ref())
    assert (finding.present, finding.frame_number) == (False, None)


def test_a_summary_of_nothing_or_of_half_a_frame_is_refused() -> None:
    task = _task(2, labels=["a", "b"])
    frame = task.interpret(_out(_box(0, 0, 5, 5), _box(0, 0, 5, 5)), _context())
    for frames in ([], [frame[:1]], [()], [frame, frame[::-1]]):
        with pytest.raises(TaskFailed) as caught:
            task.summarise(frames, instance_ref())
        assert caught.value.code == "task.no-frames"


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (np.nan, "task.not-finite"),
        (np.inf, "task.not-finite"),
        (1.2, "task.not-probabilities"),
        (-0.2, "task.not-probabilities"),
    ],
)
def test_one_pixel_that_is_no_probability_is_enough(value: float, code: str) -> None:
    values = _box(20, 20, 60, 60)
    values[127, 3] = value
    with pytest.raises(TaskFailed) as caught:
        _task().interpret(_out(values), _context())
    assert caught.value.code == code


def test_labels_that_do_not_sum_to_one_are_refused() -> None:
    task = _task(2, labels=["a", "b"], mode="multi-class")
    with pytest.raises(TaskFailed, match="sum to 1") as caught:
        task.interpret(_out(_box(0, 0, 9, 9, 0.9, 0.2), _box(0, 0, 9, 9, 0.1, 0.2)), _context())
    assert caught.value.code == "task.not-probabilities"


def test_a_batch_or_another_size_is_refused() -> None:
    task = _task(None)
    for shape in ((2, SIDE, SIDE, 1), (1, SIDE, SIDE, 2), (1, SIDE, SIDE), (1, 5, 5, 1)):
        with pytest.raises((TaskFailed, TensorMismatch)):
            task.interpret({"out": np.zeros(shape, np.float32)}, _context())


@pytest.mark.parametrize("missing", ["cv2", "contourpy"])
def test_without_its_extra_it_says_what_to_install(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("edgeai_tasks.segment.task", "edgeai_tasks.segment.shapes"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(TaskFailed, match=missing) as caught:
        _task()
    assert caught.value.code == "task.extra-missing"
    assert caught.value.remedy == "pip install 'edgeai-tasks[segment]'"
