"""``views``: the model answers with the mean of what it says of a picture as it is and of the picture mirrored.

The network is asked once, with all views in one batch. Its weights are there once, so that a file hardly grows; an
answer takes as many times longer as there are views.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from edgeai.api import Compressed, CompressionFailed, CompressRequest
from edgeai_keras.frameworks import keras
from edgeai_keras.kernels import compared, facts, pristine
from edgeai_keras.loading import load
from edgeai_keras.model_file import structure_of, tensor_names
from edgeai_keras.options import Given
from edgeai_keras.saving import save
from edgeai_keras.specs import VIEWS_OPTIONS

ROWS, COLUMNS = 1, 2
"""Axes of (samples, rows, columns, channels)."""

Axes = Sequence[int]
VIEWS: Mapping[str, Sequence[Axes]] = MappingProxyType(
    {
        "horizontal": ((), (COLUMNS,)),
        "vertical": ((), (ROWS,)),
        "both": ((), (COLUMNS,), (ROWS,), (ROWS, COLUMNS)),
    }
)
"""Option ``mirror`` -> for each view the axes along which it is mirrored."""


def compress(request: CompressRequest) -> Compressed:
    """Put the network between its views and their mean. Nothing is trained.

    Raises:
        CompressionFailed: ``compress.options``, ``compress.not-a-plane``, and as ``loading.load``.
    """
    given = Given("views", VIEWS_OPTIONS, request.options)
    views = VIEWS[given.word("mirror")]
    network = load(request.model)
    _check(network)
    before = pristine(network)
    model = of_views(network, views)
    save(model, request.output)
    note = f"answers with the mean of {len(views)} views, mirrored {given.word('mirror')}; weights are there once"
    return Compressed(model=request.output, notes=(note,), facts=compared(before, facts(model, request.output)))


def of_views(network: Any, views: Sequence[Axes]) -> Any:
    """A model of the same inputs and outputs, by name and shape, that asks ``network`` of each view."""
    picture, names = network.inputs[0], tensor_names(network, "output")
    image = keras.Input(picture.shape[1:], dtype=picture.dtype, name=picture.name)
    core, first, last = _parted(network)
    plane = first(image) if first else image
    shown = [_mirrored(plane, axes, f"view_{number}") for number, axes in enumerate(views)]
    batch = keras.layers.Concatenate(axis=0, name="views")(shown)
    answers = keras.tree.flatten(core(keras.tree.pack_sequence_as(structure_of(core, "input"), [batch])))
    called = [f"{name}_mean" for name in names] if last else names
    means = [_mean(answer, views, name) for answer, name in zip(answers, called, strict=True)]
    if last:
        means = [last(means[0])]
    return keras.Model(
        keras.tree.pack_sequence_as(structure_of(network, "input"), [image]),
        keras.tree.pack_sequence_as(structure_of(network, "output"), means),
        name=f"{network.name}_of_views",
    )


def _parted(network: Any) -> tuple[Any, Any, Any]:
    """The network, and the layers before and after it that need not see every view, or ``None``.

    Averages of pixels and enlarged scores are the same mirrored before or after; on whole planes they, and the mirrors,
    are a good part of a small network's time.
    """
    picture, scores = network.inputs[0], network.outputs[0]
    takes = [layer for layer in network.layers if any(one is picture for one in _taken(layer))]
    first = takes[0] if len(takes) == 1 and _halves_evenly(takes[0], picture) else None
    last = scores._keras_history.operation
    if len(network.outputs) > 1 or type(last) is not keras.layers.UpSampling2D or last is first:
        last = None
    if first is None and last is None:
        return network, None, None
    plane = picture
    if first is not None:
        plane = first.output
        plane.name = "plane"  # it names the input of the part, else by a number that counts on
    return keras.Model(plane, last.input if last else network.outputs, name=network.name), first, last


def _taken(layer: Any) -> list[Any]:
    """The tensors that a layer is called with; none of one that is called several times, or never."""
    try:
        return list(keras.tree.flatten(layer.input))
    except (AttributeError, ValueError):
        return []


def _halves_evenly(layer: Any, picture: Any) -> bool:
    """Whether a layer averages blocks of pixels that a mirror exchanges whole."""
    if type(layer) is not keras.layers.AveragePooling2D or tuple(layer.pool_size) != tuple(layer.strides):
        return False
    return all(extent % size == 0 for extent, size in zip(picture.shape[1:3], layer.pool_size, strict=True))


def _mean(answer: Any, views: Sequence[Axes], name: str) -> Any:
    """Of the answers for the views, each mirrored back."""
    parts = _named(keras.ops.split(answer, len(views), axis=0), f"{name}_views")
    back = [
        _mirrored(part, axes, f"{name}_{number}") for number, (part, axes) in enumerate(zip(parts, views, strict=True))
    ]
    return keras.layers.Average(name=name)(back)


def _mirrored(tensor: Any, axes: Axes, name: str) -> Any:
    for axis in axes:
        tensor = _named(keras.ops.flip(tensor, axis=axis), f"{name}_mirror_{axis}")
    return tensor


def _named(tensors: Any, name: str) -> Any:
    """What an operation gives, which else is named by how many there were before: a file would differ by that."""
    keras.tree.flatten(tensors)[0]._keras_history.operation.name = name
    return tensors


def _check(network: Any) -> None:
    """One picture in, planes of its rows and columns out."""
    if len(network.inputs) != 1:
        raise _refused(network, f"it has {len(network.inputs)} inputs", "use it on a model of one image")
    picture = tuple(network.inputs[0].shape)
    if len(picture) != 4 or None in picture[1:3]:
        raise _refused(network, f"its input is {picture}", "fix its rows and columns: keras.Input((256, 256, 1))")
    if picture[0] is not None:
        raise _refused(network, f"it takes batches of {picture[0]} alone", "leave the batch open")
    if any(getattr(layer, "data_format", "") == "channels_first" for layer in network._flatten_layers()):
        raise _refused(network, "its channels come first", "build it with data_format='channels_last'")
    for tensor in network.outputs:
        if len(tensor.shape) != 4 or tuple(tensor.shape[1:3]) != picture[1:3]:
            why = f"its output is {tuple(tensor.shape)} where the picture is {picture}: no plane to mirror back"
            raise _refused(network, why, "use it on a model that gives a mask, or a value for each pixel")


def _refused(network: Any, why: str, remedy: str) -> CompressionFailed:
    return CompressionFailed(f"views: {network.name}: {why}", code="compress.not-a-plane", remedy=remedy)
