"""The task reconstruct itself; see the package for its registration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from edgeai.api import (
    Finding,
    Findings,
    Frame,
    FrameContext,
    Heat,
    InstanceRef,
    Measurement,
    TaskFailed,
    Tensors,
    TensorSpec,
    check_tensors,
)
from edgeai_tasks.reconstruct.errors import Map, cells_of, error_map, score_of
from edgeai_tasks.reconstruct.options import ReconstructOptions, refused

KIND: Final = "anomaly"
SCORE: Final = "score"
THRESHOLD: Final = "threshold"
_RANKS: Final = (3, 4)
_MOST_CELLS: Final = 16
"""Of the heat, along its longer side: a result is to stay short."""


class Reconstruct:
    """See ``Task``. Two findings of kind ``anomaly``, of which one is present at most: usual, then unusual.

    The second bears the errors as heat, whether it is present or not.
    """

    def __init__(self, options: ReconstructOptions, outputs: tuple[TensorSpec, ...]) -> None:
        self._options = options
        self._outputs = outputs
        self._output = output_of(options, outputs)

    def interpret(self, outputs: Tensors, context: FrameContext) -> Findings:
        """Whether this frame is as those are that the network was trained on.

        Raises:
            TensorMismatch: the outputs are not those declared.
            TaskFailed: ``task.output``: no picture of the size of what the model saw; ``task.not-finite``.
        """
        errors = self.errors(outputs, context)
        heat = self._heat(errors, context.frame)
        usual, unusual = self._decided(score_of(errors, self._options.part), context.frame.number)
        return usual, replace(unusual, heat=heat)

    def errors(self, outputs: Tensors, context: FrameContext) -> Map:
        """(rows, columns) of what the model saw: how far each pixel is off. Raises as ``interpret``."""
        check_tensors(self._outputs, outputs, what="output")
        made, picture = outputs[self._output.name], context.frame.pixels
        if made.size != picture.size:
            raise TaskFailed(
                f"reconstruct: output {self._output.name!r} has shape {made.shape}, the model saw {picture.shape}",
                code="task.output",
            )
        made = np.asarray(made, np.float64)
        if not np.isfinite(made).all():
            raise TaskFailed(
                f"reconstruct: output {self._output.name!r} holds values that are not finite", code="task.not-finite"
            )
        if self._output.layout == "NCHW":
            made = np.moveaxis(made, 1, -1)
        return error_map(
            picture,
            made.reshape(picture.shape),
            squared=self._options.error == "squared",
            smooth_px=self._options.smooth_px,
        )

    def summarise(self, frames: Sequence[Findings], instance: InstanceRef) -> Findings:
        """The frame in the middle by its score, the higher of two; then (``per_frame``) those of each.

        Raises:
            TaskFailed: there are no frames, or one says nothing.
        """
        if not frames:
            raise TaskFailed("reconstruct: no frame was interpreted", code="task.no-frames")
        ranked = sorted(frames, key=_score)
        middle = ranked[len(ranked) // 2]
        summary = tuple(replace(finding, frame_number=None) for finding in middle)
        each = (replace(finding, heat=None) for findings in frames for finding in findings)
        return (*summary, *each) if self._options.per_frame else summary

    def _heat(self, errors: Map, frame: Frame) -> Heat:
        (x0, y0), (x1, y1) = frame.geometry.to_source([(0, 0), (frame.columns, frame.rows)]).round(2).tolist()
        cells = cells_of(errors, _MOST_CELLS).tolist()
        return Heat(
            name="error",
            values=tuple(tuple(float(f"{value:.4g}") for value in row) for row in cells),
            box=(x0, y0, x1, y1),
            frame_number=frame.number,
            bound=self._options.threshold,
        )

    def _decided(self, score: float, number: int) -> Findings:
        bound = self._options.threshold
        measured = [Measurement(name=SCORE, value=score, unit="1")]
        if bound is not None:
            measured.append(Measurement(name=THRESHOLD, value=bound, unit="1"))
        present = (False, False) if bound is None else (score <= bound, score > bound)
        return tuple(
            Finding(
                kind=KIND,
                label=label.label,
                present=here,
                concept=label.concept,
                frame_number=number,
                measurements=tuple(measured),
            )
            for label, here in zip(self._options.labels, present, strict=True)
        )


def _score(findings: Findings) -> float:
    for finding in findings:
        for measured in finding.measurements:
            if finding.kind == KIND and measured.name == SCORE:
                return measured.value
    raise TaskFailed("reconstruct: a frame's findings have no score", code="task.no-frames")


def output_of(options: ReconstructOptions, outputs: Sequence[TensorSpec]) -> TensorSpec:
    """The output that is a picture.

    Raises:
        TaskFailed: ``task.options``: none is named so, several could be meant, or it is no picture.
    """
    named = [spec for spec in outputs if spec.name == options.output or (options.output is None and len(outputs) == 1)]
    if not named:
        names = ", ".join(spec.name for spec in outputs) or "none"
        raise refused("output", f"is {options.output!r}, the model's outputs are: {names}")
    if len(named[0].shape) not in _RANKS:
        raise refused("output", f"{named[0].name!r} has shape {named[0].shape}, which is no picture")
    return named[0]
