"""Of each kind of odd images and each model: how many are right, withheld, confidently wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgeai import api
from edgeai.api import Assessed, Figure, FigureUndefined
from edgeai_workbench.robustness.asking import REFUSED, Asked, Asker, Replies, design_of
from edgeai_workbench.robustness.kinds import KINDS, PLAIN
from edgeai_workbench.robustness.results import Part, Row
from edgeai_workbench.statistics import Design, difference_of, interval_of

_NO_TRUTH = "nobody says what is true of the samples"
_NOT_ASSESSED = "the task's judge does not say which single answers are right (Judge.assessed)"
_NOT_MOVED = "the task's judge does not say what is true of a picture that was moved (Judge.moved)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What is counted with: from ``confident`` on a wrong answer is confidently wrong; ``main`` is the main figure."""

    confident: float
    main: str
    seed: int


def row_of(
    asker: Asker, model: str, kind: str, strength: float | None, asked: Asked, plain: Asked, counted: Counted
) -> Row:
    """One model and one kind of image, with what the same model says of the plain images beside it."""
    replies, before = asked.replies[model], plain.replies[model]
    row = Row(
        kind=kind,
        says="the images as they are" if kind == PLAIN else KINDS[kind].says(strength),
        model=model,
        samples=len(asker.samples),
        withheld=_share(asker, asked, [answer is REFUSED for answer in replies.answers]),
        refusals=dict(sorted(replies.refusals.items())),
    )
    if not _moves(kind):
        row = replace(row, alike=_alike(asker, asked, replies, before))
    if any(case is None for case in asked.cases):
        return replace(row, why=_NO_TRUTH if any(case is None for case in plain.cases) else _NOT_MOVED)
    row = replace(row, main=main_of(asker, asked, model, counted.main, seed=counted.seed))
    each, were = _assessed(asker, asked, replies), _assessed(asker, plain, before)
    if each is None or were is None:
        return replace(row, why=_NOT_ASSESSED)
    wrong = [one is not None and not one.right and not one.withheld and _sure(one, counted) for one in each]
    return replace(
        row,
        right=_share(asker, asked, _right(each)),
        withheld=_share(asker, asked, [one is None or one.withheld for one in each]),
        confidently_wrong=_share(asker, asked, wrong),
        fall=_fall(asker, plain, _right(were), _right(each)),
    )


def main_of(asker: Asker, asked: Asked, model: str, name: str, *, seed: int) -> Part | None:
    """The main figure of the images that were answered; ``None`` where they do not determine it."""
    figure, design = figure_of(asker, asked, model, name)
    if figure is None:
        return None
    value = figure.value()
    if design is None:
        return Part(value=value, low=None, high=None, unit=figure.unit)
    limits = interval_of(figure, design, seed=seed)
    return Part(value=value, low=end(limits.low), high=end(limits.high), method=limits.method, unit=figure.unit)


def figure_of(asker: Asker, asked: Asked, model: str, name: str) -> tuple[Figure | None, Design | None]:
    """A figure of the images that were answered, and how these are drawn; ``None`` where it is not determined."""
    places = asked.replies[model].answered
    cases = [case for case in (asked.cases[place] for place in places) if case is not None]
    if not cases or len(cases) < len(places):
        return None, None
    judged = asker.judge.judged(cases, [asked.replies[model].answers[place] for place in places])
    figure = next((one for one in judged.figures if one.name == name), None)
    try:
        if figure is None or not math.isfinite(figure.value()):
            return None, None
    except FigureUndefined:
        return None, None
    return figure, design_of(asker, asked.cases, places)


def main_name(asker: Asker, plain: Asked) -> str:
    """The first of the judge's main figures that the plain images determine; empty where none is."""
    model = next(iter(asker.models))
    return next((name for name in asker.judge.main if figure_of(asker, plain, model, name)[0] is not None), "")


def end(value: float) -> float | None:
    """An end of an interval, as JSON has it."""
    return float(value) if math.isfinite(value) else None


def _moves(kind: str) -> bool:
    return kind != PLAIN and KINDS[kind].moves


def _sure(one: Assessed, counted: Counted) -> bool:
    return one.confidence is None or one.confidence >= counted.confident


def _right(each: Sequence[Assessed | None]) -> list[bool]:
    return [one is not None and one.right and not one.withheld for one in each]


def _assessed(asker: Asker, asked: Asked, replies: Replies) -> list[Assessed | None] | None:
    """For each image what the judge says, ``None`` where it was refused; ``None`` altogether where it never says."""
    each: list[Assessed | None] = []
    for case, answer in zip(asked.cases, replies.answers, strict=True):
        if answer is REFUSED:
            each.append(None)
            continue
        assert case is not None
        one = asker.judge.assessed(case, answer)
        if one is None:
            return None
        each.append(one)
    return each


def _alike(asker: Asker, asked: Asked, replies: Replies, before: Replies) -> Part:
    hits = [
        was is not REFUSED and now is not REFUSED and asker.judge.alike(was, now)
        for was, now in zip(before.answers, replies.answers, strict=True)
    ]
    return _share(asker, asked, hits)


def _share(asker: Asker, asked: Asked, hits: Sequence[bool]) -> Part:
    """With the interval that so few images allow."""
    figure = _figure(hits)
    design = design_of(asker, asked.cases, range(len(hits)))
    if design is None:
        return Part(value=figure.value(), low=None, high=None)
    limits = interval_of(figure, design)
    return Part(value=figure.value(), low=end(limits.low), high=end(limits.high), method=limits.method)


def _fall(asker: Asker, plain: Asked, were: Sequence[bool], are: Sequence[bool]) -> Part:
    one, other = _figure(were), _figure(are)
    value = one.value() - other.value()
    design = design_of(asker, plain.cases, range(len(were)))
    if design is None:
        return Part(value=value, low=None, high=None)
    gap = difference_of(one, other, design)
    return Part(value=value, low=end(gap.low), high=end(gap.high), method=gap.method)


def _figure(hits: Sequence[bool]) -> Figure:
    counts = np.array(hits, np.float64)
    share = api.Share(hits=counts, among=np.ones(len(counts)))
    return Figure(
        name="share",
        value=lambda: float(counts.mean()),
        over=lambda weights: weights @ counts / weights.sum(axis=-1),
        parts=(share,),
    )
