"""Figures of measured numbers: error, agreement and its limits, reliability. All in the unit of the values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeai.api import EvaluationFailed
from edgeai_workbench.extra import needed
from edgeai_workbench.metrics.figure import Undefined, finite

Reals: TypeAlias = npt.NDArray[np.float64]
_NORMAL_95 = 1.96


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """Found minus true: its mean, and the limits within which 95 % of differences lie (Bland, Altman 1986)."""

    bias: float
    low: float
    high: float


def mean_absolute_error(truth: Reals, found: Reals) -> float:
    """Mean of |found - true|.

    Raises:
        EvaluationFailed: ``evaluate.shapes``, ``evaluate.not-finite``.
    """
    _check(truth, found)
    return float(needed("sklearn.metrics").mean_absolute_error(truth, found))


def root_mean_squared_error(truth: Reals, found: Reals) -> float:
    """Root of the mean of (found - true) squared. Raises as ``mean_absolute_error``."""
    _check(truth, found)
    return float(needed("sklearn.metrics").root_mean_squared_error(truth, found))


def bland_altman(truth: Reals, found: Reals) -> BlandAltman:
    """Bias and limits of agreement, bias -+ 1.96 standard deviations of the differences.

    Raises:
        EvaluationFailed: as ``mean_absolute_error``.
        Undefined: fewer than two samples.
    """
    _check(truth, found)
    if len(truth) < 2:
        raise Undefined("limits of agreement need two samples")
    difference = found - truth
    bias, spread = float(difference.mean()), float(difference.std(ddof=1))
    return BlandAltman(bias=bias, low=bias - _NORMAL_95 * spread, high=bias + _NORMAL_95 * spread)


def icc(ratings: Reals) -> float:
    """ICC(2,1), absolute agreement of single ratings, two-way random effects (Shrout and Fleiss 1979).

    Args:
        ratings: (subjects, raters); for a model the columns are truth and answer.

    Raises:
        EvaluationFailed: as ``mean_absolute_error``.
        Undefined: fewer than two subjects or raters, or all ratings alike.
    """
    finite("icc", ratings)
    subjects, raters = ratings.shape
    if subjects < 2 or raters < 2:
        raise Undefined("ICC needs two subjects and two raters")
    mean = ratings.mean()
    between = raters * ((ratings.mean(axis=1) - mean) ** 2).sum() / (subjects - 1)
    columns = subjects * ((ratings.mean(axis=0) - mean) ** 2).sum() / (raters - 1)
    rest = ratings - ratings.mean(axis=1, keepdims=True) - ratings.mean(axis=0, keepdims=True) + mean
    error = (rest**2).sum() / ((subjects - 1) * (raters - 1))
    whole = between + (raters - 1) * error + raters * (columns - error) / subjects
    if whole == 0:
        raise Undefined("all ratings are alike: there is no variance to share")
    return float((between - error) / whole)


def _check(truth: Reals, found: Reals) -> None:
    finite("regression", truth, found)
    if truth.shape != found.shape or truth.ndim != 1 or not truth.size:
        raise EvaluationFailed(f"values do not fit: {truth.shape} and {found.shape}", code="evaluate.shapes")
