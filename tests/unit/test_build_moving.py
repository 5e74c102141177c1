"""What is true of a picture that training moves, and what the network is then to answer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeai.api import Array, Judge, MovableTargets, TensorSpec
from edgeai.bundle.manifest import TaskUse, TransformStep
from edgeai.hosting.faults import PluginInfo
from edgeai.hosting.judges import hosted_judge
from edgeai.pipeline import Pipeline
from edgeai.plugins import Registry
from edgeai.testing.conformance.judge import ExampleCells
from edgeai_workbench import pictures
from edgeai_workbench.dataset import Sample
from edgeai_workbench.judges import judge_by_plugins
from edgeai_workbench.moving import MovingTargets, moved_case
from edgeai_workbench.prepared import Prepared, batches, prepare

ROWS, COLUMNS, SIDE = 60, 100, 40
"""A source of another aspect ratio than the plane, which has 0.4 of its scale and padding above and below."""
BOX = (30.0, 20.0, 50.0, 50.0)
IMAGE = TensorSpec(name="image", dtype="float32", shape=(1, SIDE, SIDE, 1), layout="NHWC")
LETTERBOX = TransformStep(transform="letterbox", options={"rows": SIDE, "columns": SIDE})
UNIT = TransformStep(transform="normalise", options={"mode": "full_range"})
VALUE = {"name": "length", "unit": "mm", "low": 0, "high": 500, "same": 1, "per": "source-pixel"}
PLACE = dict(zip(("x0", "y0", "x1", "y1"), map(str, BOX), strict=True))
STILL = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def _lengths(**changes: Any) -> Judge:
    output = TensorSpec(name="length", dtype="float32", shape=(1, 1), layout="NC")
    return judge_by_plugins(["regress"], TaskUse(name="regress", options={"values": [{**VALUE, **changes}]}), (output,))


def _boxes(side: int = 8) -> Judge:
    output = TensorSpec(name="boxes", dtype="float32", shape=(1, side, side, 5), layout="NHWC")
    options = {"form": "dense", "labels": ["thing"], "activation": "sigmoid"}
    return judge_by_plugins(["detect"], TaskUse(name="detect", options=options), (output,))


def _prepared(judge: Judge, *rows: Mapping[str, Any], spacing: tuple[float, float] = (0.5, 0.5)) -> Prepared:
    pixels = np.zeros((ROWS, COLUMNS), np.uint8)
    x0, y0, x1, y1 = map(int, BOX)
    pixels[y0:y1, x0:x1] = 255
    samples = [
        Sample(
            id=f"s{number}",
            group=f"s{number}",
            frame=lambda number=number: pictures.frame_of(pixels, name=f"s{number}", spacing_mm=spacing),  # type: ignore[misc]
            truth=judge.read(ExampleCells(row)),
        )
        for number, row in enumerate(rows)
    ]
    pipeline = Pipeline((LETTERBOX, UNIT), Registry.of(["transforms"]).transforms, IMAGE)
    return prepare(samples, pipeline, input=IMAGE, judge=judge, targets=True)


def _about_the_middle(a: float, b: float, d: float, e: float) -> Array:
    """(2, 3): this movement of the plane about its middle."""
    linear, middle = np.array([[a, b], [d, e]]), np.full(2, SIDE / 2)
    return np.concatenate((linear, (middle - linear @ middle)[:, np.newaxis]), axis=1)


def _turned(degrees: float, scale: float = 1.0) -> Array:
    cos, sin = (scale * f(math.radians(degrees)) for f in (math.cos, math.sin))
    return _about_the_middle(cos, -sin, sin, cos)


def _told(judge: Judge, row: Mapping[str, Any], affine: Array, **more: Any) -> Array | None:
    prepared = _prepared(judge, row, **more)
    targets, known = MovingTargets(prepared.compared(), prepared.cases(), judge).moved(affine[np.newaxis])
    return next(iter(targets.values()))[0] if known[0] else None


def test_where_nothing_moves_targets_are_as_they_were() -> None:
    for judge, row in ((_lengths(), {"value": "40", **PLACE}), (_boxes(), {"boxes": json.dumps([BOX])})):
        prepared = _prepared(judge, row)
        assert prepared.targets is not None
        told = _told(judge, row, STILL)
        assert told is not None
        np.testing.assert_allclose(told, next(iter(prepared.targets.values()))[0], atol=1e-5)


@pytest.mark.parametrize("degrees", [0.0, 25.0, 90.0, 180.0])
@pytest.mark.parametrize("scale", [1.0, 0.8, 1.25])
def test_a_length_in_pixels_grows_as_its_picture_does_and_turns_for_nothing(degrees: float, scale: float) -> None:
    told = _told(_lengths(), {"value": "40", **PLACE}, _turned(degrees, scale))
    assert told is not None
    assert told[0] == pytest.approx(80 / scale, rel=1e-6)  # 40 mm of pixels of 0.5 mm


def test_a_length_in_what_the_model_sees_and_one_in_millimetres() -> None:
    row = {"value": "40", **PLACE}
    seen = _told(_lengths(per="model-pixel"), row, _turned(10.0, 0.8))
    world = _told(_lengths(per="none"), row, _turned(10.0, 0.8))
    assert seen is not None
    assert world is not None
    assert seen[0] == pytest.approx(80 * 0.4 / 0.8, rel=1e-6)
    assert world[0] == 40.0


@pytest.mark.parametrize(
    ("row", "affine"),
    [
        (PLACE, np.array([[1.0, 0.0, 15.0], [0.0, 1.0, 0.0]])),  # 15 of 40 to the left: what is measured is cut
        (PLACE, _turned(0.0, 0.2)),
        ({}, _turned(20.0)),  # nobody says where it is, and corners are cut
        (PLACE, _about_the_middle(1.2, 0.0, 0.0, 1 / 1.2)),  # longer one way than the other
        (PLACE, _about_the_middle(1.0, 0.2, 0.0, 1.0)),
    ],
)
def test_nobody_can_say_a_length_that_is_cut_or_stretched(row: Mapping[str, str], affine: Array) -> None:
    assert _told(_lengths(), {"value": "40", **row}, affine) is None


def _moved_box(row: Mapping[str, Any], affine: Array) -> Array:
    """The box in pixels of what the model sees, out of the target's place with the most heat."""
    told = _told(_boxes(SIDE), row, affine)
    assert told is not None
    y, x = np.unravel_index(int(told[..., 0].argmax()), told.shape[:2])
    left, top, right, bottom = told[y, x, 1:]
    return np.array([x + 0.5 - left, y + 0.5 - top, x + 0.5 + right, y + 0.5 + bottom])


def test_a_box_is_mirrored_and_enlarged_with_its_picture() -> None:
    row = {"boxes": json.dumps([BOX])}
    there = np.array(BOX) * 0.4 + (0, 8, 0, 8)
    np.testing.assert_allclose(_moved_box(row, STILL), there, atol=1e-4)
    mirrored = _about_the_middle(-1.0, 0.0, 0.0, 1.0)
    np.testing.assert_allclose(
        _moved_box(row, mirrored), [SIDE - there[2], there[1], SIDE - there[0], there[3]], atol=1e-4
    )
    larger = _about_the_middle(0.8, 0.0, 0.0, 0.8)
    np.testing.assert_allclose(_moved_box(row, larger), (there - 20) / 0.8 + 20, atol=1e-4)


def test_a_mask_that_is_turned_has_the_box_about_what_it_became() -> None:
    mask = np.zeros((ROWS, COLUMNS), np.uint8)
    y, x = np.mgrid[0:ROWS, 0:COLUMNS] + 0.5
    mask[np.hypot((x - 50) / 30, (y - 30) / 10) < 1] = 255  # 60 wide and 20 high, about the middle
    turned = _moved_box({"mask": mask}, _turned(90.0))
    np.testing.assert_allclose(turned, [16, 8, 24, 32], atol=0.5)
    tilted = _moved_box({"mask": mask}, _turned(45.0))
    half = 0.4 * math.hypot(30, 10) / math.sqrt(2)
    np.testing.assert_allclose(tilted, [20 - half, 20 - half, 20 + half, 20 + half], atol=0.7)


def test_a_box_that_is_tilted_is_not_said_and_one_that_left_is_none() -> None:
    row = {"boxes": json.dumps([BOX])}
    assert _told(_boxes(), row, _turned(10.0)) is None
    gone = _told(_boxes(), row, np.array([[1.0, 0.0, 35.0], [0.0, 1.0, 0.0]]))
    assert gone is not None
    assert gone[..., 0].max() == 0.0


def test_the_truth_lies_in_the_moved_picture_where_the_plane_shows_it() -> None:
    """A point of the source goes to the plane, and with it: by the moved case it comes from the same point."""
    judge = _boxes()
    (case,) = _prepared(judge, {"boxes": json.dumps([BOX])}).cases()
    affine = _about_the_middle(-0.9, 0.0, 0.0, 1.1)
    moved = moved_case(case, affine, judge)
    assert moved is not None
    there = moved.context.frame.geometry.from_source(np.array(moved.truth.boxes[0]).reshape(2, 2))
    was = case.context.frame.geometry.from_source(np.array(BOX).reshape(2, 2))
    back = there @ affine[:, :2].T + affine[:, 2]
    np.testing.assert_allclose(np.sort(back, axis=0), np.sort(was, axis=0), atol=1e-4)


def test_batches_are_movable_where_the_judge_says_so_alone() -> None:
    rows = [{"value": str(value), **PLACE} for value in (40, 44, 48)]
    for inputs, targets in batches(_prepared(_lengths(), *rows), 2, seed=1)():
        assert isinstance(targets, MovableTargets)
        told, known = targets.moved(np.tile(_turned(0.0, 0.8), (len(inputs["image"]), 1, 1)))
        assert known.all()
        np.testing.assert_allclose(told["length"], targets["length"] / 0.8, rtol=1e-6)
    labels = judge_by_plugins(
        ["classify"],
        TaskUse(name="classify", options={"labels": ["no", "yes"], "mode": "binary"}),
        (TensorSpec(name="out", dtype="float32", shape=(1, 1)),),
    )
    assert not labels.moves_by_truth
    prepared = _prepared(_lengths(), *rows)
    plain = replace(prepared, judge=labels)
    assert not isinstance(plain.compared(), MovableTargets)


def test_a_judge_that_was_written_before_moves_no_truth() -> None:
    methods = ("read", "digest", "answer", "judged", "alike", "targets", "stratum", "subgroups", "pictures")
    facts = ("columns", "main", "labels", "folders", "objective")
    judge = _boxes()
    assert judge.moves_by_truth
    old = SimpleNamespace(**{name: getattr(judge, name) for name in (*methods, *facts)})
    info = PluginInfo(name="theirs", module="theirs", distribution="theirs", version="1")
    assert not hosted_judge(info, "judge", old).moves_by_truth
