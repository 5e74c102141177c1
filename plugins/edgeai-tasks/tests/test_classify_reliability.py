"""What probabilities are worth: the temperature is taken back exactly, and bins and error are those of ``ece``."""

from __future__ import annotations

import numpy as np
import pytest

from edgeai_tasks.classify.figures import Classified
from edgeai_tasks.classify.options import ClassifyOptions
from edgeai_tasks.classify.probabilities import probabilities
from edgeai_tasks.classify.reliability import before, reliability


def _options(mode: str, temperature: float) -> ClassifyOptions:
    names = ["a", "b", "c"]
    activation = "softmax" if mode == "multi-class" else "sigmoid"
    given = {"labels": names, "mode": mode, "activation": activation, "temperature": temperature}
    return ClassifyOptions.read(given)


@pytest.mark.parametrize("mode", ["multi-class", "multi-label"])
@pytest.mark.parametrize("temperature", [0.4, 1.7, 5.0])
def test_the_temperature_is_taken_back(mode: str, temperature: float) -> None:
    logits = np.random.default_rng(4).normal(0, 2, (50, 3))
    with_it, without = (
        np.array([probabilities(row, _options(mode, value)) for row in logits]) for value in (temperature, 1.0)
    )
    assert before(with_it, temperature, exclusive=mode == "multi-class") == pytest.approx(without, abs=1e-9)


def _classified(mode: str, columns: int) -> Classified:
    random = np.random.default_rng(7)
    given = random.dirichlet(np.ones(3), 200) if mode == "multi-class" else random.uniform(0, 1, (200, columns))
    if mode == "multi-class":
        truth = np.eye(3, dtype=bool)[[random.choice(3, p=row) for row in given]]
    else:
        truth = random.uniform(0, 1, given.shape) < given
    return Classified(mode=mode, truth=truth, probabilities=given, stated=given > 0.5)


@pytest.mark.parametrize(("mode", "columns"), [("binary", 1), ("multi-class", 3)])
def test_bins_hold_every_answer_and_give_the_error(mode: str, columns: int) -> None:
    (curve,) = reliability(_classified(mode, columns), 1.0)
    assert curve.name == "as stated"
    assert sum(each.samples for each in curve.bins) == 200
    error = sum(each.samples * abs(each.said - each.happened) for each in curve.bins) / 200
    assert curve.error == pytest.approx(error)


def test_before_and_after_stand_side_by_side() -> None:
    classified = _classified("binary", 1)
    raw, stated = reliability(classified, 3.0)
    assert (raw.name, stated.name) == ("before the temperature", "as stated, with the temperature of 3")
    assert stated.error == pytest.approx(reliability(classified, 1.0)[0].error)
    assert raw.error > stated.error + 0.05  # these were right as they are stated


def test_several_labels_count_each_answer() -> None:
    (curve,) = reliability(_classified("multi-label", 3), 1.0)
    assert sum(each.samples for each in curve.bins) == 600
