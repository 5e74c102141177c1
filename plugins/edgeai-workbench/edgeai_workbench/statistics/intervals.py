"""The interval of a figure, by the method that is right for it.

A share has Wilson's interval, an area under a ROC curve a score interval with DeLong's variance, an average precision
one on the logit's scale, and a mean of several (over labels) is put together from theirs (MOVER: Zou and Donner,
Statistics in Medicine 2008). Everything else is drawn: the bootstrap with BCa. Whichever it is, samples of one patient
count together, and the method is said beside the figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeai import api
from edgeai.api import Figure
from edgeai_workbench.statistics.areas import Area
from edgeai_workbench.statistics.bootstrap import LEVEL, RESAMPLES, Design, Interval, interval
from edgeai_workbench.statistics.precision import AveragePrecision
from edgeai_workbench.statistics.shares import Share

Reals: TypeAlias = npt.NDArray[np.float64]
Part: TypeAlias = Share | Area | AveragePrecision


def interval_of(
    figure: Figure, design: Design, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Interval:
    """The interval of a figure on its samples.

    Raises:
        EvaluationFailed: ``evaluate.too-few``: nothing to draw from.
    """
    parts = [part for part in parts_of(figure) if part.known]
    if parts:
        low, high = parts[0].limits(design, level) if len(parts) == 1 else _mean(parts, design, level)
        method = parts[0].method(design) + ("" if len(parts) == 1 else f", mean of {len(parts)}")
        return Interval(low=low, high=high, distribution=np.empty(0), method=method)
    return interval(figure.over, design, resamples=resamples, level=level, seed=seed)


def parts_of(figure: Figure) -> list[Part]:
    """What a figure is the plain mean of, ready to say how sure it is."""
    return [_part(part) for part in figure.parts]


def _part(part: api.Share | api.Area | api.AveragePrecision) -> Part:
    if isinstance(part, api.Share):
        return Share.of(part)
    return Area.of(part) if isinstance(part, api.Area) else AveragePrecision.of(part)


def alike(influences: Sequence[Reals], design: Design) -> Reals:
    """(parts, parts): how the parts vary together over the units; 0 where one does not vary."""
    sums = np.array([np.bincount(design.unit_of, influence, design.units) for influence in influences])
    scale = np.sqrt((sums**2).sum(axis=1))
    both = np.outer(scale, scale)
    shared: Reals = np.divide(sums @ sums.T, both, out=np.eye(len(influences)), where=both > 0)
    return shared


def together(errors: Reals, shared: Reals) -> float:
    """The error of a plain mean."""
    return math.sqrt(max(0.0, float(errors @ shared @ errors))) / len(errors)


def _mean(parts: Sequence[Part], design: Design, level: float) -> tuple[float, float]:
    """Of the plain mean: each part's distance to its limit, put together as the parts vary together."""
    values = np.array([part.value() for part in parts])
    ends = np.array([part.limits(design, level) for part in parts])
    shared = alike([part.influence() for part in parts], design)
    middle = float(values.mean())
    half = [together(side, shared) for side in (values - ends[:, 0], ends[:, 1] - values)]
    return max(0.0, middle - half[0]), min(1.0, middle + half[1])
