"""Faults: each is counted under its own name, told once, and forgotten by whom it is forgiven."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeai.spool import Spool
from edgeai.spool.faults import FAULT_AGE_S

WHO = {"plugin": "acme", "version": "1.0", "deployment": "guard"}
FAULT = {**WHO, "step": "run", "cause": "signal-SIGABRT", "quarantine_after": 3}


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool", site="lab", device_id="cart")
    made.enable_sinks(["a"])
    yield made
    made.close()


def counted(spool: Spool) -> dict[tuple[str, ...], int]:
    names = ("plugin", "deployment", "step", "cause")
    return {tuple(c.labels[n] for n in names): c.value for c in spool.counters() if c.name == "faults"}


def events(spool: Spool) -> list[dict[str, Any]]:
    return [json.loads(message.body) for message in spool.pending(1000, sink="a")]


def test_each_fault_is_counted_under_what_it_was(spool: Spool) -> None:
    for _ in range(4):
        spool.fault(**FAULT)
    spool.fault(**{**FAULT, "cause": "deadline"})
    spool.fault(**{**FAULT, "step": "open"})
    spool.fault(**{**FAULT, "plugin": "other"})
    spool.fault(**{**FAULT, "deployment": "pa"})
    assert counted(spool) == {
        ("acme", "guard", "run", "signal-SIGABRT"): 4,
        ("acme", "guard", "run", "deadline"): 1,
        ("acme", "guard", "open", "signal-SIGABRT"): 1,
        ("other", "guard", "run", "signal-SIGABRT"): 1,
        ("acme", "pa", "run", "signal-SIGABRT"): 1,
    }
    assert spool.faults(**WHO, step="run") == 5
    assert spool.faults(**{**WHO, "version": "1.1"}, step="run") == 0


def test_a_fault_that_is_not_told_is_counted_all_the_same(spool: Spool) -> None:
    for _ in range(2):
        spool.fault(**FAULT, tell_every_s=3600.0)
    spool.fault(**{**FAULT, "cause": "deadline"}, tell_every_s=3600.0)
    assert sorted(counted(spool).values()) == [1, 2]
    kinds = [(event["kind"], event["facts"]["cause"]) for event in events(spool)]
    assert kinds == [
        ("plugin.fault", "signal-SIGABRT"),
        ("plugin.fault", "deadline"),
        ("plugin.quarantined", "deadline"),
    ], "a quarantine is always told"


def test_what_was_told_long_enough_ago_is_told_again(spool: Spool) -> None:
    spool.fault(**FAULT, tell_every_s=60.0)
    spool.db.connection().execute("UPDATE faults SET at = at - 61")
    spool.fault(**FAULT, tell_every_s=60.0)
    assert [event["kind"] for event in events(spool)] == ["plugin.fault"] * 2


def test_a_pardon_does_not_make_the_counter_fall(spool: Spool) -> None:
    for _ in range(3):
        spool.fault(**FAULT)
    assert spool.pardon("acme", "guard") == 1
    assert counted(spool) == {("acme", "guard", "run", "signal-SIGABRT"): 3}
    assert spool.faults(**WHO, step="run") == 0


def test_a_pardon_on_one_deployment_is_none_on_another(spool: Spool) -> None:
    for deployment in ("guard", "pa"):
        for _ in range(3):
            spool.fault(**{**FAULT, "deployment": deployment})
    assert {held.deployment for held in spool.quarantined()} == {"guard", "pa"}
    assert spool.pardon("acme", "pa") == 1
    assert [held.deployment for held in spool.quarantined()] == ["guard"]
    assert spool.faults(**WHO, step="run") == 3
    assert events(spool)[-1]["facts"] == {"plugin": "acme", "deployment": "pa"}
    assert spool.pardon("acme", "pa") == 0
    assert events(spool)[-1]["kind"] == "plugin.pardoned"
    assert sum(event["kind"] == "plugin.pardoned" for event in events(spool)) == 1


def test_a_quarantine_says_what_led_to_it(spool: Spool) -> None:
    before = time.time()
    for cause in ("deadline", "memory", "signal-SIGABRT"):
        fresh = spool.fault(**{**FAULT, "cause": cause})
    assert fresh
    [held] = spool.quarantined("guard")
    assert (held.plugin, held.version, held.deployment, held.step) == ("acme", "1.0", "guard", "run")
    assert held.cause == "signal-SIGABRT", "the last straw"
    assert before <= held.since <= time.time()
    assert (held.trials, held.next_trial_at) == (0, 0.0)
    told = events(spool)[-1]
    assert told["kind"] == "plugin.quarantined"
    assert told["facts"] == {**WHO, "step": "run", "cause": "signal-SIGABRT", "faults": 3}
    assert not spool.fault(**FAULT), "it is there already"
    assert sum(event["kind"] == "plugin.quarantined" for event in events(spool)) == 1


def test_a_fault_counts_for_a_day(spool: Spool) -> None:
    spool.fault(**FAULT)
    spool.fault(**FAULT)
    db = spool.db.connection()
    db.execute("UPDATE faults SET at = ?", (time.time() - FAULT_AGE_S + 600,))
    assert spool.faults(**WHO, step="run") == 2
    db.execute("UPDATE faults SET at = ?", (time.time() - FAULT_AGE_S - 1,))
    assert spool.faults(**WHO, step="run") == 0
    assert not spool.fault(**FAULT)
    assert FAULT_AGE_S == 86_400.0


def test_whoever_waits_for_news_is_woken(spool: Spool) -> None:
    spool.wait("publish", 0.0)
    spool.fault(**FAULT, tell_every_s=3600.0)
    assert spool.wait("publish", 60.0)
    spool.fault(**FAULT, tell_every_s=3600.0)
    assert not spool.wait("publish", 0.0), "there is nothing to publish"
    spool.fault(**FAULT, tell_every_s=3600.0)
    assert spool.wait("publish", 60.0), "the quarantine"
