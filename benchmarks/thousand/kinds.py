"""What is wrong with a release on a cart, and how the cart notices."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One way to fail.

    Attributes:
        rehearsal: code and sentence with which the rehearsal ends, where it does not pass.
        slower: an image takes so many times as long.
        fails_after: so many results are completed; each after that fails with ``code``.
        code: of a result that fails.
        silent_after: so many results, and nothing is heard of the cart any more.
        ends_as: the code that the conductor is to see; empty where it succeeds.
    """

    ends_as: str
    rehearsal: tuple[str, str] | None = None
    slower: float = 1.0
    fails_after: int | None = None
    code: str = ""
    silent_after: int | None = None


def _died(how: str) -> tuple[str, str]:
    return "slots.rehearsal-died", f"it could not be rehearsed: its process ended ({how})"


GOOD: Final = Kind(ends_as="")
KINDS: Final[Mapping[str, Kind]] = {
    "aborts": Kind(ends_as="slots.rehearsal-died", rehearsal=_died("SIGABRT")),
    "hangs": Kind(ends_as="slots.rehearsal-died", rehearsal=_died("deadline")),
    "fills memory": Kind(ends_as="slots.rehearsal-died", rehearsal=_died("memory, over 400 MB")),
    "other answers": Kind(
        ends_as="backend.golden-mismatch",
        rehearsal=(
            "backend.golden-mismatch",
            "it failed its rehearsal: 1 of 2 golden cases are outside their tolerance (case-1: off by 0.5)",
        ),
    ),
    "ten times slower": Kind(ends_as="slots.slow", slower=10.0),
    "not finite": Kind(ends_as="slots.failures", fails_after=0, code="tensor.not-finite"),
    "fails on probation": Kind(ends_as="slots.failures", fails_after=4, code="task.answer"),
    "silent": Kind(ends_as="fleet.silent", silent_after=3),
}


def kind_of(device: str, share: float, silent: float, seed: str) -> str:
    """The name of the kind that a device is of, by lot; empty for one on which all goes well.

    Args:
        device: its name.
        share: of devices of each kind but silence.
        silent: the share of those.
        seed: of the lot.
    """
    lot = random.Random(f"{seed} {device}").random()
    for name in KINDS:
        width = silent if name == "silent" else share
        if lot < width:
            return name
        lot -= width
    return ""
