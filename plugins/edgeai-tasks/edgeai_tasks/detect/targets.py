"""What a dense head is trained against, and by which loss.

A target has its output's shape: for each label a heat map with 1 at the place that holds the box's centre, falling off
about it; then the distances to the box's sides at the places around. Sources: Law and Deng, *CornerNet*, ECCV 2018, for
the focal loss of heat maps; Liu et al., *TTFNet*, AAAI 2020, for its width and for weighing the boxes by it; Yu et al.,
*UnitBox*, 2016, for the overlap as a loss of distances.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edgeai.api import Array, Case, ConfigError, TensorSpec
from edgeai_tasks.detect.boxes import Boxes, Numbers, carried
from edgeai_tasks.detect.truth import true_boxes

_SPREAD: Final = 0.54 / 6
"""Deviation of the heat about a centre, as a part of the box's side."""
_NARROWEST: Final = 0.3
"""Least deviation, in places of the grid."""
_NEAR: Final = 0.1
"""Heat from which the distances are learnt at a place."""
_SIDE: Final = 8.0
"""Places that a box's longer side should be, on the level that learns it."""
_BOXES, _LENGTHS = 1.0, 0.25
"""Weights of the overlap and of the distances beside the heat."""
_TINY: Final = 1e-6


def targets_of(case: Case, outputs: Sequence[TensorSpec], layouts: Sequence[str], labels: int) -> dict[str, Array]:
    """Output -> (H, W, labels + 4) or (labels + 4, H, W) float32.

    Raises:
        ConfigError: ``build.no-target``: an extent that is open.
        DataRejected: as ``true_boxes``.
    """
    boxes, places = true_boxes(case)
    frame = case.context.frame
    boxes = carried(boxes, frame.geometry.from_source) if len(boxes) else boxes
    return grids_of(boxes, places, (frame.rows, frame.columns), outputs, layouts, labels)


def grids_of(
    boxes: Boxes,
    places: Numbers,
    plane: tuple[int, int],
    outputs: Sequence[TensorSpec],
    layouts: Sequence[str],
    labels: int,
) -> dict[str, Array]:
    """As ``targets_of``, of boxes in pixels of a plane of so many (rows, columns)."""
    rows, columns = plane
    grids = [_extent(spec, layout) for spec, layout in zip(outputs, layouts, strict=True)]
    strides = np.array([(columns / across, rows / down) for down, across in grids])
    level = _levels(boxes, strides)
    targets = {}
    for number, (spec, layout) in enumerate(zip(outputs, layouts, strict=True)):
        own = level == number
        grid = _grid(boxes[own] / np.tile(strides[number], 2), places[own], grids[number], labels)
        targets[spec.name] = np.ascontiguousarray(grid if layout == "NHWC" else np.moveaxis(grid, -1, 0))
    return targets


def _levels(boxes: Boxes, strides: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """(n,): the level on which each box is nearest to ``_SIDE`` places."""
    sides = (boxes[:, 2:] - boxes[:, :2])[:, np.newaxis, :] / strides[np.newaxis]
    away: npt.NDArray[np.float64] = np.abs(np.log2(np.maximum(sides.max(axis=2), _TINY) / _SIDE))
    return away.argmin(axis=1) if len(boxes) else np.zeros(0, np.intp)


def _grid(boxes: Boxes, places: npt.NDArray[np.intp], extent: tuple[int, int], labels: int) -> Array:
    rows, columns = extent
    grid = np.zeros((rows, columns, labels + 4), np.float32)
    y, x = np.mgrid[0:rows, 0:columns] + 0.5
    nearest = np.zeros(extent)
    for box, label in zip(boxes, places, strict=True):
        x0, y0, x1, y1 = box
        column, row = int((x0 + x1) // 2), int((y0 + y1) // 2)
        if not (0 <= row < rows and 0 <= column < columns):
            continue  # its centre was cropped away: nobody can learn it here
        wide, high = (max(_NARROWEST, _SPREAD * side) for side in (x1 - x0, y1 - y0))
        heat = np.exp(-(((x - column - 0.5) / wide) ** 2 + ((y - row - 0.5) / high) ** 2) / 2)
        grid[..., label] = np.maximum(grid[..., label], heat)
        here = (heat >= _NEAR) & (heat > nearest)
        nearest[here] = heat[here]
        grid[here, labels:] = np.stack((x - x0, y - y0, x1 - x, y1 - y), axis=-1)[here]
    return grid


def _extent(spec: TensorSpec, layout: str) -> tuple[int, int]:
    rows, columns = (spec.shape[layout.index(axis)] for axis in "HW")
    if rows is None or columns is None:
        raise ConfigError(
            f"output {spec.name!r} has shape {spec.shape}; the task's targets need its rows and columns",
            code="build.no-target",
            remedy="give [[outputs]] its fixed shape",
        )
    return rows, columns


def loss_of(labels: int, *, logits: bool, channels_last: bool) -> Callable[[Any, Any, Any], Any]:
    """``Objective.formula`` of a level."""

    def formula(ops: Any, truth: Any, answer: Any) -> Any:
        if not channels_last:
            truth, answer = (ops.transpose(each, (0, 2, 3, 1)) for each in (truth, answer))
        heat, given = truth[..., :labels], answer[..., :labels]
        box, drawn = truth[..., labels:], answer[..., labels:]
        return _focal(ops, heat, given, logits=logits) + _boxes(ops, ops.max(heat, axis=-1), box, drawn)

    return formula


def _focal(ops: Any, heat: Any, given: Any, *, logits: bool) -> Any:
    if logits:
        zero = ops.zeros_like(given)
        yes, no = -ops.logaddexp(zero, -given), -ops.logaddexp(zero, given)
        score = ops.exp(yes)
    else:
        score = ops.clip(given, _TINY, 1.0 - _TINY)
        yes, no = ops.log(score), ops.log(1.0 - score)
    is_centre = heat >= 1.0 - _TINY
    centre = ops.where(is_centre, (1.0 - score) ** 2 * yes, 0.0 * yes)
    other = ops.where(is_centre, 0.0 * no, (1.0 - heat) ** 4 * score**2 * no)
    count = ops.sum(ops.where(is_centre, heat, 0.0 * heat), axis=(1, 2, 3))
    return -ops.sum(centre + other, axis=(1, 2, 3)) / ops.maximum(count, 1.0 + 0.0 * count)


def _boxes(ops: Any, heat: Any, box: Any, drawn: Any) -> Any:
    """One less the overlap, and the distances' error as parts of the true sides; weighed by the heat."""
    zero = 0.0 * heat
    weight = ops.where(heat >= _NEAR, heat, zero)
    least = ops.minimum(box, drawn)
    both = ops.maximum(least[..., 0] + least[..., 2], zero) * ops.maximum(least[..., 1] + least[..., 3], zero)
    wide, high = box[..., 0] + box[..., 2], box[..., 1] + box[..., 3]
    area = ops.maximum(drawn[..., 0] + drawn[..., 2], zero) * ops.maximum(drawn[..., 1] + drawn[..., 3], zero)
    overlap = both / ops.maximum(wide * high + area - both, zero + _TINY)
    off = ops.abs(box - drawn)
    lengths = (off[..., 0] + off[..., 2]) / ops.maximum(wide, zero + 1.0)
    lengths = lengths + (off[..., 1] + off[..., 3]) / ops.maximum(high, zero + 1.0)
    each = weight * (_BOXES * (1.0 - overlap) + _LENGTHS * lengths)
    total = ops.sum(weight, axis=(1, 2))
    return ops.sum(each, axis=(1, 2)) / ops.maximum(total, 1.0 + 0.0 * total)
