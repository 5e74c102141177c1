"""How much the spool holds, for whoever is asked for help: figures alone, of no image."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

from edgeai.spool.database import translated


def spool_figures(data_dir: Path) -> dict[str, Any]:
    """Sizes and counts, and what plugins did; of instances and jobs only how many. Nothing is changed.

    Raises:
        OSError: there is no such folder.
        SpoolError: the database cannot be read.
    """
    body: dict[str, Any] = {"folders": {}, "files": {}, "rows": {}, "disk": shutil.disk_usage(data_dir)._asdict()}
    for folder, _, names in os.walk(data_dir):
        place = Path(folder).relative_to(data_dir).parts
        if len(place) > 2 or (place[:1] not in ((), ("spool",))):
            continue  # unpacked bundles, watched folders
        sizes = [_size(Path(folder) / name) for name in names]
        body["folders"]["/".join(place) or "."] = {"files": len(sizes), "bytes": sum(sizes)}
    database = data_dir / "spool" / "spool.sqlite"
    for name in ("spool.sqlite", "spool.sqlite-wal"):
        body["files"][name] = _size(database.with_name(name))
    releases = data_dir / "releases.json"
    if releases.exists():
        body["releases"] = json.loads(releases.read_text())
    if not database.exists():
        return body
    with translated("counting what the spool holds", database.parent):
        body |= _rows_of(database)
    return body


def _rows_of(database: Path) -> dict[str, Any]:
    body: dict[str, Any] = {}
    db = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5.0)
    try:
        body["schema"] = db.execute("PRAGMA user_version").fetchone()[0]
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        body["rows"] = {name: db.execute(f'SELECT COUNT(*) FROM "{name}"').fetchone()[0] for name in tables}  # noqa: S608
        for name in ("faults", "quarantine"):
            body[name] = _rows(db, name)
    finally:
        db.close()
    return body


def _rows(db: sqlite3.Connection, table: str) -> list[dict[str, Any]]:
    cursor = db.execute(f"SELECT * FROM {table} LIMIT 1000")  # noqa: S608 - one of two names
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
