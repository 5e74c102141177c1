"""What every form of output becomes: boxes of the plane that the model saw, each of one label with its score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from edgeai.api import Array, TaskFailed
from edgeai_tasks.detect.boxes import Boxes, Numbers

FLOOR: Final = 0.01
"""Scores below are not looked at: no threshold may be lower, and no figure's curve needs them."""
MOST: Final = 1000
"""Candidates before suppression, of the highest scores: bounds the time of an image of which a model sees all."""
_OVER: Final = 0.005
"""As far as what an int8 sigmoid or softmax gives may be outside of 0 to 1."""
_SUM: Final = 0.03


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """``boxes`` (n, 4) in pixels of the plane, ``scores`` (n,) from 0 to 1, ``labels`` (n,): places among them."""

    boxes: Boxes
    scores: npt.NDArray[np.float64]
    labels: Numbers

    def __len__(self) -> int:
        return len(self.scores)

    def taken(self, which: Array) -> Candidates:
        """Some of them, in that order."""
        return Candidates(self.boxes[which], self.scores[which], self.labels[which])


def candidates(boxes: Boxes, scores: npt.NDArray[np.float64]) -> Candidates:
    """Those whose score is worth a look, the highest first; equal ones in the model's order.

    Args:
        boxes: (n, 4), or (n, labels, 4) where each label has a box of its own.
        scores: (n, labels).
    """
    rows, labels = np.nonzero(scores >= FLOOR)
    first = np.argsort(-scores[rows, labels], kind="stable")[:MOST]
    rows, labels = rows[first], labels[first]
    chosen = boxes[rows] if boxes.ndim == 2 else boxes[rows, labels]
    return Candidates(chosen, scores[rows, labels], labels)


def scores_of(values: Array, activation: str, background: str) -> npt.NDArray[np.float64]:
    """(n, labels): what the model gave, as probabilities, without the background.

    Args:
        values: (n, labels), and one more column where there is a background.
        activation: ``none``, ``sigmoid`` or ``softmax``.
        background: ``no``, ``first`` or ``last``: which column stands for nothing.

    Raises:
        TaskFailed: ``task.not-probabilities``: activation is ``none`` and the values are none.
    """
    if activation == "sigmoid":
        scores = 0.5 * (1.0 + np.tanh(0.5 * values))
    elif activation == "softmax":
        powers = np.exp(values - values.max(axis=1, keepdims=True, initial=-np.inf))
        scores = powers / powers.sum(axis=1, keepdims=True)
    else:
        check_probabilities(values)
        if background != "no" and values.size and (values.sum(axis=1) > 1.0 + _SUM).any():
            raise _no_probabilities(f"scores that sum to {values.sum(axis=1).max():.4g} with the background's")
        scores = np.clip(values, 0.0, 1.0)
    kept = {"no": slice(None), "first": slice(1, None), "last": slice(None, -1)}[background]
    without: npt.NDArray[np.float64] = scores[:, kept]
    return without


def check_probabilities(values: Array) -> None:
    """Nothing, where all are from 0 to 1. Raises as ``scores_of``."""
    low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    if low < -_OVER or high > 1.0 + _OVER:
        raise _no_probabilities(f"scores from {low:.4g} to {high:.4g}")


def _no_probabilities(what: str) -> TaskFailed:
    return TaskFailed(
        f"detect: the model gave {what}, which are no probabilities",
        code="task.not-probabilities",
        remedy="set activation to sigmoid or softmax where the model gives logits",
    )
