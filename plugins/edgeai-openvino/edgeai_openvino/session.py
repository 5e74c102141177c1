"""A compiled model and its infer requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """All declared tensors, where their sizes are open, and whether runs leave something in the model's variables."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    keeps_state: bool = False

    @property
    def is_fixed(self) -> bool:
        """Whether every input has one size."""
        return all(None not in port.spec.shape for port in self.inputs)

    @property
    def any_size(self) -> bool:
        """Whether only a run tells the outputs' sizes."""
        return any(None in port.spec.shape for port in (*self.inputs, *self.outputs))


class Compiled:
    """The model as compiled for one purpose, and its infer requests that are not at work.

    Args:
        model: the engine's compiled model.
        flight: how many inferences of a stream may be in it at once.
    """

    def __init__(self, model: Any, *, flight: int) -> None:
        self.model = model
        self.flight = flight
        self.idle: list[Any] = [model.create_infer_request()]

    def reset_state(self) -> None:
        """Try whether the device can; raises one of ``ENGINE_ERRORS`` where not."""
        for request in self.idle:
            request.reset_state()

    def request(self) -> Any:
        """One that is idle, or a new one."""
        return self.idle.pop() if self.idle else self.model.create_infer_request()


class OpenvinoSession:
    """A ``Session`` over ``CompiledModel``. Inputs are copied in and outputs out; the GIL is free in between.

    Args:
        ov: the module.
        compiled: what ``run`` runs on.
        ports: the declared tensors.
        for_streams: compiles for streams of more than one input; ``None`` where ``compiled`` serves them too.
        device: the device that was asked for.
        engine: name and version.

    Raises whatever ``edgeai.api.Session`` says.
    """

    def __init__(
        self,
        ov: Any,
        compiled: Compiled,
        ports: Ports,
        *,
        for_streams: Callable[[], Compiled] | None,
        device: str,
        engine: str,
    ) -> None:
        self._ov = ov
        self._compiled: Compiled | None = compiled
        self._abreast: Compiled | None = None
        self._for_streams = for_streams
        self._inputs, self._outputs = ports.inputs, ports.outputs
        self._input_specs = tuple(port.spec for port in ports.inputs)
        self._output_specs = tuple(port.spec for port in ports.outputs)
        self._fixed, self._any_size = ports.is_fixed, ports.any_size
        self._keeps_state = ports.keeps_state
        self._device = device
        self.engine = engine

    @property
    def device(self) -> str:
        """The device that was asked for."""
        return self._device

    def run(self, inputs: Tensors) -> Tensors:
        """One inference; see ``edgeai.api.Session``."""
        compiled = self._open()
        self._admit(inputs)
        request = compiled.request()
        try:
            self._feed(request, inputs)
            request.infer(share_outputs=True)
            return self._taken(request)
        except ENGINE_ERRORS as error:
            raise self._failed(error) from error
        finally:
            compiled.idle.append(request)

    def stream(self, inputs: Iterable[Tensors]) -> Iterator[Tensors]:
        """Outputs in order, with several inferences in flight; takes an input only when a place is free.

        The first input goes where runs go; a second shows that there are several.
        """
        self._open()
        return self._streamed(iter(inputs))

    def close(self) -> None:
        """Free the compiled models; what a stream has in flight ends with the stream."""
        self._compiled = self._abreast = self._for_streams = None

    def _open(self) -> Compiled:
        if self._compiled is None:
            raise SessionClosed("openvino: the session is closed", remedy="open the model again")
        return self._compiled

    def _for_many(self) -> Compiled:
        """Where the further inputs of a stream go; compiled when the first of them comes."""
        compiled = self._open()
        if self._for_streams is None:
            return compiled
        if self._abreast is None:
            try:
                self._abreast = self._for_streams()
            except ENGINE_ERRORS as error:
                raise self._failed(error) from error
        return self._abreast

    def _streamed(self, inputs: Iterator[Tensors]) -> Iterator[Tensors]:
        busy: deque[tuple[Compiled, Any]] = deque()
        where = self._open()
        fault: Exception | None = None
        try:
            while True:
                try:
                    item = next(inputs)
                    self._admit(item)
                    where = self._for_many() if busy else where
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001
                    fault = error  # what went before is still owed, as it would be by one run after another
                    break
                done = self._collect(*busy.popleft()) if len(busy) >= where.flight else None
                busy.append((where, self._start(where, item)))
                if done is not None:
                    yield done
            while busy:
                yield self._collect(*busy.popleft())
            if fault is not None:
                raise fault
        finally:
            for compiled, request in busy:
                with suppress(RuntimeError):  # abandoned with the stream
                    request.wait()
                compiled.idle.append(request)

    def _start(self, where: Compiled, inputs: Tensors) -> Any:
        request = where.request()
        try:
            self._feed(request, inputs)
            request.start_async()
        except ENGINE_ERRORS as error:
            where.idle.append(request)
            raise self._failed(error) from error
        return request

    def _collect(self, where: Compiled, request: Any) -> Tensors:
        try:
            request.wait()
            outputs = self._taken(request)
        except ENGINE_ERRORS as error:
            raise self._failed(error) from error
        finally:
            where.idle.append(request)
        self._open()
        return outputs

    def _admit(self, inputs: Tensors) -> None:
        self._open()
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
        if self._keeps_state:
            request.reset_state()
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
