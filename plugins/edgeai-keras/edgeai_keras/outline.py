"""What a ``.keras`` file says of itself, read without Keras: its tensors, what its first layers take, how it ends.

Seconds pass before TensorFlow is there. Labels that are one too many, a folder that is not there, or five sigmoids
where one answer is wanted are known from the description alone, and can be said at once.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, Final

from edgeai.api import ConversionFailed, Described, TensorSpec
from edgeai_keras.bounds import check_archive
from edgeai_keras.graph import Graph, graph_of, input_shape, shape_of
from edgeai_keras.layers import layers_in
from edgeai_keras.precision import precision_note
from edgeai_keras.ranges import Weights, range_of

_UNSAFE: Final = ("Lambda", "__lambda__")
_SAME: Final = ("Flatten", "Reshape", "Dropout", "Identity", "Permute", "Cast", "UpSampling2D", "Resizing", "Squeeze")
"""Layers behind an activation that leave each value what it was."""
_NAMES: Final = {"linear": "none", "": "none"}
_OTHERS: Final = {
    **{"ReLU": "relu", "Relu": "relu", "Relu6": "relu6", "PReLU": "prelu", "ELU": "elu", "Elu": "elu"},
    **{"LeakyReLU": "leaky_relu", "LeakyRelu": "leaky_relu", "Selu": "selu", "Celu": "celu", "Gelu": "gelu"},
    **{"Softplus": "softplus", "Softsign": "softsign", "Tanh": "tanh", "Exp": "exponential", "Silu": "silu"},
    **{"HardTanh": "hard_tanh", "HardSigmoid": "hard_sigmoid", "HardSilu": "hard_silu", "Mish": "mish"},
    **{"LogSoftmax": "log_softmax", "LogSigmoid": "log_sigmoid", "Abs": "abs", "Absolute": "abs", "Square": "square"},
}
"""Layers and operations of ``keras.ops`` that are an activation -> as Keras calls it."""


def description(path: Path) -> Any:
    """The description of a ``.keras`` file's layers, without whatever would run code out of it.

    Raises:
        ConversionFailed: ``convert.model-unreadable``, ``convert.model-too-large``, ``convert.weights-elsewhere`` or
            ``convert.layer-unsafe``.
    """
    remedy = "save it with model.save('name.keras'); an .h5 or pickle is not taken"
    if not zipfile.is_zipfile(path):
        why = "no such file" if not path.is_file() else "not a .keras archive"
        raise ConversionFailed(f"{path.name}: {why}", code="convert.model-unreadable", remedy=remedy)
    try:
        claims = check_archive(path)
    except (KeyError, ValueError, RecursionError, zipfile.BadZipFile, OSError) as error:
        raise ConversionFailed(
            f"{path.name}: its description or its weights cannot be read: {error}",
            code="convert.model-unreadable",
            remedy=remedy,
        ) from error
    for kind, name in layers_in(claims.config):
        if kind in _UNSAFE:
            raise ConversionFailed(
                f"{path.name}: layer {name!r} is a {kind} layer, whose code would run from the file",
                code="convert.layer-unsafe",
                remedy=f"replace layer {name!r} by built-in layers or keras.ops",
            )
    return claims


def outline(path: Path) -> Described | None:
    """Its tensors, ranges and activations; ``None`` where they cannot be told without loading it.

    Raises:
        ConversionFailed: as ``description``.
    """
    config = description(path).config
    try:
        graph = graph_of(config)
        inputs = tuple(_input(graph, name) for name in graph.inputs)
        outputs = tuple(TensorSpec(name=name, dtype="float32", shape=shape_of(graph, name)) for name in graph.outputs)
    except (KeyError, IndexError, TypeError, ValueError):
        return None  # another kind of description: whoever loads the model knows
    return described(path, config, inputs, outputs) if inputs and outputs else None


def described(path: Path, config: Any, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> Described:
    """These tensors, with what the description says of their values."""
    note = precision_note(config)
    try:
        graph = graph_of(config)
        weights = Weights(path)
        ranges = {
            spec.name: taken
            for spec, name in zip(inputs, graph.inputs, strict=True)
            for span, taken in [range_of(graph, name, weights)]
            if span
        }
        activations = {
            spec.name: how for spec, n in zip(outputs, graph.outputs, strict=True) if (how := _end(graph, n))
        }
    except (KeyError, IndexError, TypeError, ValueError, OSError):
        ranges, activations = {}, {}
    return Described(
        inputs=inputs, outputs=outputs, ranges=ranges, activations=activations, notes=(note,) if note else ()
    )


def _input(graph: Graph, name: str) -> TensorSpec:
    config = graph.nodes[name].config
    dtype = str(config.get("dtype") or "float32")
    return TensorSpec(name=name, dtype="float32" if "float" in dtype else dtype, shape=input_shape(config))


def _end(graph: Graph, name: str) -> str:
    """What is applied last to the values of an output: ``softmax``, ``sigmoid``, ``none``; empty where unknown."""
    node = graph.nodes[name]
    if node.inner is not None:
        return _end(node.inner, node.inner.outputs[0])
    if node.kind in ("Softmax", "Sigmoid"):
        axis = node.config.get("axis", -1)
        return node.kind.lower() if node.kind == "Sigmoid" or axis in (-1, len(shape_of(graph, name)) - 1) else ""
    if node.kind in _OTHERS:
        return _OTHERS[node.kind]
    applied = node.config.get("activation")
    if isinstance(applied, dict):
        applied = applied.get("config") if isinstance(applied.get("config"), str) else applied.get("class_name")
    if node.kind in _SAME or (node.kind == "Activation" and applied == "linear"):
        return _end(graph, node.sources[0]) if node.sources else ""
    if node.kind.startswith(("Dense", "Conv", "Separable", "Depthwise", "Activation", "EinsumDense")):
        return _NAMES.get(str(applied or "").lower(), str(applied).lower())
    return ""
