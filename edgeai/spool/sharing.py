"""Which deployments have the same image to do, and when nobody has any more (``planes`` holds what they share)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeai.spool.planes import remove_tree
from edgeai.spool.store import Store

if TYPE_CHECKING:
    from edgeai.spool.work import Job


class Sharing(Store):
    """What infer asks before it does a job, and does after it."""

    def sharers(self, job: Job) -> frozenset[str]:
        """The other deployments that have this job's instance to do, or are at it. Those on hold are in no hurry."""
        with self.db.read() as db:
            rows = db.execute(
                "SELECT o.deployment FROM jobs AS j JOIN jobs AS o ON o.instance = j.instance WHERE j.id = ?1"
                " AND o.id <> ?1 AND o.state IN ('waiting', 'claimed')"
                " AND NOT EXISTS (SELECT 1 FROM holds WHERE deployment = o.deployment)",
                (job.id,),
            )
            return frozenset(str(name) for (name,) in rows)

    def is_needed(self, file: str) -> bool:
        """Whether a job has the instance in this file still to do."""
        with self.db.read() as db:
            row = db.execute(
                "SELECT 1 FROM instances AS i JOIN jobs AS j ON j.instance = i.id"
                " WHERE i.file = ? AND j.state <> 'done' LIMIT 1",
                (file,),
            ).fetchone()
        return row is not None

    def drop_planes(self, file: str) -> None:
        """Remove what deployments shared of an instance, once none has it to do, whether its file stays or not."""
        folder = self.planes / file
        if folder.is_dir() and not self.is_needed(file):
            remove_tree(folder)
