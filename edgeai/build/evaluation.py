"""The figures of a model on samples whose truth is known, and of two models side by side.

``answer`` asks; ``score`` gives each metric with its 95 % interval, for all samples and for each subgroup; ``drop`` and
``compare`` hold two models against each other on the same samples and the same resamples.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgeai.api import EvaluationFailed
from edgeai.build.answers import Answers, agreement, answer, check_same, ordered_as
from edgeai.build.dataset import TaskLike
from edgeai.build.metrics import Design, Figure, Gap, Undefined, difference_of, interval_of
from edgeai.build.metrics.bootstrap import RESAMPLES
from edgeai.build.metrics.figure import HIGHER, LOWER
from edgeai.build.prepared import Prepared
from edgeai.build.truth import Truth, truth_of

__all__ = [
    "Answers",
    "Comparison",
    "Confusion",
    "Difference",
    "Score",
    "Scores",
    "agreement",
    "answer",
    "compare",
    "drop",
    "score",
]

MAIN = ("auc_roc", "dice", "accuracy")
"""The main metric of a model: the first of these that its samples determine."""
SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A value with its 95 % interval, NaN where samples do not determine one; ``unit`` is empty for a share.

    ``method`` says how the interval was found; empty where there is none.
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")
    unit: str = ""
    better: str = HIGHER
    method: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """How often (row) what is true was (column) stated; the last column may be ``undecided``."""

    true: tuple[str, ...]
    stated: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


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
    """

    figures: Mapping[str, Score]
    main: str
    n: int
    drawn: int
    undefined: Mapping[str, str] = field(default_factory=dict)
    subgroups: Mapping[str, Scores] = field(default_factory=dict)
    by_label: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    confusion: Confusion | None = None

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
            "metrics": {name: plain(found) for name, found in self.items()},
            "undefined": dict(self.undefined),
            "by_label": {label: dict(found) for label, found in self.by_label.items()},
            "confusion": grid and {"true": grid.true, "stated": grid.stated, "counts": grid.counts},
            "subgroups": {name: found.as_dict() for name, found in self.subgroups.items()},
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
                    "a": found.one,
                    "b": found.other,
                    "difference": plain(found.difference),
                    "p": found.p if np.isfinite(found.p) else None,
                    "test": found.test,
                    "says": found.says,
                }
                for name, found in self.differences.items()
            },
        }


def score(
    prepared: Prepared,
    answers: Answers,
    *,
    task: TaskLike,
    metrics: Collection[str] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Scores:
    """Each metric that the task has, with its interval.

    Args:
        prepared: the samples.
        answers: of one model, on these samples.
        task: whose mode says how labels go together.
        metrics: only these, and what the main one is chosen from; all by default.
        seed: of the resamples.
        resamples: 0 gives the values alone: no intervals, no subgroups.

    Raises:
        EvaluationFailed: ``evaluate.other-samples``; ``evaluate.undefined``: these samples determine no metric;
            ``evaluate.no-truth``: masks for several labels.
        DataRejected: a sample without truth.
    """
    truth = truth_of(prepared, answers, task)
    figures, undefined = _values(truth, metrics)
    design = _design(truth) if resamples else None
    found = {
        name: _with_interval(figure, value, design, seed=seed, resamples=resamples)
        for name, (figure, value) in figures.items()
    }
    subgroups = {}
    for name, places in _subgroups(prepared).items() if resamples else ():
        part = replace(prepared.at(places), samples=tuple(_plain_sample(prepared, place) for place in places))
        subgroups[name] = score(part, answers.at(places), task=task, metrics=metrics, seed=seed, resamples=resamples)
    grid = truth.confusion()
    return Scores(
        figures=found,
        main=_main(found),
        n=len(answers),
        drawn=design.units if design else len(answers),
        undefined=undefined,
        subgroups=subgroups,
        by_label=truth.by_label(),
        confusion=Confusion(true=grid[0], stated=grid[1], counts=grid[2]) if grid else None,
    )


def drop(
    prepared: Prepared,
    parent: Answers,
    child: Answers,
    metric: str,
    *,
    task: TaskLike,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Score:
    """How much worse the child is: parent minus child, or child minus parent where lower is better; with its interval.

    Both are held against each other sample by sample, so that what is hard for both does not widen the interval.

    Raises:
        EvaluationFailed: as ``score``; ``evaluate.unknown-metric``; ``evaluate.other-labels``.
    """
    pair = _pair(prepared, parent, child, task)
    one, other = (_figure(truth, metric) for truth in pair)
    found = _paired(one, other, _design(pair[0]), seed=seed, resamples=resamples)
    value, low, high = one.value() - other.value(), found.low, found.high
    if one.better == LOWER:
        value, low, high = -value, -high, -low
    return Score(value=value, low=low, high=high, unit=one.unit, better=LOWER, method=found.method)


def compare(
    prepared: Prepared,
    one: Answers,
    other: Answers,
    *,
    task: TaskLike,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Every metric of both, the difference with its interval, and whether it is more than chance.

    AUC is tested by DeLong, accuracy and its like by McNemar, and the other metrics by the paired bootstrap; where
    several samples are of one group, by how the groups differ.

    Raises:
        EvaluationFailed: as ``drop``.
    """
    pair = _pair(prepared, one, other, task)
    design = _design(pair[0])
    (mine, _), (theirs, _) = (_values(truth, None) for truth in pair)
    differences = {}
    for name in (name for name in mine if name in theirs):
        (figure, value), (rival, reached) = mine[name], theirs[name]
        found = _paired(rival, figure, design, seed=seed, resamples=resamples)
        gap = Score(
            value=reached - value,
            low=found.low,
            high=found.high,
            unit=figure.unit,
            better=figure.better,
            method=found.method,
        )
        differences[name] = Difference(one=value, other=reached, difference=gap, p=found.p, test=found.test)
    if not differences:
        raise Undefined("these samples determine no metric of both")
    return Comparison(
        differences=differences,
        main=_main(differences),
        n=len(one),
        drawn=design.units if design else len(one),
        agreement=agreement(one, other),
    )


def plain(found: Score) -> dict[str, Any]:
    """A score for JSON."""
    ends = {name: end if np.isfinite(end) else None for name, end in (("low", found.low), ("high", found.high))}
    return {"value": found.value, **ends, "unit": found.unit, "better": found.better, "method": found.method}


def _main(figures: Collection[str]) -> str:
    return next((name for name in MAIN if name in figures), next(iter(figures)))


def _values(truth: Truth, metrics: Collection[str] | None) -> tuple[dict[str, tuple[Figure, float]], dict[str, str]]:
    """Metric -> its figure and value, and metric -> why there is none."""
    figures, undefined = {}, {}
    for name, figure in truth.figures().items():
        if metrics is not None and name not in metrics and name not in MAIN:
            continue
        try:
            figures[name] = (figure, figure.value())
        except Undefined as error:
            undefined[name] = str(error)
    if not figures:
        raise Undefined("these samples determine no metric: " + "; ".join(sorted(set(undefined.values()))))
    return figures, undefined


def _pair(prepared: Prepared, one: Answers, other: Answers, task: TaskLike) -> tuple[Truth, Truth]:
    check_same(one, other)
    return truth_of(prepared, one, task), truth_of(prepared, ordered_as(other, one.labels), task)


def _figure(truth: Truth, metric: str) -> Figure:
    figures = truth.figures()
    if metric not in figures:
        raise EvaluationFailed(
            f"this task has no metric {metric!r}",
            code="evaluate.unknown-metric",
            remedy=f"metrics: {', '.join(figures)}",
        )
    return figures[metric]


def _design(truth: Truth) -> Design | None:
    """``None`` where there is nothing to draw from: the values stand without intervals."""
    try:
        design = Design.of(truth.strata(), truth.groups())
    except EvaluationFailed:
        return None
    return design if any(len(units) > 1 for units in design.strata) else None


def _with_interval(figure: Figure, value: float, design: Design | None, *, seed: int, resamples: int) -> Score:
    if design is None:
        return Score(value=value, unit=figure.unit, better=figure.better)
    found = interval_of(figure, design, seed=seed, resamples=resamples)
    return Score(
        value=value, low=found.low, high=found.high, unit=figure.unit, better=figure.better, method=found.method
    )


def _paired(one: Figure, other: Figure, design: Design | None, *, seed: int, resamples: int) -> Gap:
    if design is None:
        return Gap(low=np.nan, high=np.nan, p=np.nan, method="", test="")
    return difference_of(one, other, design, seed=seed, resamples=resamples)


def _subgroups(prepared: Prepared) -> dict[str, list[int]]:
    """``column=value`` -> places, of those that are not all of the samples."""
    places: dict[str, list[int]] = {}
    for place, sample in enumerate(prepared.samples):
        for column, value in sample.subgroups.items():
            places.setdefault(f"{column}={value}", []).append(place)
    return {name: chosen for name, chosen in sorted(places.items()) if len(chosen) < len(prepared)}


def _plain_sample(prepared: Prepared, place: int) -> Any:
    """The sample without subgroups of its own: a subgroup is not broken down again."""
    return replace(prepared.samples[place], subgroups={})
