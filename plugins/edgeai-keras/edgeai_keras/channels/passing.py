"""What layers without weights do with channels: pass them on, move them, mix tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeai_keras.channels.atoms import Ids, Label
from edgeai_keras.channels.graph import Value
from edgeai_keras.channels.layers import is_elementwise, tie
from edgeai_keras.channels.trace import Call, Rule
from edgeai_keras.frameworks import keras


def untouched(call: Call) -> Label | None:
    """Element by element, so that any axis passes."""
    return call.input.label


def spatial(call: Call) -> Label | None:
    """Pooling, padding, resampling: each channel by itself, where the channels come last."""
    label = call.input.label
    if label is None:
        return None
    if label.axis != -1 or getattr(call.layer, "data_format", None) == "channels_first":
        return call.refused("its channels are not on the last axis")
    return label


def activation(call: Call) -> Label | None:
    """Activation(...), where it looks at one channel at a time."""
    if call.input.label is not None and not is_elementwise(call.layer.activation):
        return call.refused("it mixes channels")
    return call.input.label


def softmax(call: Call) -> Label | None:
    """Softmax: passes on channels only over other axes."""
    label = call.input.label
    axes = call.layer.axis if isinstance(call.layer.axis, list | tuple) else (call.layer.axis,)
    rank = len(call.input.shape)
    if label is not None and any((axis - rank if axis >= 0 else axis) == label.axis for axis in axes):
        return call.refused("it mixes channels")
    return label


def rescaling(call: Call) -> Label | None:
    """Rescaling by numbers; by one a channel it is not followed."""
    if call.input.label is not None and (np.size(call.layer.scale) > 1 or np.size(call.layer.offset) > 1):
        return call.refused("its scale or offset is one a channel")
    return call.input.label


def flatten(call: Call) -> Label | None:
    """Flatten: one channel becomes one input in every (H * W) block of what follows."""
    label = call.input.label
    if label is None:
        return None
    if call.layer.data_format == "channels_first" and len(call.input.shape) > 2:
        return call.refused("its channels come first")
    shape = call.input.shape
    place = len(shape) + label.axis
    inner = np.repeat(label.atoms, math.prod(shape[place + 1 :]))
    return Label(-1, np.tile(inner, math.prod(shape[1:place])), label.source if len(shape) == 2 else None)


def reshape(call: Call) -> Label | None:
    """Reshape, where the channels stay an axis, are joined by outer ones, or are split evenly."""
    label, shape, target = call.input.label, call.input.shape, call.output.shape
    if label is None:
        return None
    place = len(shape) + label.axis
    inner = math.prod(shape[place + 1 :])
    # From the right, the first axis that has as many elements behind it as the channels have.
    axes = [
        axis for axis in range(len(target) - 1, 0, -1) if math.prod(target[axis + 1 :]) == inner and target[axis] > 1
    ]
    atoms = _spread(call, label.atoms, target[axes[0]]) if axes else None
    if atoms is None:
        return call.refused(f"it makes {target[1:]} of {shape[1:]}, where no axis is the channels")
    if call.layer.target_shape[axes[0] - 1] != -1:
        call.edit("target_shape", atoms, axes[0] - 1)
    return Label(axes[0] - len(target), atoms)


def _spread(call: Call, atoms: Ids, size: int) -> Ids | None:
    """The atoms of an axis of another size, whose positions count on through the old one's."""
    if size % len(atoms) == 0:
        return np.tile(atoms, size // len(atoms))
    if len(atoms) % size == 0:
        rows = atoms.reshape(-1, size).T
        tie(call, rows)
        return np.array(rows[:, 0])
    return None


def permute(call: Call) -> Label | None:
    """Permute: the channels' axis moves."""
    label, rank = call.input.label, len(call.input.shape)
    if label is None:
        return None
    place = call.layer.dims.index(rank + label.axis) + 1
    return Label(place - rank, label.atoms)


def normalised(call: Call) -> Label | None:
    """Layer, RMS and unit normalisation: what is left of the channels would have other statistics."""
    return None if call.input.label is None else call.refused("it normalises over the channels")


def pooled(call: Call) -> Label | None:
    """Global pooling: the channels are what is left."""
    label = spatial(call)
    return None if label is None else Label(-1, label.atoms)


def merged(call: Call) -> Label | None:
    """Add and its like: the same channel of every input goes, or none."""
    axis = _common_axis(call, call.inputs)
    if axis is None:
        return None
    if any(np.size(given) > 1 for given in _constants(call)):
        return call.refused("one side is an array of constants")
    sizes = [value.shape[axis] if len(value.shape) > -axis else 1 for value in call.inputs]
    size = max(sizes)
    rows: list[Ids] = []
    for value, own in zip(call.inputs, sizes, strict=True):
        if own == size:
            rows.append(np.zeros(size, np.int64) if value.label is None else value.label.atoms)
        elif value.label is not None:
            call.trace.atoms.keep(value.label.atoms)  # one channel, spread over all
    for row in rows[1:]:
        call.trace.atoms.unite(rows[0], row)
    return Label(axis, rows[0])


def concatenated(call: Call) -> Label | None:
    """Concatenate: along the channels they come one after the other; along another axis they go together."""
    axis = _common_axis(call, call.inputs)
    if axis is None:
        return None
    along = call.layer.axis
    if (along - len(call.output.shape) if along >= 0 else along) != axis:
        return merged(call)
    rows = [np.zeros(v.shape[axis], np.int64) if v.label is None else v.label.atoms for v in call.inputs]
    return Label(axis, np.concatenate(rows))


def _common_axis(call: Call, values: Sequence[Any]) -> int | None:
    axes = {value.label.axis for value in values if value.label is not None}
    if len(axes) > 1:
        call.unfollowed("its inputs have their channels on different axes")
    return axes.pop() if len(axes) == 1 else None


def _constants(call: Call) -> list[Any]:
    """What an operation is called with beside tensors."""
    return [given for given in keras.tree.flatten((call.args, call.kwargs)) if not isinstance(given, Value)]


_NAMED: dict[Rule, tuple[str, ...]] = {
    untouched: (
        *("ReLU", "LeakyReLU", "ELU", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
        *("GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization", "Identity"),
    ),
    spatial: (
        *("MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "AveragePooling1D", "AveragePooling2D", "AveragePooling3D"),
        *("AdaptiveAveragePooling1D", "AdaptiveAveragePooling2D", "AdaptiveAveragePooling3D"),
        *("AdaptiveMaxPooling1D", "AdaptiveMaxPooling2D", "AdaptiveMaxPooling3D"),
        *("UpSampling1D", "UpSampling2D", "UpSampling3D", "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D"),
        *("Cropping1D", "Cropping2D", "Cropping3D", "Resizing", "CenterCrop", "RepeatVector"),
    ),
    pooled: (
        *("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D"),
        *("GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D"),
    ),
    normalised: ("LayerNormalization", "RMSNormalization", "UnitNormalization"),
    activation: ("Activation",),
    softmax: ("Softmax",),
    rescaling: ("Rescaling",),
    flatten: ("Flatten",),
    reshape: ("Reshape",),
    permute: ("Permute",),
    merged: ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"),
    concatenated: ("Concatenate",),
}

_OPERATIONS: dict[Rule, tuple[str, ...]] = {
    untouched: (
        *("Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "Sigmoid", "HardSigmoid", "Tanh", "HardTanh"),
        *("Softplus", "Softsign", "Silu", "HardSilu", "Mish", "Abs", "Absolute", "Square", "Sqrt", "Negative", "Clip"),
    ),
    merged: ("Add", "Subtract", "Multiply", "Maximum", "Minimum"),
    concatenated: ("Concatenate",),
}
"""Operations of ``keras.ops`` used on symbolic tensors (``x + y``), by class name."""


def rules() -> dict[type, Rule]:
    """Layer class -> rule."""
    return {
        getattr(keras.layers, name): rule
        for rule, names in _NAMED.items()
        for name in names
        if hasattr(keras.layers, name)
    }


def operation_rules() -> dict[str, Rule]:
    """Class name of a ``keras.ops`` operation -> rule."""
    return {name: rule for rule, names in _OPERATIONS.items() for name in names}
