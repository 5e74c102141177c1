"""Jobs that run only once other deployments have ended for the same instance, and said what is required.

A job of such a deployment is looked at by its own role: it waits, may run, or ends. Whoever ends a job has those that
wait looked at again, in the transaction of that end; and a job begins to wait in a transaction that sees what it waits
for unfinished. So no order of arrivals, ends and deaths leaves one waiting for an end that has come.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeai.spool.rows import json_object
from edgeai.spool.work import UNSEEN, Job, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """What a job of the same instance has come to.

    Attributes:
        is_over: whether it has ended.
        outcome, code: of its result; empty while it has none.
        stated: ``kind:label`` -> what it said of it, as ``finish`` was given it; None where nobody asked it then.
    """

    is_over: bool
    outcome: str = ""
    code: str = ""
    stated: Mapping[str, Any] | None = None


class Requiring(Work):
    """What infer calls for a deployment that requires another's finding."""

    def look_anew(self, deployment: str) -> None:
        """At a start: the profile may ask for something else by now, and what was awaited is waited for anew."""
        with self.db.write(durable=False) as db:
            db.execute(
                "UPDATE jobs SET required = 0 WHERE deployment = ? AND state = 'waiting' AND required > 0",
                (deployment,),
            )

    def unseen(self, deployment: str) -> Job | None:
        """The oldest job that nobody has looked at yet, or whose instance another job of has ended; not claimed."""
        with self.db.read() as db:
            row = db.execute(UNSEEN, (deployment,)).fetchone()
        return None if row is None else self._job(row, "")

    def ends_of(self, job: Job, deployments: Sequence[str]) -> Mapping[str, End]:
        """What these deployments' jobs of the same instance have come to; those that have none are left out."""
        with self.db.read() as db:
            rows = db.execute(
                "SELECT o.deployment, o.state, o.outcome, o.code, o.stated FROM jobs AS j JOIN jobs AS o"
                " ON o.instance = j.instance WHERE j.id = ? AND o.deployment IN (SELECT value FROM json_each(?))",
                (job.id, json.dumps(deployments)),
            ).fetchall()
        return {
            str(name): End(is_over=True, outcome=str(outcome or ""), code=str(code or ""), stated=json_object(stated))
            if state == "done"
            else End(is_over=False)
            for name, state, outcome, code, stated in rows
        }

    def await_end(self, job: Job, deployments: Sequence[str]) -> None:
        """Leave it until a job of its instance ends; nothing where none of these has any more to end."""
        with self.db.write(durable=False) as db:
            db.execute(
                "UPDATE jobs SET required = 1 WHERE id = ? AND state = 'waiting' AND EXISTS (SELECT 1 FROM jobs AS o"
                " WHERE o.instance = jobs.instance AND o.state <> 'done'"
                " AND o.deployment IN (SELECT value FROM json_each(?)))",
                (job.id, json.dumps(deployments)),
            )

    def clear(self, job: Job) -> None:
        """It may run: ``claim`` gives it."""
        with self.db.write(durable=False) as db:
            db.execute("UPDATE jobs SET required = 2 WHERE id = ? AND state = 'waiting'", (job.id,))

    def take(self, job: Job, owner: str) -> Job | None:
        """Claim it, to end it without a run; None where it does not wait any more."""
        with self.db.write(durable=False) as db:
            done = db.execute(
                "UPDATE jobs SET state = 'claimed', owner = ? WHERE id = ? AND state = 'waiting'", (owner, job.id)
            )
        return replace(job, owner=owner, claimed_at=time.time()) if done.rowcount == 1 else None


__all__ = ["End", "Requiring"]
