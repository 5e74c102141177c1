"""How busy the machine is while times are taken: what another programme takes, a time does not say."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeai.bundle.evidence import Load

STAT = Path("/proc/stat")
_IDLE = (3, 4)
"""Places of idle and iowait among the counters of ``cpu``; guests, from the ninth on, are counted in user already."""
_LAST = 8
_LEAST_SHARE = 0.95
_MOST_BUSY = 0.75


@dataclass(slots=True)
class Watching:
    """``load`` is there when the time is over."""

    load: Load | None = None


@contextmanager
def watching(stat: Path = STAT) -> Iterator[Watching]:
    """Watch the machine while the body runs."""
    watched = Watching()
    begin = (time.perf_counter(), time.process_time(), busy_seconds(stat))
    yield watched
    wall, own, all_ = time.perf_counter() - begin[0], time.process_time() - begin[1], busy_seconds(stat)
    if wall <= 0:
        return
    others = None if all_ is None or begin[2] is None else max(0.0, (all_ - begin[2] - own) / wall)
    watched.load = Load(processors=os.cpu_count() or 1, share=own / wall, others=others)


def busy_seconds(stat: Path = STAT) -> float | None:
    """Seconds that all processors together worked since the start; ``None`` where the system does not say."""
    try:
        line = stat.read_text(encoding="ascii").partition("\n")[0].split()
        counters = [int(word) for word in line[1 : _LAST + 1]]
    except (OSError, ValueError):
        return None
    if line[:1] != ["cpu"] or len(counters) <= max(_IDLE):
        return None
    busy = sum(count for place, count in enumerate(counters) if place not in _IDLE)
    return busy / float(os.sysconf("SC_CLK_TCK"))


def disturbed(load: Load) -> bool:
    """Whether times were taken while others worked so much that a quiet machine may give others."""
    waited = load.share is not None and load.share < _LEAST_SHARE
    return waited or (load.others is not None and load.others + 1.0 > max(1.5, _MOST_BUSY * load.processors))
