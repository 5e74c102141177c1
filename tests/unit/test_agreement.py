"""Agreement with an interval that holds however often one looks: exact cases, and its error rates in simulation."""

from __future__ import annotations

from functools import cache
from math import comb, log

import numpy as np
import pytest

from edgeai.agreement import ALPHA, fewest, interval

MOST = 250
RUNS = 300


def ends(true: float, needed: float) -> tuple[float, float, float]:
    """Of many shadows of at most ``MOST`` images: part that ended good, part that ended bad, mean number of images."""
    rng = np.random.default_rng(7)

    @cache
    def end(agreed: int, compared: int) -> int:
        low, high = interval(agreed, compared)
        return 1 if low >= needed else -1 if high < needed else 0

    outcomes, images = [], []
    for agreed in (rng.random((RUNS, MOST)) < true).cumsum(axis=1).tolist():
        verdicts = ((end(count, number), number) for number, count in enumerate(agreed, start=1))
        outcome, number = next((item for item in verdicts if item[0]), (0, MOST))
        outcomes.append(outcome)
        images.append(number)
    return outcomes.count(1) / RUNS, outcomes.count(-1) / RUNS, float(np.mean(images))


def test_nothing_is_known_before_the_first_image() -> None:
    assert interval(0, 0) == (0.0, 1.0)


def test_an_edge_is_where_the_evidence_is_enough() -> None:
    low, high = interval(180, 200)
    assert low < 0.9 < high
    for edge in (low, high):  # 1 / (n + 1) / C(n, k) is the beta function of the mixture
        against = -log(201 * comb(200, 180)) - 180 * log(edge) - 20 * log(1 - edge)
        assert against == pytest.approx(-log(ALPHA), abs=1e-6)


@pytest.mark.parametrize("needed", [0.5, 0.9, 0.95, 0.99])
def test_so_few_images_show_it_and_no_fewer(needed: float) -> None:
    least = fewest(needed)
    assert interval(least, least)[0] >= needed > interval(least - 1, least - 1)[0]
    assert interval(0, least)[1] < 1.0 == interval(least, least)[1]


@pytest.mark.parametrize("needed", [0.8, 0.95])
def test_at_the_very_rate_it_is_wrong_no_more_often_than_it_says(needed: float) -> None:
    """An interval of a fixed number of images would be wrong several times as often, as it is looked at each time."""
    good, bad, _ = ends(needed, needed)
    assert good + bad <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / RUNS) ** 0.5
    false, _, _ = ends(needed - 0.03, needed)
    assert false <= 0.01


def test_what_is_far_from_the_rate_ends_soon() -> None:
    good, bad, images = ends(0.99, 0.9)
    assert good > 0.99
    assert images < 130
    good, bad, images = ends(0.5, 0.9)
    assert bad == 1.0
    assert images < 25
