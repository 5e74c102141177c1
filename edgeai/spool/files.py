"""Which received files stay: those that a job needs, and within a bound those of failed jobs, to be done again."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from edgeai.spool.store import Limits

KEPT: Final = 1
SPENT: Final = 2
"""Of ``instances.kept``: the file stays so that a failed job can be done again; until the ends of jobs are on disk."""


def spend_file(db: sqlite3.Connection, limits: Limits, job_id: int) -> None:
    """Mark the file of a job that is done now, when no job needs it any more; ``take_spent`` names it."""
    if limits.keep_files == "always":
        return
    row = db.execute(
        "SELECT i.id, i.file, EXISTS (SELECT 1 FROM jobs WHERE instance = i.id AND state <> 'done'),"
        " EXISTS (SELECT 1 FROM jobs WHERE instance = i.id AND outcome = 'failed')"
        " FROM instances AS i JOIN jobs AS j ON j.instance = i.id WHERE j.id = ?",
        (job_id,),
    ).fetchone()
    if row is None or row[1] is None or row[2]:
        return
    kept = KEPT if row[3] and limits.keep_files == "failed" else SPENT
    db.execute("UPDATE instances SET kept = ? WHERE id = ?", (kept, row[0]))


Spent = tuple[int, float]
"""Number of an instance, and when the last of its jobs ended."""


def spent(db: sqlite3.Connection) -> list[Spent]:
    """Instances whose files no job needs any more, as of now."""
    return db.execute(
        "SELECT id, (SELECT MAX(finished_at) FROM jobs WHERE instance = instances.id) FROM instances WHERE kept = 2"
    ).fetchall()


def take_spent(db: sqlite3.Connection, limits: Limits, wanted: Sequence[Spent]) -> list[str]:
    """Forget files that are still spent as they were, and of those that are kept what is over the bound; their names.

    They may be removed once the ends of their jobs are on disk. A crash before that leaves a row without a file whose
    jobs are done, or a file without a row; ``recover`` puts both right.
    """
    names = [
        str(file)
        for number, ended_at in wanted
        for (file,) in db.execute(
            "SELECT file FROM instances WHERE id = ?1 AND kept = 2 AND file IS NOT NULL"
            " AND (SELECT MAX(finished_at) FROM jobs WHERE instance = ?1) IS ?2",
            (number, ended_at),
        ).fetchall()
    ]
    db.executemany("UPDATE instances SET file = NULL, kept = 0 WHERE file = ?", [(name,) for name in names])
    return names + (drop_kept(db, at_most=limits.max_failed_bytes) if limits.keep_files == "failed" else [])


def drop_kept(db: sqlite3.Connection, *, at_most: int) -> list[str]:
    """Forget kept files, the oldest first, until no more than ``at_most`` bytes are kept; their names."""
    dropped: list[str] = []
    excess = kept_bytes(db) - at_most
    while excess > 0:
        row = db.execute(
            "SELECT id, file, MAX(0.0, bytes) FROM instances WHERE kept = 1 ORDER BY received_at LIMIT 1"
        ).fetchone()
        if row is None:
            break
        db.execute("UPDATE instances SET file = NULL, kept = 0 WHERE id = ?", (row[0],))
        dropped += [str(row[1])] if row[1] else []
        excess -= row[2] if isinstance(row[2], int | float) else 0.0
    return dropped


def kept_bytes(db: sqlite3.Connection) -> float:
    """How much the files take that stay only so that failed jobs can be done again."""
    # TOTAL does not overflow, whatever a damaged row says.
    return float(db.execute("SELECT TOTAL(MAX(0.0, bytes)) FROM instances WHERE kept = 1").fetchone()[0])
