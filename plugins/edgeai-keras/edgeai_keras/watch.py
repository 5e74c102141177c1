"""``watch``: one more output, features of what the network sees, for a guard that asks how unusual an image is.

For each layer that is watched, the mean of each channel over the upper and over the lower half of the plane: what is
upside down so differs from what is not. Each is centred and scaled to one deviation over the training samples, since
an int8 engine has one scale for all of them. The other outputs stay what they were, to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeai.api import Array, Compressed, CompressionFailed, CompressRequest
from edgeai_keras.answers import predict
from edgeai_keras.frameworks import keras
from edgeai_keras.kernels import compared, facts, pristine
from edgeai_keras.loading import load
from edgeai_keras.model_file import structure_of, tensor_names
from edgeai_keras.options import Given
from edgeai_keras.saving import save
from edgeai_keras.specs import WATCH_OPTIONS

FEATURES = "features"
_ACTIVATIONS = ("ReLU", "LeakyReLU", "PReLU", "ELU")
_LEAST = 0.1
"""Least deviation, as a part of the greatest of a layer: int8 has one scale for the factors of all its channels."""
_SPREAD = 0.1
"""Deviation of a feature in the end: golden cases have one tolerance for all outputs, that of answers."""
_ROWS = 1


def compress(request: CompressRequest) -> Compressed:
    """Add the output. Nothing is trained; the training samples are looked at once.

    Raises:
        CompressionFailed: ``compress.nothing-to-watch``, ``compress.layer-unknown``, and as ``loading.load``.
    """
    given = Given("watch", WATCH_OPTIONS, request.options)
    network = load(request.model)
    before = pristine(network)
    if FEATURES in tensor_names(network, "output"):
        raise _nothing(f"{network.name} has an output {FEATURES} already", "watch a model once, as its last step")
    if request.train is None:
        raise _nothing("there are no training samples", "run edgeai build with --data")
    watched = Watched(network, given.names("layers"))
    request.progress("looking at the training samples")
    watched.standardise([predict(watched.model, inputs)[FEATURES] for inputs, _ in request.train()])
    save(watched.model, request.output)
    note = f"{watched.width} features of {', '.join(watched.layers)}"
    return Compressed(model=request.output, notes=(note,), facts=compared(before, facts(watched.model, request.output)))


class Watched:
    """A network with one more output.

    Args:
        network: of one picture, channels last.
        layers: names of those that are watched; all activations that have a plane, where none is given.

    Attributes:
        model: inputs and outputs of the network, and (n, width) ``features``.
        layers: names of those that are watched.

    Raises:
        CompressionFailed: as ``compress``.
    """

    def __init__(self, network: Any, layers: Sequence[str] = ()) -> None:
        self._standards: list[Any] = []
        self.layers: tuple[str, ...] = ()
        inner = [layer for layer in network.layers if isinstance(layer, keras.Model)]
        self.model = self._around(network, inner[0], layers) if inner else self._with_features(network, layers)
        self.width = int(self.model.outputs[-1].shape[-1])

    def standardise(self, features: Sequence[Array]) -> None:
        """Centre them, and divide them by their deviation, to one of ``_SPREAD``.

        Args:
            features: (n, width) each: what the model gave of training samples before.
        """
        seen, begin = np.concatenate(features).astype(np.float64), 0
        for layer in self._standards:
            part = seen[:, begin : begin + int(layer.moving_mean.shape[0])]
            begin += part.shape[1]
            deviation = part.std(axis=0)
            least = max(_LEAST * float(deviation.max()), 1e-6)
            layer.set_weights([part.mean(axis=0), (np.maximum(deviation, least) / _SPREAD) ** 2])

    def _with_features(self, network: Any, layers: Sequence[str]) -> Any:
        """The network with the output, under the same name."""
        planes = _planes(network, layers)
        self.layers = tuple(planes)
        parts = [self._part(plane, name) for name, plane in planes.items()]
        features = keras.layers.Concatenate(name=FEATURES)(parts) if len(parts) > 1 else parts[0]
        if len(parts) == 1:
            features = keras.layers.Identity(name=FEATURES)(features)
        return _model(network, network.inputs, network.outputs, features)

    def _part(self, plane: Any, name: str) -> Any:
        """Standardised means of a layer's channels over the upper and the lower half.

        By cuts and a mean: a pooling layer in int8 has the scale of its input, and a mean may have a finer one.
        """
        rows = plane.shape[_ROWS]
        rest = rows - max(1, rows // 2)
        means = []
        for half, cut in (("upper", (0, rest)), ("lower", (rest, 0))):
            part = keras.layers.Cropping2D((cut, (0, 0)), name=f"{name}_{half}")(plane)
            means.append(keras.layers.GlobalAveragePooling2D(name=f"{name}_{half}_mean")(part))
        standard = keras.layers.BatchNormalization(center=False, scale=False, epsilon=1e-12, name=f"{name}_standard")
        self._standards.append(standard)
        return standard(keras.layers.Concatenate(name=f"{name}_means")(means))

    def _around(self, network: Any, inner: Any, layers: Sequence[str]) -> Any:
        """The same of a network in a network; of one that is asked of several views, features are of the first."""
        extended = self._with_features(inner, layers)
        features: list[Any] = []

        def call(layer: Any, *arguments: Any, **more: Any) -> Any:
            if layer is not inner:
                return layer(*arguments, **more)
            *answers, seen = keras.tree.flatten(extended(*arguments, **more))
            views = _views(keras.tree.flatten(arguments)[0])
            features.append(keras.ops.split(seen, views, axis=0)[0] if views > 1 else seen)
            return keras.tree.pack_sequence_as(structure_of(inner, "output"), answers)

        again = keras.models.clone_model(network, clone_function=lambda layer: layer, call_function=call)
        return _model(network, again.inputs, again.outputs, keras.layers.Identity(name=FEATURES)(features[0]))


def _planes(network: Any, layers: Sequence[str]) -> dict[str, Any]:
    """Name -> what that layer gives, (n, rows, columns, channels), in the network's order."""
    known = {layer.name: layer for layer in network.layers if _has_plane(layer)}
    if missing := [name for name in layers if name not in known]:
        raise CompressionFailed(
            f"{network.name} has no layer {missing[0]!r} that gives a plane",
            code="compress.layer-unknown",
            remedy=f"it has {', '.join(known) or 'none'}",
        )
    active = [name for name, layer in known.items() if _is_active(layer)]
    chosen = [name for name in known if name in layers] if layers else active
    if not chosen:
        raise _nothing(f"{network.name} has no activation of a plane", "name layers: watch takes `layers`")
    return {name: known[name].output for name in chosen}


def _has_plane(layer: Any) -> bool:
    try:
        shape = tuple(layer.output.shape)
    except (AttributeError, ValueError):  # called several times, or of several outputs
        return False
    return len(shape) == 4 and None not in shape[1:] and getattr(layer, "data_format", "") != "channels_first"


def _is_active(layer: Any) -> bool:
    activation = getattr(layer, "activation", None)
    return type(layer).__name__ in _ACTIVATIONS or getattr(activation, "__name__", "linear") != "linear"


def _views(tensor: Any) -> int:
    """How many pictures stand one behind the other for each that was given."""
    operation, node, _ = tensor._keras_history
    if type(operation) is not keras.layers.Concatenate or operation.axis != 0:
        return 1
    return len(operation._inbound_nodes[node].input_tensors)


def _model(network: Any, inputs: Any, outputs: Any, features: Any) -> Any:
    return keras.Model(
        keras.tree.pack_sequence_as(structure_of(network, "input"), list(inputs)),
        [*outputs, features],
        name=network.name,
    )


def _nothing(why: str, remedy: str) -> CompressionFailed:
    return CompressionFailed(f"watch: {why}", code="compress.nothing-to-watch", remedy=remedy)
