"""The slots of a deployment in words and figures, as a status shows them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from edgeai.agreement import interval
from edgeai.slots.record import Move, Name, Slot, Slots

ENDS: Final[Mapping[str, str]] = {
    "rolled-back": "was rolled back",
    "failed": "failed before it ran",
    "superseded": "gave way to a newer one",
    "damaged": "was damaged on disk",
    "abandoned": "was given up",
    "ordered-back": "was left by an order",
}
"""Moves that end a bundle's stay, and how one says it."""

_CURES: Final = ("activated", "proven", "pardoned")


def summary(slots: Slots) -> dict[str, Any]:
    """For JSON (``edgeai/schemas/status-2.json``): what is in each slot, how probation stands, and the last bad end."""
    probation, ended = slots.probation, last_end(slots)
    return {
        "active": slots.active,
        "a": _slot(slots, "a"),
        "b": _slot(slots, "b"),
        "probation": None
        if probation is None
        else {name: getattr(probation, name) for name in ("since", "needed", "completed", "failed", "withheld")},
        "shadow": _shadow(slots),
        "last_end": ended,
        "bad": len(slots.bad),
    }


def last_end(slots: Slots) -> dict[str, Any] | None:
    """How the last bundle ended that did not stay: ``move``, ``digest``, ``at``, ``code``, ``why``; and whether it was
    the last thing that came of an update (``stands``). One that may come again has not ended.
    """
    pardoned = {(move.digest, move.sequence) for move in slots.history if move.move == "pardoned"}
    ends = (move for move in reversed(slots.history) if move.move in ENDS)
    ended = next((end for end in ends if not _is_after(end, pardoned)), None)
    if ended is None:
        return None
    failed = slots.bad.get(ended.digest or "")
    stands = not any(move.move in _CURES and move.sequence > ended.sequence for move in slots.history)
    code = failed.code if failed is not None else None
    return {
        "move": ended.move,
        "digest": ended.digest,
        "at": ended.at,
        "code": code,
        "why": ended.why,
        "stands": stands,
    }


def _is_after(end: Move, pardoned: Collection[tuple[str | None, int]]) -> bool:
    return any(digest == end.digest and sequence > end.sequence for digest, sequence in pardoned)


def sentences(told: Mapping[str, Any]) -> list[str]:
    """A summary as lines for people."""
    lines = []
    active = told.get(told.get("active") or "")
    if active:
        line = f"slot {told['active']} runs, {_named(active)}"
        if probation := told.get("probation"):
            counted = f"{probation['completed']} of {probation['needed']}"
            more = [f"{probation[kind]} {kind}" for kind in ("failed", "withheld") if probation[kind]]
            line += f", on probation {counted}{f' ({join})' if (join := ', '.join(more)) else ''}"
        lines.append(line)
    other = {"a": "b", "b": "a"}.get(told.get("active") or "", "a")
    spare = told.get(other)
    if spare and spare["stage"] != "bad":
        words = "stood before" if spare["stood"] else f"is {spare['stage']}"
        line = f"slot {other} {words}, {_named(spare)}"
        if shadow := told.get("shadow"):
            agreed = f"agrees on {shadow['agreed']} of {shadow['compared']} images"
            between = f"between {shadow['low']:.1%} and {shadow['high']:.1%}"
            line += f", is shown beside what runs: {agreed} ({between}; {shadow['needed']:.1%} are asked for)"
        lines.append(line)
    if bounds := told.get("bounds"):
        lines.append(_bounds(bounds))
    ended = told.get("last_end")
    if ended:
        lines.append(
            f"the last that did not stay {ENDS[ended['move']]} at {ended['at']}: {ended['why'] or 'no word why'}"
        )
    return lines


def _bounds(bounds: Mapping[str, Any]) -> str:
    own = ", ".join(f"{name} {json.dumps(bound)}" for name, bound in bounds["signed"].items())
    shift = ", or a label stated far more or less often" if bounds["shift"] else ""
    return (
        f"from probation it goes back by more failures and deaths than {bounds['failures']}, {bounds['slowdown']:g} "
        f"times the time, {bounds['withheld']:.0%} more images without a statement{shift}"
        f" ({f'it brings {own}' if own else 'all by the profile'})"
    )


def _shadow(slots: Slots) -> dict[str, Any] | None:
    shadow = slots.in_shadow
    if shadow is None:
        return None
    low, high = interval(shadow.agreed, shadow.compared)
    figures = {name: getattr(shadow, name) for name in ("since", "needed", "most", "compared", "agreed", "last")}
    return {**figures, "low": round(low, 4), "high": round(high, 4)}


def _named(slot: Mapping[str, Any]) -> str:
    return f"{slot['model']} release {slot['release']} ({slot['digest'][:19]}...)"


def _slot(slots: Slots, name: Name) -> dict[str, Any] | None:
    slot: Slot | None = slots.of(name)
    if slot is None:
        return None
    return {key: getattr(slot, key) for key in ("digest", "model", "release", "stage", "since", "stood")}
