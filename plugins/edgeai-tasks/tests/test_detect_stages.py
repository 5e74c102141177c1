"""What a detector of two stages is trained against: targets and losses that were worked out by hand, and refusals."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from edgeai.api import (
    Array,
    Case,
    ConfigError,
    EvaluationFailed,
    Frame,
    FrameContext,
    Geometry,
    Judge,
    TaskFailed,
    TaskRequest,
    TensorSpec,
)
from edgeai.testing.conformance.judge import ExampleCells
from edgeai.testing.examples import instance_ref
from edgeai_tasks.detect import SPEC

A, B = (10.0, 20.0, 50.0, 40.0), (64.0, 64.0, 96.0, 80.0)
ROWS, COLUMNS, COUNT = 80, 100, 3
SHARES = {"labels": ["a", "b"], "form": "two-stage", "coordinates": "shares"}


def _request(width: int = 3, deltas: int = 4, grid: tuple[int, ...] | None = (1, 8, 10, 5), **options: Any) -> Any:
    shapes = {"proposals": (1, COUNT, 4), "scores": (1, COUNT, width), "deltas": (1, COUNT, deltas)}
    shapes |= {"grid": grid} if grid else {}
    specs = [
        TensorSpec(name=name, dtype="float32", shape=shape, layout="NHWC" if len(shape) == 4 else "")
        for name, shape in shapes.items()
    ]
    return TaskRequest(options={**SHARES, **options}, outputs=tuple(specs))


def _judge(**options: Any) -> Judge:
    assert SPEC.judge is not None
    return SPEC.judge(_request(**options))


def _case(judge: Judge, *boxes: tuple[tuple[float, ...], str], geometry: Geometry | None = None) -> Case:
    geometry = geometry or Geometry(source_rows=ROWS, source_columns=COLUMNS)
    frame = Frame(pixels=np.zeros((ROWS, COLUMNS)), number=1, geometry=geometry, instance=instance_ref())
    context = FrameContext(frame=frame, instance=frame.instance)
    text = json.dumps([{"box": list(box), "label": label} for box, label in boxes])
    truth = judge.read(ExampleCells({"boxes": text}))
    return Case(id="x.png", truth=truth, context=context, image=lambda: frame.pixels)


def _batch(tensors: Any) -> dict[str, Array]:
    return {name: np.asarray(value, np.float64)[np.newaxis] for name, value in tensors.items()}


def _loss(judge: Judge, truths: Any, answers: Any) -> float:
    assert judge.objective is not None
    assert judge.objective.together is not None
    (loss,) = judge.objective.together(np, _batch(truths), _batch(answers))
    return float(loss)


# --- targets ----------------------------------------------------------------------------------


def test_targets_are_the_true_boxes_their_labels_and_deltas_of_nothing() -> None:
    judge = _judge()
    targets = judge.targets(_case(judge, (A, "a"), (B, "b")))
    np.testing.assert_allclose(
        targets["proposals"], [[0.1, 0.25, 0.5, 0.5], [0.64, 0.8, 0.96, 1.0], [0, 0, 0, 0]], atol=1e-6
    )
    np.testing.assert_array_equal(targets["scores"], [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert not targets["deltas"].any()
    assert targets["grid"].shape == (8, 10, 5), "of one label, whatever labels there are"
    assert np.argwhere(targets["grid"][..., 0] == 1).tolist() == [[3, 3], [7, 8]]
    np.testing.assert_allclose(targets["grid"][3, 3, 1:], [2.5, 1.5, 1.5, 0.5])
    assert all(target.dtype == np.float32 for target in targets.values())


def test_what_is_true_is_what_the_task_reads_out_of_it() -> None:
    judge = _judge()
    geometry = Geometry(source_rows=40, source_columns=200).scaled(2.0, 0.5)
    case = _case(judge, ((20, 10, 100, 20), "b"), geometry=geometry)
    targets = judge.targets(case)
    answers = {name: value[np.newaxis] for name, value in targets.items()}
    first, second = SPEC.build(_request()).interpret(answers, case.context)
    assert not first.present
    assert second.region is not None
    assert second.region.box == pytest.approx((20, 10, 100, 20), abs=1e-3)


def test_targets_follow_the_order_the_unit_and_the_background_of_the_card() -> None:
    judge = _judge(order="yx", coordinates="pixels", background="first")
    targets = judge.targets(_case(judge, (A, "b")))
    np.testing.assert_allclose(targets["proposals"][0], [20, 10, 40, 50])
    np.testing.assert_array_equal(targets["scores"], [[0, 0, 1], [1, 0, 0], [1, 0, 0]])
    without = _judge(width=2, background="no")
    np.testing.assert_array_equal(without.targets(_case(without, (A, "b")))["scores"], [[0, 1], [0, 0], [0, 0]])


def test_of_a_box_that_was_cut_the_second_stage_learns_what_is_left_and_of_one_that_is_gone_nothing() -> None:
    judge = _judge()
    geometry = Geometry(source_rows=200, source_columns=200, affine=(1, 0, 50, 0, 1, 0))  # 50 are cut off at the left
    case = _case(judge, ((30, 20, 70, 40), "a"), ((0, 0, 40, 40), "b"), geometry=geometry)
    targets = judge.targets(case)
    np.testing.assert_allclose(targets["proposals"][0], [0, 0.25, 0.2, 0.5], atol=1e-6)
    np.testing.assert_array_equal(targets["scores"], [[1, 0, 0], [0, 0, 1], [0, 0, 1]])


def test_a_grid_with_its_channels_first() -> None:
    judge = _judge(grid=(1, 8, 10, 5))
    outputs = [*judge._outputs[:3], TensorSpec(name="grid", dtype="float32", shape=(1, 5, 8, 10), layout="NCHW")]  # type: ignore[attr-defined]
    assert SPEC.judge is not None
    other = SPEC.judge(TaskRequest(options=SHARES, outputs=tuple(outputs)))
    truths, turned = (each.targets(_case(each, (A, "a"))) for each in (judge, other))
    np.testing.assert_array_equal(np.moveaxis(turned["grid"], 0, -1), truths["grid"])
    answers = {**truths, "grid": truths["grid"] + np.float32(0.3)}
    there = {**turned, "grid": turned["grid"] + np.float32(0.3)}
    assert _loss(judge, truths, answers) == pytest.approx(_loss(other, turned, there))


# --- loss -------------------------------------------------------------------------------------


def _stage(judge: Judge, proposals: Any, scores: Any, deltas: Any, *boxes: tuple[tuple[float, ...], str]) -> float:
    """The second stage's part: what is left when the first's, of the same grid, is taken away."""
    truths = judge.targets(_case(judge, *boxes))
    grid = truths["grid"].astype(np.float64)
    answers = {"proposals": proposals, "scores": scores, "deltas": deltas, "grid": grid}
    from edgeai_tasks.detect.targets import loss_of

    first = loss_of(1, logits=True, channels_last=True)(np, grid[np.newaxis], grid[np.newaxis])
    return _loss(judge, truths, answers) - float(first[0])


def test_the_loss_of_a_proposal_that_is_off_by_a_quarter() -> None:
    """In shares A is 0.1 to 0.5 and 0.25 to 0.5; one proposal is 0.2 to 0.6 there, which overlaps it by 0.3 / 0.5."""
    judge = _judge()
    proposals = [[0.2, 0.25, 0.6, 0.5], [0.7, 0.7, 0.9, 0.9], [0, 0, 0, 0]]
    scores = [[0.8, 0.1, 0.1], [0.2, 0.2, 0.6], [0.0, 0.0, 1.0]]
    deltas = np.zeros((COUNT, 4))
    # dx is -0.25 of a side, times ten; where there is no thing nothing is learnt of the box.
    wanted = -math.log(0.8) - math.log(0.6) + (2.5 - 0.5)
    assert _stage(judge, proposals, scores, deltas, (A, "a")) == pytest.approx(wanted, abs=1e-4)
    deltas[0] = [-2.5, 0, 0, 0]
    deltas[1:] = 99
    assert _stage(judge, proposals, scores, deltas, (A, "a")) == pytest.approx(wanted - 2.0, abs=1e-4)


def test_what_overlaps_by_less_than_half_is_background_and_learns_to_come_back() -> None:
    judge = _judge()
    proposals = [[0.3, 0.25, 0.7, 0.5], [0.1, 0.25, 0.5, 0.35], [0, 0, 0, 0]]  # by 1 / 3, and by 0.4
    scores = [[0.3, 0.0, 0.7], [0.5, 0.0, 0.5], [0, 0, 1]]
    shift = 5.0 - 0.5
    size = (10 * 0.75 - 0.5) + (5 * math.log(2.5) - 0.5)
    wanted = -math.log(0.7) - math.log(0.5) + (shift + size) / 2
    assert _stage(judge, proposals, scores, np.zeros((COUNT, 4)), (A, "a")) == pytest.approx(wanted, abs=1e-4)


def test_of_two_boxes_a_proposal_is_held_to_the_one_that_it_overlaps_more() -> None:
    judge = _judge()
    proposals = [[0.1, 0.25, 0.5, 0.5], [0.64, 0.8, 0.96, 1.0], [0, 0, 0, 0]]
    scores = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    none = np.zeros((COUNT, 4))
    assert _stage(judge, proposals, scores, none, (A, "a"), (B, "b")) == pytest.approx(0, abs=1e-4)
    assert _stage(judge, proposals, scores, none, (A, "b"), (B, "a")) > 10
    assert _stage(judge, proposals, [[0, 0, 1]] * 3, none) == pytest.approx(0, abs=1e-4), "and nothing is to be found"


@pytest.mark.parametrize("background", ["first", "last"])
def test_each_label_has_deltas_of_its_own(background: str) -> None:
    judge = _judge(deltas=12, background=background)
    proposals = [[0.2, 0.25, 0.6, 0.5], [0, 0, 0, 0], [0, 0, 0, 0]]
    scores = judge.targets(_case(judge, (A, "b")))["scores"]
    deltas = np.full((COUNT, 3, 4), 77.0)
    deltas[0, 2 if background == "first" else 1] = [-2.5, 0, 0, 0]
    assert _stage(judge, proposals, scores, deltas.reshape(COUNT, 12), (A, "b")) == pytest.approx(0, abs=1e-4)
    one = _judge(deltas=8, background=background)
    own = deltas[:, 1:] if background == "first" else deltas[:, :2]
    assert _stage(one, proposals, scores, own.reshape(COUNT, 8), (A, "b")) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("order", ["xy", "yx"])
def test_deltas_without_loss_lead_the_task_to_the_true_box(order: str) -> None:
    options = {"order": order, "box_scales": [10.0, 8.0, 5.0, 4.0], "coordinates": "pixels"}
    judge = _judge(**options)
    turn = [0, 1, 2, 3] if order == "xy" else [1, 0, 3, 2]
    box = np.array([16.0, 18.0, 56.0, 38.0])  # by -6 of 40 and by 2 of 20 to A
    proposals = np.array([box[turn], np.zeros(4), np.zeros(4)])
    deltas = np.zeros((COUNT, 4))
    deltas[0] = np.array([-1.5, 0.8, 0.0, 0.0])[turn]
    scores = np.array([[1.0, 0, 0], [0, 0, 1], [0, 0, 1]])
    assert _stage(judge, proposals, scores, deltas, (A, "a")) == pytest.approx(0, abs=1e-4)
    case = _case(judge)
    grid = np.zeros((8, 10, 5))
    answers = {"proposals": proposals, "scores": scores, "deltas": deltas, "grid": grid}
    given = {name: np.asarray(value, np.float32)[np.newaxis] for name, value in answers.items()}
    stated, _ = SPEC.build(_request(**options)).interpret(given, case.context)
    assert stated.region is not None
    assert stated.region.box == pytest.approx(A, abs=1e-4)


@pytest.mark.parametrize(
    ("options", "sure"),
    [
        ({"width": 3, "activation": "softmax"}, lambda wanted: 20.0 * wanted),
        ({"width": 2, "background": "no", "activation": "sigmoid"}, lambda wanted: 40.0 * wanted - 20.0),
        ({"width": 2, "background": "no", "activation": "none"}, lambda wanted: wanted),
        ({"width": 3, "background": "first", "activation": "none"}, lambda wanted: wanted),
    ],
)
def test_scores_that_are_right_lose_least(options: dict[str, Any], sure: Any) -> None:
    judge = _judge(**options)
    targets = judge.targets(_case(judge, (A, "a"), (B, "b")))
    right = {**targets, "scores": sure(targets["scores"].astype(np.float64))}
    least = _loss(judge, targets, right)
    other = {**right, "scores": np.roll(right["scores"], 1, axis=0)}
    assert _loss(judge, targets, other) > least + 1
    assert judge.objective is not None
    assert judge.objective.from_logits == (options["activation"] != "none")
    random = np.random.default_rng(0)
    for _ in range(3):
        wild = {name: 50 * random.standard_normal(value.shape) for name, value in targets.items()}
        assert math.isfinite(_loss(judge, targets, wild if options["activation"] != "none" else {**wild, **right}))


# --- refusals ---------------------------------------------------------------------------------


def test_without_a_first_stage_there_are_no_targets() -> None:
    judge = _judge(grid=None)
    assert judge.objective is None
    with pytest.raises(ConfigError, match="fourth output; not for two-stage of 3") as caught:
        judge.targets(_case(judge, (A, "a")))
    assert caught.value.code == "build.no-target"


def test_more_boxes_than_proposals_are_no_target() -> None:
    judge = _judge()
    with pytest.raises(ConfigError, match="has 4 boxes, the model proposes 3") as caught:
        judge.targets(_case(judge, *[(A, "a")] * 4))
    assert caught.value.code == "build.no-target"


def test_open_extents_are_no_target() -> None:
    judge = _judge()
    for place, shape in ((0, (1, None, 4)), (3, (1, None, None, 5))):
        outputs = list(judge._outputs)  # type: ignore[attr-defined]
        outputs[place] = TensorSpec(name="open", dtype="float32", shape=shape, layout=outputs[place].layout)
        assert SPEC.judge is not None
        open_one = SPEC.judge(TaskRequest(options=SHARES, outputs=tuple(outputs)))
        with pytest.raises(ConfigError) as caught:
            open_one.targets(_case(open_one, (A, "a")))
        assert caught.value.code == "build.no-target"


def test_a_mask_says_no_label() -> None:
    judge = _judge()
    frame = _case(judge).context
    truth = judge.read(ExampleCells({"mask": np.ones((ROWS, COLUMNS), np.uint8)}))
    with pytest.raises(EvaluationFailed) as caught:
        judge.targets(Case(id="m.png", truth=truth, context=frame, image=lambda: frame.frame.pixels))
    assert caught.value.code == "evaluate.no-truth"


@pytest.mark.parametrize("grid", [(1, 8, 10, 6), (1, 8, 10)])
def test_a_first_stage_is_a_grid_of_one_label(grid: tuple[int, ...]) -> None:
    with pytest.raises(TaskFailed) as caught:
        SPEC.build(_request(grid=grid))
    assert caught.value.code == "task.options"


def test_a_fifth_output_is_read_by_nobody() -> None:
    request = _request()
    more = TensorSpec(name="more", dtype="float32", shape=(1, 3))
    with pytest.raises(TaskFailed, match="are proposals, scores, deltas, grid, more"):
        SPEC.build(TaskRequest(options=SHARES, outputs=(*request.outputs, more)))
    four = TaskRequest(options={**SHARES, "outputs": ["proposals", "scores", "deltas"]}, outputs=request.outputs)
    assert SPEC.judge is not None
    assert SPEC.judge(four).objective is None, "it is named by the card, or it is not trained"
