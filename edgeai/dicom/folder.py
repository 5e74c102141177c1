"""Watched folders: files that settle are taken, and then moved, left or deleted as configured.

Polling, not inotify: a network share tells nobody of what another machine wrote, and what arrived while the
service was down must be found in any case. Nothing is removed before the instance is committed.
"""

from __future__ import annotations

import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from edgeai.api.errors import DicomRejected, EdgeaiError, InputRejected, SpoolError, SpoolFull
from edgeai.dicom.arrival import Intake, new_file, take
from edgeai.dicom.seen import SeenFiles, Stamp
from edgeai.logs import Log

_log = Log(__name__)
_UNFINISHED: Final = (".part", ".partial", ".tmp", ".temp", ".filepart", ".crdownload", ".swp", "~")
_POLL_MIN_S: Final = 0.1
_POLL_MAX_S: Final = 2.0
_COPY_BYTES: Final = 1024 * 1024
_RETRY_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderOptions:
    """One watched folder; see ``config.Folder``. ``memory`` is where files that are left are remembered."""

    path: Path
    settle_s: float = 2.0
    after: Literal["move", "leave", "delete"] = "move"
    done_dir: Path | None = None
    rejected_dir: Path | None = None
    max_instance_bytes: int = 2_000_000_000
    memory: Path | None = None


class WatchedFolder:
    """Takes what settles in one folder and those below it. ``scan`` looks once; ``run`` looks until told to stop."""

    def __init__(
        self, options: FolderOptions, intake: Intake, report: Callable[[str, str, dict[str, object]], None]
    ) -> None:
        self._options = options
        self._intake = intake
        self._report = report
        self._done = options.done_dir or options.path / "done"
        self._rejected = options.rejected_dir or options.path / "rejected"
        self._settling: dict[Path, tuple[Stamp, float]] = {}
        self._seen = SeenFiles(options.memory)
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
            for path, stamp in self._files(self._options.path):
                present.add(path)
                if stopping is not None and stopping.is_set():
                    return taken
                if not self._has_settled(path, stamp):
                    continue
                taken += self._handle(path, stamp)
        except SpoolError as error:
            self._say_trouble(str(error), error)
            return taken
        except OSError as error:
            self._say_trouble(f"the watched folder cannot be read: {error.strerror}")
            return taken
        self._settling = {path: entry for path, entry in self._settling.items() if path in present}
        self._seen.keep_only(present)
        if taken:
            self._trouble = ""
        return taken

    def _files(self, folder: Path) -> Iterator[tuple[Path, Stamp]]:
        """Regular files below ``folder`` with finished names; links are not followed."""
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        for entry in listed:
            path = Path(entry.path)
            if entry.name.startswith(".") or entry.name.lower().endswith(_UNFINISHED):
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    if path not in (self._done, self._rejected):
                        yield from self._files(path)
                elif entry.is_file(follow_symlinks=False):
                    facts = entry.stat(follow_symlinks=False)
                    yield path, Stamp(facts.st_size, facts.st_mtime_ns)
            except FileNotFoundError:
                continue  # gone since it was listed
            except PermissionError as error:
                self._say_trouble(f"something in the watched folder cannot be read: {error.strerror}")

    def _has_settled(self, path: Path, stamp: Stamp) -> bool:
        if self._seen.has(path, stamp):
            return False
        now = time.monotonic()
        known, since = self._settling.get(path, (None, now))
        if known != stamp:
            self._settling[path] = (stamp, now)
            return False
        return now - since >= self._options.settle_s

    def _handle(self, path: Path, stamp: Stamp) -> bool:
        """Take one file if that can be done now. Raises ``SpoolError`` when the spool itself does not work."""
        try:
            self._intake.check_room(stamp.size)
            copy = self._copy(path, stamp)
            if copy is None:
                self._settling.pop(path, None)
                return False
            take(self._intake, copy, source="folder")
        except InputRejected as error:
            self._reject(path, stamp, error)
            return True
        except SpoolFull as error:
            self._say_trouble(str(error), error)  # a smaller file may still have room
            return False
        except OSError as error:
            self._say_trouble(f"a file could not be taken: {error.strerror}")
            self._later(path, stamp)
            return False
        except SpoolError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug that one file finds must not leave all others untaken
            _log.error("ingest.failed", trace=True)
            self._say_trouble(f"a file could not be taken: internal: {type(error).__name__}")
            self._later(path, stamp)
            return False
        self._finish(path, stamp, self._done, delete=self._options.after == "delete")
        return True

    def _later(self, path: Path, stamp: Stamp) -> None:
        self._settling[path] = (stamp, time.monotonic() + _RETRY_S)

    def _copy(self, path: Path, stamp: Stamp) -> Path | None:
        """The bytes in the spool's own folder; ``None`` when the file is not as it was when it settled.

        Always a copy: a file that stays, or moves to ``done``, may be written to again by whoever made it.
        """
        if stamp.size > self._options.max_instance_bytes:
            raise DicomRejected(
                f"the file is larger than {self._options.max_instance_bytes} bytes",
                code="dicom.too-large",
                remedy="raise spool.max_instance_bytes if such instances are expected",
            )
        source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        target = new_file(self._intake.tmp)
        try:
            if not stat.S_ISREG(os.fstat(source).st_mode):
                return None
            with open(target, "xb", opener=_private) as out:
                while chunk := os.read(source, _COPY_BYTES):
                    out.write(chunk)
            facts = os.fstat(source)
            if Stamp(facts.st_size, facts.st_mtime_ns) == stamp and target.stat().st_size == stamp.size:
                return target
        except OSError:
            target.unlink(missing_ok=True)
            raise
        finally:
            os.close(source)
        target.unlink(missing_ok=True)
        return None

    def _reject(self, path: Path, stamp: Stamp, error: InputRejected) -> None:
        _log.warning("file.refused", code=error.code, why=str(error))
        # The message may quote a UID, which leaves the device only as the configuration says; the code never does.
        self._report("instance.refused", f"a file was refused: {error.code}", {"source": "folder", "code": error.code})
        reason = f"{error.code}: {error}\n" + (f"{error.remedy}\n" if error.remedy else "")
        if self._options.after == "leave":
            # The folder is not ours to change. Where refused files have a place, the reason goes there.
            if self._options.rejected_dir is not None:
                self._write_reason(_free_name(self._rejected / self._relative(path)), reason)
            self._remember(path, stamp)
        else:
            self._finish(path, stamp, self._rejected, reason=reason)

    def _finish(self, path: Path, stamp: Stamp, folder: Path, *, delete: bool = False, reason: str = "") -> None:
        """Put the file where it belongs now. It is committed, or refused: a failure here loses nothing."""
        self._settling.pop(path, None)
        try:
            facts = path.lstat()
            if Stamp(facts.st_size, facts.st_mtime_ns) != stamp:
                return  # written to meanwhile: it is another file now, and will settle again
            if delete:
                path.unlink()
            elif self._options.after == "leave":
                self._remember(path, stamp)
            else:
                target = _free_name(folder / self._relative(path))
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(path, target)
                if reason:
                    self._write_reason(target, reason)
        except FileNotFoundError:
            return  # somebody was faster
        except OSError as error:
            self._say_trouble(f"a file that was taken cannot be moved or deleted: {error.strerror}")
            self._remember(path, stamp)  # or it would be read for ever

    def _relative(self, path: Path) -> Path:
        return path.relative_to(self._options.path)

    def _write_reason(self, target: Path, reason: str) -> None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.with_name(target.name + ".reason").write_text(reason, encoding="utf-8")
        except OSError as error:
            self._say_trouble(f"the reason of a refusal cannot be written: {error.strerror}")

    def _remember(self, path: Path, stamp: Stamp) -> None:
        self._settling.pop(path, None)
        try:
            self._seen.add(path, stamp)
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


def _free_name(path: Path) -> Path:
    """``path``, or the first of ``name-1.ext``, ``name-2.ext`` ... that does not exist."""
    candidate, number = path, 0
    while candidate.exists() or candidate.is_symlink():
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate
