"""What a detector of two stages is trained against, and by which loss of all its outputs together.

The first stage answers its grid, one label for all: see ``targets``. The second is held to the true box that each of
its proposals overlaps most (Girshick, *Fast R-CNN*, ICCV 2015, section 2.3): which one that is shows once the first has
proposed something, so that no output has a loss of its own. Targets have their outputs' shapes: as proposals the true
boxes, and behind them points; as scores their labels; and deltas that move nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from edgeai.api import Array, Case, ConfigError, TensorSpec
from edgeai_tasks.detect.boxes import areas, carried, clipped
from edgeai_tasks.detect.coding import turned
from edgeai_tasks.detect.options import DetectOptions
from edgeai_tasks.detect.targets import grids_of
from edgeai_tasks.detect.targets import loss_of as loss_of_grid
from edgeai_tasks.detect.truth import true_boxes

_THING: Final = 0.5
"""Overlap from which a proposal is of a thing and not of the background."""
_NEAR: Final = 0.3
"""Overlap from which a proposal learns how it is to be moved: less, so that one that is off learns to come back."""
_TINY: Final = 1e-6


def targets_of(
    case: Case, outputs: Sequence[TensorSpec], grid: tuple[TensorSpec, str], options: DetectOptions
) -> dict[str, Array]:
    """Output -> its target, float32, without the batch axis.

    Args:
        case: a sample as the model sees it.
        outputs: proposals, scores and deltas.
        grid: the first stage's, and its layout.
        options: of the task.

    Raises:
        ConfigError: ``build.no-target``: an extent that is open, or fewer proposals than the sample has boxes.
        DataRejected: as ``true_boxes``.
    """
    frame = case.context.frame
    boxes, places = true_boxes(case)
    boxes = carried(boxes, frame.geometry.from_source) if len(boxes) else boxes
    first = grids_of(boxes, np.zeros_like(places), (frame.rows, frame.columns), [grid[0]], [grid[1]], 1)
    boxes = clipped(boxes, frame.rows, frame.columns)
    seen = areas(boxes) > 0
    boxes, places = boxes[seen], places[seen]
    proposals, scores, deltas = (np.zeros(_extent(spec), np.float32) for spec in outputs)
    if len(boxes) > len(proposals):
        _refuse(
            f"{case.id} has {len(boxes)} boxes, the model proposes {len(proposals)}",
            "train a model that proposes more, or leave such images out of the table",
        )
    shares = [frame.columns, frame.rows] * 2 if options.coordinates == "shares" else [1.0] * 4
    proposals[: len(boxes)] = turned(boxes / np.array(shares, np.float64), options.order)
    scores[:] = _background(options)
    scores[: len(boxes)] = 0.0
    scores[np.arange(len(boxes)), places + _labels(options).start] = 1.0
    return {**dict(zip((spec.name for spec in outputs), (proposals, scores, deltas), strict=True)), **first}


def loss_of(names: Sequence[str], options: DetectOptions, *, channels_last: bool) -> Callable[[Any, Any, Any], Any]:
    """``Objective.together`` of outputs by these names: proposals, scores, deltas, and the first stage's grid."""
    first = loss_of_grid(1, logits=True, channels_last=channels_last)

    def together(ops: Any, truths: Mapping[str, Any], answers: Mapping[str, Any]) -> Any:
        boxes, labels, _, heat = (truths[name] for name in names)
        proposals, scores, deltas, grid = (answers[name] for name in names)
        shares = _overlaps(ops, proposals, boxes)
        best = ops.max(shares, axis=2)
        mine = ops.where(shares >= best[..., np.newaxis], 1.0, 0.0)
        mine = mine / ops.sum(mine, axis=2, keepdims=True)
        box, label = ops.matmul(mine, boxes), ops.matmul(mine, labels)
        thing, near = (ops.where(best >= least, 1.0, 0.0) for least in (_THING, _NEAR))
        wanted = ops.where(best[..., np.newaxis] >= _THING, label, 0.0 * label + _background(options))
        unlikely = ops.sum(_surprise(ops, wanted, scores, options), axis=1)
        off = _own(ops, deltas, label, options) - _encoded(ops, proposals, box, options)
        moved = ops.sum(near * ops.sum(_huber(ops, off), axis=2), axis=1)
        counts = [ops.maximum(ops.sum(each, axis=1), 1.0) for each in (thing, near)]
        return first(ops, heat, grid) + unlikely / counts[0] + moved / counts[1]

    return together


def _overlaps(ops: Any, one: Any, other: Any) -> Any:
    """(batch, n, m): intersection over union; of what has no area 0."""
    one, other = one[:, :, np.newaxis], other[:, np.newaxis]
    sides = ops.minimum(one[..., 2:], other[..., 2:]) - ops.maximum(one[..., :2], other[..., :2])
    both, *own = (ops.prod(ops.maximum(each, 0.0), axis=-1) for each in (sides, _sides(one), _sides(other)))
    return both / ops.maximum(own[0] + own[1] - both, _TINY)


def _sides(boxes: Any) -> Any:
    return boxes[..., 2:] - boxes[..., :2]


def _encoded(ops: Any, proposals: Any, boxes: Any, options: DetectOptions) -> Any:
    """What ``coding.about`` makes these boxes of, about these proposals, in the model's own order."""
    scales = turned(np.array(options.box_scales), options.order).astype(np.float32)
    sides, wanted = (ops.maximum(_sides(each), _TINY) for each in (proposals, boxes))
    centre, there = ((each[..., :2] + each[..., 2:]) / 2 for each in (proposals, boxes))
    return ops.concatenate(((there - centre) / sides, ops.log(wanted / sides)), axis=-1) * scales


def _own(ops: Any, deltas: Any, label: Any, options: DetectOptions) -> Any:
    """(batch, n, 4): of each proposal the deltas of its box's label, or those that are for all."""
    count = deltas.shape[-1] // 4
    if count == 1:
        return deltas
    label = label if count == label.shape[-1] else label[..., _labels(options)]
    each = ops.reshape(deltas, (-1, deltas.shape[1], count, 4))
    return ops.sum(each * label[..., np.newaxis], axis=2)


def _surprise(ops: Any, wanted: Any, scores: Any, options: DetectOptions) -> Any:
    """(batch, n): cross-entropy, of labels that exclude one another where there is a background."""
    if options.activation == "softmax":
        moved = scores - ops.max(scores, axis=-1, keepdims=True)
        return -ops.sum(wanted * (moved - ops.log(ops.sum(ops.exp(moved), axis=-1, keepdims=True))), axis=-1)
    if options.activation == "sigmoid":
        return ops.sum(ops.logaddexp(0.0 * scores, scores) - wanted * scores, axis=-1)
    likely = ops.clip(scores, _TINY, 1.0 - _TINY)
    no = 0.0 if options.background != "no" else (1.0 - wanted) * ops.log(1.0 - likely)
    return -ops.sum(wanted * ops.log(likely) + no, axis=-1)


def _huber(ops: Any, off: Any) -> Any:
    far = ops.abs(off)
    return ops.where(far < 1.0, 0.5 * off * off, far - 0.5)


def _background(options: DetectOptions) -> npt.NDArray[np.float32]:
    """(columns of the scores,): what a proposal of nothing has as its scores."""
    nothing = np.zeros(options.width, np.float32)
    if options.background != "no":
        nothing[0 if options.background == "first" else -1] = 1.0
    return nothing


def _labels(options: DetectOptions) -> slice:
    """The columns of the scores that are labels."""
    begin = int(options.background == "first")
    return slice(begin, begin + len(options.labels))


def _extent(spec: TensorSpec) -> tuple[int, int]:
    shape = spec.shape[1:]
    if len(shape) != 2 or None in shape:
        _refuse(
            f"output {spec.name!r} has shape {spec.shape}; the task's targets need (1, n, {shape[-1]})",
            "give [[outputs]] its fixed shape",
        )
    rows, width = shape
    return int(rows or 0), int(width or 0)


def _refuse(why: str, remedy: str) -> NoReturn:
    raise ConfigError(why, code="build.no-target", remedy=remedy)
