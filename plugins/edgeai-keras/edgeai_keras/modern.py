"""Configurations of Keras 2 layers in words that Keras 3 knows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_ANY = object()
_SURPLUS = (
    (r"(Depthwise|Separable)Conv[12]D|Conv[123]DTranspose", "groups", 1),
    (r"(Depthwise|Separable)Conv[12]D", "kernel_initializer", _ANY),  # of a kernel that these layers do not have
    (r"(Depthwise|Separable)Conv[12]D", "kernel_regularizer", None),
    (r"(Depthwise|Separable)Conv[12]D", "kernel_constraint", None),
    (r"LSTM|GRU|SimpleRNN|RNN|ConvLSTM[123]D", "time_major", False),
    (r"SpatialDropout[123]D", "trainable", _ANY),
    (r"SpatialDropout[123]D", "noise_shape", None),
)
"""Layers, a key of theirs that Keras 3 refuses, and the value with which it says nothing."""


_INNER = ("layer", "forward_layer", "backward_layer", "cell")
_GATES = {"LSTM": (0, 1, 3), "ConvLSTM1D": (0, 1, 3), "ConvLSTM2D": (0, 1, 3), "ConvLSTM3D": (0, 1, 3), "GRU": (0, 1)}
"""Which blocks along a recurrent kernel's last axis are gates: input, forget, (cell), output; update, reset, (new)."""
_STEEPER = 1.2


def modern(node: Any) -> Any:
    """The configuration without what Keras 3 refuses and what says nothing; any other value is left, and refused.

    Layers inside of layers say where they come from: Keras 3 finds them by nothing else.
    """
    if isinstance(node, list):
        return [modern(value) for value in node]
    if not isinstance(node, dict):
        return node
    made = {name: modern(value) for name, value in node.items()}
    kind, config = made.get("class_name"), made.get("config")
    if isinstance(config, dict) and isinstance(config.get("layers"), list):
        config = _renumbered(config)
    if isinstance(kind, str) and isinstance(config, dict):
        config = {name: value for name, value in config.items() if not _says_nothing(kind, name, value)}
        for name in _INNER:
            inner = config.get(name)
            if isinstance(inner, dict) and "class_name" in inner and "module" not in inner:
                config[name] = {**inner, "module": "keras.layers", "registered_name": None}
        made["config"] = config
    return made


def _renumbered(config: dict[str, Any]) -> dict[str, Any]:
    """A model's calls of sequential models inside of it, counted from 0: in Keras 2, number 0 is the model's own."""
    inner = [layer.get("name") for layer in config["layers"] if layer.get("class_name") == "Sequential"]
    calls = [call for call in _calls(config) if call[0] in inner]
    first = {name: min(call[1] for call in calls if call[0] == name) for name in {call[0] for call in calls}}
    for call in calls:
        call[1] -= first[call[0]]
    return config


def _calls(node: Any) -> Iterator[list[Any]]:
    """[layer, number of its call, output, ...] wherever a model's configuration refers to one."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name in ("layers", "inbound_nodes", "input_layers", "output_layers"):
                yield from _calls(value)
    elif isinstance(node, list):
        if len(node) in (3, 4) and isinstance(node[0], str) and all(type(part) is int for part in node[1:3]):
            yield node
        else:
            for value in node:
                yield from _calls(value)


def _says_nothing(kind: str, name: str, value: Any) -> bool:
    return any(
        name == key and (neutral is _ANY or value == neutral) and re.fullmatch(kinds, kind)
        for kinds, key, neutral in _SURPLUS
    )


def steepen(model: Any) -> tuple[list[str], list[str]]:
    """Have a Keras 2 model's ``hard_sigmoid`` mean what it meant: (layers that do now, layers that cannot).

    In Keras 2 it is ``clip(0.2 x + 0.5)``, in Keras 3 ``clip(x / 6 + 0.5)``: the same of 1.2 x. So the weights that
    lead into it are 1.2 times as large. Keras 3 says nothing when it loads such a model.
    """
    done, impossible = [], []
    layers = list(model._flatten_layers(include_self=False))
    cells = {id(layer.cell) for layer in layers if type(layer).__name__ in _GATES}  # they share their layer's weights
    for layer in layers:
        kind = type(layer).__name__
        if id(layer) in cells:
            continue
        if _hard(layer, "recurrent_activation") and kind in _GATES and not _hard(layer, "activation"):
            layer.set_weights(
                [_scaled(value, _GATES[kind], 3 if kind == "GRU" else 4) for value in layer.get_weights()]
            )
            done.append(str(layer.name))
        elif _hard(layer, "activation") and kind in ("Dense", "Conv1D", "Conv2D", "Conv3D"):
            layer.set_weights([value * _STEEPER for value in layer.get_weights()])
            done.append(str(layer.name))
        elif _hard(layer, "activation") or _hard(layer, "recurrent_activation"):
            impossible.append(str(layer.name))
    return done, impossible


def _hard(layer: Any, what: str) -> bool:
    return getattr(getattr(layer, what, None), "__name__", "") == "hard_sigmoid"


def _scaled(value: Any, gates: tuple[int, ...], blocks: int) -> Any:
    """Kernel, recurrent kernel or bias with its gates' blocks steeper; blocks lie along the last axis."""
    wide = value.reshape(*value.shape[:-1], blocks, -1).copy()
    wide[..., list(gates), :] *= _STEEPER
    return wide.reshape(value.shape)
