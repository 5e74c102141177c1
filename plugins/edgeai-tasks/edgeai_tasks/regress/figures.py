"""Figures of one value: how far answers are from what is true, and how often intervals hold it.

Limits of agreement are those of Bland and Altman 1986; the intraclass correlation is ICC(2,1) of Shrout and Fleiss
1979, absolute agreement of two raters, of which the one is what is true. All but ``within`` and ``stated`` are of the
answers that are stated: what is out of the plausible range is told by those two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgeai.api import HIGHER, LOWER, Figure, FigureUndefined, Flags, Reals, Share, Values, Weights
from edgeai_tasks.weighted import weighted_median

NAMES = (
    *("mae", "median_error", "bias", "limit_low", "limit_high", "icc", "within", "stated"),
    *("interval_coverage", "interval_width"),
)
LIMITS = 1.96
"""Standard deviations on either side of the bias, between which 95 % of normal differences are."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """One value of n samples.

    Attributes:
        name, unit: of the value.
        same: by how much two of them may differ and lead to the same decision.
        truth, answers: (n,).
        stated: (n,): where the answer is plausible.
        low, high: (n,): the stated interval; NaN where there is none.
    """

    name: str
    unit: str
    same: float
    truth: Reals
    answers: Reals
    stated: Flags
    low: Reals
    high: Reals

    @property
    def error(self) -> Reals:
        """(n,): how much too large each answer is."""
        return self.answers - self.truth

    def figures(self) -> tuple[Figure, ...]:
        """All of ``NAMES``."""
        of = self._of_stated
        return (
            of("mae", lambda weights: _mean(np.abs(self.error), weights)),
            of("median_error", lambda weights: _median(np.abs(self.error), weights)),
            of("bias", lambda weights: np.abs(_mean(self.error, weights))),
            of("limit_low", lambda weights: self.limits(weights)[0], better=HIGHER),
            of("limit_high", lambda weights: self.limits(weights)[1]),
            of("icc", lambda weights: icc(self.truth, self.answers, weights), better=HIGHER, unit=""),
            self.within(self.same, "within"),
            _share("stated", self.stated, np.ones(len(self.stated), bool), "there are no samples"),
            _share("interval_coverage", self._held, self._bounded, "no interval is stated"),
            self._figure(
                "interval_width",
                lambda weights: _mean(np.nan_to_num(self.high - self.low), weights * self._bounded),
                why="no interval is stated",
            ),
        )

    def within(self, distance: float, name: str) -> Figure:
        """The share of samples that are stated, and off by no more."""
        right = self.stated & (np.abs(self.error) <= distance)
        return _share(name, right, np.ones(len(right), bool), "there are no samples")

    def limits(self, weights: Weights) -> tuple[Values, Values]:
        """The limits of agreement, (resamples,) each; NaN of fewer than two."""
        mean, count = _mean(self.error, weights), weights.sum(axis=-1)
        squares = _mean((self.error - mean[..., np.newaxis]) ** 2, weights)
        spread = LIMITS * np.sqrt(_ratio(squares * count, np.where(count > 1, count - 1, 0.0)))
        return mean - spread, mean + spread

    @property
    def _bounded(self) -> Flags:
        bounded: Flags = self.stated & np.isfinite(self.low) & np.isfinite(self.high)
        return bounded

    @property
    def _held(self) -> Flags:
        held: Flags = self._bounded & (self.low <= self.truth) & (self.truth <= self.high)
        return held

    def _of_stated(
        self, name: str, over: Callable[[Weights], Values], *, better: str = LOWER, unit: str | None = None
    ) -> Figure:
        why = "fewer than two values are stated, or all are one" if name in _OF_TWO else "no value is stated"
        return self._figure(name, lambda weights: over(weights * self.stated), better=better, unit=unit, why=why)

    def _figure(
        self, name: str, over: Callable[[Weights], Values], *, why: str, better: str = LOWER, unit: str | None = None
    ) -> Figure:
        def value() -> float:
            once = float(over(np.ones((1, len(self.truth))))[0]) if len(self.truth) else np.nan
            if np.isnan(once):
                raise FigureUndefined(f"{name}: {why}")
            return once

        return Figure(name=name, value=value, over=over, better=better, unit=self.unit if unit is None else unit)


_OF_TWO = ("limit_low", "limit_high", "icc")


def icc(truth: Reals, answers: Reals, weights: Weights) -> Values:
    """ICC(2,1) of each resample; NaN of fewer than two samples, or where nothing varies."""
    count = weights.sum(axis=-1)
    difference, middle = answers - truth, (answers + truth) / 2
    apart = _mean(difference, weights)
    freedom = np.where(count > 1, count - 1, 0.0)
    between = 2 * _mean((middle - _mean(middle, weights)[..., np.newaxis]) ** 2, weights) * count
    within = _mean((difference - apart[..., np.newaxis]) ** 2, weights) * count / 2
    samples, error = _ratio(between, freedom), _ratio(within, freedom)
    raters = count * apart**2 / 2
    return _ratio(samples - error, samples + error + 2 * _ratio(raters - error, count))


def _share(name: str, hits: Flags, among: Flags, why: str) -> Figure:
    won, tried = hits.astype(np.float64), among.astype(np.float64)

    def value() -> float:
        if not among.any():
            raise FigureUndefined(f"{name}: {why}")
        return float(won.sum() / tried.sum())

    return Figure(
        name=name,
        value=value,
        over=lambda weights: _ratio(weights @ won, weights @ tried),
        parts=(Share(hits=won, among=tried),) if among.any() else (),
    )


def _median(values: Reals, weights: Weights) -> Values:
    return np.where(weights.sum(axis=-1) > 0, weighted_median(values, weights), np.nan)


def _mean(values: Reals, weights: Weights) -> Values:
    """Of each resample; ``values`` are (n,), or (resamples, n) where each has its own."""
    return _ratio((weights * values).sum(axis=-1), weights.sum(axis=-1))


def _ratio(part: Values, whole: Values) -> Values:
    ratio: Values = np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=np.asarray(whole) > 0)
    return ratio
