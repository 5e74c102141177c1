"""The infer side: claim a job, finish it, give it back, or hold all that wait while the deployment cannot run."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgeai.spool.counters import add_count, add_duration
from edgeai.spool.files import spend_file, spent, take_spent
from edgeai.spool.outbox import queue_message
from edgeai.spool.rows import instance_of, nameless, seconds, whole
from edgeai.spool.sharing import Sharing

if TYPE_CHECKING:
    from edgeai.api.instances import InstanceRef
    from edgeai.api.results import Result

Cause = Literal["crashed", "deadline", "memory", "interrupted"]
"""How the role that held a job ended: by its own doing, killed at a bound, or by nobody's fault here."""

GIVEN_UP: Mapping[Cause, str] = {
    "crashed": "job.crashed",
    "deadline": "job.deadline",
    "memory": "job.memory",
    "interrupted": "job.interrupted",
}
"""Cause -> the code of the failed result of a job that was given up for it."""

MAX_INTERRUPTIONS = 100
"""Deaths that were not the job's doing (``kill -9``, out of memory, power) before it is given up all the same."""

UNREADABLE = "spool.row-unreadable"
"""Code of a job whose row does not say which instance it is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One inference to do: this instance on that deployment.

    Attributes:
        path: the DICOM file; it may be missing, which is a result to give too.
        content: ``sha256:<hex>`` of what arrived; empty for what edgeai 0.1 received.
        identity: the content as the result id covers it; empty where an id of edgeai 0.1 is kept.
        attempt: from 1; rises each time the job is done again after it had failed.
        result_id: that an earlier attempt's result had, whatever the model was; empty at the first.
        deaths: how often a role died on this attempt by its own doing.
        interruptions: how often one ended that held it, and nobody could be blamed.
        received_at, claimed_at: seconds since the epoch.
        code, reason: why it was given up; empty while there is hope.
    """

    id: int
    deployment: str
    path: Path
    instance: InstanceRef
    owner: str
    content: str = ""
    identity: str = ""
    attempt: int = 1
    result_id: str = ""
    deaths: int = 0
    interruptions: int = 0
    received_at: float
    claimed_at: float
    code: str = ""
    reason: str = ""

    @property
    def goes_along(self) -> bool:
        """Whether it may be worked on beside others: nothing is known against it."""
        return self.deaths == 0 and self.interruptions == 0 and not self.code

    @property
    def queue_ms(self) -> float:
        """From admission to claim, milliseconds of wall clock; never negative, whatever the clock did."""
        return max(0.0, self.claimed_at - self.received_at) * 1000.0


_SELECT = (
    "SELECT j.id, j.deployment, i.file, i.sop_instance_uid, i.ref, i.content, i.identity, j.attempt, j.deaths,"
    " j.interruptions, j.result_id, j.created_at, j.code, j.reason"
    " FROM jobs AS j LEFT JOIN instances AS i ON i.id = j.instance"
    " WHERE j.deployment = ? AND j.state {state} ORDER BY j.id LIMIT 1"
)
# The state stands in the statement and not among its parameters, so that the partial index is used.
_WAITING = _SELECT.format(state="= 'waiting' AND j.state <> 'done'")
_CLEARED = _SELECT.format(state="= 'waiting' AND j.required = 2")
UNSEEN = _SELECT.format(state="= 'waiting' AND j.required = 0")
_CONDEMNED = _SELECT.format(state="= 'condemned' AND j.state <> 'done'")


# Whoever waits for this end, or for another's of the same instance, looks again.
_END = (
    "UPDATE jobs SET required = 0 WHERE instance = (SELECT instance FROM jobs WHERE id = ?)"
    " AND state = 'waiting' AND required = 1 RETURNING deployment"
)


class Work(Sharing):
    """What infer calls."""

    def claim(self, deployment: str, owner: str, *, requires: bool = False) -> Job | None:
        """Take the oldest waiting job, or None.

        Args:
            deployment: whose.
            owner: unique to this process's life.
            requires: only one that may run as far as others are asked first (see ``Requiring``).
        """
        return self._take(_CLEARED if requires else _WAITING, deployment, "claimed", owner)

    def condemned(self, deployment: str, owner: str) -> Job | None:
        """Take the oldest job that was given up, to write its failed result; None when there is none."""
        return self._take(_CONDEMNED, deployment, "condemned", owner)

    def _take(self, select: str, deployment: str, becomes: str, owner: str) -> Job | None:
        with self.db.read() as db:  # a look first: an idle role takes no write lock
            if db.execute(select, (deployment,)).fetchone() is None:
                return None
        with self.db.write(durable=False) as db:
            row = db.execute(select, (deployment,)).fetchone()
            if row is None:
                return None
            db.execute("UPDATE jobs SET state = ?, owner = ? WHERE id = ?", (becomes, owner, row[0]))
        return self._job(row, owner)

    def _job(self, row: tuple[Any, ...], owner: str) -> Job:
        identifier, deployment, file, uid, ref, content, identity, attempt, *rest = row
        deaths, interruptions, result_id, created_at, code, reason = rest
        instance = instance_of(uid, ref)
        if instance is None:
            # Never an exception: a role that stops at a row would stop at it again at each start.
            code, reason = UNREADABLE, "its row in the spool does not say which instance it is about"
        return Job(
            id=identifier,
            deployment=str(deployment),
            path=self.instances / str(file),
            instance=instance or nameless(uid),
            owner=owner,
            content=str(content or ""),
            identity=str(identity or ""),
            attempt=whole(attempt, 1),
            deaths=whole(deaths, 0),
            interruptions=whole(interruptions, 0),
            result_id=str(result_id or ""),
            received_at=seconds(created_at, time.time()),
            claimed_at=time.time(),
            code=str(code or ""),
            reason=str(reason or ""),
        )

    def finish(
        self,
        job: Job,
        result: Result,
        body: bytes,
        *,
        channel: str = "",
        durable: bool = True,
        stated: str | None = None,
    ) -> bool:
        """Job done and message queued, in one transaction; then the DICOM file goes, when nothing needs it.

        Args:
            job: as ``claim`` or ``condemned`` gave it.
            result: its end.
            body: the result as it leaves.
            channel: where to; ``result/<deployment>`` when empty.
            durable: on disk when this returns, and the file gone; else with the next durable write of anybody, at the
                latest with ``make_ends_durable``. Until then a power cut has the job done again, under the same id.
            stated: what it says of findings that other deployments require, as JSON.

        Returns:
            False when the job was taken away meanwhile (its claim released): nothing was written, and whoever
            holds it now will give the result.
        """
        code = result.reason.code if result.reason else ""
        with self.db.write(durable=durable) as db:
            done = db.execute(
                "UPDATE jobs SET state = 'done', owner = NULL, outcome = ?, code = ?, finished_at = ?, result_id = ?,"
                " stated = ? WHERE id = ? AND owner = ? AND state IN ('claimed', 'condemned')",
                (str(result.outcome), code, time.time(), result.result_id, stated, job.id, job.owner),
            )
            if done.rowcount != 1:
                return False
            queue_message(db, result.result_id, channel or f"result/{job.deployment}", body, attempt=job.attempt)
            _count_end(db, job.deployment, result, code, is_selftest=channel.startswith("selftest/"))
            add_count(db, "jobs_finished", deployment=job.deployment)
            spend_file(db, self.limits, job.id)
            names = take_spent(db, self.limits, spent(db)) if durable else []
            awaited_by = db.execute(_END, (job.id,)).fetchall()
        for role in ("publish", *(f"infer:{name}" for (name,) in awaited_by)):
            self.bells.ring(role)
        self.remove_files(names)
        self.drop_planes(job.path.name)
        return True

    def make_ends_durable(self) -> None:
        """Have on disk what ``finish`` left to be; then files that no job needs go, on a thread of their own."""
        with self.db.read() as db:
            ended = spent(db)
        self.db.sync()  # and no writer waits for that
        with self.db.write(durable=False) as db:
            names = take_spent(db, self.limits, ended)
        self.remove_files_aside(names)

    def give_back(self, job: Job, *, max_attempts: int) -> bool:
        """A claim back to waiting since the device could not do it now; False when that was the last time.

        The last time the job stays claimed, and its failed result is the caller's to give.
        """
        if job.deaths + 1 >= max_attempts:
            return False
        with self.db.write() as db:
            db.execute(
                "UPDATE jobs SET state = 'waiting', owner = NULL, deaths = deaths + 1"
                " WHERE id = ? AND owner = ? AND state = 'claimed'",
                (job.id, job.owner),
            )
        return True

    def unclaim(self, job: Job) -> None:
        """A claim back to waiting that nothing was done with, or nothing that counts: no interruption, no death."""
        with self.db.write(durable=False) as db:
            db.execute(
                "UPDATE jobs SET state = 'waiting', owner = NULL WHERE id = ? AND owner = ? AND state = 'claimed'",
                (job.id, job.owner),
            )

    def release(self, deployment: str | None = None, *, owner: str | None = None) -> int:
        """Claims back to waiting, without blame: a role that stops cleanly, or was killed from outside.

        Each counts as an interruption, of which a job has ``MAX_INTERRUPTIONS``.

        Args:
            deployment: only its claims; all when None.
            owner: only this owner's.
        """
        reason = f"its role was ended from outside {MAX_INTERRUPTIONS} times"
        with self.db.write() as db:
            done = db.execute(
                "UPDATE jobs SET state = 'waiting', owner = NULL, interruptions = interruptions + 1"
                " WHERE state = 'claimed' AND state <> 'done' AND (?1 IS NULL OR deployment = ?1)"
                " AND (?2 IS NULL OR owner = ?2)",
                (deployment, owner),
            )
            db.execute(
                "UPDATE jobs SET state = 'condemned', code = ?1, reason = ?2"
                " WHERE state = 'waiting' AND state <> 'done' AND interruptions >= ?3",
                (GIVEN_UP["interrupted"], reason, MAX_INTERRUPTIONS),
            )
        return done.rowcount

    def blame(self, job_id: int, cause: Cause, reason: str, *, max_attempts: int) -> bool:
        """A role died on this job by its own doing: one attempt is used up.

        Returns:
            True when it was the last: the job is condemned, and infer gives its failed result
            (``job.crashed``, ``job.deadline`` or ``job.memory``).
        """
        with self.db.write() as db:
            row = db.execute(
                "UPDATE jobs SET deaths = deaths + 1, state = 'waiting', owner = NULL"
                " WHERE id = ? AND state = 'claimed' RETURNING deaths",
                (job_id,),
            ).fetchone()
            if row is None or row[0] < max_attempts:
                return False
            db.execute(
                "UPDATE jobs SET state = 'condemned', code = ?, reason = ? WHERE id = ?",
                (GIVEN_UP[cause], reason, job_id),
            )
        return True

    def queue_lengths(self) -> dict[str, int]:
        """Deployment -> unfinished jobs."""
        with self.db.read() as db:
            rows = db.execute("SELECT deployment, COUNT(*) FROM jobs WHERE state <> 'done' GROUP BY deployment")
            return {str(name): int(count) for name, count in rows}


def _count_end(db: sqlite3.Connection, deployment: str, result: Result, code: str, *, is_selftest: bool) -> None:
    """Figures of work are those of patients' images; the ends of a self-test's phantoms have a counter of their own."""
    backend = result.engine.backend if result.engine else ""
    labels = {"deployment": deployment, "outcome": str(result.outcome), "code": code, "backend": backend}
    if is_selftest:
        add_count(db, "selftests", **labels)
        return
    add_count(db, "results", **labels)
    for stage, duration_ms in result.timings_ms.items():
        add_duration(db, deployment, stage, duration_ms)


__all__ = ["GIVEN_UP", "MAX_INTERRUPTIONS", "UNREADABLE", "UNSEEN", "Cause", "Job", "Work"]
