"""Each form of output: boxes that were worked out by hand, and outputs that say nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edgeai.api import Array, Finding, Findings, FrameContext, TaskFailed, TaskRequest, TensorMismatch, TensorSpec
from edgeai.testing.conformance.places import seen
from edgeai_tasks.detect import SPEC
from edgeai_tasks.detect.anchors import anchors_of

ROWS, COLUMNS = 96, 128


def _spec(name: str, *shape: int | None, layout: str = "") -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=shape, layout=layout)


def _ask(given: dict[str, Any], *, context: FrameContext | None = None, layout: str = "", **options: Any) -> Findings:
    arrays = {name: np.asarray(value, np.float32) for name, value in given.items()}
    specs = tuple(_spec(name, *array.shape, layout=layout) for name, array in arrays.items())
    task = SPEC.build(TaskRequest(options={"labels": ["a", "b"], **options}, outputs=specs))
    return task.interpret(arrays, context or seen())


def _boxes(findings: Findings) -> list[tuple[str, float, tuple[float, ...]]]:
    stated = [each for each in findings if each.present and each.region is not None and each.region.box is not None]
    return [(each.label, round(each.probability or 0, 4), each.region.box) for each in stated]  # type: ignore[union-attr, misc]


def _refused(code: str, outputs: dict[str, Any], **options: Any) -> TaskFailed:
    with pytest.raises(TaskFailed) as caught:
        _ask(outputs, **options)
    assert caught.value.code == code, caught.value
    return caught.value


# --- dense ------------------------------------------------------------------------------------


def _grid(rows: int = 12, columns: int = 16, **places: list[float]) -> Array:
    """Zeros, and at ``y3_x5`` what is there."""
    grid = np.zeros((1, rows, columns, 6), np.float32)
    for place, values in places.items():
        y, x = place[1:].split("_x")
        grid[0, int(y), int(x)] = values
    return grid


def test_dense_is_about_the_centres_of_its_places() -> None:
    # The centre of (5, 3) is 44, 28 at a stride of 8; 1, 2, 3 and 0.5 places away are the sides.
    findings = _ask({"level": _grid(y3_x5=[0.0, 0.75, 1, 2, 3, 0.5])}, form="dense")
    assert _boxes(findings) == [("b", 0.75, (36, 12, 68, 32))]
    assert [(each.label, each.present) for each in findings] == [("a", False), ("b", True)]


def test_dense_reads_levels_of_either_layout_at_their_own_strides() -> None:
    fine, coarse = _grid(y3_x5=[0.8, 0, 1, 1, 1, 1]), _grid(3, 4, y1_x1=[0, 0.9, 0.5, 0.5, 0.5, 0.5])
    both = [("a", 0.8, (36, 20, 52, 36)), ("b", 0.9, (32, 32, 64, 64))]
    assert _boxes(_ask({"fine": fine, "coarse": coarse}, form="dense")) == both
    first = {name: np.moveaxis(level, -1, 1) for name, level in (("coarse", coarse), ("fine", fine))}
    assert _boxes(_ask(first, form="dense", layout="NCHW", outputs=["fine", "coarse"])) == both


def test_dense_applies_a_sigmoid_to_the_scores_alone() -> None:
    logits = _grid(y3_x5=[math.log(3), 0, 1, 1, 1, 1]) - np.float32([20, 20, 0, 0, 0, 0])
    logits[0, 3, 5, :2] += 20
    assert _boxes(_ask({"level": logits}, form="dense", activation="sigmoid", threshold=0.6)) == [
        ("a", 0.75, (36, 20, 52, 36))
    ]


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([0.9, 0, -1, 1, 0.5, 1], "task.box"),
        ([0.9, 0, 1, 1, 1, -1], "task.box"),
        ([0.9, 0, 0, 0, 0, 0], "task.box"),
        ([1.2, 0, 1, 1, 1, 1], "task.not-probabilities"),
        ([-0.1, 0, 1, 1, 1, 1], "task.not-probabilities"),
        ([0, 0, 1, 1, 1, math.nan], "task.not-finite"),
        ([0, math.inf, 1, 1, 1, 1], "task.not-finite"),
    ],
)
def test_dense_never_makes_a_silent_box(values: list[float], code: str) -> None:
    _refused(code, {"level": _grid(y3_x5=values)}, form="dense")


def test_what_no_threshold_lets_be_stated_need_be_no_box() -> None:
    findings = _ask({"level": _grid(y3_x5=[0.4, 0, -1, 1, 0.5, 1])}, form="dense")
    assert [(each.label, each.present, each.probability) for each in findings] == [
        ("a", False, None),
        ("b", False, None),
    ]


# --- ssd --------------------------------------------------------------------------------------

ANCHORS = [[0.5, 0.5, 0.5, 0.25], [0.25, 0.75, 0.5, 0.5]]


def test_ssd_moves_and_grows_its_anchors() -> None:
    # y 0.5 + 1/10 * 0.5, x 0.5 - 2/10 * 0.25, h 0.5 * 2, w 0.25
    encodings = [[[1, -2, 5 * math.log(2), 0], [0, 0, 0, 0]]]
    scores = [[[0.1, 0.9, 0.0], [0.2, 0.0, 0.8]]]
    got = _boxes(_ask({"boxes": encodings, "scores": scores}, form="ssd", anchors=ANCHORS))
    width, height = 0.25 * COLUMNS, 1.0 * ROWS
    x, y = 0.45 * COLUMNS, 0.55 * ROWS
    assert got[0][:2] == ("a", 0.9)
    assert got[0][2] == pytest.approx((x - width / 2, y - height / 2, x + width / 2, ROWS))
    assert got[1] == ("b", 0.8, (0.5 * COLUMNS, 0, COLUMNS, 0.5 * ROWS))


def test_ssd_in_another_order_with_other_scales() -> None:
    encodings = [[[-2, 1, 0, 5 * math.log(2)], [0, 0, 0, 0]]]
    scores = [[[0.9, 0.0], [0.0, 0.0]]]
    more = {"form": "ssd", "anchors": ANCHORS, "background": "no"}
    same = _boxes(_ask({"boxes": encodings, "scores": scores}, order="xy", **more))
    assert same[0][2][0] == pytest.approx(0.45 * COLUMNS - 16)
    unscaled = _boxes(_ask({"boxes": np.zeros((1, 2, 4)), "scores": scores}, box_scales=[1, 1, 1, 1], **more))
    assert unscaled == [("a", 0.9, (48, 24, 80, 72))]


def test_ssd_softmax_leaves_the_background_out() -> None:
    scores = np.log([[[0.2, 0.7, 0.1], [0.9, 0.05, 0.05]]])
    outputs = {"boxes": np.zeros((1, 2, 4)), "scores": scores}
    got = _boxes(_ask(outputs, form="ssd", anchors=ANCHORS, activation="softmax"))
    assert got == [("a", 0.7, (48, 24, 80, 72))]
    last = {**outputs, "scores": scores[..., [1, 2, 0]]}
    assert _boxes(_ask(last, form="ssd", anchors=ANCHORS, activation="softmax", background="last")) == got


def test_ssd_refuses_scores_that_are_none() -> None:
    outputs = {"boxes": np.zeros((1, 2, 4)), "scores": [[[0.5, 0.6, 0.7], [1, 0, 0]]]}
    assert "sum" in str(_refused("task.not-probabilities", outputs, form="ssd", anchors=ANCHORS))


def test_generated_anchors_are_those_of_the_object_detection_api() -> None:
    """Level by level; the lowest has three a place, and the others one more between two scales."""
    got = anchors_of({"grids": [[2, 2], [1, 1]], "min_scale": 0.2, "max_scale": 0.8, "aspect_ratios": [1.0, 2.0]})
    assert got.shape == (4 * 3 + 1 * 3, 4)
    sides = got[:, 2:] - got[:, :2]
    root = math.sqrt(2)
    assert sides[:3].tolist() == [
        pytest.approx([0.1, 0.1]),
        pytest.approx([0.2 * root, 0.2 / root]),
        pytest.approx([0.2 / root, 0.2 * root]),
    ]
    centres = (got[:, 2:] + got[:, :2]) / 2
    assert centres[::3].tolist() == [
        pytest.approx(at) for at in ([0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75], [0.5, 0.5])
    ]
    assert sides[-1].tolist() == pytest.approx([math.sqrt(0.8)] * 2), "between 0.8 and 1"
    assert len(anchors_of({"grids": [[19, 19], [10, 10], [5, 5], [3, 3], [2, 2], [1, 1]]})) == 1917, "SSD MobileNet"


# --- tflite-postprocessed ---------------------------------------------------------------------


def _four(**changes: Any) -> dict[str, Any]:
    outputs = {
        "boxes": [[[0.25, 0.5, 0.75, 0.75], [0, 0, 0.5, 0.25], [0, 0, 0, 0]]],
        "classes": [[1, 0, 0]],
        "scores": [[0.9, 0.6, 0]],
        "count": [2],
    }
    return {**outputs, **changes}


def test_postprocessed_says_where_and_what() -> None:
    got = _boxes(_ask(_four(), form="tflite-postprocessed"))
    assert got == [("a", 0.6, (0, 0, 32, 48)), ("b", 0.9, (64, 24, 96, 72))]


def test_postprocessed_reads_no_row_behind_the_count() -> None:
    behind = _four(classes=[[1, 77, 77]], scores=[[0.9, 0.9, 0.9]], count=[1])
    assert _boxes(_ask(behind, form="tflite-postprocessed")) == [("b", 0.9, (64, 24, 96, 72))]
    none = _ask(_four(count=[0]), form="tflite-postprocessed")
    assert [(each.present, each.region, each.probability) for each in none] == [(False, None, None)] * 2


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"count": [4]}, "task.count"),
        ({"count": [-1]}, "task.count"),
        ({"count": [1.5]}, "task.count"),
        ({"count": [math.nan]}, "task.not-finite"),
        ({"classes": [[2, 0, 0]]}, "task.class"),
        ({"classes": [[-1, 0, 0]]}, "task.class"),
        ({"classes": [[0.5, 0, 0]]}, "task.class"),
        ({"scores": [[90, 60, 0]]}, "task.not-probabilities"),
        ({"boxes": [[[0.75, 0.5, 0.25, 0.75], [0, 0, 0.5, 0.25], [0, 0, 0, 0]]]}, "task.box"),
        ({"boxes": [[[0.25, 0.5, 0.75, 0.5], [0, 0, 0.5, 0.25], [0, 0, 0, 0]]]}, "task.box"),
        ({"classes": [[1, 0]]}, "task.output"),
    ],
)
def test_postprocessed_never_makes_a_silent_box(changes: dict[str, Any], code: str) -> None:
    _refused(code, _four(**changes), form="tflite-postprocessed")


# --- two-stage --------------------------------------------------------------------------------

PROPOSALS = [[[10, 20, 30, 60], [50, 50, 70, 70], [0, 0, 0, 0]]]


def _staged(scores: Any, deltas: Any) -> dict[str, Any]:
    return {"proposals": PROPOSALS, "scores": scores, "deltas": deltas}


def test_two_stage_moves_each_label_by_its_own() -> None:
    scores = [[[0.9, 0.0, 0.1], [0.0, 0.8, 0.2], [0.0, 0.0, 1.0]]]
    deltas = np.zeros((1, 3, 8))
    deltas[0, 0, :4] = [5, -2.5, 5 * math.log(2), 0]  # x + 0.5 * 20, y - 0.25 * 40, twice as wide
    deltas[0, 0, 4:] = 99
    got = _boxes(_ask(_staged(scores, deltas), form="two-stage"))
    assert got == [("a", 0.9, (10, 10, 50, 50)), ("b", 0.8, (50, 50, 70, 70))]
    with_background = np.concatenate((deltas, np.full((1, 3, 4), 77)), axis=2)
    assert _boxes(_ask(_staged(scores, with_background), form="two-stage")) == got
    first = np.concatenate((np.full((1, 3, 4), 77), deltas), axis=2)
    turned = np.asarray(scores)[..., [2, 0, 1]]
    assert _boxes(_ask(_staged(turned, first), form="two-stage", background="first")) == got


def test_two_stage_moves_all_labels_alike_where_there_is_one_delta() -> None:
    scores = [[[0.6, 0.4, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]]
    got = _boxes(_ask(_staged(scores, np.zeros((1, 3, 4))), form="two-stage", threshold=0.3))
    assert got == [("a", 0.6, (10, 20, 30, 60)), ("b", 0.4, (10, 20, 30, 60))]


def test_two_stage_takes_shares_and_y_first_as_tensorflow_has_them() -> None:
    shares = np.asarray(PROPOSALS)[..., [1, 0, 3, 2]] / [ROWS, COLUMNS, ROWS, COLUMNS]
    outputs = {"proposals": shares, "scores": [[[0.9, 0, 0.1]] * 3], "deltas": np.zeros((1, 3, 4))}
    got = _boxes(_ask(outputs, form="two-stage", coordinates="shares", order="yx"))
    assert [(label, tuple(round(side, 1) for side in box)) for label, _, box in got] == [
        ("a", (10, 20, 30, 60)),
        ("a", (50, 50, 70, 70)),
    ]


def test_two_stage_leaves_rows_without_a_proposal_out_and_no_other() -> None:
    """Fixed shapes are filled up with points; a proposal that ends before it begins is none of them."""
    scores, deltas = [[[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.9, 0.0, 0.1]]], np.zeros((1, 3, 4))
    assert _boxes(_ask(_staged(scores, deltas), form="two-stage")) == []
    broken = {**_staged(scores, deltas), "proposals": [[*PROPOSALS[0][:2], [30, 20, 10, 60]]]}
    _refused("task.box", broken, form="two-stage")


def test_two_stage_makes_no_infinite_box() -> None:
    deltas = np.zeros((1, 3, 4))
    deltas[0, 0, 2:] = 1e6
    got = _boxes(_ask(_staged([[[0.9, 0, 0.1], [0, 0, 1], [0, 0, 1]]], deltas), form="two-stage"))
    assert got == [("a", 0.9, (0, 0, COLUMNS, ROWS))]


@pytest.mark.parametrize("which", ["proposals", "scores", "deltas"])
def test_two_stage_refuses_rows_that_do_not_go_together(which: str) -> None:
    outputs = _staged([[[0.9, 0, 0.1]] * 3], np.zeros((1, 3, 4)))
    _refused("task.output", {**outputs, which: np.asarray(outputs[which])[:, :2]}, form="two-stage")


def test_outputs_that_were_not_declared_are_refused() -> None:
    outputs = (_spec("level", 1, None, None, 6, layout="NHWC"),)
    task = SPEC.build(TaskRequest(options={"labels": ["a", "b"], "form": "dense"}, outputs=outputs))
    with pytest.raises(TensorMismatch):
        task.interpret({"level": np.zeros((1, 3, 4, 5), np.float32)}, seen())
    with pytest.raises(TaskFailed) as caught:
        task.interpret({"level": np.zeros((1, 0, 4, 6), np.float32)}, seen())
    assert caught.value.code == "task.output"
    findings: tuple[Finding, ...] = task.interpret({"level": np.zeros((1, 3, 4, 6), np.float32)}, seen())
    assert [each.present for each in findings] == [False, False]
