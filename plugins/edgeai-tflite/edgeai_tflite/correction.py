"""The mean error that integers leave in the answers, put into the biases of the last layers.

Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2: rounded
weights and activations move what a layer gives by an amount that is alike in all images. The empirical form: it is
measured on samples, per channel, and subtracted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from edgeai.api import Array
from edgeai_tflite.graph import Graph
from edgeai_tflite.inner import Tensors


def correct(quantised: bytes, model: bytes, samples: Iterable[Mapping[str, Array]]) -> tuple[bytes, dict[str, float]]:
    """The quantised model with biases that make the last layers' means those of the float model.

    The last layers are those nearest to an output that have a kernel and a bias; behind a sum, the last one of each
    side. One is corrected after another, in the order they run, each with what those before it gained. A bias that
    several operations use, as two views do, gets the mean of what they lack. A layer is measured behind its fused
    activation, so that where that clips much, less than the whole error is taken away.

    Args:
        quantised: a ``.tflite`` with integers inside.
        model: the float model that it was made of.
        samples: as for calibration; gone through once for the float model, and once for each layer.

    Returns:
        The new model, and by the name of the corrected operation's output the greatest change of a bias, in units of
        that output. Nothing is in it, and the model is as it was, where no last layer has a bias.
    """
    graph, names = Graph(quantised), last_with_bias(Graph(model))
    users: dict[int, list[str]] = {}
    for name in names:
        twin = graph.producer(name)
        bias = None if twin is None else graph.bias(twin)
        if bias is not None:
            users.setdefault(bias, []).append(name)
    wanted = _means(model, [name for those in users.values() for name in those], samples) if users else {}
    changes: dict[str, float] = {}
    for bias, those in users.items():
        got = _means(graph.content(), those, samples)
        lacks = np.mean([wanted[name] - got[name] for name in those], axis=0)
        _add(graph, bias, lacks)
        changes |= {name: float(np.abs(lacks).max()) for name in those}
    return (graph.content() if changes else quantised), changes


def last_with_bias(graph: Graph) -> list[str]:
    """Names of the outputs of the last operations with a kernel and a bias, in the order they run."""
    waiting = list(graph.outputs)
    last: set[str] = set()
    seen: set[str] = set()
    while waiting:
        operator = graph.producer(waiting.pop())
        if operator is None or (name := graph.name(operator)) in seen:
            continue
        seen.add(name)
        if graph.bias(operator) is not None:
            last.add(name)
        else:
            waiting += [number for number in operator.inputs if number >= 0]
    return [graph.name(one) for one in graph.operators if graph.name(one) in last]


def _means(content: bytes, names: list[str], samples: Iterable[Mapping[str, Array]]) -> dict[str, Array]:
    """Name -> (channels,), what a tensor is on average over samples and places."""
    tensors, number = Tensors(content), 0
    sums: dict[str, Array] = dict.fromkeys(names, np.zeros(1))
    for sample in samples:
        tensors.run(sample)
        number += 1
        for name in names:
            value = tensors.value(name)
            if value is None:
                raise ValueError(f"the quantised model has no values of {name}")
            sums[name] = sums[name] + value.reshape(-1, value.shape[-1]).mean(axis=0)
    return {name: total / number for name, total in sums.items()}


def _add(graph: Graph, bias: int, more: Array) -> None:
    values, steps = graph.values(bias), graph.scales(bias)
    if steps is None:
        graph.put(bias, values + more)
    else:
        most = 2**31 - 1
        graph.put(bias, np.clip(values + np.rint(more / steps), -most, most))
