"""What a device takes of all that is offered of a model, by everything that is signed about it. Pure.

A bundle that no rollout is about is anybody's, as it always was, unless its offer says that it comes by rollout only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from edgeai.rollouts.document import Approval, RollBack, Rollout, Stop
from edgeai.rollouts.turns import Facts, Turn, best, not_selected, turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """One bundle of a model, as the repository lists it. ``by_rollout``: nobody takes it without one."""

    release: int
    digest: str
    by_rollout: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What ops have signed, the newest of each: rollouts, approvals by the rollout's name, the order back of the
    model, and the stop.
    """

    rollouts: tuple[Rollout, ...] = ()
    approvals: Mapping[str, Approval] = field(default_factory=dict)
    back: RollBack | None = None
    stop: Stop | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What comes of it.

    Attributes:
        offered: what is taken, or what the device waits for; none where nothing is offered.
        turn: why so.
        back: the order that is to be followed before anything else.
    """

    offered: Offered | None
    turn: Turn
    back: RollBack | None = None


def choose(offered: Sequence[Offered], orders: Orders, facts: Facts, now: datetime) -> Choice:
    """The highest release whose turn has come here; where none is above what runs, the highest, and why it waits.

    Args:
        offered: of the device's model.
        orders: that are in force.
        facts: of the device.
        now: by the device's clock, in its own zone.
    """
    if (back := orders.back) is not None and is_for(back, facts):
        why = f"order {back.number} wants to leave it: {back.why}"
        return Choice(offered=None, turn=Turn(word="taken", code="", why=why), back=back)
    waiting: Choice | None = None
    for each in sorted(offered, key=lambda one: one.release, reverse=True):
        if waiting is not None and each.release <= facts.release:
            break
        answer = turn_of(each, orders, facts, now)
        if answer.word == "taken":
            return Choice(offered=each, turn=answer)
        waiting = waiting or Choice(offered=each, turn=answer)
    return waiting or Choice(offered=None, turn=Turn(word="never", code="rollout.none", why="nothing is offered"))


def turn_of(offered: Offered, orders: Orders, facts: Facts, now: datetime) -> Turn:
    """Whether one bundle is taken here: by any rollout that is about it, or by none where none is needed."""
    if offered.digest == facts.digest:
        return Turn(word="taken", code="", why="it runs here already")
    if (stop := orders.stop) is not None and stop.stopped and (not stop.models or facts.model in stop.models):
        why = f"nothing is taken until the emergency stop is lifted{f': {stop.why}' if stop.why else ''}"
        return Turn(word="not-yet", code="rollout.stopped", why=why)
    back = orders.back
    is_left = back is not None and not back.lifted and offered.digest in back.leaves
    if back is not None and is_left and not not_selected(back.select, facts):
        return Turn(word="never", code="rollout.left", why=f"order {back.number} leaves it: {back.why}")
    about = [each for each in orders.rollouts if each.plan.digest == offered.digest]
    answer = best(turn(each, facts, now, orders.approvals.get(each.name)) for each in about)
    if answer is not None:
        return answer
    if offered.by_rollout:
        return Turn(word="not-yet", code="rollout.none", why="it comes by rollout only, and there is none yet")
    return Turn(word="taken", code="", why="it is offered to every device")


def is_for(back: RollBack, facts: Facts) -> bool:
    """Whether a device has still to follow an order back."""
    is_meant = back.model == facts.model and facts.digest in back.leaves and not not_selected(back.select, facts)
    return is_meant and not back.lifted and back.number > facts.followed
