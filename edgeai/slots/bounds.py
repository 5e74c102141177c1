"""Which bounds a probation has: of the profile's and of those that are signed with the bundle the stricter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeai.bundle.probation import NAMES, Bounds, bounds_of
from edgeai.bundle.reader import read_manifest

if TYPE_CHECKING:
    from edgeai.config import Updates
    from edgeai.slots.folder import SlotFolder
    from edgeai.slots.record import Slots


def stricter(rules: Updates, bounds: Bounds) -> Updates:
    """The rules of a profile with what is signed with the bundle, unless the profile says that this does not count."""
    if rules.probation_bounds == "profile":
        return rules
    stricter_of = {"failures": min, "slowdown": min, "withheld": min, "shift": max}
    return rules.model_copy(
        update={
            f"probation_{name}": stricter_of[name](bound, getattr(rules, f"probation_{name}"))
            for name, bound in bounds.told().items()
        }
    )


def bounds_told(rules: Updates, folder: SlotFolder, slots: Slots) -> dict[str, Any] | None:
    """For JSON: what counts for the bundle on probation, or else for what waits to be; ``signed``: what it brings.

    Args:
        rules: of the profile.
        folder: the slots, where the bundles lie.
        slots: as they are.

    Raises:
        BundleRejected: the bundle, or its bounds, cannot be read.
    """
    waiting = slots.candidate
    if slots.active is None:
        return None
    if slots.probation is not None:
        name = slots.active
    elif waiting is not None and waiting.stage in ("installed", "good"):
        name = slots.spare
    else:
        return None
    root = folder.content(name)
    bounds = bounds_of(root, read_manifest(root)[0])
    counts = stricter(rules, bounds)
    return {**{each: getattr(counts, f"probation_{each}") for each in NAMES}, "signed": bounds.told()}
