"""Which Keras layer an OpenVINO operation comes from.

The TensorFlow front end moves every image to channels first, and drops the names of what it moves; nothing else in
the IR leads back. So both models are run once on the same sample: an operation that gives what a layer gives, in
whatever order of axes, is that layer's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeai.api import Array, ConvertRequest
from edgeai_keras.model_file import Source

WITH_WEIGHTS = (
    "Convolution",
    "GroupConvolution",
    "ConvolutionBackpropData",
    "GroupConvolutionBackpropData",
    "MatMul",
)
"""Kinds of operation that hold nearly all of a model's weights and time."""
_NO_OPERATION = ("Parameter", "Constant", "Result", "FakeQuantize", "Convert")


@dataclass(frozen=True, slots=True)
class Names:
    """What was found.

    Attributes:
        layers: operation -> Keras layer.
        ends: layer -> the last operation that gives what it gives, its batch normalisation and activation included.
    """

    layers: Mapping[str, str]
    ends: Mapping[str, str]

    def of(self, operation: str) -> str:
        """The layer, or the operation's own name where none was found."""
        return self.layers.get(operation, operation)

    def operations(self, layers: Sequence[str]) -> list[str]:
        """Those of any of these layers."""
        return [name for name, layer in self.layers.items() if layer in layers]


@dataclass(frozen=True, slots=True)
class _Record:
    layer: str
    has_kernel: bool
    looks: tuple[float, ...]


def kind_of(node: Any) -> str:
    """``Convolution``, ``Relu``, ..."""
    return str(node.get_type_name())


def name_of(node: Any) -> str:
    """The operation's name, unique in its model."""
    return str(node.get_friendly_name())


def is_operation(node: Any) -> bool:
    """Whether it computes something that a layer could be named after."""
    return kind_of(node) not in _NO_OPERATION and node.get_output_size() == 1


def names_of(ov: Any, model: Any, source: Source, request: ConvertRequest, sample: Mapping[str, Array]) -> Names:
    """Match the operations of ``model`` with the layers of ``source`` on one sample."""
    records = _layers(source, request, sample)
    nodes = [node for node in model.get_ordered_ops() if is_operation(node)]
    values = tapped(ov, model, [name_of(node) for node in nodes], [sample])
    matched: dict[str, int] = {}
    for node in nodes:
        looks = _looks(values[name_of(node)][0])
        alike = [place for place, record in enumerate(records) if _same(looks, record.looks)]
        if alike:
            matched[name_of(node)] = next((place for place in alike if records[place].has_kernel), alike[0])
    layers = {name: records[place].layer for name, place in matched.items()}
    ends = {records[place].layer: name for name, place in matched.items()}
    for node in nodes:
        if kind_of(node) in WITH_WEIGHTS:
            chain, place = _down(node, matched)
            layer = "" if place is None else _with_kernel(records, place)
            if layer:
                layers |= dict.fromkeys(chain, layer)
                ends = {**{name: end for name, end in ends.items() if end not in chain}, layer: chain[-1]}
    order = {name_of(node): place for place, node in enumerate(nodes)}
    return Names(layers, dict(sorted(ends.items(), key=lambda item: order[item[1]])))


def tapped(ov: Any, model: Any, names: Sequence[str], samples: Sequence[Mapping[str, Array]]) -> dict[str, list[Array]]:
    """What these operations give, sample by sample."""
    copy = model.clone()
    copy.add_outputs([(name, 0) for name in names])
    # One that gives an output of the model already gets no second one.
    places = {name_of(port.get_node().input_value(0).get_node()): place for place, port in enumerate(copy.outputs)}
    compiled = compiled_in_float32(ov, copy)
    values_by_name: dict[str, list[Array]] = {name: [] for name in names}
    for sample in samples:
        values = list(compiled(dict(sample)).values())
        for name in names:
            values_by_name[name].append(np.array(values[places[name]], dtype=np.float64))
    return values_by_name


def compiled_in_float32(ov: Any, model: Any) -> Any:
    """For the CPU, in the arithmetic that the backend takes too."""
    return ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def _down(node: Any, matched: Mapping[str, int]) -> tuple[list[str], int | None]:
    """From an operation with weights on, to the first that gives what a layer gives: bias, normalisation, activation.

    On through those that follow with the same match or none, as long as nothing else reads what they give.
    """
    chain, place = [name_of(node)], matched.get(name_of(node))
    while place is None:
        readers = [port.get_node() for port in node.output(0).get_target_inputs()]
        if len(readers) != 1 or not is_operation(readers[0]) or kind_of(readers[0]) in WITH_WEIGHTS:
            return chain, None
        node = readers[0]
        chain.append(name_of(node))
        place = matched.get(name_of(node))
    return chain, place


def _with_kernel(records: Sequence[_Record], place: int) -> str:
    """The layer with a kernel at or last before a place whose output has as many values."""
    size = records[place].looks[0]
    before = (record for record in reversed(records[: place + 1]) if record.has_kernel and record.looks[0] == size)
    return next((record.layer for record in before), records[place].layer)


def _layers(source: Source, request: ConvertRequest, sample: Mapping[str, Array]) -> list[_Record]:
    """What each layer gives on a sample, in the order they run."""
    records: list[_Record] = []
    model = source.model
    inner = [layer for layer in model._flatten_layers(include_self=False) if not hasattr(layer, "layers")]

    def note(layer: Any, given: Any) -> None:
        kernel = any(len(weight.shape) > 1 for weight in layer.weights)
        if hasattr(given, "shape"):
            records.append(_Record(str(layer.name), kernel, _looks(np.asarray(given, dtype=np.float64))))

    with _watched(inner, note):
        source.module.serve.python_function(*(sample[spec.name] for spec in request.inputs))
    return records


@contextmanager
def _watched(layers: Sequence[Any], note: Callable[[Any, Any], None]) -> Iterator[None]:
    """Tell ``note`` what each layer gives while the block runs."""

    def watching(layer: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            given = call(*args, **kwargs)
            note(layer, given)
            return given

        return called

    try:
        for layer in layers:
            object.__setattr__(layer, "call", watching(layer, layer.call))
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("call", None)


def _looks(values: Array) -> tuple[float, ...]:
    """What stays when axes change places: number of values, mean, spread, least and greatest."""
    if not values.size:
        return (0.0,)
    return (float(values.size), float(values.mean()), float(values.std()), float(values.min()), float(values.max()))


def _same(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    if one[0] != other[0] or len(one) < 5:
        return False
    scale = max(abs(one[3]), abs(one[4]), 1e-9)
    return one[2] > 0 and all(abs(a - b) <= 1e-3 * scale for a, b in zip(one[1:], other[1:], strict=True))
