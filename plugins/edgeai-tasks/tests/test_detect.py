"""Detect: boxes come back in source pixels and millimetres through every geometry; a negative is said, not left out."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeai.api import (
    ComparingTask,
    Finding,
    Findings,
    Frame,
    FrameContext,
    Geometry,
    Region,
    TaskFailed,
    TaskRequest,
    TensorSpec,
    UltrasoundRegion,
)
from edgeai.testing.examples import instance_ref
from edgeai_tasks.detect import SPEC

SIDE = 100
OUTPUTS = (
    TensorSpec(name="boxes", dtype="float32", shape=(1, 4, 4)),
    TensorSpec(name="classes", dtype="float32", shape=(1, 4)),
    TensorSpec(name="scores", dtype="float32", shape=(1, 4)),
    TensorSpec(name="count", dtype="float32", shape=(1,)),
)


def _task(**options: Any) -> ComparingTask:
    given = {"labels": ["a"], "form": "tflite-postprocessed", **options}
    task = SPEC.build(TaskRequest(options=given, outputs=OUTPUTS))
    assert isinstance(task, ComparingTask)
    return task


def _out(*boxes: tuple[float, float, float, float], scores: Any = (), classes: Any = ()) -> dict[str, Any]:
    """Boxes as x0, y0, x1, y1 in pixels of the plane of ``SIDE`` x ``SIDE``."""
    rows = np.zeros((1, 4, 4), np.float32)
    rows[0, : len(boxes)] = np.array(boxes, np.float32).reshape(-1, 4)[:, [1, 0, 3, 2]] / SIDE
    filled = {name: np.zeros((1, 4), np.float32) for name in ("scores", "classes")}
    filled["scores"][0, : len(boxes)] = scores or [0.9] * len(boxes)
    filled["classes"][0, : len(boxes)] = classes or [0] * len(boxes)
    return {"boxes": rows, **filled, "count": np.float32([len(boxes)])}


def _context(geometry: Geometry | None = None, number: int = 1) -> FrameContext:
    geometry = geometry or Geometry(source_rows=SIDE, source_columns=SIDE)
    pixels = np.zeros((SIDE, SIDE), np.float32)
    frame = Frame(pixels=pixels, number=number, geometry=geometry, instance=instance_ref())
    return FrameContext(frame=frame, instance=frame.instance)


def _region(finding: Finding) -> Region:
    assert finding.region is not None
    return finding.region


def _only(outputs: dict[str, Any], geometry: Geometry | None = None, **options: Any) -> tuple[Finding, Region]:
    (finding,) = _task(**options).interpret(outputs, _context(geometry))
    return finding, _region(finding)


BOX = _out((20, 30, 60, 90))


@pytest.mark.parametrize(
    ("affine", "box"),
    [
        ((1, 0, 0, 0, 1, 0), (20, 30, 60, 90)),
        ((2, 0, 0, 0, 3, 0), (40, 90, 120, 270)),
        ((1, 0, 50, 0, 1, 10), (70, 40, 110, 100)),
        ((2, 0, -30, 0, 2, 0), (10, 60, 90, 180)),  # letterbox: 15 columns of padding
        ((-1, 0, 100, 0, 1, 0), (40, 30, 80, 90)),  # mirrored
        ((1, 0, 0, 0, -1, 100), (20, 10, 60, 70)),  # upside down
        ((0, -1, 100, 1, 0, 0), (10, 20, 70, 60)),  # a quarter turn
    ],
)
def test_a_box_lies_on_the_sources_own_pixels(affine: Any, box: tuple[float, ...]) -> None:
    _, region = _only(BOX, Geometry(source_rows=400, source_columns=300, affine=affine))
    assert region.box == box
    assert region.area_px == (box[2] - box[0]) * (box[3] - box[1])
    assert region.centroid == ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    assert region.contours == (), "nobody drew a line around what is in it"


def test_what_was_turned_is_in_a_larger_box() -> None:
    half = 0.5**0.5
    turned = Geometry(source_rows=400, source_columns=400, affine=(half, -half, 200, half, half, 50))
    _, region = _only(BOX, turned)
    assert region.box is not None
    assert region.box[2] - region.box[0] == pytest.approx((40 + 60) * half, abs=0.02)


def test_boxes_end_where_the_image_and_the_models_view_end() -> None:
    reaching = _out((-20, 40, 50, 120))
    assert _only(reaching)[1].box == (0, 40, 50, 100)
    cropped = Geometry(source_rows=400, source_columns=400).cropped(100, 100)
    assert _only(reaching, cropped)[1].box == (100, 140, 150, 200), "what it did not see is not claimed"
    padded = Geometry(source_rows=60, source_columns=100).cropped(0, -20)
    assert _only(_out((10, 10, 50, 95)), padded)[1].box == (10, 0, 50, 60)


def test_a_box_in_the_padding_alone_is_nowhere_in_the_image() -> None:
    padded = Geometry(source_rows=60, source_columns=100).cropped(0, -20)
    (finding,) = _task().interpret(_out((10, 2, 50, 18)), _context(padded))
    assert (finding.present, finding.region) == (False, None)


def test_millimetres_are_those_of_each_axis() -> None:
    finding, region = _only(BOX, Geometry(source_rows=SIDE, source_columns=SIDE, pixel_spacing_mm=(0.5, 0.2)))
    assert [(m.name, m.value, m.unit) for m in finding.measurements] == [("width", 8.0, "mm"), ("height", 30.0, "mm")]
    assert (region.area_mm2, region.spacing_from) == (240.0, "pixel-spacing")
    finding, region = _only(BOX)
    assert [(m.value, m.unit) for m in finding.measurements] == [(40.0, "{pixels}"), (60.0, "{pixels}")]
    assert region.area_mm2 is region.spacing_from is None


def test_millimetres_of_the_detector_are_none_unless_they_are_asked_for() -> None:
    detector = Geometry(
        source_rows=SIDE, source_columns=SIDE, pixel_spacing_mm=(0.1, 0.1), spacing_from="imager-pixel-spacing"
    )
    assert _only(BOX, detector)[1].area_mm2 is None
    asked = _only(BOX, detector, millimetres_from=["imager-pixel-spacing"])[1]
    assert (asked.area_mm2, asked.spacing_from) == (24.0, "imager-pixel-spacing")


def test_a_box_over_two_scales_has_no_millimetres() -> None:
    left = UltrasoundRegion(min_x0=0, min_y0=0, max_x1=39, max_y1=99, delta_x_mm=0.5, delta_y_mm=0.5)
    right = UltrasoundRegion(min_x0=40, min_y0=0, max_x1=99, max_y1=99, delta_x_mm=0.1, delta_y_mm=0.1)
    geometry = Geometry(source_rows=SIDE, source_columns=SIDE, regions=(left, right))
    assert _only(BOX, geometry)[1].area_mm2 is None
    assert _only(_out((10, 10, 30, 30)), geometry)[1].area_mm2 == pytest.approx(100.0)


def test_labels_carry_their_thresholds_and_codes_and_come_best_first() -> None:
    head = {"label": "head", "threshold": 0.8, "concept": {"code": "69536005", "scheme": "SCT", "meaning": "Head"}}
    outputs = _out((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10), scores=[0.85, 0.9, 0.7], classes=[1, 1, 1])
    findings = _task(labels=["a", head]).interpret(outputs, _context())
    assert [(f.label, f.present, f.threshold) for f in findings] == [
        ("a", False, 0.5),
        ("head", True, 0.8),
        ("head", True, 0.8),
    ]
    assert [f.probability for f in findings] == [None, pytest.approx(0.9), pytest.approx(0.85)]
    assert findings[1].concept is not None
    assert findings[1].concept.code == "69536005"
    denied = _task(labels=["a", {**head, "threshold": 0.95}]).interpret(outputs, _context())
    assert (denied[1].present, denied[1].probability) == (False, pytest.approx(0.9)), "how near it came"


def test_suppression_is_the_models_own_unless_it_is_asked_for() -> None:
    twice = _out((20, 30, 60, 90), (22, 30, 62, 90), scores=[0.8, 0.9])
    assert len(_task().interpret(twice, _context())) == 2
    (kept,) = _task(nms="hard").interpret(twice, _context())
    assert _region(kept).box == (22, 30, 62, 90)
    assert len(_task(max_detections=1).interpret(twice, _context())) == 1


def test_an_instance_is_told_by_its_best_frame() -> None:
    task = _task(labels=["a", "b"], per_frame=True)
    frames = [
        task.interpret(_out((20, 30, 60, 90), scores=[0.7]), _context(number=1)),
        task.interpret(_out((0, 0, 9, 9), (50, 50, 60, 60), scores=[0.95, 0.6]), _context(number=2)),
        task.interpret(_out(), _context(number=3)),
    ]
    summary = task.summarise(frames, instance_ref())
    assert [(f.label, f.present, f.frame_number) for f in summary[:3]] == [("a", True, None)] * 2 + [("b", False, None)]
    assert [_region(f).frame_number for f in summary[:2]] == [2, 2]
    assert [f.frame_number for f in summary[3:]] == [1, 1, 2, 2, 2, 3, 3]
    assert len(_task().summarise([_task().interpret(_out(), _context())], instance_ref())) == 1


def test_a_summary_is_never_made_of_nothing() -> None:
    task = _task(labels=["a", "b"])
    frame = task.interpret(BOX, _context())
    for frames in ([], [frame[:1]], [frame, ()]):
        with pytest.raises(TaskFailed) as caught:
            task.summarise(frames, instance_ref())
        assert caught.value.code == "task.no-frames"


def _summary(*boxes: tuple[float, float, float, float]) -> Findings:
    return _task().summarise([_task().interpret(_out(*boxes), _context())], instance_ref())


def test_two_models_agree_where_each_box_has_its_own() -> None:
    one, other = (10, 10, 50, 50), (60, 60, 90, 90)
    agree = _task().difference
    assert agree(_summary(one, other), _summary(other, (12, 10, 50, 50))) == ""
    assert agree(_summary(), _summary()) == ""
    assert agree(_summary(one), _summary()) == "a: 1 boxes, and now 0"
    assert agree(_summary(), _summary(one)) == "a: 0 boxes, and now 1"
    assert "elsewhere" in agree(_summary(one), _summary(other))
    assert "elsewhere" in agree(_summary(one, one), _summary(one, other)), "one box is no two"
    in_frame = tuple(replace(f, frame_number=3) for f in _summary(one))
    assert agree(in_frame, ()) == "a in frame 3: 1 boxes, and now 0"


def test_a_device_needs_numpy_alone() -> None:
    code = (
        "import sys; from edgeai.api import TaskRequest, TensorSpec; from edgeai_tasks.detect import SPEC;"
        "o = (TensorSpec(name='y', dtype='float32', shape=(1, 4, 4, 5), layout='NHWC'),);"
        "SPEC.build(TaskRequest(options={'labels': ['a'], 'form': 'dense'}, outputs=o));"
        "print([m for m in ('cv2', 'scipy', 'contourpy', 'sklearn', 'edgeai.api.judging') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
