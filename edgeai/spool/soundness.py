"""Whether the spool is sound and takes what arrives: SQLite's own check, the schema's text, and an attempt to write.

What only looks does so on connections of its own, so that a check which takes seconds holds up nobody.
"""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from edgeai.spool.counters import add_count
from edgeai.spool.database import translated
from edgeai.spool.migration import statements
from edgeai.spool.schema import LEGACY_VERSION, MAJOR, SCHEMA_VERSION, TABLES
from edgeai.spool.store import Store

_SENTENCES: Final = 3
"""How many of SQLite's own sentences are told: a damaged page can have hundreds."""


def quick_check(path: Path) -> str:
    """SQLite's own words on what is wrong with the file and its write-ahead log; empty when they are sound."""
    try:
        with closing(_reader(path)) as db:
            rows = [str(row[0]) for row in db.execute(f"PRAGMA quick_check({_SENTENCES:d})")]
    except sqlite3.Error as error:
        return str(error)
    return "" if rows == ["ok"] else "; ".join(rows[:_SENTENCES])


def schema_differences(path: Path) -> str:
    """How the tables differ from those that this version makes; empty when they do not.

    A newer minor has more of them, and columns that were added: there only what is missing counts.
    """
    try:
        with closing(_reader(path)) as db:
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            present = _texts(db)
    except sqlite3.Error as error:
        return str(error)
    if version == LEGACY_VERSION or version // 1000 != MAJOR:
        return f"the spool says that it has schema {version}, and was opened as {SCHEMA_VERSION}"
    expected = _expected()
    missing = sorted(set(expected) - set(present))
    if missing:
        return f"missing in the database: {', '.join(missing)}"
    if version > SCHEMA_VERSION:
        return ""
    differing = sorted(name for name, text in expected.items() if present[name] != text)
    strangers = sorted(set(present) - set(expected))
    sentences = [f"not as this version makes them: {', '.join(differing)}"] if differing else []
    sentences += [f"not of this version: {', '.join(strangers)}"] if strangers else []
    return "; ".join(sentences)


def _reader(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=20.0, isolation_level=None)


def _expected() -> dict[str, str]:
    with closing(sqlite3.connect(":memory:")) as db:
        for statement in statements(TABLES):
            db.execute(statement)
        return _texts(db)


def _texts(db: sqlite3.Connection) -> dict[str, str]:
    """Name -> the statement that made it, without comments and spacing."""
    rows = db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")
    return {str(name): _plain(str(sql)) for name, sql in rows}


def _plain(sql: str) -> str:
    text = re.sub(r"--[^\n]*", " ", sql).replace('"', "")
    return re.sub(r"\s+", " ", re.sub(r"\s*([(),])\s*", r"\1", text)).strip()


class _TakenBack(Exception):
    """Ends a transaction that was only a trial."""


def try_writing(store: Store, size: int) -> None:
    """Write as an arriving image would: a new file of ``size`` bytes, and a transaction; both are taken back.

    Raises:
        SpoolFull: no room, no inodes, no quota.
        SpoolError: whatever else would refuse an image.
    """
    with translated("trying to write to the spool"):
        _try_file(store.folder / "trial", size)
    with suppress(_TakenBack), store.db.write(durable=False) as db:
        add_count(db, "trials")
        raise _TakenBack


def _try_file(path: Path, size: int) -> None:
    path.unlink(missing_ok=True)  # of a process that was killed at this very moment
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, bytes(size))
    finally:
        os.close(file)
        path.unlink(missing_ok=True)


__all__ = ["quick_check", "schema_differences", "try_writing"]
