"""Where a quantised model loses: the error at each layer, and which layers to keep in float so that it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgeai.api import Array, ConversionFailed, ConvertRequest, Infer
from edgeai_keras.scopes import Scopes
from edgeai_tflite.inner import Tensors, interpreter
from edgeai_tflite.quantise import SIGNATURE, FloatModel, Operation

_SAME_VALUES = ("RESHAPE", "MAX_POOL_2D", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "PAD", "SLICE", "STRIDED_SLICE")
"""Operations that give what they get: they lose nothing themselves."""


@dataclass(frozen=True, slots=True)
class Layers:
    """A float model's operations, by the Keras layer they are best known by."""

    scopes: Scopes
    operations: tuple[Operation, ...]
    givers: Mapping[str, str]
    """Output of the model -> the layer that gives it."""

    def check(self, names: Sequence[str], option: str) -> None:
        """Refuse names of layers that there are not, or of which no operation is left.

        Raises:
            ConversionFailed: ``convert.layer-unknown``.
        """
        self.scopes.check(names, option)
        for name in names:
            if not self.scopes_of([name]):
                raise ConversionFailed(
                    f"{option}: layer {name!r} has no operation of its own in the converted model",
                    code="convert.layer-unknown",
                    remedy=f"use one of {', '.join(self.named())}",
                )

    def name(self, operation: Operation) -> str:
        """The Keras layer; what gives an output of the model bears that output's name alone."""
        return self.scopes.main(operation.scope) or self.givers.get(operation.gives, "") or operation.kind

    def named(self) -> dict[str, tuple[Operation, ...]]:
        """Layer -> its operations, in the order they run."""
        groups: dict[str, tuple[Operation, ...]] = {}
        for operation in self.operations:
            name = self.name(operation)
            groups[name] = (*groups.get(name, ()), operation)
        return groups

    def scopes_of(self, names: Sequence[str]) -> set[str]:
        """Scopes of every operation that one of these layers went into, fused ones too."""
        wanted = set(names)
        return {
            operation.scope
            for operation in self.operations
            if self.name(operation) in wanted or wanted & set(self.scopes.layers(operation.scope))
        }


def errors(
    quantised: bytes, model: FloatModel, layers: Layers, samples: Sequence[Mapping[str, Array]]
) -> dict[str, float]:
    """Layer -> how far its output is from that in float: root mean square, as a part of its standard deviation.

    What the layers before it lost is in it: read it from the first layer on.
    """
    own, other = Tensors(model.content), Tensors(quantised)
    squares: dict[str, float] = {}
    spread: dict[str, list[float]] = {}
    for sample in samples:
        own.run(sample)
        other.run(sample)
        for operation in model.operations:
            want, got = own.value(operation.output), other.value(operation.output)
            if want is None or got is None or want.shape != got.shape:
                continue
            squares[operation.output] = squares.get(operation.output, 0.0) + float(np.mean((got - want) ** 2))
            moments = spread.setdefault(operation.output, [0.0, 0.0])
            moments[0] += float(want.mean())
            moments[1] += float(np.mean(want**2))
    by_layer: dict[str, float] = {}
    for operation in model.operations:
        if operation.output in squares and operation.kind not in _SAME_VALUES:
            mean, square = (value / len(samples) for value in spread[operation.output])
            deviation = max(square - mean**2, 1e-12) ** 0.5
            error = (squares[operation.output] / len(samples)) ** 0.5 / deviation
            name = layers.name(operation)
            by_layer[name] = max(by_layer.get(name, 0.0), round(error, 6))
    return by_layer


def worst_first(
    model: FloatModel, layers: Layers, samples: Sequence[Mapping[str, Array]], *, activation_bits: int
) -> list[str]:
    """The layers, by how far the outputs move when that layer alone is quantised."""
    wanted = [_outputs(model.content, samples)]
    moved: dict[str, float] = {}
    for name, operations in layers.named().items():
        scopes = {one.scope for one in operations if one.kind not in _SAME_VALUES}
        if scopes:
            moved[name] = _distance(_outputs(model.static(activation_bits, only=scopes), samples), wanted[0])
    return sorted(moved, key=lambda name: (-moved[name], name))


def hold(
    request: ConvertRequest,
    quantise: Callable[[Sequence[str]], bytes],
    score: Callable[[bytes], float],
    *,
    parent: float,
    ranked: Callable[[], list[str]],
    most: int,
) -> tuple[bytes, tuple[str, ...]]:
    """The quantised model whose score falls by at most ``max_drop``, with as few layers in float as that takes.

    Args:
        request: gives ``max_drop``; is told of the search.
        quantise: layers to keep in float -> a quantised model.
        score: of a model, higher is better.
        parent: the score of the float model.
        ranked: the layers, worst first; asked only when needed.
        most: of layers kept in float beside those the recipe names.

    Raises:
        ConversionFailed: ``convert.quantisation-drop``.
    """
    allowed = request.max_drop or 0.0
    made = quantise(())
    drop = parent - score(made)
    if drop <= allowed:
        return made, ()
    names = ranked()[:most]
    count, best = 0, drop
    while count < len(names):
        count = min(max(1, 2 * count), len(names))
        request.progress(f"score falls by {drop:.4g}: {', '.join(names[:count])} in float")
        made = quantise(names[:count])
        drop = parent - score(made)
        if drop <= allowed:
            return made, tuple(names[:count])
        best = min(best, drop)
    raise ConversionFailed(
        f"{request.model.name}: in {request.precision} its score falls from {parent:.4g} by {best:.4g} at best, "
        f"{allowed:.4g} is allowed; with {len(names)} layers in float, worst: {', '.join(names[:5]) or 'none'}",
        code="convert.quantisation-drop",
        remedy="raise max_float_layers, calibrate on more samples, or use dynamic or fp16",
    )


def as_infer(content: bytes, request: ConvertRequest) -> Infer:
    """One inference on LiteRT, in the request's names."""
    runner = interpreter(content).get_signature_runner(SIGNATURE)
    names = [spec.name for spec in request.outputs]

    def infer(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        answer = runner(**inputs)
        return {name: np.array(answer[name]) for name in names}

    return infer


def _outputs(content: bytes, samples: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
    runner = interpreter(content).get_signature_runner(SIGNATURE)
    return [{name: np.array(value) for name, value in runner(**sample).items()} for sample in samples]


def _distance(given: list[dict[str, Array]], wanted: list[dict[str, Array]]) -> float:
    """Root mean square over the outputs, each as a part of its standard deviation."""
    parts = []
    for name in wanted[0]:
        got, want = (np.stack([one[name] for one in many]).astype(np.float64) for many in (given, wanted))
        parts.append(float(np.sqrt(np.mean((got - want) ** 2)) / max(float(want.std()), 1e-12)))
    return float(np.mean(parts))
