"""A smaller model out of a bigger one: the same layers, names and graph, with shorter axes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from edgeai.api import CompressionFailed
from edgeai_keras.channels.graph import is_model
from edgeai_keras.channels.trace import Edit, Trace
from edgeai_keras.frameworks import keras


def remove(model: Any, trace: Trace, classes: Collection[int]) -> Any:
    """A copy of ``model`` without these classes of channels. The model itself is left as it was.

    Args:
        model: as it was traced.
        trace: of this very model.
        classes: out of ``groups_of(trace)``.
    """
    return _Copy(trace, classes).of(model)


class _Copy:
    def __init__(self, trace: Trace, classes: Collection[int]) -> None:
        self._trace = trace
        self._gone = np.isin(trace.atoms.roots(), list(classes))
        self._pairs: list[tuple[Any, Any]] = []
        self._made: dict[int, Any] = {}

    def of(self, model: Any) -> Any:
        copy = self._layer(model)
        for old, new in self._pairs:
            self._fill(old, new)
        return copy

    def _layer(self, layer: Any) -> Any:
        """The layer or model anew; the same one wherever it is used."""
        if not isinstance(layer, keras.Layer):
            return layer  # an operation of keras.ops has no state
        if id(layer) not in self._made:
            self._made[id(layer)] = self._model(layer) if is_model(layer) else self._unbuilt(layer)
        return self._made[id(layer)]

    def _model(self, model: Any) -> Any:
        inputs = [self._input(model, place) for place in range(len(model.inputs))]
        if isinstance(model, keras.Sequential):
            layers = [self._layer(layer) for layer in model.layers]
            return keras.Sequential([*inputs, *layers], name=model.name, trainable=model.trainable)
        structure = keras.tree.pack_sequence_as(model.input, inputs)
        return keras.models.clone_model(model, input_tensors=structure, clone_function=self._layer)

    def _input(self, model: Any, place: int) -> Any:
        tensor = model.inputs[place]
        shape = list(tensor.shape)
        label = self._trace.entries.get((id(model), place))
        if label is not None and shape[label.axis] is not None:
            shape[label.axis] = int((~self._gone[label.atoms]).sum())
        return keras.Input(batch_shape=shape, dtype=tensor.dtype, name=tensor._keras_history.operation.name)

    def _unbuilt(self, layer: Any) -> Any:
        """With the configuration that its shorter axes need."""
        config = _shapeless(layer.get_config())
        for edit in self._trace.edits.get(id(layer), ()):
            self._change(config, edit)
        if type(layer).__name__ == "TimeDistributed":
            config.pop("layer")
            return type(layer)(self._layer(layer.layer), **config)
        new = type(layer).from_config(config)
        self._pairs.append((layer, new))
        return new

    def _change(self, config: dict[str, Any], edit: Edit) -> None:
        left = int((~self._gone[edit.atoms]).sum())
        if edit.place is None:
            config[edit.key] = left
        else:
            values = list(config[edit.key])
            values[edit.place] = left
            config[edit.key] = tuple(values)

    def _fill(self, old: Any, new: Any) -> None:
        for source, target in zip(old.weights, new.weights, strict=True):
            array = self._short(source)
            if array.shape != tuple(target.shape) or source.name != target.name:
                raise CompressionFailed(
                    f"layer {old.name!r} ({type(old).__name__}): {source.name} became {array.shape}, and the smaller"
                    f" layer has {target.name} {tuple(target.shape)}",
                    code="compress.layer-unfollowed",
                    remedy=f'use the option keep = ["{old.name}"]',
                )
            target.assign(array)
        if hasattr(new, "finalize_state") and new.weights:
            new.finalize_state()  # a Normalization computes what it applies from its weights

    def _short(self, variable: Any) -> Any:
        array = keras.ops.convert_to_numpy(variable)
        for axis, atoms in self._axes(variable):
            array = np.compress(~self._gone[atoms], array, axis=axis)
        return array

    def _axes(self, variable: Any) -> Iterator[tuple[int, Any]]:
        for axis in range(-len(variable.shape), 0):
            atoms = self._trace.bindings.get((id(variable), axis))
            if atoms is not None:
                yield axis, atoms


def _shapeless(config: Any) -> Any:
    """A configuration without the shapes that layers inside it were built with."""
    if isinstance(config, dict):
        return {key: _shapeless(value) for key, value in config.items() if key != "build_config"}
    return [_shapeless(value) for value in config] if isinstance(config, list) else config
