"""A compiled model and its infer requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeai.api import Array, InferenceFailed, SessionClosed, TensorMismatch, Tensors, TensorSpec, check_tensors

ENGINE_ERRORS = (RuntimeError, TypeError, ValueError, MemoryError, OverflowError)
"""What OpenVINO's binding raises."""


@dataclass(frozen=True, slots=True)
class Port:
    """A declared tensor and its place among the model's inputs or outputs."""

    spec: TensorSpec
    place: int
    dtype: np.dtype[Any]


class OpenvinoSession:
    """A ``Session`` over ``CompiledModel``. Inputs are copied in and outputs out; the GIL is free in between.

    Raises whatever ``edgeai.api.Session`` says.
    """

    def __init__(
        self,
        ov: Any,
        compiled: Any,
        inputs: tuple[Port, ...],
        outputs: tuple[Port, ...],
        *,
        device: str,
        engine: str,
        flight: int,
    ) -> None:
        self._ov = ov
        self._compiled: Any = compiled
        self._inputs = inputs
        self._outputs = outputs
        self._input_specs = tuple(port.spec for port in inputs)
        self._output_specs = tuple(port.spec for port in outputs)
        self._fixed = all(None not in port.spec.shape for port in inputs)
        self._any_size = any(None in port.spec.shape for port in (*inputs, *outputs))
        self._flight = flight
        self._idle: list[Any] = [compiled.create_infer_request()]
        self._device = device
        self.engine = engine

    @property
    def device(self) -> str:
        """The device that was asked for."""
        return self._device

    def run(self, inputs: Tensors) -> Tensors:
        """One inference; see ``edgeai.api.Session``."""
        if self._compiled is None:
            raise _closed()
        self._admit(inputs)
        request = self._idle[-1] if self._idle else self._request()
        try:
            self._feed(request, inputs)
            request.infer(share_outputs=True)
            return self._taken(request)
        except ENGINE_ERRORS as error:
            raise self._failed(error) from error

    def stream(self, inputs: Iterable[Tensors]) -> Iterator[Tensors]:
        """Outputs in order, with several inferences in flight; takes an input only when a place is free."""
        if self._compiled is None:
            raise _closed()
        return self._streamed(iter(inputs))

    def close(self) -> None:
        """Free the compiled model; what a stream has in flight ends with the stream."""
        self._compiled = None
        self._idle = []

    def _streamed(self, inputs: Iterator[Tensors]) -> Iterator[Tensors]:
        busy: deque[Any] = deque()
        fault: Exception | None = None
        try:
            while True:
                try:
                    item = next(inputs)
                    self._admit(item)
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001
                    fault = error  # what went before is still owed, as it would be by one run after another
                    break
                done = self._collect(busy.popleft()) if len(busy) >= self._flight else None
                busy.append(self._start(item))
                if done is not None:
                    yield done
            while busy:
                yield self._collect(busy.popleft())
            if fault is not None:
                raise fault
        finally:
            for request in busy:
                with suppress(RuntimeError):  # abandoned with the stream
                    request.wait()
                self._idle.append(request)

    def _request(self) -> Any:
        if self._compiled is None:
            raise _closed()
        return self._idle.pop() if self._idle else self._compiled.create_infer_request()

    def _start(self, inputs: Tensors) -> Any:
        request = self._request()
        try:
            self._feed(request, inputs)
            request.start_async()
        except ENGINE_ERRORS as error:
            raise self._failed(error) from error
        return request

    def _collect(self, request: Any) -> Tensors:
        try:
            request.wait()
            outputs = self._taken(request)
        except ENGINE_ERRORS as error:
            raise self._failed(error) from error
        finally:
            self._idle.append(request)
        if self._compiled is None:
            raise _closed()
        return outputs

    def _admit(self, inputs: Tensors) -> None:
        if self._compiled is None:
            raise _closed()
        if self._fixed and len(inputs) == len(self._inputs):
            for port in self._inputs:
                array: object = inputs.get(port.spec.name)
                if type(array) is not np.ndarray or array.dtype != port.dtype or array.shape != port.spec.shape:
                    break
            else:
                return
        check_tensors(self._input_specs, inputs)
        if any(0 in inputs[spec.name].shape for spec in self._input_specs):
            raise TensorMismatch("input tensors do not match: an extent is 0")

    def _feed(self, request: Any, inputs: Tensors) -> None:
        for port in self._inputs:
            array = inputs[port.spec.name]
            if self._fixed:
                request.get_input_tensor(port.place).data[...] = array
            else:
                request.set_input_tensor(port.place, self._ov.Tensor(np.ascontiguousarray(array)))

    def _taken(self, request: Any) -> Tensors:
        outputs: dict[str, Array] = {
            port.spec.name: request.get_output_tensor(port.place).data.copy() for port in self._outputs
        }
        if self._any_size:
            try:
                check_tensors(self._output_specs, outputs, what="output")
            except TensorMismatch as error:
                raise InferenceFailed(f"{self.engine} gave other outputs than declared: {error}") from error
        return outputs

    def _failed(self, error: BaseException) -> InferenceFailed:
        return InferenceFailed(f"{self.engine} on {self._device}: {' '.join(str(error).split())}")


def _closed() -> SessionClosed:
    return SessionClosed("openvino: the session is closed", remedy="open the model again")
