"""Which files of a watched folder were taken and left where they are, so that none is read for ever.

A file of JSON lines, written without fsync: what a power cut loses of it is read once more, and the spool
knows the instance.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

_COMPACT_AT = 2.0


class Stamp(NamedTuple):
    """What changes when a file changes: bytes, and nanoseconds of its modification time."""

    size: int
    mtime_ns: int


class TakenFiles:
    """Path -> stamp. In memory alone when ``file`` is ``None``."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._stamps: dict[str, Stamp] = {}
        self._lines = 0
        if file is not None and file.exists():
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                self._load(line)
            self._rewrite()

    def has(self, path: Path, stamp: Stamp) -> bool:
        """Whether this very state of the file was taken."""
        return self._stamps.get(str(path)) == stamp

    def add(self, path: Path, stamp: Stamp) -> None:
        """Remember it. Raises ``OSError`` when it cannot be written; it is remembered in memory all the same."""
        self._stamps[str(path)] = stamp
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as out:
                out.write(self._line(str(path), stamp))
            self._lines += 1

    def keep_only(self, present: set[Path]) -> None:
        """Forget files that are gone."""
        names = {str(path) for path in present}
        if not self._stamps.keys() <= names:
            self._stamps = {name: stamp for name, stamp in self._stamps.items() if name in names}
        if self._lines > _COMPACT_AT * len(self._stamps) + 1000:
            self._rewrite()

    def _load(self, line: str) -> None:
        try:
            name, size, mtime_ns = json.loads(line)
            self._stamps[str(name)] = Stamp(int(size), int(mtime_ns))
        except (ValueError, TypeError):
            return  # the torn last line of a crash

    def _rewrite(self) -> None:
        if self._file is None:
            return
        fresh = self._file.with_suffix(".new")
        fresh.write_text("".join(self._line(*item) for item in self._stamps.items()), encoding="utf-8")
        fresh.replace(self._file)
        self._lines = len(self._stamps)

    @staticmethod
    def _line(name: str, stamp: Stamp) -> str:
        return json.dumps([name, stamp.size, stamp.mtime_ns]) + "\n"
