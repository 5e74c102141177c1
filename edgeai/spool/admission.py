"""What an arrival means, given what the spool knows of its UID and its content: a decision, and its rows."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Container
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from edgeai.spool.counters import add_count
from edgeai.spool.outbox import queue_event
from edgeai.spool.store import Store

if TYPE_CHECKING:
    from edgeai.api.instances import InstanceRef

Kind = Literal["received", "known", "redone", "differs"]
"""New; nothing to do; known, and something of it is done (again); other content than before under this UID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What became of an arrival.

    Attributes:
        kind: see ``Kind``.
        jobs: deployments that have a job now because of it.
        took_file: whether its file stays.
        dropped: names of files that no row names any more, to be removed after the commit.
    """

    kind: Kind
    jobs: tuple[str, ...] = ()
    took_file: bool = False
    dropped: tuple[str, ...] = ()

    @property
    def is_new(self) -> bool:
        """Whether the spool did not hold this very instance before."""
        return self.kind in ("received", "differs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An instance that arrived, and for which deployments. ``again`` as ``Intake.admit``."""

    instance: InstanceRef
    deployments: tuple[str, ...]
    source: str
    again: Container[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done: the row that is meant (None for a new one), jobs to make and jobs to do again."""

    kind: Kind
    row: int | None
    content: str
    file: str | None
    fresh: tuple[str, ...]
    redo: tuple[int, ...]


def plan(db: sqlite3.Connection, arrival: Arrival, content: str) -> Plan:
    """Decide, without changing anything."""
    rows = db.execute(
        "SELECT id, content, file FROM instances WHERE sop_instance_uid = ? ORDER BY id",
        (arrival.instance.sop_instance_uid,),
    ).fetchall()
    # A row of edgeai 0.1 has no content: it stands for whatever comes under its UID.
    row = next((row for row in rows if row[1] == content), None) or next((row for row in rows if not row[1]), None)
    if row is None:
        kind: Kind = "differs" if rows else "received"
        return Plan(kind=kind, row=None, content=content, file=None, fresh=arrival.deployments, redo=())
    jobs = {
        deployment: (identifier, state, outcome, code)
        for identifier, deployment, state, outcome, code in db.execute(
            "SELECT id, deployment, state, outcome, code FROM jobs WHERE instance = ?", (row[0],)
        )
    }
    fresh = tuple(name for name in arrival.deployments if name not in jobs)
    redo = tuple(
        jobs[name][0] for name in arrival.deployments if name in jobs and _is_open_end(*jobs[name][1:], arrival.again)
    )
    kind = "redone" if fresh or redo else "known"
    return Plan(kind=kind, row=row[0], content=row[1], file=row[2], fresh=fresh, redo=redo)


def _is_open_end(state: str, outcome: str | None, code: str | None, again: Container[str]) -> bool:
    return state == "done" and (outcome == "failed" or (outcome != "completed" and (code or "") in again))


def admit_row(
    store: Store, db: sqlite3.Connection, arrival: Arrival, content: str, name: str | None, size: int
) -> Admission:
    """Carry the decision out in a transaction that is under way; ``name`` and ``size`` are of the file."""
    wanted = plan(db, arrival, content)
    now = time.time()
    add_count(db, "instances", outcome="selftest" if _is_selftest(arrival.instance) else wanted.kind, code="")
    if wanted.kind == "known":
        return Admission(kind="known")
    dropped: tuple[str, ...] = ()
    if wanted.row is None:
        identifier, took_file = _insert(db, arrival, content, name, size, now), name is not None
    else:
        identifier = wanted.row
        took_file, dropped = _refresh(store, db, wanted, arrival, content, name, size)
    for deployment in wanted.fresh:
        db.execute(
            "INSERT INTO jobs (instance, deployment, created_at) VALUES (?, ?, ?)", (identifier, deployment, now)
        )
        add_count(db, "jobs_acknowledged", deployment=deployment)
    deployments = [*wanted.fresh, *(do_again(db, job, now) for job in wanted.redo)]
    if wanted.kind == "differs":
        message = "an instance arrived whose UID was known with other content; it is analysed as one of its own"
        queue_event(store, db, "instance.differs", message, source=arrival.source, jobs=len(deployments))
    return Admission(kind=wanted.kind, jobs=tuple(deployments), took_file=took_file, dropped=dropped)


def _is_selftest(instance: InstanceRef) -> bool:
    from edgeai.selftest import is_selftest  # not for the supervisor, which opens a spool and admits nothing

    return is_selftest(instance)


def _insert(db: sqlite3.Connection, arrival: Arrival, content: str, name: str | None, size: int, now: float) -> int:
    instance = arrival.instance
    row = db.execute(
        "INSERT INTO instances (sop_instance_uid, content, identity, ref, file, bytes, source, received_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (instance.sop_instance_uid, content, content, json.dumps(asdict(instance)), name, size, arrival.source, now),
    ).fetchone()
    return int(row[0])


def _refresh(
    store: Store, db: sqlite3.Connection, wanted: Plan, arrival: Arrival, content: str, name: str | None, size: int
) -> tuple[bool, tuple[str, ...]]:
    """Bring a known instance up to date: whether the new file is taken, and the one that goes for it."""
    assert wanted.row is not None
    db.execute("UPDATE instances SET received_at = ?, kept = 0 WHERE id = ?", (time.time(), wanted.row))
    is_same = wanted.content == content
    has_file = wanted.file is not None and (store.instances / wanted.file).is_file()
    if name is None or (is_same and has_file):
        return False, ()
    db.execute(
        "UPDATE instances SET content = ?, ref = ?, file = ?, bytes = ? WHERE id = ?",
        (content, json.dumps(asdict(arrival.instance)), name, size, wanted.row),
    )
    # A job that is claimed may be about to open the old file; then recover() removes it at the next start.
    is_used = db.execute("SELECT 1 FROM jobs WHERE instance = ? AND state = 'claimed'", (wanted.row,)).fetchone()
    return True, () if wanted.file is None or is_used else (wanted.file,)


def do_again(db: sqlite3.Connection, job: int, now: float) -> str:
    """Put a job that has ended back to waiting, as its next attempt; its deployment."""
    row = db.execute(
        "UPDATE jobs SET state = 'waiting', attempt = attempt + 1, deaths = 0, interruptions = 0, owner = NULL,"
        " code = NULL, reason = NULL, outcome = NULL, finished_at = NULL, required = 0, stated = NULL, created_at = ?"
        " WHERE id = ?"
        " RETURNING deployment",
        (now, job),
    ).fetchone()
    deployment = str(row[0])
    add_count(db, "jobs_finished", -1, deployment=deployment)
    return deployment
