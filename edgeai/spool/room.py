"""Whether a failure is for want of room, whatever SQLite calls it, and how much a rewrite of the spool needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from edgeai.api.errors import SpoolFull

_NONE_LEFT: Final = 256 << 10
"""SQLite's shared memory and the head of its log need so much before it can write at all."""
_MARGIN: Final = 1 << 20


def is_full(folder: Path) -> bool:
    """Whether the volume has no room for SQLite's own files, in bytes or in inodes."""
    try:
        facts = os.statvfs(folder)
    except OSError:
        return False
    return facts.f_bavail * facts.f_frsize < _NONE_LEFT or (facts.f_files > 0 and facts.f_favail < 2)


@contextmanager
def rewriting(database: Path) -> Iterator[None]:
    """Whatever runs out of room inside says how much is needed: each row is written anew, then put in its place.

    Raises:
        SpoolFull: with what is needed, what is free, and what is to be freed.
    """
    needed = 2 * _size(database) + _MARGIN  # once in the write-ahead log, and once more behind the old rows
    try:
        yield
    except SpoolFull as error:
        facts = os.statvfs(database.parent)
        free = facts.f_bavail * facts.f_frsize
        if facts.f_files > 0 and facts.f_favail < 2:
            remedy = f"free inodes on the volume of {database.parent}: remove files there, then call this again"
            raise SpoolFull("the file system has no inodes left; nothing was changed", remedy=remedy) from error
        raise SpoolFull(
            f"the disk is full: about {_mb(needed)} are needed and {_mb(free)} are free; nothing was changed",
            remedy=f"free another {_mb(max(needed - free, _MARGIN))} on the volume of {database.parent},"
            " then call this again",
        ) from error


def _size(database: Path) -> int:
    """What the rows take, those in the log included."""
    total = 0
    for path in (database, Path(f"{database}-wal")):
        with suppress(OSError):
            total += path.stat().st_size
    return total


def _mb(number: int) -> str:
    return f"{number / 1e6:.1f} MB"
