"""The layers of a ``.keras`` file's description as a graph, and the shapes that follow from them; without Keras."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Shape = tuple[int | None, ...]
_CONTAINERS: Final = ("Functional", "Model", "Sequential")
_SAME: Final = frozenset(
    {
        *("Activation", "Softmax", "Sigmoid", "ReLU", "LeakyReLU", "PReLU", "ELU", "Dropout", "SpatialDropout2D"),
        *("BatchNormalization", "LayerNormalization", "GroupNormalization", "UnitNormalization", "Rescaling"),
        *("Normalization", "Identity", "Cast", "GaussianNoise", "GaussianDropout", "Relu", "Silu", "Gelu", "Tanh"),
        *("Relu6", "Elu", "Selu", "Celu", "LeakyRelu", "Softplus", "Softsign", "Exp", "Abs", "Absolute", "Square"),
        *("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast", "RandomBrightness"),
    }
)


@dataclass(slots=True)
class Node:
    """One layer or operation.

    Attributes:
        sources: names of what it is given, in order.
        arguments: of its one call, as they are written.
        given: shape of its first input; empty where it is not written.
        calls: how often it is called.
        inner: what it consists of, of a model in the model.
    """

    kind: str
    name: str
    config: dict[str, Any]
    sources: tuple[str, ...] = ()
    arguments: tuple[Any, ...] = ()
    given: Shape = ()
    calls: int = 1
    inner: Graph | None = None


@dataclass(slots=True)
class Graph:
    """``nodes`` in the order in which they are written; ``inputs`` and ``outputs`` by name, in the model's order."""

    nodes: dict[str, Node] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    sequential: bool = False

    def users(self, name: str) -> list[Node]:
        """What is given the values of a node."""
        return [node for node in self.nodes.values() if name in node.sources]


def graph_of(described: dict[str, Any]) -> Graph:
    """The graph of a functional or sequential model.

    Raises:
        ValueError, KeyError, TypeError, IndexError: it is neither, or not written as Keras writes it.
    """
    if described.get("class_name") not in _CONTAINERS:
        raise ValueError("neither a functional nor a sequential model")
    config = described["config"]
    graph = Graph(sequential=described["class_name"] == "Sequential")
    for layer in config["layers"]:
        node = _node(layer)
        if graph.sequential and graph.nodes:
            node.sources = (next(reversed(graph.nodes)),)
        graph.nodes[node.name] = node
    if graph.sequential:
        first, last = next(iter(graph.nodes.values())), next(reversed(graph.nodes))
        if first.kind != "InputLayer":
            raise ValueError("its input is not written")
        graph.inputs, graph.outputs = (first.name,), (last,)
        return graph
    graph.inputs, graph.outputs = (_ends(config[f"{what}_layers"]) for what in ("input", "output"))
    return graph


def input_shape(config: Mapping[str, Any]) -> Shape:
    """The shape that an input layer's configuration states, batch included, under the name of Keras 3 or of Keras 2.

    Raises:
        KeyError, TypeError: it states none.
    """
    return tuple(config["batch_shape"] if "batch_shape" in config else config["batch_input_shape"])


def shape_of(graph: Graph, name: str) -> Shape:
    """The shape of what a node gives.

    Raises:
        ValueError, KeyError, TypeError, IndexError: it does not follow from what is written.
    """
    node = graph.nodes[name]
    if node.kind == "InputLayer":
        return input_shape(node.config)
    if node.inner is not None:
        return shape_of(node.inner, node.inner.outputs[0])
    given = node.given or shape_of(graph, node.sources[0])
    if node.kind in _SAME:
        return given
    if node.config.get("data_format") == "channels_first":
        raise ValueError("channels first")
    if node.kind == "Dense":
        return (*given[:-1], int(node.config["units"]))
    if node.kind == "Flatten":
        return (given[0], None if None in given[1:] else math.prod(given[1:]))  # type: ignore[arg-type]
    if node.kind == "Reshape":
        return _reshaped(given, tuple(node.config["target_shape"]))
    if node.kind in ("GlobalAveragePooling2D", "GlobalMaxPooling2D"):
        return (given[0], 1, 1, given[-1]) if node.config.get("keepdims") else (given[0], given[-1])
    if node.kind in ("Conv2D", "SeparableConv2D"):
        return _convolved(node, given)
    if node.kind == "UpSampling2D":
        size = node.config["size"]
        grown = (None if n is None else n * by for n, by in zip(given[1:3], size, strict=True))
        return (given[0], *grown, given[3])
    raise ValueError(f"the shape of a {node.kind} is not known")


def tensors_in(argument: Any) -> Iterator[str]:
    """Names of the layers whose values an argument is made of."""
    if isinstance(argument, dict):
        if argument.get("class_name") == "__keras_tensor__":
            yield str(argument["config"]["keras_history"][0])
        elif argument.get("class_name") != "__tensor__":
            for value in argument.values():
                yield from tensors_in(value)
    elif isinstance(argument, list):
        for value in argument:
            yield from tensors_in(value)


def _node(layer: dict[str, Any]) -> Node:
    config = layer["config"]
    node = Node(kind=str(layer["class_name"]), name=str(layer.get("name") or config["name"]), config=config)
    if node.kind in _CONTAINERS:
        node.inner = graph_of(layer)
    calls = layer.get("inbound_nodes") or []
    node.calls = len(calls)
    if calls and isinstance(calls[0], dict):
        given = calls[0]
        node.arguments = (*given.get("args", ()), *(v for v in given.get("kwargs", {}).values() if v is not None))
        node.sources = tuple(tensors_in(list(node.arguments)))
        shapes = [s for argument in node.arguments for s in _shapes(argument)]
        node.given = shapes[0] if shapes else ()
    elif calls:  # as Keras 2 wrote it: [[name, node, tensor, {}], ...]
        node.sources = tuple(str(one[0]) for one in calls[0])
    if not node.given and (built := (layer.get("build_config") or {}).get("input_shape")) and not node.sources:
        node.given = (None, *built[1:])  # of a sequential model, whose batch is of what it was built with
    return node


def _shapes(argument: Any) -> Iterator[Shape]:
    if isinstance(argument, dict) and argument.get("class_name") == "__keras_tensor__":
        yield tuple(argument["config"]["shape"])
    elif isinstance(argument, list):
        for value in argument:
            yield from _shapes(value)


def _ends(written: Any) -> tuple[str, ...]:
    """Names out of ``["image", 0, 0]``, a list of such or a dict of such."""
    if isinstance(written, dict):
        raise ValueError("tensors with names of their own")
    if written and isinstance(written[0], str):
        return (written[0],)
    return tuple(str(one[0]) for one in written)


def _reshaped(given: Shape, target: tuple[int, ...]) -> Shape:
    if -1 not in target:
        return (given[0], *target)
    if None in given[1:]:
        return (given[0], *(None if n == -1 else n for n in target))
    rest = math.prod(given[1:]) // -math.prod(target)  # type: ignore[arg-type]
    return (given[0], *(rest if n == -1 else n for n in target))


def _convolved(node: Node, given: Shape) -> Shape:
    config = node.config
    extents = []
    for axis in (0, 1):
        extent, stride = given[1 + axis], config["strides"][axis]
        reach = (config["kernel_size"][axis] - 1) * config["dilation_rate"][axis] if config["padding"] == "valid" else 0
        extents.append(None if extent is None else -(-(extent - reach) // stride))
    return (given[0], *extents, int(config["filters"]))
