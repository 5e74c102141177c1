"""The infer side: claim a job, finish it, or give it back."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgeai.spool.metrics import add_count, add_duration
from edgeai.spool.outbox import queue_message
from edgeai.spool.store import Store

if TYPE_CHECKING:
    from edgeai.api.imaging import InstanceRef
    from edgeai.api.results import Result

Cause = Literal["crashed", "deadline", "interrupted"]
"""How the role that held a job ended: by its own doing, killed at its deadline, or by nobody's fault here."""

GIVEN_UP: Mapping[Cause, str] = {
    "crashed": "job.crashed",
    "deadline": "job.deadline",
    "interrupted": "job.interrupted",
}
"""Cause -> the code of the failed result of a job that was given up for it."""

MAX_INTERRUPTIONS = 100
"""Deaths that were not the job's doing (``kill -9``, out of memory, power) before it is given up all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One inference to do: this instance on that deployment.

    Attributes:
        path: the DICOM file; it may be missing, which is a result to give too.
        attempts: how often a role died on it by its own doing.
        received_at, claimed_at: seconds since the epoch.
        code, reason: why it was given up; empty while there is hope.
    """

    id: int
    deployment: str
    path: Path
    instance: InstanceRef
    owner: str
    attempts: int
    received_at: float
    claimed_at: float
    code: str = ""
    reason: str = ""

    @property
    def queue_ms(self) -> float:
        """From admission to claim, milliseconds of wall clock; never negative, whatever the clock did."""
        return max(0.0, self.claimed_at - self.received_at) * 1000.0


_SELECT = (
    "SELECT j.id, j.deployment, i.file, i.ref, j.attempts, i.received_at, j.code, j.reason"
    " FROM jobs AS j JOIN instances AS i ON i.id = j.instance WHERE j.deployment = ? AND j.state = ?"
    " ORDER BY j.id LIMIT 1"
)


class Work(Store):
    """What infer calls."""

    def claim(self, deployment: str, owner: str) -> Job | None:
        """Take the oldest waiting job, or None. ``owner`` must be unique to this process's life."""
        return self._take(deployment, "waiting", "claimed", owner)

    def condemned(self, deployment: str, owner: str) -> Job | None:
        """Take the oldest job that was given up, to write its failed result; None when there is none."""
        return self._take(deployment, "condemned", "condemned", owner)

    def _take(self, deployment: str, state: str, becomes: str, owner: str) -> Job | None:
        with self.db.read() as db:  # a look first: an idle role takes no write lock
            if db.execute(_SELECT, (deployment, state)).fetchone() is None:
                return None
        with self.db.write(durable=False) as db:
            row = db.execute(_SELECT, (deployment, state)).fetchone()
            if row is None:
                return None
            db.execute("UPDATE jobs SET state = ?, owner = ? WHERE id = ?", (becomes, owner, row[0]))
        return self._job(row, owner)

    def _job(self, row: tuple[object, ...], owner: str) -> Job:
        from edgeai.api.imaging import InstanceRef

        identifier, deployment, file, ref, attempts, received_at, code, reason = row
        return Job(
            id=int(str(identifier)),
            deployment=str(deployment),
            path=self.instances / str(file),
            instance=InstanceRef(**json.loads(str(ref))),
            owner=owner,
            attempts=int(str(attempts)),
            received_at=float(str(received_at)),
            claimed_at=time.time(),
            code=str(code or ""),
            reason=str(reason or ""),
        )

    def finish(self, job: Job, result: Result, body: bytes) -> bool:
        """Job done and message queued, in one transaction; then the DICOM file goes, when nothing needs it.

        Returns:
            False when the job was taken away meanwhile (its claim released): nothing was written, and whoever
            holds it now will give the result.
        """
        code = result.reason.code if result.reason else ""
        with self.db.write() as db:
            done = db.execute(
                "UPDATE jobs SET state = 'done', owner = NULL, outcome = ?, code = ?, finished_at = ?"
                " WHERE id = ? AND owner = ? AND state IN ('claimed', 'condemned')",
                (str(result.outcome), code, time.time(), job.id, job.owner),
            )
            if done.rowcount != 1:
                return False
            queue_message(db, result.result_id, f"result/{job.deployment}", body)
            for stage, duration_ms in result.timings_ms.items():
                add_duration(db, job.deployment, stage, duration_ms)
            backend = result.engine.backend if result.engine else ""
            add_count(db, "results", deployment=job.deployment, outcome=str(result.outcome), code=code, backend=backend)
            spent = self._spend_file(db, job.id)
        self.bells.ring("publish")
        if spent:
            # After the commit: a crash in between leaves a file without a row, which recover() removes.
            (self.instances / spent).unlink(missing_ok=True)
        return True

    def _spend_file(self, db: sqlite3.Connection, job_id: int) -> str | None:
        """Forget the instance's file if no job needs it any more; its name, to be removed after the commit."""
        if self.limits.keep_files == "always":
            return None
        instance, file, needed = db.execute(
            "SELECT i.id, i.file, EXISTS (SELECT 1 FROM jobs WHERE instance = i.id"
            " AND (state <> 'done' OR (?2 AND outcome = 'failed')))"
            " FROM instances AS i JOIN jobs AS j ON j.instance = i.id WHERE j.id = ?1",
            (job_id, self.limits.keep_files == "failed"),
        ).fetchone()
        if needed or file is None:
            return None
        db.execute("UPDATE instances SET file = NULL WHERE id = ?", (instance,))
        return str(file)

    def release(self, deployment: str | None = None, *, owner: str | None = None) -> int:
        """Claims back to waiting, without blame: a role that stops cleanly, or was killed from outside.

        Each counts as an interruption, of which a job has ``MAX_INTERRUPTIONS``.

        Args:
            deployment: only its claims; all when None.
            owner: only this owner's.
        """
        told = f"its role was ended from outside {MAX_INTERRUPTIONS} times"
        with self.db.write() as db:
            done = db.execute(
                "UPDATE jobs SET state = 'waiting', owner = NULL, interruptions = interruptions + 1"
                " WHERE state = 'claimed' AND (?1 IS NULL OR deployment = ?1) AND (?2 IS NULL OR owner = ?2)",
                (deployment, owner),
            )
            db.execute(
                "UPDATE jobs SET state = 'condemned', code = ?1, reason = ?2"
                " WHERE state = 'waiting' AND interruptions >= ?3",
                (GIVEN_UP["interrupted"], told, MAX_INTERRUPTIONS),
            )
        return done.rowcount

    def blame(self, job_id: int, cause: Cause, reason: str, *, max_attempts: int) -> bool:
        """A role died on this job by its own doing: one attempt is used up.

        Returns:
            True when it was the last: the job is condemned, and infer gives its failed result
            (``job.crashed`` or ``job.deadline``).
        """
        with self.db.write() as db:
            row = db.execute(
                "UPDATE jobs SET attempts = attempts + 1, state = 'waiting', owner = NULL"
                " WHERE id = ? AND state = 'claimed' RETURNING attempts",
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
