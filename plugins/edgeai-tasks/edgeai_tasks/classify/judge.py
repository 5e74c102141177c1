"""What the build host asks of classify: which labels are true, what training compares with, how good answers are."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeai.api import (
    Assessed,
    Case,
    Cells,
    Column,
    ConfigError,
    CrossTable,
    DataRejected,
    Drawing,
    EvaluationFailed,
    Figure,
    FigureUndefined,
    Findings,
    FrameContext,
    Geometry,
    Judge,
    Judged,
    Objective,
    Tensors,
    TensorSpec,
)
from edgeai_tasks.classify.choosing import check_wish, chosen
from edgeai_tasks.classify.figures import Classified, operating_point
from edgeai_tasks.classify.options import ClassifyOptions
from edgeai_tasks.classify.pictures import Named, drawings, worst_cases
from edgeai_tasks.classify.reliability import reliability
from edgeai_tasks.classify.task import absent

UNDECIDED = "undecided"
_BY_LABEL = ("auc_roc", "auc_pr", "sensitivity", "specificity", "precision", "f1")


@dataclass(frozen=True, slots=True)
class Labels:
    """Which of the labels are true."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stated:
    """What a model said of one image: for each label, in the task's order, whether it is stated, and how probable."""

    labels: tuple[str, ...]
    present: tuple[bool, ...]
    probabilities: tuple[float, ...]


class ClassifyJudge(Judge):
    """See ``Judge``. The positive of two labels is the second."""

    columns = (
        Column(name="label", help="column of the label, as values translates it"),
        Column(name="labels", help="one column of 0 and 1 for each label, in order", kind="columns"),
        Column(name="values", help="value in the column -> label; by default they are equal", kind="setting"),
    )
    main = ("auc_roc", "accuracy")

    def __init__(self, options: ClassifyOptions, output: TensorSpec) -> None:
        self._options = options
        self._mode = options.mode
        self._temperature = options.temperature
        self._all_listed = not options.top_k
        self._output = output
        self.labels = options.names
        self.folders = {name: Labels((name,)) for name in options.names}
        multi_class = options.mode == "multi-class"
        self.objective = Objective(
            loss="categorical-crossentropy" if multi_class else "binary-crossentropy",
            from_logits=options.activation != "none",
        )

    def read(self, cells: Cells) -> Labels | None:
        """The label of its column, or those whose columns hold 1."""
        if cells.has("labels"):
            count = len(cells.columns("labels"))
            if count != len(self.labels):
                raise cells.wrong(f"{count} columns for {len(self.labels)} labels", code="data.label-unknown")
            flags = zip(self.labels, cells.flags("labels"), strict=True)
            return Labels(tuple(name for name, flag in flags if flag))
        if not cells.has("label"):
            return None
        value, values = cells.text("label"), cells.setting("values", {})
        name = values.get(value, "" if values else value)
        if name not in self.labels:
            known = ", ".join(values or self.labels)
            raise cells.wrong(
                f"{cells.columns('label')[0]} is {value!r}, not one of {known}", code="data.label-unknown"
            )
        return Labels((name,))

    def digest(self, truth: Labels) -> bytes:
        """The labels' words."""
        return "|".join(truth.names).encode()

    def targets(self, case: Case) -> Tensors:
        """One-hot (labels,) for multi-class, (1,) for binary, 0 and 1 for each of multi-label."""
        positive = self.labels[-1:] if self._mode == "binary" else self.labels
        if tuple(self._output.shape[1:]) != (len(positive),):
            raise ConfigError(
                f"output {self._output.name!r} has shape {self._output.shape}; the task's targets are "
                f"{len(positive)} values a sample",
                code="build.no-target",
                remedy="correct [[outputs]] or the task's labels",
            )
        names: tuple[str, ...] = case.truth.names
        single = self._mode == "multi-class" or (self._mode == "binary" and len(self.labels) == 2)
        if single and len(names) != 1:
            raise DataRejected(f"{case.id}: has {len(names)} labels, it needs one", code="data.target-missing")
        return {self._output.name: np.array([label in names for label in positive], np.float32)}

    def stratum(self, case: Case) -> Hashable:
        """The true label; of multi-label nothing, since its combinations are too many to keep the share of each."""
        if self._mode == "multi-label":
            return 0
        return tuple(label in case.truth.names for label in self.labels)

    def answer(self, findings: Findings, outputs: Tensors, context: FrameContext) -> Stated:
        """Each label's probability, and whether it is stated."""
        by_label = {f.label: (f.present, f.probability or 0.0) for f in findings if f.kind == "class"}
        if not by_label:
            raise EvaluationFailed("the task's findings are no classes", code="evaluate.no-findings")
        # Findings come by probability; the task's own order is the same for all samples.
        labels = (
            *(label for label in self.labels if label in by_label),
            *(label for label in by_label if label not in self.labels),
        )
        return Stated(
            labels, tuple(by_label[label][0] for label in labels), tuple(by_label[label][1] for label in labels)
        )

    def alike(self, one: Stated, other: Stated) -> bool:
        """Both state the same labels."""
        same_labels(one.labels, other.labels)
        return dict(zip(one.labels, one.present, strict=True)) == dict(zip(other.labels, other.present, strict=True))

    def assessed(self, case: Case, answer: Stated) -> Assessed:
        """Right where the stated labels are the true ones; where labels exclude one another, stating none is withheld.

        How sure: the probability of what is stated; what is denied is stated as well, where labels do not exclude one
        another, or there is one alone.
        """
        stated = self._ordered(answer)
        true = tuple(label in case.truth.names for label in self.labels)
        if self._mode == "multi-label" or len(self.labels) == 1:
            sure = [p if present else 1 - p for present, p in zip(stated.present, stated.probabilities, strict=True)]
            wrong = [p for p, one, other in zip(sure, stated.present, true, strict=True) if one != other]
            return Assessed(right=not wrong, confidence=max(wrong) if wrong else min(sure))
        sure = [p for present, p in zip(stated.present, stated.probabilities, strict=True) if present]
        if not sure:
            return Assessed(right=False, withheld=True)
        return Assessed(right=stated.present == true, confidence=max(sure))

    def true_answer(self, case: Case) -> str | None:
        """The label, or that the only one is not true."""
        names: tuple[str, ...] = case.truth.names
        if len(self.labels) == 1:
            return self.labels[0] if names else absent(self.labels[0])
        return names[0] if len(names) == 1 and self._mode != "multi-label" else None

    def moved(self, truth: Labels, geometry: Geometry, extent: tuple[int, int]) -> Labels:
        """A label is of the picture, however it lies."""
        return truth

    def judged(self, cases: Sequence[Case], answers: Sequence[Stated]) -> Judged:
        """All figures; by label and as a table of confusion where there are several labels."""
        labels = self.labels
        classified = (
            self._classified(cases, [self._ordered(answer) for answer in answers]) if cases else self._unasked()
        )
        several = classified.mode != "binary"
        return Judged(
            figures=classified.figures(),
            by_part={name: _defined(classified.of_label(n)) for n, name in enumerate(labels)} if several else {},
            confusion=None if classified.mode == "multi-label" else _confusion(classified, labels),
            point=lambda name: _point_of(classified, labels, name),
            reliability=lambda: reliability(classified, self._temperature) if self._all_listed else (),
        )

    def choose(self, cases: Sequence[Case], outputs: Sequence[Tensors], wish: Mapping[str, Any]) -> Mapping[str, Any]:
        """``temperature`` and ``thresholds``; see the README."""
        check_wish(self._options, wish)
        if not cases:
            raise DataRejected("no sample chooses", code="data.fold-few", remedy="see [dataset] of the card")
        asked = self.labels[-1:] if self._mode == "binary" else self.labels
        truth = np.array([[label in case.truth.names for label in asked] for case in cases], bool)
        given = np.stack([np.asarray(each[self._output.name], np.float64).reshape(-1) for each in outputs])
        values = self._options.scale * (given - self._options.zero_point)
        return chosen(truth, values, self._options, wish)

    def pictures(
        self, cases: Sequence[Case], answers: Mapping[str, Sequence[Stated]], ships: Collection[str]
    ) -> Sequence[Drawing]:
        """Confusion of what ships, and ROC and calibration curves of the parent and what ships."""
        models = []
        for name, each in answers.items():
            classified = self._classified(cases, [self._ordered(answer) for answer in each])
            grid = None if classified.mode == "multi-label" else _confusion(classified, self.labels)
            models.append(Named(name=name, classified=classified, confusion=grid if name in ships else None))
        wrong = (worst_cases(model, cases, self.labels) for model in models if model.name in ships)
        return [*drawings(models, self.labels[-1]), *(drawing for drawing in wrong if drawing is not None)]

    def _ordered(self, answer: Stated) -> Stated:
        """The same with this task's labels, in their order."""
        if answer.labels == self.labels:
            return answer
        same_labels(self.labels, answer.labels)
        order = [answer.labels.index(label) for label in self.labels]
        return Stated(
            self.labels, tuple(answer.present[n] for n in order), tuple(answer.probabilities[n] for n in order)
        )

    def _unasked(self) -> Classified:
        """One sample of each label, answered right: no figure of it counts, but what the figures are called."""
        each = np.eye(len(self.labels), dtype=bool)
        mode = self._mode if self._mode == "multi-label" or len(self.labels) not in (1, 2) else "binary"
        each = each[:, -1:] if mode == "binary" else each
        return Classified(mode=mode, truth=each, probabilities=each.astype(np.float64), stated=each)

    def _classified(self, cases: Sequence[Case], answers: Sequence[Stated]) -> Classified:
        truth = np.array([[label in case.truth.names for label in self.labels] for case in cases], bool)
        stated = np.array([answer.present for answer in answers], bool)
        probabilities = np.array([answer.probabilities for answer in answers], np.float64)
        count, mode = len(self.labels), self._mode
        if mode != "multi-label":
            # Two labels that exclude one another are one question, and the second is the positive, as in the task;
            # unless the model may leave it undecided, which is neither.
            one_question = count == 1 or (count == 2 and bool((stated.sum(axis=1) == 1).all()))
            mode = "binary" if one_question else "multi-class"
        if mode == "binary":
            truth, probabilities, stated = truth[:, -1:], probabilities[:, -1:], stated[:, -1:]
        return Classified(mode=mode, truth=truth, probabilities=probabilities, stated=stated)


def same_labels(one: Collection[str], other: Collection[str]) -> None:
    """Nothing, where both are of the same labels.

    Raises:
        EvaluationFailed: ``evaluate.other-labels``.
    """
    if set(one) != set(other):
        raise EvaluationFailed(
            f"one speaks of {', '.join(one)}, the other of {', '.join(other)}",
            code="evaluate.other-labels",
            remedy="compare models of one task with the same labels",
        )


def _confusion(classified: Classified, names: tuple[str, ...]) -> CrossTable:
    truth, stated = classified.truth, classified.stated
    if truth.shape[1] == 1:
        truth, stated = (np.hstack((~flags, flags)) for flags in (truth, stated))
        names = names if len(names) == 2 else (absent(names[0]), names[0])
    undecided = ~stated.any(axis=1, keepdims=True)
    columns = np.hstack((stated, undecided)) if undecided.any() else stated
    counts = truth.astype(int).T @ columns.astype(int)
    labels = (*names, UNDECIDED) if undecided.any() else names
    return CrossTable(true=names, stated=labels, counts=tuple(tuple(int(count) for count in row) for row in counts))


def _defined(classified: Classified) -> dict[str, float]:
    values = {}
    for figure in classified.figures():
        if figure.name in _BY_LABEL:
            try:
                values[figure.name] = figure.value()
            except FigureUndefined:
                continue  # left out: the label is in all of the samples, or in none
    return values


def _point_of(classified: Classified, labels: tuple[str, ...], name: str) -> Figure | None:
    """``sensitivity@specificity=0.9`` of two labels; of several ``LABEL sensitivity@specificity=0.9``."""
    label, _, point = name.rpartition(" ")
    if classified.mode == "binary":
        return _point(classified, name, name)
    return _point(classified.of_label(labels.index(label)), point, name) if label in labels else None


def _point(classified: Classified, point: str, name: str) -> Figure | None:
    wanted, at, condition = point.partition("@")
    given, equals, bound = condition.partition("=")
    if not (at and equals) or {wanted, given} != {"sensitivity", "specificity"}:
        return None
    try:
        least = float(bound)
    except ValueError:
        return None
    if not 0.0 <= least <= 1.0:
        return None
    return operating_point(name, classified.truth[:, 0], classified.probabilities[:, 0], wanted, least)
