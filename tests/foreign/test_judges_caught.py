"""Each way in which a judge can be wrong fails the rule that is meant for it: the kit can be failed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeai.api import Guess, Judge, Judged, Objective, Panel, Share, TaskRequest, TensorSpec
from edgeai.testing.conformance import JudgeConformance, TaskConformance

OUTPUTS = (TensorSpec(name="length", dtype="float32", shape=(1, 1)),)


class Rules(JudgeConformance):
    __test__ = False
    module = "acme_gauge"
    task = "acme-gauge"
    options = {"what": "radius"}
    outputs = OUTPUTS
    rows = ({"length": 2.5}, {"length": 7}, {"length": 0})
    nonsense_rows = ({"length": "long"},)


def _figures(change: Callable[[Any], Any]) -> Callable[[Any], None]:
    """A judge whose figures are changed."""

    def spoil(judge: Any) -> None:
        judged = judge.judged

        def other(cases: Any, answers: Any) -> Judged:
            right = judged(cases, answers)
            return replace(right, figures=tuple(change(figure) for figure in right.figures))

        judge.judged = other

    return spoil


def _set(**changes: Any) -> Callable[[Any], None]:
    def spoil(judge: Any) -> None:
        for name, value in changes.items():
            setattr(judge, name, value)

    return spoil


def _drifting(judge: Any) -> None:
    judged, calls = judge.judged, [0]

    def other(cases: Any, answers: Any) -> Judged:
        calls[0] += 1
        return judged(cases, [answer + calls[0] for answer in answers])

    judge.judged = other


def _empty_panel(judge: Any) -> None:
    pictures = judge.pictures
    judge.pictures = lambda *given: [replace(one, panels=(Panel(marks=()),)) for one in pictures(*given)]


HALF = Share(np.ones(12) * 0.5, np.ones(12))
BAD: dict[str, tuple[str, Callable[[Any], None]]] = {
    "ignores weights": (
        "test_a_figure_is_a_function_of_weights",
        _figures(lambda f: replace(f, over=lambda weights: np.full(len(weights), f.value()))),
    ),
    "one number for all": (
        "test_a_figure_is_a_function_of_weights",
        _figures(lambda f: replace(f, over=lambda weights: np.float64(f.value()))),
    ),
    "parts of another": ("test_parts_make_up_their_figure", _figures(lambda f: replace(f, parts=(HALF,)))),
    "another main": ("test_the_main_figure_is_one_of_its_figures", _set(main=("auc_roc",))),
    "guesses": ("test_a_row_that_says_nothing_has_no_truth", _set(read=lambda cells: 0.0)),
    "swallows": ("test_refuses_cells_that_make_no_sense", _set(read=lambda cells: 1.0)),
    "one digest": ("test_digest_tells_truths_apart", _set(digest=lambda truth: b"same")),
    "remembers": ("test_judging_twice_is_judging_once", _drifting),
    "never alike": ("test_an_answer_is_the_same_decision_as_itself", _set(alike=lambda one, other: False)),
    "one-sided": ("test_an_answer_is_the_same_decision_as_itself", _set(alike=lambda one, other: one <= other)),
    "double": ("test_targets_are_outputs", _set(targets=lambda case: {"length": np.zeros(1)})),
    "scalar": ("test_targets_are_outputs", _set(targets=lambda case: {"length": np.float32(1)})),
    "another output": ("test_targets_are_outputs", _set(targets=lambda case: {"other": np.zeros(1, np.float32)})),
    "loss upside down": (
        "test_a_formula_is_least_where_the_answer_is_true",
        _set(objective=Objective(loss="x", formula=lambda ops, t, a: -ops.mean(ops.abs(t - a), axis=-1))),
    ),
    "loss of the batch": (
        "test_a_formula_is_least_where_the_answer_is_true",
        _set(objective=Objective(loss="x", formula=lambda ops, t, a: ops.mean(ops.abs(t - a)))),
    ),
    "no words": ("test_strata_and_subgroups_can_be_told", _set(subgroups=lambda case: {"size": 3})),
    "empty panel": ("test_pictures_can_be_drawn", _empty_panel),
}


def _judge() -> Judge:
    made: Judge = importlib.import_module("acme_gauge").GaugeJudge(TaskRequest(options=Rules.options, outputs=OUTPUTS))
    return made


@pytest.mark.parametrize("how", BAD)
def test_a_judge_that_misbehaves_is_caught(how: str) -> None:
    rule, spoil = BAD[how]
    rules, judge = Rules(), _judge()
    getattr(rules, rule)(judge)  # as it is, it is held
    spoil(judge)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(rules, rule)(judge)


class TaskRules(TaskConformance):
    __test__ = False
    module = "acme_gauge"
    task = "acme-gauge"
    outputs = OUTPUTS


@pytest.mark.parametrize("guess", [Guess(), Guess(options={"what": "radius", "of": 3}), Guess(settled=False)])
def test_a_guess_of_which_nothing_can_be_built_is_caught(guess: Guess, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = TaskRules()
    rules.test_guesses_what_it_can_build("none")  # as it is, it is held
    spec = replace(rules.spec, guess=lambda request: guess)
    monkeypatch.setattr(TaskRules, "spec", property(lambda self: spec))
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        rules.test_guesses_what_it_can_build("none")
