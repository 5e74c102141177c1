"""How a quarantine ends by itself: a trial now and then, after pauses that double, until one passes.

The pauses go on doubling when a plugin that passed its trial is convicted again within ``REMEMBERED_S``: what answers
the golden cases and dies of real images is let back less and less often.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace
from typing import Final

from edgeai.spool.faults import Quarantine
from edgeai.spool.outbox import queue_event
from edgeai.spool.store import Store

LONGEST_PAUSE_S: Final = 24 * 3600.0
"""Between two trials of one plugin."""

REMEMBERED_S: Final = 7 * 24 * 3600.0
"""So long a plugin that was let back is remembered."""

RELEASED: Final = "released"
"""Step of a row in ``faults`` that is no misdeed: here a quarantine ended."""

_WHO: Final = "plugin = ? AND version = ? AND deployment = ?"


class Trials(Store):
    """What the supervisor and a trial call."""

    def trial_due(self, after_s: float) -> Quarantine | None:
        """A quarantined plugin whose trial is due, or None; its next is put off at once, whatever comes of this one.

        Args:
            after_s: pause before the first trial; each that fails doubles it, up to ``LONGEST_PAUSE_S``.
        """
        now = time.time()
        with self.db.read() as db:  # a look first: while nothing is due nothing is written
            if not any(_is_due(held, pause_s, now) for held, pause_s in _pauses(db, after_s, now)):
                return None
        due: Quarantine | None = None
        with self.db.write() as db:
            for held, pause_s in _pauses(db, after_s, now):
                if not _is_due(held, pause_s, now):
                    continue
                is_set = 0.0 < held.next_trial_at <= now
                if is_set and due is not None:
                    continue  # one at a time
                due = held if is_set else due
                _put_off(db, held, now + pause_s)
        return due

    def trial_failed(self, held: Quarantine, cause: str, why: str, after_s: float) -> None:
        """A trial did not pass: the next pause is twice as long.

        Args:
            held: as ``trial_due`` gave it.
            cause: an error code, or how its process died.
            why: one sentence.
            after_s: as of ``trial_due``.
        """
        now = time.time()
        with self.db.write() as db:
            row = db.execute(
                f"UPDATE quarantine SET trials = trials + 1 WHERE {_WHO} RETURNING trials",  # noqa: S608
                (held.plugin, held.version, held.deployment),
            ).fetchone()
            if row is None:
                return  # pardoned meanwhile
            pause_s = _pause_s(db, replace(held, trials=row[0]), after_s, now)
            _put_off(db, held, now + pause_s)
            told = f"{held.plugin} {held.version} stays in quarantine on {held.deployment}: its trial failed, {why}"
            facts = {**_facts(held), "cause": cause, "trials": row[0], "next_trial_in_s": round(pause_s, 1)}
            queue_event(self, db, "plugin.trial-failed", told, **facts)
        self.bells.ring("publish")

    def release_plugin(self, held: Quarantine, why: str) -> bool:
        """End a quarantine and forget the misdeeds behind it; False when it had ended already.

        Args:
            held: the quarantine.
            why: what speaks for the plugin, or that its version is no longer here.
        """
        who, now = (held.plugin, held.version, held.deployment), time.time()
        with self.db.write() as db:
            if db.execute(f"DELETE FROM quarantine WHERE {_WHO}", who).rowcount != 1:  # noqa: S608
                return False
            db.execute(f"DELETE FROM faults WHERE {_WHO} AND step <> ?", (*who, RELEASED))  # noqa: S608
            db.execute(
                "INSERT INTO faults (at, plugin, version, deployment, step, cause) VALUES (?, ?, ?, ?, ?, ?)",
                (now, *who, RELEASED, held.cause),
            )
            told = f"{held.plugin} {held.version} is used again on {held.deployment}: {why}"
            facts = {**_facts(held), "cause": held.cause, "trials": held.trials}
            queue_event(self, db, "plugin.released", told, **facts, quarantined_s=round(max(0.0, now - held.since), 1))
        for role in ("publish", f"infer:{held.deployment}"):
            self.bells.ring(role)
        return True


def _facts(held: Quarantine) -> dict[str, object]:
    return {"plugin": held.plugin, "version": held.version, "deployment": held.deployment, "step": held.step}


def _pauses(db: sqlite3.Connection, after_s: float, now: float) -> list[tuple[Quarantine, float]]:
    """Every quarantine, that whose trial comes first before the others, and the pause that goes before its trial."""
    names = ("plugin", "version", "deployment", "step", "cause", "since", "trials", "next_trial_at")
    rows = db.execute(f"SELECT {', '.join(names)} FROM quarantine ORDER BY next_trial_at").fetchall()  # noqa: S608
    all_held = [Quarantine(**dict(zip(names, row, strict=True))) for row in rows]
    return [(held, _pause_s(db, held, after_s, now)) for held in all_held]


def _is_due(held: Quarantine, pause_s: float, now: float) -> bool:
    """Whether its trial is due, or was never settled, or is further away than any pause: the clock was set back."""
    return not now < held.next_trial_at <= now + pause_s


def _pause_s(db: sqlite3.Connection, held: Quarantine, after_s: float, now: float) -> float:
    return min(after_s * 2.0 ** min(held.trials + _releases(db, held, now), 64), LONGEST_PAUSE_S)


def _releases(db: sqlite3.Connection, held: Quarantine, now: float) -> int:
    """How often it was let back lately, to no avail."""
    row = db.execute(
        f"SELECT COUNT(*) FROM faults WHERE {_WHO} AND step = ? AND at > ?",  # noqa: S608
        (held.plugin, held.version, held.deployment, RELEASED, now - REMEMBERED_S),
    ).fetchone()
    return int(row[0])


def _put_off(db: sqlite3.Connection, held: Quarantine, until: float) -> None:
    db.execute(
        f"UPDATE quarantine SET next_trial_at = ? WHERE {_WHO}",  # noqa: S608
        (until, held.plugin, held.version, held.deployment),
    )
