"""A Keras model as one traced function."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np

from edgeai.api import Array, InferenceFailed, SessionClosed, TensorMismatch, Tensors, TensorSpec, check_tensors
from edgeai_keras.backend import CPU
from edgeai_keras.complaints import words
from edgeai_keras.model_file import Source

_ANY: Final = (64, 128, 224, 256, 320, 512, 32, 3, 1)
"""Extents that a model of any size is tried at when it is opened: most take one of the first, and few of them 1."""


class KerasSession:
    """A ``Session`` over ``Source.function``; one input after another, as nothing is gained by more."""

    def __init__(
        self, tf: Any, source: Source, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], *, engine: str
    ) -> None:
        self._tf = tf
        self._source: Source | None = source
        self._inputs = inputs
        self._outputs = outputs
        self.engine = engine

    @property
    def device(self) -> str:
        """``CPU``."""
        return CPU

    def warm_up(self) -> None:
        """Run zeros, of a size that the model takes, so that what cannot run shows when the model is opened."""
        sizes = _ANY if any(None in spec.shape[1:] for spec in self._inputs) else (1,)
        for last, size in enumerate(sizes, 1 - len(sizes)):
            try:
                self.run({spec.name: _zeros(spec, size) for spec in self._inputs})
            except Exception:  # TensorFlow raises many kinds at a plane that is too small
                if last == 0:
                    raise
            else:
                return

    def run(self, inputs: Tensors) -> Tensors:
        """One inference; see ``edgeai.api.Session``."""
        if self._source is None:
            raise SessionClosed("keras: the session is closed", remedy="open the model again")
        check_tensors(self._inputs, inputs)
        if any(0 in inputs[spec.name].shape for spec in self._inputs):
            raise TensorMismatch("input tensors do not match: an extent is 0")
        try:
            with self._tf.device(f"/{CPU}:0"):
                results = self._source.function(*(self._tf.constant(inputs[spec.name]) for spec in self._inputs))
        except self._tf.errors.OpError as error:
            raise InferenceFailed(f"{self.engine}: {words(error)}") from error
        outputs: dict[str, Array] = {spec.name: np.array(results[spec.name].numpy()) for spec in self._outputs}
        try:
            check_tensors(self._outputs, outputs, what="output")
        except TensorMismatch as error:
            raise InferenceFailed(f"{self.engine} gave other outputs than declared: {error}") from error
        return outputs

    def stream(self, inputs: Iterable[Tensors]) -> Iterator[Tensors]:
        """Outputs in order."""
        if self._source is None:
            raise SessionClosed("keras: the session is closed", remedy="open the model again")
        return map(self.run, iter(inputs))

    def close(self) -> None:
        """Free the weights and the traced function."""
        self._source = None


def _zeros(spec: TensorSpec, size: int) -> Array:
    """Zeros for one input: a batch of one, ``size`` wherever else any extent is taken."""
    batch, rest = spec.shape[:1], spec.shape[1:]
    return np.zeros([*(n or 1 for n in batch), *(n or size for n in rest)], spec.dtype)
