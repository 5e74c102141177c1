"""The figures of a model on samples whose truth is known, and of two models side by side.

``answer`` asks; ``score`` gives each metric with its 95 % interval, for all samples and for each subgroup; ``drop`` and
``compare`` hold two models against each other on the same samples and the same resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgeai.api import HIGHER, LOWER, Case, CrossTable, EvaluationFailed, Judged, Reliability
from edgeai_workbench.answers import Answers, agreement, answer, check_same
from edgeai_workbench.prepared import Prepared
from edgeai_workbench.statistics import Design, Figure, Gap, Undefined, difference_of, interval_of
from edgeai_workbench.statistics.bootstrap import RESAMPLES

__all__ = [
    "Answers",
    "Comparison",
    "Difference",
    "Score",
    "Scores",
    "agreement",
    "answer",
    "compare",
    "drop",
    "score",
]

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A value with its 95 % interval, NaN where samples do not determine one; ``unit`` is empty for a share.

    Attributes:
        method: how the interval was found; empty where there is none.
        counted: independent samples that say as much, of a share that is to be proved not worse; else 0.
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")
    unit: str = ""
    better: str = HIGHER
    method: str = ""
    counted: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores(Mapping[str, Score]):
    """Metric -> score.

    Attributes:
        main: name of the main metric.
        n: samples.
        drawn: units that a resample draws: samples, or fewer groups (patients) that they belong to.
        undefined: metric -> why these samples do not determine it.
        subgroups: ``column=value`` -> scores of those samples.
        by_label: label -> metric -> value, of several labels.
        confusion: of labels that exclude one another.
        reliability: what the probabilities were worth.
    """

    figures: Mapping[str, Score]
    main: str
    n: int
    drawn: int
    undefined: Mapping[str, str] = field(default_factory=dict)
    subgroups: Mapping[str, Scores] = field(default_factory=dict)
    by_label: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    confusion: CrossTable | None = None
    reliability: Sequence[Reliability] = ()

    def __getitem__(self, name: str) -> Score:
        return self.figures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.figures)

    def __len__(self) -> int:
        return len(self.figures)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: an end of an interval that is not determined is ``null``."""
        grid = self.confusion
        return {
            "samples": self.n,
            "drawn": self.drawn,
            "main": self.main,
            "metrics": {name: plain(part) for name, part in self.items()},
            "undefined": dict(self.undefined),
            "by_label": {label: dict(part) for label, part in self.by_label.items()},
            "confusion": grid and {"true": grid.true, "stated": grid.stated, "counts": grid.counts},
            "subgroups": {name: part.as_dict() for name, part in self.subgroups.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One metric of two models, A (``one``) and B (``other``).

    Attributes:
        difference: B minus A, on the same samples.
        p: two-sided, of ``test``: the chance of such a difference between equals.
    """

    one: float
    other: float
    difference: Score
    p: float
    test: str

    @property
    def shown(self) -> bool:
        """Whether there is a difference that chance does not explain."""
        return self.p < SIGNIFICANT

    @property
    def says(self) -> str:
        """In plain words."""
        if not self.shown:
            return "no difference shown"
        gain = self.difference.value if self.difference.better == HIGHER else -self.difference.value
        return "B is better" if gain > 0 else "A is better"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two models on the same samples; ``agreement`` is the share of samples that both decide alike."""

    differences: Mapping[str, Difference]
    main: str
    n: int
    drawn: int
    agreement: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "samples": self.n,
            "drawn": self.drawn,
            "main": self.main,
            "agreement": self.agreement,
            "metrics": {
                name: {
                    "a": part.one,
                    "b": part.other,
                    "difference": plain(part.difference),
                    "p": part.p if np.isfinite(part.p) else None,
                    "test": part.test,
                    "says": part.says,
                }
                for name, part in self.differences.items()
            },
        }


def score(
    prepared: Prepared,
    answers: Answers,
    *,
    metrics: Collection[str] | None = None,
    points: Collection[str] = (),
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Scores:
    """Each metric that the task has, with its interval.

    Args:
        prepared: the samples, with the task's judge.
        answers: of one model, on these samples.
        metrics: only these, and what the main one is chosen from; all by default.
        points: operating points that are wanted beside them, by the names that the judge spells them with.
        seed: of the resamples.
        resamples: 0 gives the values alone: no intervals, no subgroups.

    Raises:
        EvaluationFailed: ``evaluate.other-samples``; ``evaluate.undefined``: these samples determine no metric; and
            what the judge refuses.
        DataRejected: a sample without truth.
    """
    wanted = _Wanted(metrics=metrics, points=tuple(points), seed=seed, resamples=resamples)
    cases = prepared.cases()
    parts = _subgroups(prepared, cases) if resamples else {}
    return replace(
        _scored(prepared, answers, wanted),
        subgroups={name: _scored(prepared.at(places), answers.at(places), wanted) for name, places in parts.items()},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What is asked of samples, and of each subgroup of them alike; see ``score``."""

    metrics: Collection[str] | None
    points: tuple[str, ...]
    seed: int
    resamples: int


def _scored(prepared: Prepared, answers: Answers, wanted: _Wanted) -> Scores:
    cases, judged = _judged(prepared, answers)
    main = prepared.judge.main
    figures, undefined = _values(judged, wanted.metrics, main, wanted.points)
    design = _design(prepared, cases) if wanted.resamples else None
    scores = {
        name: _with_interval(figure, value, design, seed=wanted.seed, resamples=wanted.resamples)
        for name, (figure, value) in figures.items()
    }
    return Scores(
        figures=scores,
        main=_main(scores, main),
        n=len(answers),
        drawn=design.units if design else len(answers),
        undefined=undefined,
        by_label=judged.by_part,
        confusion=judged.confusion,
        reliability=judged.reliability(),
    )


def drop(
    prepared: Prepared,
    parent: Answers,
    child: Answers,
    metric: str,
    *,
    by: Callable[..., Gap] = difference_of,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Score:
    """How much worse the child is: parent minus child, or child minus parent where lower is better; with its interval.

    Both are held against each other sample by sample, so that what is hard for both does not widen the interval.
    ``by`` finds the interval: ``difference_of``, or ``decided_of`` for a proof that a decision is not worse.

    Raises:
        EvaluationFailed: as ``score``; ``evaluate.unknown-metric``; ``evaluate.other-labels``.
    """
    check_same(parent, child)
    cases, judged = _judged(prepared, parent)
    one, other = _figure(judged, metric), _figure(_judged(prepared, child)[1], metric)
    gap = _paired(one, other, _design(prepared, cases), by=by, seed=seed, resamples=resamples)
    value, low, high = one.value() - other.value(), gap.low, gap.high
    if one.better == LOWER:
        value, low, high = -value, -high, -low
    return Score(value=value, low=low, high=high, unit=one.unit, better=LOWER, method=gap.method, counted=gap.counted)


def compare(
    prepared: Prepared,
    one: Answers,
    other: Answers,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Every metric of both, the difference with its interval, and whether it is more than chance.

    AUC is tested by DeLong, accuracy and its like by McNemar, and the other metrics by the paired bootstrap; where
    several samples are of one group, by how the groups differ.

    Raises:
        EvaluationFailed: as ``drop``.
    """
    check_same(one, other)
    judge = prepared.judge
    cases, judged = _judged(prepared, one)
    design = _design(prepared, cases)
    (mine, _), (theirs, _) = (_values(each, None, judge.main) for each in (judged, _judged(prepared, other)[1]))
    differences = {}
    for name in (name for name in mine if name in theirs):
        (figure, value), (rival, reached) = mine[name], theirs[name]
        difference = _paired(rival, figure, design, seed=seed, resamples=resamples)
        gap = Score(
            value=reached - value,
            low=difference.low,
            high=difference.high,
            unit=figure.unit,
            better=figure.better,
            method=difference.method,
        )
        differences[name] = Difference(one=value, other=reached, difference=gap, p=difference.p, test=difference.test)
    if not differences:
        raise Undefined("these samples determine no metric of both")
    return Comparison(
        differences=differences,
        main=_main(differences, judge.main),
        n=len(one),
        drawn=design.units if design else len(one),
        agreement=agreement(one, other, judge),
    )


def plain(scored: Score) -> dict[str, Any]:
    """A score for JSON."""
    ends = {name: end if np.isfinite(end) else None for name, end in (("low", scored.low), ("high", scored.high))}
    return {"value": scored.value, **ends, "unit": scored.unit, "better": scored.better, "method": scored.method}


def _judged(prepared: Prepared, answers: Answers) -> tuple[Sequence[Case], Judged]:
    if answers.ids != tuple(sample.id for sample in prepared.samples):
        raise EvaluationFailed("the answers are of other samples", code="evaluate.other-samples")
    cases = prepared.cases()
    return cases, prepared.judge.judged(cases, answers.each)


def _main(figures: Collection[str], main: Sequence[str]) -> str:
    return next((name for name in main if name in figures), next(iter(figures)))


def _values(
    judged: Judged, metrics: Collection[str] | None, main: Sequence[str], points: Collection[str] = ()
) -> tuple[dict[str, tuple[Figure, float]], dict[str, str]]:
    """Metric -> its figure and value, and metric -> why there is none."""
    figures, undefined = {}, {}
    known = {figure.name for figure in judged.figures}
    wanted = [figure for figure in judged.figures if metrics is None or figure.name in (*metrics, *main)]
    spelled = [judged.point(name) for name in dict.fromkeys(points) if name not in known]
    for figure in (*wanted, *(point for point in spelled if point is not None)):
        try:
            figures[figure.name] = (figure, figure.value())
        except Undefined as error:
            undefined[figure.name] = str(error)
    if not figures:
        raise Undefined("these samples determine no metric: " + "; ".join(sorted(set(undefined.values()))))
    return figures, undefined


def _figure(judged: Judged, metric: str) -> Figure:
    figures = {figure.name: figure for figure in judged.figures}
    figure = figures.get(metric) or judged.point(metric)
    if figure is None:
        raise EvaluationFailed(
            f"this task has no metric {metric!r}",
            code="evaluate.unknown-metric",
            remedy=f"metrics: {', '.join(figures)}",
        )
    return figure


def _design(prepared: Prepared, cases: Sequence[Case]) -> Design | None:
    """``None`` where there is nothing to draw from: the values stand without intervals."""
    groups = [sample.group or sample.id for sample in prepared.samples]
    try:
        design = Design.of([prepared.judge.stratum(case) for case in cases], groups)
    except EvaluationFailed:
        return None
    return design if any(len(units) > 1 for units in design.strata) else None


def _with_interval(figure: Figure, value: float, design: Design | None, *, seed: int, resamples: int) -> Score:
    if design is None:
        return Score(value=value, unit=figure.unit, better=figure.better)
    interval = interval_of(figure, design, seed=seed, resamples=resamples)
    return Score(
        value=value,
        low=interval.low,
        high=interval.high,
        unit=figure.unit,
        better=figure.better,
        method=interval.method,
    )


def _paired(
    one: Figure,
    other: Figure,
    design: Design | None,
    *,
    by: Callable[..., Gap] = difference_of,
    seed: int,
    resamples: int,
) -> Gap:
    if design is None:
        return Gap(low=np.nan, high=np.nan, p=np.nan, method="", test="")
    return by(one, other, design, seed=seed, resamples=resamples)


def _subgroups(prepared: Prepared, cases: Sequence[Case]) -> dict[str, list[int]]:
    """``column=value`` -> places, of those that are not all of the samples."""
    places: dict[str, list[int]] = {}
    for place, (sample, case) in enumerate(zip(prepared.samples, cases, strict=True)):
        for column, value in {**prepared.judge.subgroups(case), **sample.subgroups}.items():
            places.setdefault(f"{column}={value}", []).append(place)
    return {name: chosen for name, chosen in sorted(places.items()) if len(chosen) < len(prepared)}
