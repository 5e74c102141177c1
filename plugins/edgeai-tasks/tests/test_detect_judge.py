"""The judge of detect: truth of tables and masks, decisions, targets, and the loss of a dense head."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from edgeai.api import (
    Case,
    ConfigError,
    DataRejected,
    EvaluationFailed,
    Finding,
    Frame,
    FrameContext,
    Geometry,
    Judge,
    TaskRequest,
    TensorSpec,
)
from edgeai.testing.conformance.judge import ExampleCells
from edgeai.testing.examples import instance_ref
from edgeai_tasks.detect import SPEC
from edgeai_tasks.detect.judge import Detections

A, B = (10.0, 10.0, 50.0, 50.0), (60.0, 60.0, 90.0, 90.0)
SIDE = 96


def _level(rows: int = 12, labels: int = 2, name: str = "level", layout: str = "NHWC") -> TensorSpec:
    shape = (1, rows, rows, labels + 4) if layout == "NHWC" else (1, labels + 4, rows, rows)
    return TensorSpec(name=name, dtype="float32", shape=shape, layout=layout)


def _judge(outputs: Sequence[TensorSpec] = (), **options: Any) -> Judge:
    given = {"labels": ["a", "b"], "form": "dense", **options}
    assert SPEC.judge is not None
    return SPEC.judge(TaskRequest(options=given, outputs=tuple(outputs) or (_level(),)))


def _one_label(**options: Any) -> Judge:
    return _judge((_level(labels=1),), labels=["a"], **options)


def _case(judge: Judge, row: dict[str, Any], geometry: Geometry | None = None) -> Case:
    geometry = geometry or Geometry(source_rows=SIDE, source_columns=SIDE)
    frame = Frame(pixels=np.zeros((SIDE, SIDE)), number=1, geometry=geometry, instance=instance_ref())
    context = FrameContext(frame=frame, instance=frame.instance)
    return Case(id="x.png", truth=judge.read(ExampleCells(row)), context=context, image=lambda: frame.pixels)


def _listed(*boxes: tuple[float, ...], label: str = "a") -> dict[str, str]:
    return {"boxes": json.dumps([{"box": list(box), "label": label} for box in boxes])}


def _said(*rows: tuple[tuple[float, float, float, float], float], place: int = 0) -> Detections:
    scores = tuple(score for _, score in rows)
    stated = tuple(score >= 0.5 for score in scores)
    return Detections(("a", "b"), tuple(box for box, _ in rows), scores, (place,) * len(rows), stated)


# --- truth ------------------------------------------------------------------------------------


def test_a_table_says_boxes_in_three_ways() -> None:
    judge = _one_label()
    short = {"x0": "10", "y0": "10", "x1": "50", "y1": "50"}
    same = [_listed(A), {"boxes": "[[10, 10, 50, 50]]"}, short, {**short, "label": "a"}]
    assert len({judge.digest(judge.read(ExampleCells(row))) for row in same}) == 1
    none = [{"boxes": ""}, {"boxes": "[]"}, dict.fromkeys(short, "")]
    assert [judge.read(ExampleCells(row)).boxes for row in none] == [()] * 3
    several = judge.read(ExampleCells(_listed(A, B)))
    assert judge.digest(several) == judge.digest(judge.read(ExampleCells(_listed(B, A)))), "in any order"


def test_a_mask_has_a_box_about_each_piece() -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[10:50, 10:50] = 255
    mask[20:40, 20:40] = 0  # a ring is as large as what it is around
    mask[50, 50] = 1  # touches it at a corner
    mask[90:, 0:5] = 1
    judge = _one_label()
    case = _case(judge, {"mask": mask})
    exact = Detections(("a",), ((10, 10, 51, 51), (0, 90, 5, 96)), (0.9, 0.8), (0, 0), (True, True))
    assert judge.judged([case], [exact]).figures[0].value() == 1.0
    assert judge.stratum(case) == (0,)
    assert judge.stratum(_case(judge, {"mask": np.zeros((SIDE, SIDE), np.uint8)})) == ()


def test_a_mask_is_of_one_label() -> None:
    judge = _judge()
    case = _case(judge, {"mask": np.ones((SIDE, SIDE), np.uint8)})
    for ask in (lambda: judge.judged([case], [_said()]), lambda: judge.targets(case), lambda: judge.stratum(case)):
        with pytest.raises(EvaluationFailed) as caught:
            ask()
        assert caught.value.code == "evaluate.no-truth"


@pytest.mark.parametrize("box", [(96, 0, 120, 10), (-9, -9, 0, 0)])
def test_a_true_box_that_is_not_in_the_image_is_refused(box: tuple[float, ...]) -> None:
    judge = _judge()
    with pytest.raises(DataRejected) as caught:
        judge.judged([_case(judge, _listed(box))], [_said()])
    assert caught.value.code == "data.box-outside"


def test_a_mask_of_another_extent_is_refused() -> None:
    judge = _one_label()
    with pytest.raises(DataRejected) as caught:
        judge.stratum(_case(judge, {"mask": np.ones((4, 4), np.uint8)}))
    assert caught.value.code == "data.mask-extent"


def test_what_is_true_moves_with_its_picture() -> None:
    judge = _judge()
    truth = judge.read(ExampleCells(_listed(A, B)))
    cut = Geometry(source_rows=SIDE, source_columns=SIDE).cropped(20, 0).scaled(2, 1)
    moved = judge.moved(truth, cut, (55, 40))
    assert moved.boxes == ((0.0, 10.0, 15.0, 50.0),), "the other was cut away"
    assert moved.labels == (0,)
    tilted = Geometry(source_rows=SIDE, source_columns=SIDE, affine=(0.9, -0.4, 0.0, 0.4, 0.9, 0.0))
    assert judge.moved(truth, tilted, (SIDE, SIDE)) is None
    upright = Geometry(source_rows=SIDE, source_columns=SIDE, affine=(0.0, 1.0, 0.0, -1.0, 0.0, 96.0))
    assert judge.moved(truth, upright, (SIDE, SIDE)).boxes[0] == (46.0, 10.0, 86.0, 50.0)


def test_subgroups_are_by_the_longer_side() -> None:
    judge = _judge(sizes=[5.0, 20.0])
    known = Geometry(source_rows=SIDE, source_columns=SIDE, pixel_spacing_mm=(0.5, 0.1))
    assert judge.subgroups(_case(judge, _listed(A), known)) == {"size": "from 20 mm"}
    assert judge.subgroups(_case(judge, _listed((0, 0, 10, 12)), known)) == {"size": "5 to 20 mm"}
    assert judge.subgroups(_case(judge, _listed(A))) == {}, "nobody says how large a pixel is"
    assert judge.subgroups(_case(judge, _listed(), known)) == {}
    assert _judge().subgroups(_case(judge, _listed(A), known)) == {}


# --- answers ----------------------------------------------------------------------------------


def test_an_answer_keeps_what_no_threshold_lets_be_stated() -> None:
    judge, options = _judge(), {"labels": ["a", "b"], "form": "dense"}
    task = SPEC.build(TaskRequest(options=options, outputs=(_level(),)))
    grid = np.zeros((1, 12, 12, 6), np.float32)
    grid[0, 3, 3], grid[0, 8, 8] = [0.9, 0, 1, 1, 1, 1], [0, 0.3, 1, 1, 1, 1]
    context = _case(judge, _listed()).context
    answer = judge.answer(task.interpret({"level": grid}, context), {"level": grid}, context)
    assert answer.places == (0, 1)
    assert answer.stated == (True, False)
    assert answer.boxes[0] == (20, 20, 36, 36)
    with pytest.raises(EvaluationFailed) as caught:
        judge.answer((Finding(kind="class", label="a", present=True),), {"level": grid}, context)
    assert caught.value.code == "evaluate.no-findings"


def test_the_same_decision_is_as_many_boxes_in_the_same_places() -> None:
    judge = _judge()
    shifted = (12.0, 10.0, 52.0, 50.0)
    assert judge.alike(_said((A, 0.9), (B, 0.6)), _said((B, 0.9), (shifted, 0.55)))
    assert judge.alike(_said((A, 0.9), (B, 0.4)), _said((A, 0.6))), "what is not stated decides nothing"
    assert not judge.alike(_said((A, 0.9)), _said((A, 0.4)))
    assert not judge.alike(_said((A, 0.9)), _said((B, 0.9)))
    assert not judge.alike(_said((A, 0.9)), _said((A, 0.9), place=1)), "of another label"
    assert not judge.alike(_said((A, 0.9), (A, 0.9)), _said((A, 0.9), (B, 0.9)))


def test_answers_of_other_labels_are_refused() -> None:
    judge, other = _judge(), Detections(("c",), (), (), (), ())
    for ask in (lambda: judge.alike(_said(), other), lambda: judge.judged([_case(judge, _listed())], [other])):
        with pytest.raises(EvaluationFailed) as caught:
            ask()
        assert caught.value.code == "evaluate.other-labels"


def test_one_answer_is_right_where_each_true_box_has_its_own_and_nothing_else_is_stated() -> None:
    judge = _judge()
    two = _case(judge, _listed(A, B))
    one = judge.assessed(two, _said((A, 0.9), (B, 0.7), ((0, 60, 30, 90), 0.2)))
    assert one is not None
    assert (one.right, one.confidence) == (True, 0.7)
    missed = judge.assessed(two, _said((A, 0.9), (B, 0.3)))
    more = judge.assessed(two, _said((A, 0.9), (A, 0.8), (B, 0.7)))
    assert missed is not None
    assert more is not None
    assert (missed.right, missed.confidence) == (False, 0.7), "as sure as it denies the other"
    assert (more.right, more.confidence) == (False, 0.8)
    empty = judge.assessed(_case(judge, _listed()), _said((A, 0.25)))
    assert empty is not None
    assert (empty.right, empty.confidence) == (True, 0.75)


# --- thresholds -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wish",
    [{"treshold": 1}, {"threshold": "dice"}, {"threshold": "recall@fppi=0"}, {"threshold": 0.5}, {"temperature": True}],
)
def test_a_wish_that_it_does_not_have_is_refused_before_anything_is_trained(wish: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        _judge().choose([], [], wish)
    assert caught.value.code == "config.card-choice"


def test_a_threshold_is_chosen_on_what_the_task_itself_makes_of_the_outputs() -> None:
    judge = _one_label(threshold=0.9)
    grids = []
    for number in range(12):
        grid = np.zeros((1, 12, 12, 5), np.float32)
        grid[0, 3, 3], grid[0, 9, 9] = [0.8, 2.5, 2.5, 2.5, 2.5], [0.2 + 0.01 * number, 1, 1, 1, 1]
        grids.append({"level": grid})
    cases = [_case(judge, _listed((8, 8, 48, 48)))] * 12
    threshold = judge.choose(cases, grids, {"threshold": "recall@fppi=0.5"})["thresholds"]["a"]
    assert threshold == pytest.approx(0.255, abs=1e-3), "between the sixth and the seventh of what is wrong"


# --- training ---------------------------------------------------------------------------------


def test_targets_answer_with_the_true_boxes() -> None:
    """A model that gave its target would be right: the task itself reads the box out of it."""
    judge = _judge()
    geometry = Geometry(source_rows=192, source_columns=144).scaled(1.5, 2.0)
    case = _case(judge, _listed((30, 40, 90, 100)), geometry)
    target = judge.targets(case)["level"]
    assert (target.shape, target.dtype) == ((12, 12, 6), np.float32)
    assert target[..., 0].max() == 1.0
    assert not target[..., 1].any()
    task = SPEC.build(TaskRequest(options={"labels": ["a", "b"], "form": "dense"}, outputs=(_level(),)))
    (first, second) = task.interpret({"level": target[np.newaxis]}, case.context)
    assert first.region is not None
    assert first.region.box == pytest.approx((30, 40, 90, 100), abs=0.05)
    assert not second.present


def test_targets_of_several_levels_go_to_the_one_of_their_size() -> None:
    judge = _judge((_level(24, name="fine", layout="NCHW"), _level(6, name="coarse", layout="NCHW")))
    targets = judge.targets(_case(judge, _listed((10, 10, 30, 30), (0, 0, 96, 96))))
    assert targets["fine"].shape == (6, 24, 24)
    assert [(target[0] == 1.0).sum() for target in targets.values()] == [1, 1]
    assert not judge.targets(_case(judge, _listed()))["fine"].any()


def test_other_forms_have_no_targets() -> None:
    outputs = [TensorSpec(name=name, dtype="float32", shape=(1, 1, n)) for name, n in (("boxes", 4), ("scores", 3))]
    judge = _judge(outputs, form="ssd", anchors=[[0.5, 0.5, 1, 1]])
    assert judge.objective is None
    for refused, row in ((judge, _listed(A)), (_judge((_open(),)), _listed(A))):
        with pytest.raises(ConfigError) as caught:
            refused.targets(_case(refused, row))
        assert caught.value.code == "build.no-target"


def _open() -> TensorSpec:
    return TensorSpec(name="level", dtype="float32", shape=(1, None, None, 6), layout="NHWC")


@pytest.mark.parametrize("activation", ["none", "sigmoid"])
def test_the_loss_falls_towards_the_truth(activation: str) -> None:
    judge = _judge(activation=activation)
    assert judge.objective is not None
    formula = judge.objective.formula
    assert formula is not None
    rows = (_listed(A, B), _listed(B, label="b"), _listed())
    truth = np.stack([judge.targets(_case(judge, row))["level"] for row in rows])
    right = truth.astype(np.float64)
    if activation == "sigmoid":
        sure = np.clip(truth[..., :2], 1e-4, 1 - 1e-4)
        right = np.concatenate((np.log(sure / (1 - sure)), truth[..., 2:]), axis=-1)
    least = np.asarray(formula(np, truth, right))
    assert least.shape == (3,)
    assert np.isfinite(least).all()
    for changed in (
        right + np.array([0, 0, 0.3, 0, 0, 0]),
        right * np.array([1, 1, 0.5, 0.5, 0.5, 0.5]),
        right * np.array([1, 1, -1, -1, -1, -1]),
        right - 12.0 * (truth >= 1.0) * np.array([1, 1, 0, 0, 0, 0]),
        right + 9.0 * (truth == 0.0) * np.array([1, 1, 0, 0, 0, 0]),
    ):
        worse = np.asarray(formula(np, truth, changed))
        assert (worse[:2] > least[:2] + 1e-3).all()
        assert np.isfinite(worse).all()
    wild = np.asarray(formula(np, truth, right + 100.0 * np.random.default_rng(0).standard_normal(truth.shape)))
    assert np.isfinite(wild).all()


def test_the_loss_reads_both_layouts_alike() -> None:
    last, first = _judge(), _judge((_level(layout="NCHW"),))
    truth = last.targets(_case(last, _listed(A)))["level"][np.newaxis]
    other = first.targets(_case(first, _listed(A)))["level"][np.newaxis]
    assert other.shape == (1, 6, 12, 12)
    assert last.objective is not None
    assert first.objective is not None
    given = np.random.default_rng(1).random(truth.shape)
    one = last.objective.formula(np, truth, given)  # type: ignore[misc]
    assert first.objective.formula(np, other, np.moveaxis(given, -1, 1)) == pytest.approx(one)  # type: ignore[misc]
