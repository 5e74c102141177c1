"""Folders and files by descriptor, a component at a time: a link that somebody puts in the way is never followed.

Whoever writes into a watched folder may swap a folder for a link at any moment. So nothing here asks first and
then acts by path: a folder is opened without following links, and what happens in it happens by its descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import ClassVar, Final, Literal

from edgeai.api.errors import EdgeaiError

REASON: Final = ".reason"
_PASS: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""To go through a folder, the right to search it is enough."""
_READ: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SOURCE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LINK_ERRORS: Final = frozenset({errno.ELOOP, errno.ENOTDIR})
_COPY_BYTES: Final = 1024 * 1024
_NAME_BYTES: Final = 255
_NUMBERS: Final = 1000
_TURN: Final = threading.Lock()


class FolderLink(EdgeaiError):
    """A symbolic link where a folder or file of a watched folder belongs. It was not followed."""

    default_code: ClassVar[str] = "ingest.folder-link"

    def __init__(self) -> None:
        super().__init__(
            "a symbolic link stands where a watched folder, or one that its files go to, belongs; it is not followed",
            code="ingest.folder-link",
            remedy="remove the link; a folder elsewhere is named by done_dir and rejected_dir in the profile",
        )


def located(path: Path, root: Path) -> Path:
    """Where a configured folder lies: below ``root`` (resolved) by its plain name, elsewhere with its links followed.

    What the integrator names may be a link. What lies in the watched folder may have become one.
    """
    for ancestor in reversed(path.parents):
        if ancestor.resolve() == root:
            return root / path.relative_to(ancestor)
    return path.resolve()


@contextmanager
def opened(path: Path, *, readable: bool = False, make: bool = False) -> Iterator[int]:
    """The descriptor of a folder, reached without following any link; ``make`` makes what is not there.

    Raises:
        FolderLink: a component is a link.
        OSError: a component is absent, no folder, or may not be searched.
    """
    folder = os.open(path.anchor, _PASS)
    try:
        for number, name in enumerate(path.parts[1:], start=2):
            inner = open_inside(folder, name, readable=readable and number == len(path.parts), make=make)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def open_inside(folder: int, name: str, *, readable: bool = False, make: bool = False) -> int:
    """The descriptor of one folder in another. Raises as ``opened``; the caller closes it."""
    try:
        return os.open(name, _READ if readable else _PASS, dir_fd=folder)
    except FileNotFoundError:
        if not make:
            raise
    except OSError as error:
        raise _explained(error, folder, name) from error
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
    return open_inside(folder, name, readable=readable)


def open_file(folder: int, name: str) -> int:
    """The descriptor of a file to read; a pipe does not hold up whoever opens it. Raises as ``opened``."""
    try:
        return os.open(name, _SOURCE, dir_fd=folder)
    except OSError as error:
        raise _explained(error, folder, name) from error


def _explained(error: OSError, folder: int, name: str) -> Exception:
    return FolderLink() if error.errno in _LINK_ERRORS and _is_link(folder, name) else error


def _is_link(folder: int, name: str) -> bool:
    return _kind(folder, name) == "link"


def _kind(folder: int, name: str) -> Literal["", "link", "other"]:
    """What has this name in a folder; empty when nothing has."""
    try:
        facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return ""
    return "link" if stat.S_ISLNK(facts.st_mode) else "other"


@dataclass(frozen=True, slots=True)
class Placed:
    """The name that a file got; ``met_link``: a link had one that would have been better."""

    name: str
    met_link: bool


def move(source: int, name: str, target: int, *, with_reason: bool) -> Placed:
    """A file of the folder ``source`` into the folder ``target``, under its name or the next that is free.

    Args:
        source: descriptor of the folder that it is in.
        name: of the file.
        target: descriptor of the folder that it goes to.
        with_reason: the name of its reason must be free too.

    Raises:
        OSError: it cannot be moved, and is where it was.
    """
    try:
        return _rename(source, name, target, name, with_reason)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    part = f".{uuid.uuid4().hex}.part"
    try:
        original = _copy(source, name, target, part)
        placed = _rename(target, part, target, name, with_reason)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part, dir_fd=target)
        raise
    now = os.stat(name, dir_fd=source, follow_symlinks=False)
    if (now.st_dev, now.st_ino) == (original.st_dev, original.st_ino):
        os.unlink(name, dir_fd=source)
    return placed


def _rename(source: int, old: str, target: int, name: str, with_reason: bool) -> Placed:
    met_link = False
    # Two watched folders may share a place. Renaming replaces a link and does not follow it, whoever is faster.
    with _TURN:
        for candidate in _candidates(name, with_reason=with_reason):
            taken = [_kind(target, each) for each in (candidate, candidate + REASON)[: 1 + with_reason]]
            if any(taken):
                met_link = met_link or "link" in taken
                continue
            os.rename(old, candidate, src_dir_fd=source, dst_dir_fd=target)
            return Placed(candidate, met_link)
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _copy(source: int, name: str, target: int, part: str) -> os.stat_result:
    """To another file system, whole and durable; what the original was."""
    original = open_file(source, name)
    try:
        facts = os.fstat(original)
        copy = os.open(part, _NEW, 0o600, dir_fd=target)
        try:
            while chunk := os.read(original, _COPY_BYTES):
                while chunk:
                    chunk = chunk[os.write(copy, chunk) :]
            os.fchmod(copy, stat.S_IMODE(facts.st_mode) & 0o777)
            os.utime(copy, ns=(facts.st_atime_ns, facts.st_mtime_ns))
            os.fsync(copy)
        finally:
            os.close(copy)
    finally:
        os.close(original)
    return facts


def write_reason(folder: int, name: str, reason: str) -> Placed:
    """``name.reason`` in a folder, or under the next name that is free. Raises ``OSError``."""
    met_link = False
    for candidate in _candidates(name, with_reason=True):
        try:
            file = os.open(candidate + REASON, _NEW, 0o666, dir_fd=folder)
        except FileExistsError:
            met_link = met_link or _is_link(folder, candidate + REASON)
            continue
        with os.fdopen(file, "wb") as out:
            out.write(reason.encode("utf-8", "backslashreplace"))
        return Placed(candidate, met_link)
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _candidates(name: str, *, with_reason: bool) -> Iterator[str]:
    room = _NAME_BYTES - (len(REASON) if with_reason else 0)
    stem, suffix = PurePath(name).stem, PurePath(name).suffix
    yield _cut(stem, suffix, room)
    for number in range(1, _NUMBERS):
        yield _cut(stem, f"-{number}{suffix}", room)
    yield _cut(stem, f"-{uuid.uuid4().hex}{suffix}", room)


def _cut(stem: str, tail: str, room: int) -> str:
    """The name with as much of its stem as a file system takes."""
    end = os.fsencode(tail)[-room:]
    return os.fsdecode(os.fsencode(stem)[: room - len(end)] + end)
