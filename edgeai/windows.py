"""Times of the week, by the device's own clock and zone: ``22:00-05:30``, ``mon-fri 22:00-05:30``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY: Final = rf"(?:{'|'.join(DAYS)})"
_CLOCK: Final = r"(?:[01]\d|2[0-3]):[0-5]\d"
PATTERN: Final = rf"^(?:{_DAY}(?:[-,]{_DAY})* )?{_CLOCK}-(?:{_CLOCK}|24:00)$"
"""What a window may look like."""


def is_open(windows: Iterable[str], now: datetime) -> bool:
    """Whether a time lies in any of these windows; without any, it always does.

    One that ends before it begins goes past midnight; it is open on the days on which it begins.
    """
    every = tuple(windows)
    return not every or any(_lies_in(window, now) for window in every)


def _lies_in(window: str, now: datetime) -> bool:
    days, _, hours = window.rpartition(" ")
    begin, end = hours.split("-")
    at, today = f"{now:%H:%M}", now.weekday()
    if begin <= end:
        return begin <= at < end and _is_day(days, today)
    return (at >= begin and _is_day(days, today)) or (at < end and _is_day(days, (today - 1) % 7))


def _is_day(days: str, day: int) -> bool:
    """``mon-wed,fri``; a range may go round: ``sat-mon``."""
    if not days:
        return True
    for part in days.split(","):
        first, *more = (DAYS.index(name) for name in part.split("-"))
        if (day - first) % 7 <= ((more[-1] if more else first) - first) % 7:
            return True
    return False
