"""``ssd``: a box about each anchor, and the score of each label: before any post-processing.

Outputs: encodings (1, n, 4) as y, x, h, w, and scores (1, n, labels), with one more column where there is a background:
what the TensorFlow object detection API gives to TFLite_Detection_PostProcess (Liu et al., SSD, ECCV 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeai.api import Array, TensorSpec
from edgeai_tasks.detect.anchors import anchors_of
from edgeai_tasks.detect.boxes import Boxes
from edgeai_tasks.detect.candidates import Candidates, candidates, scores_of
from edgeai_tasks.detect.coding import about, turned
from edgeai_tasks.detect.forms import is_rows, rows_of, same_length, sized
from edgeai_tasks.detect.options import DetectOptions, refused

ROLES = ("boxes", "scores")


@dataclass(frozen=True, slots=True, eq=False)
class Ssd:
    """See ``Form``. ``anchors`` (n, 4) are corners in shares of the plane."""

    options: DetectOptions
    anchors: Boxes

    @classmethod
    def of(cls, options: DetectOptions, outputs: Sequence[TensorSpec]) -> Ssd:
        """Raises ``TaskFailed``, ``task.options``: the outputs or the anchors do not fit."""
        boxes, scores = outputs
        if not is_rows(boxes, [4]) or not is_rows(scores, [options.width]):
            raise refused("outputs", f"are {boxes.shape} and {scores.shape}, not (1, n, 4) and (1, n, {options.width})")
        try:
            anchors = anchors_of(options.anchors)
        except ValueError as error:
            raise refused("anchors", str(error)) from None
        for spec in outputs:
            if spec.shape[-2] not in (None, len(anchors)):
                raise refused("anchors", f"are {len(anchors)}, and {spec.name!r} has shape {spec.shape}")
        return cls(options, anchors)

    def decode(self, values: Sequence[Array], extent: tuple[int, int]) -> Candidates:
        """See ``Form``."""
        encodings = rows_of(values[0], 4, "encodings")
        raw = rows_of(values[1], self.options.width, "scores")
        same_length(("anchors", "encodings", "scores"), self.anchors, encodings, raw)
        scores = scores_of(raw, self.options.activation, self.options.background)
        deltas = turned(encodings, self.options.order)
        return candidates(about(sized(self.anchors, extent), deltas, self.options.box_scales), scores)
