"""Evaluation: a model asked through its task, scored with intervals, broken down, and held against another."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeai.api import (
    Array,
    DataRejected,
    EvaluationFailed,
    Finding,
    Frame,
    FrameContext,
    Geometry,
    InferenceFailed,
    InstanceRef,
    Judge,
    Task,
    TaskRequest,
    TensorSpec,
)
from edgeai.bundle.manifest import TaskUse
from edgeai.testing.examples import instance_ref
from edgeai_tasks.classify import SPEC as CLASSIFY
from edgeai_tasks.classify.judge import Labels, Stated
from edgeai_tasks.segment import SPEC as MASKS
from edgeai_tasks.segment.judge import PackedMask
from edgeai_workbench.answers import Answers, agreement, answer
from edgeai_workbench.cells import TablePicture
from edgeai_workbench.dataset import Sample
from edgeai_workbench.evaluation import compare, drop, score
from edgeai_workbench.prepared import Prepared
from edgeai_workbench.statistics import Undefined

LABELS = ("ap", "pa")
BINARY = TaskUse(name="classify", options={"mode": "binary", "labels": list(LABELS), "activation": "none"})
THREE = TaskUse(name="classify", options={"mode": "multi-class", "labels": ["a", "b", "c"], "threshold": 0.5})
SIDE = 24


def _frame(spacing: tuple[float, float] | None = None) -> Frame:
    geometry = Geometry(source_rows=SIDE, source_columns=SIDE, pixel_spacing_mm=spacing)
    return Frame(pixels=np.zeros((SIDE, SIDE), np.float32), number=1, geometry=geometry, instance=instance_ref())


def _prepared(
    targets: Sequence[Any],
    values: Array,
    judge: Judge,
    *,
    groups: Sequence[str] | None = None,
    subgroups: Sequence[dict[str, str]] | None = None,
    spacing: tuple[float, float] | None = None,
) -> Prepared:
    """Samples whose only input is what the model below answers."""
    frame = _frame(spacing)
    samples = tuple(
        Sample(
            id=f"s{n}",
            group=groups[n] if groups else f"s{n}",
            frame=lambda: frame,
            subgroups=subgroups[n] if subgroups else {},
            truth=target,
        )
        for n, target in enumerate(targets)
    )
    contexts = tuple(FrameContext(frame=frame, instance=frame.instance) for _ in samples)
    return Prepared(samples=samples, judge=judge, inputs={"x": values.astype(np.float32)}, contexts=contexts)


def _echo(inputs: Any) -> Any:
    return {"out": inputs["x"]}


def _request(use: TaskUse, size: int) -> TaskRequest:
    output = TensorSpec(name="out", dtype="float32", shape=(1, size), layout="NC")
    return TaskRequest(options=use.options, outputs=(output,))


def _classify(use: TaskUse, size: int) -> Task:
    return CLASSIFY.build(_request(use, size))


def _judge(use: TaskUse, size: int) -> Judge:
    assert CLASSIFY.judge is not None
    return CLASSIFY.judge(_request(use, size))


def _asked(truth: Sequence[bool], p: Array, use: TaskUse = BINARY, **more: Any) -> tuple[Prepared, Answers]:
    targets = [Labels((LABELS[int(t)],)) for t in truth]
    prepared = _prepared(targets, np.asarray(p)[:, None], _judge(use, 1), **more)
    return prepared, answer(prepared, _echo, _classify(use, 1))


@pytest.fixture
def noisy() -> Callable[..., tuple[Any, Any]]:
    """(truth, probabilities) of a classifier that is right more often than not."""

    def make(n: int = 200, skill: float = 0.35, seed: int = 0) -> tuple[Any, Any]:
        rng = np.random.default_rng(seed)
        truth = rng.random(n) < 0.4
        return truth, np.clip(truth * skill + rng.random(n) * (1 - skill), 0, 1)

    return make


# --- one model --------------------------------------------------------------------------------


def test_a_binary_classifier(noisy: Any) -> None:
    truth, p = noisy()
    prepared, answers = _asked(truth, p)
    assert {each.labels for each in answers.each} == {LABELS}
    assert [each.probabilities[1] for each in answers.each] == pytest.approx(p, abs=1e-6)
    scores = score(prepared, answers)
    assert (scores.main, scores.n, scores.drawn) == ("auc_roc", 200, 200)
    assert scores["accuracy"].value == pytest.approx(((p >= 0.5) == truth).mean())
    assert scores["sensitivity"].value == pytest.approx((p[truth] >= 0.5).mean())
    for name, scored in scores.items():
        assert scored.low <= scored.value <= scored.high or name == "ece", name  # ECE is biased upwards over resamples
        assert 0 < scored.high - scored.low < 0.4
    assert scores["brier"].better == "lower"
    grid = scores.confusion
    assert grid is not None
    assert (grid.true, grid.stated) == (LABELS, LABELS)
    assert grid.counts[1] == ((p[truth] < 0.5).sum(), (p[truth] >= 0.5).sum())


def test_the_same_twice_and_another_seed() -> None:
    rng = np.random.default_rng(5)
    prepared, answers = _asked(rng.random(60) < 0.5, rng.random(60))
    one, two = (score(prepared, answers) for _ in range(2))
    assert one.as_dict() == two.as_dict()
    assert score(prepared, answers, seed=1)["brier"].low != one["brier"].low


def test_values_alone_for_whoever_asks_often(noisy: Any) -> None:
    prepared, answers = _asked(*noisy(50))
    scores = score(prepared, answers, metrics=(), resamples=0)
    assert list(scores) == ["auc_roc", "accuracy"]
    assert math.isnan(scores["auc_roc"].low)


def test_several_labels_by_label_and_undecided() -> None:
    rng = np.random.default_rng(2)
    index = rng.integers(0, 3, 120)
    p = rng.dirichlet((1, 1, 1), 120) * 0.5 + np.eye(3)[index] * 0.5
    p[0] = (0.4, 0.35, 0.25)
    prepared = _prepared([Labels(("abc"[i],)) for i in index], p, _judge(THREE, 3))
    answers = answer(prepared, _echo, _classify(THREE, 3))
    scores = score(prepared, answers)
    assert set(scores.by_label) == {"a", "b", "c"}
    assert scores["auc_roc"].value == pytest.approx(np.mean([scores.by_label[x]["auc_roc"] for x in "abc"]))
    assert scores.confusion is not None
    assert scores.confusion.stated == ("a", "b", "c", "undecided")
    assert sum(map(sum, scores.confusion.counts)) == 120


def test_multi_label() -> None:
    use = TaskUse(name="classify", options={"mode": "multi-label", "labels": ["x", "y"]})
    rng = np.random.default_rng(3)
    truth = rng.random((80, 2)) < 0.4
    p = np.clip(truth * 0.4 + rng.random((80, 2)) * 0.6, 0, 1)
    targets = [Labels(tuple(name for name, on in zip("xy", row, strict=True) if on)) for row in truth]
    prepared = _prepared(targets, p, _judge(use, 2))
    scores = score(prepared, answer(prepared, _echo, _classify(use, 2)))
    assert scores["accuracy"].value == pytest.approx(((p >= 0.5) == truth).mean())
    assert scores.confusion is None


def test_subgroups_have_scores_of_their_own(noisy: Any) -> None:
    truth, p = noisy(100)
    device = ["old" if n % 4 == 0 else "new" for n in range(100)]
    p[::4] = 1 - p[::4]
    prepared, answers = _asked(truth, p, subgroups=[{"device": d, "site": "one"} for d in device])
    scores = score(prepared, answers)
    assert list(scores.subgroups) == ["device=new", "device=old"]  # a subgroup of all is none
    assert scores.subgroups["device=old"].n == 25
    assert scores.subgroups["device=old"]["auc_roc"].value < 0.5 < scores.subgroups["device=new"]["auc_roc"].value
    assert scores.subgroups["device=old"].subgroups == {}


def test_a_subgroup_of_one_class_says_what_it_does_not_know(noisy: Any) -> None:
    truth, p = noisy(60)
    prepared, answers = _asked(truth, p, subgroups=[{"side": "left" if t else "right"} for t in truth])
    left = score(prepared, answers).subgroups["side=left"]
    assert left.main == "accuracy"
    assert "auc_roc" not in left
    assert "one class" in left.undefined["auc_roc"]
    body = json.loads(json.dumps(left.as_dict(), allow_nan=False))
    assert body["metrics"]["accuracy"]["value"] == left["accuracy"].value


def test_a_single_sample_has_values_and_no_interval() -> None:
    prepared, answers = _asked([True], np.array([0.9]))
    scores = score(prepared, answers)
    assert scores["accuracy"].value == 1.0
    assert math.isnan(scores["accuracy"].low)
    assert json.loads(json.dumps(scores.as_dict(), allow_nan=False))["metrics"]["accuracy"]["low"] is None


def test_images_of_one_patient_are_drawn_together(noisy: Any) -> None:
    truth, p = noisy(80)
    truth, p = np.repeat(truth[:20], 4), np.repeat(p[:20], 4)
    alone = score(*_asked(truth, p))
    together = score(*_asked(truth, p, groups=[f"p{n // 4}" for n in range(80)]))
    assert (alone.drawn, together.drawn) == (80, 20)
    assert alone["auc_roc"].value == together["auc_roc"].value
    width = [scores["accuracy"].high - scores["accuracy"].low for scores in (alone, together)]
    assert width[1] > 1.5 * width[0]


# --- masks ------------------------------------------------------------------------------------


def _masks(tmp_path: Path, truths: Sequence[Any], answered: Sequence[Any], **more: Any) -> tuple[Prepared, Answers]:
    targets = []
    for n, mask in enumerate(truths):
        path = tmp_path / f"{n}.png"
        Image.fromarray(mask.astype(np.uint8) * 255).save(path)
        targets.append(TablePicture(path))
    output = TensorSpec(name="out", dtype="float32", shape=(1, SIDE, SIDE, 1), layout="NHWC")
    request = TaskRequest(options=SEGMENT.options, outputs=(output,))
    assert MASKS.judge is not None
    prepared = _prepared(targets, np.stack(answered)[..., None], MASKS.judge(request), **more)
    return prepared, answer(prepared, _echo, MASKS.build(request))


SEGMENT = TaskUse(name="segment", options={"labels": ["head"]})


def _square(y: int, x: int, side: int = 8) -> Any:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y : y + side, x : x + side] = True
    return mask


def test_masks_are_scored_in_the_source_image(tmp_path: Path) -> None:
    truths = [_square(4, 4), _square(4, 4), np.zeros((SIDE, SIDE), bool)]
    answered = [_square(4, 4), _square(4, 8), np.zeros((SIDE, SIDE), bool)]
    prepared, answers = _masks(tmp_path, truths, answered, spacing=(0.5, 0.5))
    assert (answers.each[1].mask("head") == answered[1]).all()
    scores = score(prepared, answers)
    assert scores.main == "dice"
    assert scores["dice"].value == pytest.approx((1 + 0.5 + 1) / 3)
    assert scores["iou"].value == pytest.approx((1 + 1 / 3 + 1) / 3)
    assert (scores["hd95"].unit, scores["hd95"].better) == ("mm", "lower")
    assert scores["hd95"].value == pytest.approx(4 * 0.5 / 3)


def test_without_spacing_distances_are_in_pixels(tmp_path: Path) -> None:
    prepared, answers = _masks(tmp_path, [_square(4, 4)] * 2, [_square(4, 6)] * 2)
    assert score(prepared, answers)["hd95"].unit == "px"


def test_agreement_of_masks(tmp_path: Path) -> None:
    truths = [_square(4, 4)] * 4
    prepared, one = _masks(
        tmp_path, truths, [_square(4, 4), _square(4, 4), _square(4, 4), np.zeros((SIDE, SIDE), bool)]
    )
    _, other = _masks(tmp_path, truths, [_square(4, 4), _square(4, 6), np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))])
    assert agreement(one, one, prepared.judge) == 1.0
    assert agreement(one, other, prepared.judge) == 0.5


def test_packed_masks_are_what_they_were() -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (7, 13), (270, 400)):
        mask = rng.random(shape) < 0.5
        assert (PackedMask.of(mask).unpack() == mask).all()


def test_several_masks_a_sample_cannot_be_scored(tmp_path: Path) -> None:
    output = TensorSpec(name="out", dtype="float32", shape=(1, SIDE, SIDE, 2), layout="NHWC")
    request = TaskRequest(options={"labels": ["head", "tail"]}, outputs=(output,))
    assert MASKS.judge is not None
    Image.fromarray(_square(4, 4).astype(np.uint8)).save(tmp_path / "mask.png")
    maps = np.stack([np.stack([_square(4, 4), _square(9, 9)], axis=-1)] * 2)
    prepared = _prepared([TablePicture(tmp_path / "mask.png")] * 2, maps, MASKS.judge(request))
    answers = answer(prepared, _echo, MASKS.build(request))
    with pytest.raises(EvaluationFailed) as caught:
        score(prepared, answers)
    assert caught.value.code == "evaluate.no-truth"


# --- two models -------------------------------------------------------------------------------


def test_a_drop_is_paired(noisy: Any) -> None:
    truth, p = noisy(300)
    prepared, parent = _asked(truth, p)
    _, child = _asked(truth, np.clip(p + np.random.default_rng(1).normal(0, 0.01, 300), 0, 1))
    comparison = drop(prepared, parent, child, "auc_roc")
    alone = score(prepared, parent)["auc_roc"]
    assert comparison.low <= comparison.value <= comparison.high
    assert comparison.high - comparison.low < 0.2 * (alone.high - alone.low)
    zero = drop(prepared, parent, parent, "auc_roc")
    assert (zero.value, zero.low, zero.high) == (0.0, 0.0, 0.0)


def test_a_drop_is_above_0_where_the_child_is_worse_whichever_way_is_better(noisy: Any) -> None:
    truth, p = noisy(200)
    prepared, parent = _asked(truth, p)
    _, child = _asked(truth, np.clip(0.5 + (p - 0.5) * 0.1, 0, 1))
    worse = np.random.default_rng(4).random(200)
    _, random_ = _asked(truth, worse)
    for metric in ("auc_roc", "accuracy", "brier", "f1"):
        assert drop(prepared, parent, random_, metric).low > 0, metric
        assert drop(prepared, random_, parent, metric).high < 0, metric
    assert drop(prepared, parent, child, "auc_roc").value == pytest.approx(0.0, abs=1e-6)


def test_compare_tests_what_it_can(noisy: Any) -> None:
    truth, p = noisy(200)
    prepared, one = _asked(truth, p)
    _, other = _asked(truth, np.random.default_rng(4).random(200))
    comparison = compare(prepared, one, other)
    assert (comparison.main, comparison.n) == ("auc_roc", 200)
    assert (comparison.differences["auc_roc"].test, comparison.differences["accuracy"].test) == (
        "DeLong",
        "McNemar, exact",
    )
    assert comparison.differences["f1"].test == "paired bootstrap"
    auc = comparison.differences["auc_roc"]
    assert auc.difference.value == pytest.approx(auc.other - auc.one)
    assert auc.difference.high < 0
    assert auc.says == "A is better"
    assert comparison.differences["brier"].says == "A is better"
    turned = compare(prepared, other, one)
    assert turned.differences["auc_roc"].says == "B is better"
    assert turned.differences["auc_roc"].p == pytest.approx(auc.p)
    json.dumps(comparison.as_dict(), allow_nan=False)


def test_no_difference_is_said_so(noisy: Any) -> None:
    prepared, one = _asked(*noisy(200))
    comparison = compare(prepared, one, one)
    assert comparison.agreement == 1.0
    assert {difference.says for difference in comparison.differences.values()} == {"no difference shown"}
    assert {difference.p for difference in comparison.differences.values()} == {1.0}


def test_samples_of_one_patient_are_no_independent_evidence(noisy: Any) -> None:
    truth, p = noisy(80)
    groups = [f"p{n // 8}" for n in range(80)]
    prepared, one = _asked(truth, p, groups=groups)
    _, other = _asked(truth, np.random.default_rng(4).random(80), groups=groups)
    comparison = compare(prepared, one, other)
    assert {difference.test for difference in comparison.differences.values()} == {
        "DeLong, by group",
        "Bonett-Price, by group",
        "paired bootstrap, by group",
    }
    assert comparison.drawn == 10


def test_labels_in_another_order_are_the_same_model(noisy: Any) -> None:
    truth, p = noisy(50)
    prepared, one = _asked(truth, p)
    turned = Answers(
        ids=one.ids,
        each=tuple(Stated(a.labels[::-1], a.present[::-1], a.probabilities[::-1]) for a in one.each),
    )
    assert agreement(one, turned, prepared.judge) == 1.0
    assert compare(prepared, one, turned).differences["auc_roc"].difference.value == 0.0


# --- refusals ---------------------------------------------------------------------------------


def test_other_samples_and_other_labels_are_refused(noisy: Any) -> None:
    truth, p = noisy(30)
    prepared, one = _asked(truth, p)
    other = Answers(ids=one.ids, each=tuple(Stated(("x", "y"), a.present, a.probabilities) for a in one.each))
    for call, code in (
        (lambda: score(prepared, one.at(range(20))), "evaluate.other-samples"),
        (lambda: compare(prepared, one, one.at(range(20))), "evaluate.other-samples"),
        (lambda: agreement(one, one.at(list(range(30))[::-1]), prepared.judge), "evaluate.other-samples"),
        (lambda: compare(prepared, one, other), "evaluate.other-labels"),
        (lambda: agreement(one, other, prepared.judge), "evaluate.other-labels"),
        (lambda: drop(prepared, one, one, "dice"), "evaluate.unknown-metric"),
    ):
        with pytest.raises(EvaluationFailed) as caught:
            call()
        assert caught.value.code == code


def test_a_drop_of_what_is_undefined_is_refused() -> None:
    prepared, one = _asked([True] * 5, np.full(5, 0.7))
    with pytest.raises(Undefined):
        drop(prepared, one, one, "auc_roc")


def test_samples_without_truth_are_refused(noisy: Any) -> None:
    _, p = noisy(10)
    prepared = _prepared([None] * 10, p[:, None], _judge(BINARY, 1))
    answers = answer(prepared, _echo, _classify(BINARY, 1))
    with pytest.raises(DataRejected):
        score(prepared, answers)


def test_a_failure_names_its_sample() -> None:
    def infer(inputs: Any) -> Any:
        if inputs["x"][0, 0] > 0.8:
            raise InferenceFailed("the engine gave up", remedy="rest")
        return _echo(inputs)

    prepared = _prepared([Labels(("ap",))] * 3, np.array([[0.1], [0.9], [0.2]]), _judge(BINARY, 1))
    with pytest.raises(InferenceFailed, match=r"^s1: the engine gave up$") as caught:
        answer(prepared, infer, _classify(BINARY, 1))
    assert caught.value.remedy == "rest"


def test_findings_of_another_kind_are_refused() -> None:
    class Counts:
        def interpret(self, outputs: Any, context: FrameContext) -> tuple[Finding, ...]:
            return (Finding(kind="count", label="cells", present=True),)

        def summarise(self, frames: Any, instance: InstanceRef) -> tuple[Finding, ...]:
            return ()

    prepared = _prepared([Labels(("ap",))] * 3, np.zeros((3, 1)), _judge(BINARY, 1))
    with pytest.raises(EvaluationFailed) as caught:
        answer(prepared, _echo, Counts())
    assert caught.value.code == "evaluate.no-findings"
