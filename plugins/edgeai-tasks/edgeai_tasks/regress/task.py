"""The task regress itself; see the package for its registration."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgeai.api import (
    EdgeaiError,
    Finding,
    Findings,
    Frame,
    FrameContext,
    GuardFigure,
    Indeterminate,
    InstanceRef,
    Measurement,
    NotApplicable,
    TaskFailed,
    Tensors,
    TensorSpec,
    check_tensors,
)
from edgeai_tasks.regress.options import RegressOptions, Value, refused
from edgeai_tasks.regress.scale import factor_of

KIND = "value"
OUT_OF_RANGE = "task.out-of-range"


class Regress:
    """See ``Task`` and ``ComparingTask``. One finding of kind ``value`` for each, in the order of the options."""

    def __init__(self, options: RegressOptions, outputs: tuple[TensorSpec, ...]) -> None:
        self._options = options
        self._outputs = outputs
        self._output = output_of(options, outputs)

    def interpret(self, outputs: Tensors, context: FrameContext) -> Findings:
        """Each value of this frame. One that is not plausible is denied, with the number that it is not.

        Raises:
            TensorMismatch: the outputs are not those declared.
            TaskFailed: ``task.output``, ``task.not-finite``; ``task.no-spacing``, ``task.unequal-spacing``: the image
                does not say what the answer is in the value's unit.
        """
        given, frame = self._given(outputs), context.frame
        return tuple(
            self._finding(value, float(one) * self.factor(value, frame), frame.number)
            for value, one in zip(self._options.values, given, strict=True)
        )

    def summarise(self, frames: Sequence[Findings], instance: InstanceRef) -> Findings:
        """Each value from the frame in the middle of those where it is plausible, the lower of two.

        Raises:
            TaskFailed: ``task.no-frames``.
            NoStatement, TaskFailed: ``task.out-of-range``, as the options say: a value is plausible in fewer than half.
        """
        if not frames:
            raise TaskFailed("regress: no frame was interpreted", code="task.no-frames")
        summary = tuple(self._middle(number, value, frames) for number, value in enumerate(self._options.values))
        if not self._options.per_frame:
            return summary
        return summary + tuple(finding for findings in frames for finding in findings if finding.present)

    def difference(self, before: Findings, now: Findings) -> str:
        """See ``ComparingTask``: values that are further apart than leads to the same decision."""
        old, new = ({(f.label, f.frame_number): f for f in each if f.kind == KIND} for each in (before, now))
        allowed = {value.name: value.same for value in self._options.values}
        for label, frame in {**old, **new}:
            one, other = old.get((label, frame)), new.get((label, frame))
            where = f"{label} in frame {frame}" if frame is not None else label
            if one is None or other is None or one.present != other.present:
                return f"{where} is {'stated' if other is not None and other.present else 'stated no longer'}"
            was, becomes = one.measurements[0], other.measurements[0]
            if one.present and (was.unit != becomes.unit or abs(becomes.value - was.value) > allowed.get(label, 0.0)):
                return f"{where} is {becomes.value:.4g} {becomes.unit} in place of {was.value:.4g} {was.unit}"
        return ""

    def factor(self, value: Value, frame: Frame) -> float:
        """By what a number that the network means is multiplied to be in the value's unit. Raises as ``interpret``."""
        return factor_of(value.per, value.unit, frame)

    def _given(self, outputs: Tensors) -> list[float]:
        """What the network means by its outputs, in pixels or in the values' units."""
        check_tensors(self._outputs, outputs, what="output")
        values = outputs[self._output.name]
        if values.size != len(self._options.values):
            raise TaskFailed(
                f"regress: output {self._output.name!r} has shape {values.shape}, {len(self._options.values)} values "
                "are needed",
                code="task.output",
            )
        flat = np.asarray(values, dtype=np.float64).reshape(-1)
        if not np.isfinite(flat).all():
            raise TaskFailed(
                f"regress: output {self._output.name!r} holds values that are not finite", code="task.not-finite"
            )
        return [value.offset + value.scale * float(one) for value, one in zip(self._options.values, flat, strict=True)]

    def _finding(self, value: Value, number: float, frame_number: int) -> Finding:
        present = value.is_plausible(number)
        measured = Measurement(
            name=value.name,
            value=number,
            unit=value.unit,
            interval=value.interval(number) if present else None,
            concept=value.concept,
        )
        return Finding(
            kind=KIND,
            label=value.name,
            present=present,
            concept=value.concept,
            frame_number=frame_number,
            measurements=(measured,),
        )

    def _middle(self, number: int, value: Value, frames: Sequence[Findings]) -> Finding:
        each = [findings[number] for findings in frames if len(findings) == len(self._options.values)]
        if len(each) != len(frames) or any(f.label != value.name or not f.measurements for f in each):
            raise TaskFailed("regress: a frame's findings do not speak of every value", code="task.no-frames")
        stated = {finding.measurements[0].value: finding for finding in each if finding.present}
        numbers = [finding.measurements[0].value for finding in each if finding.present]
        if 2 * len(numbers) < len(each):
            strange = [finding.measurements[0].value for finding in each if not finding.present]
            raise _strange(value, strange, len(each), self._options.out_of_range)
        return replace(stated[statistics.median_low(numbers)], frame_number=None)


def _strange(value: Value, numbers: Sequence[float], frames: int, ends: str) -> EdgeaiError:
    often = f" in {len(numbers)} of {frames} frames" if frames > 1 else ""
    number = statistics.median_low(numbers)
    told = (
        f"regress: {value.name} would be {number:.4g} {value.unit}{often}, and is plausible from {value.low:g} to "
        f"{value.high:g}"
    )
    remedy = "see whether the image shows what the model measures; if it does, judge it without the model"
    if ends == "failed":
        return TaskFailed(told, code=OUT_OF_RANGE, remedy=remedy)
    bound = value.low if number < value.low else value.high
    figure = GuardFigure(check="range", name=value.name, value=number, threshold=bound, withheld=True)
    kind = NotApplicable if ends == "not-applicable" else Indeterminate
    return kind(told, code=OUT_OF_RANGE, remedy=remedy, figures=(figure,))


def output_of(options: RegressOptions, outputs: Sequence[TensorSpec]) -> TensorSpec:
    """The output that holds the values: a row of them.

    Raises:
        TaskFailed: ``task.options``: none is named so, several could be meant, or it is no row of so many.
    """
    named = [spec for spec in outputs if spec.name == options.output or (options.output is None and len(outputs) == 1)]
    if not named:
        names = ", ".join(spec.name for spec in outputs) or "none"
        raise refused("output", f"is {options.output!r}, the model's outputs are: {names}")
    wanted = len(options.values)
    if len(named[0].shape) != 2 or named[0].shape[1] not in (None, wanted):
        raise refused("values", f"are {wanted}, output {named[0].name!r} has shape {named[0].shape}")
    return named[0]
