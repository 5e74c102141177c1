"""What the build host asks of reconstruct: what is unusual, what training compares with, how well it is told."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from edgeai.api import (
    Array,
    Assessed,
    Case,
    Cells,
    Column,
    ConfigError,
    Drawing,
    EvaluationFailed,
    Figure,
    Findings,
    FrameContext,
    Geometry,
    Judge,
    Judged,
    Objective,
    Tensors,
    TensorSpec,
)
from edgeai_tasks.classify.figures import Classified, operating_point
from edgeai_tasks.reconstruct.choosing import check_wish, chosen
from edgeai_tasks.reconstruct.errors import Map
from edgeai_tasks.reconstruct.options import ReconstructOptions
from edgeai_tasks.reconstruct.pictures import Scored, drawings
from edgeai_tasks.reconstruct.task import KIND, SCORE, Reconstruct, output_of

_FIGURES: Final = ("auc_roc", "auc_pr", "sensitivity", "specificity")
"""Those of two classes that a score without a probability has."""
_SIDE: Final = 64
"""Cells of a map that is kept, along its longer side."""


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """What a model said of one image: its score, whether it is unusual (``None``: nothing is stated), a coarse map."""

    labels: tuple[str, ...]
    score: float
    unusual: bool | None
    errors: Array


class ReconstructJudge(Judge):
    """See ``Judge``. The positive is what is unusual."""

    columns = (Column(name="unusual", help="column of 0 and 1: whether the image is another than the network knows"),)
    main = ("auc_roc", "specificity")

    def __init__(self, options: ReconstructOptions, task: Reconstruct, outputs: tuple[TensorSpec, ...]) -> None:
        self._task = task
        self._output = output_of(options, outputs)
        self.labels = tuple(label.label for label in options.labels)
        self.folders = dict(zip(self.labels, (False, True), strict=True))
        self.objective = Objective(
            loss="mean-squared-error" if options.error == "squared" else "mean-absolute-error",
        )

    def read(self, cells: Cells) -> bool | None:
        """The flag of its column."""
        if not cells.has("unusual"):
            return None
        flags = cells.flags("unusual")
        if len(flags) != 1:
            raise cells.wrong(f"{cells.columns('unusual')[0]} is not 0 or 1", code="data.value-invalid")
        return flags[0]

    def digest(self, truth: bool) -> bytes:
        """The flag."""
        return b"1" if truth else b"0"

    def targets(self, case: Case) -> Tensors:
        """The picture as the model sees it."""
        pixels = case.context.frame.pixels
        shape = tuple(extent or 0 for extent in self._output.shape[1:])
        if pixels.size != np.prod(shape):
            raise ConfigError(
                f"output {self._output.name!r} has shape {self._output.shape}; the task's target is what the model "
                f"sees, {pixels.shape}",
                code="build.no-target",
                remedy="correct [[outputs]] or the transforms",
            )
        in_turn = np.moveaxis(pixels, -1, 0) if self._output.layout == "NCHW" and pixels.ndim == 3 else pixels
        return {self._output.name: np.asarray(in_turn, np.float32).reshape(shape)}

    def stratum(self, case: Case) -> Hashable:
        """A flag a label: usual, unusual."""
        return (not case.truth, bool(case.truth))

    def answer(self, findings: Findings, outputs: Tensors, context: FrameContext) -> Answered:
        """Score, decision and a coarse map."""
        known = [finding for finding in findings if finding.kind == KIND]
        scores = [one.value for finding in known for one in finding.measurements if one.name == SCORE]
        if len(known) != len(self.labels) or not scores:
            raise EvaluationFailed("the task's findings are no anomalies", code="evaluate.no-findings")
        usual, unusual = (finding.present for finding in known)
        errors = _coarse(self._task.errors(outputs, context))
        return Answered(
            tuple(finding.label for finding in known), scores[0], unusual if usual or unusual else None, errors
        )

    def alike(self, one: Answered, other: Answered) -> bool:
        """Both state the same."""
        for answer in (one, other):
            self._hold(answer)
        return one.unusual == other.unusual

    def assessed(self, case: Case, answer: Answered) -> Assessed:
        """Right where what is stated is true."""
        self._hold(answer)
        return Assessed(right=answer.unusual == case.truth, withheld=answer.unusual is None)

    def moved(self, truth: bool, geometry: Geometry, extent: tuple[int, int]) -> bool | None:
        """Nobody can say whether the network knows pictures that lie so."""
        return None

    def judged(self, cases: Sequence[Case], answers: Sequence[Answered]) -> Judged:
        """Areas under the curves of the score, and shares of both kinds at the threshold."""
        for answer in answers:
            self._hold(answer)
        classified = classified_of(cases, answers)
        figures = tuple(figure for figure in classified.figures() if figure.name in _FIGURES)
        return Judged(figures=figures, point=lambda name: point_of(classified, name))

    def choose(self, cases: Sequence[Case], outputs: Sequence[Tensors], wish: Mapping[str, Any]) -> Mapping[str, Any]:
        """``threshold``; see the README."""
        share = check_wish(wish)
        given = [(case, each) for case, each in zip(cases, outputs, strict=True) if not case.truth]
        answers = [self.answer(self._task.interpret(each, case.context), each, case.context) for case, each in given]
        return chosen(np.array([answer.score for answer in answers], np.float64), share, self.labels[0])

    def pictures(
        self, cases: Sequence[Case], answers: Mapping[str, Sequence[Answered]], ships: Collection[str]
    ) -> Sequence[Drawing]:
        """ROC of all; of what ships the images that it takes for the other kind, with their errors as heat."""
        models = {name: [Scored(one.score, one.unusual, one.errors) for one in each] for name, each in answers.items()}
        return drawings(models, cases, ships, self.labels)

    def _hold(self, answer: Answered) -> None:
        if answer.labels != self.labels:
            raise EvaluationFailed(
                f"one speaks of {', '.join(self.labels)}, the other of {', '.join(answer.labels)}",
                code="evaluate.other-labels",
                remedy="compare models of one task with the same labels",
            )


def classified_of(cases: Sequence[Case], answers: Sequence[Answered]) -> Classified:
    """As of two classes; what is not decided is wrong. Without cases one of each kind, for the figures' names."""
    if not cases:
        return Classified(mode="binary", truth=_EACH, probabilities=_EACH.astype(np.float64), stated=_EACH)
    truth = np.array([[case.truth] for case in cases], bool)
    pairs = zip(cases, answers, strict=True)
    stated = [[not case.truth if answer.unusual is None else answer.unusual] for case, answer in pairs]
    scores = np.array([[answer.score] for answer in answers], np.float64)
    return Classified(mode="binary", truth=truth, probabilities=scores, stated=np.array(stated, bool))


def point_of(classified: Classified, name: str) -> Figure | None:
    """``sensitivity@specificity=0.98`` and the reverse."""
    wanted, _, condition = name.partition("@")
    given, _, bound = condition.partition("=")
    try:
        least = float(bound)
    except ValueError:
        return None
    if {wanted, given} != {"sensitivity", "specificity"} or not 0.0 <= least <= 1.0:
        return None
    return operating_point(name, classified.truth[:, 0], classified.probabilities[:, 0], wanted, least)


def _coarse(errors: Map) -> Array:
    """The largest error of each square, of so many along the longer side at most."""
    step = -(-max(errors.shape) // _SIDE)
    rows, columns = (-(-extent // step) * step for extent in errors.shape)
    padded = np.pad(errors, ((0, rows - errors.shape[0]), (0, columns - errors.shape[1])))
    coarse: Array = padded.reshape(rows // step, step, columns // step, step).max(axis=(1, 3)).astype(np.float32)
    return coarse


_EACH: Final = np.array([[False], [True]])
