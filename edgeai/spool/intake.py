"""The ingest side: is there room, and the moment from which an instance is never lost."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from edgeai.api.errors import SpoolFull
from edgeai.spool.database import translated
from edgeai.spool.outbox import queue_event
from edgeai.spool.store import Store

if TYPE_CHECKING:
    from edgeai.api.imaging import InstanceRef

_BACKLOG_AGE_S = 0.5


class Intake(Store):
    """What ingest calls."""

    _backlog_at = -1e9
    _backlog = 0

    def check_room(self, extra_bytes: int = 0) -> None:
        """Whether another instance may be accepted. Cheap enough for each C-STORE.

        Args:
            extra_bytes: what is about to arrive, where the sender says.

        Raises:
            SpoolFull: ``spool.disk-reserve`` or ``spool.backlog``; ends by itself once there is room.
            SpoolError: the disk or the database cannot be asked.
        """
        with translated("asking for free disk"):
            free = shutil.disk_usage(self.folder).free
        if free - extra_bytes < self.limits.reserve_bytes:
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

    def _recent_backlog(self) -> int:
        # Counted at most twice a second: between counts at most what arrives meanwhile is missed.
        now = time.monotonic()
        if now - self._backlog_at > _BACKLOG_AGE_S:
            self._backlog = sum(self.backlog())
            self._backlog_at = now
        return self._backlog

    def backlog(self) -> tuple[int, int]:
        """Unfinished jobs, messages that some sink still lacks."""
        with self.db.read() as db:
            row = db.execute(
                "SELECT (SELECT COUNT(*) FROM jobs WHERE state <> 'done'), (SELECT COUNT(*) FROM messages)"
            ).fetchone()
        return int(row[0]), int(row[1])

    def admit(self, instance: InstanceRef, received: Path, *, deployments: Sequence[str], source: str) -> bool:
        """Take a received file for good. When this returns, no crash and no power cut loses the instance.

        fsync of the file, rename to ``instances/``, fsync of the folder, then one transaction with the
        instance's row and a job a deployment. ``received`` is a file in ``tmp``; it is gone afterwards. With no
        deployment the instance is only remembered.

        Returns:
            False when the instance was known already: a second copy makes no second job.

        Raises:
            SpoolFull: no room; nothing was kept.
            SpoolError: the disk or the database failed; nothing was kept.
        """
        if self.knows(instance.sop_instance_uid):
            received.unlink(missing_ok=True)
            return False
        keep = bool(deployments) or self.limits.keep_files == "always"
        name = f"{uuid.uuid4().hex}.dcm" if keep else None
        target = self.instances / name if name else None
        try:
            with translated(f"keeping {received.name}"):
                if target:
                    _move_durably(received, target)
            with self.db.write() as db:
                added = _insert(db, instance, name, deployments, source)
        except BaseException:
            for path in (received, target):
                if path:
                    path.unlink(missing_ok=True)
            raise
        received.unlink(missing_ok=True)
        if not added and target:
            target.unlink(missing_ok=True)
        for deployment in deployments:
            self.bells.ring(f"infer:{deployment}")
        return added

    def knows(self, sop_instance_uid: str) -> bool:
        """Whether this instance was taken within ``keep_rows_days``."""
        with self.db.read() as db:
            found = db.execute("SELECT 1 FROM instances WHERE sop_instance_uid = ?", (sop_instance_uid,)).fetchone()
        return found is not None

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
    with received.open("rb") as stream:
        os.fsync(stream.fileno())
    received.rename(target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _insert(
    db: sqlite3.Connection, instance: InstanceRef, name: str | None, deployments: Sequence[str], source: str
) -> bool:
    row = db.execute(
        "INSERT OR IGNORE INTO instances (sop_instance_uid, ref, file, source, received_at) VALUES (?, ?, ?, ?, ?)"
        " RETURNING id",
        (instance.sop_instance_uid, json.dumps(asdict(instance)), name, source, time.time()),
    ).fetchone()
    if row is None:
        return False
    db.executemany(
        "INSERT INTO jobs (instance, deployment) VALUES (?, ?)", [(row[0], deployment) for deployment in deployments]
    )
    return True
