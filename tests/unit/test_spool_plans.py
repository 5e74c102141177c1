"""What an image costs does not grow with what the spool remembers: every statement of every role, explained.

Finished jobs stay for 30 days, so ``instances`` and ``jobs`` grow to hundreds of thousands of rows. A statement that
walks one of them costs more with each image. ``make bench`` shows the times (case ``spool``); here are the plans.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from edgeai.api import BundleRejected, Outcome
from edgeai.spool import Selection, Spool
from edgeai.spool.aside import Choice, Refusal
from edgeai.spool.ledger import has_finished_since, read_ledger
from edgeai.testing.spools import arrive, end

WALKS = re.compile(r"^SCAN (?P<table>\w+)(?P<how>.*)$")
GROWING = {"instances", "jobs", "messages", "pending", "set_aside", "i", "j", "m", "p", "s"}
BOUNDED_INDEXES = (
    "jobs_unfinished",
    "jobs_required",
    "jobs_failed",
    "instances_kept",
    "instances_spent",
    "instances_by_file",
)
"""Partial indexes over what is bounded: unfinished jobs, failures that can be redone, files that are kept or spent."""

COUNTED = ("messages", "pending", "set_aside")
"""Bounded by the profile too, and counted as a whole at most twice a second, or at a refusal."""

Asked = dict[str, tuple[Any, ...] | dict[str, Any]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Statement -> the parameters that it was last run with."""
    statements: Asked = {}

    class Recorder(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            if sql.lstrip().split(None, 1)[0].upper() in ("SELECT", "UPDATE", "DELETE", "INSERT", "WITH"):
                statements[sql] = parameters
            return super().execute(sql, parameters)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *given, **options: connect(*given, factory=Recorder, **options))
    return statements


@pytest.fixture
def spool(asked: Asked, open_spool: Callable[..., Spool]) -> Spool:
    opened = open_spool("a", "b")
    asked.clear()  # making the tables and a new sink's backlog happen once
    return opened


def ingest(spool: Spool) -> None:
    """New, known, failed and sent again, other content; held."""
    spool.check_room(100)
    arrive(spool, 1)
    end(spool)
    arrive(spool, 1)
    arrive(spool, 2)
    end(spool, Outcome.FAILED)
    arrive(spool, 2)
    arrive(spool, 1, "y")
    spool.hold("guard", BundleRejected("nobody known signed it", code="bundle.untrusted"))
    arrive(spool, 3)
    spool.holds()
    spool.lift("guard")
    spool.count_refused("dicom.structure")


def infer(spool: Spool) -> None:
    """Claims, ends, gives back, condemns, counts faults."""
    for number in range(10, 16):
        arrive(spool, number)
    end(spool)
    job = spool.claim("guard", "me")
    assert job is not None
    spool.give_back(job, max_attempts=3)
    job = spool.claim("guard", "me")
    assert job is not None
    spool.blame(job.id, "crashed", "it died", max_attempts=1)
    assert spool.condemned("guard", "me") is not None
    spool.sharers(job)
    spool.is_needed(job.path.name)
    spool.release("guard", owner="me")
    spool.release()
    for _ in range(4):
        spool.fault(
            plugin="acme",
            version="1",
            deployment="guard",
            step="run",
            cause="crashed",
            quarantine_after=3,
            job_id=job.id,
        )
    spool.faults(plugin="acme", version="1", deployment="guard", step="run")
    spool.quarantined("guard")
    spool.pardon("acme", "guard")


def requiring(spool: Spool) -> None:
    """A deployment that waits for another: looks, waits, is let run by the other's end, runs, takes one to end it."""
    for number in range(40, 43):
        arrive(spool, number, deployments=("guard", "lung"))
    spool.look_anew("lung")
    job = spool.unseen("lung")
    assert job is not None
    spool.ends_of(job, ["guard"])
    spool.await_end(job, ["guard"])
    end(spool)
    job = spool.unseen("lung")
    assert job is not None
    spool.clear(job)
    assert spool.claim("lung", "me", requires=True) is not None
    other = spool.unseen("lung")
    assert other is not None
    assert spool.take(other, "me") is not None
    read_ledger(spool.db)
    spool.withheld_lately()
    spool.share_withheld("lung", since=1.0)


def publish(spool: Spool) -> None:
    """Reads, delivers, sets aside, retries and drops."""
    for number in range(20, 24):
        arrive(spool, number)
        end(spool)
    first, second, third, *_ = spool.pending(10, sink="a", lane="result")
    spool.published("a", [first.sequence])
    refusal = Refusal(sequence=second.sequence, code="mqtt.refused", reason="no")
    spool.settle("a", [third.sequence], [refusal])
    spool.published("b", [first.sequence])
    spool.results_set_aside_full()
    spool.set_aside(Choice(sink="a"))
    spool.retry(Choice(sink="a"))
    spool.settle("a", [], [refusal])
    spool.drop(Choice(sink="a"))


def watch(spool: Spool) -> None:
    """What the supervisor, `status` and the health server ask, again and again."""
    arrive(spool, 30)
    end(spool, Outcome.FAILED)
    spool.backlog()
    spool.queue_lengths()
    spool.recent(10)
    spool.histograms()
    spool.counters()
    spool.sweep()
    spool.trial_due(60.0)
    read_ledger(spool.db)
    has_finished_since(spool.db, "guard", 0.0)
    spool.do_again([group for each in spool.failed(Selection(codes=("pixels.short",))) for group in each.numbers])


@pytest.mark.parametrize("role", [ingest, infer, requiring, publish, watch], ids=lambda role: role.__name__)
def test_no_statement_walks_what_grows(spool: Spool, asked: Asked, role: Callable[[Spool], None]) -> None:
    role(spool)
    statements = dict(asked)
    assert len(statements) >= 8, "the role's statements were not seen"
    walking = {sql: plan for sql, parameters in statements.items() if (plan := walks(spool, sql, parameters))}
    assert not walking, "\n".join(f"{plan}: {sql}" for sql, plan in walking.items())


def walks(spool: Spool, sql: str, parameters: tuple[Any, ...] | dict[str, Any]) -> list[str]:
    """The lines of its plan that visit every row of something that grows."""
    plan = spool.db.connection().execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()
    lines = [str(row[3]) for row in plan]
    walked = []
    for line in lines:
        match = WALKS.match(line)
        if match is None or match["table"] not in GROWING:
            continue
        in_order = "USING" in match["how"] and " LIMIT " in f"{sql} " and "USE TEMP B-TREE FOR ORDER BY" not in lines
        is_count = "COUNT(" in sql and match["table"] in COUNTED
        if not in_order and not is_count and not any(name in match["how"] for name in BOUNDED_INDEXES):
            walked.append(line)
    return walked


def test_a_walk_would_be_seen(spool: Spool) -> None:
    for sql in (
        "SELECT COUNT(*) FROM jobs",
        "SELECT id FROM jobs WHERE code = 'x'",
        "SELECT finished_at FROM jobs WHERE state = 'done' ORDER BY outcome LIMIT 1",
        "DELETE FROM instances WHERE source = 'x'",
    ):
        assert walks(spool, sql, ())
    # The state as a parameter: the planner cannot know that the partial index serves.
    assert walks(
        spool, "SELECT id FROM jobs WHERE deployment = ? AND state = ? ORDER BY id LIMIT 1", ("guard", "claimed")
    )
