"""What the build host asks of detect: which boxes are true, what training compares with, how good answers are."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeai.api import (
    Assessed,
    Case,
    Cells,
    Column,
    ConfigError,
    Drawing,
    EvaluationFailed,
    Findings,
    FrameContext,
    Geometry,
    Judge,
    Judged,
    Objective,
    Tensors,
    TensorSpec,
)
from edgeai_tasks.detect import stages
from edgeai_tasks.detect.agreeing import KIND
from edgeai_tasks.detect.boxes import SAME, Boxes, Numbers, paired
from edgeai_tasks.detect.choosing import chosen, wished
from edgeai_tasks.detect.dense import layout_of
from edgeai_tasks.detect.figures import LOCALISED, MAP50, Measured
from edgeai_tasks.detect.matching import Boxed, right_ones
from edgeai_tasks.detect.options import DENSE, TWO_STAGE, DetectOptions
from edgeai_tasks.detect.pictures import froc, worst_cases
from edgeai_tasks.detect.places import sides_of, spacing_of
from edgeai_tasks.detect.targets import loss_of, targets_of
from edgeai_tasks.detect.truth import Truth, digest_of, moved, one_label, read, true_boxes
from edgeai_tasks.detect.two_stage import FIRST_STAGE, ROLES
from edgeai_tasks.sizes import size_of

if TYPE_CHECKING:
    from edgeai_tasks.detect.task import Detect, Detection


@dataclass(frozen=True, slots=True)
class Detections:
    """What a model said of one image: the labels that it speaks of, and its boxes, the highest score first."""

    labels: tuple[str, ...]
    boxes: tuple[tuple[float, float, float, float], ...]
    scores: tuple[float, ...]
    places: tuple[int, ...]
    stated: tuple[bool, ...]

    def boxed(self) -> Boxed:
        """As arrays."""
        return Boxed(
            np.array(self.boxes, np.float64).reshape(-1, 4),
            np.array(self.scores, np.float64),
            np.array(self.places, np.intp),
            np.array(self.stated, bool),
        )


class DetectJudge(Judge):
    """See ``Judge``. What is true are boxes in pixels of the source image, or the boxes about a mask's pieces."""

    columns = (
        Column(
            name="boxes",
            help='column of boxes as JSON: [[x0, y0, x1, y1], ...] or [{"box": [...], "label": "..."}, ...], outer '
            "edges in pixels of the image as it is stored; [] or nothing where there is none",
        ),
        *(
            Column(name=side, help=f"column of {side} of the only box, instead; empty: there is none")
            for side in ("x0", "y0", "x1", "y1")
        ),
        Column(name="label", help="with x0: column of the box's label; one label need not be named"),
        Column(name="mask", help="column of a mask's file, instead: each piece of what is not 0 has its box"),
    )
    main = (MAP50, LOCALISED)
    moves_by_truth = True

    def __init__(self, options: DetectOptions, outputs: Sequence[TensorSpec], task: Detect) -> None:
        self._options, self._outputs, self._task = options, tuple(outputs), task
        self.labels = options.names
        if options.form == DENSE:
            self.objective = self._dense()
        elif options.form == TWO_STAGE and len(self._outputs) > len(ROLES):
            self.objective = self._staged()

    def read(self, cells: Cells) -> Truth | None:
        """See ``truth``."""
        return read(cells, self.labels)

    def digest(self, truth: Truth) -> bytes:
        """Of the boxes in any order, or of the mask's pixels."""
        return digest_of(truth)

    def targets(self, case: Case) -> Tensors:
        """Of a dense head, see ``targets``; of two stages, see ``stages``.

        Raises:
            ConfigError: ``build.no-target``: another form; an extent that is open; more boxes than proposals.
            DataRejected: a box outside of the image.
        """
        if self.objective is None:
            raise ConfigError(
                f"detect has targets for form {DENSE}, and for {TWO_STAGE} with a first stage's {FIRST_STAGE[0]} as a "
                f"fourth output; not for {self._options.form} of {len(self._outputs)}",
                code="build.no-target",
                remedy="train it where it comes from, and pack what it became",
            )
        one_label(case.truth, self.labels)
        if self._options.form == TWO_STAGE:
            *outputs, grid = self._outputs
            return stages.targets_of(case, outputs, (grid, layout_of(grid, 1)), self._options)
        return targets_of(case, self._outputs, self._layouts(), len(self.labels))

    def stratum(self, case: Case) -> Hashable:
        """Of which labels there is something."""
        return tuple(sorted(set(self._true(case)[1].tolist())))

    def subgroups(self, case: Case) -> Mapping[str, str]:
        """By how large it is: the longer side of the largest true box, in mm, between the options' bounds."""
        geometry, sources = case.context.frame.geometry, self._options.millimetres_from
        sides = []
        for box in self._true(case)[0] if self._options.sizes else ():
            spacing = spacing_of(box, geometry, sources)
            if spacing is None:
                return {}
            sides.append(max(sides_of(box, spacing)))
        return {"size": size_of(max(sides), self._options.sizes, "mm")} if sides else {}

    def answer(self, findings: Findings, outputs: Tensors, context: FrameContext) -> Detections:
        """All boxes, those too that no threshold lets be stated: a curve needs them."""
        if not any(finding.kind == KIND for finding in findings):
            raise EvaluationFailed("the task's findings are no boxes", code="evaluate.no-findings")
        return self._kept(self._task.detections(outputs, context))

    def alike(self, one: Detections, other: Detections) -> bool:
        """As many boxes of each label are stated, each over its own of the other by ``SAME``."""
        _same(one, other)
        return all(
            len(first) == len(second) == len(paired(first, second))
            for first, second in (
                tuple(each.boxes[each.stated & (each.labels == place)] for each in (one.boxed(), other.boxed()))
                for place in range(len(self.labels))
            )
        )

    def assessed(self, case: Case, answer: Detections) -> Assessed:
        """Right where every true box has its own and nothing else is stated."""
        (boxes, labels), every = self._true(case), answer.boxed()
        stated, rest = every.of(every.stated), every.of(~every.stated)
        right = right_ones(boxes, labels, stated, SAME)
        denied = 1.0 - float(rest.scores.max(initial=0.0))
        if right.all() and len(right) == len(boxes):
            return Assessed(right=True, confidence=float(stated.scores.min()) if len(boxes) else denied)
        wrong = stated.scores[~right]
        return Assessed(right=False, confidence=float(wrong.max()) if len(wrong) else denied)

    def moved(self, truth: Truth, geometry: Geometry, extent: tuple[int, int]) -> Truth | None:
        """See ``truth``."""
        return moved(truth, geometry, extent)

    def judged(self, cases: Sequence[Case], answers: Sequence[Detections]) -> Judged:
        """Precision and recall of boxes; by label where there are several."""
        measured = self._measured(cases, answers)
        several = len(self.labels) > 1
        return Judged(
            figures=measured.figures(),
            by_part={name: measured.of_label(place) for place, name in enumerate(self.labels)} if several else {},
            point=measured.point,
        )

    def choose(self, cases: Sequence[Case], outputs: Sequence[Tensors], wish: Mapping[str, Any]) -> Mapping[str, Any]:
        """``thresholds``; see the README."""
        bound = wished(wish)
        answers = [
            self._kept(self._task.detections(given, case.context)).boxed()
            for case, given in zip(cases, outputs, strict=True)
        ]
        return chosen([self._true(case) for case in cases], answers, self.labels, bound)

    def pictures(
        self, cases: Sequence[Case], answers: Mapping[str, Sequence[Detections]], ships: Collection[str]
    ) -> Sequence[Drawing]:
        """Recall against false positives of all, and the worst cases of each artifact that ships."""
        truths = [self._true(case) for case in cases]
        models = {name: self._measured(cases, each) for name, each in answers.items()}
        worst = [
            worst_cases(name, cases, truths, [answer.boxed() for answer in answers[name]])
            for name in answers
            if name in ships
        ]
        return [froc(models, len(cases)), *worst]

    def _dense(self) -> Objective:
        logits = self._options.activation != "none"
        last = self._layouts()[0] == "NHWC"
        formula = loss_of(len(self.labels), logits=logits, channels_last=last)
        return Objective(loss="centre-heat-and-boxes", from_logits=logits, formula=formula)

    def _staged(self) -> Objective:
        names = [spec.name for spec in self._outputs]
        together = stages.loss_of(names, self._options, channels_last=layout_of(self._outputs[-1], 1) == "NHWC")
        return Objective(loss="two-stage", from_logits=self._options.activation != "none", together=together)

    def _layouts(self) -> list[str]:
        return [layout_of(spec, len(self.labels)) for spec in self._outputs]

    def _true(self, case: Case) -> tuple[Boxes, Numbers]:
        one_label(case.truth, self.labels)
        return true_boxes(case)

    def _measured(self, cases: Sequence[Case], answers: Sequence[Detections]) -> Measured:
        for answer in answers:
            if answer.labels != self.labels:
                raise _other(answer.labels, self.labels)
        truths = [self._true(case) for case in cases]
        return Measured(truths, [answer.boxed() for answer in answers], len(self.labels))

    def _kept(self, every: Sequence[Detection]) -> Detections:
        thresholds = self._options.thresholds
        return Detections(
            self.labels,
            tuple(each.box for each in every),
            tuple(each.score for each in every),
            tuple(each.label for each in every),
            tuple(each.score >= thresholds[each.label] for each in every),
        )


def _same(one: Detections, other: Detections) -> None:
    if one.labels != other.labels:
        raise _other(one.labels, other.labels)


def _other(one: Collection[str], other: Collection[str]) -> EvaluationFailed:
    return EvaluationFailed(
        f"one speaks of {', '.join(one)}, the other of {', '.join(other)}",
        code="evaluate.other-labels",
        remedy="compare models of one task with the same labels, in one order",
    )
