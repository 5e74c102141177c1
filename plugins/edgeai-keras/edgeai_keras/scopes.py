"""From the names that TensorFlow gives to operations back to the Keras layers they come from."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from edgeai.api import ConversionFailed, ConvertRequest
from edgeai_keras.model_file import Source, tensor_names

_NUMBER = re.compile(r"_\d+$")


class Scopes:
    """The layers of one traced model, found in scopes like ``functional_1/relu_1/Relu;functional_1/conv_1/add``.

    Keras opens a layer's scope twice, so that TensorFlow numbers the one that holds the operations; whether it did
    is seen once, over the whole graph, as ``conv2d_1`` alone may be ``conv2d`` numbered or another layer.
    """

    def __init__(self, source: Source) -> None:
        self._layers: dict[str, Any] = {
            str(layer.name): layer for layer in source.model._flatten_layers(include_self=False)
        }
        self._model = source.model
        graph = source.function.get_concrete_function().graph
        parts = {part for node in _nodes(graph) for part in node.split("/")[:-1]}
        self._numbered = any(part not in self._layers and _NUMBER.sub("", part) in self._layers for part in parts)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all layers."""
        return tuple(self._layers)

    def layers(self, scope: str) -> tuple[str, ...]:
        """The layers that an operation was made of, the fused ones too; empty when it names none."""
        inner_layers = []
        for name in scope.split(";"):
            parts = [_NUMBER.sub("", part) if self._numbered else part for part in name.split("/")[:-1]]
            inner = next((part for part in reversed(parts) if part in self._layers), None)
            inner_layers += [inner] if inner else []
        return tuple(dict.fromkeys(inner_layers))

    def main(self, scope: str) -> str:
        """The layer that an operation is best known by: the one with a kernel, else the first; or empty."""
        layers = self.layers(scope)
        with_kernel = (name for name in layers if any(len(w.shape) > 1 for w in self._layers[name].weights))
        return next(with_kernel, layers[0] if layers else "")

    def givers(self, request: ConvertRequest) -> dict[str, str]:
        """Each of the request's outputs -> the layer that gives it."""
        own, wanted = tensor_names(self._model, "output"), [spec.name for spec in request.outputs]
        places = [own.index(name) for name in wanted] if set(own) == set(wanted) else range(len(wanted))
        return {name: _giver(self._model.outputs[place]) for name, place in zip(wanted, places, strict=True)}

    def check(self, names: Sequence[str], option: str) -> None:
        """Refuse names that no layer has.

        Raises:
            ConversionFailed: ``convert.layer-unknown``.
        """
        for name in names:
            if name not in self._layers:
                near = difflib.get_close_matches(name, self._layers, n=3)
                raise ConversionFailed(
                    f"{option}: the model has no layer {name!r}",
                    code="convert.layer-unknown",
                    remedy=f"use one of {', '.join(near or list(self._layers)[:10])}",
                )


def _giver(tensor: Any) -> str:
    """The layer of a tensor, the inner one where that is a model."""
    history = tensor._keras_history
    while getattr(history.operation, "layers", None):
        history = history.operation.outputs[history.tensor_index]._keras_history
    return str(history.operation.name)


def _nodes(graph: Any) -> Iterable[str]:
    return (str(node.name) for node in graph.get_operations())


def layer_names(options: Any, name: str) -> tuple[str, ...]:
    """An option that is a list of layer names; absent is none.

    Raises:
        ConversionFailed: ``convert.options``: it is something else.
    """
    value = options.get(name, ())
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise ConversionFailed(f"{name} = {value!r}", code="convert.options", remedy="give a list of layer names")
    return tuple(value)


def whole_number(options: Any, name: str, default: int) -> int:
    """An option that is a number from 0.

    Raises:
        ConversionFailed: ``convert.options``: it is something else.
    """
    value = options.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ConversionFailed(f"{name} = {value!r}", code="convert.options", remedy="give a whole number from 0")
    return value


def true_or_false(options: Any, name: str) -> bool:
    """An option that is off where it is absent.

    Raises:
        ConversionFailed: ``convert.options``: it is something else.
    """
    value = options.get(name, False)
    if not isinstance(value, bool):
        raise ConversionFailed(f"{name} = {value!r}", code="convert.options", remedy="give true or false")
    return value
