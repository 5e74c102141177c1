"""Times of the week at which a cart may begin to take something, by its own clock. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from edgeai.rollouts.document import Window

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def is_open(windows: Sequence[Window], now: datetime) -> bool:
    """Whether a local time lies in one of them; without any it always does."""
    return not windows or any(_holds(window, now) for window in windows)


def _holds(window: Window, now: datetime) -> bool:
    """Over midnight it belongs to the day on which it began."""
    at, today = f"{now:%H:%M}", DAYS[now.weekday()]
    before = DAYS[now.weekday() - 1]
    if window.begin < window.end:
        return window.begin <= at < window.end and _has(window, today)
    return (at >= window.begin and _has(window, today)) or (at < window.end and _has(window, before))


def _has(window: Window, day: str) -> bool:
    return not window.days or day in window.days
