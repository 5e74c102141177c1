"""How a quarantine ends by itself: trials after pauses that double, and a memory of those who came back to no avail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeai.spool import Quarantine, Spool, trials
from edgeai.spool.trials import LONGEST_PAUSE_S, REMEMBERED_S

FAULT = {"plugin": "acme", "version": "1.0", "deployment": "guard", "step": "run", "cause": "signal-SIGABRT"}
AFTER_S = 300.0


class Clock:
    """The time of day, as the spool sees it."""

    now = 1_800_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(trials, "time", made)
    monkeypatch.setattr("edgeai.spool.faults.time", made)
    return made


@pytest.fixture
def spool(tmp_path: Path, clock: Clock) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool")
    yield made
    made.close()


def convict(spool: Spool, **changes: Any) -> Quarantine:
    facts = {**FAULT, **changes}
    assert spool.fault(**facts, quarantine_after=1)
    return next(held for held in spool.quarantined() if held.plugin == facts["plugin"])


def due_after(spool: Spool, clock: Clock) -> float:
    """Seconds until a trial is due, to a tenth."""
    assert spool.trial_due(AFTER_S) is None
    start, step = clock.now, LONGEST_PAUSE_S * 2
    while step > 0.05:  # the moment lies between this one and the next step
        clock.now += step
        held = spool.quarantined()[0]
        is_due = clock.now >= held.next_trial_at
        if is_due:
            clock.now -= step
        step /= 2
    clock.now += 0.2
    return round(clock.now - start, 0)


def events(spool: Spool, kind: str) -> list[dict[str, Any]]:
    rows = spool.db.connection().execute("SELECT body FROM messages WHERE lane = 'event' ORDER BY sequence")
    return [body["facts"] for (text,) in rows if (body := json.loads(text))["kind"] == kind]


def test_with_nobody_in_quarantine_there_is_no_trial(spool: Spool) -> None:
    assert spool.trial_due(AFTER_S) is None


def test_the_first_trial_comes_after_the_pause_and_each_that_fails_doubles_it(spool: Spool, clock: Clock) -> None:
    convict(spool)
    pauses = []
    for _ in range(12):
        pauses.append(due_after(spool, clock))
        held = spool.trial_due(AFTER_S)
        assert held is not None
        assert spool.trial_due(AFTER_S) is None, "one at a time"
        spool.trial_failed(held, "signal-SIGABRT", "it died", AFTER_S)
    assert pauses[:4] == [300, 600, 1200, 2400]
    assert pauses[-2:] == [LONGEST_PAUSE_S] * 2
    facts = events(spool, "plugin.trial-failed")
    assert [fact["trials"] for fact in facts] == list(range(1, 13))
    assert (facts[0]["plugin"], facts[0]["cause"], facts[0]["next_trial_in_s"]) == ("acme", "signal-SIGABRT", 600)
    assert spool.quarantined()[0].trials == 12


def test_a_trial_that_came_to_nothing_is_due_again_after_the_same_pause(spool: Spool, clock: Clock) -> None:
    """The supervisor was killed meanwhile, say."""
    convict(spool)
    assert due_after(spool, clock) == 300
    assert spool.trial_due(AFTER_S) is not None
    assert due_after(spool, clock) == 300


def test_a_trial_that_passes_releases_and_forgets(spool: Spool, clock: Clock) -> None:
    held = convict(spool)
    clock.now += 1000.0
    assert spool.release_plugin(held, "its trial passed")
    assert not spool.release_plugin(held, "its trial passed"), "once"
    assert spool.quarantined() == []
    assert spool.faults(plugin="acme", version="1.0", deployment="guard", step="run") == 0
    [facts] = events(spool, "plugin.released")
    assert (facts["plugin"], facts["deployment"], facts["quarantined_s"]) == ("acme", "guard", 1000.0)


def test_who_comes_back_to_no_avail_comes_back_later_and_later(spool: Spool, clock: Clock) -> None:
    pauses = []
    for _ in range(4):
        held = convict(spool)
        pauses.append(due_after(spool, clock))
        assert spool.release_plugin(held, "its trial passed")
        clock.now += 60.0
    assert pauses == [300, 600, 1200, 2400]
    clock.now += REMEMBERED_S
    convict(spool)
    assert due_after(spool, clock) == 300, "long ago is forgotten"


def test_a_pardon_forgets_that_too(spool: Spool, clock: Clock) -> None:
    for _ in range(3):
        spool.release_plugin(convict(spool), "its trial passed")
    convict(spool)
    assert spool.pardon("acme") == 1
    convict(spool)
    assert due_after(spool, clock) == 300


def test_a_pardon_during_a_trial_stands(spool: Spool, clock: Clock) -> None:
    held = convict(spool)
    spool.pardon("acme")
    spool.trial_failed(held, "deadline", "it hung", AFTER_S)
    assert spool.quarantined() == []
    assert events(spool, "plugin.trial-failed") == []


@pytest.mark.parametrize("jump_s", [-30 * 86400.0, -3600.0])
def test_a_clock_that_is_set_back_puts_no_trial_off_for_longer(spool: Spool, clock: Clock, jump_s: float) -> None:
    convict(spool)
    assert spool.trial_due(AFTER_S) is None
    clock.now += jump_s
    assert due_after(spool, clock) == 300


def test_each_deployment_and_plugin_has_its_own_trials(spool: Spool, clock: Clock) -> None:
    convict(spool)
    assert spool.trial_due(AFTER_S) is None
    clock.now += 100.0
    convict(spool, plugin="other")
    assert spool.trial_due(AFTER_S) is None
    clock.now += 301.0
    both = [spool.trial_due(AFTER_S), spool.trial_due(AFTER_S), spool.trial_due(AFTER_S)]
    assert [held and held.plugin for held in both] == ["acme", "other", None]
    assert both[0] is not None
    spool.release_plugin(both[0], "its trial passed")
    assert [held.plugin for held in spool.quarantined()] == ["other"]


def test_a_trial_is_due_to_the_second_and_the_longest_pause_is_a_day(spool: Spool, clock: Clock) -> None:
    assert (LONGEST_PAUSE_S, REMEMBERED_S) == (86_400.0, 7 * 86_400.0)
    convict(spool)
    assert spool.trial_due(AFTER_S) is None
    clock.now += AFTER_S - 0.5
    assert spool.trial_due(AFTER_S) is None
    clock.now += 0.5
    assert spool.trial_due(AFTER_S) is not None
    assert spool.quarantined()[0].next_trial_at == clock.now + AFTER_S


def test_what_was_let_back_is_forgotten_after_a_week(spool: Spool, clock: Clock) -> None:
    for passed_s, pause_s in ((REMEMBERED_S - 1.0, 600), (REMEMBERED_S, 300)):
        assert spool.release_plugin(convict(spool), "its trial passed")
        clock.now += passed_s
        convict(spool)
        assert due_after(spool, clock) == pause_s
        spool.pardon("acme")


def test_who_waits_for_a_plugin_is_woken_when_it_is_let_back(spool: Spool) -> None:
    roles = ("publish", "infer:guard", "infer:pa")
    held = convict(spool)
    for role in roles:
        spool.wait(role, 0.0)
    spool.trial_failed(held, "deadline", "it hung", AFTER_S)
    assert [spool.wait(role, 0.0) for role in roles] == [True, False, False]
    spool.release_plugin(held, "its trial passed")
    assert [spool.wait(role, 0.0) for role in roles] == [True, True, False]
    spool.release_plugin(held, "its trial passed")
    spool.trial_failed(held, "deadline", "it hung", AFTER_S)
    assert [spool.wait(role, 0.0) for role in roles] == [False, False, False]
