"""A rollout to 100, 300 and 1,000 simulated carts: what one more cart costs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.thousand.running import Outcome, compared, run
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
    return sum(outcome.spent_s.values())


def described(outcome: Outcome, size: int) -> str:
    """The run in a sentence."""
    told, rollout, foretold = outcome.told, outcome.seen.rollout, outcome.forecast
    messages, message_bytes = told.messages.total(), told.message_bytes.total()
    spent = ", ".join(f"{who} {1000 * seconds / size:.0f}" for who, seconds in outcome.spent_s.items())
    parts = ", ".join(f"{what} {1000 * seconds / size:.0f}" for what, seconds in told.parts_s.items())
    likeness = ", ".join(f"{what} {ratio:.2f}" for what, ratio in compared(outcome).items())
    return (
        f"{rollout.state} after {outcome.hours:.1f} h of the carts' time ({foretold.state} after "
        f"{foretold.seconds / 3600:.1f} h by `edgeai fleet simulate`), {outcome.wall_s:.0f} s here and "
        f"{outcome.setting_s:.0f} s before; a cart: {messages / size:.0f} messages of {message_bytes / messages:.0f} "
        f"bytes, {told.fetched_bytes / size / 1000:.0f} kB fetched in {told.looks / size:.1f} looks; "
        f"counted to predicted: {likeness}; milliseconds: {spent}; of the carts' {parts}"
    )
