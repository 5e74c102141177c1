"""A Keras model's graph, walked from its inputs to its outputs with values of our own in place of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from edgeai.api import CompressionFailed
from edgeai_keras.channels.atoms import Label
from edgeai_keras.frameworks import keras

NOMINAL = 64
"""Stands for an open dimension (a fully convolutional model's height, a recurrent one's time) in every count."""


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A tensor as the walk sees it.

    Attributes:
        shape: with the batch, which is 1.
        dtype: as Keras names it.
        label: its channels; ``None`` where none of them can be removed.
    """

    shape: tuple[int, ...]
    dtype: str
    label: Label | None = None


Visit: TypeAlias = Callable[[Any, str, tuple[Any, ...], dict[str, Any]], Any]
"""``(operation, path, args, kwargs) -> values``, in the structure of the operation's outputs."""


def is_model(operation: Any) -> bool:
    """Whether an operation is a model whose graph can be walked."""
    return isinstance(operation, keras.Sequential) or _is_functional(operation)


def _is_functional(operation: Any) -> bool:
    return isinstance(operation, keras.Model) and hasattr(operation, "_run_through_graph")


def inputs_of(model: Any) -> list[Value]:
    """The model's inputs: batch 1, nothing to remove.

    Raises:
        CompressionFailed: a model whose graph is not known, or that was never built.
    """
    if not is_model(model) or not model.inputs:
        raise CompressionFailed(
            f"{model.name} is a {type(model).__name__}: only functional and built Sequential models can be followed",
            code="compress.layer-unfollowed",
            remedy="rebuild it with keras.Model(inputs, outputs) or as a keras.Sequential with an Input",
        )
    return [Value((1, *(size or NOMINAL for size in tensor.shape[1:])), str(tensor.dtype)) for tensor in model.inputs]


def walk(model: Any, inputs: Sequence[Value], visit: Visit, prefix: str = "") -> list[Value]:
    """Visit every call of the graph in order, and give what the model's outputs are.

    A layer that is called twice is visited twice. Nested models are visited as one; ``visit`` may walk them.
    """
    if isinstance(model, keras.Sequential):
        values: Any = inputs[0]
        for layer in model.layers:
            values = visit(layer, prefix + layer.name, (values,), {})
        return flat(values)

    def visited(operation: Any) -> Callable[..., Any]:
        return lambda *args, **kwargs: visit(operation, prefix + operation.name, args, kwargs)

    # Private, as is every way to a functional model's nodes; it is what Keras' own clone_model walks.
    return flat(model._run_through_graph(list(inputs), operation_fn=visited))


def flat(values: Any) -> list[Value]:
    """The values in a structure of arguments or outputs, in Keras' order."""
    return [value for value in keras.tree.flatten(values) if isinstance(value, Value)]


def outputs_of(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What an operation gives for these arguments: values without a label, in its structure."""

    def symbolic(value: Any) -> Any:
        return keras.KerasTensor(value.shape, dtype=value.dtype) if isinstance(value, Value) else value

    args, kwargs = keras.tree.map_structure(symbolic, (args, kwargs))
    given = operation.compute_output_spec(*args, **kwargs)
    return keras.tree.map_structure(lambda tensor: Value(_sizes(tensor.shape), str(tensor.dtype)), given)


def _sizes(shape: Sequence[int | None]) -> tuple[int, ...]:
    return tuple(1 if size is None and place == 0 else size or NOMINAL for place, size in enumerate(shape))
