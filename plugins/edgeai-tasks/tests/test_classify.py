"""Classify: what is stated, what is denied, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeai.api import Concept, Findings, FrameContext, Task, TaskFailed, TaskRequest, TensorMismatch, TensorSpec
from edgeai.api.specs import AbstainingTask
from edgeai.testing.examples import example_frame, instance_ref
from edgeai_tasks.classify import SPEC

ABC = ["a", "b", "c"]


def _task(size: int | None = 3, **options: Any) -> Task:
    output = TensorSpec(name="out", dtype="float32", shape=(None, size), layout="NC")
    return SPEC.build(TaskRequest(options={"labels": ABC, **options}, outputs=(output,)))


def _run(task: Task, *values: float, modality: str = "US", number: int = 1) -> Findings:
    context = FrameContext(frame=example_frame(number=number), instance=instance_ref(modality=modality))
    return task.interpret({"out": np.array([values], np.float32)}, context)


def _by_label(findings: Findings) -> dict[str, tuple[float, bool]]:
    return {f.label: (round(f.probability or 0, 4), f.present) for f in findings if f.kind == "class"}


def test_multi_class_states_the_top_class_and_orders_by_probability() -> None:
    findings = _run(_task(), 0.2, 0.7, 0.1)
    assert [f.label for f in findings] == ["b", "a", "c"]
    assert _by_label(findings) == {"a": (0.2, False), "b": (0.7, True), "c": (0.1, False)}
    assert all(f.threshold is None for f in findings)


def test_under_its_threshold_the_top_class_is_undecided() -> None:
    findings = _run(_task(thresholds={"b": 0.8}), 0.2, 0.7, 0.1)
    assert not any(f.present for f in findings)
    assert len(findings) == 3
    assert findings[0].threshold == 0.8
    assert _by_label(_run(_task(threshold=0.5), 0.2, 0.7, 0.1))["b"] == (0.7, True)


def test_softmax_and_temperature() -> None:
    logits = (1.0, 3.0, 0.5)
    powers = np.exp(np.array(logits) / 2.5)
    wanted = powers / powers.sum()
    got = _by_label(_run(_task(activation="softmax", temperature=2.5), *logits))
    assert [got[label][0] for label in ABC] == pytest.approx(wanted, abs=1e-4)


def test_temperature_on_probabilities_is_temperature_on_log_p() -> None:
    logits = np.array([1.0, 3.0, 0.5])
    given = np.exp(logits) / np.exp(logits).sum()
    from_p = _by_label(_run(_task(temperature=2.5), *given))
    assert from_p == _by_label(_run(_task(activation="softmax", temperature=2.5), *logits))
    log_odds = 1.2
    p = 1 / (1 + np.exp(-log_odds))
    of_p = _task(1, labels=["x"], mode="binary", temperature=3.0)
    of_logit = _task(1, labels=["x"], mode="binary", temperature=3.0, activation="sigmoid")
    assert _by_label(_run(of_p, p)) == _by_label(_run(of_logit, log_odds))


def test_temperature_survives_certainty() -> None:
    assert _by_label(_run(_task(temperature=2.0), 0.0, 1.0, 0.0))["b"][1]


def test_extreme_logits_stay_probabilities() -> None:
    assert _by_label(_run(_task(activation="softmax"), 1e30, -1e30, 0))["a"] == (1.0, True)
    labels = _task(2, labels=["x", "y"], mode="multi-label", activation="sigmoid")
    assert _by_label(_run(labels, 1e30, -1e30)) == {"x": (1.0, True), "y": (0.0, False)}


def test_multi_label_decides_each_by_its_own_threshold() -> None:
    concept = {"code": "233604007", "scheme": "SCT", "meaning": "Pneumonia"}
    labels = ["x", {"label": "y", "threshold": 0.2, "concept": concept}, "z"]
    findings = _run(_task(labels=labels, mode="multi-label"), 0.5, 0.3, 0.49)
    assert _by_label(findings) == {"x": (0.5, True), "y": (0.3, True), "z": (0.49, False)}
    assert {f.label: f.threshold for f in findings} == {"x": 0.5, "y": 0.2, "z": 0.5}
    assert {f.concept for f in findings} == {None, Concept(code="233604007", scheme="SCT", meaning="Pneumonia")}


def test_binary_with_one_and_with_two_labels() -> None:
    one = _task(1, labels=["pa"], mode="binary", threshold=0.6)
    assert _by_label(_run(one, 0.55)) == {"pa": (0.55, False)}
    two = _task(1, labels=["ap", "pa"], mode="binary", thresholds={"pa": 0.6})
    assert _by_label(_run(two, 0.55)) == {"pa": (0.55, False), "ap": (0.45, True)}
    assert _by_label(_run(two, 0.6)) == {"pa": (0.6, True), "ap": (0.4, False)}


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ((2.0, 0.1, 0.1), "task.not-probabilities"),
        ((0.4, 0.4, 0.4), "task.not-probabilities"),
        ((0.0, 0.0, 0.0), "task.not-probabilities"),
        ((-0.2, 0.6, 0.6), "task.not-probabilities"),
        ((np.nan, 0.5, 0.5), "task.not-finite"),
        ((np.inf, 0.5, 0.5), "task.not-finite"),
    ],
)
def test_what_is_no_probability_is_refused(values: tuple[float, ...], code: str) -> None:
    with pytest.raises(TaskFailed) as caught:
        _run(_task(), *values)
    assert caught.value.code == code


def test_rounding_of_a_quantised_softmax_is_no_reason_to_refuse() -> None:
    assert _by_label(_run(_task(), 1.002, 0.0, 0.008))["a"] == (1.0, True)


def test_a_batch_or_another_size_is_refused() -> None:
    context = FrameContext(frame=example_frame(), instance=instance_ref())
    for shape in ((2, 3), (1, 4), (3,)):
        with pytest.raises((TaskFailed, TensorMismatch)):
            _task(None).interpret({"out": np.full(shape, 1 / 3, np.float32)}, context)
    with pytest.raises(TensorMismatch):
        _task().interpret({"other": np.full((1, 3), 1 / 3, np.float32)}, context)


def test_mean_max_and_vote_over_frames() -> None:
    values = [(0.6, 0.4, 0.0), (0.55, 0.45, 0.0), (0.05, 0.9, 0.05)]
    for summarise, wanted in (
        ("mean", {"a": (0.4, False), "b": (0.5833, True), "c": (0.0167, False)}),
        ("max", {"a": (0.6, False), "b": (0.9, True), "c": (0.05, False)}),
        ("vote", {"a": (0.6667, True), "b": (0.3333, False), "c": (0.0, False)}),
    ):
        task = _task(summarise=summarise)
        frames = [_run(task, *each, number=n) for n, each in enumerate(values, start=1)]
        summary = task.summarise(frames, instance_ref())
        assert _by_label(summary) == wanted, summarise
        assert all(f.frame_number is None for f in summary)


@pytest.mark.parametrize("summarise", ["mean", "max"])
def test_one_frame_speaks_for_the_instance_to_the_last_bit(summarise: str) -> None:
    task = _task(summarise=summarise, activation="softmax")
    frame = _run(task, 0.3, -1.7, 2.1)
    summary = task.summarise([frame], instance_ref())
    assert summary == tuple(replace(finding, frame_number=None) for finding in frame)


def test_a_tie_of_votes_is_undecided() -> None:
    task = _task(summarise="vote")
    summary = task.summarise([_run(task, 0.9, 0.1, 0), _run(task, 0.1, 0.9, 0, number=2)], instance_ref())
    assert not any(f.present for f in summary)


def test_per_frame_findings_follow_the_instances() -> None:
    task = _task(per_frame=True, top_k=1)
    frames = [_run(task, 0.9, 0.1, 0, number=4), _run(task, 0.2, 0.8, 0, number=5)]
    summary = task.summarise(frames, instance_ref())
    assert [(f.frame_number, f.label) for f in summary] == [(None, "a"), (4, "a"), (5, "b")]


@pytest.mark.parametrize(
    ("options", "strange"),
    [
        ({}, {"a": 0.2, "b": 0.85, "c": 0.95}),
        ({"top_k": 1}, {"a": 0.2, "b": 0.8, "c": 0.8}),
        ({"top_k": 2}, {"a": 0.2, "b": 0.85, "c": 0.95}),
        ({"top_k": 1, "summarise": "vote"}, {"a": 0.0, "b": 1.0, "c": 1.0}),
        ({"top_k": 1, "summarise": "max"}, {"a": 0.1, "b": 0.1, "c": 0.1}),
    ],
)
def test_what_a_short_list_leaves_out_is_as_likely_as_it_can_be(
    options: dict[str, Any], strange: dict[str, float]
) -> None:
    task = _task(activation="none", **options)
    frames = [_run(task, 0.9, 0.05, 0.05), _run(task, 0.7, 0.25, 0.05, number=2)]
    assert isinstance(task, AbstainingTask)
    given = task.alternatives(task.summarise(frames, instance_ref()))
    assert given.strangeness == pytest.approx(strange)
    assert given.stated == "a"


def test_a_short_list_keeps_what_is_present() -> None:
    task = _task(mode="multi-label", top_k=1, thresholds={"c": 0.1})
    summary = task.summarise([_run(task, 0.4, 0.45, 0.2)], instance_ref())
    assert [(f.label, f.present) for f in summary] == [("b", False), ("c", True)]


def test_a_summary_of_nothing_or_of_half_a_frame_is_refused() -> None:
    task = _task()
    for frames in ([], [_run(task, 0.2, 0.7, 0.1)[:2]], [()]):
        with pytest.raises(TaskFailed) as caught:
            task.summarise(frames, instance_ref())
        assert caught.value.code == "task.no-frames"


GUARD = {
    "labels": ["radiograph", "ultrasound", "other"],
    "expect": {"attribute": "modality", "values": {"radiograph": ["CR", "DX"], "ultrasound": ["US"], "*": "other"}},
}


@pytest.mark.parametrize(
    ("modality", "probability", "present"),
    [("DX", 0.2, False), ("US", 0.7, True), ("CT", 0.1, False), ("", None, False)],
)
def test_agreement_with_the_header(modality: str, probability: float | None, present: bool) -> None:
    task = _task(**GUARD)
    frame = _run(task, 0.2, 0.7, 0.1, modality=modality)
    for findings in (frame, task.summarise([frame], instance_ref(modality=modality))):
        (agreement,) = [f for f in findings if f.kind == "agreement"]
        assert (agreement.label, agreement.present, agreement.threshold) == ("modality", present, 0.5)
        assert agreement.probability == (None if probability is None else pytest.approx(probability))


def test_an_unlisted_value_agrees_with_nothing() -> None:
    expect = {"attribute": "modality", "values": {"a": ["DX"]}}
    (agreement,) = [f for f in _run(_task(expect=expect), 1, 0, 0, modality="MR") if f.kind == "agreement"]
    assert (agreement.present, agreement.probability) == (False, None)


def test_labels_that_expect_the_same_value_are_summed() -> None:
    expect = {"attribute": "modality", "values": {"a": ["DX"], "b": ["DX"]}, "threshold": 0.6}
    (agreement,) = [f for f in _run(_task(expect=expect), 0.35, 0.35, 0.3, modality="DX") if f.kind == "agreement"]
    assert agreement.present
    assert agreement.probability == pytest.approx(0.7)


def test_several_outputs_need_a_name() -> None:
    outputs = tuple(TensorSpec(name=name, dtype="float32", shape=(1, 3)) for name in ("x", "y"))
    with pytest.raises(TaskFailed, match="the model's outputs are: x, y"):
        SPEC.build(TaskRequest(options={"labels": ABC}, outputs=outputs))
    task = SPEC.build(TaskRequest(options={"labels": ABC, "output": "y"}, outputs=outputs))
    context = FrameContext(frame=example_frame(), instance=instance_ref())
    values = {"x": np.zeros((1, 3), np.float32), "y": np.array([[0, 0, 1]], np.float32)}
    assert task.interpret(values, context)[0].label == "c"
