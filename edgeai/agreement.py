"""How often two models agree, with an interval that holds after every image, so that one may stop once it says enough.

An interval for a number of images that was fixed beforehand is wrong once somebody looks after each image and stops
when he likes what he sees. This one is a *confidence sequence*: with the mixture of all rates ``M = B(1 + agreed, 1 +
other) / (p**agreed * (1 - p)**other)``, where ``B`` is the beta function, ``M`` is a martingale of mean 1 if ``p`` is
the true rate, so that by Ville's inequality it reaches ``1 / ALPHA`` with a probability of at most ``ALPHA``, ever. The
interval is of the rates for which it has not. H. Robbins, Statistical methods related to the law of the iterated
logarithm, Ann. Math. Statist. 41 (1970) 1397; S. Howard et al., Time-uniform, nonparametric, nonasymptotic confidence
sequences, Ann. Statist. 49 (2021) 1055. Images must be independent of one another, or be taken so that they nearly are.
"""

from __future__ import annotations

from math import lgamma, log
from typing import Final

ALPHA: Final = 0.05
"""How often at most the interval leaves out the true rate, at any number of images."""

_STEPS: Final = 50


def interval(agreed: int, compared: int) -> tuple[float, float]:
    """Lowest and highest rate of agreement that is not shown to be wrong, after any number of images."""
    if not compared:
        return 0.0, 1.0
    rate = agreed / compared
    return _edge(agreed, compared, rate, 0.0), _edge(agreed, compared, rate, 1.0)


def fewest(needed: float) -> int:
    """How many images have to agree, all of them, before ``needed`` (under 1) is shown."""
    count = 1
    while interval(count, count)[0] < needed:
        count += 1
    return count


def _edge(agreed: int, compared: int, inside: float, outside: float) -> float:
    """Where the evidence against a rate becomes enough, between one that is in and the end of the scale."""
    if _against(agreed, compared, outside) < -log(ALPHA):
        return outside
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        if _against(agreed, compared, middle) < -log(ALPHA):
            inside = middle
        else:
            outside = middle
    return inside


def _against(agreed: int, compared: int, rate: float) -> float:
    """Logarithm of the mixture against one rate."""
    other = compared - agreed
    if (agreed and rate <= 0.0) or (other and rate >= 1.0):
        return float("inf")
    mixture = lgamma(1 + agreed) + lgamma(1 + other) - lgamma(2 + compared)
    return mixture - (agreed * log(rate) if agreed else 0.0) - (other * log(1 - rate) if other else 0.0)
