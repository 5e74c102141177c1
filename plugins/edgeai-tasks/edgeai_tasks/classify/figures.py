"""Figures of classifiers: binary, multi-class (macro average, one against the rest) and multi-label (macro average).

Everything is reduced to columns: for binary the positive label's, else one a label. Sources: Fawcett 2006 for the
figures of a confusion matrix and the ROC; Davis and Goadrich 2006 for precision and recall (average precision, without
interpolation, as in scikit-learn); Brier 1950; Guo et al., ICML 2017, for the expected calibration error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeai.api import (
    HIGHER,
    LOWER,
    Area,
    AveragePrecision,
    EvaluationFailed,
    Figure,
    FigureUndefined,
    Flags,
    Reals,
    Share,
    Values,
    Weights,
)
from edgeai_tasks.libraries import needed

MODES = ("binary", "multi-class", "multi-label")
CALIBRATION_BINS = 15
NAMES = ("auc_roc", "auc_pr", "accuracy", "sensitivity", "specificity", "precision", "recall", "f1", "brier", "ece")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classified:
    """What is true of n samples, and what a model said.

    Attributes:
        mode: one of ``MODES``.
        truth: (n, columns).
        probabilities: (n, columns), 0 to 1.
        stated: (n, columns): which labels the model stated. None in a row of multi-class: it is undecided, which
            is never right.
    """

    mode: str
    truth: Flags
    probabilities: Reals
    stated: Flags

    def __post_init__(self) -> None:
        if not np.isfinite(np.asarray(self.probabilities, dtype=np.float64)).all():
            raise EvaluationFailed(
                "classification: a value is not finite",
                code="evaluate.not-finite",
                remedy="see which sample the model answers with NaN or infinity",
            )
        shapes = {self.truth.shape, self.probabilities.shape, self.stated.shape}
        if len(shapes) != 1 or self.truth.ndim != 2 or not self.truth.size:
            raise EvaluationFailed(f"truth and answers do not fit: shapes {shapes}", code="evaluate.shapes")
        if self.mode == "multi-class" and (self.truth.sum(axis=1) != 1).any():
            raise EvaluationFailed("a sample has not exactly one label", code="evaluate.shapes")

    def figures(self) -> tuple[Figure, ...]:
        """All of ``NAMES``."""
        return (
            self._curve("auc_roc", auc_roc, auc_roc_over, tuple(Area(*sides) for sides in self._sides())),
            self._curve("auc_pr", auc_pr, auc_pr_over, tuple(AveragePrecision(*sides) for sides in self._sides())),
            *(self._counted(name) for name in _OF_COUNTS),
            Figure(name="brier", value=self._brier, over=self._brier_over, better=LOWER),
            Figure(name="ece", value=self._ece, over=self._ece_over, better=LOWER),
        )

    def of_label(self, column: int) -> Classified:
        """One column by itself, against the rest."""
        cut = np.s_[:, column : column + 1]
        return Classified(
            mode="binary", truth=self.truth[cut], probabilities=self.probabilities[cut], stated=self.stated[cut]
        )

    def right(self) -> Flags:
        """(n,): where what was stated is exactly what is true."""
        same: Flags = (self.stated == self.truth).all(axis=1)
        return same

    def _once(self) -> Weights:
        return np.ones((1, len(self.truth)))

    def _determined(self) -> list[int]:
        """Columns with samples on both sides; the others determine no curve.

        Raises:
            FigureUndefined: there is none.
        """
        columns = [c for c in range(self.truth.shape[1]) if 0 < self.truth[:, c].sum() < len(self.truth)]
        if not columns:
            raise FigureUndefined("all samples are of one class, which determines no ROC or precision-recall curve")
        return columns

    def _curve(
        self,
        name: str,
        once: Callable[[Flags, Reals], float],
        over: Callable[[Flags, Reals, Weights], Values],
        parts: tuple[Area, ...] | tuple[AveragePrecision, ...],
    ) -> Figure:
        return Figure(
            name=name,
            value=lambda: self._macro(once),
            over=lambda weights: self._macro_over(over, weights),
            parts=parts,
        )

    def _sides(self) -> list[tuple[Flags, Reals]]:
        """Truth and probability of each column that has samples on both sides."""
        columns = zip(self.truth.T, self.probabilities.T, strict=True)
        return [(truth, probability) for truth, probability in columns if truth.any() and not truth.all()]

    def _shares(self, name: str) -> tuple[Share, ...]:
        """What a figure of counts is the mean of; nothing where it is no mean of shares."""
        truth, stated = self.truth.astype(np.float64), self.stated.astype(np.float64)
        if name == "accuracy":
            same = self.right()[:, np.newaxis] if self.mode == "multi-class" else self.truth == self.stated
            return (Share(same.sum(axis=1).astype(np.float64), np.full(len(same), float(same.shape[1]))),)
        if name in ("precision", "f1"):
            if self.mode != "binary":
                return ()
            both, any_ = (truth * stated)[:, 0], (truth + stated)[:, 0]
            return (Share(both, stated[:, 0]),) if name == "precision" else (Share(2 * both, any_),)
        wanted, called = (1 - truth, 1 - stated) if name == "specificity" else (truth, stated)
        known = [c for c in range(truth.shape[1]) if self.mode == "binary" or 0 < truth[:, c].sum() < len(truth)]
        return tuple(Share(called[:, c] * wanted[:, c], wanted[:, c]) for c in known)

    def _macro(self, metric: Callable[[Flags, Reals], float]) -> float:
        return float(np.mean([metric(self.truth[:, c], self.probabilities[:, c]) for c in self._determined()]))

    def _macro_over(self, metric: Callable[[Flags, Reals, Weights], Values], weights: Weights) -> Values:
        each = [metric(self.truth[:, c], self.probabilities[:, c], weights) for c in self._determined()]
        mean: Values = np.mean(each, axis=0)
        return mean

    def _counted(self, name: str) -> Figure:
        def over(weights: Weights) -> Values:
            return self._of_counts(name, weights)

        def value() -> float:
            once = float(over(self._once())[0])
            if np.isnan(once):
                raise FigureUndefined(f"{name}: {_OF_COUNTS[name]}")
            return once

        return Figure(name=name, value=value, over=over, better=HIGHER, parts=self._shares(name))

    def _of_counts(self, name: str, weights: Weights) -> Values:
        if name == "accuracy" and self.mode == "multi-class":
            return _ratio(weights @ self.right(), weights.sum(axis=-1))
        table = [
            weights @ cells.astype(np.float64)
            for cells in (
                self.truth & self.stated,
                ~self.truth & self.stated,
                self.truth & ~self.stated,
                ~self.truth & ~self.stated,
            )
        ]
        each = _RATIOS[name](*table)
        if self.mode == "binary":
            single: Values = each[..., 0]
            return single
        if name == "precision":  # a label that is never stated is stated with no precision
            each = np.nan_to_num(each)
        known = (self.truth.any(axis=0) & ~self.truth.all(axis=0)) | (name == "accuracy")
        mean: Values = each[..., known].mean(axis=-1) if known.any() else np.full(len(weights), np.nan)
        return mean

    def _brier(self) -> float:
        loss: Any = needed("sklearn.metrics").brier_score_loss
        each = [loss(t, p, labels=[False, True]) for t, p in zip(self.truth.T, self.probabilities.T, strict=True)]
        return float(np.sum(each) if self.mode == "multi-class" else np.mean(each))

    def _brier_over(self, weights: Weights) -> Values:
        squares = (self.truth - self.probabilities) ** 2
        each = squares.sum(axis=1) if self.mode == "multi-class" else squares.mean(axis=1)
        return _ratio(weights @ each, weights.sum(axis=-1))

    def _ece(self) -> float:
        return float(self._ece_over(self._once())[0])

    def _ece_over(self, weights: Weights) -> Values:
        if self.mode == "multi-class":
            top = self.probabilities.argmax(axis=1)
            rows = np.arange(len(top))
            return ece_over(self.truth[rows, top], self.probabilities[rows, top], weights)
        columns = zip(self.truth.T, self.probabilities.T, strict=True)
        mean: Values = np.mean([ece_over(truth, p, weights) for truth, p in columns], axis=0)
        return mean


def auc_roc(truth: Flags, probability: Reals) -> float:
    """Area under the ROC curve of one label: the chance that a positive is above a negative (Hanley, McNeil 1982).

    Raises:
        FigureUndefined: one class alone.
    """
    _both(truth)
    return float(needed("sklearn.metrics").roc_auc_score(truth, probability))


def auc_pr(truth: Flags, probability: Reals) -> float:
    """Average precision of one label; chance gives the share of positives. Raises as ``auc_roc``."""
    _both(truth)
    return float(needed("sklearn.metrics").average_precision_score(truth, probability))


def auc_roc_over(truth: Flags, probability: Reals, weights: Weights) -> Values:
    """``auc_roc`` of every resample at once, by ranks with ties shared; NaN where a resample has one class alone."""
    positive, negative = _ranked(truth, probability, weights)
    below = np.cumsum(negative, axis=-1) - negative
    pairs = positive.sum(axis=-1) * negative.sum(axis=-1)
    won = (positive * (below + 0.5 * negative)).sum(axis=-1)
    return _ratio(won, pairs)


def auc_pr_over(truth: Flags, probability: Reals, weights: Weights) -> Values:
    """``auc_pr`` of every resample at once; NaN where a resample has one class alone."""
    positive, negative = (np.flip(side, axis=-1) for side in _ranked(truth, probability, weights))
    hits = np.cumsum(positive, axis=-1)
    stated = hits + np.cumsum(negative, axis=-1)
    precision = np.divide(hits, stated, out=np.zeros_like(hits), where=stated > 0)
    wanted = hits[..., -1]
    area = (precision * positive).sum(axis=-1)
    both = (wanted > 0) & (negative.sum(axis=-1) > 0)
    return _ratio(area, np.where(both, wanted, 0.0))


def ece_over(truth: Flags, probability: Reals, weights: Weights, bins: int = CALIBRATION_BINS) -> Values:
    """Expected calibration error: mean gap between probability and frequency over bins of equal width.

    Guo et al. 2017, section 2, for the most probable of several labels; for one label, of its own probability
    (Naeini et al., AAAI 2015). Biased upwards for few samples.
    """
    place = places(probability, bins)
    member = (place[:, np.newaxis] == np.arange(bins)).astype(np.float64)
    gap = np.abs(weights @ (member * (truth - probability)[:, np.newaxis])).sum(axis=-1)
    return _ratio(gap, weights.sum(axis=-1))


def places(probability: Reals, bins: int = CALIBRATION_BINS) -> npt.NDArray[np.intp]:
    """(n,): the bin of each, of so many of equal width."""
    return np.clip(np.ceil(probability * bins).astype(np.intp) - 1, 0, bins - 1)


def _both(truth: Flags) -> None:
    if truth.all() or not truth.any():
        raise FigureUndefined("all samples are of one class, which determines no ROC or precision-recall curve")


def _ranked(truth: Flags, probability: Reals, weights: Weights) -> tuple[Weights, Weights]:
    """Weight of positives and of negatives at each distinct probability, rising: two of (resamples, distinct)."""
    order = np.argsort(probability, kind="stable")
    ranked = probability[order]
    starts = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
    sorted_weights = weights[..., order]
    positive = np.add.reduceat(sorted_weights * truth[order], starts, axis=-1)
    negative = np.add.reduceat(sorted_weights * ~truth[order], starts, axis=-1)
    return positive, negative


def _ratio(part: Values, whole: Values) -> Values:
    ratio: Values = np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)
    return ratio


_RATIOS: dict[str, Callable[[Values, Values, Values, Values], Values]] = {
    "accuracy": lambda tp, fp, fn, tn: _ratio(tp + tn, tp + fp + fn + tn),
    "sensitivity": lambda tp, fp, fn, tn: _ratio(tp, tp + fn),
    "specificity": lambda tp, fp, fn, tn: _ratio(tn, tn + fp),
    "precision": lambda tp, fp, fn, tn: _ratio(tp, tp + fp),
    "recall": lambda tp, fp, fn, tn: _ratio(tp, tp + fn),
    "f1": lambda tp, fp, fn, tn: _ratio(2 * tp, 2 * tp + fp + fn),
}
_OF_COUNTS = {
    "accuracy": "there are no samples",
    "sensitivity": "no sample is positive",
    "specificity": "no sample is negative",
    "precision": "the model states no positive",
    "recall": "no sample is positive",
    "f1": "no sample is positive, and none is stated to be",
}
"""Figures of a confusion matrix, and what leaves each undefined."""


def operating_point(name: str, truth: Flags, probability: Reals, wanted: str, least: float) -> Figure:
    """The greatest sensitivity of all thresholds at which the specificity is at least ``least``, or the reverse.

    Every resample has its own threshold, as every sample of patients would have: what is judged is what the model can
    do, not one number that was chosen on these samples.
    """

    def over(weights: Weights) -> Values:
        positive, negative = _ranked(truth, probability, weights)
        # A threshold below all, at each distinct probability, and above all.
        nothing = np.zeros((*positive.shape[:-1], 1))
        sensitivity = _ratio(
            np.concatenate((np.flip(np.cumsum(np.flip(positive, -1), axis=-1), -1), nothing), axis=-1),
            positive.sum(axis=-1, keepdims=True),
        )
        specificity = _ratio(
            np.concatenate((nothing, np.cumsum(negative, axis=-1)), axis=-1), negative.sum(axis=-1, keepdims=True)
        )
        reached, held = (sensitivity, specificity) if wanted == "sensitivity" else (specificity, sensitivity)
        best: Values = np.where(held >= least - _ROUNDING, reached, -np.inf).max(axis=-1)
        undefined = np.isnan(reached).any(axis=-1) | np.isnan(held).any(axis=-1)
        return np.where(undefined, np.nan, best)

    def value() -> float:
        _both(truth)
        return float(over(np.ones((1, len(truth))))[0])

    return Figure(name=name, value=value, over=over)


_ROUNDING = 1e-12
"""Shares that are equal but for the last bits of a division are equal."""
