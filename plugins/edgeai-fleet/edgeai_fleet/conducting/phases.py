"""What follows for a rollout from what its carts have shown: go on, wait, halt, or done. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from edgeai.counted import counted
from edgeai.rollouts import Rollout
from edgeai_fleet.conducting.judging import LATE_S, STATUS_EVERY_S, Word
from edgeai_fleet.spans import span

Step: TypeAlias = Literal["go-on", "wait", "halt", "done"]
MOVES: Final[Mapping[Step, str]] = {"go-on": "phase", "halt": "halt", "done": "finish"}
"""What is done to a rollout for a step; nothing for the one that waits."""
WORDS: Final[tuple[Word, ...]] = ("succeeded", "failed", "silent", "undecided", "waiting")
ENOUGH: Final = 0.5
"""Of a phase's carts so many must have ended before the next is opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A phase's own carts, counted.

    ``pardoned``: of those that failed or fell silent, how many a person knew of when the rollout was resumed.
    ``fresh``: of the undecided, how many have not been so for as long as ``settles_s`` says.
    """

    succeeded: int = 0
    failed: int = 0
    silent: int = 0
    undecided: int = 0
    waiting: int = 0
    pardoned: int = 0
    fresh: int = 0

    @property
    def carts(self) -> int:
        """All of them."""
        return self.succeeded + self.ended_badly + self.undecided + self.waiting

    @property
    def ended_badly(self) -> int:
        """Failed or silent."""
        return self.failed + self.silent

    @property
    def ended(self) -> int:
        """Either way."""
        return self.succeeded + self.ended_badly

    def __add__(self, other: Standing) -> Standing:
        return Standing(**{name: getattr(self, name) + getattr(other, name) for name in Standing.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is to be done, and why in one sentence."""

    step: Step
    why: str


def count(words: Iterable[Word], pardoned: int = 0, fresh: int = 0) -> Standing:
    """The standing of carts with these words."""
    counts = Counter(words)
    return Standing(pardoned=pardoned, fresh=fresh, **{name: counts[name] for name in WORDS})


def settles_s(rollout: Rollout) -> float:
    """So long a cart must have run the bundle, been there and had no image, before a rollout may end without it.

    One that falls silent meanwhile is found out: the soak of the phase, and never less than its statuses need.
    """
    return max(rollout.plan.phases[rollout.open - 1].soak_s, LATE_S)


def decide(
    rollout: Rollout, standings: Sequence[Standing], now: float, since: float, listened_s: float = math.inf
) -> Decision:
    """What follows.

    Failures are held against all that have ended or are on their way: who ends first makes no difference, and once all
    have ended it is the share of those that have.

    Args:
        rollout: as it was signed last.
        standings: of the phases that are open, the first first.
        now: seconds since the epoch.
        since: when the phase now open was opened.
        listened_s: for so long somebody has listened without a gap.
    """
    if rollout.state != "running":
        return Decision(step="wait", why=f"it is {rollout.state}")
    plan, opened = rollout.plan, standings[: rollout.open]
    overall = sum(opened, Standing())
    if reason := too_many(rollout, overall):
        return Decision(step="halt", why=reason)
    own = opened[-1] if opened else Standing()
    if (left := plan.phases[rollout.open - 1].soak_s - (now - since)) > 0:
        return Decision(step="wait", why=f"phase {rollout.open} soaks for another {span(left)}")
    if not own.carts and listened_s < STATUS_EVERY_S:
        why = f"no cart of phase {rollout.open} was heard, and {span(STATUS_EVERY_S)} of listening would show one"
        return Decision(step="wait", why=why)
    if lacks := _lacks(rollout, own, overall):
        return Decision(step="wait", why=lacks)
    if rollout.open < len(plan.phases):
        return Decision(step="go-on", why=f"phase {rollout.open} held: {_figures(own)}")
    if overall.waiting:
        return Decision(step="wait", why=f"on their way: {overall.waiting} of {counted(overall.carts, 'cart')}")
    if overall.fresh:
        why = (
            f"{counted(overall.fresh, 'cart')} running it without images, for less than {span(settles_s(rollout))} yet"
        )
        return Decision(step="wait", why=why)
    return Decision(step="done", why=f"all phases held: {_figures(overall)}")


def too_many(rollout: Rollout, overall: Standing) -> str:
    """Why it is to be halted, in a sentence; empty where it is not."""
    halting = rollout.plan.halting
    bad = overall.ended_badly - overall.pardoned
    base = overall.succeeded + bad + overall.waiting
    if bad < halting.least or not bad > halting.failures * base:
        return ""
    silent = f", {overall.silent} of them silent" if overall.silent else ""
    bound = f"more than {100 * halting.failures:.3g} % of those that have ended or are on their way"
    return f"{bad} of {counted(base, 'cart')} failed{silent}: {bound}, and {halting.least} or more"


def _lacks(rollout: Rollout, own: Standing, overall: Standing) -> str:
    """What a phase has still to show, in a sentence; empty where nothing."""
    number, bad = rollout.open, overall.ended_badly - overall.pardoned
    if not own.carts:
        return ""
    needed = math.ceil(ENOUGH * own.carts)
    undecided = f"; {own.undecided} running it without images" if own.undecided else ""
    if own.ended < needed:
        ended = f"{own.ended} of {counted(own.carts, 'cart')}"
        return f"phase {number} has ended on {ended}, and {needed} must have{undecided}"
    if not own.succeeded:
        if bad and bad < rollout.plan.halting.least:
            few = f"{bad} failed, fewer than the {rollout.plan.halting.least} from which on it would be halted"
            none = f"none of {counted(own.carts, 'cart')} of phase {number} has succeeded"
            return f"{few}, and {none}: it goes on by hand or not at all"
        return f"none of {counted(own.carts, 'cart')} of phase {number} has succeeded{undecided}"
    return ""


def _figures(standing: Standing) -> str:
    parts = [f"{getattr(standing, name)} {name}" for name in WORDS]
    return ", ".join(part for part in parts if not part.startswith("0 ")) or "no cart stands in it"
