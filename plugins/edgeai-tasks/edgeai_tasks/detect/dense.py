"""``dense``: at each place of a grid the score of each label, and how far the box's sides are from the place's centre.

One output a level, (1, H, W, labels + 4) or (1, labels + 4, H, W): first the scores, then the distances to
the left, top, right and bottom, in places of this grid. No anchors (Tian et al., FCOS, ICCV 2019; Zhou et al.,
CenterNet, 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeai.api import Array, TensorSpec
from edgeai_tasks.detect.candidates import Candidates, candidates, scores_of
from edgeai_tasks.detect.forms import failed
from edgeai_tasks.detect.options import DetectOptions, refused


@dataclass(frozen=True, slots=True)
class Dense:
    """See ``Form``."""

    options: DetectOptions
    layouts: tuple[str, ...]

    @classmethod
    def of(cls, options: DetectOptions, outputs: Sequence[TensorSpec]) -> Dense:
        """Raises ``TaskFailed``, ``task.options``: an output is no such grid."""
        return cls(options, tuple(layout_of(spec, len(options.labels)) for spec in outputs))

    def decode(self, values: Sequence[Array], extent: tuple[int, int]) -> Candidates:
        """See ``Form``."""
        levels = [self._level(*each, extent) for each in zip(values, self.layouts, strict=True)]
        boxes, scores = (np.concatenate(each) for each in zip(*levels, strict=True))
        return candidates(boxes, scores)

    def _level(self, values: Array, layout: str, extent: tuple[int, int]) -> tuple[Array, Array]:
        if values.shape[0] != 1 or 0 in values.shape:
            raise failed(f"a level has shape {values.shape}, not one grid", "task.output")
        grid = values[0] if layout == "NHWC" else np.moveaxis(values[0], 0, -1)
        rows, columns, channels = grid.shape
        labels = len(self.options.labels)
        if channels != labels + 4:
            raise failed(f"a level has {channels} channels, {labels} labels need {labels + 4}", "task.output")
        y, x = np.mgrid[0:rows, 0:columns] + 0.5
        left, top, right, bottom = np.moveaxis(grid[..., labels:], -1, 0)
        boxes = np.stack((x - left, y - top, x + right, y + bottom), axis=-1).reshape(-1, 4)
        stride = np.array([extent[1] / columns, extent[0] / rows] * 2, np.float64)
        scores = scores_of(grid[..., :labels].reshape(-1, labels), self.options.activation, "no")
        return boxes * stride, scores


def layout_of(spec: TensorSpec, labels: int) -> str:
    """``NHWC`` or ``NCHW``. Raises as ``Dense.of``."""
    layout = spec.layout or "NHWC"
    if layout not in ("NHWC", "NCHW") or len(spec.shape) != 4:
        raise refused("outputs", f"has {spec.name!r} of layout {layout!r} and shape {spec.shape}, which is no grid")
    if spec.shape[layout.index("C")] not in (None, labels + 4):
        raise refused("labels", f"are {labels}, and {spec.name!r} of shape {spec.shape} has not {labels} + 4 channels")
    return layout
