"""A run: the stage is set, the clocks are moved on, and what came of it is told."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.thousand.clock import Clock
from benchmarks.thousand.crowd import Crowds, Told
from benchmarks.thousand.forecast import forecast
from benchmarks.thousand.stage import ROLLOUT, Stage
from edgeai_fleet.conducting.seeing import Seen
from edgeai_fleet.conducting.simulating import Forecast

TICK_S: Final = 900.0
"""So far all carts live at a time."""
ROUNDS: Final = 4
"""Of the conductor meanwhile: after a longer gap it would not have listened, and no cart been silent."""
LIMIT_S: Final = 14 * 86_400.0
SITES: Final = 10
A_PROCESS: Final = 250
"""Carts in a process at most: each has three descriptors, and paho waits with select, which knows 1,024."""
_ENDS: Final = ("done", "halted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is rolled out how: shares of the phases, hours that each is open at least, and when it is halted."""

    shares: tuple[float, ...] = (0.02, 0.2, 1.0)
    soak_h: float = 6.0
    failures: float = 0.2
    least: int = 3
    silent_h: float = 12.0

    @property
    def text(self) -> str:
        """As `edgeai fleet rollout start --plan` takes it."""
        halting = f"failures = {self.failures}\nleast = {self.least}\nsilent_s = {self.silent_h * 3600}\n"
        phases = (f"[[phases]]\nshare = {share}\nsoak_s = {self.soak_h * 3600}\n" for share in self.shares)
        return f"[halting]\n{halting}" + "".join(phases)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a run.

    Attributes:
        seen: the rollout as the conductor saw it last.
        forecast: what `edgeai fleet simulate` says of it beforehand.
        told: of the carts.
        began_at: seconds since the epoch, and ``hours`` until its end: by the carts' clocks.
        setting_s: until all carts were there. ``wall_s``: of the rollout. Of real time, both.
        requests: that the web server answered.
        spent_s: processor time of the rollout, by ``carts``, ``conductor``, ``broker`` and ``web``.
    """

    seen: Seen
    forecast: Forecast
    told: Told
    began_at: float
    hours: float
    setting_s: float
    wall_s: float
    requests: int
    spent_s: dict[str, float]


def run(
    folder: Path,
    carts: int,
    plan: Plan | None = None,
    *,
    processes: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
    **life: Any,
) -> Outcome:
    """Roll release 2 out to so many carts.

    Args:
        folder: for everything; some 400 kB a cart.
        carts: how many.
        plan: of the rollout.
        processes: that the carts share; by itself as many as ``A_PROCESS`` asks for, and two.
        tell: how far it is.
        life: of the carts, as ``Fleet`` has it.

    Raises:
        RuntimeError: a cart broke, or it came to no end.
    """
    _allow_many_files()
    plan, clock, begun = plan or Plan(), Clock(time.time()), time.monotonic()
    with ExitStack() as ending:
        stage = ending.enter_context(Stage(folder, clock))
        fleet = stage.fleet(**life)
        shared = processes or max(2, math.ceil(carts / A_PROCESS))
        crowds = ending.enter_context(Crowds(fleet, names(carts), shared, clock.now))
        setting_s, began_at = time.monotonic() - begun, clock.now
        tell(f"{carts} carts are there after {setting_s:.0f} s")
        stage.start(plan.text)
        before = stage.spent_s()
        seen = _conducted(stage, crowds, clock, tell)
        spent = {name: after - before[name] for name, after in stage.spent_s().items()}
        wall_s = time.monotonic() - begun - setting_s
        told = crowds.end()
        requests, web_s = stage.end_web()
        return Outcome(
            seen=seen,
            forecast=forecast(seen.rollout, names(carts), fleet),
            told=told,
            began_at=began_at,
            hours=(clock.now - began_at) / 3600,
            setting_s=setting_s,
            wall_s=wall_s,
            requests=requests,
            spent_s={"carts": told.cpu_s, **spent, "web": web_s},
        )


def compared(outcome: Outcome) -> dict[str, float]:
    """What was counted as a part of what was predicted: hours, bytes fetched, messages; and an hour, results and
    statuses: where a few carts more fail than by the lots of the prediction, it ends otherwise and at another time.
    """
    told, predicted = outcome.told, outcome.forecast
    hours, said_hours = outcome.hours, predicted.seconds / 3600
    pairs = {
        "hours": (hours, said_hours),
        "fetched_bytes": (told.fetched_bytes, predicted.fetched_bytes),
        "messages": (told.messages.total(), predicted.messages),
        "message_bytes": (told.message_bytes.total(), predicted.message_bytes),
        "results_an_hour": (told.messages["result"] / hours, predicted.said["result"] / said_hours),
        "statuses_an_hour": (told.messages["status"] / hours, predicted.said["status"] / said_hours),
    }
    return {name: round(counted / max(foretold, 1e-9), 3) for name, (counted, foretold) in pairs.items()}


def _conducted(stage: Stage, crowds: Crowds, clock: Clock, tell: Callable[[str], None]) -> Seen:
    end = clock.now + LIMIT_S
    while clock.now < end:
        crowds.live_until(clock.now + TICK_S)
        for _ in range(ROUNDS):
            clock.now += TICK_S / ROUNDS
            seen = stage.round()
        tell(f"{seen.rollout.state}, phase {seen.rollout.open}: {seen.decision.step}: {seen.decision.why}")
        if seen.rollout.state in _ENDS:
            return seen
    raise RuntimeError(f"{ROLLOUT} came to no end: {seen.decision.why}")


def names(carts: int) -> list[str]:
    """``site/device`` of each."""
    return [f"site-{number % SITES}/cart-{number}" for number in range(carts)]


def _allow_many_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
