"""What can happen to the slots of a deployment: each a function from a record to the next one. Pure.

``begin``, ``filled``, ``rehearsed``, ``activate``, ``proven``: an update that goes well. ``abandon``, ``fail`` and
``roll_back`` are its other ends; ``go_back`` is an order of the ops team; ``adopt`` takes over what ran before any
update. Time is for people to read: nothing is decided by it, since a clock may say anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from edgeai.agreement import fewest
from edgeai.bundle.releases import Numbered
from edgeai.slots.record import (
    MAX_GIVEN_UP,
    MAX_HISTORY,
    MAX_LABELS,
    MAX_SPENT,
    MAX_WHY,
    OTHER,
    Asked,
    Failed,
    GivenUp,
    Move,
    Name,
    Probation,
    Shadow,
    Slot,
    Slots,
    SlotsError,
    Stage,
)

ORDERED: Final = "ordered"
"""Code of what was left by an order: nothing failed here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order to go back that was verified: which digest to leave, which to run, why, and its number, ever higher."""

    number: int
    leaves: str
    to: str
    why: str


def begin(slots: Slots, bundle: Numbered, at: str, asked: Asked | None = None) -> Slots:
    """A bundle is about to be written to the spare slot: from now on nothing that lies there counts.

    The digest that is active already may come again, with other artifacts. ``asked``: by whoever brings it.
    """
    _hold_to_memory(slots, bundle.digest)
    if slots.probation is not None:
        raise out_of_turn(
            "a bundle is on probation, and what it may have to go back to lies in the other slot",
            remedy="nothing: the next is taken when probation is over, or at once where no image was completed in it",
        )
    slot = Slot(
        digest=bundle.digest,
        model=bundle.name,
        release=bundle.release,
        stage="pending",
        since=at,
        asked=asked or Asked(),
    )
    return _moved(slots, at, "begun", slots.spare, slot)


def filled(slots: Slots, at: str) -> Slots:
    """All of it is on the disk, and was read back."""
    name, slot = _spare(slots, "pending")
    return _moved(slots, at, "installed", name, _at_stage(slot, "installed", at))


def abandon(slots: Slots, why: str, at: str, digest: str = "", cause: str = "") -> Slots:
    """It did not get there, for no fault of its own: a full disk, a power cut, other bytes than were asked for.

    ``cause``: of what this device is like, where it is that which it lacks (``given_up``); it is remembered.
    """
    name, slot = _spare(slots, "pending", "installed", "good", digest=digest)
    _hold_to_new(slot)
    there = slots
    if cause:
        before = slots.given_up.get(slot.digest)
        times = before.times + 1 if before is not None and before.cause == cause else 1
        others = [item for item in slots.given_up.items() if item[0] != slot.digest][-(MAX_GIVEN_UP - 1) :]
        known = GivenUp(cause=cause, why=_clipped(why), since=at, times=times)
        there = msgspec.structs.replace(slots, given_up={**dict(others), slot.digest: known})
    return _moved(there, at, "abandoned", name, None, digest=slot.digest, why=why)


def rehearsed(slots: Slots, at: str, digest: str = "", *, agreement: float = 0.0, most: int = 1) -> Slots:
    """It answered its golden cases on this device. ``digest``: whose rehearsal that was, here and below.

    ``agreement`` is the rate that the profile asks to be shown beside what runs first, within ``most`` images; the
    higher of this and what its bringer asks counts, and 0 of both asks for no shadow.
    """
    name, slot = _spare(slots, "installed", digest=digest)
    needed, running = max(agreement, slot.asked.agreement), slots.running
    others = {digest: known for digest, known in slots.given_up.items() if digest != slot.digest}
    there = msgspec.structs.replace(slots, given_up=others)
    if needed > 0 and running is not None and running.digest != slot.digest:
        within = max(slot.asked.images or most, fewest(needed))
        shadow = Shadow(digest=slot.digest, since=at, needed=needed, most=within)
        there = msgspec.structs.replace(there, shadow=shadow)
    return _moved(there, at, "rehearsed", name, _at_stage(slot, "good", at))


def compared(slots: Slots, digest: str, difference: str) -> Slots:
    """One more image was shown to both; ``difference`` is how their answers differ, empty where they agree."""
    shadow = _shadow(slots, digest)
    changed = msgspec.structs.replace(
        shadow,
        compared=shadow.compared + 1,
        agreed=shadow.agreed + (not difference),
        last=_clipped(difference) if difference else shadow.last,
    )
    return msgspec.structs.replace(slots, sequence=slots.sequence + 1, shadow=changed)


def shown(slots: Slots, why: str, at: str, digest: str) -> Slots:
    """It need be shown beside what runs no longer, and waits for its turn."""
    _shadow(slots, digest)
    return _moved(slots, at, "shown", slots.spare, slots.of(slots.spare), why=why, shadow=None)


def fail(slots: Slots, code: str, why: str, at: str, digest: str = "") -> Slots:
    """It failed before it was active: in rehearsal, on trial, as a shadow."""
    name, slot = _spare(slots, "installed", "good", digest=digest)
    _hold_to_new(slot)
    return _ended(slots, at, "failed", name, code, why)


def adopt(slots: Slots, at: str) -> Slots:
    """What the profile's path holds has been copied: it runs from its slot now, and is there to go back to."""
    if slots.active is not None:
        raise out_of_turn("there is an active slot already")
    name, slot = _spare(slots, "installed", "good")
    return _moved(slots, at, "adopted", name, _standing(slot, at), active=name)


def activate(slots: Slots, needed: int, at: str, digest: str = "", **before: Any) -> Slots:
    """The spare slot runs from now on, on probation until it has given so many results; see ``Probation``."""
    if slots.active is None:
        raise out_of_turn("nothing is active yet: what runs now is adopted first, to go back to")
    if slots.probation is not None:
        raise out_of_turn("a bundle is on probation already")
    name, slot = _spare(slots, "good", digest=digest)
    if slot.stood:
        raise out_of_turn("what lies in the other slot has run here before: going back takes an order")
    if slots.in_shadow is not None:
        raise out_of_turn("it is to be shown beside what runs first")
    probation = Probation(since=at, needed=needed, **before)
    return _moved(slots, at, "activated", name, _standing(slot, at), active=name, probation=probation)


def counted(
    slots: Slots,
    at: str,
    *,
    completed: int = 0,
    failed: int = 0,
    withheld: int = 0,
    spent_ms: Sequence[float] = (),
    stated: Sequence[Collection[str]] = (),
) -> Slots:
    """So many more results of the active slot while it is on probation; no move that a history tells.

    ``stated``: of each series that is new, the labels that were stated on its first image.
    """
    probation = _probation(slots)
    labels = Counter(probation.stated) + Counter(label for each in stated for label in each)
    is_known = len(labels) <= MAX_LABELS
    changed = msgspec.structs.replace(
        probation,
        completed=probation.completed + completed,
        failed=probation.failed + failed,
        withheld=probation.withheld + withheld,
        spent_ms=(*probation.spent_ms, *(round(each, 3) for each in spent_ms))[-MAX_SPENT:],
        seen=probation.seen + len(stated) if is_known else 0,
        stated=dict(labels) if is_known else {},
    )
    return msgspec.structs.replace(slots, sequence=slots.sequence + 1, probation=changed)


def proven(slots: Slots, at: str) -> Slots:
    """Probation ended well; the floor has risen before (``SlotFolder.prove``)."""
    probation = _probation(slots)
    if probation.completed < probation.needed:
        raise out_of_turn(f"{probation.completed} of {probation.needed} results are there")
    why = f"{probation.completed} results completed, {probation.failed} failed, {probation.withheld} withheld"
    return _moved(slots, at, "proven", slots.active, slots.running, why=why, probation=None)


def roll_back(slots: Slots, code: str, why: str, at: str) -> Slots:
    """Probation ended badly: what stood before runs again, and what failed is remembered."""
    _probation(slots)
    return _left(slots, at, "rolled-back", code, why)


def supersede(slots: Slots, bundle: Numbered, at: str) -> Slots:
    """A newer release is about to come, and what is on probation has completed nothing: what stood before runs again.

    What gives way is not blamed. In any other case nothing changes.
    """
    running, probation = slots.running, slots.probation
    if running is None or probation is None or probation.completed or slots.before is None:
        return slots
    if bundle.name != running.model or bundle.release <= running.release or bundle.digest in slots.bad:
        return slots
    name = slots.spare
    why = f"it had completed no image when {bundle} came"
    left, there = slots.active, msgspec.structs.replace(slots, active=name, probation=None)
    return _moved(there, at, "superseded", left, None, digest=running.digest, why=why)


def go_back(slots: Slots, order: Order, at: str) -> Slots:
    """An order, where what it wants to run lies in the other slot and is good: it runs, and stands."""
    hold_to_order(slots, order)
    name, slot = _spare(slots, "good")
    if slot.digest != order.to:
        raise out_of_turn(f"the other slot holds {slot.digest[:19]}..., the order wants {order.to[:19]}...")
    ready = _put(slots, name, _standing(slot, at))
    return msgspec.structs.replace(_left(ready, at, "ordered-back", ORDERED, order.why), order=order.number)


def damaged(slots: Slots, name: Name, why: str, at: str) -> Slots:
    """What a slot holds is not any more what was written there: the disk's fault, not the bundle's.

    Where it was active, what stood before runs again. Without that the slot stays: nothing better is known.
    """
    slot = slots.of(name)
    if slot is None:
        raise out_of_turn(f"slot {name} is empty")
    if name != slots.active:
        return _moved(slots, at, "damaged", name, None, digest=slot.digest, why=why)
    if slots.before is None:
        raise out_of_turn("nothing lies in the other slot that could run instead")
    return _moved(slots, at, "damaged", name, None, digest=slot.digest, why=why, active=OTHER[name], probation=None)


def left_by_order(slots: Slots, digests: Collection[str]) -> tuple[str, ...]:
    """Which of these are bad here by an order alone: nothing was shown against them on this device."""
    return tuple(key for key, failed in slots.bad.items() if key in digests and failed.code == ORDERED)


def pardon(slots: Slots, digest: str, at: str) -> Slots:
    """A person says that a digest may come again: its engine was at fault, and is another now."""
    if digest not in slots.bad:
        here = ", ".join(f"{each[:19]}..." for each in slots.bad) or "none"
        raise out_of_turn(f"{digest} has not failed here", remedy=f"check the digest; remembered as bad: {here}")
    bad = {key: failed for key, failed in slots.bad.items() if key != digest}
    held: dict[str, Any] = {name: None for name in OTHER if (slot := slots.of(name)) and slot.digest == digest}
    changed = msgspec.structs.replace(slots, bad=bad, **held)
    return _moved(changed, at, "pardoned", None, None, digest=digest)


def hold_to_order(slots: Slots, order: Order) -> None:
    """Refuse an order that is not for now: its number was seen, it leaves what does not run, or runs what failed here.

    Raises:
        SlotsError: ``slots.order-refused``, ``slots.bad``.
    """
    running = slots.running
    if order.number <= slots.order:
        why = f"order {order.number} to go back is not newer than order {slots.order}, which was followed here"
    elif running is None or running.digest != order.leaves:
        runs = f"{running.digest[:19]}... is" if running else "no slot is"
        why = f"the order wants to leave {order.leaves[:19]}..., and {runs} active"
    elif order.to == order.leaves:
        why = "the order wants to run what it wants to leave"
    else:
        _hold_to_memory(slots, order.to)
        return
    raise SlotsError(why, code="slots.order-refused", remedy="sign a new order for what runs here now")


def _hold_to_memory(slots: Slots, digest: str) -> None:
    failed = slots.bad.get(digest)
    if failed is not None:
        name = Numbered(name=failed.model, release=failed.release, digest=digest)
        raise SlotsError(
            f"{name} ({digest[:19]}...) failed on this device at {failed.since}: {failed.why}",
            code="slots.bad",
            remedy="offer a repaired build; only where what made it fail was not its own, let it come again: "
            f"`edgeai status PROFILE --pardon {digest[:19]}`",
        )


def _spare(slots: Slots, *stages: Stage, digest: str = "") -> tuple[Name, Slot]:
    """What is not active, where it came so far; another bundle may have come to lie there meanwhile."""
    name = slots.spare
    slot = slots.of(name)
    if slot is not None and digest not in ("", slot.digest):
        raise out_of_turn(f"slot {name} holds {slot.digest[:19]}... now, and this is about {digest[:19]}...")
    if slot is None or slot.stage not in stages:
        stage = slot.stage if slot else "empty"
        raise out_of_turn(f"slot {name} is {stage}, and would have to be {' or '.join(stages)}")
    return name, slot


def _probation(slots: Slots) -> Probation:
    if slots.probation is None:
        raise out_of_turn("nothing is on probation")
    return slots.probation


def _shadow(slots: Slots, digest: str) -> Shadow:
    if slots.in_shadow is None or slots.in_shadow.digest != digest:
        raise out_of_turn(f"{digest[:19]}... is not shown beside what runs")
    return slots.in_shadow


def _hold_to_new(slot: Slot) -> None:
    if slot.stood:
        raise out_of_turn("what lies in the other slot has run here before, and is there to go back to")


def _at_stage(slot: Slot, stage: Stage, at: str) -> Slot:
    return msgspec.structs.replace(slot, stage=stage, since=at)


def _standing(slot: Slot, at: str) -> Slot:
    return msgspec.structs.replace(slot, stage="good", stood=True, since=at)


def _left(slots: Slots, at: str, move: str, code: str, why: str) -> Slots:
    """What stood before runs, and the slot that was active ends."""
    name = slots.active
    if name is None or slots.before is None:
        raise out_of_turn("nothing lies in the other slot that could run instead")
    there = msgspec.structs.replace(slots, active=OTHER[name], probation=None)
    return _ended(there, at, move, name, code, why)


def _ended(slots: Slots, at: str, move: str, name: Name, code: str, why: str) -> Slots:
    """The bundle of a slot failed. Where the other slot has the same digest, it is these artifacts that did."""
    slot, other = slots.of(name), slots.of(OTHER[name])
    assert slot is not None
    if other is not None and other.digest == slot.digest:
        return _moved(slots, at, move, name, None, digest=slot.digest, why=why)
    failed = Failed(model=slot.model, release=slot.release, code=code, why=_clipped(why), since=at)
    bad = {**slots.bad, slot.digest: failed}
    return _moved(slots, at, move, name, _at_stage(slot, "bad", at), why=why, bad=bad)


def _moved(
    slots: Slots,
    at: str,
    move: str,
    name: Name | None,
    slot: Slot | None,
    *,
    digest: str | None = None,
    why: str = "",
    **changes: Any,
) -> Slots:
    """The record after a move, with the move in its history."""
    told = Move(
        sequence=slots.sequence + 1,
        at=at,
        move=move,
        slot=name,
        digest=slot.digest if slot is not None else digest,
        why=_clipped(why) if why else "",
    )
    history = (*slots.history, told)[-MAX_HISTORY:]
    changed = msgspec.structs.replace(slots, sequence=told.sequence, history=history, **changes)
    changed = _put(changed, name, slot) if name is not None else changed
    return msgspec.structs.replace(changed, shadow=changed.in_shadow)


def _put(slots: Slots, name: Name, slot: Slot | None) -> Slots:
    put: dict[str, Any] = {name: slot}
    return msgspec.structs.replace(slots, **put)


def _clipped(why: str) -> str:
    """Words of an error as a record can hold them."""
    plain = "".join(letter if letter.isprintable() else " " for letter in why) or "no reason was given"
    return plain[:MAX_WHY]


def out_of_turn(why: str, remedy: str = "") -> SlotsError:
    """``slots.out-of-turn``: nothing is wrong with what is there, it is only not its turn."""
    usual = "nothing: the next look at the slots finds what can be done"
    return SlotsError(f"this cannot happen to the slots now: {why}", code="slots.out-of-turn", remedy=remedy or usual)
