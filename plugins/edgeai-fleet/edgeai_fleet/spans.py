"""Lengths of time, as people say them."""

from __future__ import annotations

from typing import Final

_UNITS: Final = (("d", 86_400.0, 2.0), ("h", 3600.0, 1.0), ("min", 60.0, 1.0))
"""Each with its seconds, and from how many of it on it is used: a day is said in hours."""


def span(seconds: float) -> str:
    """``45 s``, ``5 min``, ``1.5 h``, ``24 h``, ``7 d``: to a tenth of the unit."""
    for unit, size, least in _UNITS:
        if round(seconds / size, 1) >= least:
            return f"{round(seconds / size, 1):g} {unit}"
    return f"{round(seconds, 1):g} s"
