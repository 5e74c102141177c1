"""The ledger: both sums on a real database, whatever happens to jobs and messages."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from edgeai.api import BundleRejected, Outcome
from edgeai.spool import Selection, Spool
from edgeai.spool import ledger as ledger_module
from edgeai.spool.aside import Refusal
from edgeai.spool.ledger import JobsEntry, Ledger, MessagesEntry, has_finished_since, read_ledger
from edgeai.testing.spools import arrive, end


@pytest.fixture
def spool(open_spool: Callable[..., Spool]) -> Spool:
    return open_spool("a")


def ledger(spool: Spool) -> Ledger:
    entries = read_ledger(spool.db)
    assert [entry.missing for entry in (*entries.jobs, *entries.messages)] == [0] * (
        len(entries.jobs) + len(entries.messages)
    )
    return entries


def jobs(spool: Spool, deployment: str = "guard") -> JobsEntry:
    return next(entry for entry in ledger(spool).jobs if entry.deployment == deployment)


def test_an_empty_spool_has_an_empty_ledger(spool: Spool) -> None:
    assert ledger(spool) == Ledger()


def test_each_job_is_in_exactly_one_place_on_its_way(spool: Spool) -> None:
    for number in range(5):
        arrive(spool, number)
    assert (jobs(spool).acknowledged, jobs(spool).waiting, jobs(spool).finished) == (5, 5, 0)
    assert spool.claim("guard", "me") is not None
    assert (jobs(spool).waiting, jobs(spool).claimed) == (5, 1)
    spool.release("guard")
    end(spool, Outcome.FAILED)
    assert (jobs(spool).acknowledged, jobs(spool).waiting, jobs(spool).finished) == (5, 4, 1)


def test_jobs_of_a_deployment_that_cannot_run_are_held_and_those_of_others_are_not(spool: Spool) -> None:
    arrive(spool, 1, deployments=("guard", "other"))
    arrive(spool, 2)
    end(spool, Outcome.FAILED)
    spool.hold("guard", BundleRejected("nobody known signed it", code="bundle.untrusted"))
    entry = jobs(spool)
    assert (entry.acknowledged, entry.waiting, entry.held, entry.finished) == (2, 0, 1, 1)
    assert entry.oldest_waiting_at is None
    assert entry.oldest_held_at is not None
    assert (jobs(spool, "other").waiting, jobs(spool, "other").held) == (1, 0)
    assert ledger(spool).held_bytes == {"guard": 100}
    spool.lift("guard")
    assert (jobs(spool).waiting, jobs(spool).held) == (1, 0)


def test_a_job_done_again_is_not_counted_twice(spool: Spool) -> None:
    arrive(spool, 1)
    end(spool, Outcome.FAILED)
    [failed] = spool.failed(Selection())
    assert spool.do_again(failed.numbers) == 1
    assert (jobs(spool).acknowledged, jobs(spool).waiting, jobs(spool).finished) == (1, 1, 0)
    end(spool, Outcome.FAILED)
    assert (jobs(spool).acknowledged, jobs(spool).waiting, jobs(spool).finished) == (1, 0, 1)
    arrive(spool, 1)  # a resend of what failed
    end(spool, Outcome.FAILED)
    assert (jobs(spool).acknowledged, jobs(spool).finished) == (1, 1)


def test_finished_jobs_that_are_forgotten_stay_in_the_sum(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool(keep_rows_days=1)
    arrive(spool, 1)
    end(spool, Outcome.FAILED)
    with spool.db.write() as db:
        db.execute("UPDATE instances SET received_at = 0")
    assert spool.sweep() == 1
    assert (jobs(spool).acknowledged, jobs(spool).finished) == (1, 1)


def test_each_message_is_in_exactly_one_place_for_each_sink(spool: Spool) -> None:
    for number in range(4):
        arrive(spool, number)
        end(spool, Outcome.FAILED)
    spool.event("test.counted", "one")
    places = {(entry.sink, entry.lane): entry for entry in ledger(spool).messages}
    assert {place: entry.waiting for place, entry in places.items()} == {("a", "event"): 1, ("a", "result"): 4}
    assert places["a", "result"].oldest_waiting_at == pytest.approx(time.time(), abs=60)
    spool.published("a", [message.sequence for message in spool.pending(2, sink="a", lane="result")])
    entry = next(entry for entry in ledger(spool).messages if entry.lane == "result")
    assert (entry.queued, entry.waiting, entry.delivered) == (4, 2, 2)
    assert ledger(spool).messages_waiting == 3


def test_a_sink_that_comes_later_and_one_that_goes_keep_the_sums_right(spool: Spool) -> None:
    arrive(spool, 1)
    end(spool, Outcome.FAILED)
    spool.enable_sinks(["a", "b"])
    assert sum(entry.waiting for entry in ledger(spool).messages) == 2
    spool.enable_sinks(["b"])
    assert {entry.sink for entry in ledger(spool).messages} == {"b"}
    spool.enable_sinks(["a", "b"])
    ledger(spool)


def test_a_sum_that_does_not_add_up_says_by_how_much(spool: Spool) -> None:
    for number in range(3):
        arrive(spool, number)
    end(spool, Outcome.FAILED)
    with spool.db.write() as db:
        db.execute("DELETE FROM jobs WHERE state = 'waiting' AND id = (SELECT MAX(id) FROM jobs)")
        db.execute("DELETE FROM pending")
    entries = read_ledger(spool.db)
    assert [entry.missing for entry in entries.jobs] == [1]
    assert [entry.missing for entry in entries.messages] == [1]


def test_the_oldest_of_each_state_is_the_oldest(spool: Spool) -> None:
    for number in range(3):
        arrive(spool, number)
    with spool.db.write() as db:
        db.execute("UPDATE jobs SET created_at = 1000 + id")
    assert jobs(spool).oldest_waiting_at == 1001
    end(spool, Outcome.FAILED)
    assert jobs(spool).oldest_waiting_at == 1002


def test_what_finished_lately_is_known_for_each_deployment(spool: Spool) -> None:
    arrive(spool, 1, deployments=("guard", "other"))
    before = time.time() - 1
    assert not has_finished_since(spool.db, "guard", before)
    end(spool, Outcome.FAILED)
    assert has_finished_since(spool.db, "guard", before)
    assert not has_finished_since(spool.db, "other", before)
    assert not has_finished_since(spool.db, "guard", time.time() + 60)


def test_both_sides_are_of_one_moment_while_others_write(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one arrives after one side was read and before the other is."""
    arrive(spool, 1)
    read_one_side = ledger_module._counters

    def read_and_let_others_write(db: sqlite3.Connection) -> Any:
        counted = read_one_side(db)
        writer = threading.Thread(target=arrive, args=(spool, 2))
        writer.start()
        writer.join()
        return counted

    monkeypatch.setattr(ledger_module, "_counters", read_and_let_others_write)
    assert jobs(spool).acknowledged == 1
    monkeypatch.undo()
    assert jobs(spool).acknowledged == 2


@pytest.mark.slow
def test_reading_it_costs_the_same_however_much_was_done_before(spool: Spool) -> None:
    """In steps of SQLite's machine, not in seconds."""
    arrive(spool, 1)

    def steps() -> int:
        count = 0

        def tick() -> None:
            nonlocal count
            count += 1

        with spool.db.read() as db:
            db.set_progress_handler(tick, 10)
            try:
                read_ledger(spool.db)
                has_finished_since(spool.db, "guard", time.time() - 15)
            finally:
                db.set_progress_handler(None, 0)
        return count

    before = steps()
    with spool.db.write() as db:
        for number in range(10, 20_010):
            db.execute(
                "INSERT INTO instances (id, sop_instance_uid, ref, source, received_at) VALUES (?, ?, '{}', 'x', 1)",
                (number, f"2.25.{number}"),
            )
            db.execute(
                "INSERT INTO jobs (instance, deployment, state, outcome, finished_at)"
                " VALUES (?, 'guard', 'done', 'completed', 1)",
                (number,),
            )
    assert steps() < 2 * before + 50


def test_what_is_missing_is_what_no_place_accounts_for() -> None:
    jobs = JobsEntry(deployment="guard", acknowledged=100, waiting=1, claimed=7, held=20, finished=30)
    assert jobs.missing == 49, "what is being run waits too"
    assert JobsEntry(deployment="guard").missing == JobsEntry(deployment="guard").claimed == 0
    messages = MessagesEntry(sink="a", lane="event", queued=100, waiting=1, aside=2, delivered=30, dropped=40)
    assert messages.missing == 27
    assert MessagesEntry(sink="a", lane="event", delivered=1).missing == -1


def test_it_says_what_is_kept_and_since_when_the_oldest_of_each_place_waits(spool: Spool) -> None:
    for number in range(4):
        arrive(spool, number)
    end(spool, Outcome.FAILED)
    end(spool, Outcome.FAILED)
    first, second = spool.pending(9, sink="a", lane="result")
    spool.settle("a", [], [Refusal(sequence=first.sequence, code="x.y", reason="no")])
    with spool.db.write() as db:
        db.execute("UPDATE jobs SET created_at = 1000 + id")
        db.execute("UPDATE messages SET created_at = 2000 + sequence")
    assert spool.claim("guard", "me") is not None
    whole = ledger(spool)
    assert (whole.kept_files, whole.kept_bytes, whole.messages_aside) == (2, 200, 1)
    assert (whole.messages_waiting, whole.jobs_waiting, whole.jobs_held) == (2, 2, 0), "a message says what was refused"
    [results] = [entry for entry in whole.messages if entry.lane == "result"]
    assert (results.waiting, results.oldest_waiting_at) == (1, 2000.0 + second.sequence)
    assert (results.aside, results.oldest_aside_at) == (1, 2000.0 + first.sequence)
    assert (jobs(spool).claimed, jobs(spool).oldest_waiting_at, jobs(spool).oldest_held_at) == (1, 1003.0, None)
    spool.hold("guard", BundleRejected("nobody known signed it", code="bundle.untrusted"))
    whole = ledger(spool)
    assert (whole.jobs_waiting, whole.jobs_held) == (1, 1), "one is being run"
    assert (jobs(spool).oldest_waiting_at, jobs(spool).oldest_held_at) == (1003.0, 1004.0)
