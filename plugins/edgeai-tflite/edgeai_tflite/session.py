"""Interpreters, fed by name. Everything that can be looked up once is looked up at opening."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Final

import numpy as np

from edgeai.api import Array, InferenceFailed, SessionClosed, TensorMismatch, Tensors, TensorSpec, check_tensors
from edgeai_tflite.state import Kept

ENGINE_ERRORS = (ValueError, RuntimeError, MemoryError, OverflowError)
"""What an interpreter raises; NotImplementedError is a RuntimeError."""

_QUEUED: Final = 2
"""Inputs in a stream for each interpreter: one that is done need not wait until its turn to answer has come."""

_ANY: Final = (64, 128, 224, 256, 320, 512, 32, 3, 1)
"""Extents that a model of any size is tried at when it is opened: most take one of the first, and few of them 1."""


@dataclass(frozen=True, slots=True)
class Port:
    """A declared tensor, the engine's index for it, and whether its size is open until a run."""

    spec: TensorSpec
    index: int
    dtype: np.dtype[Any]
    any_size: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """All declared tensors of an artifact, what it keeps from run to run, and what the engine is called in errors."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    kept: Kept
    engine: str

    @property
    def input_specs(self) -> tuple[TensorSpec, ...]:
        """As declared."""
        return tuple(port.spec for port in self.inputs)

    @property
    def output_specs(self) -> tuple[TensorSpec, ...]:
        """As declared."""
        return tuple(port.spec for port in self.outputs)


class Lane:
    """One interpreter, and the shapes it has planned for. Outputs are copies; ``invoke`` releases the GIL.

    Args:
        make: opens the interpreter; called again before each further run where only that forgets the run before.
        ports: the declared tensors.
        interpreter: one that ``make`` gave already.
    """

    def __init__(self, make: Callable[[], Any], ports: Ports, *, interpreter: Any = None) -> None:
        self._make = make
        self._interpreter: Any = make() if interpreter is None else interpreter
        self._ports = ports
        self.input_specs, self._output_specs = ports.input_specs, ports.output_specs
        self._any_size = any(port.any_size for port in ports.outputs)
        self._clears, self._renews = ports.kept.tensors, ports.kept.resources
        self._is_fresh = True
        self._shapes: dict[int, tuple[int, ...]] = {}
        self._turn = threading.Lock()  # a run may come between two answers of a stream

    def prepare(self) -> None:
        """Give the engine the declared shapes (one that it takes, where any size is) and let it plan its memory."""
        shapes = [port.spec.shape for port in self._ports.inputs]
        sizes = _ANY if any(None in shape[1:] for shape in shapes) else (1,)
        for last, size in enumerate(sizes, 1 - len(sizes)):
            try:
                self._resize([(*(n or 1 for n in shape[:1]), *(n or size for n in shape[1:])) for shape in shapes])
            except ENGINE_ERRORS:  # a plane that is too small for its layers
                if last == 0:
                    raise
            else:
                return

    def run(self, inputs: Tensors) -> Tensors:
        """One inference; see ``edgeai.api.Session``."""
        with self._turn:
            if self._renews and not self._is_fresh:
                self._begin_anew()
            self._admit(inputs)
            try:
                outputs = self._invoked(inputs)
            except ENGINE_ERRORS as error:
                self._shapes.clear()  # planned again by the next run, whatever state this one left
                raise InferenceFailed(f"{self._ports.engine}: {words(error)}") from error
        if self._any_size:
            _hold(self._output_specs, outputs)
        return outputs

    def _invoked(self, inputs: Tensors) -> Tensors:
        interpreter = self._interpreter
        for port in self._ports.inputs:
            interpreter.set_tensor(port.index, inputs[port.spec.name])
        if self._clears:
            interpreter.reset_all_variables()
        self._is_fresh = False
        interpreter.invoke()
        outputs: dict[str, Array] = {port.spec.name: interpreter.get_tensor(port.index) for port in self._ports.outputs}
        return outputs

    def _begin_anew(self) -> None:
        """Another interpreter: what a run assigned to resource variables goes with the one that it ran on."""
        self._shapes.clear()
        self._interpreter = None  # its memory is free before the next takes some
        try:
            self._interpreter = self._make()
        except ENGINE_ERRORS as error:
            raise InferenceFailed(f"{self._ports.engine}: no fresh interpreter: {words(error)}") from error
        self._is_fresh = True

    def _admit(self, inputs: Tensors) -> None:
        """Raise ``TensorMismatch`` unless the inputs are those declared; plan memory again for another size."""
        ports, shapes = self._ports.inputs, self._shapes
        if len(inputs) == len(ports):
            for port in ports:
                array: object = inputs.get(port.spec.name)
                if type(array) is not np.ndarray or array.dtype != port.dtype or array.shape != shapes.get(port.index):
                    break
            else:
                return
        check_tensors(self.input_specs, inputs)
        wanted = [inputs[port.spec.name].shape for port in ports]
        if any(0 in shape for shape in wanted):
            raise TensorMismatch("input tensors do not match: an extent is 0")
        try:
            self._resize(wanted)
        except ENGINE_ERRORS as error:
            self._shapes.clear()
            raise InferenceFailed(f"{self._ports.engine}: cannot take {wanted}: {words(error)}") from error

    def _resize(self, wanted: list[tuple[int, ...]]) -> None:
        current = {int(d["index"]): tuple(int(n) for n in d["shape"]) for d in self._interpreter.get_input_details()}
        for port, shape in zip(self._ports.inputs, wanted, strict=True):
            if current[port.index] != shape:
                self._interpreter.resize_tensor_input(port.index, list(shape))
        self._interpreter.allocate_tensors()
        self._shapes = {port.index: shape for port, shape in zip(self._ports.inputs, wanted, strict=True)}


class Fleet:
    """The interpreters of a stream, of one thread each; opened as they are needed and kept until ``close``.

    Args:
        lanes: those that are open already, where the interpreter of runs has one thread too.
        most: how many there may be.
        another: opens one more; raises an ``EdgeaiError`` where it cannot.
        release: called when no more will be opened.
    """

    def __init__(
        self, lanes: Sequence[Lane], *, most: int, another: Callable[[], Lane], release: Callable[[], None]
    ) -> None:
        self.most = most
        self._another = another
        self._release = release
        self._count = len(lanes)
        self._idle = list(lanes)
        self._closed = False
        self._changed = threading.Condition()

    def grow(self, wanted: int) -> None:
        """Have as many as that, or as many as there may be."""
        while self._count < min(wanted, self.most):
            lane = self._another()
            self._count += 1
            self._put_back(lane)

    def run(self, inputs: Tensors) -> Tensors:
        """One inference, on whichever interpreter is free, or the next to be.

        Raises:
            SessionClosed: ``close`` was called before an interpreter was free.
        """
        lane = self._next_idle()
        try:
            return lane.run(inputs)
        finally:
            self._put_back(lane)

    def close(self) -> None:
        """Let go of all of them; those at work are gone when they are done, and nobody waits for them any longer."""
        with self._changed:
            self._closed = True
            self._idle.clear()
            self._changed.notify_all()
        self._count = self.most
        self._release()

    def _next_idle(self) -> Lane:
        with self._changed:
            while not self._idle and not self._closed:
                self._changed.wait()
            if self._closed:
                raise closed()
            return self._idle.pop()

    def _put_back(self, lane: Lane) -> None:
        with self._changed:
            if not self._closed:
                self._idle.append(lane)
                self._changed.notify()


class Crew:
    """The threads of one stream: each takes the input that has waited longest. Close it.

    What ``ThreadPoolExecutor`` does, on two queues that are C's own: its futures cost a frame a tenth of a millisecond,
    since between two inferences nothing of Python is in the caches.

    Args:
        run: one inference, from any thread.
        most: how many threads there may be.
    """

    def __init__(self, run: Callable[[Tensors], Tensors], most: int) -> None:
        self._run = run
        self._most = most
        self._threads: list[threading.Thread] = []
        self._tasks: SimpleQueue[tuple[int, Tensors] | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[int, Tensors | BaseException]] = SimpleQueue()
        self._early: dict[int, Tensors | BaseException] = {}
        self._given = self._taken = 0

    def __len__(self) -> int:
        """How many inputs were put in and whose answer was not taken."""
        return self._given - self._taken

    def put(self, inputs: Tensors) -> None:
        """Another input; it is the threads' own from now on."""
        if len(self._threads) < min(self._most, len(self) + 1):
            name = f"edgeai-tflite-{len(self._threads)}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            thread.start()  # one that the system refuses is none to wait for
            self._threads.append(thread)
        self._tasks.put((self._given, inputs))
        self._given += 1

    def take(self) -> Tensors:
        """The answer to the oldest input that has none yet, or what was raised instead."""
        while self._taken not in self._early:
            number, answer = self._done.get()
            self._early[number] = answer
        answer = self._early.pop(self._taken)
        self._taken += 1
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        """Wait for what is at work; what is not begun never is."""
        with suppress(Empty):
            while True:
                self._tasks.get_nowait()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            number, inputs = task
            answer: Tensors | BaseException
            try:
                answer = self._run(inputs)
            except BaseException as error:  # noqa: BLE001 - it is raised where the answer is taken
                answer = error
            self._done.put((number, answer))
            del task, inputs, answer  # nothing is kept alive while the next is waited for


class LiteSession:
    """A ``Session``: one interpreter for runs, and for streams several of one thread each, opened when needed.

    An interpreter of several threads makes them wait for one another after every layer, and longer while
    another thread (one that decodes, say) has a core; interpreters of one thread wait for nobody.

    Raises whatever ``edgeai.api.Session`` says.
    """

    def __init__(self, lane: Lane, fleet: Fleet, *, device: str, engine: str) -> None:
        self._lane: Lane | None = lane
        self._fleet = fleet
        self._device = device
        self.engine = engine

    @property
    def device(self) -> str:
        """``CPU``."""
        return self._device

    def run(self, inputs: Tensors) -> Tensors:
        """One inference; see ``edgeai.api.Session``."""
        return self._open().run(inputs)

    def stream(self, inputs: Iterable[Tensors]) -> Iterator[Tensors]:
        """Outputs in order, each interpreter of the stream at work on one input."""
        self._open()
        if self._fleet.most < 2:
            return map(self.run, inputs)
        return self._streamed(iter(inputs))

    def close(self) -> None:
        """Free the interpreters; what a stream has in flight ends with the stream."""
        self._lane = None
        self._fleet.close()

    def _open(self) -> Lane:
        if self._lane is None:
            raise closed()
        return self._lane

    def _streamed(self, inputs: Iterator[Tensors]) -> Iterator[Tensors]:
        crew = Crew(self._fleet.run, self._fleet.most)
        fault: Exception | None = None
        try:
            while True:
                if len(crew) == _QUEUED * self._fleet.most:
                    yield self._collect(crew)
                try:
                    item = self._owned(next(inputs))
                    self._fleet.grow(len(crew) + 1)
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001
                    fault = error  # what went before is still owed, as it would be by one run after another
                    break
                crew.put(item)
            while len(crew):
                yield self._collect(crew)
            if fault is not None:
                raise fault
        finally:
            crew.close()  # waits for what is in flight; the rest was abandoned

    def _owned(self, inputs: Tensors) -> Tensors:
        """A copy, since the host may use its buffer again as soon as the next input is asked for."""
        specs = self._open().input_specs
        check_tensors(specs, inputs)
        try:
            return {spec.name: inputs[spec.name].copy() for spec in specs}
        except MemoryError as error:
            raise InferenceFailed(f"{self.engine}: no memory for an input: {words(error)}") from error

    def _collect(self, crew: Crew) -> Tensors:
        outputs = crew.take()
        self._open()
        return outputs


def _hold(specs: tuple[TensorSpec, ...], outputs: Tensors) -> None:
    try:
        check_tensors(specs, outputs, what="output")
    except TensorMismatch as error:
        raise InferenceFailed(f"the engine gave other outputs than declared: {error}") from error


def closed() -> SessionClosed:
    """Somebody asks after ``close``."""
    return SessionClosed("tflite: the session is closed", remedy="open the model again")


def words(error: BaseException) -> str:
    """What the engine said, on one line."""
    return " ".join(str(error).split())
