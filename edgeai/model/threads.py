"""``threads = 0``: a single frame runs on as many threads as measure best here.

An engine's own number is one for LiteRT and every core for OpenVINO. So the first single frame that an engine has
answered is asked again on more threads, some times in turn. More are taken only where they answer the same to the last
bit, and faster. Streams keep the engine's own number: there, frames beside one another are faster than threads.

Nothing here can fail a run: whatever happens, the session stays with what it had.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from edgeai.api.errors import EdgeaiError
from edgeai.api.specs import Session
from edgeai.api.tensors import Tensors
from edgeai.logs import Log
from edgeai.model.kept_threads import KeptThreads, Threads, cores

_TURN_S: Final = 0.06
"""Of rounds for each number of threads, a round being one run on it and one on the engine's own."""
_FEWEST_ROUNDS, _MOST_ROUNDS = 2, 9
_GAIN: Final = 0.93
"""Part of the time that fewer threads take, at most, for more of them to be worth having."""
_SHORT_S, _LONG_S, _SPENT_S = 0.0002, 3.0, 6.0
"""Runs that are shorter gain nothing, longer ones are too long to repeat; and no more is tried after so much."""
_KEEPS_CORES_BUSY: Final = 0.75
"""Part of all cores' time that an engine works on its own number, above which there is no core to be had."""
_WAITED: Final = 0.15
"""Part of its threads' time that they waited for a core, above which others were at work and it says little."""

log = Log("edgeai.model.threads")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A run: wall clock, processor time of the engine's threads, and how long they waited for a core."""

    took_s: float
    worked_s: float = 0.0
    waited_s: float = 0.0


Meter: TypeAlias = Callable[[Session, Tensors], tuple[Tensors, Turn]]
"""Runs a session once."""


def clocked(session: Session, inputs: Tensors) -> tuple[Tensors, Turn]:
    """Run it by the clocks of this machine."""
    worked, waited = _engine_seconds()
    begin = time.perf_counter()
    outputs = session.run(inputs)
    took = time.perf_counter() - begin
    worked_now, waited_now = _engine_seconds()
    return outputs, Turn(took_s=took, worked_s=max(0.0, worked_now - worked), waited_s=max(0.0, waited_now - waited))


@dataclass(slots=True)
class _Pace:
    """Turns on one number of threads."""

    best_s: float = float("inf")
    wall_s: float = 0.0
    waited_s: float = 0.0
    least_cores: float = float("inf")
    """Cores at work in the run that had the fewest: what ran before may spin on for a while."""

    def include(self, turn: Turn) -> None:
        """One more."""
        self.best_s = min(self.best_s, turn.took_s)
        self.wall_s += turn.took_s
        self.least_cores = min(self.least_cores, turn.worked_s / turn.took_s)
        self.waited_s += turn.waited_s


class SingleFrames:
    """A ``Session`` whose ``run`` goes on the best number of threads, and whose ``stream`` on the engine's own.

    Args:
        session: open on ``threads``, or on the engine's own number when there is none.
        again: opens the same artifact on so many threads; raises an ``EdgeaiError``.
        kept: where the measurement is kept.
        threads: what was measured before.
        meter: how long runs take; by default by this machine's clocks.
    """

    def __init__(
        self,
        session: Session,
        *,
        again: Callable[[int], Session],
        kept: KeptThreads,
        threads: Threads | None,
        meter: Meter | None = None,
    ) -> None:
        self.threads = threads
        self._session = session
        self._again = again
        self._kept = kept
        self._meter = meter or clocked
        self._for_streams: Session | None = None
        self._took_s = 0.0
        self._due_at = 0.0

    @property
    def device(self) -> str:
        """The device that was asked for."""
        return self._session.device

    @property
    def engine(self) -> str:
        """The engine's name and version, where the session says."""
        return str(getattr(self._session, "engine", ""))

    def run(self, inputs: Tensors) -> Tensors:
        """One inference; see ``edgeai.api.Session``."""
        begin = time.perf_counter()
        outputs = self._session.run(inputs)
        self._took_s = time.perf_counter() - begin
        return outputs

    def stream(self, inputs: Iterable[Tensors]) -> Iterator[Tensors]:
        """Outputs in order; see ``edgeai.api.Session``."""
        if self._for_streams is None and self.threads is not None and self.threads.count:
            self._for_streams = self._session
            with suppress(EdgeaiError):  # taken away meanwhile: what is open answers the same
                self._for_streams = self._again(0)
        return (self._for_streams or self._session).stream(inputs)

    def close(self) -> None:
        """Free the engine. Twice is fine."""
        self._session.close()
        if self._for_streams is not None:
            self._for_streams.close()

    def settle(self, inputs: Tensors, outputs: Tensors) -> None:
        """After a run that gave ``outputs``: measure, unless it was done before."""
        if self.threads is not None or time.monotonic() < self._due_at:
            return
        if wait_s := self._kept.begin():
            self._due_at = time.monotonic() + wait_s
            if math.isinf(wait_s):
                self._take(Threads(why="a measurement that began here did not end, or none can be kept"))
            return
        trial = _Trial(self._session, self._again, self._meter, inputs, outputs, self._took_s)
        threads = trial.found()
        if trial.is_doubtful and not self._kept.is_last_try:
            trial.close()
            self._kept.put_off()
            return
        self._kept.keep(threads)
        if trial.session is not None:
            self._session.close()
            self._session = trial.session
        self._take(threads)

    def _take(self, threads: Threads) -> None:
        self.threads = threads
        facts = {"own_ms": round(threads.own_ms, 3), "ms": round(threads.ms, 3)}
        log.info("engine.threads", engine=self.engine, threads=threads.count, why=threads.why, **facts)


class _Trial:
    """More threads tried on the tensors of a run, each in turn with the engine's own number.

    Attributes:
        session: open on the best number; ``None`` when that is the engine's own.
        is_doubtful: others were at work meanwhile, or the engine failed when it was asked again, which may pass.
    """

    def __init__(
        self,
        own: Session,
        again: Callable[[int], Session],
        meter: Meter,
        inputs: Tensors,
        outputs: Tensors,
        took_s: float,
    ) -> None:
        self.session: Session | None = None
        self.is_doubtful = False
        self._own, self._again, self._meter = own, again, meter
        self._inputs, self._outputs = inputs, outputs
        self._took_s, self._pace = took_s, _Pace()
        self._count, self._best_s = 0, float("inf")
        self._until = time.perf_counter() + _SPENT_S

    def found(self) -> Threads:
        """The best number, whatever the engine says to being asked again."""
        try:
            why = self._why_no_more() or self._tried_all(cores())
        except EdgeaiError as error:
            why, self.is_doubtful = f"more were tried, and failed: {error}", True
        if self._count:
            why = "fastest of those tried"
        own_ms = 1e3 * (self._pace.best_s if self._pace.wall_s else self._took_s)
        return Threads(count=self._count, why=why, own_ms=own_ms, ms=self._best_s * 1e3 if self._count else own_ms)

    def close(self) -> None:
        """Let go of the session."""
        if self.session is not None:
            self.session.close()
            self.session = None

    def _why_no_more(self) -> str:
        if self._took_s > _LONG_S:
            return f"a run takes longer than {_LONG_S:g} s, too long to try; `threads` can be given"
        for _ in range(_rounds(self._took_s)):
            self._pace.include(self._meter(self._own, self._inputs)[1])
        if self._pace.best_s < _SHORT_S:
            return "a run is too short to gain by more"
        if self._pace.least_cores > _KEEPS_CORES_BUSY * cores():
            return "they keep all cores at work"
        return ""

    def _tried_all(self, most: int) -> str:
        """From all cores downward for as long as fewer are faster; why no more are taken, where none are."""
        before_s = float("inf")
        for count in falling(most):
            took_s = self._tried(count)
            if took_s is None:
                return "more answer otherwise, if only in the last digits"
            if took_s > before_s or time.perf_counter() > self._until:
                break
            before_s = took_s
        return "more are no faster"

    def _tried(self, count: int) -> float | None:
        """Seconds of a run on ``count`` threads, kept open if it is the best; ``None`` when it answers otherwise."""
        session, pace, is_best = self._again(count), _Pace(), False
        try:
            if not _same(session.run(self._inputs), self._outputs):
                return None
            for _ in range(_rounds(self._pace.best_s)):
                self._pace.include(self._meter(self._own, self._inputs)[1])
                pace.include(self._meter(session, self._inputs)[1])
            waited = pace.waited_s / (pace.wall_s * count)
            self.is_doubtful |= max(waited, self._pace.waited_s / self._pace.wall_s) > _WAITED
            is_best = pace.best_s < _GAIN * min(self._pace.best_s, self._best_s)
            if is_best:
                self.close()
                self.session, self._count, self._best_s = session, count, pace.best_s
            return pace.best_s
        finally:
            if not is_best:
                session.close()


def falling(most: int) -> Iterator[int]:
    """All cores, a half, a quarter ... and two."""
    count = most
    while count > 1:
        yield count
        count //= 2


def _rounds(run_s: float) -> int:
    return int(min(_MOST_ROUNDS, max(_FEWEST_ROUNDS, _TURN_S / max(2 * run_s, 1e-6))))


def _same(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == array.dtype and np.array_equal(one[name], array, equal_nan=array.dtype.kind in "fc")
        for name, array in other.items()
    )


def _engine_seconds() -> tuple[float, float]:
    """Processor time of this process but for Python's other threads, and how long the same threads waited for a core.

    Those others decode, say, and are no part of a run. (proc(5), ``schedstat``; where there is none, nobody waits.)
    """
    others = {thread.native_id for thread in threading.enumerate()} - {threading.get_native_id()}
    worked, waited = time.process_time_ns(), 0
    for task in Path("/proc/self/task").glob("*"):
        with suppress(OSError, ValueError):  # ended meanwhile
            on_core, in_line, _ = (task / "schedstat").read_text(encoding="ascii").split()
            if int(task.name) in others:
                worked -= int(on_core)
            else:
                waited += int(in_line)
    return worked / 1e9, waited / 1e9
