"""Wrong images that got a statement, for the report."""

from __future__ import annotations

from typing import Final

from edgeai.api import Drawing, Panel, Plane
from edgeai_workbench.stress.measuring import Measured

_MOST: Final = 12
_ACROSS: Final = 6
_INCHES: Final = 1.6


def drawings(measured: Measured) -> list[Drawing]:
    """One strip of what was let through; none where nothing was."""
    shown = measured.through[:_MOST]
    if not shown:
        return []
    across = min(_ACROSS, len(shown))
    down = -(-len(shown) // across)
    return [
        Drawing(
            title="Wrong images that were let through",
            says=f"{measured.stress.rows[0].model} made a statement of these: two of each kind, as they arrived.",
            panels=tuple(Panel(marks=(Plane(pixels=one.pixels),), title=one.kind, axes=False) for one in shown),
            across=across,
            size_inches=(_INCHES * max(4, across), _INCHES * down + 0.3),
        )
    ]
