"""What layers with weights do with channels: convolutions, dense and recurrent layers, normalisations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgeai_keras.channels.atoms import Ids, Label
from edgeai_keras.channels.trace import Call, Rule, positions
from edgeai_keras.frameworks import keras

_ELEMENTWISE = frozenset(
    (
        *("linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "sigmoid", "hard_sigmoid", "tanh"),
        *("hard_tanh", "hard_shrink", "soft_shrink", "tanh_shrink", "squareplus", "sparse_plus", "softplus", "mish"),
        *("softsign", "silu", "swish", "hard_silu", "hard_swish", "exponential", "log_sigmoid", "threshold"),
    )
)
"""Activations that look at one channel at a time; softmax and the like do not."""


def is_elementwise(activation: Any) -> bool:
    """Whether removing a channel leaves the others as they were."""
    return activation is None or getattr(activation, "__name__", "") in _ELEMENTWISE


def activated(call: Call, label: Label) -> Label:
    """The output of a layer with an activation of its own."""
    if not is_elementwise(getattr(call.layer, "activation", None)):
        call.unfollowed("its activation mixes channels", label.atoms)
    return label


def _altered(layer: Any) -> str:
    """Why a kernel is not simply the kernel, or an empty string."""
    if getattr(layer, "quantization_mode", None):
        return "it is quantised"
    if getattr(layer, "lora_enabled", False):
        return "it has LoRA weights"
    return "its channels come first" if getattr(layer, "data_format", None) == "channels_first" else ""


def convolution(call: Call) -> Label | None:
    """Conv1D, 2D, 3D. Kernel (*size, in, out)."""
    layer = call.layer
    why = _altered(layer)
    if why:
        return call.refused(why)
    call.trace.count(layer.kernel, positions(call.output.shape), call.path)
    if layer.groups != 1:
        return call.refused(f"it has {layer.groups} groups")
    call.trace.bind(layer.kernel, -2, call.channels())
    return activated(call, call.produced(layer.kernel, -1, bias=layer.bias, key="filters"))


def transposed(call: Call) -> Label | None:
    """Conv1DTranspose, 2D, 3D. Kernel (*size, out, in); every input position meets the whole kernel."""
    layer = call.layer
    why = _altered(layer)
    if why:
        return call.refused(why)
    call.trace.count(layer.kernel, positions(call.input.shape), call.path)
    call.trace.bind(layer.kernel, -1, call.channels())
    return activated(call, call.produced(layer.kernel, -2, bias=layer.bias, key="filters"))


def depthwise(call: Call) -> Label | None:
    """DepthwiseConv1D, 2D. Kernel (*size, in, multiplier); output channel in * multiplier + m goes with its input."""
    layer = call.layer
    why = _altered(layer)
    if why:
        return call.refused(why)
    call.trace.count(layer.kernel, positions(call.output.shape), call.path)
    atoms = call.channels()
    out = np.repeat(atoms, layer.depth_multiplier)
    return activated(call, call.scaled(layer.kernel, -2, atoms, layer.bias, out))


def separable(call: Call) -> Label | None:
    """SeparableConv1D, 2D: a depthwise convolution, and one of size 1."""
    layer = call.layer
    why = _altered(layer)
    if why:
        return call.refused(why)
    for kernel in (layer.depthwise_kernel, layer.pointwise_kernel):
        call.trace.count(kernel, positions(call.output.shape), call.path)
    atoms = call.channels()
    inner = np.repeat(atoms, layer.depth_multiplier)
    call.scaled(layer.depthwise_kernel, -2, atoms, None, inner)
    call.trace.bind(layer.pointwise_kernel, -2, inner)
    return activated(call, call.produced(layer.pointwise_kernel, -1, bias=layer.bias, key="filters"))


def dense(call: Call) -> Label | None:
    """Dense, on the last axis. Kernel (in, out)."""
    layer = call.layer
    why = _altered(layer)
    if why:
        return call.refused(why)
    call.trace.count(layer.kernel, positions(call.output.shape), call.path)
    call.trace.bind(layer.kernel, -2, call.channels())
    return activated(call, call.produced(layer.kernel, -1, bias=layer.bias, key="units"))


def embedding(call: Call) -> Label | None:
    """Embedding: makes channels; a lookup costs nothing."""
    layer = call.layer
    why = _altered(layer) or ("it has output_dim in an axis of its own" if len(call.output.shape) < 2 else "")
    if why:
        return call.refused(why)
    return call.produced(layer.embeddings, -1, key="output_dim")


def recurrent(call: Call) -> Label | None:
    """GRU, LSTM, SimpleRNN, ConvLSTM: the rows of the input kernel follow; the state keeps all its units."""
    _recurrent(call, call.layer, call.layer.cell)
    return None


def bidirectional(call: Call) -> Label | None:
    """Bidirectional around one of those."""
    for layer in (call.layer.forward_layer, call.layer.backward_layer):
        if type(layer).__name__ not in ("GRU", "LSTM", "SimpleRNN"):
            call.unfollowed(f"it is around a {type(layer).__name__}")
            return None
        _recurrent(call, layer, layer.cell)
    return None


def _recurrent(call: Call, layer: Any, cell: Any) -> None:
    rank = len(cell.kernel.shape) - 2
    if _altered(layer):
        call.unfollowed(_altered(layer))
        return
    steps = call.input.shape[0] * call.input.shape[1]
    state = call.output.shape[-1 - rank : -1] if rank else ()
    for kernel in (cell.kernel, cell.recurrent_kernel):
        call.trace.count(kernel, steps * math.prod(state), call.path)
    call.trace.bind(cell.kernel, -2, call.channels())
    for value in call.inputs[1:]:  # an initial state
        if value.label is not None:
            call.unfollowed("its initial state would lose units", value.label.atoms)


def batch_normalisation(call: Call) -> Label | None:
    """BatchNormalization: four weights a channel. Free, as every engine folds it into the convolution before it."""
    layer, label = call.layer, call.input.label
    if label is None:
        return None
    if _axis(layer.axis, call.input.shape) != label.axis:
        return call.refused("it normalises another axis than the channels")
    for variable in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance):
        if variable is not None:
            call.trace.bind(variable, -1, label.atoms)
    if label.source is not None and label.source.norm is None:
        label.source.norm = layer
    return Label(label.axis, label.atoms)


def group_normalisation(call: Call) -> Label | None:
    """GroupNormalization: whole groups go, as the statistics of what is left must stay."""
    layer, label = call.layer, call.input.label
    if label is None:
        return None
    if _axis(layer.axis, call.input.shape) != label.axis:
        return call.refused("it normalises another axis than the channels")
    if label.axis != -1:
        return call.refused("its channels are not on the last axis")
    groups = label.atoms.reshape(layer.groups, -1)
    tie(call, groups)
    for variable in (layer.gamma, layer.beta):
        if variable is not None:
            call.trace.bind(variable, -1, label.atoms)
    call.edit("groups", groups[:, 0])
    return Label(label.axis, label.atoms)


def prelu(call: Call) -> Label | None:
    """PReLU: one slope a channel where the channels' axis is not shared."""
    label, alpha = call.input.label, call.layer.alpha
    if label is not None and alpha.shape[label.axis] != 1:
        call.trace.bind(alpha, label.axis, label.atoms)
    return label


def tie(call: Call, rows: Ids) -> None:
    """Make one class of each row."""
    for column in range(1, rows.shape[1]):
        call.trace.atoms.unite(rows[:, 0], rows[:, column])


def _axis(axis: Any, shape: tuple[int, ...]) -> Any:
    return axis - len(shape) if isinstance(axis, int) and axis >= 0 else axis


def _kind(name: str, rule: Rule) -> dict[type, Rule]:
    return {getattr(keras.layers, name): rule} if hasattr(keras.layers, name) else {}


def rules() -> dict[type, Rule]:
    """Layer class -> rule."""
    named: dict[Rule, tuple[str, ...]] = {
        convolution: ("Conv1D", "Conv2D", "Conv3D"),
        transposed: ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
        depthwise: ("DepthwiseConv1D", "DepthwiseConv2D"),
        separable: ("SeparableConv1D", "SeparableConv2D"),
        dense: ("Dense",),
        embedding: ("Embedding",),
        recurrent: ("GRU", "LSTM", "SimpleRNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"),
        bidirectional: ("Bidirectional",),
        batch_normalisation: ("BatchNormalization",),
        group_normalisation: ("GroupNormalization",),
        prelu: ("PReLU",),
    }
    by_kind: dict[type, Rule] = {}
    for rule, names in named.items():
        for name in names:
            by_kind |= _kind(name, rule)
    return by_kind
