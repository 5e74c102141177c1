"""How large something is, in words, and in what; and how large a pixel is in all of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from edgeai.api import Geometry, Spacing

PIXELS: Final = "{pixels}"
"""UCUM has no unit of them."""
_SAME_SCALE: Final = 0.01
"""As far as two calibrations of one image may differ and still be the same."""


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


def common_spacing(
    geometry: Geometry, points: Sequence[tuple[float, float]], sources: Collection[str]
) -> Spacing | None:
    """That of the first point; ``None`` where another point is of another scale.

    Points that nothing calibrates (a shape that juts out of its ultrasound region) do not count.
    """
    first = geometry.spacing(*points[0], sources=sources)
    if first is None or min(first[:2]) <= 0:
        return None
    for point in points[1:]:
        other = geometry.spacing(*point, sources=sources)
        if other is not None and any(abs(o / f - 1.0) > _SAME_SCALE for o, f in zip(other[:2], first[:2], strict=True)):
            return None
    return first
