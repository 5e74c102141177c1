"""The range of grey values that a network takes, read from what it does first with them.

A network that begins with ``Rescaling(1 / 255)`` takes 0 to 255, and one whose ``Normalization`` was fitted to images
around 0.4 takes 0 to 1. Everything that is linear at the beginning (layers, the operations of
``keras.applications.*.preprocess_input``, also in models within the model) is followed; then it is asked which of the
usual ranges comes out as what networks are trained on.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edgeai_keras.bounds import WEIGHTS
from edgeai_keras.graph import Graph, Node

Numbers = npt.NDArray[np.float64]
Range = tuple[float, float]
_USUAL: Final[tuple[Range, ...]] = ((0.0, 255.0), (0.0, 1.0), (-1.0, 1.0))
_DEEP: Final[tuple[Range, ...]] = ((0.0, 65535.0), (0.0, 4095.0))
"""Of sixteen and twelve bits: believed only where they come out as exactly the unit."""
_SAME: Final = frozenset(
    {
        *("InputLayer", "Identity", "Cast", "Resizing", "CenterCrop", "Cropping2D", "ZeroPadding2D", "UpSampling2D"),
        *("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomCrop", "RandomContrast"),
        *("RandomBrightness", "Dropout", "SpatialDropout2D", "GaussianNoise", "Reshape", "Permute", "Activation"),
    }
)
"""Layers that leave values in their range (what is random does nothing outside training)."""
_NEAR: Final = 0.02


class Weights:
    """The weights of a ``.keras`` file's layers, read one by one and without Keras."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, place: str, number: int) -> Numbers:
        """One variable of a layer, by the layer's place in the HDF5 file.

        Raises:
            KeyError: there is none.
        """
        import h5py  # type: ignore[import-untyped]

        with zipfile.ZipFile(self._path) as archive, archive.open(WEIGHTS) as member, h5py.File(member, "r") as file:
            return np.asarray(file[f"{place}/vars/{number}"], np.float64)


@dataclass(slots=True)
class _Linear:
    """``scale * x + offset`` of the input so far, a number or one a channel; and what a fitted layer was fitted to."""

    scale: Numbers = field(default_factory=lambda: np.ones(1))
    offset: Numbers = field(default_factory=lambda: np.zeros(1))
    steps: int = 0
    clear: bool = True
    fitted: tuple[Numbers, Numbers, Numbers, Numbers] | None = None
    """(scale, offset) before it, mean and variance."""

    def then(self, scale: Any, offset: Any) -> None:
        scale, offset = (np.asarray(value, np.float64).reshape(-1) for value in (scale, offset))
        if np.all(scale == 1) and np.all(offset == 0):
            return
        self.scale, self.offset = scale * self.scale, scale * self.offset + offset
        self.steps += 1


def range_of(graph: Graph, name: str, weights: Weights) -> tuple[bool, Range | None]:
    """Whether the first layers of an input say something of its range, and what; ``None`` where it is not understood.

    Raises:
        ValueError, KeyError, TypeError, IndexError: the description is not as Keras writes it.
    """
    linear = _Linear()
    _follow(graph, name, linear, weights, "")
    if not linear.steps and linear.fitted is None:
        return False, None
    return True, _fitted(linear) if linear.fitted is not None else _usual(linear)


def _follow(graph: Graph, name: str, linear: _Linear, weights: Weights, place: str) -> bool:
    """Go on from a node as long as all that is done is linear; whether that is so up to the graph's output."""
    while name not in graph.outputs:
        users = graph.users(name)
        reversed_at = _reordered(graph, users, linear)
        if reversed_at:
            name = reversed_at
            continue
        if len(users) != 1 or users[0].calls > 1 or set(users[0].sources) != {name}:
            return False
        if not _apply(graph, users[0], linear, weights, place):
            return False
        name = users[0].name
    return True


def _apply(graph: Graph, node: Node, linear: _Linear, weights: Weights, place: str) -> bool:
    if node.inner is not None:
        if len(node.inner.inputs) != 1:
            return False
        return _follow(node.inner, node.inner.inputs[0], linear, weights, _place(graph, node, place))
    if node.kind == "Activation":
        return node.config.get("activation") == "linear"
    if node.kind in _SAME:
        return True
    if node.kind == "Concatenate":
        return linear.scale.size == linear.offset.size == 1  # grey as three equal planes
    if node.kind == "Rescaling":
        linear.then(_numbers(node.config["scale"]), _numbers(node.config["offset"]))
        return True
    if node.kind in ("Normalization", "BatchNormalization"):
        return _normalised(graph, node, linear, weights, place)
    return _computed(node, linear)


def _normalised(graph: Graph, node: Node, linear: _Linear, weights: Weights, place: str) -> bool:
    config = node.config
    if config.get("invert"):
        return False
    if node.kind == "Normalization" and config.get("mean") is not None:
        mean, variance = _numbers(config["mean"]), _numbers(config["variance"])
    else:
        first = 0 if node.kind == "Normalization" else int(config.get("center", True)) + int(config.get("scale", True))
        where = _place(graph, node, place)
        mean, variance = (weights.of(where, first + number).reshape(-1) for number in (0, 1))
    if np.all(mean == 0) and np.all(variance == 1):  # never fitted to anything
        return node.kind == "Normalization"
    if linear.fitted is None:
        linear.fitted = (linear.scale, linear.offset, mean, variance)
    deviation = np.maximum(np.sqrt(variance), 1e-7)
    linear.then(1.0 / deviation, -mean / deviation)
    return node.kind == "Normalization"


def _computed(node: Node, linear: _Linear) -> bool:
    """An operation with one constant: as the preprocessing of ``keras.applications`` is written."""
    if node.kind not in ("Add", "Subtract", "Multiply", "TrueDivide", "Divide") or len(node.arguments) != 2:
        return False
    constants = [_constant(argument) for argument in node.arguments]
    first = constants[0] is None
    value = constants[1] if first else constants[0]
    if value is None or (constants[0] is None) == (constants[1] is None):
        return False
    if node.kind == "Add":
        linear.then(1.0, value)
    elif node.kind == "Multiply":
        linear.then(value, 0.0)
    elif node.kind == "Subtract":
        linear.then(*((1.0, -value) if first else (-1.0, value)))
    elif first:
        linear.then(1.0 / value, 0.0)
    return first or node.kind in ("Add", "Multiply", "Subtract")


def _reordered(graph: Graph, users: list[Node], linear: _Linear) -> str:
    """RGB to BGR, as ``preprocess_input`` writes it: each plane by itself, then all of them as a stack."""
    if len(users) < 2 or any(node.kind != "GetItem" for node in users):
        return ""
    stacks = {node.name: node for user in users for node in graph.users(user.name)}
    if len(stacks) != 1:
        return ""
    stack = next(iter(stacks.values()))
    if stack.kind not in ("Stack", "Concatenate"):
        return ""
    if linear.scale.size > 1 or linear.offset.size > 1:
        linear.scale, linear.offset = linear.scale[::-1], linear.offset[::-1]
    return stack.name


def _constant(argument: Any) -> Numbers | None:
    if isinstance(argument, bool):
        return None
    if isinstance(argument, int | float):
        return np.array([float(argument)])
    if isinstance(argument, dict) and argument.get("class_name") in ("__tensor__", "__numpy__"):
        return np.asarray(argument["config"]["value"], np.float64).reshape(-1)
    return None


def _numbers(value: Any) -> Numbers:
    """A number or some, also as Keras writes a numpy array or a tensor."""
    constant = _constant(value)
    if constant is not None:
        return constant
    if isinstance(value, dict):
        value = value["config"]["value"]
    return np.asarray(value, np.float64).reshape(-1)


def _place(graph: Graph, node: Node, place: str) -> str:
    """Where Keras keeps a layer's weights: by the kind of layer, numbered among its own within the model."""
    kind = _snake(node.kind)
    before = [other for other in graph.nodes.values() if _snake(other.kind) == kind]
    number = before.index(node)
    return f"{place}/layers/{kind}" + (f"_{number}" if number else "")


def _snake(kind: str) -> str:
    words = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", re.sub(r"\W+", "", kind))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def _fitted(linear: _Linear) -> Range | None:
    """The range of images that have such a mean and variance, carried back through what was done to them before.

    Values between ``low`` and ``high`` with mean m have a variance of at most (m - low)(high - m).
    """
    assert linear.fitted is not None
    scale, offset, mean, variance = linear.fitted
    for low, high in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)):
        inside = np.all((mean >= low) & (mean <= high))
        if inside and np.all(variance <= (mean - low) * (high - mean) * (1 + _NEAR)):
            return _one((low - offset) / scale, (high - offset) / scale)
    return None


def _one(low: Numbers, high: Numbers) -> Range | None:
    """The one range of all channels, as the usual one that it is nearly."""
    if np.ptp(low) > _NEAR * float(np.abs(high - low).max()) or np.ptp(high) > _NEAR * float(np.abs(high - low).max()):
        return None
    ends = float(low.mean()), float(high.mean())
    for usual in (*_USUAL, *_DEEP):
        if np.allclose(ends, usual, atol=_NEAR * (usual[1] - usual[0]), rtol=0):
            return usual
    return ends if ends[0] < ends[1] else None


def _usual(linear: _Linear) -> Range | None:
    """The usual range that comes out around 0 and of size about 1, or as bytes, centred or not."""
    for low, high in _USUAL:
        centre, half = _ends(linear, low, high)
        if np.all((half >= 0.4) & (half <= 4) & (np.abs(centre) <= 1.6 * half)):
            return low, high
    for low, high in _USUAL:
        centre, half = _ends(linear, low, high)
        centred = np.all(np.abs(centre) <= 60) or np.all(np.abs(centre - 127.5) <= 127.5 * _NEAR)
        if centred and np.all((half >= 100) & (half <= 140)):
            return low, high
    for low, high in _DEEP:
        centre, half = _ends(linear, low, high)
        if any(
            np.all(np.abs(half - h) <= _NEAR) and np.all(np.abs(centre - c) <= _NEAR) for c, h in ((0.5, 0.5), (0, 1))
        ):
            return low, high
    return None


def _ends(linear: _Linear, low: float, high: float) -> tuple[Numbers, Numbers]:
    ends = np.stack([linear.scale * low + linear.offset, linear.scale * high + linear.offset])
    return ends.mean(axis=0), np.abs(ends[1] - ends[0]) / 2
