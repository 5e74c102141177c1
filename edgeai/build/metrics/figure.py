"""What a metric is here: a name, a unit, which way is better, its value, and its value over resamples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from edgeai.api import EvaluationFailed
from edgeai.build.metrics.areas import Area
from edgeai.build.metrics.bootstrap import Values, Weights
from edgeai.build.metrics.shares import Share

HIGHER, LOWER, NEAR_ZERO = "higher", "lower", "near zero"


class Undefined(EvaluationFailed):
    """A metric that these samples do not determine: said, with the reason, and never given a neutral value."""

    default_code = "evaluate.undefined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One metric of one model on some samples.

    Attributes:
        name: as reports and gates call it.
        value: of the samples as they are; raises ``Undefined``.
        over: weights (resamples, n) -> values (resamples,), NaN where a resample does not determine it.
        better: ``higher``, ``lower`` or ``near zero``.
        unit: ``mm`` or ``px``; empty for a share.
        parts: what it is the plain mean of, where that is known: shares of counted samples, or areas under ROC curves.
            Their intervals are right with few samples and at 0 and 1, where resamples say too little.
    """

    name: str
    value: Callable[[], float]
    over: Callable[[Weights], Values]
    better: str = HIGHER
    unit: str = ""
    parts: tuple[Share, ...] | tuple[Area, ...] = ()


def by_name(figures: Iterable[Figure]) -> dict[str, Figure]:
    """Figure by its name, in order."""
    return {figure.name: figure for figure in figures}


def finite(name: str, *arrays: object) -> None:
    """Refuse what is not a number.

    Raises:
        EvaluationFailed: ``evaluate.not-finite``.
    """
    for array in arrays:
        if not np.isfinite(np.asarray(array, dtype=np.float64)).all():
            raise EvaluationFailed(
                f"{name}: a value is not finite",
                code="evaluate.not-finite",
                remedy="see which sample the model answers with NaN or infinity",
            )
