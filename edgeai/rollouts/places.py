"""Where a device stands in the row of a rollout: fixed for ever, and another for each rollout. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from edgeai.rollouts.document import Phase

_BITS: Final = 53


def place(rollout: str, site: str, device: str) -> float:
    """From 0 up to, and not, 1, as by lot: a phase of a share takes whoever stands below it.

    So whoever is in a phase is in all later ones, and no list of devices is kept anywhere.
    """
    digest = hashlib.sha256(f"{rollout}\n{site}/{device}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> (64 - _BITS)) / float(1 << _BITS)


def phase_of(at: float, phases: Sequence[Phase]) -> int | None:
    """The first phase, from 1, that takes whoever stands there; ``None`` where none ever does."""
    return next((number for number, phase in enumerate(phases, 1) if at < phase.share), None)
