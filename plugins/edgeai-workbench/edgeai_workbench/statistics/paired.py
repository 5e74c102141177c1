"""Two models on the same samples: how far apart they are, with the interval of it, and if that is more than chance.

What is hard for both does not widen the interval. Shares differ by the samples that one model alone has right: the
exact test of McNemar, and the interval of Bonett and Price, which has a length where there are no such samples, too.
Areas differ by DeLong's variance of the difference; everything else is drawn, both on the same resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeai.api import Figure
from edgeai_workbench.libraries import needed
from edgeai_workbench.statistics.areas import Area, spread_of
from edgeai_workbench.statistics.bootstrap import LEVEL, RESAMPLES, Design, interval, two_sided_p
from edgeai_workbench.statistics.intervals import alike, parts_of, together
from edgeai_workbench.statistics.shares import Share, quantile

Reals: TypeAlias = npt.NDArray[np.float64]
_PRIOR = 10.0
"""Degrees of freedom that count for what two areas' own intervals and ranks say of their difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The interval of a difference, found by ``method``, and the two-sided ``p`` of there being none, by ``test``.

    ``counted``: independent samples that say as much, of a share whose interval asks for them; else 0.
    """

    low: float
    high: float
    p: float
    method: str
    test: str
    counted: int = 0


def difference_of(
    one: Figure, other: Figure, design: Design, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Gap:
    """The interval of ``one`` minus ``other``, two models' figures on the same samples.

    Raises:
        EvaluationFailed: ``evaluate.too-few``: nothing to draw from.
    """
    pairs = list(zip(parts_of(one), parts_of(other), strict=False))
    if pairs and len(one.parts) == len(other.parts):
        shares = [(a, b) for a, b in pairs if isinstance(a, Share) and isinstance(b, Share)]
        if len(shares) == len(pairs) and all((a.among == b.among).all() for a, b in shares):
            return _of_shares(shares, design, level)
        areas = [(a, b) for a, b in pairs if isinstance(a, Area) and isinstance(b, Area)]
        if len(areas) == len(pairs):
            return _of_areas(areas, design, level)

    def over(weights: Reals) -> Reals:
        return one.over(weights) - other.over(weights)

    drawn = interval(over, design, resamples=resamples, level=level, seed=seed)
    p, test = two_sided_p(drawn.distribution), "paired bootstrap" + design.in_words
    return Gap(low=drawn.low, high=drawn.high, p=p, method=drawn.method, test=test)


def mcnemar(only_one: float, only_other: float) -> float:
    """McNemar 1947, exact: are the samples that only one has right split as by a coin?"""
    if not only_one + only_other:
        return 1.0
    test = needed("scipy.stats").binomtest
    return float(test(int(only_one), int(only_one + only_other), 0.5).pvalue)


def _of_shares(pairs: Sequence[tuple[Share, Share]], design: Design, level: float) -> Gap:
    each = [(_Estimate.of_shares(a, b, design), a.influence() - b.influence()) for a, b in pairs if a.known]
    gap = _gap(each, design, level, "Bonett-Price")
    if len(each) == 1 and each[0][0].p is not None:
        return replace(gap, p=each[0][0].p, test="McNemar, exact")
    return gap


def _of_areas(pairs: Sequence[tuple[Area, Area]], design: Design, level: float) -> Gap:
    each = [(_Estimate.of_areas(a, b, design, level), a.influence() - b.influence()) for a, b in pairs if a.known]
    return _gap(each, design, level, "DeLong")


def _gap(each: Sequence[tuple[_Estimate, Reals]], design: Design, level: float, method: str) -> Gap:
    method += design.in_words
    if not each:
        return Gap(low=math.nan, high=math.nan, p=math.nan, method=method, test=method)
    errors = np.sqrt([estimate.variance for estimate, _ in each])
    error = together(errors, alike([influence for _, influence in each], design))
    middle = float(np.mean([estimate.middle for estimate, _ in each]))
    freedom = min(estimate.freedom for estimate, _ in each)
    half = quantile(level, freedom) * error
    p = 1.0 if middle == 0 else _two_sided(middle / error, freedom) if error > 0 else 0.0
    return Gap(low=max(-1.0, middle - half), high=min(1.0, middle + half), p=p, method=method, test=method)


@dataclass(frozen=True, slots=True, kw_only=True)
class Discordant:
    """Two models' shares of the same samples, as independent ones would say as much.

    Attributes:
        lost, won: samples that the one, or the other, alone has right.
        count: all samples.
        freedom: degrees of freedom of that.
        single: whether each sample counts once and is independent of all others.
    """

    lost: float
    won: float
    count: float
    freedom: float
    single: bool

    @classmethod
    def of(cls, one: Share, other: Share, design: Design) -> Discordant:
        """Of two shares, by how the units differ."""
        gap, total = one.hits - other.hits, float(one.among.sum())
        only = [float(np.clip(side, 0, None).sum()) for side in (gap, -gap)]
        influence = one.influence() - other.influence()
        sums, sizes = (np.bincount(design.unit_of, column, design.units) for column in (influence, one.among))
        units = int((sizes > 0).sum())
        single, freedom = design.independent and set(one.among) <= {0.0, 1.0}, math.inf
        count = total
        if not single:
            as_one, alone = total**2 / float((sizes**2).sum()), float((influence**2).sum())
            spread = float((sums**2).sum()) * units / max(1, units - 1)
            count = float(np.clip(total * alone / spread, as_one, total)) if spread > 0 else as_one
            freedom = max(1, units - 1)
        lost, won = (side * count / total for side in only)
        return cls(lost=lost, won=won, count=count, freedom=freedom, single=single)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Estimate:
    """A difference: where its interval has its middle, its variance, and the degrees of freedom of that."""

    middle: float
    variance: float
    freedom: float
    p: float | None = None

    @classmethod
    def of_shares(cls, one: Share, other: Share, design: Design) -> _Estimate:
        """Bonett and Price, Biometrical Journal 2012: as if one sample more were right in each model alone."""
        only = Discordant.of(one, other, design)
        count = only.count
        middle = (only.lost - only.won) / (count + 2)
        variance = ((only.lost + only.won + 2) / (count + 2) - middle**2) / (count + 2)
        p = mcnemar(only.lost, only.won) if only.single else None
        return cls(middle=middle, variance=variance, freedom=only.freedom, p=p)

    @classmethod
    def of_areas(cls, one: Area, other: Area, design: Design, level: float) -> _Estimate:
        """DeLong's variance of the difference; at least what the two areas' own intervals and their ranks say."""
        spread = spread_of(one.influence() - other.influence(), one.truth, design)
        limits = [area.limits(design, level) for area in (one, other)]
        errors = [(high - low) / (2 * quantile(level)) for low, high in limits]
        expected = (errors[0] - errors[1]) ** 2 + 2 * (1 - one.order_of(other)) * errors[0] * errors[1]
        weighed = (_PRIOR * expected + spread.freedom * spread.variance) / (_PRIOR + spread.freedom)
        freedom = _PRIOR + spread.freedom
        return cls(middle=one.value() - other.value(), variance=max(expected, weighed), freedom=freedom)


def _grouped(design: Design) -> str:
    return "" if design.independent else ", by group"


def _two_sided(distance: float, freedom: float) -> float:
    special = needed("scipy.special")
    tail = special.ndtr(-abs(distance)) if math.isinf(freedom) else special.stdtr(freedom, -abs(distance))
    return min(1.0, 2 * float(tail))
