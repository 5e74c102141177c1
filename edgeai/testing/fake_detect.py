"""A task without a library that says where: it works, or its findings lie in pixels of the wrong plane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeai.api import (
    Array,
    Finding,
    Findings,
    FrameContext,
    Geometry,
    InstanceRef,
    OptionSpec,
    Region,
    TaskFailed,
    TaskRequest,
    TaskSpec,
    Tensors,
    check_tensors,
)

WAYS = {
    "model-pixels": "answers in pixels of the plane that the model saw",
    "forgets-crop": "scales to the source, and forgets where the plane was cut out of it",
    "one-scale": "takes the scale across for that down",
    "area-of-the-plane": "boxes are right, areas are those of the plane",
    "other-millimetres": "measures the source's pixels with those of the plane",
}
"""Ways to be wrong, for ``task``."""


class FakeDetect:
    """One box a row of ``(x, y, x, y, score)``, in shares of the plane."""

    def __init__(self, request: TaskRequest, how: str = "") -> None:
        label = request.options.get("label")
        if not isinstance(label, str) or not label:
            raise TaskFailed(f"label is a word, not {label!r}")
        if len(request.outputs) != 1 or len(request.outputs[0].shape) != 3 or request.outputs[0].shape[-1] != 5:
            raise TaskFailed(f"outputs are one tensor of rows of five numbers, not {request.outputs}")
        self._label, self._outputs, self._how = label, request.outputs, how

    def interpret(self, outputs: Tensors, context: FrameContext) -> Findings:
        """A finding for each row."""
        check_tensors(self._outputs, outputs, what="output")
        rows = outputs[self._outputs[0].name].reshape(-1, 5)
        if not np.isfinite(rows).all():
            raise TaskFailed("the outputs are not numbers")
        return tuple(self._finding(row, context) for row in rows)

    def _finding(self, row: Array, context: FrameContext) -> Finding:
        frame = context.frame
        size = np.array([frame.columns, frame.rows])
        corners = np.sort(row[:4].reshape(2, 2).astype(np.float64), axis=0) * size
        placed = self._placed(corners, frame.geometry)
        (x0, y0), (x1, y1) = placed.tolist()
        measured = corners if self._how == "area-of-the-plane" else placed
        area = float(np.prod(measured[1] - measured[0]))
        spacing = frame.geometry.spacing_mm()
        in_mm = corners if self._how == "other-millimetres" else measured
        region = Region(
            area_px=area,
            area_mm2=float(np.prod(in_mm[1] - in_mm[0])) * spacing[0] * spacing[1] if spacing else None,
            box=(x0, y0, x1, y1),
            centroid=((x0 + x1) / 2, (y0 + y1) / 2),
            parts=1,
            frame_number=frame.number,
        )
        score = float(np.clip(row[4], 0.0, 1.0))
        return Finding(
            kind="segment",
            label=self._label,
            present=score >= 0.5,
            probability=score,
            threshold=0.5,
            frame_number=frame.number,
            region=region,
        )

    def _placed(self, corners: Array, geometry: Geometry) -> Array:
        across, _, _, _, down, _ = geometry.affine
        match self._how:
            case "model-pixels":
                return corners
            case "forgets-crop":
                return corners * [across, down]
            case "one-scale":
                return geometry.to_source(corners * [1.0, across / down])
            case _:
                return geometry.to_source(corners)

    def summarise(self, frames: Sequence[Findings], instance: InstanceRef) -> Findings:
        """The findings of the frame with the highest score."""
        if not frames:
            raise TaskFailed("there are no frames to summarise")
        return max(frames, key=lambda findings: max(finding.probability or 0.0 for finding in findings))


def task(name: str, how: str = "") -> TaskSpec:
    """A fake detector: works, or is wrong in one of ``WAYS``."""
    return TaskSpec(
        name=name,
        build=lambda request: FakeDetect(request, how),
        options=(OptionSpec(name="label", help="What the boxes are of.", required=True),),
        help=f"A box a row, in the source; {WAYS.get(how, 'works')}.",
    )
