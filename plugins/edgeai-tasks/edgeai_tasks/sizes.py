"""How large something is, in words, and in what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

PIXELS: Final = "{pixels}"
"""UCUM has no unit of them."""


def place_of(size: float, bounds: Sequence[float]) -> int:
    """Between which of the bounds, from 0 below the first; a bound itself belongs to what is above it."""
    return sum(size >= bound for bound in bounds)


def size_of(size: float, bounds: Sequence[float], unit: str) -> str:
    """Between which of the bounds: ``under 100 mm``, ``100 to 200 mm``, ``from 200 mm``."""
    place = place_of(size, bounds)
    if place == 0:
        return f"under {bounds[0]:g} {unit}"
    if place == len(bounds):
        return f"from {bounds[-1]:g} {unit}"
    return f"{bounds[place - 1]:g} to {bounds[place]:g} {unit}"
