"""An average precision, and its interval: on the scale of its logit (Boyd, Eng and Page, ECML 2013, section 3.2).

They take the variance that a share of as many samples as there are positives would have. That is too much: a positive
adds a precision and not a yes or no, and 97 to 99 of 100 intervals hold the true value. Here the variance is of what
each sample adds, positive or negative (the first order of the figure as a function of both classes' distributions,
by group as Obuchowski's for areas), with Student's t by its degrees of freedom. Where nothing varies (one positive, or
one score for all) theirs is left; and where all positives are above all negatives, which leaves no logit, Wilson's
interval of as many samples as there are positives.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeai import api
from edgeai_workbench.libraries import needed
from edgeai_workbench.statistics.areas import Spread, counted, spread_of
from edgeai_workbench.statistics.bootstrap import Design
from edgeai_workbench.statistics.shares import quantile, wilson

Reals: TypeAlias = npt.NDArray[np.float64]
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class AveragePrecision(api.AveragePrecision):
    """A judge's average precision, with what it takes to say how sure it is."""

    @classmethod
    def of(cls, part: api.AveragePrecision) -> AveragePrecision:
        """The same."""
        return part if isinstance(part, AveragePrecision) else cls(part.truth, part.scores)

    @functools.cached_property
    def _steps(self) -> tuple[npt.NDArray[np.intp], Reals, Reals]:
        """The distinct scores, falling: which of them each sample has, and positives and negatives at it or above."""
        distinct, place = np.unique(-self.scores, return_inverse=True)
        at = [np.bincount(place[side], minlength=len(distinct)) for side in (self.truth, ~self.truth)]
        return place, np.cumsum(at[0]).astype(np.float64), np.cumsum(at[1]).astype(np.float64)

    @property
    def known(self) -> bool:
        """Whether there are samples of both classes."""
        return bool(self.truth.any() and not self.truth.all())

    def value(self) -> float:
        """The mean, over positives, of the precision at their score; NaN where there is one class alone."""
        place, hits, alarms = self._steps
        return float((hits / (hits + alarms))[place[self.truth]].mean()) if self.known else math.nan

    def influence(self) -> Reals:
        """(n,): what each sample adds to it, by its own precision and by those of the positives below."""
        place, hits, alarms = self._steps
        precision = hits / (hits + alarms)
        weight = np.bincount(place[self.truth], minlength=len(hits)) / self.truth.sum()
        added = np.empty(len(self.truth))
        for side, above, sign in ((self.truth, hits, 1.0), (~self.truth, alarms, -1.0)):
            among = above / above[-1]
            slope = np.zeros_like(precision)  # of the precision, in the share of this class that is above
            np.divide(sign * weight * precision * (1 - precision), among, out=slope, where=among > 0)
            below = np.cumsum(slope[::-1])[::-1]
            added[side] = (below[place[side]] - float(slope @ among)) / side.sum()
        added[self.truth] += (precision[place[self.truth]] - self.value()) / self.truth.sum()
        return added

    def method(self, design: Design) -> str:
        """In words, for whoever reads the figure."""
        return "logit" + design.in_words

    def limits(self, design: Design, level: float) -> tuple[float, float]:
        """The interval; NaN where there is one class alone."""
        if not self.known:
            return math.nan, math.nan
        value, influence = self.value(), self.influence()
        positives = counted(influence, self.truth, design)
        if value >= 1:
            return wilson(1.0, positives, quantile(level))
        spread = spread_of(influence, self.truth, design)
        share = value * (1 - value) / positives
        if spread.variance <= _ROUNDING * share:
            spread = Spread(share, math.inf)
        half = quantile(level, spread.freedom) * math.sqrt(spread.variance) / (value * (1 - value))
        special = needed("scipy.special")
        middle = special.logit(value)
        return float(special.expit(middle - half)), float(special.expit(middle + half))
