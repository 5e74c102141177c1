"""What happened lately, for ``edgeai status``."""

from __future__ import annotations

from dataclasses import dataclass

from edgeai.spool.rows import json_object
from edgeai.spool.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """One job that is done. ``finished_at`` in seconds since the epoch."""

    deployment: str
    sop_instance_uid: str
    modality: str
    outcome: str
    code: str
    finished_at: float


class History(Store):
    """What ``status`` reads."""

    def recent(self, limit: int) -> list[Finished]:
        """The jobs that finished last, newest first."""
        with self.db.read() as db:
            rows = db.execute(
                "SELECT j.deployment, i.sop_instance_uid, i.ref, j.outcome, j.code, j.finished_at FROM jobs AS j"
                " JOIN instances AS i ON i.id = j.instance WHERE j.state = 'done'"
                " ORDER BY j.finished_at DESC LIMIT ?",
                (limit,),
            ).fetchall()
        return [
            Finished(
                deployment=deployment,
                sop_instance_uid=uid,
                modality=str((json_object(ref) or {}).get("modality", "")),
                outcome=outcome or "",
                code=code or "",
                finished_at=finished_at or 0.0,
            )
            for deployment, uid, ref, outcome, code, finished_at in rows
        ]
