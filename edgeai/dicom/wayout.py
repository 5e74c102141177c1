"""Ways out of items and sequences that do not hold together: where the walk can go on, and how sure that is.

Three are known. *Stated*: whatever is in it, it ends where it says. *Overrun*: what begins inside belongs to it
wholly, so that its stated length was too short (DCMTK reads such files so). *Early*: its stated length was too long.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from edgeai.dicom.encoding import ITEM, ITEM_END, SEQUENCE_END, Level
from edgeai.dicom.lookahead import SURE, Lookahead

_ENDS: Final = (ITEM, SEQUENCE_END)


class WayOut(NamedTuple):
    """Keep so many of the levels, and go on at this place; ``more``: with further items of the sequence just left."""

    kept: int
    position: int
    more: bool = False


def way_out(levels: list[Level], position: int, overrun: int | None, ahead: Lookahead) -> WayOut | None:
    """How to go on after what does not fit at ``position``; ``None``: nobody can tell.

    Args:
        levels: all that are open.
        position: of what does not fit.
        overrun: where it ends, if it begins in its item or sequence and ends behind it.
        ahead: looks ahead.
    """
    stated = _stated(levels, ahead)
    over = _overrun(levels, position, overrun, ahead)
    if over is None:
        return stated or _early(levels, position, ahead)
    # Only of the same item or sequence they contradict one another.
    both = stated is not None and stated.kept >= over.kept and stated.position != over.position
    return None if both else over


def _stated(levels: list[Level], ahead: Lookahead) -> WayOut | None:
    """The innermost sequence or item that is known to end in a sound place."""
    for kept in range(len(levels) - 1, 0, -1):
        end = levels[kept].end
        if end is not None and _is_sound(levels, kept, end, ahead):
            return WayOut(kept, end)
    return None


def _is_sound(levels: list[Level], kept: int, end: int, ahead: Lookahead) -> bool:
    """Whether what follows ``end`` follows on the levels that are kept, or on those that do not end there too."""
    while kept > 1 and levels[kept - 1].end == end:
        kept -= 1
    left, outer = levels[kept], levels[kept - 1]
    if outer.kind == "sequence":
        return ahead.tag(end, outer.bound) in _ENDS
    return ahead.leads_on(end, left.tag, outer) == SURE


def _overrun(levels: list[Level], position: int, overrun: int | None, ahead: Lookahead) -> WayOut | None:
    level = levels[-1]
    if level.kind == "sequence" and overrun is None:
        overrun = ahead.item_end(position)
    if overrun is None:
        return None
    if level.kind == "dataset" and level.end is None and ahead.tag(overrun) == ITEM_END:
        overrun += 8
    kept = len(levels)
    while kept > 1 and (bound := levels[kept - 1].bound) is not None and bound < overrun:
        kept -= 1
    if kept == len(levels):
        return None
    left, outer = levels[kept], levels[kept - 1]
    if _is_sound(levels, kept, overrun, ahead):
        return WayOut(kept, overrun)
    more = left.kind == "sequence" and ahead.tag(overrun, outer.bound) == ITEM
    return WayOut(kept, overrun, more=True) if more else None


def _early(levels: list[Level], position: int, ahead: Lookahead) -> WayOut | None:
    level = levels[-1]
    if level.kind != "sequence" or level.end is None or len(levels) == 1:
        return None
    is_sure = ahead.leads_on(position, level.tag, levels[-2]) == SURE
    return WayOut(len(levels) - 1, position) if is_sure else None
