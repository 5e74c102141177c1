"""What happened to the slots of a deployment, as events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from edgeai.bundle.releases import Numbered
from edgeai.slots import Move, Slots
from edgeai.spool import Saying

_KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "adopted": ("update.adopted", "runs from a slot now, and is there to go back to"),
    "installed": ("update.installed", "lies in a slot, and is to be rehearsed"),
    "abandoned": ("update.abandoned", "is not wanted any more"),
    "rehearsed": ("update.rehearsed", "answered its golden cases here, and waits for its turn"),
    "shown": ("update.shown", "is shown beside what runs no longer, and waits for its turn"),
    "failed": ("update.failed", "does not run here, and is remembered as bad"),
    "activated": ("update.activated", "runs from now on, on probation"),
    "proven": ("update.proven", "has ended its probation well, and stays"),
    "rolled-back": ("update.rolled-back", "was left again, and is remembered as bad; what stood before runs"),
    "superseded": ("update.superseded", "has completed no image and gives way to a newer one; what stood before runs"),
    "ordered-back": ("update.ordered-back", "was left by an order; what stood before runs"),
    "damaged": ("update.damaged", "is not what was written to its slot"),
    "pardoned": ("update.pardoned", "may come again"),
}
"""Move -> kind of its event, and its sentence."""


def sayings(slots: Slots, deployment: str) -> Iterator[Saying]:
    """An event for every move of the history that is worth one, oldest first."""
    names = _names(slots)
    for move in slots.history:
        known = _KINDS.get(move.move)
        if known is None:
            continue
        kind, sentence = known
        name = str(names.get(move.digest or "", "a bundle")).removesuffix(",")
        failed = slots.bad.get(move.digest or "")
        because = f": {move.why}" if move.why else ""
        yield Saying(
            sequence=move.sequence,
            kind=kind,
            message=f"{deployment}: {name} {sentence}{because}",
            facts={
                "deployment": deployment,
                "digest": move.digest,
                "slot": move.slot,
                "at": move.at,
                "code": failed.code if failed is not None and failed.why == move.why else None,
                "why": move.why or None,
                **_goes_on(slots, move),
            },
        )


def _goes_on(slots: Slots, move: Move) -> dict[str, object]:
    """What runs after the last move, where that is another."""
    if move.move not in ("rolled-back", "superseded", "ordered-back", "damaged") or move != slots.history[-1]:
        return {}
    return {"runs": slots.running.digest if slots.running else None}


def _names(slots: Slots) -> dict[str, Numbered]:
    known = {digest: Numbered(name=f.model, release=f.release, digest=digest) for digest, f in slots.bad.items()}
    return known | {slot.digest: slot.number for slot in (slots.a, slots.b) if slot is not None}
