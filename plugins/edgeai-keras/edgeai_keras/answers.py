"""Tensors by name, as a Keras model takes and gives them."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeai.api import Array, Batch, CompressionFailed, Tensors
from edgeai_keras.frameworks import keras
from edgeai_keras.model_file import structure_of, tensor_names


def arranged(model: Any, batch: Batch) -> tuple[Any, Any]:
    """A batch as the model's own structures: by name where the names are its own, else in order.

    Raises:
        CompressionFailed: another number of tensors than the model has.
    """
    inputs, targets = batch
    return (
        _structure(model, inputs, "input", structure_of(model, "input")),
        _structure(model, targets, "output", structure_of(model, "output")),
    )


def _structure(model: Any, tensors: Tensors, what: str, structure: Any) -> Any:
    names = tensor_names(model, what)
    if set(names) == set(tensors):
        values = [tensors[name] for name in names]
    elif len(names) == len(tensors):
        values = list(tensors.values())
    else:
        raise CompressionFailed(
            f"{model.name} has {len(names)} {what}s ({', '.join(names)}), the batches have {', '.join(tensors)}",
            code="compress.tensors-differ",
            remedy="declare the model's own tensors",
        )
    return keras.tree.pack_sequence_as(structure, values)


def predict(model: Any, inputs: Tensors, *, size: int = 32) -> dict[str, Array]:
    """The model's outputs by name, ``size`` samples at a time, as it answers when it is not being trained."""
    count = len(next(iter(inputs.values())))
    names = tensor_names(model, "output")
    parts: list[list[Array]] = []
    for begin in range(0, count, size):
        part = {name: value[begin : begin + size] for name, value in inputs.items()}
        answer = model(_structure(model, part, "input", structure_of(model, "input")), training=False)
        parts.append([keras.ops.convert_to_numpy(value) for value in keras.tree.flatten(answer)])
    return {name: np.concatenate([part[place] for part in parts]) for place, name in enumerate(names)}
