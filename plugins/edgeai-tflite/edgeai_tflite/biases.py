"""Biases that int32 cannot hold at the step the quantiser gave them, which it clips without a word."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from edgeai.api import Array
from edgeai_tflite.graph import Graph

_MOST: Final = 2**31 - 1
_ROOM: Final = 2**28
"""What a bias is held as at most once it is mended; the rest of int32 is for the products that are added to it."""


def mend(quantised: bytes, model: bytes) -> bytes:
    """The quantised model with every bias as it is in float; the same bytes where none was clipped.

    A bias is held in steps of its input's times its kernel's. Where a channel's weights are all 0 or nearly (it died
    in training, and answers its bias everywhere), its kernel's step is so small that the bias is clipped to nothing.
    Such a channel gets a step that its bias fits; its weights, too small to matter beside it, go over to that step.

    Args:
        quantised: a ``.tflite`` with integers inside.
        model: the float model that it was made of.
    """
    graph, own = Graph(quantised), Graph(model)
    kernels: dict[int, list[tuple[Any, Array]]] = {}  # the operators of a kernel, with their biases in float
    for operator in own.operators:
        bias, twin = own.bias(operator), graph.producer(own.name(operator))
        if bias is not None and twin is not None and _in_integers(graph, twin):
            kernels.setdefault(graph.kernel(twin), []).append((twin, own.values(bias).astype(np.float64)))
    clipped = [one for one in kernels.items() if any(_clipped(graph, twin).any() for twin, _ in one[1])]
    for kernel, operators in clipped:
        _mend_one(graph, kernel, operators)
    return graph.content() if clipped else quantised


def _in_integers(graph: Graph, operator: Any) -> bool:
    """Whether bias and kernel are held in steps of their own for each channel."""
    bias = graph.bias(operator)
    if bias is None or (steps := graph.scales(bias)) is None or graph.scales(graph.kernel(operator)) is None:
        return False
    return len(steps) == graph.values(bias).size


def _mend_one(graph: Graph, kernel: int, operators: list[tuple[Any, Array]]) -> None:
    """A kernel that several operators use, as two views do, has one step that suits the biases of all."""
    steps = graph.scales(kernel)
    assert steps is not None  # _in_integers
    wider = steps.copy()
    for operator, wanted in operators:
        fits = np.abs(wanted) / (_step(graph, operator) * _ROOM)
        wider = np.where(_clipped(graph, operator), np.maximum(wider, fits), wider)
    weights = np.moveaxis(graph.values(kernel), graph.channels(kernel), -1)
    weights = np.moveaxis(np.rint(weights * (steps / wider)), -1, graph.channels(kernel))
    for operator, wanted in operators:
        bias = _bias(graph, operator)
        step = _step(graph, operator) * wider
        graph.put(bias, np.where(wider > steps, np.rint(wanted / step), graph.values(bias)), step)
    graph.put(kernel, weights, wider)


def _clipped(graph: Graph, operator: Any) -> Array:
    """(channels,) bool: which of its biases are the greatest or least that int32 holds."""
    return np.abs(graph.values(_bias(graph, operator)).astype(np.int64)) >= _MOST


def _bias(graph: Graph, operator: Any) -> int:
    bias = graph.bias(operator)
    assert bias is not None  # _in_integers
    return bias


def _step(graph: Graph, operator: Any) -> float:
    steps = graph.scales(graph.input(operator))
    assert steps is not None  # its bias is of integers
    return float(steps[0])
