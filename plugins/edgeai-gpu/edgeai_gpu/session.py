"""A SavedModel's signature as one compiled function."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np

from edgeai.api import Array, InferenceFailed, SessionClosed, TensorMismatch, Tensors, TensorSpec, check_tensors

_IN_FLIGHT = 2
"""A CUDA launch returns at once: the next input goes up while this one is computed."""

_ANY: Final = (64, 128, 224, 256, 320, 512, 32, 3, 1)
"""Extents that a model of any size is tried at when it is opened: most take one of the first, and few of them 1."""


class TensorflowSession:
    """A ``Session`` over a ``tf.function``. Outputs are copied out; TensorFlow releases the GIL.

    Raises whatever ``edgeai.api.Session`` says.
    """

    def __init__(
        self,
        tf: Any,
        function: Any,
        loaded: Any,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        *,
        device: str,
        engine: str,
    ) -> None:
        self._tf = tf
        self._function: Any = function
        self._loaded: Any = loaded  # its variables live as long as it does
        self._inputs = inputs
        self._outputs = outputs
        self._device = device
        self.engine = engine

    @property
    def device(self) -> str:
        """The device that was asked for."""
        return self._device

    def warm_up(self) -> None:
        """Trace and compile with zeros of a size that it takes: what cannot be compiled shows when it is opened."""
        sizes = _ANY if any(None in spec.shape[1:] for spec in self._inputs) else (1,)
        for last, size in enumerate(sizes, 1 - len(sizes)):
            try:
                self._taken(self._launch({spec.name: _zeros(spec, size) for spec in self._inputs}))
            except Exception:  # TensorFlow raises many kinds at a plane that is too small
                if last == 0:
                    raise
            else:
                return

    def run(self, inputs: Tensors) -> Tensors:
        """One inference; see ``edgeai.api.Session``."""
        return self._collect(self._start(inputs))

    def stream(self, inputs: Iterable[Tensors]) -> Iterator[Tensors]:
        """Outputs in order, two in flight."""
        if self._function is None:
            raise _closed()
        return self._streamed(iter(inputs))

    def close(self) -> None:
        """Free the variables and the compiled code."""
        self._function = self._loaded = None

    def _streamed(self, inputs: Iterator[Tensors]) -> Iterator[Tensors]:
        busy: deque[Any] = deque()
        fault: Exception | None = None
        while True:
            try:
                busy.append(self._start(next(inputs)))
            except StopIteration:
                break
            except Exception as error:  # noqa: BLE001
                fault = error  # what went before is still owed, as it would be by one run after another
                break
            if len(busy) >= _IN_FLIGHT:
                yield self._collect(busy.popleft())
        while busy:
            yield self._collect(busy.popleft())
        if fault is not None:
            raise fault

    def _start(self, inputs: Tensors) -> Any:
        if self._function is None:
            raise _closed()
        check_tensors(self._inputs, inputs)
        if any(0 in inputs[spec.name].shape for spec in self._inputs):
            raise TensorMismatch("input tensors do not match: an extent is 0")
        try:
            return self._launch(inputs)
        except self._tf.errors.OpError as error:
            raise self._failed(error) from error

    def _launch(self, inputs: Tensors) -> Any:
        with self._tf.device(f"/{self._device}"):
            return self._function(*(self._tf.constant(inputs[spec.name]) for spec in self._inputs))

    def _collect(self, results: Any) -> Tensors:
        if self._function is None:
            raise _closed()
        try:
            return self._taken(results)
        except self._tf.errors.OpError as error:
            raise self._failed(error) from error
        except TensorMismatch as error:
            raise InferenceFailed(f"{self.engine} gave other outputs than declared: {error}") from error

    def _taken(self, results: Any) -> Tensors:
        outputs: dict[str, Array] = {
            spec.name: np.array(result.numpy()) for spec, result in zip(self._outputs, results, strict=True)
        }
        check_tensors(self._outputs, outputs, what="output")
        return outputs

    def _failed(self, error: BaseException) -> InferenceFailed:
        return InferenceFailed(f"{self.engine} on {self._device}: {' '.join(str(error).split())[:1500]}")


def _closed() -> SessionClosed:
    return SessionClosed("gpu: the session is closed", remedy="open the model again")


def _zeros(spec: TensorSpec, size: int) -> Array:
    """Zeros for one input: a batch of one, ``size`` wherever else any extent is taken."""
    batch, rest = spec.shape[:1], spec.shape[1:]
    return np.zeros([*(n or 1 for n in batch), *(n or size for n in rest)], spec.dtype)
