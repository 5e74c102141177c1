"""A rollout to 100, 300 and 1,000 simulated carts: what one more cart costs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.thousand.running import Outcome, run
from benchmarks.timing import Row

SIZES: Final = (100, 300, 1000)
FLAT: Final = 1.25
"""A cart may take so many times as much processor as one of a hundred does."""


def fleet(folder: Path, bundle: Path, rounds: int) -> Iterator[Row]:
    """Each size once; the ratio is a cart's cost to that of one of a hundred."""
    first = 0.0
    for size in SIZES:
        with tempfile.TemporaryDirectory(dir=folder) as own:
            outcome = run(Path(own), size)
        cost = spent_s(outcome) / size
        first = first or cost
        yield Row(
            case=f"fleet {size}",
            ours=f"{1000 * cost:.0f} ms of processor a cart",
            limit=f"{1000 * first:.0f} ms, one of {SIZES[0]}",
            ratio=cost / first,
            bound=FLAT,
            notes=(described(outcome, size),),
        )


def spent_s(outcome: Outcome) -> float:
    """Processor time of everybody, in seconds."""
    return outcome.told.cpu_s + outcome.conductor_s + outcome.broker_s + outcome.web_s


def described(outcome: Outcome, size: int) -> str:
    """The run in a sentence."""
    told, rollout = outcome.told, outcome.seen.rollout
    return (
        f"{rollout.state} after {outcome.hours:.1f} h of the carts' time ({outcome.forecast.state} after "
        f"{outcome.forecast.seconds / 3600:.1f} h by `edgeai fleet simulate`), {outcome.wall_s:.0f} s here; a cart: "
        f"{told.messages / size:.0f} messages of {told.message_bytes / told.messages:.0f} bytes, "
        f"{told.fetched_bytes / size / 1000:.0f} kB fetched in {told.looks / size:.1f} looks; milliseconds: "
        f"carts {1000 * told.cpu_s / size:.0f}, conductor {1000 * outcome.conductor_s / size:.0f}, "
        f"broker {1000 * outcome.broker_s / size:.0f}, web server {1000 * outcome.web_s / size:.0f}"
    )
