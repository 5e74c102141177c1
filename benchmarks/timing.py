"""Two things timed in turn, so that a machine that slows down slows both."""

from __future__ import annotations

import os
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. ``bound`` is what ``ratio`` should keep to; ``at_least`` says on which side."""

    case: str
    ours: str
    limit: str
    ratio: float | None = None
    spread: tuple[float, float] = (0.0, 0.0)
    bound: float | None = None
    at_least: bool = False
    notes: tuple[str, ...] = field(default=())

    @property
    def is_reached(self) -> bool | None:
        """Whether the ratio keeps to its bound; ``None`` when there is none."""
        if self.bound is None or self.ratio is None:
            return None
        return self.ratio >= self.bound if self.at_least else self.ratio <= self.bound


@dataclass(frozen=True, slots=True)
class Paired:
    """Medians in milliseconds, and the median of the ratios pair by pair with its quartiles."""

    ours_ms: float
    limit_ms: float
    ratio: float
    spread: tuple[float, float]


def paired(
    ours: Callable[[], object],
    limit: Callable[[], object],
    *,
    rounds: int,
    warmup: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> Paired:
    """Run the two in turn: limit, ours, limit, ours ... by the ``clock``, in seconds."""
    for _ in range(warmup):
        limit()
        ours()
    pairs = [(milliseconds(limit, clock), milliseconds(ours, clock)) for _ in range(rounds)]
    return summary([own for _, own in pairs], [bare for bare, _ in pairs])


def summary(ours_ms: list[float], limits_ms: list[float]) -> Paired:
    """Of figures taken in turn."""
    ratios = [own / bare for own, bare in zip(ours_ms, limits_ms, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    return Paired(statistics.median(ours_ms), statistics.median(limits_ms), statistics.median(ratios), (low, high))


def milliseconds(action: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """What one call takes by the clock."""
    started = clock()
    action()
    return (clock() - started) * 1000.0


def children_seconds() -> float:
    """A clock: the processor time of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True, slots=True)
class Timed:
    """Wall clock and processor time of this process, in milliseconds; the share of all cores that others used."""

    ms: float
    cpu_ms: float
    others: float


def timed(action: Callable[[], object]) -> Timed:
    """One call. Where the system does not tell what its cores do, others are taken to be still."""
    everybody, own, started = _cores_seconds(), _own_seconds(), time.perf_counter()
    action()
    took, used = time.perf_counter() - started, _own_seconds() - own
    elsewhere = _cores_seconds() - everybody - used
    return Timed(took * 1000.0, used * 1000.0, max(0.0, elsewhere) / (took * (os.cpu_count() or 1)))


def _cores_seconds() -> float:
    """What all cores have worked since the machine started (proc(5), ``/proc/stat``), waiting left out."""
    try:
        user, nice, system, _idle, _wait, *interrupts = Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    except OSError:
        return 0.0
    return sum(map(int, (user, nice, system, *interrupts))) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
