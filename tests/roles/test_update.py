"""When the update role looks, and what it says of what came of it; the look itself is a process of its own."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from typing import Any

import pytest

from edgeai.roles.update import Look, Pauses, is_open


def least(low: float, high: float) -> float:
    return low


def most(low: float, high: float) -> float:
    return high


def test_carts_that_start_together_do_not_come_together() -> None:
    assert Pauses(21_600.0, least).first() == 0.0
    assert Pauses(21_600.0, most).first() == 600.0
    assert Pauses(60.0, most).first() == 60.0
    drawn = {Pauses(21_600.0).first() for _ in range(20)}
    assert len(drawn) == 20


def test_a_look_that_went_well_is_followed_by_one_at_about_the_usual_time() -> None:
    assert Pauses(1000.0, least).after(well=True) == 900.0
    assert Pauses(1000.0, most).after(well=True) == pytest.approx(1100.0)


def test_one_that_failed_is_tried_again_sooner_and_never_later_than_usual() -> None:
    pauses = Pauses(3600.0, most)
    assert [pauses.after(well=False) for _ in range(6)] == [300.0, 600.0, 1200.0, 2400.0, 3600.0, 3600.0]
    assert pauses.after(well=True) == pytest.approx(3960.0)
    assert pauses.after(well=False) == 300.0
    assert Pauses(10.0, most).after(well=False) == 10.0
    for _ in range(5000):  # a year of failures overflows nothing
        assert pauses.after(well=False) <= 3600.0


@pytest.mark.parametrize(
    ("window", "at", "expected"),
    [
        (None, "12:00", True),
        ("01:00-05:00", "00:59", False),
        ("01:00-05:00", "01:00", True),
        ("01:00-05:00", "04:59", True),
        ("01:00-05:00", "05:00", False),
        ("22:00-05:30", "21:59", False),
        ("22:00-05:30", "22:00", True),
        ("22:00-05:30", "00:00", True),
        ("22:00-05:30", "05:29", True),
        ("22:00-05:30", "05:30", False),
        ("00:00-23:59", "12:00", True),
    ],
)
def test_a_window_may_go_past_midnight(window: str | None, at: str, expected: bool) -> None:
    assert is_open(window, datetime.fromisoformat(f"2026-03-01T{at}")) is expected


def looked(out: str, err: str = "", status: int = 0) -> Any:
    """What is made of a process that prints this."""
    code = f"import sys; sys.stdout.write({out!r}); sys.stderr.write({err!r}); sys.exit({status})"
    look = Look([sys.executable, "-c", code])
    end = time.monotonic() + 120
    while not look.is_over():
        assert time.monotonic() < end
        time.sleep(0.01)
    return look.troubles()


def answer(refused: Any = None, **outcomes: str) -> str:
    deployments = [
        {"deployment": name, "outcome": "refused" if code else "current", "code": code, "message": "", "remedy": ""}
        for name, code in outcomes.items()
    ]
    return json.dumps({"schema": 1, "refused": refused, "deployments": deployments})


def test_what_came_of_a_look_is_read_from_its_answer() -> None:
    assert looked(answer(guard="")) == {}
    troubles = looked(answer(guard="", head="bundle.untrusted"), status=1)
    assert {name: why["code"] for name, why in troubles.items()} == {"head": "bundle.untrusted"}
    why = {"code": "update.frozen", "message": "it is stuck", "remedy": "publish"}
    assert looked(answer(why), status=1) == {"": why}


def test_a_look_that_was_refused_as_a_command_says_its_code() -> None:
    err = "error[update.not-installed]: edgeai update is not here\n  what to do: pip install it\n"
    assert looked("", err, 2)[""]["code"] == "update.not-installed"


@pytest.mark.parametrize(("out", "err"), [("", ""), ("{", "Traceback\nMemoryError: no room\n"), ("no JSON", "\n")])
def test_a_look_that_died_is_told_in_its_last_words(out: str, err: str) -> None:
    why = looked(out, err, 1)[""]
    assert why["code"] == "update.look-died"
    assert ("MemoryError: no room" in why["message"]) == bool(err.strip())


def test_a_look_that_hangs_can_be_ended() -> None:
    look = Look([sys.executable, "-c", "import time; time.sleep(600)"])
    assert not look.is_over()
    look.end()
    assert look.is_over()
    assert look.troubles()[""]["code"] == "update.look-died"
