"""What is put right at a start, and what is thrown away with time."""

from __future__ import annotations

import time

from edgeai.spool.faults import FAULT_AGE_S
from edgeai.spool.files import drop_kept
from edgeai.spool.outbox import queue_event
from edgeai.spool.planes import remove_tree
from edgeai.spool.station import is_held
from edgeai.spool.store import Store

SWEEP_ROWS = 1000
"""Instances forgotten in one sweep: bounded, so that no sweep holds up a C-STORE."""


class Upkeep(Store):
    """What the supervisor calls."""

    def recover(self, *, keep_strays: bool = False) -> None:
        """Put right what a crash left: call only while no ingest runs on this spool.

        Files in ``tmp`` and files without a row go (they were never acknowledged); a job whose file is missing
        is condemned with ``spool.file-missing``.

        Args:
            keep_strays: the database may know less than was acknowledged: files without a row go to ``lost/``, aloud.
        """
        for path in self.tmp.iterdir():
            path.unlink(missing_ok=True)
        remove_tree(self.planes)
        with self.db.read() as db:
            known = {row[0] for row in db.execute("SELECT file FROM instances WHERE file IS NOT NULL")}
        present = {path.name for path in self.instances.iterdir()}
        if keep_strays and present - known:
            self._keep_strays(present - known)
        for name in present - known:
            (self.instances / name).unlink(missing_ok=True)
        for name in known - present:
            self._lost(name)

    def _keep_strays(self, names: set[str]) -> None:
        self.lost.mkdir(exist_ok=True)
        for name in names:
            (self.instances / name).rename(self.lost / name)
        with self.db.write() as db:
            message = f"{len(names)} received images are not known to the spool any more; they are kept in lost/"
            queue_event(self, db, "spool.images-lost", message, images=len(names))

    def _lost(self, name: str) -> None:
        with self.db.write() as db:
            condemned = db.execute(
                "UPDATE jobs SET state = 'condemned', owner = NULL, code = 'spool.file-missing',"
                " reason = 'the received file is gone from the spool'"
                " WHERE state <> 'done' AND instance = (SELECT id FROM instances WHERE file = ?)",
                (name,),
            ).rowcount
            db.execute("UPDATE instances SET file = NULL, kept = 0 WHERE file = ?", (name,))
            if condemned:
                told = "a received file is gone from the spool; its jobs fail"
                queue_event(self, db, "spool.file-missing", told, jobs=condemned)

    def last_instance(self) -> int:
        """The highest number that an instance ever had here; it only rises."""
        with self.db.read() as db:
            row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'instances'").fetchone()
        return int(row[0]) if row and isinstance(row[0], int) else 0

    def await_silence(self, timeout_s: float) -> list[str]:
        """Wait until no role of a former life holds its station; the names of those that still do after that."""
        end = time.monotonic() + timeout_s
        while True:
            held = [path.stem for path in self.roles.glob("*.note") if path.stem != "supervise" and is_held(path)]
            if not held or time.monotonic() > end:
                return held
            time.sleep(0.02)

    def sweep(self) -> int:
        """Forget instances older than ``keep_rows_days`` whose jobs are all done; how many that were."""
        oldest = time.time() - self.limits.keep_rows_days * 86400.0
        with self.db.write() as db:
            rows = db.execute(
                "DELETE FROM instances WHERE id IN (SELECT id FROM instances AS i WHERE received_at < ?"
                " AND NOT EXISTS (SELECT 1 FROM jobs WHERE instance = i.id AND state <> 'done')"
                " ORDER BY received_at LIMIT ?) RETURNING file",
                (oldest, SWEEP_ROWS),
            ).fetchall()
            db.execute("DELETE FROM faults WHERE at < ?", (time.time() - 30 * FAULT_AGE_S,))
            spent = [file for (file,) in rows if file]
            if self.limits.keep_files != "always":
                bound = self.limits.max_failed_bytes if self.limits.keep_files == "failed" else 0
                spent += drop_kept(db, at_most=bound)
        self.remove_files(spent)
        return len(rows)
