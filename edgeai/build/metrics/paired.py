"""Two models on the same samples: is the difference more than chance?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgeai.api import EvaluationFailed
from edgeai.build.extra import needed
from edgeai.build.metrics.figure import Undefined, finite

Reals: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class McNemar:
    """``only_one`` and ``only_other``: samples that one model alone has right; ``p`` two-sided."""

    only_one: int
    only_other: int
    p: float


@dataclass(frozen=True, slots=True)
class DeLong:
    """Areas under both ROC curves, the standard error of their difference, and its two-sided ``p``."""

    one: float
    other: float
    standard_error: float
    p: float


def mcnemar(one_right: Flags, other_right: Flags) -> McNemar:
    """McNemar 1947, exact: are the samples that only one has right split as by a coin? By ``scipy.stats.binomtest``.

    Raises:
        EvaluationFailed: ``evaluate.shapes``.
    """
    if one_right.shape != other_right.shape or one_right.ndim != 1 or not len(one_right):
        raise EvaluationFailed("McNemar needs the same samples of both", code="evaluate.shapes")
    only_one, only_other = int((one_right & ~other_right).sum()), int((other_right & ~one_right).sum())
    if not only_one + only_other:
        return McNemar(0, 0, 1.0)
    test: Any = needed("scipy.stats").binomtest
    return McNemar(only_one, only_other, float(test(only_one, only_one + only_other, 0.5).pvalue))


def delong(truth: Flags, one: Reals, other: Reals) -> DeLong:
    """DeLong, DeLong and Clarke-Pearson 1988, by midranks as Sun and Xu 2014 (O(n log n)).

    Args:
        truth: (n,).
        one: (n,), any score that is higher for positives.
        other: (n,), of the other model.

    Raises:
        Undefined: fewer than two samples of a class.
        EvaluationFailed: ``evaluate.shapes``, ``evaluate.not-finite``.
    """
    if not truth.shape == one.shape == other.shape or truth.ndim != 1:
        raise EvaluationFailed("DeLong needs the same samples of both", code="evaluate.shapes")
    finite("DeLong", one, other)
    if min(truth.sum(), (~truth).sum()) < 2:
        raise Undefined("DeLong's test needs two samples of each class")
    parts = [_components(truth, scores) for scores in (one, other)]
    areas = [float(positive.mean()) for positive, _ in parts]
    variance = sum(float(np.var(parts[0][side] - parts[1][side], ddof=1)) / len(parts[0][side]) for side in (0, 1))
    error = math.sqrt(variance)
    if error == 0.0:
        return DeLong(areas[0], areas[1], 0.0, 1.0 if areas[0] == areas[1] else 0.0)
    p = 2 * float(needed("scipy.stats").norm.sf(abs(areas[0] - areas[1]) / error))
    return DeLong(areas[0], areas[1], error, p)


def _components(truth: Flags, scores: Reals) -> tuple[Reals, Reals]:
    """Structural components: for each positive the share of negatives below, for each negative of positives above."""
    rank: Any = needed("scipy.stats").rankdata
    positive, negative = scores[truth], scores[~truth]
    among_all = rank(scores)
    own = (rank(positive), rank(negative))
    return (among_all[truth] - own[0]) / len(negative), 1.0 - (among_all[~truth] - own[1]) / len(positive)
