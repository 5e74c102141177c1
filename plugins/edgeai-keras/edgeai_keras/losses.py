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
    if objective.together is not None:
        raise CompressionFailed(
            f"loss {objective.loss!r} is of all outputs together, and no output has one of its own",
            code="compress.loss-unknown",
            remedy="leave out distil and importance by gradients, which look at outputs one by one",
        )
    if objective.formula is not None:
        return _of_formula(objective.formula)
    if objective.loss == "categorical-crossentropy":
        return keras.losses.CategoricalCrossentropy(from_logits=logits)
    if objective.loss == "binary-crossentropy":
        return keras.losses.BinaryCrossentropy(from_logits=logits)
    if objective.loss == "dice-binary-crossentropy":
        return _dice_crossentropy(from_logits=logits)
    if objective.loss == "mean-squared-error":
        return keras.losses.MeanSquaredError()
    if objective.loss == "mean-absolute-error":
        return keras.losses.MeanAbsoluteError()
    raise CompressionFailed(
        f"there is no loss {objective.loss!r}",
        code="compress.loss-unknown",
        remedy="use categorical-crossentropy, binary-crossentropy, dice-binary-crossentropy, mean-squared-error or "
        "mean-absolute-error; or give the objective a formula",
    )


def is_of_values(objective: Objective) -> bool:
    """Whether the outputs are numbers to be met, and neither classes nor masks: a student meets the teacher's."""
    return objective.formula is not None or objective.loss in ("mean-squared-error", "mean-absolute-error")


def _of_formula(formula: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def loss(truth: Any, answer: Any) -> Any:
        return formula(keras.ops, keras.ops.cast(truth, answer.dtype), answer)

    return loss


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
