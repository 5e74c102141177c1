"""The ledger: whether everything that was acknowledged or queued is accounted for.

Two sums, read in one transaction so that both sides are of one moment. Per deployment: acknowledged = waiting + held +
finished. Per sink and lane: queued = waiting + set aside + delivered + dropped. The left sides and what is over are
counters, written in the transactions that they count; what is not over is counted in the tables, through indexes that
hold unfinished rows alone. So a read costs the same however much was done in the past.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from edgeai.spool.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsEntry:
    """The jobs of one deployment, one for each content that was acknowledged for it.

    Attributes:
        waiting: acknowledged and neither held nor finished, those that are being run included.
        claimed: how many of those are being run.
        awaiting: how many of those wait for another deployment to end for the same instance.
        held: wait until the deployment can run.
        oldest_waiting_at, oldest_held_at: when the oldest was asked for, seconds since the epoch; None with none.
        oldest_due_at: the same of those that wait for nothing but their turn.
    """

    deployment: str
    acknowledged: int = 0
    waiting: int = 0
    claimed: int = 0
    awaiting: int = 0
    held: int = 0
    finished: int = 0
    oldest_waiting_at: float | None = None
    oldest_due_at: float | None = None
    oldest_held_at: float | None = None

    @property
    def missing(self) -> int:
        """How many were acknowledged and are nowhere; below zero: ended without having been acknowledged."""
        return self.acknowledged - self.waiting - self.held - self.finished


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagesEntry:
    """The messages of one lane for one sink.

    Attributes:
        waiting: the sink has not got them yet.
        aside: the sink refused them for good.
        dropped: given up for lack of room, or with a sink that the profile no longer has.
        oldest_waiting_at, oldest_aside_at: when the oldest was queued, seconds since the epoch; None with none.
    """

    sink: str
    lane: str
    queued: int = 0
    waiting: int = 0
    aside: int = 0
    delivered: int = 0
    dropped: int = 0
    oldest_waiting_at: float | None = None
    oldest_aside_at: float | None = None

    @property
    def missing(self) -> int:
        """How many were queued and are nowhere; below zero: ended without having been queued."""
        return self.queued - self.waiting - self.aside - self.delivered - self.dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Both sums at one moment, and what the spool holds beside them.

    Attributes:
        messages_waiting: messages that some sink lacks, or that no sink is there for, and that none has refused.
        messages_aside: messages that some sink refused for good.
        kept_files, kept_bytes: of failed jobs, kept so that they can be done again.
        held_bytes: deployment -> what the files of its held jobs take.
    """

    jobs: tuple[JobsEntry, ...] = ()
    messages: tuple[MessagesEntry, ...] = ()
    messages_waiting: int = 0
    messages_aside: int = 0
    kept_files: int = 0
    kept_bytes: int = 0
    held_bytes: Mapping[str, int] = field(default_factory=dict)

    @property
    def jobs_waiting(self) -> int:
        """Unfinished jobs that are not held."""
        return sum(entry.waiting for entry in self.jobs)

    @property
    def jobs_held(self) -> int:
        """Jobs that wait for a deployment that cannot run."""
        return sum(entry.held for entry in self.jobs)


_JOB_COUNTERS: Final = ("jobs_acknowledged", "jobs_finished")
_MESSAGE_COUNTERS: Final = ("messages_queued", "messages_delivered", "messages_dropped")


def read_ledger(database: Database) -> Ledger:
    """The ledger of this moment.

    Raises:
        SpoolError: the spool cannot be read.
    """
    with _snapshot(database) as db:
        counters = _counters(db)
        held = {str(row[0]) for row in db.execute("SELECT deployment FROM holds")}
        total, aside = db.execute(
            "SELECT (SELECT COUNT(*) FROM messages), (SELECT COUNT(DISTINCT sequence) FROM set_aside)"
        ).fetchone()
        kept = db.execute("SELECT COUNT(*), TOTAL(MAX(0.0, bytes)) FROM instances WHERE kept = 1").fetchone()
        return Ledger(
            jobs=tuple(_jobs(db, counters, held)),
            messages=tuple(_messages(db, counters)),
            messages_waiting=int(total) - int(aside),
            messages_aside=int(aside),
            kept_files=int(kept[0]),
            kept_bytes=int(kept[1]),
            held_bytes={name: _held_bytes(db, name) for name in sorted(held)},
        )


@contextmanager
def _snapshot(database: Database) -> Iterator[sqlite3.Connection]:
    """All statements inside see the same commit; writers are not held up by it."""
    with database.read() as db:
        db.execute("BEGIN")
        try:
            yield db
        finally:
            if db.in_transaction:
                db.execute("COMMIT")


def has_finished_since(database: Database, deployment: str, at: float) -> bool:
    """Whether a job of ``deployment`` finished after ``at``, seconds since the epoch; looks only at those that did."""
    with database.read() as db:
        row = db.execute(
            "SELECT 1 FROM jobs WHERE state = 'done' AND finished_at > ? AND deployment = ? LIMIT 1", (at, deployment)
        ).fetchone()
    return row is not None


_Counted = dict[tuple[str, ...], int]


def _counters(db: sqlite3.Connection) -> _Counted:
    """(name, deployment), or (name, sink, lane) -> value."""
    names = (*_JOB_COUNTERS, *_MESSAGE_COUNTERS)
    counts: _Counted = {}
    for name, labels, value in db.execute(
        f"SELECT name, labels, value FROM counters WHERE name IN ({', '.join('?' * len(names))})",  # noqa: S608
        names,
    ):
        about = json.loads(labels)
        keys = ("deployment",) if name in _JOB_COUNTERS else ("sink", "lane")
        counts[(name, *(str(about.get(key, "")) for key in keys))] = int(value)
    return counts


def _jobs(db: sqlite3.Connection, counters: _Counted, held: set[str]) -> Iterator[JobsEntry]:
    open_jobs: dict[str, dict[str, tuple[int, float]]] = {}
    for deployment, state, awaits, count, oldest in db.execute(
        "SELECT deployment, state, state = 'waiting' AND required = 1, COUNT(*), MIN(created_at) FROM jobs"
        " WHERE state <> 'done' GROUP BY 1, 2, 3"
    ):
        place = "awaiting" if awaits else str(state)
        open_jobs.setdefault(str(deployment), {})[place] = (int(count), float(oldest))
    for deployment in sorted({*open_jobs, *(key[1] for key in counters if key[0] in _JOB_COUNTERS)}):
        places = open_jobs.get(deployment, {})
        on_hold = [places.pop(name, (0, math.inf)) for name in ("waiting", "awaiting")] if deployment in held else []
        due = [oldest for name, (_, oldest) in places.items() if name != "awaiting"]
        yield JobsEntry(
            deployment=deployment,
            acknowledged=counters.get(("jobs_acknowledged", deployment), 0),
            waiting=sum(count for count, _ in places.values()),
            claimed=places.get("claimed", (0, 0.0))[0],
            awaiting=places.get("awaiting", (0, 0.0))[0],
            held=sum(count for count, _ in on_hold),
            finished=counters.get(("jobs_finished", deployment), 0),
            oldest_waiting_at=min((oldest for _, oldest in places.values()), default=None),
            oldest_due_at=min(due, default=None),
            oldest_held_at=min((oldest for count, oldest in on_hold if count), default=None),
        )


def _held_bytes(db: sqlite3.Connection, deployment: str) -> int:
    row = db.execute(
        "SELECT TOTAL(MAX(0.0, i.bytes)) FROM jobs AS j JOIN instances AS i ON i.id = j.instance"
        " WHERE j.deployment = ? AND j.state <> 'done'",
        (deployment,),
    ).fetchone()
    return int(row[0])


def _messages(db: sqlite3.Connection, counters: _Counted) -> Iterator[MessagesEntry]:
    sinks = [str(row[0]) for row in db.execute("SELECT name FROM sinks ORDER BY name")]
    waiting = _places(db, "pending")
    aside = _places(db, "set_aside")
    counted = {(key[1], key[2]) for key in counters if key[0] in _MESSAGE_COUNTERS}
    for sink, lane in sorted(key for key in {*counted, *waiting, *aside} if key[0] in sinks):
        yield MessagesEntry(
            sink=sink,
            lane=lane,
            queued=counters.get(("messages_queued", sink, lane), 0),
            waiting=waiting.get((sink, lane), (0, None))[0],
            aside=aside.get((sink, lane), (0, None))[0],
            delivered=counters.get(("messages_delivered", sink, lane), 0),
            dropped=counters.get(("messages_dropped", sink, lane), 0),
            oldest_waiting_at=waiting.get((sink, lane), (0, None))[1],
            oldest_aside_at=aside.get((sink, lane), (0, None))[1],
        )


def _places(db: sqlite3.Connection, table: str) -> dict[tuple[str, str], tuple[int, float | None]]:
    """(sink, lane) -> how many, and when the oldest was queued."""
    places: dict[tuple[str, str], tuple[int, float | None]] = {}
    rows = db.execute(f"SELECT sink, lane, COUNT(*), MIN(sequence) FROM {table} GROUP BY sink, lane").fetchall()  # noqa: S608
    for sink, lane, count, first in rows:
        row = db.execute("SELECT CAST(created_at AS REAL) FROM messages WHERE sequence = ?", (first,)).fetchone()
        places[(str(sink), str(lane))] = (int(count), float(row[0]) if row else None)
    return places


__all__ = ["JobsEntry", "Ledger", "MessagesEntry", "has_finished_since", "read_ledger"]
