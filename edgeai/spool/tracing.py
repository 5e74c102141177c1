"""Where one instance is on its way: for the self-test, which must say where its phantom got stuck."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edgeai.spool.database import Database

ASIDE: Final = "set aside"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One job of an instance. ``code`` is of its failure; empty where there is none."""

    deployment: str
    state: str
    outcome: str = ""
    code: str = ""


def jobs_of(database: Database, sop_instance_uid: str) -> list[Trace]:
    """The jobs of an instance; none when it has not come in.

    Raises:
        SpoolError: the spool cannot be read.
    """
    with database.read() as db:
        rows = db.execute(
            "SELECT j.deployment, j.state, j.outcome, j.code FROM instances AS i JOIN jobs AS j ON j.instance = i.id"
            " WHERE i.sop_instance_uid = ? ORDER BY j.deployment",
            (sop_instance_uid,),
        ).fetchall()
    return [Trace(deployment=row[0], state=row[1], outcome=row[2] or "", code=row[3] or "") for row in rows]


def unfinished_below(database: Database, uid_root: str) -> int:
    """Unfinished jobs of instances whose UIDs are below a root."""
    with database.read() as db:
        row = db.execute(
            "SELECT COUNT(*) FROM jobs AS j JOIN instances AS i ON i.id = j.instance"
            " WHERE j.state <> 'done' AND i.sop_instance_uid GLOB ? || '.*'",
            (uid_root,),
        ).fetchone()
    return int(row[0])


def unsent_on(database: Database, channels: str) -> list[tuple[str, str]]:
    """(sink, ``waiting`` or ``ASIDE``) of each message of the lane ``event`` whose channel fits the pattern."""
    with database.read() as db:
        return [
            (str(row[0]), str(row[1]))
            for row in db.execute(
                "SELECT p.sink, 'waiting' FROM pending AS p JOIN messages AS m ON m.sequence = p.sequence"
                " WHERE p.lane = 'event' AND m.channel GLOB ?1 UNION ALL"
                " SELECT s.sink, ?2 FROM set_aside AS s JOIN messages AS m ON m.sequence = s.sequence"
                " WHERE s.lane = 'event' AND m.channel GLOB ?1",
                (channels, ASIDE),
            )
        ]


__all__ = ["ASIDE", "Trace", "jobs_of", "unfinished_below", "unsent_on"]
