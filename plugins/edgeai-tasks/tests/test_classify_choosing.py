"""Temperature and thresholds out of answers whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeai.api import ConfigError, DataRejected
from edgeai_tasks.classify.choosing import chosen
from edgeai_tasks.classify.options import ClassifyOptions

NINE = {"threshold": "sensitivity@specificity=0.9"}


def _options(mode: str, activation: str, count: int = 2) -> ClassifyOptions:
    return ClassifyOptions.read({"mode": mode, "activation": activation, "labels": list("abcd")[:count]})


def _binary(count: int, scale: float, seed: int = 0) -> tuple[Any, Any]:
    """Truth that is as probable as a logit says, and the logit times ``scale``."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, count)
    truth = rng.random(count) < 1 / (1 + np.exp(-logits))
    return truth[:, np.newaxis], (scale * logits)[:, np.newaxis]


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_makes_a_model_too_sure(scale: float) -> None:
    truth, logits = _binary(4000, scale)
    assert chosen(truth, logits, _options("binary", "sigmoid"), {"temperature": True})["temperature"] == pytest.approx(
        scale, rel=0.08
    )
    probabilities = 1 / (1 + np.exp(-logits))
    assert chosen(truth, probabilities, _options("binary", "none"), {"temperature": True}) == pytest.approx(
        {"temperature": pytest.approx(scale, rel=0.08)}
    )


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_of_labels_that_exclude_one_another_too(scale: float) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (4000, 3))
    chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.eye(3, dtype=bool)[[rng.choice(3, p=row) for row in chance]]
    made = chosen(truth, scale * logits, _options("multi-class", "softmax", 3), {"temperature": True})
    assert made == {"temperature": pytest.approx(scale, rel=0.08)}


def test_few_that_are_all_told_right_make_no_model_certain() -> None:
    truth = np.arange(40)[:, np.newaxis] < 20
    logits = np.where(truth, 4.0, -4.0)
    assert 0.5 < chosen(truth, logits, _options("binary", "sigmoid"), {"temperature": True})["temperature"] < 3.0


@pytest.mark.parametrize("wish", ["sensitivity@specificity=0.9", "specificity@sensitivity=0.95"])
def test_a_threshold_keeps_the_one_and_has_the_most_of_the_other(wish: str) -> None:
    truth, logits = _binary(400, 1.0)
    made = chosen(truth, logits, _options("binary", "sigmoid"), {"threshold": wish})
    threshold = made["thresholds"]["b"]
    probability = 1 / (1 + np.exp(-logits))

    def figures(least: float) -> tuple[float, float]:
        stated = probability >= least
        sensitivity = (stated & truth).sum() / truth.sum()
        specificity = (~stated & ~truth).sum() / (~truth).sum()
        return (sensitivity, specificity) if wish.startswith("sens") else (specificity, sensitivity)

    bound = float(wish.partition("=")[2])
    best, held = figures(threshold)
    assert held >= bound
    assert best == max(reached for reached, kept in map(figures, np.linspace(0, 1, 5001)) if kept >= bound)


def test_a_threshold_is_of_the_probability_that_the_temperature_gives() -> None:
    truth, logits = _binary(400, 3.0)
    made = chosen(truth, logits, _options("binary", "sigmoid"), {"temperature": True, **NINE})
    stated = 1 / (1 + np.exp(-logits / made["temperature"])) >= made["thresholds"]["b"]
    assert (~stated & ~truth).sum() / (~truth).sum() >= 0.9


def test_each_of_several_labels_has_its_own() -> None:
    pairs = [_binary(300, 1.0, seed) for seed in (1, 2, 3)]
    truth, logits = (np.hstack(side) for side in zip(*pairs, strict=True))
    made = chosen(truth, logits, _options("multi-label", "sigmoid", 3), NINE)
    assert set(made["thresholds"]) == {"a", "b", "c"}
    assert len(set(made["thresholds"].values())) == 3


def test_a_gap_between_the_kinds_is_cut_in_the_middle() -> None:
    truth = np.arange(40)[:, np.newaxis] < 20
    probability = np.where(truth, 0.8, 0.4)
    assert chosen(truth, probability, _options("binary", "none"), NINE) == {"thresholds": {"b": 0.6}}


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.5, 0.5)])
def test_probabilities_at_the_ends_and_all_alike(low: float, high: float) -> None:
    truth = np.arange(40)[:, np.newaxis] < 20
    probability = np.where(truth, high, low)
    threshold = chosen(truth, probability, _options("binary", "none"), NINE)["thresholds"]["b"]
    stated = probability >= threshold
    assert (~stated & ~truth).sum() / (~truth).sum() >= 0.9
    assert bool((stated == truth).all()) == (low != high)


@pytest.mark.parametrize(
    ("positive", "negative", "wish", "named"),
    [
        (9, 100, {"temperature": True}, "9 samples are b"),
        (100, 9, {"temperature": True}, "9 samples are other than b"),
        (9, 100, NINE, "9 samples are b"),
        (20, 99, {"threshold": "sensitivity@specificity=0.99"}, "99 samples are other than b.*needs 100"),
        (19, 99, {"threshold": "specificity@sensitivity=0.95"}, "19 samples are b.*needs 20"),
        (0, 100, NINE, "0 samples are b"),
    ],
)
def test_few_choose_nothing(positive: int, negative: int, wish: dict[str, Any], named: str) -> None:
    truth = np.arange(positive + negative)[:, np.newaxis] < positive
    with pytest.raises(DataRejected, match=named) as caught:
        chosen(truth, np.where(truth, 1.0, -1.0), _options("binary", "sigmoid"), wish)
    assert caught.value.code == "data.fold-few"


@pytest.mark.parametrize(("positive", "negative"), [(10, 100), (100, 10)])
def test_ten_of_either_kind_choose(positive: int, negative: int) -> None:
    truth = np.arange(positive + negative)[:, np.newaxis] < positive
    chosen(truth, np.where(truth, 1.0, -1.0), _options("binary", "sigmoid"), {"temperature": True, **NINE})


@pytest.mark.parametrize(
    ("mode", "wish"),
    [
        ("multi-class", NINE),
        ("binary", {"threshold": "youden"}),
        ("binary", {"threshold": 0.5}),
        ("binary", {"threshold": "sensitivity@specificity=0"}),
        ("binary", {"threshold": "sensitivity@specificity=1.1"}),
        ("binary", {"threshold": "sensitivity@specificity=nan"}),
        ("binary", {"threshold": "f1@specificity=0.9"}),
        ("binary", {"temperature": False}),
        ("binary", {"temperature": 2.0}),
        ("binary", {"quantiles": True}),
    ],
)
def test_a_wish_that_makes_no_sense_is_a_mistake_of_the_card(mode: str, wish: dict[str, Any]) -> None:
    truth = np.eye(2, dtype=bool)[np.arange(40) % 2] if mode == "multi-class" else np.arange(40)[:, np.newaxis] < 20
    with pytest.raises(ConfigError) as caught:
        chosen(truth, truth.astype(float), _options(mode, "none"), wish)
    assert caught.value.code == "config.card-choice"
