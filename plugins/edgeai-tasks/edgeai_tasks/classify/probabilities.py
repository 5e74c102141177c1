"""From a model's output values to calibrated probabilities."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeai.api import TaskFailed
from edgeai_tasks.classify.options import ClassifyOptions

Values: TypeAlias = npt.NDArray[np.float64]

# An int8 softmax has steps of 1/256; ten classes of rounding stay below this.
SUM_TOLERANCE = 0.03
RANGE_TOLERANCE = 0.005
_LEAST = 1e-12


def probabilities(values: Values, options: ClassifyOptions) -> Values:
    """Calibrated probabilities, shape as ``values`` (n,).

    Temperature scaling (Guo et al., ICML 2017) divides logits by T before the activation; where the model
    itself ends in the activation, log p (softmax) or the log-odds (sigmoid) stand for the logits.

    Raises:
        TaskFailed: ``task.not-probabilities``: activation is ``none`` and the values are none.
    """
    exclusive = options.mode == "multi-class"
    temperature = options.temperature
    if options.activation == "none":
        _check(values, exclusive=exclusive)
        given = np.clip(values, 0.0, 1.0)
        if temperature == 1.0:
            return given
        values = logits_of(given, options)
    logits = values / temperature
    return _softmax(logits) if exclusive else _sigmoid(logits)


def logits_of(values: Values, options: ClassifyOptions) -> Values:
    """What a temperature divides, of values of any shape."""
    if options.activation != "none":
        return values
    safe = np.clip(values, _LEAST, 1.0 - _LEAST)
    logits: Values = np.log(safe)
    return logits if options.mode == "multi-class" else logits - np.log1p(-safe)


def _check(values: Values, *, exclusive: bool) -> None:
    low, high, total = float(values.min()), float(values.max()), float(values.sum())
    if low < -RANGE_TOLERANCE or high > 1.0 + RANGE_TOLERANCE:
        what = f"values from {low:.4g} to {high:.4g}"
    elif exclusive and abs(total - 1.0) > SUM_TOLERANCE:
        what = f"values that sum to {total:.4g}"
    else:
        return
    raise TaskFailed(
        f"classify: the model gave {what}, which are no probabilities",
        code="task.not-probabilities",
        remedy="set activation to softmax or sigmoid where the model gives logits",
    )


def _softmax(logits: Values) -> Values:
    powers = np.exp(logits - logits.max())
    out: Values = powers / powers.sum()
    return out


def _sigmoid(logits: Values) -> Values:
    out: Values = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return out
