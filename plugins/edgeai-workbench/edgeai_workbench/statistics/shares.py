"""A share of counted samples, such as sensitivity, and the interval that so few of them allow.

Wilson 1927 where samples are independent (6 of 6: 0.61 to 1), as ``scipy.stats.binomtest`` has it. Where several
samples are of one unit (a patient), with as many samples as independent ones would say as much (Korn and Graubard,
Survey Methodology 1998), estimated from how the units differ, and Student's t. Where units are all alike (0 or all of
n) nothing can be estimated, and the samples of a unit count as one; the nearer to that, the more that counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeai import api
from edgeai_workbench.libraries import needed
from edgeai_workbench.statistics.bootstrap import Design

Reals: TypeAlias = npt.NDArray[np.float64]
_DOUBT = 0.5
"""As many units of the rarer kind, hit or missed, would have to be there for their samples to be taken to be alike."""


@dataclass(frozen=True, slots=True, eq=False)
class Share(api.Share):
    """A judge's share, with what it takes to say how sure it is."""

    @classmethod
    def of(cls, part: api.Share) -> Share:
        """The same."""
        return part if isinstance(part, Share) else cls(part.hits, part.among)

    @property
    def known(self) -> bool:
        """Whether any sample counts."""
        return bool(self.among.sum() > 0)

    def value(self) -> float:
        """The share itself; NaN where no sample counts."""
        return float(self.hits.sum() / self.among.sum()) if self.known else math.nan

    def influence(self) -> Reals:
        """(n,): what each sample adds to the share; the sum is 0."""
        added: Reals = (self.hits - self.value() * self.among) / self.among.sum()
        return added

    def counts(self, design: Design) -> tuple[Reals, Reals]:
        """Hits and among of each unit that has any."""
        sums = [np.bincount(design.unit_of, column, design.units) for column in (self.hits, self.among)]
        hits, among = (each.astype(np.float64) for each in sums)
        return hits[among > 0], among[among > 0]

    def method(self, design: Design) -> str:
        """In words, for whoever reads the figure."""
        if _single(*self.counts(design)):
            return "Wilson"
        return "Wilson" + (design.in_words or ", by sample")

    def limits(self, design: Design, level: float) -> tuple[float, float]:
        """The interval; NaN where no sample counts."""
        if not self.known:
            return math.nan, math.nan
        hits, among = self.counts(design)
        if _single(hits, among):
            return wilson(self.value(), len(among), quantile(level))
        independent, freedom = _independent(hits, among)
        return wilson(self.value(), independent, quantile(level, freedom))


def wilson(share: float, count: float, z: float) -> tuple[float, float]:
    """Wilson's score interval of a share of ``count`` samples, which need not be a whole number."""
    over = 1 + z * z / count
    centre = (share + z * z / (2 * count)) / over
    half = z / over * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (0.0 if share <= 0 else max(0.0, centre - half)), (1.0 if share >= 1 else min(1.0, centre + half))


def quantile(level: float, freedom: float = math.inf) -> float:
    """Of Student's t, two-sided; of the normal distribution where the degrees of freedom are infinite."""
    stats = needed("scipy.special")
    tail = (1 + level) / 2
    return float(stats.ndtri(tail) if math.isinf(freedom) else stats.stdtrit(freedom, tail))


def _single(hits: Reals, among: Reals) -> bool:
    """Whether each unit counts as one sample at most, hit or missed."""
    return bool((among == 1).all() and np.isin(hits, (0.0, 1.0)).all())


def _independent(hits: Reals, among: Reals) -> tuple[float, float]:
    """(as many independent samples as say as much, degrees of freedom)."""
    units, total = len(among), float(among.sum())
    share = float(hits.sum()) / total
    as_one = float((among**2).sum()) / total
    spread = float(((hits - share * among) ** 2).sum()) / total
    if units < 2 or spread <= 0 or not 0 < share < 1:
        return total / as_one, math.inf
    effect = spread * units / (units - 1) / (share * (1 - share))
    rarer = min(int((hits > 0).sum()), int((hits < among).sum()))
    effect = (rarer * effect + _DOUBT * as_one) / (rarer + _DOUBT)
    return total / max(1.0, effect), units - 1
