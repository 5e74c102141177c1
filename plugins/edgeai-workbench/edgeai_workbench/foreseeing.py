"""What a test cannot show, whatever models answer: known from what is true of its samples, before it is opened.

A look at a test is one of three. One class alone determines no area under a curve, and a subgroup of four shows
nothing; whoever learns that by opening the test has spent a look on it. So its truth is first held against answers that
were given to other samples, those of validation: what stays undetermined with each of several such pairings does not
hang on the answers.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from edgeai.api import EdgeaiError, EvaluationFailed, GateFailed
from edgeai_workbench.evaluation import Answers, Scores, drop, score
from edgeai_workbench.gate_keys import Gates
from edgeai_workbench.gates import BY_METRIC, metrics_of
from edgeai_workbench.prepared import Prepared
from edgeai_workbench.statistics import decided_of, difference_of

_PAIRINGS = 5
_RESAMPLES = 100
"""As many as say whether there is an interval at all."""
_OTHERS = (EdgeaiError, ValueError, TypeError, LookupError, ArithmeticError)
"""What a judge may make of answers to other samples; then nothing is foreseen."""


def hold_foreseen(test: Prepared, answers: Answers, gates: Gates) -> None:
    """Nothing, where the test may determine all that the gates ask for.

    Args:
        test: its samples; no model was asked of them.
        answers: of a model on other samples.
        gates: of the card.

    Raises:
        GateFailed: ``gate.test-undetermined``.
    """
    never: dict[str, str] = {}
    for number in range(_PAIRINGS):
        reasons = _reasons(test, _paired(test, answers, number), gates)
        never = reasons if number == 0 else {name: why for name, why in never.items() if name in reasons}
        if not never:
            return
    raise GateFailed(
        "the test was not opened, since it cannot hold what the card asks, whatever a model answers: "
        + "; ".join(f"{name}: {why}" for name, why in never.items()),
        code="gate.test-undetermined",
        remedy="give [dataset.test] samples of every label, and enough of each subgroup, or take the bound away",
    )


def _paired(test: Prepared, answers: Answers, number: int) -> Answers:
    """The answers of other samples in another order for each number, as many as the test has samples."""
    order = np.random.default_rng(number).permutation(len(answers))
    each = tuple(answers.each[order[place % len(order)]] for place in range(len(test)))
    return Answers(ids=tuple(sample.id for sample in test.samples), each=each)


def _reasons(test: Prepared, paired: Answers, gates: Gates) -> dict[str, str]:
    """Gate -> why these samples do not determine it with these answers."""
    try:
        scores = score(test, paired, points=metrics_of(gates), resamples=_RESAMPLES)
    except EvaluationFailed as error:
        return {"metrics": str(error)} if error.code == "evaluate.undefined" else {}
    except _OTHERS:
        return {}
    reasons = {
        f"{gate}.{metric}": scores.undefined[metric]
        for gate in BY_METRIC
        for metric in getattr(gates, gate)
        if metric in scores.undefined and not (gate.startswith("worst") and _of_parts(scores, metric))
    }
    reasons |= _without_interval(test, paired, scores, gates)
    return reasons | _of_few(scores, gates)


def _of_parts(scores: Scores, metric: str) -> bool:
    parts: Collection[Collection[str]] = (*scores.subgroups.values(), *scores.by_label.values())
    return any(metric in part for part in parts)


def _without_interval(test: Prepared, paired: Answers, scores: Scores, gates: Gates) -> dict[str, str]:
    """Gates on an interval that these samples do not give."""
    no = "these samples give it no interval"
    lacking = {
        f"{gate}.{metric}": no
        for gate in ("shown_floors", "shown_ceilings")
        for metric in getattr(gates, gate)
        if metric in scores and math.isnan(scores[metric].low)
    }
    margins = {} if gates.decision is None else gates.decision.margins
    asked = [
        *((gate, metric, difference_of) for gate in ("max_drop", "max_drop_own") for metric in getattr(gates, gate)),
        *(("decision", metric, decided_of) for metric in margins),
    ]
    for gate, metric, by in asked:
        if metric not in scores:
            if metric in scores.undefined:
                lacking[f"{gate}.{metric}"] = scores.undefined[metric]
            continue
        gap = drop(test, paired, paired, metric, by=by, resamples=_RESAMPLES)
        if math.isnan(gap.high):
            lacking[f"{gate}.{metric}"] = no
    return lacking


def _of_few(scores: Scores, gates: Gates) -> dict[str, str]:
    """Gates on the worst part, where a part has too few members to be shown."""
    return {
        f"{gate}.{metric} ({name})": f"of {part.n} samples, fewer than min_members, which is {gates.min_members}"
        for gate in ("worst_floors", "worst_ceilings")
        for metric in getattr(gates, gate)
        for name, part in scores.subgroups.items()
        if metric in part and part.n < gates.min_members
    }
