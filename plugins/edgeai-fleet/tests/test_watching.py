"""What people read of a rollout: whole words on a terminal of 80 columns, and lengths of time as they say them."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from edgeai.rollouts import Phase, Plan, Rollout
from edgeai.rollouts.document import Halting
from edgeai_fleet.conducting.watching import drawn, read_truth
from edgeai_fleet.planning import in_words
from edgeai_fleet.spans import span

AT = "2026-05-04T10:00:00Z"


def phase(share: float, **counts: int) -> dict[str, Any]:
    words = ("carts", "succeeded", "failed", "silent", "undecided", "waiting")
    return {"share": share, "soak_s": 0.0, **dict.fromkeys(words, 0), **counts}


def test_a_terminal_of_80_columns_shows_whole_words() -> None:
    why = "it failed its rehearsal: 1 of 2 golden cases are outside their tolerance (head-1: off by 0.5)"
    row = {"device": "us-0017", "phase": 2, "word": "failed", "stage": "rolled-back", "since": AT}
    told = {
        "rollout": "us-head-2",
        "model": "us-head",
        "release": 2,
        "state": "running",
        "open": 2,
        "step": "wait",
        "why": "it soaks",
        "signs": True,
        "trouble": "",
        "at": AT,
        "phases": [phase(0.01), phase(1 / 3, carts=12_000, succeeded=9_990, waiting=2_010), phase(1.0)],
        "reasons": [{"carts": 2, "code": "backend.golden-mismatch", "why": why, "some": ["radiology/us-0017"]}],
        "sites": {"radiology": {"carts": [{**row, "code": "backend.golden-mismatch", "why": why}]}},
    }
    out = StringIO()
    Console(width=80, file=out).print(drawn({"us-head-2": told}))
    for words in (
        "phase  share carts",
        "succeeded failed silent undecided waiting",
        "33.3 % 12000",
        "backend.golden-mismatch",
        "radiology/us-0017",
        "failed, rolled-back (phase 2)",
    ):
        assert words in out.getvalue()
    assert "…" not in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1.93, "1.9 s"),
        (0.0, "0 s"),
        (50.0, "50 s"),
        (59.9, "1 min"),
        (60.0, "1 min"),
        (2700.0, "45 min"),
        (3599.0, "1 h"),
        (5400.0, "1.5 h"),
        (86_400.0, "24 h"),
        (172_800.0, "2 d"),
        (31_536_000.0, "365 d"),
    ],
)
def test_lengths_of_time_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_a_plan_says_when_who_is_connected_counts_as_silent_and_that_one_without_images_counts_as_nothing() -> None:
    def lines(silent_s: float) -> str:
        plan = Plan(
            model="tiny",
            release=2,
            digest=f"sha256:{'1' * 64}",
            phases=(Phase(share=1.0),),
            halting=Halting(silent_s=silent_s),
        )
        return "\n".join(in_words(Rollout(name="tiny-2", serial=1, plan=plan, since=AT, at=AT)))

    assert "silent for 1 min is failed (45 min, where it is connected)" in lines(60.0)
    assert "silent for 24 h is failed\n" in lines(86_400.0)
    assert "undecided  is who runs it and has no images: neither failed nor proven" in lines(60.0)


CART = {"device": "us-1", "phase": 1, "word": "failed", "stage": "rolled-back", "code": "a.b", "why": "c", "since": AT}
SITE = {"schema": 1, "rollout": "us-head-2", "site": "er", "at": AT, "carts": [CART], "left_out": 0}
SUMMARY = {
    **{"schema": 1, "rollout": "us-head-2", "at": AT, "serial": 1, "state": "running", "open": 1, "model": "us-head"},
    **{"release": 2, "digest": "sha256:" + "0" * 64, "step": "wait", "why": "it soaks", "said": "", "signs": True},
    **{"trouble": "", "phases": [phase(1.0, carts=1, failed=1)], "reasons": [], "a key of later": 1},
}


@pytest.mark.parametrize(
    "changes",
    [
        {"phases": [{}]},
        {"phases": "all"},
        {"phases": None},
        {"open": "1"},
        {"open": 0},
        {"reasons": [{"code": 1}]},
        {"signs": None},
        {"unseen": []},
        {"schema": 2},
        {"state": []},
    ],
)
def test_a_summary_of_another_form_is_passed_over_and_the_others_are_shown(changes: dict[str, Any]) -> None:
    bodies = {"us-head-2": SUMMARY, "forged": {**SUMMARY, "rollout": "forged", **changes}}
    sent = {f"edgeai/1/rollouts/{name}": json.dumps(body).encode() for name, body in bodies.items()}
    told = read_truth({**sent, "edgeai/1/rollouts/broken": b"["})
    assert list(told) == ["us-head-2"]
    Console(width=80, file=StringIO()).print(drawn(told))


@pytest.mark.parametrize(
    "changes", [{"carts": [{"device": "us-1"}]}, {"carts": {}}, {"rollout": []}, {"carts": [{**CART, "word": "fine"}]}]
)
def test_a_sites_message_of_another_form_is_passed_over(changes: dict[str, Any]) -> None:
    sites = {"er": SITE, "forged": {**SITE, "site": "forged", **changes}}
    bodies = {f"edgeai/1/rollouts/us-head-2/{site}": json.dumps(body).encode() for site, body in sites.items()}
    told = read_truth({"edgeai/1/rollouts/us-head-2": json.dumps(SUMMARY).encode(), **bodies})
    assert list(told["us-head-2"]["sites"]) == ["er"]
    Console(width=80, file=StringIO()).print(drawn(told))


def test_watch_shows_no_letter_that_steers_a_terminal() -> None:
    reasons = [{"code": "a.b", "why": "\x9b31m", "carts": 1, "some": ["\x07"]}]
    body = {**SUMMARY, "state": "\x1b[2Jrunning", "reasons": reasons}
    shown = repr(read_truth({"edgeai/1/rollouts/us-head-2": json.dumps(body).encode()}))
    assert ("running" in shown, [letter for letter in ("x1b", "x9b", "x07") if letter in shown]) == (True, [])
