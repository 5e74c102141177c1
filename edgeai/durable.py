"""Small files that outlive a power cut: replaced whole, and on the disk when the call returns."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Put another content in a file's place, readable by its owner alone: at any moment there is the old or the new.

    Whoever writes holds a lock (``locked``): what is being written has one name.

    Raises:
        OSError: a full disk, above all. The old content stands; or, where only the folder could not be synced, the new.
    """
    fresh = path.with_name(f".{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(fresh, flags, 0o600)
    try:
        try:
            os.fchmod(descriptor, 0o600)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def publish_folder(fresh: Path, target: Path) -> None:
    """Give a folder its name once all that is in it is on the disk; nothing may lie there yet.

    Raises:
        OSError: it could not; ``fresh`` is then still there under its own name, or already under the new one.
    """
    for where, _, names in os.walk(fresh, topdown=False, onerror=_raise):
        for name in names:
            _sync(Path(where, name), os.O_RDONLY | os.O_NOFOLLOW)
        sync_folder(Path(where))
    fresh.rename(target)
    sync_folder(target.parent)


def make_folder(folder: Path) -> None:
    """A folder that is its owner's alone, with all above it; each is on the disk when this returns."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True, mode=0o700)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """The names in it are on the disk when this returns; the contents behind them are another matter."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file against other processes; the kernel lets go when this one dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _raise(error: OSError) -> None:
    raise error
