"""What an image costs in a spool that remembers many: 10 finished instances against 100,000."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.timing import Row, milliseconds, paired
from edgeai.api.results import Failure, InstanceIds, ModelRef, Outcome, Result
from edgeai.config import Spool as Limits
from edgeai.spool import Job, Spool
from edgeai.testing.examples import instance_ref

FEW, MANY = 10, 100_000
_DEPLOYMENT, _SINK, _OWNER = "bench", "broker", "me"

_COPIES = """
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)
"""
_INSTANCES = (
    _COPIES + "INSERT INTO instances (sop_instance_uid, content, identity, ref, source, received_at)"
    " SELECT sop_instance_uid || '.' || n, content, identity, ref, source, received_at - n FROM instances, numbers"
    " WHERE id = ?"
)
_JOBS = (
    "INSERT INTO jobs (instance, deployment, state, outcome, code, result_id, created_at, finished_at)"
    " SELECT id, ?, 'done', 'completed', '', 'r' || id, received_at, received_at FROM instances WHERE id > ?"
)


class _Filled:
    """A spool that has finished so many instances before, and takes one after another through all its steps."""

    def __init__(self, folder: Path, finished: int) -> None:
        self.spool = Spool(folder, Limits(reserve_bytes=0))
        self.spool.enable_sinks([_SINK])
        self._numbers = itertools.count(1)
        self.one()
        with self.spool.db.write() as db:
            last = db.execute("SELECT MAX(id) FROM instances").fetchone()[0]
            db.execute(_INSTANCES, (finished, last))
            db.execute(_JOBS, (_DEPLOYMENT, last))

    def one(self) -> None:
        """Admit, claim, finish, deliver."""
        self.admit()
        self.finish(self.claim())
        self.spool.published(_SINK, [message.sequence for message in self.spool.pending(10, sink=_SINK)])

    def admit(self) -> None:
        number = next(self._numbers)
        received = self.spool.tmp / f"{number}"
        received.write_bytes(b"x" * 1000)
        instance = instance_ref(sop_instance_uid=f"2.25.{number}")
        digest = f"sha256:{number:064x}"
        self.spool.check_room(1000)
        self.spool.admit(instance, received, content=lambda: digest, deployments=(_DEPLOYMENT,), source="bench")

    def claim(self) -> Job:
        job = self.spool.claim(_DEPLOYMENT, _OWNER)
        assert job is not None
        return job

    def finish(self, job: Job) -> None:
        result = Result(
            result_id=f"result-{job.id}",
            deployment=job.deployment,
            outcome=Outcome.NOT_APPLICABLE,
            model=ModelRef(name="m", version="1", digest="sha256:0"),
            instance=InstanceIds(sop_class_uid="", sop_instance_uid="", series_instance_uid="", study_instance_uid=""),
            created_at="",
            edgeai_version="",
            reason=Failure(code="input.not-eligible", message="no"),
        )
        self.spool.finish(job, result, b"{}")

    def claimed_ms(self) -> float:
        """Milliseconds of ``claim`` alone."""
        self.admit()
        jobs: list[Job] = []
        took = milliseconds(lambda: jobs.append(self.claim()))
        self.finish(jobs[0])
        return took


def growth(folder: Path, bundle: Path, rounds: int) -> Iterator[Row]:
    """An image's way through the spool, without what it holds."""
    del bundle
    few, many = _Filled(folder / "few", FEW), _Filled(folder / "many", MANY)
    cost = paired(many.one, few.one, rounds=max(rounds, 41))
    claims = [min(spool.claimed_ms() for _ in range(11)) for spool in (few, many)]
    looks = [min(milliseconds(partial(spool.spool.recent, 10)) for _ in range(11)) for spool in (few, many)]
    counts = [min(milliseconds(spool.spool.backlog) for _ in range(11)) for spool in (few, many)]
    yield Row(
        case=f"an image through the spool, {MANY:,} finished before",
        ours=f"{cost.ours_ms:.2f} ms",
        limit=f"{cost.limit_ms:.2f} ms: {FEW} finished before",
        ratio=cost.ratio,
        spread=cost.spread,
        bound=1.2,
        notes=tuple(
            f"{what}, milliseconds at best: {pair[0]:.3f} with {FEW}, {pair[1]:.3f} with {MANY:,}"
            for what, pair in (("claim", claims), ("the last ten results", looks), ("counting the backlog", counts))
        ),
    )
    few.spool.close()
    many.spool.close()
