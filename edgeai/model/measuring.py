"""How long callables take, measured side by side: on a shared machine only figures of the same minutes compare."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

_ROUND_S: Final = 0.02
"""Each turn of a callable lasts about so long: many times the clock's and the scheduler's grain."""
_MOST_CALLS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Milliseconds of one call, over ``rounds`` turns of ``calls`` calls each."""

    median_ms: float
    p5_ms: float
    p95_ms: float
    rounds: int
    calls: int


def interleaved(runs: Mapping[str, Callable[[], object]], *, rounds: int = 15) -> dict[str, Timing]:
    """Time each of ``runs`` in turn, round after round, so that a busy moment hits all alike.

    Each is called twice beforehand, to warm it up and to see how many calls make a turn.
    """
    calls = {name: _calls(run) for name, run in runs.items()}
    turns: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            begin = time.perf_counter()
            for _ in range(calls[name]):
                run()
            turns[name].append((time.perf_counter() - begin) * 1e3 / calls[name])
    return {name: _timing(values, calls[name]) for name, values in turns.items()}


def _calls(run: Callable[[], object]) -> int:
    run()
    begin = time.perf_counter()
    run()
    once = max(time.perf_counter() - begin, 1e-6)
    return int(min(_MOST_CALLS, max(1, round(_ROUND_S / once))))


def _timing(values: list[float], calls: int) -> Timing:
    low, middle, high = np.percentile(values, (5, 50, 95))
    return Timing(median_ms=float(middle), p5_ms=float(low), p95_ms=float(high), rounds=len(values), calls=calls)
