"""How a rollout goes on: each a function from its document to the next one. Pure; the conductor calls them too.

Phases only open and serials only rise; what a plan says never changes, since people approved it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from edgeai.api.errors import ConfigError
from edgeai.rollouts import Rollout
from edgeai_fleet.spans import span

_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


def open_next(rollout: Rollout, now: datetime, why: str = "", *, early: bool = False) -> Rollout:
    """The next phase is open too.

    Raises:
        ConfigError: ``fleet.rollout-state``: it does not run, there is none, or (unless ``early``) the phase now open
            has not been open for its soak.
    """
    _hold_to_state(rollout, "running", "phase")
    phases = rollout.plan.phases
    if rollout.open == len(phases):
        raise _refused(rollout, f"its last phase, {rollout.open}, is open already", "finish it, when it has held")
    soak_s = phases[rollout.open - 1].soak_s
    left_s = soak_s - (now - time_of(rollout.since)).total_seconds()
    if left_s > 0 and not early:
        why = f"phase {rollout.open} soaks for another {span(left_s)} of its {span(soak_s)}"
        raise _refused(rollout, why, "wait; or open it --early, if you know that it holds")
    return _next(rollout, now, why, open=rollout.open + 1, since=word_of(now))


def pause(rollout: Rollout, now: datetime, why: str = "") -> Rollout:
    """Nobody takes it until it is resumed."""
    _hold_to_state(rollout, "running", "pause")
    return _next(rollout, now, why, state="paused")


def resume(rollout: Rollout, now: datetime, why: str = "") -> Rollout:
    """It goes on where it was; after a halt perhaps with an approval only."""
    _hold_to_state(rollout, "paused halted", "resume")
    return _next(rollout, now, why, state="running")


def halt(rollout: Rollout, now: datetime, why: str = "") -> Rollout:
    """Too many failed: nobody takes it until somebody has looked."""
    _hold_to_state(rollout, "running paused", "halt")
    return _next(rollout, now, why, state="halted", halts=rollout.halts + 1)


def cancel(rollout: Rollout, now: datetime, why: str = "") -> Rollout:
    """Nobody takes it any more, whatever comes; who runs it runs on."""
    _hold_to_state(rollout, "running paused halted done", "cancel")
    return _next(rollout, now, why, state="cancelled")


def finish(rollout: Rollout, now: datetime, why: str = "") -> Rollout:
    """All phases are open and have held."""
    _hold_to_state(rollout, "running", "finish")
    if rollout.open < len(rollout.plan.phases):
        open_ = f"{rollout.open} of {len(rollout.plan.phases)} phases are open"
        raise _refused(rollout, open_, "open the others first; to end it where it is, cancel it")
    return _next(rollout, now, why, state="done")


CHANGES: Final[Mapping[str, Callable[..., Rollout]]] = {
    "phase": open_next,
    "pause": pause,
    "resume": resume,
    "halt": halt,
    "cancel": cancel,
    "finish": finish,
}


def has_ended(rollout: Rollout) -> bool:
    """Whether nothing of it is opened, judged or counted any more."""
    return rollout.state in ("done", "cancelled")


def time_of(word: str) -> datetime:
    """A time of a document."""
    return datetime.strptime(word, _TIME).replace(tzinfo=UTC)


def word_of(now: datetime) -> str:
    """A time as documents have it."""
    return f"{now.astimezone(UTC):{_TIME}}"


def _next(rollout: Rollout, now: datetime, why: str, **changes: Any) -> Rollout:
    return msgspec.structs.replace(rollout, serial=rollout.serial + 1, at=word_of(now), why=why, **changes)


def _hold_to_state(rollout: Rollout, states: str, what: str) -> None:
    if rollout.state not in states.split():
        remedy = "a rollout that ended stays so: start another one" if has_ended(rollout) else ""
        raise _refused(
            rollout, f"it is {rollout.state}", remedy or f"{what} is for one that is {' or '.join(states.split())}"
        )


def _refused(rollout: Rollout, why: str, remedy: str) -> ConfigError:
    return ConfigError(f"{rollout.name}: {why}", code="fleet.rollout-state", remedy=remedy)
