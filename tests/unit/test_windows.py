"""Times of the week at which something may happen."""

from __future__ import annotations

import re
from datetime import datetime

import pytest

from edgeai.windows import PATTERN, is_open

MONDAY, SATURDAY, SUNDAY = "2026-03-02", "2026-03-07", "2026-03-01"


@pytest.mark.parametrize(
    ("window", "at", "expected"),
    [
        ("01:00-05:00", f"{SUNDAY}T00:59", False),
        ("01:00-05:00", f"{SUNDAY}T01:00", True),
        ("01:00-05:00", f"{SUNDAY}T04:59", True),
        ("01:00-05:00", f"{SUNDAY}T05:00", False),
        ("22:00-05:30", f"{SUNDAY}T21:59", False),
        ("22:00-05:30", f"{SUNDAY}T22:00", True),
        ("22:00-05:30", f"{SUNDAY}T00:00", True),
        ("22:00-05:30", f"{SUNDAY}T05:29", True),
        ("22:00-05:30", f"{SUNDAY}T05:30", False),
        ("00:00-23:59", f"{SUNDAY}T12:00", True),
        ("00:00-24:00", f"{SUNDAY}T23:59", True),
        ("mon 22:00-05:30", f"{MONDAY}T05:00", False),
        ("mon 22:00-05:30", f"{MONDAY}T23:00", True),
        ("sun 22:00-05:30", f"{MONDAY}T05:00", True),
        ("sun 22:00-05:30", f"{MONDAY}T23:00", False),
        ("mon-fri 08:00-17:00", f"{SATURDAY}T12:00", False),
        ("mon-fri 08:00-17:00", f"{MONDAY}T12:00", True),
        ("fri-mon 08:00-17:00", f"{SATURDAY}T12:00", True),
        ("tue,fri-sat 08:00-17:00", f"{SATURDAY}T12:00", True),
        ("tue,fri-sat 08:00-17:00", f"{SUNDAY}T12:00", False),
    ],
)
def test_a_window_has_days_and_may_go_past_midnight(window: str, at: str, expected: bool) -> None:
    assert re.search(PATTERN, window)
    assert is_open((window,), datetime.fromisoformat(at)) is expected


def test_any_of_several_will_do_and_none_is_always() -> None:
    noon = datetime.fromisoformat(f"{SUNDAY}T12:00")
    assert is_open((), noon)
    assert is_open(("01:00-02:00", "sun 11:00-13:00"), noon)
    assert not is_open(("01:00-02:00", "mon 11:00-13:00"), noon)


@pytest.mark.parametrize(
    "wrong", ["", "night", "25:00-01:00", "24:00-01:00", "10:00", "10:00-24:01", "Mon 10:00-11:00", "mon10:00-11:00"]
)
def test_what_is_no_window_is_none(wrong: str) -> None:
    assert not re.search(PATTERN, wrong)
