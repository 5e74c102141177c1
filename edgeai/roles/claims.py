"""The jobs that an infer role has claimed: one by itself, or several in a row, of which the next are decoded early.

What kills a process is found by doing one thing at a time. So jobs go in a row only while nothing is known against any
of them, the deployment has shown that it is far from its deadline, and its last life did not end at work.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

from edgeai.api.errors import SpoolError
from edgeai.api.results import Result
from edgeai.config import Deployment
from edgeai.logs import Log
from edgeai.model import Model
from edgeai.model.abreast import MOST_BYTES, Row
from edgeai.model.prepared import Prepared
from edgeai.model.streams import lanes
from edgeai.roles import native
from edgeai.roles.engine import Noter
from edgeai.roles.identities import Identities
from edgeai.roles.probation import spent_ms_of
from edgeai.roles.shared import Shared
from edgeai.spool import Job, Note, Spool, Station, owner_name

ALONE_S: Final = 600.0
"""After a life that ended at work one job is done at a time for so long, so that what kills it again is known."""

OF_DEADLINE: Final = 0.125
"""Jobs go in a row while one takes no longer than this part of its deadline: beside others each takes longer."""

MOST_IN_A_ROW: Final = 64
"""Then the role looks at what else there is to do."""

log = Log("edgeai.roles.infer")


class Claims:
    """Of one deployment. What it claimed and did not come to goes back with ``drop``.

    Args:
        spool: where jobs come from.
        station: the role's.
        note: the breadcrumb of the deployment.
        deployment: whose jobs.
        shared: what it shares with other deployments.
        identities: of its results.
        last: what the role's last life said at its end.
        is_stopping: whether nothing more shall begin.
    """

    def __init__(
        self,
        spool: Spool,
        station: Station,
        note: Noter,
        deployment: Deployment,
        shared: Shared,
        identities: Identities,
        *,
        last: Note | None,
        is_stopping: Callable[[], bool],
    ) -> None:
        self.owner = owner_name(station.role)
        self._spool, self._station, self._note, self._deployment = spool, station, note, deployment
        self._shared, self._identities = shared, identities
        self._is_stopping = is_stopping
        self._claimed: deque[Job] = deque()
        self._row: Row[Job] | None = None
        self._owed: list[Job] = []
        """Claims that could not be given back yet."""
        died_at_work = last is not None and any(step.job_id is not None for step in last.steps)
        self._alone_until = time.monotonic() + ALONE_S if died_at_work else 0.0
        self._is_quick = False

    def take(self) -> Job | None:
        """The next job, to be done by itself.

        Raises:
            SpoolError: the spool cannot be used.
        """
        return self._claimed.popleft() if self._claim(1) else None

    def row(self, model: Model) -> Generator[tuple[Job, Result], None, None] | None:
        """The next jobs and what the model says of them, in order; ``None`` where the next is to be done by itself.

        Raises:
            SpoolError: the spool cannot be used.
        """
        if self._row is None or not len(self._row):
            may = self._is_quick and lanes() > 1 and time.monotonic() >= self._alone_until
            if not may or self._claim(2) < 2 or not all(map(_goes_along, self._claimed)):
                return None
        if self._row is None:
            self._row = Row(
                model, partial(self._supply, model), at_engine=self._at_engine, is_stopping=self._is_stopping
            )
        return self._results(self._row)

    def timed(self, result: Result) -> None:
        """How long a job took decides whether the next go in a row."""
        self._is_quick = spent_ms_of(result) / 1e3 <= self._deployment.deadline_s * OF_DEADLINE

    def drop(self) -> None:
        """Give back what was claimed and has no result, and wait until nothing is at work on it."""
        row, self._row = self._row, None
        self._owed += [*(row.drop() if row is not None else ()), *self._claimed]
        self._claimed.clear()
        self._is_quick = False
        with suppress(SpoolError):  # it is tried again before anything else is claimed
            self._give_back()

    def _give_back(self) -> None:
        while self._owed:
            self._spool.unclaim(self._owed[-1])
            self._owed.pop()

    def _claim(self, count: int) -> int:
        """Have so many claimed, or all that wait; how many there are."""
        self._give_back()
        while len(self._claimed) < count:
            job = self._spool.claim(self._deployment.name, self.owner, requires=bool(self._deployment.requires))
            if job is None:
                break
            self._claimed.append(job)
        return len(self._claimed)

    def _results(self, row: Row[Job]) -> Generator[tuple[Job, Result], None, None]:
        trouble = row.trouble
        yield from row.results(MOST_IN_A_ROW)
        if row.trouble != trouble:
            log.warning("engine.one-by-one", deployment=self._deployment.name, message=row.trouble)

    def _supply(self, model: Model) -> tuple[Job, Callable[[], Prepared]] | None:
        """The next job for the row; one that is to be done by itself ends it, and stays for ``take``."""
        try:
            if not self._claim(1) or not _goes_along(self._claimed[0]):
                return None
        except SpoolError as error:
            log.error("spool.trouble", code=error.code, message=str(error))
            return None
        job = self._claimed.popleft()
        return job, partial(self._prepare, model, job)

    def _prepare(self, model: Model, job: Job) -> Prepared:
        deadline_s = self._deployment.deadline_s
        with self._station.step("job", deadline_s=deadline_s, job_id=job.id), native.told_as_one(job=job.id):
            return model.prepare(
                job.path,
                deployment=self._deployment.name,
                identity=self._identities.of(job, model.reference.digest),
                breadcrumb=self._note.of(job.id),
                most_bytes=MOST_BYTES,
                shared=self._shared.of(job),
            )

    @contextmanager
    def _at_engine(self, job: Job, prepared: Prepared) -> Iterator[None]:
        """The job's deadline goes on where preparing left it: it does not count the time that a job waits."""
        left_s = max(0.001, self._deployment.deadline_s - prepared.spent_s)
        with self._station.step("job", deadline_s=left_s, job_id=job.id), native.told_as_one(job=job.id):
            yield


def _goes_along(job: Job) -> bool:
    return job.goes_along and job.path.is_file()
