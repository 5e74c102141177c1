"""What the report draws of values: against what is true, how they differ from it, and those that are furthest off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeai.api import Case, Curve, Drawing, Panel, Plane
from edgeai_tasks.regress.figures import LIMITS, Measured

_WORST = 6
_NAME = 36
_SIDE = 4.6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Named:
    """One model: what it is called, and what it said of each value."""

    name: str
    measured: Sequence[Measured]


def drawings(models: Sequence[Named], shipped: Sequence[Named]) -> list[Drawing]:
    """All models against what is true, then Bland and Altman's plot of each that ships."""
    count = len(models[0].measured) if models else 0
    against = [_against([model.measured[number] for model in models], models) for number in range(count)]
    if not against:
        return []
    scatter = Drawing(
        title="Stated against true",
        says="On the line, what is stated is true.",
        panels=tuple(against),
        across=min(2, count),
        size_inches=_extent(count),
    )
    return [scatter, *(_bland_altman(model) for model in shipped)]


def worst_cases(model: Named, cases: Sequence[Case]) -> Drawing:
    """Images of the answers that are furthest off, in units of what leads to the same decision; the worst first."""
    off = np.max([np.abs(one.error) / (one.same or 1.0) for one in model.measured], axis=0)
    worst = np.argsort(-off, kind="stable")[:_WORST]
    return Drawing(
        title=f"{model.name}: its worst cases",
        says="Above each image what is stated, with its interval where there is one, and what is true.",
        panels=tuple(_panel(cases[place], model.measured, int(place)) for place in worst),
        across=min(_WORST // 2, len(worst)),
        size_inches=(9.0, 2.9 * -(-len(worst) // (_WORST // 2))),
    )


def _against(each: Sequence[Measured], models: Sequence[Named]) -> Panel:
    first = each[0]
    ends = (float(first.truth.min()), float(first.truth.max()))
    dots = (
        Curve(x=one.truth[one.stated], y=one.answers[one.stated], label=model.name, style="dots")
        for one, model in zip(each, models, strict=True)
    )
    marks = (*dots, Curve(x=ends, y=ends, style="guide"))
    return Panel(marks=marks, title=first.name, x=f"true, in {first.unit}", y=f"stated, in {first.unit}")


def _bland_altman(model: Named) -> Drawing:
    told = []
    for one in model.measured:
        low, high = (float(each[0]) for each in one.limits(one.stated[np.newaxis].astype(np.float64)))
        told.append(f"{one.name}: bias {(low + high) / 2:+.3g}, limits {low:+.3g} to {high:+.3g} {one.unit}")
    count = len(model.measured)
    return Drawing(
        title=f"{model.name}: how it differs from what is true",
        says=f"Bland and Altman 1986: the mean and {LIMITS} standard deviations on either side. {'; '.join(told)}.",
        panels=tuple(_differences(one) for one in model.measured),
        across=min(2, count),
        size_inches=_extent(count),
    )


def _differences(one: Measured) -> Panel:
    middle = ((one.truth + one.answers) / 2)[one.stated]
    ends = (float(middle.min()), float(middle.max())) if len(middle) else (0.0, 1.0)
    low, high = (float(each[0]) for each in one.limits(one.stated[np.newaxis].astype(np.float64)))
    levels = [level for level in (low, (low + high) / 2, high) if np.isfinite(level)]
    lines = (Curve(x=ends, y=(level, level), style="guide") for level in levels)
    marks = (Curve(x=middle, y=one.error[one.stated], style="dots"), *lines)
    return Panel(marks=marks, title=one.name, x=f"mean of both, in {one.unit}", y=f"stated - true, in {one.unit}")


def _panel(case: Case, measured: Sequence[Measured], place: int) -> Panel:
    name = case.id if len(case.id) <= _NAME else f"...{case.id[3 - _NAME :]}"
    lines = [_told(one, place) for one in measured]
    return Panel(marks=(Plane(pixels=case.image()),), title="\n".join([name, *lines]), axes=False)


def _told(one: Measured, place: int) -> str:
    number = f"{one.answers[place]:.4g}"
    if not one.stated[place]:
        number = f"{number}, not stated"
    elif np.isfinite(one.low[place]):
        number = f"{number} ({one.low[place]:.4g} to {one.high[place]:.4g})"
    return f"{one.name} {number}; true {one.truth[place]:.4g} {one.unit}"


def _extent(count: int) -> tuple[float, float]:
    across = min(2, count)
    return _SIDE * across, 4.2 * -(-count // across)
