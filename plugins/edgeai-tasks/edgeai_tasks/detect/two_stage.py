"""``two-stage``: proposals, and for each the score of every label and how the box is moved: an R-CNN of fixed shapes.

Outputs: proposals (1, n, 4) as corners; scores (1, n, labels + 1), with the background; and deltas (1, n, 4) for
all labels alike, (1, n, 4 * labels), or that with the background's too (Girshick, *Fast R-CNN*, ICCV 2015;
Detectron2's order). A model that is trained here has one more, which says nothing of where things are: the grid of its
first stage, as ``dense`` has it of one label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeai.api import Array, TensorSpec
from edgeai_tasks.detect.candidates import Candidates, candidates, scores_of
from edgeai_tasks.detect.coding import about, turned
from edgeai_tasks.detect.dense import layout_of
from edgeai_tasks.detect.forms import failed, is_rows, rows_of, same_length, sized
from edgeai_tasks.detect.options import DetectOptions, refused

ROLES = ("proposals", "scores", "deltas")
FIRST_STAGE = ("grid",)


@dataclass(frozen=True, slots=True)
class TwoStage:
    """See ``Form``."""

    options: DetectOptions

    @classmethod
    def of(cls, options: DetectOptions, outputs: Sequence[TensorSpec]) -> TwoStage:
        """Raises ``TaskFailed``, ``task.options``: the outputs do not fit."""
        proposals, scores, deltas = outputs[: len(ROLES)]
        for grid in outputs[len(ROLES) :]:
            layout_of(grid, 1)
        fit = is_rows(proposals, [4]) and is_rows(scores, [options.width]) and is_rows(deltas, _widths(options))
        if not fit:
            shapes = ", ".join(str(spec.shape) for spec in outputs)
            raise refused(
                "outputs",
                f"are {shapes}, not (1, n, 4), (1, n, {options.width}) and (1, n, one of {_widths(options)})",
            )
        return cls(options)

    def decode(self, values: Sequence[Array], extent: tuple[int, int]) -> Candidates:
        """See ``Form``."""
        proposals = turned(rows_of(values[0], 4, "proposals"), self.options.order)
        raw = rows_of(values[1], self.options.width, "scores")
        width = values[2].shape[-1]
        if width not in _widths(self.options):
            raise failed(f"deltas have shape {values[2].shape}, {width} a proposal", "task.output")
        deltas = turned(rows_of(values[2], width, "deltas").reshape(-1, width // 4, 4), self.options.order)
        same_length(("proposals", "scores", "deltas"), proposals, raw, deltas)
        scores = scores_of(raw, self.options.activation, self.options.background)
        given = sized(proposals, extent) if self.options.coordinates == "shares" else proposals
        # Rows without a proposal are filled up with points, which say nothing whatever their score.
        is_point = (given[:, :2] == given[:, 2:]).all(axis=1, keepdims=True)
        scores = np.where(is_point, 0.0, scores)
        boxes = about(given, self._of_labels(deltas), self.options.box_scales)
        return candidates(boxes[:, 0] if boxes.shape[1] == 1 else boxes, scores)

    def _of_labels(self, deltas: Array) -> Array:
        """(n, labels, 4), or (n, 1, 4) where one is for all."""
        labels = len(self.options.labels)
        if deltas.shape[1] == labels + 1 and self.options.background != "no":
            return deltas[:, 1:] if self.options.background == "first" else deltas[:, :-1]
        return deltas


def _widths(options: DetectOptions) -> tuple[int, ...]:
    """Numbers that a proposal's deltas may be."""
    labels = len(options.labels)
    with_background = () if options.background == "no" else (4 * (labels + 1),)
    return tuple(dict.fromkeys((4, 4 * labels, *with_background)))
