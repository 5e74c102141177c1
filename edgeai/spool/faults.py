"""Plugins' misdeeds, and who is skipped for them.

An image can kill a sound engine each time it is tried, or make it fail, and a quarantine for that would fail every
image after it. So what happens at ``run`` convicts the plugin only when more than one image is behind it: so many
misdeeds with no image completed in between, on two images at least; or as many images as ``quarantine_after`` that
killed it once and ran through when they were tried again.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass

from edgeai.spool.counters import add_count
from edgeai.spool.outbox import queue_event
from edgeai.spool.store import Store

FAULT_AGE_S = 24 * 3600.0
"""Faults older than this no longer count towards a quarantine: a crash a month is not a plugin that cannot run."""

_COUNT = "SELECT COUNT(*) FROM faults WHERE plugin = ? AND version = ? AND deployment = ? AND step = ? AND at > ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """A plugin that is skipped on a deployment until a trial passes, its version changes or an operator pardons it.

    Attributes:
        trials: that failed since.
        next_trial_at: seconds since the epoch; 0 while that is not settled yet.
    """

    plugin: str
    version: str
    deployment: str
    step: str
    cause: str
    since: float
    trials: int = 0
    next_trial_at: float = 0.0


class Faults(Store):
    """What the supervisor and infer write, and infer and ``status`` read."""

    def fault(
        self,
        *,
        plugin: str,
        version: str,
        deployment: str,
        step: str,
        cause: str,
        quarantine_after: int,
        job_id: int | None = None,
        tell_every_s: float = 0.0,
    ) -> bool:
        """Record a misdeed; quarantine the plugin when it was one too many at this step.

        Args:
            plugin: its name; with ``version`` and ``deployment`` it is what gets quarantined.
            version: of its distribution.
            deployment: where it misbehaved.
            step: ``load``, ``probe``, ``open`` or ``run``.
            cause: ``signal-SIGABRT``, ``exit-1``, ``deadline``, ``memory``, or an error code.
            quarantine_after: ``config.supervise.quarantine_after``.
            job_id: the job at hand, if any; the misdeeds on one job alone quarantine nobody.
            tell_every_s: no event ``plugin.fault`` when one with this cause was queued within so many seconds.

        Returns:
            True when this one led to quarantine; events ``plugin.fault`` and ``plugin.quarantined`` are queued.
        """
        who = (plugin, version, deployment)
        facts = {"plugin": plugin, "version": version, "deployment": deployment, "step": step, "cause": cause}
        now = time.time()
        with self.db.write() as db:
            is_news = not tell_every_s or not _repeats(db, (*who, step, cause), now, tell_every_s)
            db.execute(
                "INSERT INTO faults (at, plugin, version, deployment, step, cause, job) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (now, *who, step, cause, job_id),
            )
            add_count(db, "faults", plugin=plugin, deployment=deployment, step=step, cause=cause)
            if is_news:
                queue_event(self, db, "plugin.fault", f"{plugin} {version} failed at {step}: {cause}", **facts)
            counted = (*who, step, now - FAULT_AGE_S)
            count = db.execute(_COUNT, counted).fetchone()[0]
            guilty = count >= quarantine_after and (job_id is None or _not_one_image(db, counted, quarantine_after))
            fresh = guilty and _quarantine(db, (*who, step, cause, now))
            if fresh:
                told = f"{plugin} {version} is skipped on {deployment} from now on: {cause} at {step}"
                queue_event(self, db, "plugin.quarantined", told, **facts, faults=count)
        if is_news or fresh:
            self.bells.ring("publish")
        return fresh

    def faults(self, *, plugin: str, version: str, deployment: str, step: str) -> int:
        """How many count at present."""
        with self.db.read() as db:
            row = db.execute(_COUNT, (plugin, version, deployment, step, time.time() - FAULT_AGE_S)).fetchone()
        return int(row[0])

    def quarantined(self, deployment: str | None = None) -> list[Quarantine]:
        """Who is skipped, on one deployment or on all."""
        names = ("plugin", "version", "deployment", "step", "cause", "since", "trials", "next_trial_at")
        with self.db.read() as db:
            rows = db.execute(
                f"SELECT {', '.join(names)} FROM quarantine WHERE ?1 IS NULL OR deployment = ?1 ORDER BY since",  # noqa: S608
                (deployment,),
            ).fetchall()
        return [Quarantine(**dict(zip(names, row, strict=True))) for row in rows]

    def pardon(self, plugin: str, deployment: str | None = None) -> int:
        """Lift quarantine and forget the faults behind it; how many quarantines that were."""
        where = "WHERE plugin = ?1 AND (?2 IS NULL OR deployment = ?2)"
        with self.db.write() as db:
            db.execute(f"DELETE FROM faults {where}", (plugin, deployment))  # noqa: S608
            lifted = db.execute(f"DELETE FROM quarantine {where}", (plugin, deployment)).rowcount  # noqa: S608
            if lifted:
                told = f"{plugin} is used again"
                queue_event(self, db, "plugin.pardoned", told, plugin=plugin, deployment=deployment or "")
        return lifted


def _quarantine(db: sqlite3.Connection, row: tuple[object, ...]) -> bool:
    """Whether it was not in quarantine before."""
    done = db.execute(
        "INSERT OR IGNORE INTO quarantine (plugin, version, deployment, step, cause, since) VALUES (?, ?, ?, ?, ?, ?)",
        row,
    )
    return done.rowcount == 1


def _repeats(db: sqlite3.Connection, same: tuple[object, ...], now: float, every_s: float) -> bool:
    """Whether this very fault was recorded a moment ago."""
    row = db.execute(
        "SELECT 1 FROM faults WHERE plugin = ? AND version = ? AND deployment = ? AND step = ? AND cause = ?"
        " AND at BETWEEN ? AND ? LIMIT 1",
        (*same, now - every_s, now),
    ).fetchone()
    return row is not None


def _not_one_image(db: sqlite3.Connection, counted: tuple[object, ...], quarantine_after: int) -> bool:
    """Whether these misdeeds speak against the plugin, and not only against the images that it failed on."""
    plugin, version, deployment, step, since = counted
    last_completed = db.execute(
        "SELECT finished_at FROM jobs WHERE deployment = ? AND state = 'done' AND outcome = 'completed'"
        " AND finished_at <= ? ORDER BY finished_at DESC LIMIT 1",
        (deployment, time.time()),
    ).fetchone()
    # A job that its engine died on and that now is done, or is being tried once more, may yet be sound.
    in_a_row, images_in_a_row, survived = db.execute(
        "SELECT COUNT(CASE WHEN f.at > ?6 THEN 1 END), COUNT(DISTINCT CASE WHEN f.at > ?6 THEN f.job END),"
        " COUNT(DISTINCT CASE WHEN j.outcome = 'completed' OR (j.state IN ('waiting', 'claimed') AND j.deaths > 0)"
        " THEN f.job END)"
        " FROM faults AS f LEFT JOIN jobs AS j ON j.id = f.job"
        " WHERE f.plugin = ?1 AND f.version = ?2 AND f.deployment = ?3 AND f.step = ?4 AND f.at > ?5",
        (plugin, version, deployment, step, since, last_completed[0] if last_completed else 0.0),
    ).fetchone()
    several = int(images_in_a_row) >= min(2, quarantine_after) and int(in_a_row) >= quarantine_after
    return several or int(survived) >= quarantine_after
