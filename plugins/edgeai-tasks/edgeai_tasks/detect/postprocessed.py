"""``tflite-postprocessed``: the four outputs of TFLite_Detection_PostProcess, which suppressed what overlaps itself.

Boxes (1, n, 4) as ymin, xmin, ymax, xmax in shares of the plane; classes (1, n) from 0, without the background; scores
(1, n); and how many of the n rows count (1,). Rows behind that hold nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeai.api import Array, TensorSpec
from edgeai_tasks.detect.candidates import FLOOR, Candidates, check_probabilities
from edgeai_tasks.detect.coding import turned
from edgeai_tasks.detect.forms import failed, is_rows, rows_of, same_length, sized
from edgeai_tasks.detect.options import DetectOptions, refused

ROLES = ("boxes", "classes", "scores", "count")


@dataclass(frozen=True, slots=True)
class Postprocessed:
    """See ``Form``."""

    options: DetectOptions

    @classmethod
    def of(cls, options: DetectOptions, outputs: Sequence[TensorSpec]) -> Postprocessed:
        """Raises ``TaskFailed``, ``task.options``: the outputs do not fit."""
        boxes, *columns, count = outputs
        ranks = [len(spec.shape) for spec in columns]
        if not is_rows(boxes, [4]) or any(rank not in (1, 2) for rank in ranks) or count.shape not in _COUNTS:
            shapes = ", ".join(str(spec.shape) for spec in outputs)
            raise refused("outputs", f"are {shapes}, not (1, n, 4), (1, n), (1, n) and (1,)")
        return cls(options)

    def decode(self, values: Sequence[Array], extent: tuple[int, int]) -> Candidates:
        """See ``Form``."""
        boxes = rows_of(values[0], 4, "boxes")
        classes, scores = values[1].reshape(-1), values[2].reshape(-1)
        same_length(("boxes", "classes", "scores"), boxes, classes, scores)
        count = self._count(values[3], len(boxes))
        boxes, classes, scores = boxes[:count], classes[:count], scores[:count]
        check_probabilities(scores)
        self._check(classes)
        corners = sized(turned(boxes, self.options.order), extent)
        counted = scores >= FLOOR
        kept = Candidates(corners, np.clip(scores, 0.0, 1.0), classes.astype(np.intp))
        return kept.taken(np.flatnonzero(counted))

    def _count(self, values: Array, rows: int) -> int:
        count = float(values.reshape(-1)[0]) if values.size == 1 else -1.0
        if count != int(count) or not 0 <= count <= rows:
            told = f"{count:g}" if values.size == 1 else f"of shape {values.shape}"
            raise failed(
                f"the count of detections is {told}, not a whole number from 0 to {rows}",
                "task.count",
                "see that outputs names them in this order: boxes, classes, scores, count",
            )
        return int(count)

    def _check(self, classes: Array) -> None:
        labels = len(self.options.labels)
        wrong = classes[(classes != np.floor(classes)) | (classes < 0) | (classes >= labels)]
        if len(wrong):
            raise failed(
                f"a detection is of class {wrong[0]:g}, and there are {labels} labels, from 0",
                "task.class",
                "name every class of the model in labels, in its order; and see the order of outputs",
            )


_COUNTS = ((), (1,), (None,), (1, 1), (None, 1))
"""Shapes that one number may have."""
