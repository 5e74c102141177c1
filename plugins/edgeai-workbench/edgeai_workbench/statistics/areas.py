"""An area under a ROC curve, and its interval where few samples are positive or the area is close to 1.

A score interval: all areas from which the one that was found is no further than chance allows, with the variance that
*they* would have (Newcombe, Statistics in Medicine 2006, method 5), here that of two normal classes. Where DeLong's
variance of these very samples is larger, it counts by its degrees of freedom (DeLong et al. 1988; Satterthwaite 1946),
and where samples are of patients it is Obuchowski's (Biometrics 1997). DeLong's alone is zero where all positives are
above all negatives; with it, even on the logit's scale, and with the bootstrap's percentiles, 79 to 90 % of intervals
hold an area of 0.95 or 0.99 where few samples are positive.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgeai import api
from edgeai_workbench.libraries import needed
from edgeai_workbench.statistics.bootstrap import Design
from edgeai_workbench.statistics.shares import quantile

Reals: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]
_PRIOR = 10.0
"""Degrees of freedom that the normal classes' variance counts for."""
_STEPS = 4001
_FURTHEST = 14.0


@dataclass(frozen=True, eq=False)
class Area(api.Area):
    """A judge's area, the chance that a positive is above a negative, with what it takes to say how sure it is."""

    @classmethod
    def of(cls, part: api.Area) -> Area:
        """The same."""
        return part if isinstance(part, Area) else cls(part.truth, part.scores)

    @functools.cached_property
    def components(self) -> tuple[Reals, Reals]:
        """For each positive the share of negatives below, for each negative of positives above (ties are halves).

        By midranks as Sun and Xu 2014.
        """
        rank: Any = needed("scipy.stats").rankdata
        positive, negative = self.scores[self.truth], self.scores[~self.truth]
        among_all = rank(self.scores)
        above = (among_all[self.truth] - rank(positive)) / len(negative)
        return above, 1.0 - (among_all[~self.truth] - rank(negative)) / len(positive)

    @property
    def known(self) -> bool:
        """Whether there are samples of both classes."""
        return bool(self.truth.any() and not self.truth.all())

    def value(self) -> float:
        """The area; NaN where there is one class alone."""
        return float(self.components[0].mean()) if self.known else math.nan

    def influence(self) -> Reals:
        """(n,): what each sample adds to the area; the sum over each class is 0."""
        parts = self.components
        added = np.empty(len(self.truth))
        for side, part in zip((self.truth, ~self.truth), parts, strict=True):
            added[side] = (part - part.mean()) / len(part)
        return added

    def order_of(self, other: Area) -> float:
        """How alike another model orders the samples within each class: rank correlation, 1 for the same order."""
        rank: Any = needed("scipy.stats").rankdata
        each = []
        for side in (self.truth, ~self.truth):
            mine, theirs = rank(self.scores[side]), rank(other.scores[side])
            same = bool((mine == theirs).all())
            spread = float(mine.std() * theirs.std())
            covered = float(((mine - mine.mean()) * (theirs - theirs.mean())).mean())
            each.append(1.0 if same else covered / spread if spread > 0 else 0.0)
        return sum(each) / 2

    def method(self, design: Design) -> str:
        """In words, for whoever reads the figure."""
        return "score, DeLong" + design.in_words

    def limits(self, design: Design, level: float) -> tuple[float, float]:
        """The interval; NaN where there is one class alone."""
        if not self.known:
            return math.nan, math.nan
        value, influence = self.value(), self.influence()
        spread = spread_of(influence, self.truth, design)
        counts = [counted(influence, side, design) for side in (self.truth, ~self.truth)]
        areas, shape = _normal()
        variance = (areas * (1 - areas) + (sum(counts) - 2) * shape) / (counts[0] * counts[1])
        expected = float(np.interp(value, areas, variance))
        freedom = spread.freedom if expected > 0 else 0.0
        excess = (_PRIOR + freedom * spread.variance / expected) / (_PRIOR + freedom) if freedom else 1.0
        near = areas[np.abs(areas - value) <= quantile(level) * np.sqrt(variance * max(1.0, excess))]
        low, high = (float(near[0]), float(near[-1])) if len(near) else (value, value)
        return (0.0 if value <= 0 else low), (1.0 if value >= 1 else high)


@dataclass(frozen=True, slots=True)
class Spread:
    """A variance, and how many degrees of freedom its estimate has."""

    variance: float
    freedom: float


def spread_of(influence: Reals, positive: Flags, design: Design) -> Spread:
    """DeLong's variance of a sum of influences, Obuchowski's where units have several samples."""
    sums = [np.bincount(design.unit_of, influence * side, design.units) for side in (positive, ~positive)]
    units = [len(np.unique(design.unit_of[side])) for side in (positive, ~positive)]
    sides = [
        float((total**2).sum()) * count / (count - 1) if count > 1 else math.nan
        for total, count in zip(sums, units, strict=True)
    ]
    if math.isnan(sum(sides)) or sum(sides) <= 0:
        return Spread(0.0, 0.0)
    shared = 2 * float((sums[0] * sums[1]).sum()) * design.units / max(1, design.units - 1)
    below = sum(side**2 / (count - 1) for side, count in zip(sides, units, strict=True))
    return Spread(max(0.0, sum(sides) + shared), sum(sides) ** 2 / below)


def counted(influence: Reals, side: Flags, design: Design) -> float:
    """As many independent samples of a class as say as much as it has; at least as if a unit's samples were one."""
    total = float(side.sum())
    sizes = np.bincount(design.unit_of[side])
    as_one = total**2 / float((sizes[sizes > 0].astype(np.float64) ** 2).sum())
    alone = float((influence[side] ** 2).sum())
    if as_one == total or alone <= 0:
        return as_one
    together = float((np.bincount(design.unit_of[side], influence[side]) ** 2).sum())
    return float(np.clip(total * alone / together, as_one, total)) if together > 0 else total


@functools.cache
def _normal() -> tuple[Reals, Reals]:
    """Areas, and for two normal classes the variance over one class of the share of the other that is on its side."""
    special: Any = needed("scipy.special")
    areas = special.expit(np.linspace(-_FURTHEST, _FURTHEST, _STEPS))
    edge = special.ndtri(areas)
    return areas, areas - 2 * special.owens_t(edge, 1 / math.sqrt(3)) - areas**2
