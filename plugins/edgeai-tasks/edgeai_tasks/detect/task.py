"""The task detect itself; see ``detect`` for its registration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgeai.api import (
    Finding,
    Findings,
    FrameContext,
    InstanceRef,
    TaskFailed,
    Tensors,
    TensorSpec,
    check_tensors,
)
from edgeai_tasks.detect.agreeing import KIND, difference
from edgeai_tasks.detect.candidates import Candidates
from edgeai_tasks.detect.forms import Form, failed
from edgeai_tasks.detect.options import DetectOptions
from edgeai_tasks.detect.places import in_source, measurements, region_of, spacing_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """One box of the source image, whether it is stated or not: ``label`` is its place among the labels."""

    label: int
    score: float
    box: tuple[float, float, float, float]


class Detect:
    """See ``ComparingTask``. Findings of kind ``detect``: a label's boxes, best first; or that there is none of it."""

    difference = staticmethod(difference)

    def __init__(
        self, options: DetectOptions, declared: tuple[TensorSpec, ...], names: Sequence[str], form: Form
    ) -> None:
        self._options = options
        self._declared = declared
        self._names = tuple(names)
        self._form = form

    def interpret(self, outputs: Tensors, context: FrameContext) -> Findings:
        """The boxes of this frame that reach their label's threshold; a label without one is not present.

        Raises:
            TensorMismatch: the outputs are not those declared.
            TaskFailed: ``task.output``, ``task.not-finite``, ``task.not-probabilities``, ``task.count``,
                ``task.class``; ``task.box``: a box that would be stated ends before it begins.
        """
        every = self.detections(outputs, context)
        findings: list[Finding] = []
        for place, threshold in enumerate(self._options.thresholds):
            own = [each for each in every if each.label == place]
            stated = [each for each in own if each.score >= threshold]
            findings += [self._stated(each, context) for each in stated]
            if not stated:
                findings.append(self._denied(place, own, context))
        return tuple(findings)

    def detections(self, outputs: Tensors, context: FrameContext) -> tuple[Detection, ...]:
        """All boxes that are left, the highest score first, those too that no threshold lets be stated.

        Raises as ``interpret``.
        """
        frame = context.frame
        among = self._form.decode(self._values(outputs), (frame.rows, frame.columns))
        kept = self._options.suppression.kept(self._sound(among))
        placed, inside = in_source(kept.boxes, frame)
        rows = zip(kept.labels[inside].tolist(), kept.scores[inside].tolist(), placed[inside].tolist(), strict=True)
        return tuple(
            Detection(label=label, score=score, box=(box[0], box[1], box[2], box[3])) for label, score, box in rows
        )

    def summarise(self, frames: Sequence[Findings], instance: InstanceRef) -> Findings:
        """Each label as in the frame where its best box has the highest score; then those of each frame.

        Raises:
            TaskFailed: there are no frames, or one does not speak of every label.
        """
        if not frames:
            raise TaskFailed("detect: no frame was interpreted", code="task.no-frames")
        by_label = [self._of_frame(findings) for findings in frames]
        summary: list[Finding] = []
        for label in self._options.names:
            best = max((each[label] for each in by_label), key=lambda own: (own[0].present, own[0].probability or 0.0))
            summary += [replace(finding, frame_number=None) for finding in best]
        each_frame = [finding for findings in frames for finding in findings] if self._options.per_frame else []
        return (*summary, *each_frame)

    def _values(self, outputs: Tensors) -> list[npt.NDArray[np.float64]]:
        check_tensors(self._declared, outputs, what="output")
        values = [np.asarray(outputs[name], np.float64) for name in self._names]
        for name, value in zip(self._names, values, strict=True):
            if not np.isfinite(value).all():
                raise failed(f"output {name!r} holds values that are not finite", "task.not-finite")
        return values

    def _sound(self, among: Candidates) -> Candidates:
        """Without those that are no boxes, where no threshold would let them be stated; else they are refused."""
        broken = ~((among.boxes[:, 2:] > among.boxes[:, :2]).all(axis=1) & np.isfinite(among.boxes).all(axis=1))
        stated = among.scores >= np.array(self._options.thresholds)[among.labels]
        if (broken & stated).any():
            worst = among.taken(np.flatnonzero(broken & stated)[:1])
            box = ", ".join(f"{value:.4g}" for value in worst.boxes[0])
            raise failed(
                f"{self._options.names[worst.labels[0]]} with score {worst.scores[0]:.3g} has the box {box}, which "
                "ends before it begins",
                "task.box",
                "see order, coordinates and box_scales, and that outputs are named in the form's order",
            )
        return among.taken(np.flatnonzero(~broken)) if broken.any() else among

    def _stated(self, detection: Detection, context: FrameContext) -> Finding:
        frame, sources = context.frame, self._options.millimetres_from
        box = np.array(detection.box)
        return replace(
            self._of(detection.label, frame.number),
            present=True,
            probability=detection.score,
            region=region_of(box, frame.geometry, frame.number, sources),
            measurements=measurements(box, spacing_of(box, frame.geometry, sources)),
        )

    def _denied(self, place: int, own: Sequence[Detection], context: FrameContext) -> Finding:
        nearest = max((each.score for each in own), default=None)
        return replace(self._of(place, context.frame.number), probability=nearest)

    def _of(self, place: int, number: int) -> Finding:
        label = self._options.labels[place]
        return Finding(
            kind=KIND,
            label=label.label,
            present=False,
            threshold=label.threshold,
            concept=label.concept,
            frame_number=number,
        )

    def _of_frame(self, findings: Findings) -> dict[str, list[Finding]]:
        by_label: dict[str, list[Finding]] = {name: [] for name in self._options.names}
        for finding in findings:
            if finding.kind == KIND and finding.label in by_label:
                by_label[finding.label].append(finding)
        if not all(by_label.values()):
            raise TaskFailed("detect: a frame's findings do not speak of every label", code="task.no-frames")
        return by_label
