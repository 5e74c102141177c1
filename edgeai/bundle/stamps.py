"""Whether files changed, without reading them: for roles that wait for a bundle or a key to be put right."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

Stamps: TypeAlias = tuple[tuple[str, int, int, int], ...]


def stamps(*paths: Path) -> Stamps:
    """What changes when a file, or a file in a folder, is written, replaced, added or removed.

    Nothing is raised: what is not there, or may not be read, has no stamp until that changes.
    """
    return tuple(stamp for path in paths for stamp in _stamps(path))


def _stamps(path: Path) -> list[tuple[str, int, int, int]]:
    try:
        facts = path.stat()
        if path.is_dir():
            return sorted(_of(entry.path, entry.stat()) for entry in os.scandir(path) if entry.is_file())
    except OSError:
        return []
    return [_of(str(path), facts)]


def _of(name: str, facts: os.stat_result) -> tuple[str, int, int, int]:
    return name, facts.st_mtime_ns, facts.st_size, facts.st_ino
