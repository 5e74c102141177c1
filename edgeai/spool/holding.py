"""Deployments that cannot run: their jobs are held until the device has what it lacks; no image is blamed for it."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeai.counted import counted
from edgeai.remedies import remedy_for
from edgeai.spool.outbox import queue_event
from edgeai.spool.rows import seconds
from edgeai.spool.store import Store

if TYPE_CHECKING:
    from edgeai.api.errors import EdgeaiError

NOT_DEPLOYED = "config.no-deployment"
"""Code of a hold on jobs of a deployment that the profile no longer has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A deployment that cannot run.

    Attributes:
        code, reason, remedy: of what it lacks.
        since: when it began, seconds since the epoch.
        jobs: how many it holds.
        oldest: when the oldest of them arrived, seconds since the epoch; None with no jobs.
    """

    deployment: str
    code: str
    reason: str
    remedy: str
    since: float
    jobs: int
    oldest: float | None


class Holding(Store):
    """What infer writes, and intake and health read."""

    def hold(self, deployment: str, error: EdgeaiError) -> bool:
        """Say that a deployment cannot run, and why; True when it could before, or for another reason."""
        remedy = error.remedy or remedy_for(error.code)
        with self.db.write() as db:
            before = db.execute("SELECT code FROM holds WHERE deployment = ?", (deployment,)).fetchone()
            db.execute(
                "INSERT INTO holds (deployment, code, reason, remedy, since) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET code = excluded.code, reason = excluded.reason, remedy = excluded.remedy",
                (deployment, error.code, str(error), remedy, time.time()),
            )
            is_news = before is None or before[0] != error.code
            if is_news:
                jobs, oldest_s = _unfinished(db, deployment)
                message = f"{deployment} cannot run, and its jobs are held until it can: {error}"
                facts = {"deployment": deployment, "code": error.code, "remedy": remedy}
                queue_event(self, db, "deployment.held", message, **facts, jobs=jobs, oldest_s=oldest_s)
        if is_news:
            self.bells.ring("publish")
        return is_news

    def lift(self, deployment: str) -> bool:
        """Say that a deployment can run; whether it was held."""
        with self.db.read() as db:
            if db.execute("SELECT 1 FROM holds WHERE deployment = ?", (deployment,)).fetchone() is None:
                return False
        with self.db.write() as db:
            row = db.execute("DELETE FROM holds WHERE deployment = ? RETURNING code, since", (deployment,)).fetchone()
            if row is None:
                return False
            jobs, oldest_s = _unfinished(db, deployment)
            held_s = round(max(0.0, time.time() - seconds(row[1], time.time())), 1)
            message = f"{deployment} can run again; what was held is done now: {counted(jobs, 'job')}"
            facts = {"deployment": deployment, "code": row[0], "jobs": jobs, "oldest_s": oldest_s, "held_s": held_s}
            queue_event(self, db, "deployment.released", message, **facts)
        self.bells.ring("publish")
        return True

    def holds(self) -> list[Hold]:
        """Every deployment that cannot run, with what it holds."""
        with self.db.read() as db:
            rows = db.execute(
                "SELECT h.deployment, h.code, h.reason, h.remedy, h.since, COUNT(j.id), MIN(j.created_at)"
                " FROM holds AS h LEFT JOIN jobs AS j ON j.deployment = h.deployment AND j.state <> 'done'"
                " GROUP BY h.deployment ORDER BY h.deployment"
            ).fetchall()
        return [
            Hold(
                deployment=str(deployment),
                code=str(code),
                reason=str(reason),
                remedy=str(remedy),
                since=seconds(since, 0.0),
                jobs=jobs,
                oldest=seconds(oldest, 0.0) if jobs else None,
            )
            for deployment, code, reason, remedy, since, jobs, oldest in rows
        ]


def _unfinished(db: sqlite3.Connection, deployment: str) -> tuple[int, float]:
    """How many jobs of a deployment have not ended, and how long the oldest has waited, in seconds."""
    jobs, oldest = db.execute(
        "SELECT COUNT(*), MIN(created_at) FROM jobs WHERE deployment = ? AND state <> 'done'", (deployment,)
    ).fetchone()
    now = time.time()
    return int(jobs), round(max(0.0, now - seconds(oldest, now)), 1)
