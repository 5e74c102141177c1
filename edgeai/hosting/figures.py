"""What a judge made of answers, held to what it promises, so that no gate believes a figure that contradicts itself.

``JudgeConformance`` holds the same rules on a judge's examples; here they are held on the samples that count.
"""

from __future__ import annotations

import contextlib
import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from edgeai.api import HIGHER, LOWER, Area, AveragePrecision, CrossTable, Figure, FigureUndefined, Judged, Share
from edgeai.api.judging import Values, Weights
from edgeai.hosting.faults import PluginInfo, broken, hosted_call

_NEAR = 1e-6
"""As far apart as two ways to compute one figure may come out, relative to it."""


def hosted_judged(info: PluginInfo, step: str, judged: object) -> Judged:
    """Figures that are sound, with every call hosted.

    Raises:
        PluginFault: ``plugin.contract``: no ``Judged``, figures of one name, parts or tables of the wrong shape.
    """
    where = f"{step}: judged"
    if not isinstance(judged, Judged) or not all(isinstance(figure, Figure) for figure in judged.figures):
        raise broken(info, where, "did not return a Judged of figures")
    names = [figure.name for figure in judged.figures]
    if not names or len(set(names)) != len(names):
        raise broken(info, where, f"has no figure, or one twice: {', '.join(names)}")
    _check_tables(info, where, judged)
    point = hosted_call(info, f"{step}: point", judged.point)

    def at(name: str) -> Figure | None:
        figure = point(name)
        return None if figure is None else _figure(info, step, figure)

    return replace(judged, figures=tuple(_figure(info, step, one) for one in judged.figures), point=at)


def _check_tables(info: PluginInfo, where: str, judged: Judged) -> None:
    for part, figures in judged.by_part.items():
        if not isinstance(figures, Mapping) or not all(isinstance(each, numbers.Real) for each in figures.values()):
            raise broken(info, where, f"has figures of {part} that are no numbers")
    table = judged.confusion
    if table is None:
        return
    if not isinstance(table, CrossTable) or [len(row) for row in table.counts] != [len(table.stated)] * len(table.true):
        raise broken(info, where, "has a cross table whose counts are not true by stated")


def _figure(info: PluginInfo, step: str, figure: Figure) -> Figure:
    where = f"{step}: figure {figure.name}"
    if figure.better not in (HIGHER, LOWER):
        raise broken(info, where, f"is better {figure.better!r}, which is neither {HIGHER} nor {LOWER}")
    for part in figure.parts:
        _check_part(info, where, part)
    value = _value(info, where, figure)
    return replace(figure, value=value, over=_over(info, where, figure, value))


def _check_part(info: PluginInfo, where: str, part: object) -> None:
    if isinstance(part, Share):
        hits, among = np.asarray(part.hits), np.asarray(part.among)
        sound = hits.ndim == 1 and hits.shape == among.shape and bool(((hits >= 0) & (hits <= among + _NEAR)).all())
    elif isinstance(part, Area | AveragePrecision):
        truth, scores = np.asarray(part.truth), np.asarray(part.scores)
        sound = truth.ndim == 1 and truth.shape == scores.shape and truth.dtype == np.bool_
    else:
        sound = False
    if not sound:
        raise broken(info, where, "has parts that are neither hits among as many samples, nor truth with its scores")


def _value(info: PluginInfo, where: str, figure: Figure) -> Callable[[], float]:
    call: Callable[[], Any] = hosted_call(info, where, figure.value)

    def value() -> float:
        given = call()
        if not isinstance(given, numbers.Real):
            raise broken(info, where, f"is {given!r}, which is no number")
        known = float(given)
        if math.isnan(known):
            raise FigureUndefined(f"{figure.name} is not a number for these samples")
        _check_same(info, where, known, _of_shares(figure), "the mean of its parts")
        return known

    return value


def _of_shares(figure: Figure) -> float:
    """The mean of its shares; NaN where they do not determine it, or it has none."""
    shares = [part for part in figure.parts if isinstance(part, Share)]
    totals = [float(np.sum(part.among)) for part in shares]
    if not shares or not all(totals):
        return math.nan
    return float(np.mean([np.sum(part.hits) / total for part, total in zip(shares, totals, strict=True)]))


def _over(info: PluginInfo, where: str, figure: Figure, value: Callable[[], float]) -> Callable[[Weights], Values]:
    call: Callable[[Weights], Any] = hosted_call(info, where, figure.over)
    proved = False

    def checked(weights: Weights) -> Values:
        values = np.asarray(call(weights))
        if values.shape != weights.shape[:1] or values.dtype.kind not in "fiu":
            raise broken(info, where, f"gives {values.shape} of {values.dtype} for weights of {weights.shape}")
        return values.astype(np.float64)

    def over(weights: Weights) -> Values:
        nonlocal proved
        if not proved:
            (whole,) = checked(np.ones((1, weights.shape[1])))
            with contextlib.suppress(FigureUndefined):
                _check_same(info, where, value(), float(whole), "what it is over all samples, each once")
            proved = True
        return checked(weights)

    return over


def _check_same(info: PluginInfo, where: str, known: float, other: float, what: str) -> None:
    if math.isfinite(known) and math.isfinite(other) and not math.isclose(known, other, rel_tol=_NEAR, abs_tol=_NEAR):
        raise broken(info, where, f"is {known:.6g}, and {what} is {other:.6g}")
