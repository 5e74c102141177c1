"""Intervals that are chosen hold what is true as often as was asked for, of each size too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from edgeai.api import Case, ConfigError, DataRejected, FrameContext, Judge, TaskRequest, TensorSpec
from edgeai.testing.examples import example_frame, instance_ref
from edgeai_tasks.regress import SPEC
from edgeai_tasks.regress.choosing import chosen, half_width
from edgeai_tasks.regress.figures import Measured
from edgeai_tasks.regress.options import RegressOptions
from edgeai_tasks.regress.truth import TrueValues

OUTPUT = TensorSpec(name="y", dtype="float32", shape=(1, 1))
VALUE = {"name": "head", "unit": "mm", "low": 20, "high": 440, "same": 3, "per": "source-pixel", "sizes": [150, 250]}
CONTEXT = FrameContext(frame=example_frame(), instance=instance_ref())
SPACING = 0.4


def _judge(intervals: Any = None, **changes: Any) -> Judge:
    options = {"values": [{**VALUE, **changes}], "intervals": intervals or {}}
    assert SPEC.judge is not None
    return SPEC.judge(TaskRequest(options=options, outputs=(OUTPUT,)))


def _case(true: float) -> Case:
    return Case(id=f"{true:.2f} mm", truth=TrueValues((true,)), context=CONTEXT, image=lambda: CONTEXT.frame.pixels)


def _samples(random: np.random.Generator, count: int) -> tuple[list[float], list[float]]:
    """True values, and answers: some of heavy tails, and the larger the further off."""
    truth = random.uniform(60, 340, count)
    return list(truth), list(truth + random.standard_t(3, count) * truth / 80)


def _measured(truth: Sequence[float], answers: Sequence[float]) -> Measured:
    nothing = np.full(len(truth), np.nan)
    facts = {"truth": np.array(truth), "answers": np.array(answers), "stated": np.ones(len(truth), bool)}
    return Measured(name="head", unit="mm", same=3.0, low=nothing, high=nothing, **facts)


def _chosen(judge: Judge, truth: Sequence[float], answers: Sequence[float], **wish: Any) -> dict[str, Any]:
    outputs = [{"y": np.array([[answer / SPACING]], np.float32)} for answer in answers]
    return dict(judge.choose([_case(true) for true in truth], outputs, wish))


def test_a_half_width_is_the_error_of_the_right_rank() -> None:
    errors = np.random.default_rng(1).permutation(np.arange(1.0, 20.0))
    assert half_width(errors, 0.9, "it") == 18.0  # of 19, the (19 + 1) 0.9th
    assert half_width(errors, 0.95, "it") == 19.0
    assert half_width(np.zeros(20), 0.9, "it") == 0.0


def test_a_width_is_rounded_up_and_never_down() -> None:
    for width in (1.23451, 0.000123449, 98765.4321, 2.0):
        made = half_width(np.full(20, width), 0.9, "it")
        assert width <= made <= width * 1.002


def test_intervals_cover_what_was_asked_for_on_average_and_of_each_size() -> None:
    """Over 60 splits; a width for all is too wide for small values, and too narrow for large ones."""
    random, values = np.random.default_rng(7), RegressOptions.read({"values": [VALUE]}).values
    hits: dict[bool, list[list[bool]]] = {False: [[], [], []], True: [[], [], []]}
    for _ in range(60):
        samples = _measured(*_samples(random, 90))
        for by_size, kept in hits.items():
            made = chosen(values, [samples], {"interval": 0.9, "by_size": by_size})["intervals"]["head"]["half"]
            for true, answer in zip(*_samples(random, 90), strict=True):
                place = int(answer >= 150) + int(answer >= 250)
                kept[place].append(abs(answer - true) <= made[place if by_size else 0])
    for kept in hits.values():
        assert 0.88 < np.mean(np.concatenate([np.array(each) for each in kept])) < 0.935
    assert np.mean(hits[False][0]) > 0.95
    assert np.mean(hits[False][2]) < 0.88
    for each in hits[True]:
        assert 0.88 < np.mean(each) < 0.95


def test_what_is_chosen_is_an_option_by_which_intervals_hold_as_often() -> None:
    truth, answers = _samples(np.random.default_rng(3), 200)
    made = _chosen(_judge(), truth, answers, interval=0.8, by_size=True)
    assert made["intervals"]["head"]["coverage"] == 0.8
    assert len(made["intervals"]["head"]["half"]) == 3
    judge = _judge(made["intervals"])
    task = SPEC.build(TaskRequest(options={"values": [VALUE], **made}, outputs=(OUTPUT,)))
    outputs = [{"y": np.array([[answer / SPACING]], np.float32)} for answer in answers]
    told = [judge.answer(task.interpret(each, CONTEXT), each, CONTEXT) for each in outputs]
    figures = {figure.name: figure for figure in judge.judged([_case(true) for true in truth], told).figures}
    assert 0.8 <= figures["interval_coverage"].value() < 0.84
    widths = [2 * made["intervals"]["head"]["half"][int(a >= 150) + int(a >= 250)] for a in answers]
    assert figures["interval_width"].value() == pytest.approx(np.mean(widths))


def test_answers_that_are_not_stated_choose_nothing() -> None:
    truth, answers = _samples(np.random.default_rng(5), 40)
    plain = _chosen(_judge(), truth, answers, interval=0.9)
    assert _chosen(_judge(), [*truth, 100.0], [*answers, 4000.0], interval=0.9) == plain


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"interval": True},
        {"interval": 0.4},
        {"interval": 1},
        {"interval": "0.9"},
        {"interval": math.nan},
        {"interval": 0.9, "by_size": 1},
        {"interval": 0.9, "by_sise": True},
        {"temperature": True},
    ],
)
def test_a_wish_that_regress_does_not_have_is_refused_before_there_are_samples(wish: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        _judge().choose((), (), wish)
    assert caught.value.code == "config.card-choice"
    assert "interval = 0.9" in (caught.value.remedy or "")


def test_by_size_wants_sizes() -> None:
    with pytest.raises(ConfigError, match="none has any"):
        _judge(sizes=[]).choose((), (), {"interval": 0.9, "by_size": True})


@pytest.mark.parametrize(
    ("count", "wish", "says"),
    [
        (0, {"interval": 0.9}, "0 samples state head, and intervals of 0.9 need 10 at least"),
        (9, {"interval": 0.5}, "9 samples state head, and intervals of 0.5 need 10"),
        (18, {"interval": 0.95}, "18 samples state head, and intervals of 0.95 need 19"),
        (18, {"interval": 0.9, "by_size": True}, "0 samples state head 150 to 250 mm"),
    ],
)
def test_so_few_samples_choose_none(count: int, wish: dict[str, Any], says: str) -> None:
    with pytest.raises(DataRejected, match=says) as caught:
        _chosen(_judge(), [100.0] * count, [101.0] * count, **wish)
    assert caught.value.code == "data.fold-few"
