"""Bootstrap intervals: stratified, by patient where patients are known, all metrics on the same resamples.

Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993: percentile intervals (chapter 13) and BCa (chapter 14),
as ``scipy.stats.bootstrap`` computes them. Of few units both are too short, since a resample varies less than samples
do: BCa is widened as Student's t is against the normal distribution (Hesterberg, The American Statistician 2015).
Samples of one group (a patient, an examination) are drawn together, because they say less than as many independent
ones: the cluster bootstrap of Davison and Hinkley, 1997, section 3.8.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgeai.api import EvaluationFailed
from edgeai_workbench.libraries import needed

Weights: TypeAlias = npt.NDArray[np.float64]
"""(resamples, n): how often each resample drew each sample."""
Values: TypeAlias = npt.NDArray[np.float64]

RESAMPLES = 1000
LEVEL = 0.95
EXPANDED = "expanded bca"
_LEAST_DETERMINED = 0.5
_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Interval:
    """``low`` and ``high`` are NaN where the resamples do not determine them.

    Attributes:
        distribution: the statistic of each resample.
        method: how it was found, in words.
    """

    low: float
    high: float
    distribution: Values
    method: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Design:
    """How samples are drawn: ``unit_of`` (n,) says which unit a sample belongs to, ``strata`` which units go together.

    A resample has as many units of each stratum as there are. A unit that is alone in its stratum is in every resample.
    """

    unit_of: npt.NDArray[np.intp]
    strata: tuple[npt.NDArray[np.intp], ...]

    @classmethod
    def of(cls, strata: Sequence[Hashable], groups: Sequence[Hashable] | None = None) -> Design:
        """Samples by their strata, such as the true label; those of one group are drawn together.

        A group's stratum is the set of its samples' strata.

        Raises:
            EvaluationFailed: ``evaluate.too-few``: fewer than two samples, or all are of one group.
        """
        names = list(range(len(strata))) if groups is None else list(groups)
        if len(set(names)) < 2:
            what = f"{len(names)} samples of one group" if len(names) > 1 else f"{len(names)} samples"
            raise EvaluationFailed(f"{what}: an interval needs two of them", code="evaluate.too-few")
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        unit_of = np.array([numbers[name] for name in names], np.intp)
        kinds: list[set[Hashable]] = [set() for _ in numbers]
        for unit, stratum in zip(unit_of, strata, strict=True):
            kinds[unit].add(stratum)
        together: dict[frozenset[Hashable], list[int]] = {}
        for unit, kind in enumerate(kinds):
            together.setdefault(frozenset(kind), []).append(unit)
        return cls(unit_of=unit_of, strata=tuple(np.array(units, np.intp) for units in together.values()))

    @property
    def units(self) -> int:
        """How many are drawn."""
        return int(self.unit_of.max()) + 1

    @property
    def independent(self) -> bool:
        """Whether each sample is a unit of its own."""
        return self.units == len(self.unit_of)

    @property
    def in_words(self) -> str:
        """What to say of a method: nothing, or that samples of a group count together."""
        return "" if self.independent else ", by group"

    def weights(self, drawn: Sequence[npt.NDArray[np.intp]]) -> Weights:
        """What ``scipy.stats.bootstrap`` drew, unit numbers (..., n of a stratum) -> (..., n of samples)."""
        lead = np.broadcast_shapes(*(units.shape[:-1] for units in drawn))
        rows = int(np.prod(lead))
        counts = np.zeros((rows, self.units))
        offsets = np.arange(rows)[:, np.newaxis] * self.units
        for units in drawn:
            flat = np.broadcast_to(units, (*lead, units.shape[-1])).reshape(rows, -1) + offsets
            counts += np.bincount(flat.ravel(), minlength=counts.size).reshape(counts.shape)
        for units in self.strata:
            if len(units) == 1:
                counts[:, units] = 1.0
        return counts[:, self.unit_of].reshape(*lead, len(self.unit_of))


def interval(
    statistic: Callable[[Weights], Values],
    design: Design,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    method: str = EXPANDED,
    seed: int = 0,
) -> Interval:
    """The two-sided interval of a statistic. The same design and seed give the same resamples, whatever the statistic.

    Args:
        statistic: weights (resamples, n) -> (resamples,), NaN where undefined.
        design: how to draw.
        resamples: how many; 0 gives no interval (NaN).
        level: how often it should hold the true value.
        method: ``percentile``, ``bca`` or ``expanded bca``. BCa falls back to percentile where it is undefined (all
            resamples alike).
        seed: of the draws.

    Raises:
        EvaluationFailed: ``evaluate.too-few``: nothing to draw from.
    """
    drawn = [units for units in design.strata if len(units) > 1]
    if not drawn:
        raise EvaluationFailed("every stratum has one sample: nothing can be drawn", code="evaluate.too-few")
    if resamples <= 0:
        return Interval(low=np.nan, high=np.nan, distribution=np.empty(0))

    def of_drawn(*units: npt.NDArray[np.intp], axis: int = -1) -> Values:
        weights = design.weights(units)  # always (resamples, n) for a figure, however many SciPy asks for at once
        return statistic(weights.reshape(-1, weights.shape[-1])).reshape(weights.shape[:-1])

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # degenerate distributions are dealt with below
        estimate: Any = needed("scipy.stats").bootstrap(
            drawn,
            of_drawn,
            paired=False,
            vectorized=True,
            axis=-1,
            n_resamples=resamples,
            batch=max(1, _CELLS_AT_ONCE // len(design.unit_of)),
            confidence_level=_expanded(level, drawn) if method == EXPANDED else level,
            method="percentile" if method == "percentile" else "BCa",
            rng=np.random.default_rng(seed),
        )
    distribution = np.asarray(estimate.bootstrap_distribution, dtype=np.float64)
    low, high = float(estimate.confidence_interval.low), float(estimate.confidence_interval.high)
    if not (np.isfinite(low) and np.isfinite(high)):
        low, high = _of_determined(distribution, level)
        method = "percentile"
    named = ("percentile" if method == "percentile" else "BCa") + " bootstrap" + design.in_words
    return Interval(low=low, high=high, distribution=distribution, method=named)


def two_sided_p(distribution: Values) -> float:
    """How often resamples of a difference fall on the other side of 0, twice; at least 1 / (resamples + 1).

    Efron and Tibshirani 1993, section 15.4, by inverting the percentile interval.
    """
    known = distribution[np.isfinite(distribution)]
    if not len(known):
        return float("nan")
    below, above = float((known <= 0).mean()), float((known >= 0).mean())
    return min(1.0, max(2 * min(below, above), 1 / (len(known) + 1)))


def _expanded(level: float, drawn: Sequence[npt.NDArray[np.intp]]) -> float:
    """The level at which a bootstrap interval of so few units is as wide as one by Student's t."""
    special: Any = needed("scipy.special")
    units = sum(len(each) for each in drawn)
    freedom = max(1, units - len(drawn))
    return float(1 - 2 * special.ndtr(special.stdtrit(freedom, (1 - level) / 2) * (units / freedom) ** 0.5))


def _of_determined(distribution: Values, level: float) -> tuple[float, float]:
    known = distribution[np.isfinite(distribution)]
    if len(known) < _LEAST_DETERMINED * len(distribution):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)
