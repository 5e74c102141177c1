"""An interval in words: one wording wherever it is read, and of one without length what it is worth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

NO_SPREAD: Final = "no spread in these samples"
"""In place of an interval without length, which would look like a certainty that no samples give."""
UNKNOWN: Final = "not determined"
NOTHING_BY_NONE: Final = (
    "no sample shows a difference, and no number of samples shows that there is none: allow more than that"
)


def flat(low: float | None, high: float | None) -> bool:
    """Whether an interval has no length: all samples, and so all resamples, say the same."""
    return low is not None and low == high


def in_words(low: float | None, high: float | None, shown: Callable[[float], str]) -> str:
    """``0.9000 to 0.9500``, or why there is none."""
    if low is None or high is None or low != low or high != high:  # NaN
        return UNKNOWN
    return NO_SPREAD if flat(low, high) else f"{shown(low)} to {shown(high)}"
