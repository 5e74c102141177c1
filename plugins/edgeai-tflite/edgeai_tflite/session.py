"""One interpreter, fed by name. Everything that can be looked up once is looked up at opening."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeai.api import Array, InferenceFailed, SessionClosed, TensorMismatch, Tensors, TensorSpec, check_tensors

ENGINE_ERRORS = (ValueError, RuntimeError, MemoryError, OverflowError)
"""What an interpreter raises; NotImplementedError is a RuntimeError."""


@dataclass(frozen=True, slots=True)
class Port:
    """A declared tensor, the engine's index for it, and whether its size is open until a run."""

    spec: TensorSpec
    index: int
    dtype: np.dtype[Any]
    any_size: bool


class LiteSession:
    """A ``Session`` over ``Interpreter``. Outputs are copies; ``invoke`` releases the GIL.

    Raises whatever ``edgeai.api.Session`` says.
    """

    def __init__(
        self, interpreter: Any, inputs: tuple[Port, ...], outputs: tuple[Port, ...], *, device: str, engine: str
    ) -> None:
        self._interpreter: Any = interpreter
        self._inputs = inputs
        self._outputs = outputs
        self._input_specs = tuple(port.spec for port in inputs)
        self._output_specs = tuple(port.spec for port in outputs)
        self._any_size = any(port.any_size for port in outputs)
        self._shapes: dict[int, tuple[int, ...]] = {}
        self._device = device
        self.engine = engine

    @property
    def device(self) -> str:
        """``CPU``."""
        return self._device

    def prepare(self) -> None:
        """Give the engine the declared shapes (1 where any size is) and let it plan its memory."""
        self._resize([tuple(n or 1 for n in port.spec.shape) for port in self._inputs])

    def run(self, inputs: Tensors) -> Tensors:
        """One inference; see ``edgeai.api.Session``."""
        interpreter = self._interpreter
        if interpreter is None:
            raise _closed()
        self._admit(inputs)
        try:
            for port in self._inputs:
                interpreter.set_tensor(port.index, inputs[port.spec.name])
            # A recurrent layer keeps its state in the interpreter: one image must not answer for the next.
            interpreter.reset_all_variables()
            interpreter.invoke()
            outputs: dict[str, Array] = {port.spec.name: interpreter.get_tensor(port.index) for port in self._outputs}
        except ENGINE_ERRORS as error:
            self._shapes.clear()  # planned again by the next run, whatever state this one left
            raise InferenceFailed(f"{self.engine}: {' '.join(str(error).split())}") from error
        if self._any_size:
            _hold(self._output_specs, outputs)
        return outputs

    def stream(self, inputs: Iterable[Tensors]) -> Iterator[Tensors]:
        """Outputs in order, one in flight: the interpreter has no queue, and threads serve a run better."""
        if self._interpreter is None:
            raise _closed()
        return map(self.run, inputs)

    def close(self) -> None:
        """Free the interpreter."""
        self._interpreter = None

    def _admit(self, inputs: Tensors) -> None:
        """Raise ``TensorMismatch`` unless the inputs are those declared; plan memory again for another size."""
        shapes = self._shapes
        if len(inputs) == len(self._inputs):
            for port in self._inputs:
                array: object = inputs.get(port.spec.name)
                if type(array) is not np.ndarray or array.dtype != port.dtype or array.shape != shapes.get(port.index):
                    break
            else:
                return
        check_tensors(self._input_specs, inputs)
        wanted = [inputs[port.spec.name].shape for port in self._inputs]
        if any(0 in shape for shape in wanted):
            raise TensorMismatch("input tensors do not match: an extent is 0")
        try:
            self._resize(wanted)
        except ENGINE_ERRORS as error:
            self._shapes.clear()
            raise InferenceFailed(f"{self.engine}: cannot take {wanted}: {' '.join(str(error).split())}") from error

    def _resize(self, wanted: list[tuple[int, ...]]) -> None:
        current = {int(d["index"]): tuple(int(n) for n in d["shape"]) for d in self._interpreter.get_input_details()}
        for port, shape in zip(self._inputs, wanted, strict=True):
            if current[port.index] != shape:
                self._interpreter.resize_tensor_input(port.index, list(shape))
        self._interpreter.allocate_tensors()
        self._shapes = {port.index: shape for port, shape in zip(self._inputs, wanted, strict=True)}


def _hold(specs: tuple[TensorSpec, ...], outputs: Tensors) -> None:
    try:
        check_tensors(specs, outputs, what="output")
    except TensorMismatch as error:
        raise InferenceFailed(f"the engine gave other outputs than declared: {error}") from error


def _closed() -> SessionClosed:
    return SessionClosed("tflite: the session is closed", remedy="open the model again")
