"""The ingest side: is there room, and the moment from which an instance is never lost."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from edgeai.api.errors import SpoolFull
from edgeai.spool.admission import Admission, Arrival, admit_row, plan
from edgeai.spool.counters import add_count
from edgeai.spool.database import translated
from edgeai.spool.files import drop_kept, kept_bytes
from edgeai.spool.outbox import queue_event
from edgeai.spool.store import Store

if TYPE_CHECKING:
    from edgeai.api.instances import InstanceRef

_BACKLOG_AGE_S = 0.5


class Intake(Store):
    """What ingest calls."""

    _backlog_at = -1e9
    _backlog = 0

    if TYPE_CHECKING:

        def results_set_aside_full(self) -> bool:
            """See ``SetAside``, which stands beside this in a ``Spool``."""

    def check_room(self, extra_bytes: int = 0, *, only_look: bool = False) -> None:
        """Whether another instance may be accepted. Cheap enough for each C-STORE.

        Args:
            extra_bytes: what is about to arrive, where the sender says.
            only_look: give up no kept file to make room; that it could be is enough.

        Raises:
            SpoolFull: ``spool.disk-reserve``, ``spool.backlog`` or ``spool.set-aside``; ends once there is room.
            SpoolError: the disk or the database cannot be asked.
        """
        with translated("asking for free disk"):
            free = shutil.disk_usage(self.folder).free
        lacking = self.limits.reserve_bytes - (free - extra_bytes)
        if lacking > 0 and not self._make_room(lacking, only_look=only_look):
            raise SpoolFull(
                f"{free} bytes free on disk, {self.limits.reserve_bytes} are kept in reserve",
                code="spool.disk-reserve",
                remedy="free disk space on data_dir's volume, or lower spool.reserve_bytes",
            )
        backlog = self._recent_backlog()
        if backlog >= self.limits.max_backlog:
            raise SpoolFull(
                f"{backlog} jobs and messages are waiting, spool.max_backlog is {self.limits.max_backlog}",
                code="spool.backlog",
                remedy="see `edgeai status`: is the broker away, or an engine too slow?",
            )
        if self.results_set_aside_full():
            raise SpoolFull(
                f"a sink has refused {self.limits.max_set_aside} results for good, and no more are kept",
                code="spool.set-aside",
                remedy="see `edgeai messages list`: cure the cause, then retry or drop them",
            )

    def _make_room(self, lacking: int, *, only_look: bool) -> bool:
        """Give up files that stay only so that failed jobs can be done again; whether that was enough."""
        with self.db.read() as db:
            kept = kept_bytes(db)
        if kept < lacking or only_look:
            return kept >= lacking
        with self.db.write() as db:
            dropped = drop_kept(db, at_most=int(kept - lacking))
        self.remove_files(dropped)
        return True

    def _recent_backlog(self) -> int:
        # Counted at most twice a second: between counts at most what arrives meanwhile is missed.
        now = time.monotonic()
        if now - self._backlog_at > _BACKLOG_AGE_S:
            self._backlog = sum(self.backlog())
            self._backlog_at = now
        return self._backlog

    def backlog(self) -> tuple[int, int]:
        """Unfinished jobs that are not held, messages that some sink still lacks and has not refused."""
        with self.db.read() as db:
            row = db.execute(
                "SELECT (SELECT COUNT(*) FROM jobs WHERE state <> 'done'"
                " AND deployment NOT IN (SELECT deployment FROM holds)),"
                " (SELECT COUNT(*) FROM messages) - (SELECT COUNT(DISTINCT sequence) FROM set_aside"
                " WHERE sequence NOT IN (SELECT sequence FROM pending))"
            ).fetchone()
        return int(row[0]), int(row[1])

    def admit(
        self,
        instance: InstanceRef,
        received: Path,
        *,
        content: Callable[[], str],
        deployments: Sequence[str],
        source: str,
        again: Container[str] = ("input.not-eligible",),
    ) -> Admission:
        """Take a received file for good. When this returns, no crash and no power cut loses the instance.

        Rename to ``instances/``, fsync of the file and of the folder, then one transaction with the
        instance's row and a job a deployment. ``received`` is a file in ``tmp``; it is gone afterwards. With no
        deployment the instance is only remembered.

        An instance is its UID and its content. What completed is not done again; what failed is, and so is what no
        deployment was eligible for and one is now. Other content under a known UID is an instance of its own.

        Args:
            instance: from the header.
            received: the file.
            content: gives ``sha256:<hex>`` of transfer syntax and data set; may still be computing.
            deployments: for whom.
            source: where it came from.
            again: codes of results that were no answer to this image, beside failures.

        Raises:
            SpoolFull: no room, ``spool.held`` for this instance alone; nothing was kept.
            SpoolError: the disk or the database failed; nothing was kept.
        """
        arrival = Arrival(instance=instance, deployments=tuple(deployments), source=source, again=again)
        try:
            if self._is_known(arrival, content):
                return Admission(kind="known")
            self.check_held(deployments)
            admitted = self._keep(arrival, received, content)
        finally:
            received.unlink(missing_ok=True)
        self.remove_files(admitted.dropped)
        for deployment in admitted.jobs:
            self.bells.ring(f"infer:{deployment}")
        if admitted.kind == "differs":  # which was said, by an event
            self.bells.ring("publish")
        return admitted

    def _is_known(self, arrival: Arrival, content: Callable[[], str]) -> bool:
        """Whether nothing is to be done; a look that costs no fsync."""
        if not self.knows(arrival.instance.sop_instance_uid):
            return False
        digest = content()
        with self.db.read() as db:
            is_known = plan(db, arrival, digest).kind == "known"
        if is_known:
            with self.db.write(durable=False) as db:
                add_count(db, "instances", outcome="known", code="")
        return is_known

    def _keep(self, arrival: Arrival, received: Path, content: Callable[[], str]) -> Admission:
        """File and rows, durably; nothing of either when that fails."""
        keep = bool(arrival.deployments) or self.limits.keep_files == "always"
        name = f"{uuid.uuid4().hex}.dcm" if keep else None
        target = self.instances / name if name else None
        try:
            size = received.stat().st_size
            with translated(f"keeping {received.name}"):
                if target:
                    _move_durably(received, target)
            digest = content()  # it was computing while the disk was busy
            with self.db.write() as db:
                admitted = admit_row(self, db, arrival, digest, name, size)
        except BaseException:
            if target:
                target.unlink(missing_ok=True)
            raise
        if target and not admitted.took_file:
            target.unlink(missing_ok=True)
        return admitted

    def check_held(self, deployments: Sequence[str]) -> None:
        """A deployment that cannot run holds its jobs up to a bound; only instances for it are refused there.

        Raises:
            SpoolFull: ``spool.held``.
        """
        with self.db.read() as db:
            for deployment in deployments:
                if db.execute("SELECT 1 FROM holds WHERE deployment = ?", (deployment,)).fetchone() is None:
                    continue
                jobs, held_bytes = db.execute(
                    "SELECT COUNT(*), CAST(TOTAL(MAX(0.0, i.bytes)) AS INTEGER) FROM jobs AS j"
                    " JOIN instances AS i ON i.id = j.instance WHERE j.deployment = ? AND j.state <> 'done'",
                    (deployment,),
                ).fetchone()
                if jobs >= self.limits.max_held or held_bytes >= self.limits.max_held_bytes:
                    raise SpoolFull(
                        f"{deployment} cannot run and holds {jobs} jobs ({held_bytes} bytes)",
                        code="spool.held",
                        remedy="`edgeai status` says what it lacks; or raise spool.max_held and spool.max_held_bytes",
                    )

    def count_refused(self, code: str) -> None:
        """Count an arrival that was refused."""
        with self.db.write(durable=False) as db:
            add_count(db, "instances", outcome="refused", code=code)

    def knows(self, sop_instance_uid: str) -> bool:
        """Whether an instance of this UID was taken within ``keep_rows_days``, with whatever content."""
        with self.db.read() as db:
            row = db.execute("SELECT 1 FROM instances WHERE sop_instance_uid = ?", (sop_instance_uid,)).fetchone()
        return row is not None

    def event(self, kind: str, message: str, **facts: object) -> None:
        """Queue something ops should know for every sink, on channel ``event``.

        Args:
            kind: stable, ``<area>.<what>``; listed in ``docs/reference/events.md``.
            message: one sentence without patient data.
            facts: JSON values.
        """
        with self.db.write() as db:
            queue_event(self, db, kind, message, **facts)
        self.bells.ring("publish")


def _move_durably(received: Path, target: Path) -> None:
    """Its bytes and its name are on disk when this returns.

    Both at once: what the disk has to flush for the name it flushes while it still writes the bytes.
    """
    received.rename(target)
    name = _beside().submit(_sync, target.parent, os.O_DIRECTORY)
    try:
        _sync(target)
    finally:
        name.result()


def _sync(path: Path, kind: int = 0) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | kind)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@cache
def _beside() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="folder-sync")
