"""Watched folders: files that settle are taken, and then moved, left or deleted as configured.

Polling, not inotify: a network share tells nobody of what another machine wrote, and what arrived while the
service was down must be found in any case. Nothing is removed before the instance is committed.

Writers pause. So a file that somebody has open for writing is left alone, and one that ends before its own structure
does has to stand still for much longer before it is taken for what it is.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from edgeai import defaults
from edgeai.api.errors import DicomRejected, EdgeaiError, InputRejected, SpoolError, SpoolFull
from edgeai.dicom.arrival import Intake, new_file, take
from edgeai.dicom.header import Header, read_header
from edgeai.dicom.places import FolderLink, Placed, located, move, open_file, open_inside, opened, write_reason
from edgeai.dicom.taken import Stamp, TakenFiles
from edgeai.dicom.unfinished import is_open_for_writing, is_whole, refuses_a_part
from edgeai.logs import Log

_log = Log(__name__)
_UNFINISHED: Final = (".part", ".partial", ".tmp", ".temp", ".filepart", ".crdownload", ".swp", "~")
_POLL_MIN_S: Final = 0.1
_POLL_MAX_S: Final = 2.0
_COPY_BYTES: Final = 1024 * 1024
_RETRY_S: Final = 10.0
_PATIENCE: Final = 10
"""Times ``settle_s`` that a file stands still which looks as if its writer had only paused."""
_MAX_DEPTH: Final = 32
"""Folders within folders. Each is open while what is in it is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderOptions:
    """One watched folder; see ``config.Folder``. ``memory`` is where files that are left are remembered."""

    path: Path
    settle_s: float = defaults.SETTLE_S
    after: Literal["move", "leave", "delete"] = defaults.AFTER
    done_dir: Path | None = None
    rejected_dir: Path | None = None
    max_instance_bytes: int = defaults.MAX_INSTANCE_BYTES
    memory: Path | None = None


@dataclass(frozen=True, slots=True)
class _File:
    """A file as it was listed, in a folder that is open. ``path`` names it for us, and nothing is reached by it."""

    path: Path
    folder: int
    name: str
    stamp: Stamp


class WatchedFolder:
    """Takes what settles in one folder and those below it. ``scan`` looks once; ``run`` looks until told to stop."""

    def __init__(
        self, options: FolderOptions, intake: Intake, report: Callable[[str, str, dict[str, object]], None]
    ) -> None:
        self._options = options
        self._intake = intake
        self._report = report
        self._root = options.path.resolve()
        self._done = located(options.done_dir, self._root) if options.done_dir else self._root / "done"
        self._rejected = located(options.rejected_dir, self._root) if options.rejected_dir else self._root / "rejected"
        self._settling: dict[Path, tuple[Stamp, float]] = {}
        self._unfinished: dict[Path, Stamp] = {}
        self._open: dict[Path, float] = {}
        self._seen = TakenFiles(options.memory)
        self._trouble = ""

    def run(self, stopping: threading.Event) -> None:
        """Scan again and again until ``stopping`` is set; a scan never takes more than a fifth of the time."""
        while not stopping.is_set():
            started = time.monotonic()
            self.scan(stopping)
            pause = min(max(self._options.settle_s / 4, _POLL_MIN_S), _POLL_MAX_S)
            stopping.wait(max(pause, 4 * (time.monotonic() - started)))

    def scan(self, stopping: threading.Event | None = None) -> int:
        """Look once, and take what stood still long enough; how many were taken (known ones included)."""
        taken = 0
        present: set[Path] = set()
        try:
            with opened(self._root, readable=True) as root, closing(self._files(root, self._root)) as files:
                for file in files:
                    present.add(file.path)
                    if stopping is not None and stopping.is_set():
                        return taken
                    if self._has_settled(file.path, file.stamp):
                        taken += self._handle(file)
        except (SpoolError, FolderLink) as error:
            self._say_trouble(str(error), error)
            return taken
        except OSError as error:
            self._say_trouble(f"the watched folder cannot be read: {error.strerror}")
            return taken
        self._settling = {path: entry for path, entry in self._settling.items() if path in present}
        self._unfinished = {path: stamp for path, stamp in self._unfinished.items() if path in present}
        self._open = {path: since for path, since in self._open.items() if path in present}
        self._seen.keep_only(present)
        if taken:
            self._trouble = ""
        return taken

    def _files(self, folder: int, path: Path, depth: int = 0) -> Generator[_File]:
        """Regular files in a folder that is open, and below it, with finished names; links are not followed."""
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        for entry in listed:
            if entry.name.startswith(".") or entry.name.lower().endswith(_UNFINISHED):
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    if path / entry.name not in (self._done, self._rejected):
                        yield from self._files_below(folder, path / entry.name, depth + 1)
                elif entry.is_file(follow_symlinks=False):
                    facts = entry.stat(follow_symlinks=False)
                    yield _File(path / entry.name, folder, entry.name, Stamp(facts.st_size, facts.st_mtime_ns))
            except FileNotFoundError:
                continue  # gone since it was listed
            except FolderLink as error:
                self._say_trouble(str(error), error)  # it was a folder when it was listed
            except PermissionError as error:
                self._say_trouble(f"something in the watched folder cannot be read: {error.strerror}")

    def _files_below(self, folder: int, path: Path, depth: int) -> Generator[_File]:
        if depth > _MAX_DEPTH:
            self._say_trouble(f"folders within folders: nothing is taken from below the {_MAX_DEPTH}th")
            return
        inner = open_inside(folder, path.name, readable=True)
        try:
            yield from self._files(inner, path, depth)
        finally:
            os.close(inner)

    def _has_settled(self, path: Path, stamp: Stamp) -> bool:
        if self._seen.has(path, stamp):
            return False
        now = time.monotonic()
        known, since = self._settling.get(path, (None, now))
        if known != stamp:
            self._settling[path] = (stamp, now)
            return False
        wanted = self._options.settle_s * (_PATIENCE if self._unfinished.get(path) == stamp else 1)
        return now - since >= wanted

    def _handle(self, file: _File) -> bool:
        """Take one file if that can be done now. Raises ``SpoolError`` when the spool itself does not work."""
        try:
            self._intake.check_room(file.stamp.size)
            copy = self._copy(file)
            if copy is None:
                self._settling.pop(file.path, None)
                return False
            header = self._read(file, copy)
            if header is None:
                return False
            take(self._intake, copy, source="folder", header=header)
        except InputRejected as error:
            self._reject(file, error)
            return True
        except SpoolFull as error:
            self._say_trouble(str(error), error)  # a smaller file may still have room
            return False
        except FolderLink as error:
            self._say_trouble(str(error), error)
            self._settling.pop(file.path, None)
            return False
        except OSError as error:
            self._say_trouble(f"a file could not be taken: {error.strerror}")
            self._later(file)
            return False
        except SpoolError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug that one file finds must not leave all others untaken
            _log.error("ingest.failed", trace=True)
            self._say_trouble(f"a file could not be taken: internal: {type(error).__name__}")
            self._later(file)
            return False
        self._finish(file, self._done, delete=self._options.after == "delete")
        return True

    def _read(self, file: _File, copy: Path) -> Header | None:
        """The header of a copy; ``None``, and the copy gone, while more of the file may come.

        Raises:
            DicomRejected: as ``read_header``; the copy is gone.
        """
        is_last = self._unfinished.get(file.path) == file.stamp
        try:
            header = read_header(copy)
            if is_last or is_whole(header, copy):
                return header
        except DicomRejected as error:
            if is_last or not refuses_a_part(error, copy):
                copy.unlink(missing_ok=True)
                raise
        except BaseException:
            copy.unlink(missing_ok=True)
            raise
        copy.unlink(missing_ok=True)
        self._unfinished[file.path] = file.stamp
        return None

    def _is_open(self, file: _File, source: int) -> bool:
        """Whether somebody has it open for writing; said, if that goes on and on."""
        if not is_open_for_writing(source):
            self._open.pop(file.path, None)
            return False
        now = time.monotonic()
        if now - self._open.setdefault(file.path, now) >= _PATIENCE * self._options.settle_s:
            self._say_trouble("a file is kept open for writing; it is taken once it is closed")
        return True

    def _later(self, file: _File) -> None:
        self._settling[file.path] = (file.stamp, time.monotonic() + _RETRY_S)

    def _copy(self, file: _File) -> Path | None:
        """The bytes in the spool's own folder; ``None`` when the file is not as it was when it settled.

        Always a copy: a file that stays, or moves to ``done``, may be written to again by whoever made it.
        """
        stamp = file.stamp
        if stamp.size > self._options.max_instance_bytes:
            raise DicomRejected(
                f"the file is larger than {self._options.max_instance_bytes} bytes",
                code="dicom.too-large",
                remedy="raise spool.max_instance_bytes if such instances are expected",
            )
        source = open_file(file.folder, file.name)
        target = new_file(self._intake.tmp)
        try:
            if not stat.S_ISREG(os.fstat(source).st_mode) or self._is_open(file, source):
                return None
            with open(target, "xb", opener=_private) as out:
                left = stamp.size + 1  # one more would show that it grows
                while left > 0 and (chunk := os.read(source, min(left, _COPY_BYTES))):
                    out.write(chunk)
                    left -= len(chunk)
            facts = os.fstat(source)
            is_same = Stamp(facts.st_size, facts.st_mtime_ns) == stamp and target.stat().st_size == stamp.size
            if is_same and not self._is_open(file, source):
                return target
        except OSError:
            target.unlink(missing_ok=True)
            raise
        finally:
            os.close(source)
        target.unlink(missing_ok=True)
        return None

    def _reject(self, file: _File, error: InputRejected) -> None:
        _log.warning("file.refused", code=error.code, why=str(error))
        # The message may quote a UID, which leaves the device only as the configuration says; the code never does.
        self._report("instance.refused", f"a file was refused: {error.code}", {"source": "folder", "code": error.code})
        reason = f"{error.code}: {error}\n" + (f"{error.remedy}\n" if error.remedy else "")
        if self._options.after == "leave":
            # The folder is not ours to change. Where refused files have a place, the reason goes there.
            if self._options.rejected_dir is not None:
                self._leave_reason(file, reason)
            self._remember(file)
        else:
            self._finish(file, self._rejected, reason=reason)

    def _leave_reason(self, file: _File, reason: str) -> None:
        try:
            with self._target(file, self._rejected) as target:
                self._write_reason(target, file.name, reason)
        except FolderLink as error:
            self._say_trouble(str(error), error)
        except OSError as error:
            self._say_trouble(f"the reason of a refusal cannot be written: {error.strerror}")

    def _finish(self, file: _File, folder: Path, *, delete: bool = False, reason: str = "") -> None:
        """Put the file where it belongs now. It is committed, or refused: a failure here loses nothing."""
        self._settling.pop(file.path, None)
        try:
            facts = os.stat(file.name, dir_fd=file.folder, follow_symlinks=False)
            if Stamp(facts.st_size, facts.st_mtime_ns) != file.stamp:
                return  # written to meanwhile: it is another file now, and will settle again
            if delete:
                os.unlink(file.name, dir_fd=file.folder)
            elif self._options.after == "leave":
                self._remember(file)
            else:
                with self._target(file, folder) as target:
                    placed = move(file.folder, file.name, target, with_reason=bool(reason))
                    self._note_link(placed)
                    if reason:
                        self._write_reason(target, placed.name, reason)
        except FileNotFoundError:
            return  # somebody was faster
        except FolderLink as error:
            self._say_trouble(str(error), error)
            self._remember(file)
        except OSError as error:
            self._say_trouble(f"a file that was taken cannot be moved or deleted: {error.strerror}")
            self._remember(file)  # or it would be read for ever

    def _target(self, file: _File, folder: Path) -> AbstractContextManager[int]:
        """Where in ``folder`` the file has its place: the same folders below it."""
        return opened(folder / file.path.relative_to(self._root).parent, make=True)

    def _write_reason(self, target: int, name: str, reason: str) -> None:
        try:
            self._note_link(write_reason(target, name, reason))
        except OSError as error:
            self._say_trouble(f"the reason of a refusal cannot be written: {error.strerror}")

    def _note_link(self, placed: Placed) -> None:
        if placed.met_link:
            self._say_trouble(str(FolderLink()), FolderLink())

    def _remember(self, file: _File) -> None:
        self._settling.pop(file.path, None)
        try:
            self._seen.add(file.path, file.stamp)
        except OSError as error:
            self._say_trouble(f"what was taken cannot be noted: {error.strerror}")

    def _say_trouble(self, message: str, error: EdgeaiError | None = None) -> None:
        """Once, until something else goes wrong or a file was taken again."""
        code = error.code if error else "ingest.folder"
        which = error.code if error else message  # a message may count bytes, and differ each time
        if which == self._trouble:
            return
        self._trouble = which
        _log.warning("folder.trouble", folder=str(self._options.path), code=code, why=message)
        self._report("folder.trouble", message, {"code": code})


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
