"""Instances in a row: while the engine runs some, the next are decoded and transformed on threads of their own.

Each gives the result that it would have given alone, in their order. What an engine makes of several at a time is
believed only where nothing went wrong: after any trouble of its stream all of them are run one by one, so that each
fails or completes of its own accord.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVar

from edgeai.dicom.looking import among_others
from edgeai.hosting.faults import Feed
from edgeai.model.golden import drift
from edgeai.model.streams import ended, lanes, miscounted

if TYPE_CHECKING:
    from edgeai.api.results import Result
    from edgeai.api.tensors import Tensors
    from edgeai.dicom.header import Header
    from edgeai.model.prepared import Prepared
    from edgeai.model.running import Model

MOST_BYTES: Final = 256 * 2**20
"""A frame that takes more once it is decoded is not decoded ahead: its turn comes when nothing else is in memory."""

_LINGER_S: Final = 0.05
"""How long the engine's answers wait for an instance that is being prepared to join them."""

_TOGETHER: Final = 8
"""Most that go through the engine's stream together: none of their results is given before all are there."""

_TO_PROVE: Final = 3
"""So many, before a stream has been held against single runs."""

K = TypeVar("K")
Supply: TypeAlias = "Callable[[], tuple[K, Callable[[], Prepared]] | None]"
"""Gives the next instance, and what prepares it on a thread; ``None`` when there is none now."""


class _Turn(Generic[K]):
    """An instance that was prepared, until its result is given."""

    def __init__(self, key: K, prepared: Prepared) -> None:
        self.key, self.prepared = key, prepared
        self.under_way = ExitStack()
        self._began: float | None = None
        self.result: Result
        """Its result, once it has one."""

    def begin(self, at_engine: AbstractContextManager[None]) -> None:
        """It is the engine's now, until ``under_way`` is closed."""
        if self._began is None:
            self._began = time.perf_counter()
            self.prepared.waited()
            self.under_way.enter_context(at_engine)

    def is_admitted(self) -> bool:
        """Whether the guard lets the model be asked; else it ends without, or with what was wrong."""
        prepared = self.prepared
        assert prepared.ready is not None
        try:
            prepared.is_admitted = prepared.run.admits(prepared.ready[1])
            if not prepared.is_admitted:
                prepared.ready = None
        except Exception as error:  # noqa: BLE001 - it is raised again where its own result is made
            prepared.error = error
        self._began = time.perf_counter()
        return prepared.is_ready

    def answered(self) -> None:
        """The engine has run it, among others."""
        self.prepared.run.watch.add("run", time.perf_counter() - (self._began or 0.0))


class Row(Generic[K]):
    """The instances of a row under their keys. For one thread; close what ``results`` gives before ``drop``.

    Args:
        model: that runs them.
        supply: where they come from; asked on the thread that runs the model, or on the engine's.
        at_engine: entered from an instance's turn until it has its result.
        is_stopping: whether nothing more shall begin.

    Attributes:
        trouble: why the engine's stream was given up, as all that it was for ran well one by one; empty if it was not.
    """

    def __init__(
        self,
        model: Model,
        supply: Supply[K],
        *,
        at_engine: Callable[[K, Prepared], AbstractContextManager[None]] = lambda key, prepared: nullcontext(),
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.trouble = ""
        self._model = model
        self._supply = supply
        self._at_engine = at_engine
        self._is_stopping = is_stopping
        self._ahead: deque[tuple[K, Future[Prepared]]] = deque()
        self._turns: deque[_Turn[K]] = deque()
        self._most_ahead = 2 * lanes()
        self._pool = ThreadPoolExecutor(lanes(), thread_name_prefix="edgeai-row")

    def __len__(self) -> int:
        """How many were begun and have no result."""
        return len(self._ahead) + len(self._turns)

    def results(self, most: int = 0) -> Generator[tuple[K, Result], None, None]:
        """In order, until the supply gives nothing, or about so many; a result is given as soon as it is there."""
        given = 0
        while not self._is_stopping() and (not most or given < most):
            turn = self._next()
            if turn is None:
                return
            if turn.prepared.is_ready and self._ahead and not self.trouble:
                self._run_together(turn, min(most - given, _TOGETHER) if most else _TOGETHER)
            else:
                self._turns.append(turn)
                self._run_alone(turn)
            while self._turns:
                # What each has been through is over by now: whoever keeps the results may take as long as it takes.
                turn = self._turns[0]
                self._model.failed_step = turn.prepared.run.failed_step
                self._turns.popleft()
                given += 1
                yield turn.key, turn.result

    def drop(self) -> list[K]:
        """Prepare nothing more; the keys of what was begun and has no result, in order."""
        self._pool.shutdown(cancel_futures=True)
        left = [turn.key for turn in self._turns] + [key for key, _ in self._ahead]
        for turn in self._turns:
            turn.under_way.close()
        self._turns.clear()
        self._ahead.clear()
        return left

    # --- ahead of the engine ----------------------------------------------------------------------

    def _fill(self, most: int) -> None:
        while len(self._ahead) < most and not self._is_stopping():
            supplied = self._supply()
            if supplied is None:
                return
            key, prepare = supplied
            work = partial(_among_others, prepare) if len(self) else prepare  # the first of a row may be the only one
            self._ahead.append((key, self._pool.submit(work)))

    def _next(self, linger_s: float | None = None) -> _Turn[K] | None:
        """The next one, when it is prepared; within ``linger_s`` only one that can go along with others."""
        self._fill(self._most_ahead)
        if not self._ahead:
            return None
        key, future = self._ahead[0]
        if linger_s is not None and (future not in wait([future], linger_s).done or future.result().is_left):
            return None
        prepared = future.result()
        self._fill(self._most_ahead + 1)  # one more takes its place on a thread
        self._ahead.popleft()
        return _Turn(key, prepared)

    # --- at the engine ----------------------------------------------------------------------------

    def _run_alone(self, turn: _Turn[K]) -> None:
        with turn.under_way:
            turn.begin(self._at_engine(turn.key, turn.prepared))
            turn.result = self._model.complete(turn.prepared)

    def _run_together(self, first: _Turn[K], most: int) -> None:
        """The first and what follows it, through the engine's stream.

        No answer is used before the stream has ended with as many as it took: one that loses an input would give an
        image the answer of another.
        """
        fed = Feed(self._feed(first, most))
        answers: deque[Tensors] = deque()
        try:
            with self._model.at_run(), ended(self._model.stream(fed)) as given:
                for outputs in given:
                    # Copies: nobody promises that the next answer does not come in the same arrays.
                    answers.append({name: array.copy() for name, array in self._model.checked(outputs).items()})
                    self._answered(len(answers))
                trouble = self._why_not(answers)
        except Exception as error:  # noqa: BLE001 - whatever it is, each of them has its own end below
            trouble = f"{type(error).__name__}: {error}"
        if fed.error is not None:
            raise fed.error
        for turn in self._turns:
            if trouble or not turn.prepared.is_ready:
                self._run_alone(turn)
            else:
                with turn.under_way:
                    turn.result = self._model.interpreted(turn.prepared, answers.popleft())
        if trouble and all(turn.prepared.run.failed_step != "run" for turn in self._turns):
            self.trouble = trouble

    def _why_not(self, answers: Sequence[Tensors]) -> str:
        """Why the answers of a stream are not to be used; empty when they are.

        Before any is, those of one stream are held against single runs: each must be that of its own image.
        """
        turns = [turn for turn in self._turns if turn.prepared.is_ready]
        if len(answers) != len(turns):
            return str(miscounted("more" if len(answers) > len(turns) else "fewer"))
        if not self._model.is_stream_proven:
            for turn, streamed in zip(turns, answers, strict=True):
                assert turn.prepared.ready is not None
                alone = self._model.infer({self._model.pipeline.input.name: turn.prepared.ready[0]})
                if drift(alone, streamed) > 0.0:
                    return "an answer of its stream is not that of a single run"
            self._model.is_stream_proven = len(turns) > 1
        return ""

    def _answered(self, count: int) -> None:
        """So many answers have come: the last is that of the turn in its place."""
        turns = [turn for turn in self._turns if turn.prepared.is_ready]
        if count > len(turns):
            raise miscounted("more")
        turns[count - 1].answered()

    def _feed(self, first: _Turn[K], most: int) -> Iterator[Tensors]:
        """What the engine takes; those that have come to their end without it keep their place."""
        turn: _Turn[K] | None = first
        name, fed = self._model.pipeline.input.name, 0
        most = most if self._model.is_stream_proven else min(most, _TO_PROVE)
        while turn is not None:
            self._turns.append(turn)
            if turn.prepared.ready is not None:
                turn.begin(self._at_engine(turn.key, turn.prepared))
                if turn.is_admitted():
                    turn.prepared.run.engine = self._model.engine
                    yield {name: turn.prepared.ready[0]}
            fed += 1
            goes_on = not self._is_stopping() and fed < most
            turn = self._next(_LINGER_S) if goes_on else None


def _among_others(prepare: Callable[[], Prepared]) -> Prepared:
    with among_others():
        return prepare()


def run_files(
    model: Model, paths: Sequence[Path], *, headers: dict[Path, Header] | None = None
) -> Generator[tuple[Path, Result], None, None]:
    """Each file's result, as ``Model.run_file`` gives it, in their order; several are under way at a time.

    Args:
        model: that runs them.
        paths: DICOM files.
        headers: is given each file's header, where it has one, before its result: whoever shows the picture as well
            takes it out, and reads none a second time.
    """

    def prepare(path: Path, most_bytes: int = 0) -> Prepared:
        prepared = model.prepare(path, most_bytes=most_bytes)
        if headers is not None and prepared.header is not None:
            headers[path] = prepared.header
        return prepared

    if len(paths) < 2 or lanes() < 2:
        for path in paths:
            yield path, model.complete(prepare(path), overlap=True, settles=True)
        return
    left = iter(paths)

    def supply() -> tuple[Path, Callable[[], Prepared]] | None:
        path = next(left, None)
        return None if path is None else (path, partial(prepare, path, MOST_BYTES))

    row = Row(model, supply)
    try:
        yield from row.results()
    finally:
        row.drop()
