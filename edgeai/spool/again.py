"""Failed jobs done again on request: which they are, and putting them back."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from edgeai.spool.admission import do_again
from edgeai.spool.outbox import queue_event
from edgeai.spool.store import Store

_BATCH = 200
"""Jobs put back in one transaction, so that no C-STORE waits long for it; those of an instance go together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which failed jobs are meant; an empty tuple or None asks nothing.

    Attributes:
        codes: of their failures.
        deployments: on which they failed.
        instances: SOP Instance UIDs.
        since: failed at or after, seconds since the epoch.
    """

    codes: tuple[str, ...] = ()
    deployments: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    since: float | None = None

    def where(self) -> tuple[str, list[Any]]:
        """As SQL over ``jobs AS j`` and ``instances AS i``, with its parameters."""
        text = "j.state = 'done' AND j.outcome = 'failed'"
        values: list[Any] = []
        columns = {"j.code": self.codes, "j.deployment": self.deployments, "i.sop_instance_uid": self.instances}
        for column, wanted in columns.items():
            if wanted:
                text += f" AND {column} IN ({', '.join('?' * len(wanted))})"
                values += wanted
        if self.since is not None:
            text += " AND j.finished_at >= ?"
            values.append(self.since)
        return text, values


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedJobs:
    """Failed jobs of one deployment and code.

    Attributes:
        jobs: how many.
        without_file: how many of them have no file any more: only the sender can send those again.
        numbers: those that can be done again.
    """

    deployment: str
    code: str
    jobs: int
    without_file: int
    numbers: tuple[int, ...]


class Again(Store):
    """What ``edgeai rerun`` calls, while the device runs or while it does not."""

    def failed(self, selection: Selection) -> list[FailedJobs]:
        """The failed jobs that are meant, by deployment and code."""
        where, values = selection.where()
        with self.db.read() as db:
            rows = db.execute(
                "SELECT j.deployment, j.code, j.id, i.file IS NOT NULL FROM jobs AS j"  # noqa: S608
                f" JOIN instances AS i ON i.id = j.instance WHERE {where} ORDER BY j.deployment, j.code, j.id",
                values,
            ).fetchall()
        groups: dict[tuple[str, str], list[tuple[int, bool]]] = {}
        for deployment, code, number, has_file in rows:
            groups.setdefault((deployment, code or ""), []).append((number, bool(has_file)))
        return [
            FailedJobs(
                deployment=deployment,
                code=code,
                jobs=len(jobs),
                without_file=sum(not has_file for _, has_file in jobs),
                numbers=tuple(number for number, has_file in jobs if has_file),
            )
            for (deployment, code), jobs in groups.items()
        ]

    def failed_uids(self) -> list[str]:
        """The SOP Instance UIDs of all failed jobs, each once."""
        with self.db.read() as db:
            rows = db.execute(
                "SELECT DISTINCT i.sop_instance_uid FROM jobs AS j JOIN instances AS i ON i.id = j.instance"
                " WHERE j.state = 'done' AND j.outcome = 'failed'"
            ).fetchall()
        return [str(row[0]) for row in rows]

    def do_again(self, numbers: Sequence[int]) -> int:
        """Put failed jobs back to waiting, as their next attempts; how many still were failed and had their file.

        All of an instance in one transaction: a job that requires another's finding would else see that one's failure.
        """
        put_back: list[str] = []
        for batch in self._batches(numbers):
            with self.db.write() as db:
                put_back += [name for number in batch for name in _put_back(db, number)]
        if put_back:
            self._say_rerun(put_back)
        return len(put_back)

    def _batches(self, numbers: Sequence[int]) -> Iterator[list[int]]:
        with self.db.read() as db:
            rows = db.execute(
                "SELECT j.id, j.instance FROM json_each(?) AS n JOIN jobs AS j ON j.id = n.value ORDER BY 2, 1",
                (json.dumps(list(numbers)),),
            ).fetchall()
        batch: list[int] = []
        for _, jobs in groupby(rows, key=itemgetter(1)):
            batch += [number for number, _ in jobs]
            if len(batch) >= _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def _say_rerun(self, deployments: Sequence[str]) -> None:
        with self.db.write() as db:
            message = f"{len(deployments)} failed jobs are done again on request"
            queue_event(self, db, "jobs.rerun", message, jobs=len(deployments))
        for name in ("publish", *(f"infer:{deployment}" for deployment in sorted(set(deployments)))):
            self.bells.ring(name)

    def unfinished_of(self, numbers: Sequence[int], *, deployment: str | None = None) -> int:
        """How many of these jobs, or of those of one deployment, have not ended yet."""
        with self.db.read() as db:
            return sum(
                db.execute(
                    "SELECT COUNT(*) FROM jobs WHERE id = ?1 AND state <> 'done' AND (?2 IS NULL OR deployment = ?2)",
                    (number, deployment),
                ).fetchone()[0]
                for number in numbers
            )


def _put_back(db: sqlite3.Connection, number: int) -> list[str]:
    row = db.execute(
        "SELECT i.id FROM jobs AS j JOIN instances AS i ON i.id = j.instance"
        " WHERE j.id = ? AND j.state = 'done' AND j.outcome = 'failed' AND i.file IS NOT NULL",
        (number,),
    ).fetchone()
    if row is None:
        return []
    db.execute("UPDATE instances SET kept = 0 WHERE id = ?", (row[0],))
    return [do_again(db, number, time.time())]
