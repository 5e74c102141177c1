"""What is true of samples beside what a model said: the figures that this determines, and how samples may be drawn."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeai.api import EvaluationFailed
from edgeai.build.answers import MASKS, Answers
from edgeai.build.dataset import TaskLike
from edgeai.build.metrics import Figure, Undefined, Values, Weights, by_name
from edgeai.build.metrics.classification import Classified
from edgeai.build.metrics.figure import HIGHER, LOWER
from edgeai.build.metrics.segmentation import DISTANCES, NAMES, OVERLAPS, figures_of
from edgeai.build.prepared import Prepared

UNDECIDED = "undecided"
_BY_LABEL = ("auc_roc", "auc_pr", "sensitivity", "specificity", "precision", "f1")
_Counts = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """Samples and answers side by side; ``classified`` for classifiers, masks are read as they are needed."""

    prepared: Prepared
    answers: Answers
    classified: Classified | None

    def figures(self) -> dict[str, Figure]:
        """Every metric of the task, by name."""
        if self.classified is not None:
            return by_name(self.classified.figures())
        masks = _Masks(self.prepared, self.answers)
        return by_name(masks.figure(name) for name in NAMES)

    def strata(self) -> Sequence[Hashable]:
        """What a resample keeps the share of: the true label; whether there is anything to find."""
        if self.classified is None:
            return [bool(self.prepared.mask(place).any()) for place in range(len(self.answers))]
        if self.classified.mode == "multi-label":
            return [0] * len(self.answers)  # its combinations are too many to keep the share of each
        return [int(row.argmax()) if len(row) > 1 else int(row[0]) for row in self.classified.truth]

    def groups(self) -> Sequence[Hashable]:
        """The patient or examination of each sample."""
        return [sample.group or sample.id for sample in self.prepared.samples]

    def by_label(self) -> dict[str, dict[str, float]]:
        """Label -> metric -> value, one label against the rest; empty for a single one."""
        if self.classified is None or self.classified.mode == "binary":
            return {}
        return {label: _defined(self.classified.of_label(column)) for column, label in enumerate(self.answers.labels)}

    def confusion(self) -> tuple[tuple[str, ...], tuple[str, ...], _Counts] | None:
        """(true labels, stated labels, counts), of labels that exclude one another."""
        if self.classified is None or self.classified.mode == "multi-label":
            return None
        truth, stated, names = self.classified.truth, self.classified.stated, self.answers.labels
        if truth.shape[1] == 1:
            truth, stated = (np.hstack((~flags, flags)) for flags in (truth, stated))
            names = names if len(names) == 2 else (f"not {names[0]}", names[0])
        undecided = ~stated.any(axis=1, keepdims=True)
        columns = np.hstack((stated, undecided)) if undecided.any() else stated
        counts = truth.astype(int).T @ columns.astype(int)
        said = (*names, UNDECIDED) if undecided.any() else names
        return names, said, tuple(tuple(int(count) for count in row) for row in counts)


def truth_of(prepared: Prepared, answers: Answers, task: TaskLike) -> Truth:
    """Put the two side by side.

    Raises:
        EvaluationFailed: ``evaluate.other-samples``; ``evaluate.no-truth``: several labels with masks.
        DataRejected: a sample without truth.
    """
    if answers.ids != tuple(sample.id for sample in prepared.samples):
        raise EvaluationFailed("the answers are of other samples", code="evaluate.other-samples")
    if answers.kind == MASKS:
        if len(answers.labels) != 1:
            raise EvaluationFailed(
                f"the data has one mask a sample, the model {len(answers.labels)} labels",
                code="evaluate.no-truth",
                remedy="masks of one label, beside a background where there is one, can be scored",
            )
        return Truth(prepared, answers, None)
    return Truth(prepared, answers, _classified(prepared, answers, str(task.options.get("mode", "multi-class"))))


def _classified(prepared: Prepared, answers: Answers, mode: str) -> Classified:
    truth = prepared.truth()[:, [prepared.labels.index(label) for label in answers.labels]]
    probabilities, stated = answers.probabilities, answers.present
    count = len(answers.labels)
    if mode != "multi-label":
        # Two labels that exclude one another are one question, and the second is the positive, as in the task;
        # unless the model may leave it undecided, which is neither.
        one_question = count == 1 or (count == 2 and bool((stated.sum(axis=1) == 1).all()))
        mode = "binary" if one_question else "multi-class"
    if mode == "binary":
        truth, probabilities, stated = truth[:, -1:], probabilities[:, -1:], stated[:, -1:]
    return Classified(mode=mode, truth=truth, probabilities=probabilities, stated=stated)


def _defined(classified: Classified) -> dict[str, float]:
    found = {}
    for figure in classified.figures():
        if figure.name in _BY_LABEL:
            try:
                found[figure.name] = figure.value()
            except Undefined:
                continue  # left out: the label is in all of the samples, or in none
    return found


class _Masks:
    """Per-sample figures of masks, computed when they are first asked for."""

    def __init__(self, prepared: Prepared, answers: Answers) -> None:
        self._prepared = prepared
        self._answers = answers
        spacings = [context.frame.geometry.spacing_mm() for context in prepared.contexts]
        known = [spacing for spacing in spacings if spacing is not None]
        self._unit = "mm" if len(known) == len(spacings) else "px"
        self._spacings = known if self._unit == "mm" else [(1.0, 1.0)] * len(spacings)
        self._values: dict[str, npt.NDArray[np.float64]] = {}

    def figure(self, name: str) -> Figure:
        """The mean over the samples of one figure."""
        distance = name in DISTANCES

        def over(weights: Weights) -> Values:
            mean: Values = weights @ self._of(name) / weights.sum(axis=-1)
            return mean

        return Figure(
            name=name,
            value=lambda: float(self._of(name).mean()),
            over=over,
            better=LOWER if distance else HIGHER,
            unit=self._unit if distance else "",
        )

    def _of(self, name: str) -> npt.NDArray[np.float64]:
        if name not in self._values:
            names = DISTANCES if name in DISTANCES else OVERLAPS
            label = self._answers.labels[0]
            each = [
                figures_of(self._prepared.mask(place), self._answers.mask(place, label), spacing, names)
                for place, spacing in enumerate(self._spacings)
            ]
            for one in names:
                self._values[one] = np.array([found[one] for found in each])
        return self._values[name]
