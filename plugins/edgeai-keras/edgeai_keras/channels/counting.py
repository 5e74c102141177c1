"""What a model costs: parameters, and the multiply-accumulates of one inference, counted from shapes.

Counted are the products of kernels with inputs, batch 1: convolutions at every output position (transposed ones at
every input position), dense layers, the input and state kernels of recurrent layers at every step. Not counted:
biases, activations, pooling, sums, resampling, and batch normalisation, which engines fold into the convolution before
it. One multiply-accumulate is two floating-point operations. An open dimension of the input counts as 64.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeai_keras.channels.rules import rule_of
from edgeai_keras.channels.trace import Trace, follow


@dataclass(frozen=True, slots=True)
class Cost:
    """A model's cost.

    Attributes:
        parameters: elements of all weights.
        macs: multiply-accumulates of one inference.
        layers: path of a layer -> its multiply-accumulates, in the order of the graph.
        uncounted: paths of layers with weights whose work is not known.
    """

    parameters: int
    macs: int
    layers: Mapping[str, int]
    uncounted: tuple[str, ...] = ()

    @property
    def flops(self) -> int:
        """Floating-point operations: two a multiply-accumulate."""
        return 2 * self.macs


def cost(model: Any) -> Cost:
    """Count a functional or Sequential Keras model.

    Raises:
        CompressionFailed: ``compress.layer-unfollowed``: a model whose graph is not known.
    """
    trace = follow(model, rule_of)
    layers: dict[str, int] = {}
    for key, times in trace.work.items():
        owner = trace.owners[key]
        layers[owner] = layers.get(owner, 0) + times * math.prod(trace.variables[key].shape)
    return Cost(int(model.count_params()), sum(layers.values()), layers, tuple(dict.fromkeys(trace.uncounted)))


class Sizes:
    """The cost of a model while channels are taken from it, without building anything.

    Attributes:
        macs, parameters: of what is left.
    """

    def __init__(self, trace: Trace, parameters: int) -> None:
        self._work = trace.work
        self._shapes = {key: list(variable.shape) for key, variable in trace.variables.items()}
        self._places: dict[int, dict[tuple[int, int], int]] = {}
        roots = trace.atoms.roots()
        for place, atoms in trace.bindings.items():
            for root in roots[atoms].tolist():
                counts = self._places.setdefault(root, {})
                counts[place] = counts.get(place, 0) + 1
        self.parameters = parameters
        self.macs = sum(times * math.prod(self._shapes[key]) for key, times in self._work.items())

    def copy(self) -> Sizes:
        """One that changes by itself."""
        other = object.__new__(Sizes)
        other._work, other._places = self._work, self._places
        other._shapes = {key: list(shape) for key, shape in self._shapes.items()}
        other.parameters, other.macs = self.parameters, self.macs
        return other

    def saved(self, classes: Iterable[int], *, back: bool = False) -> tuple[int, int]:
        """(multiply-accumulates, parameters) that removing these would save now; or giving them back, less than 0."""
        return self._difference(self._after(classes, back=back))

    def remove(self, classes: Iterable[int], *, back: bool = False) -> None:
        """Take these away, or give them back."""
        shapes = self._after(classes, back=back)
        macs, parameters = self._difference(shapes)
        self.macs -= macs
        self.parameters -= parameters
        self._shapes |= shapes

    def touched(self, classes: Iterable[int]) -> set[int]:
        """Identities of the weights that lose elements with these."""
        return {key for one in classes for key, _ in self._places.get(one, {})}

    def _difference(self, shapes: Mapping[int, list[int]]) -> tuple[int, int]:
        macs = parameters = 0
        for key, shape in shapes.items():
            fewer = math.prod(self._shapes[key]) - math.prod(shape)
            macs += self._work.get(key, 0) * fewer
            parameters += fewer
        return macs, parameters

    def _after(self, classes: Iterable[int], *, back: bool) -> dict[int, list[int]]:
        shapes: dict[int, list[int]] = {}
        for one in classes:
            for (key, axis), count in self._places.get(one, {}).items():
                shapes.setdefault(key, list(self._shapes[key]))[axis] += count if back else -count
        return shapes
