"""A disk that fails at a chosen point: the process is killed there, the power is cut, or it is full from there on.

Every call that changes something below one folder is a point. A kill leaves what was written; a power cut leaves of
it what was synced, and of the rest whatever ``Cut`` says: names and contents that nobody synced may be there or not.
Only calls by way of ``os`` and ``pathlib`` are seen, which is how ``edgeai.durable`` writes.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from unittest.mock import patch

Fault = Literal["kill", "cut", "full"]
_Entries = dict[str, tuple[int, bool]]
"""Name -> inode, and whether it is a folder."""
_UNLINK: Final = Path.unlink
_GROWS: Final = ("mkdir", "hardlink_to")
"""Changes of names that may want room."""


class Killed(BaseException):
    """The process ends here; whoever catches this does what no dead process does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What a power cut leaves of what was not synced.

    Attributes:
        names: whether files made, renamed and removed in a folder stay so, or all are as at its last sync.
        contents: whether bytes that were written stay, or the file is empty.
    """

    names: bool
    contents: bool


class FaultyDisk:
    """What lies below a folder, with what of it would outlive a power cut.

    Attributes:
        points: how many there were since it was last armed.
    """

    def __init__(self, root: Path) -> None:
        self.points = 0
        self._root = root
        self._fault: Fault | None = None
        self._at = 0
        self._is_dead = False
        self._pins: dict[int, int] = {}
        self._files: dict[int, bytes] = {}
        self._folders: dict[int, _Entries] = {}
        self._all_is_synced()

    def close(self) -> None:
        """Let go of the files that were looked after."""
        for pin in self._pins.values():
            os.close(pin)
        self._pins.clear()

    @contextmanager
    def armed(self, fault: Fault | None, at: int = 0) -> Iterator[None]:
        """Within, the point number ``at`` (from 1) is where it fails.

        Raises:
            Killed: it was killed, or the power is cut (then call ``restart``).
        """
        self.points, self._fault, self._at, self._is_dead = 0, fault, at, False
        write, opened, fsync = os.write, os.open, os.fsync
        names: list[tuple[Any, str]] = [
            (Path, name) for name in ("replace", "rename", "mkdir", "unlink", "hardlink_to")
        ]
        with patch.multiple(
            os,
            write=lambda file, data: self._write(write, file, data),
            open=lambda path, flags, *more, **named: self._open(opened, path, flags, *more, **named),
            fsync=lambda file: self._fsync(fsync, file),
        ):
            undo = [patch.object(kind, name, self._named(getattr(kind, name))) for kind, name in names]
            undo.append(patch.object(shutil, "rmtree", self._removing(shutil.rmtree)))
            for each in undo:
                each.start()
            try:
                yield
            finally:
                for each in undo:
                    each.stop()
                self._fault, self._is_dead = None, False

    def restart(self, cut: Cut | None = None) -> None:
        """What the next process sees: everything, or what a power cut leaves."""
        if cut is not None:
            left = self._left(self._root.stat().st_ino, self._root, cut)
            for item in self._root.iterdir():
                shutil.rmtree(item) if item.is_dir() else item.unlink()
            _make(self._root, left)
        self._all_is_synced()

    # --- points -----------------------------------------------------------------------------------

    def _is_here(self, path: Any) -> bool:
        return Path(path).absolute().is_relative_to(self._root)

    def _point(self, *, needs_room: bool) -> bool:
        """Whether it is killed here, by the caller, which may do half of it first."""
        if self._is_dead:
            raise Killed
        self.points += 1
        if self._fault == "full" and needs_room and self.points >= self._at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._is_dead = self._fault in ("kill", "cut") and self.points == self._at
        return self._is_dead

    def _write(self, write: Callable[[int, Any], int], file: int, data: Any) -> int:
        if not self._is_here(_path_of(file)):
            return write(file, data)
        if self._point(needs_room=True):
            write(file, memoryview(data)[: len(data) // 2])
            raise Killed
        return write(file, data)

    def _open(self, opened: Callable[..., int], path: Any, flags: int, *more: Any, **named: Any) -> int:
        makes = flags & os.O_CREAT and self._is_here(path) and not Path(path).exists()
        if makes and self._point(needs_room=True):
            raise Killed
        return opened(path, flags, *more, **named)

    def _fsync(self, fsync: Callable[[int], None], file: int) -> None:
        if not self._is_here(_path_of(file)):
            fsync(file)
            return
        if self._point(needs_room=not stat.S_ISDIR(os.fstat(file).st_mode)):  # space may be found wanting only now
            raise Killed
        self._synced(file)

    def _named(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Path, *more: Any, **named: Any) -> Any:
            if self._is_here(path) and self._point(needs_room=change.__name__ in _GROWS):
                raise Killed
            return change(path, *more, **named)

        return call

    def _removing(self, remove: Callable[..., None]) -> Callable[..., None]:
        def call(path: Any, *more: Any, **named: Any) -> None:
            if self._is_here(path) and self._point(needs_room=False):
                halves = sorted(item for item in Path(path).rglob("*") if item.is_file())
                for item in halves[: (len(halves) + 1) // 2]:
                    _UNLINK(item)
                raise Killed
            remove(path, *more, **named)

        return call

    # --- what outlives a power cut ----------------------------------------------------------------

    def _synced(self, file: int) -> None:
        facts = os.fstat(file)
        if facts.st_ino not in self._pins:  # its number is then given to no other
            self._pins[facts.st_ino] = os.dup(file)
        where = _path_of(file)
        if stat.S_ISDIR(facts.st_mode):
            self._folders[facts.st_ino] = _entries(Path(where))
        else:
            self._files[facts.st_ino] = Path(f"/proc/self/fd/{file}").read_bytes()

    def _all_is_synced(self) -> None:
        self.close()  # numbers may be given to others from here on
        self._files.clear()
        self._folders.clear()
        for path in (self._root, *self._root.rglob("*")):
            file = os.open(path, os.O_RDONLY)
            try:
                self._synced(file)
            finally:
                os.close(file)

    def _left(self, inode: int, now: Path | None, cut: Cut) -> dict[str, Any]:
        """Name -> content, or what is left of a folder."""
        current = _entries(now) if now is not None else {}
        entries = current if cut.names and now is not None else self._folders.get(inode, {})
        left: dict[str, Any] = {}
        for name, (number, is_folder) in entries.items():
            path = now / name if now is not None and current.get(name, (0,))[0] == number else None
            if is_folder:
                left[name] = self._left(number, path, cut)
            elif cut.contents and path is not None:
                left[name] = path.read_bytes()
            else:
                left[name] = self._files.get(number, b"")
        return left


def _path_of(file: int) -> str:
    return str(Path(f"/proc/self/fd/{file}").readlink())


def _entries(folder: Path) -> _Entries:
    return {item.name: (item.inode(), item.is_dir()) for item in os.scandir(folder)}


def _make(folder: Path, content: dict[str, Any]) -> None:
    for name, value in content.items():
        if isinstance(value, dict):
            (folder / name).mkdir()
            _make(folder / name, value)
        else:
            (folder / name).write_bytes(value)
