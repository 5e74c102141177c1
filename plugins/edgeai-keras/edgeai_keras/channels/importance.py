"""How much a channel matters: by its filters, by its batch normalisation, or by what the loss says of it.

A class of channels has one figure: for each layer that makes or scales them, what its filter weighs divided by the
layer's mean, summed over the layers.

``l1``, ``l2``: norm of the filter, times the batch normalisation's factor after it (gamma by standard deviation), as
if it were folded (Li et al. 2017, Pruning Filters for Efficient ConvNets). ``bn-gamma``: the size of gamma (Liu et
al. 2017, Learning Efficient Convolutional Networks through Network Slimming); a layer without one is ranked by ``l2``.
``taylor``: the square of the sum of weight times gradient over the filter and its bias, mean over the training batches
(Molchanov et al. 2019, Importance Estimation for Neural Network Pruning).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeai.api import Batch, CompressionFailed, Objective
from edgeai_keras.channels.groups import Group
from edgeai_keras.channels.trace import Producer, Trace
from edgeai_keras.frameworks import keras, tf

MOST_BATCHES = 32
"""So many training batches are enough for ``taylor``."""

Weights = npt.NDArray[np.float64]


def importance(
    model: Any,
    trace: Trace,
    groups: Sequence[Group],
    kind: str,
    *,
    objective: Objective | None = None,
    train: Callable[[], Iterable[Batch]] | None = None,
) -> dict[int, float]:
    """Class -> how much it matters, comparable within a group.

    Raises:
        CompressionFailed: ``compress.no-data``: ``taylor`` without training batches.
    """
    measure = _measure(model, trace, kind, objective, train)
    roots = trace.atoms.roots()
    totals = np.zeros(len(roots))
    for producer in trace.producers.values():
        figures = measure(producer)
        mean = float(figures.mean())
        if mean > 0.0:
            np.add.at(totals, roots[producer.atoms], figures / mean)
    return {one: float(totals[one]) for group in groups for one in group.classes}


def without_norm(trace: Trace, groups: Sequence[Group]) -> list[str]:
    """Layers that ``bn-gamma`` has to rank by ``l2``."""
    wanted = {layer for group in groups for layer in group.layers}
    return [p.layer for p in trace.producers.values() if p.layer in wanted and _gamma(p) is None]


def _measure(
    model: Any,
    trace: Trace,
    kind: str,
    objective: Objective | None,
    train: Callable[[], Iterable[Batch]] | None,
) -> Callable[[Producer], Weights]:
    if kind == "taylor":
        if train is None or objective is None:
            raise CompressionFailed(
                "importance taylor needs training batches",
                code="compress.no-data",
                remedy='give the card training data, or use importance = "l2"',
            )
        figures = _taylor(model, trace, objective, train())
        return lambda producer: figures[id(producer.kernel)]
    if kind == "bn-gamma":
        return lambda producer: _norm(producer, 2) if (gamma := _gamma(producer)) is None else np.abs(gamma)
    order = 1 if kind == "l1" else 2
    return lambda producer: _norm(producer, order)


def _norm(producer: Producer, order: int) -> Weights:
    kernel = _rows(keras.ops.convert_to_numpy(producer.kernel), producer.axis)
    norms = np.linalg.norm(kernel, ord=order, axis=1)
    return np.asarray(norms * _folded(producer, len(norms)))


def _folded(producer: Producer, count: int) -> Weights:
    norm = producer.norm
    if norm is None:
        return np.ones(count)
    variance = _array(norm.moving_variance)
    gamma = np.ones_like(variance) if norm.gamma is None else _array(norm.gamma)
    # A depthwise multiplier: several outputs of the norm belong to one channel.
    return np.asarray((np.abs(gamma) / np.sqrt(variance + norm.epsilon)).reshape(count, -1).mean(axis=1))


def _gamma(producer: Producer) -> Weights | None:
    if producer.norm is None or producer.norm.gamma is None:
        return None
    return np.asarray(_array(producer.norm.gamma).reshape(len(producer.atoms), -1).mean(axis=1))


def _taylor(model: Any, trace: Trace, objective: Objective, batches: Iterable[Batch]) -> Mapping[int, Weights]:
    from edgeai_keras.answers import arranged
    from edgeai_keras.losses import loss_of

    losses = [loss_of(objective) for _ in model.outputs]
    producers = list(trace.producers.values())
    watched = [v for p in producers for v in (p.kernel, p.bias) if v is not None]
    values = [getattr(variable, "value", variable) for variable in watched]
    totals = {id(producer.kernel): np.zeros(len(producer.atoms)) for producer in producers}
    used = 0
    for batch, _ in zip(batches, range(MOST_BATCHES), strict=False):
        inputs, targets = arranged(model, batch)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            answers = keras.tree.flatten(model(inputs, training=False))
            truth = keras.tree.flatten(targets)
            loss = sum(
                tf.reduce_mean(one(true, answer)) for one, true, answer in zip(losses, truth, answers, strict=True)
            )
        slopes = dict(zip(map(id, watched), tape.gradient(loss, values), strict=True))
        for producer in producers:
            totals[id(producer.kernel)] += _products(producer, slopes) ** 2
        used += 1
    if not used:
        raise CompressionFailed("there is no training batch", code="compress.no-data", remedy="see the card's [data]")
    return {key: total / used for key, total in totals.items()}


def _products(producer: Producer, slopes: Mapping[int, Any]) -> Weights:
    """Weight times gradient, summed over each channel's filter and bias."""
    total = np.zeros(len(producer.atoms))
    for variable, axis in ((producer.kernel, producer.axis), (producer.bias, -1)):
        slope = None if variable is None else slopes[id(variable)]
        if slope is not None:
            product = _array(variable) * _array(tf.convert_to_tensor(slope))
            sums = _rows(product, axis).sum(axis=1)
            total += sums.reshape(len(total), -1).sum(axis=1)
    return total


def _rows(array: Any, axis: int) -> Weights:
    moved = np.moveaxis(np.asarray(array, np.float64), axis, 0)
    return np.asarray(moved.reshape(moved.shape[0], -1))


def _array(tensor: Any) -> Weights:
    return np.asarray(keras.ops.convert_to_numpy(tensor), np.float64)
