"""What training minimises, as Keras losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgeai.api import CompressionFailed, Objective
from edgeai_keras.frameworks import keras


def loss_of(objective: Objective) -> Any:
    """The Keras loss of one output.

    Raises:
        CompressionFailed: ``compress.loss-unknown``.
    """
    logits = objective.from_logits
    if objective.loss == "categorical-crossentropy":
        return keras.losses.CategoricalCrossentropy(from_logits=logits)
    if objective.loss == "binary-crossentropy":
        return keras.losses.BinaryCrossentropy(from_logits=logits)
    if objective.loss == "dice-binary-crossentropy":
        return _dice_crossentropy(from_logits=logits)
    if objective.loss == "mean-squared-error":
        return keras.losses.MeanSquaredError()
    raise CompressionFailed(
        f"there is no loss {objective.loss!r}",
        code="compress.loss-unknown",
        remedy="use categorical-crossentropy, binary-crossentropy, dice-binary-crossentropy or mean-squared-error",
    )


def _dice_crossentropy(*, from_logits: bool) -> Callable[[Any, Any], Any]:
    """Mean of soft Dice loss (Milletari et al. 2016, V-Net), channel by channel, and cross-entropy."""
    ops = keras.ops

    def loss(truth: Any, answer: Any) -> Any:
        inner = tuple(range(1, len(answer.shape) - 1))
        truth = ops.cast(truth, answer.dtype)
        mask = ops.sigmoid(answer) if from_logits else answer
        both = ops.sum(truth * mask, axis=inner)
        dice = 1.0 - (2.0 * both + 1.0) / (ops.sum(truth, axis=inner) + ops.sum(mask, axis=inner) + 1.0)
        crossentropy = ops.mean(ops.binary_crossentropy(truth, answer, from_logits=from_logits), axis=inner)
        return ops.mean(0.5 * (dice + crossentropy), axis=-1)

    return loss
