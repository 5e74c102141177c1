"""The task classify itself; see the package for its registration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeai.api import (
    Alternatives,
    Array,
    Finding,
    Findings,
    FrameContext,
    InstanceRef,
    TaskFailed,
    Tensors,
    TensorSpec,
    check_tensors,
)
from edgeai_tasks.classify.options import ClassifyOptions, refused
from edgeai_tasks.classify.probabilities import probabilities

Probabilities: TypeAlias = npt.NDArray[np.float64]


class Classify:
    """See ``Task``. Findings of kind ``class`` are ordered by probability, highest first."""

    def __init__(self, options: ClassifyOptions, outputs: tuple[TensorSpec, ...]) -> None:
        self._options = options
        self._names = options.names
        self._outputs = outputs
        self._output = output_of(options, outputs)

    def interpret(self, outputs: Tensors, context: FrameContext) -> Findings:
        """Every label's probability in this frame, whether it is present, and the agreement with the header.

        Raises:
            TensorMismatch: the outputs are not those declared.
            TaskFailed: the output is of the wrong size, not finite, or no probabilities.
        """
        values = self._values(outputs)
        number = context.frame.number
        findings = self._decided(self._per_label(probabilities(values, self._options)).tolist(), number)
        return findings + self._agreement(findings, context.instance, number)

    def summarise(self, frames: Sequence[Findings], instance: InstanceRef) -> Findings:
        """One statement a label about the instance, then (``per_frame``) those of each frame.

        Raises:
            TaskFailed: there are no frames, or one does not speak of every label.
        """
        if not frames:
            raise TaskFailed("classify: no frame was interpreted", code="task.no-frames")
        by_label = [self._of_frame(findings) for findings in frames]
        if self._options.summarise == "vote":
            findings = self._voted(by_label)
        else:
            table = [[each[label].probability or 0.0 for label in self._names] for each in by_label]
            findings = self._decided(table[0] if len(table) == 1 else self._over_frames(table))
        agreement = self._agreement(findings, instance)
        summary = self._most_probable(findings) + agreement
        if self._options.per_frame:
            for each in frames:
                summary += self._most_probable(tuple(f for f in each if f.kind == "class"))
                summary += tuple(f for f in each if f.kind != "class")
        return summary

    def alternatives(self, findings: Findings) -> Alternatives:
        """See ``AbstainingTask``: each label, as strange as it is improbable; of one label also that it is not.

        The classifier of the least ambiguous sets (Sadinle, Lei and Wasserman 2019).

        Raises:
            TaskFailed: ``task.options``: several labels may be true; ``task.no-frames``: a label is missing.
        """
        if self._options.mode == "multi-label":
            raise refused("mode", "is multi-label, where several labels may be true, so that none alone is left")
        strangeness = {label: 1.0 - probability for label, probability in self._of_each(findings).items()}
        present = {finding.label for finding in findings if finding.kind == "class" and finding.present}
        stated = [label for label in self._names if label in present]
        if len(strangeness) == 1:
            [(label, strange)] = strangeness.items()
            strangeness[absent(label)] = 1.0 - strange
            stated = stated or [absent(label)]
        return Alternatives(strangeness=strangeness, stated=stated[0] if stated else "")

    def _values(self, outputs: Tensors) -> Array:
        check_tensors(self._outputs, outputs, what="output")
        values, wanted = outputs[self._output.name], self._options.output_size
        if values.size != wanted or values.shape[-1:] not in ((wanted,), ()):
            raise TaskFailed(
                f"classify: output {self._output.name!r} has shape {values.shape}, {wanted} values are needed",
                code="task.output",
            )
        flat = np.asarray(values, dtype=np.float64).reshape(-1)
        if not np.isfinite(flat).all():
            raise TaskFailed(
                f"classify: output {self._output.name!r} holds values that are not finite", code="task.not-finite"
            )
        return self._options.scale * (flat - self._options.zero_point)

    def _per_label(self, values: Probabilities) -> Probabilities:
        # One output and two labels: the negative first.
        return np.array([1.0 - values[0], values[0]]) if len(self._options.labels) > len(values) else values

    def _over_frames(self, table: list[list[float]]) -> list[float]:
        """Each label's probability in the whole instance, of those in its frames."""
        each = np.array(table)
        values: list[float] = (each.mean(axis=0) if self._options.summarise == "mean" else each.max(axis=0)).tolist()
        return values

    def _decided(self, values: list[float], frame_number: int | None = None) -> Findings:
        top = values.index(max(values))
        findings = []
        for index, (label, value) in enumerate(zip(self._options.labels, values, strict=True)):
            threshold = label.threshold
            reached = threshold is None or value >= threshold
            if self._options.mode == "multi-class":
                reached = reached and index == top
            elif self._options.mode == "binary" and len(self._options.labels) == 2 and index == 0:
                # The complement of the positive, so that exactly one of the two is present.
                positive = self._options.labels[1].threshold
                reached = positive is not None and values[1] < positive
            findings.append(self._finding(index, value, threshold, reached, frame_number))
        return _ordered(findings)

    def _voted(self, by_label: Sequence[dict[str, Finding]]) -> Findings:
        findings = []
        for index, label in enumerate(self._names):
            share = sum(each[label].present for each in by_label) / len(by_label)
            findings.append(self._finding(index, share, 0.5, share > 0.5))
        return _ordered(findings)

    def _finding(
        self, index: int, probability: float, threshold: float | None, present: bool, frame_number: int | None = None
    ) -> Finding:
        label = self._options.labels[index]
        return Finding(
            kind="class",
            label=label.label,
            present=present,
            probability=probability,
            threshold=threshold,
            concept=label.concept,
            frame_number=frame_number,
        )

    def _agreement(self, findings: Findings, instance: InstanceRef, frame_number: int | None = None) -> Findings:
        expect = self._options.expect
        if expect is None:
            return ()
        labels = expect.labels_for(str(getattr(instance, expect.attribute)))
        if not labels:
            # The header says nothing that could be agreed with.
            return (
                Finding(
                    kind="agreement",
                    label=expect.attribute,
                    present=False,
                    threshold=expect.threshold,
                    frame_number=frame_number,
                ),
            )
        summed = sum(f.probability or 0.0 for f in findings if f.kind == "class" and f.label in labels)
        probability = min(1.0, summed)
        return (
            Finding(
                kind="agreement",
                label=expect.attribute,
                present=probability >= expect.threshold,
                probability=probability,
                threshold=expect.threshold,
                frame_number=frame_number,
            ),
        )

    def _of_frame(self, findings: Findings) -> dict[str, Finding]:
        by_label = {finding.label: finding for finding in findings if finding.kind == "class"}
        if by_label.keys() != set(self._names) or any(f.probability is None for f in by_label.values()):
            raise TaskFailed("classify: a frame's findings do not speak of every label", code="task.no-frames")
        return by_label

    def _of_each(self, findings: Findings) -> dict[str, float]:
        """Each label's probability; of one that ``top_k`` cut off a summary the most that it can be."""
        listed = {finding.label: finding.probability or 0.0 for finding in findings if finding.kind == "class"}
        if not self._options.top_k or not listed:
            return {label: finding.probability or 0.0 for label, finding in self._of_frame(findings).items()}
        most = min(listed.values())
        if self._options.summarise != "max":  # means and shares of votes are 1 together, at most
            most = min(most, max(0.0, 1.0 - sum(listed.values())))
        return {label: listed.get(label, most) for label in self._names}

    def _most_probable(self, findings: Findings) -> Findings:
        # What is present is never cut off: a short list must not read as a negative.
        kept = self._options.top_k or len(findings)
        return tuple(finding for rank, finding in enumerate(findings) if rank < kept or finding.present)


def _ordered(findings: Sequence[Finding]) -> Findings:
    return tuple(sorted(findings, key=lambda finding: -(finding.probability or 0.0)))


def absent(label: str) -> str:
    """What is answered where the only label is not true."""
    return f"not {label}"


def output_of(options: ClassifyOptions, outputs: Sequence[TensorSpec]) -> TensorSpec:
    """The output that speaks of the labels.

    Raises:
        TaskFailed: ``task.options``: none is named so, or several could be meant.
    """
    named = [spec for spec in outputs if spec.name == options.output or (options.output is None and len(outputs) == 1)]
    if not named:
        names = ", ".join(spec.name for spec in outputs) or "none"
        raise refused("output", f"is {options.output!r}, the model's outputs are: {names}")
    return named[0]
