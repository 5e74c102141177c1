"""SQLite as the spool uses it: one connection a thread, explicit transactions, its errors in our words."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import IO

from edgeai.api.errors import SpoolError, SpoolFull
from edgeai.spool.migration import downgrade, migrate, obstacles, statements
from edgeai.spool.room import is_full, rewriting
from edgeai.spool.schema import LEGACY_VERSION, MAJOR, MINOR, MINOR_STEPS, SCHEMA_VERSION, TABLES

BUSY_TIMEOUT_S = 20.0
"""How long a writer waits for another. Transactions take milliseconds; only a stuck disk gets here."""

_CODES = {
    sqlite3.SQLITE_BUSY: "spool.busy",
    sqlite3.SQLITE_LOCKED: "spool.busy",
    sqlite3.SQLITE_CORRUPT: "spool.corrupt",
    sqlite3.SQLITE_NOTADB: "spool.corrupt",
    sqlite3.SQLITE_CANTOPEN: "spool.unreadable",
    sqlite3.SQLITE_READONLY: "spool.unreadable",
    sqlite3.SQLITE_PERM: "spool.unreadable",
    sqlite3.SQLITE_IOERR: "spool.io",
}
_REMEDIES = {
    "spool.corrupt": "stop the service, keep a copy of the spool folder, and start with an empty one",
    "spool.unreadable": "check that the service's user owns data_dir and may write to it",
    "spool.io": "check the disk (dmesg, smartctl)",
}


@contextmanager
def translated(what: str, folder: Path | None = None) -> Iterator[None]:
    """Whatever SQLite or the file system raises inside, as ``SpoolError`` or ``SpoolFull``.

    Args:
        what: was being done.
        folder: of the database. On a full volume SQLite cannot even begin, and speaks of I/O or of permission.
    """
    try:
        yield
    except sqlite3.Error as error:
        primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
        is_vague = primary in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
        if primary == sqlite3.SQLITE_FULL or (is_vague and folder is not None and is_full(folder)):
            raise _full(what, error) from error
        code = _CODES.get(primary)
        raise SpoolError(f"{what}: {error}", code=code, remedy=_REMEDIES.get(code or "")) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(what, error) from error
        code = "spool.unreadable" if isinstance(error, PermissionError) else "spool.io"
        raise SpoolError(f"{what}: {error}", code=code, remedy=_REMEDIES[code]) from error


def _full(what: str, error: Exception) -> SpoolFull:
    return SpoolFull(f"{what}: the disk is full ({error})", remedy="free disk space, or let the sinks catch up")


class Database:
    """The file, and a connection to it for each thread that asks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._open: list[sqlite3.Connection | IO[bytes]] = []
        self._guard = threading.Lock()
        try:
            with self._saying_how_much(), translated("opening the spool", path.parent):
                self._create()
        except BaseException:
            self.close()  # nobody else can: there is no Database
            raise

    def _create(self) -> None:
        """Make the tables, or bring them to this version; a newer minor is opened as it is."""
        if self._version() < SCHEMA_VERSION:
            with self._without_foreign_keys(), self.write() as db:
                # Another process may have done it while this one waited for the lock.
                self._bring_forward(db, self._version())
        version = self._version()
        if version // 1000 != MAJOR:
            raise SpoolError(
                f"{self.path} has schema {_dotted(version)}, this edgeai reads {_dotted(SCHEMA_VERSION)}",
                code="spool.schema",
                remedy="use the edgeai version that wrote it, or have it take the spool back: edgeai spool downgrade",
            )

    def _saying_how_much(self) -> AbstractContextManager[None]:
        """Where tables are to be made or rewritten; on a full disk SQLite cannot even open what is there."""
        return rewriting(self.path) if _written_version(self.path) < SCHEMA_VERSION else nullcontext()

    def _translated(self, what: str) -> AbstractContextManager[None]:
        return translated(what, self.path.parent)

    def _version(self) -> int:
        return int(self.connection().execute("PRAGMA user_version").fetchone()[0])

    def _bring_forward(self, db: sqlite3.Connection, version: int) -> None:
        if version == 0:
            for statement in statements(TABLES):
                db.execute(statement)
        elif version == LEGACY_VERSION:
            migrate(db, self.path.parent)
        elif version // 1000 == MAJOR:
            for minor in range(version % 1000 + 1, MINOR + 1):
                for statement in statements(MINOR_STEPS[minor]):
                    db.execute(statement)
        else:
            return
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION:d}")

    def take_back(self, *, requiring: Collection[str] = ()) -> None:
        """Rewrite the spool in the schema of edgeai 0.1. This object is of no use afterwards.

        Args:
            requiring: deployments that require another's finding.

        Raises:
            SpoolError: ``spool.cannot-downgrade`` when it holds what that schema cannot.
            SpoolFull: there is no room for it; the message says how much it takes.
        """
        with (
            rewriting(self.path),
            self._translated("taking the spool back"),
            self._without_foreign_keys(),
            self.write() as db,
        ):
            reasons = obstacles(db, requiring)
            if reasons:
                raise SpoolError(
                    "the spool cannot go back: " + "; ".join(reasons),
                    code="spool.cannot-downgrade",
                    remedy="let the jobs run to their ends, and retry or drop what is set aside (`edgeai messages`)",
                )
            downgrade(db)

    @contextmanager
    def _without_foreign_keys(self) -> Iterator[None]:
        """SQLite takes the switch only outside a transaction; tables are rebuilt without their watch."""
        db = self.connection()
        db.execute("PRAGMA foreign_keys = OFF")
        try:
            yield
        finally:
            db.execute("PRAGMA foreign_keys = ON")

    def connection(self) -> sqlite3.Connection:
        """This thread's own connection."""
        mine: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if mine is None:
            mine, turn = self._connect()
            with self._guard:
                self._open += [mine, turn]
            self._local.connection, self._local.turn = mine, turn
        return mine

    def _connect(self) -> tuple[sqlite3.Connection, IO[bytes]]:
        """A connection, and the file in which its thread waits for its turn."""
        # check_same_thread=False only so that close() may close them all.
        made = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            # A damaged text must not make its row unreadable: who reads it says so, and goes on to the next.
            made.text_factory = lambda text: text.decode("utf-8", "replace")
            made.execute("PRAGMA journal_mode = WAL")
            made.execute("PRAGMA foreign_keys = ON")
            made.execute("PRAGMA journal_size_limit = 16777216")
            made.execute("PRAGMA synchronous = FULL")
            # A description of its own for each thread, so that threads wait for one another too.
            return made, (self.path.parent / "turn").open("wb")
        except BaseException:
            made.close()
            raise

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it or nothing, on disk when this returns.

        Args:
            durable: False for what may be undone by a power cut (claims): it is on disk with the next durable write of
                any process, or with ``sync``, as what is written later never is there without it.
        """
        with self._translated("writing the spool"), self._turn():
            db = self.connection()
            db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                # After SQLITE_FULL or an I/O error SQLite may have rolled back by itself.
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def sync(self) -> None:
        """Have all on disk that was committed before, by whomever. Others may write meanwhile."""
        with self._translated("syncing the spool"):
            try:
                # SQLite locks its other files, never this one: closing it gives up no lock of this process.
                log = os.open(f"{self.path}-wal", os.O_RDONLY)
            except FileNotFoundError:
                return  # all of it was moved into the database, which is synced then
            try:
                os.fdatasync(log)
            finally:
                os.close(log)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for this writer's turn. SQLite itself would sleep up to 100 ms between two looks at its lock.

        Looking is better than blocking: a process that stands still in its turn must not stop the supervisor,
        which is there to end it.
        """
        self.connection()
        file, end, pause_s = self._local.turn, time.monotonic() + BUSY_TIMEOUT_S, 0.0002
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    message = f"another process has been writing for over {BUSY_TIMEOUT_S:g} s"
                    raise SpoolError(message, code="spool.busy") from None
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.002)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Statements outside a transaction: each sees the latest commit."""
        with self._translated("reading the spool"):
            yield self.connection()

    def close(self) -> None:
        """Close every thread's connection. Twice is fine."""
        with self._guard:
            while self._open:
                self._open.pop().close()
        self._local = threading.local()


def is_legacy(path: Path) -> bool:
    """Whether edgeai 0.1 wrote this database; a look that changes nothing. False when it cannot be read."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)) as db:
            return bool(db.execute("PRAGMA user_version").fetchone()[0] == LEGACY_VERSION)
    except sqlite3.Error:
        return False


def _written_version(path: Path) -> int:
    """The version in the file's own head, without SQLite's help; 0 when there is none (sqlite.org/fileformat.html)."""
    try:
        with path.open("rb") as file:
            return int.from_bytes(file.read(64)[60:], "big")
    except OSError:
        return 0


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000}" if version >= 1000 else f"{version}"
