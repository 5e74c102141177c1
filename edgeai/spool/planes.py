"""Planes that several deployments need of one image: whoever makes one first leaves it, and the others map it.

A cache and no more: a plane that is missing, damaged or cannot be written is made again by whoever needs it, and
nothing waits for anybody who is not at work on the very plane. Files are whole or not there (they are renamed into
place, and carry length and checksum); nothing is fsynced, and the supervisor empties the folder at each start.

========================== ============================================================================
`<deployment>.recipe`      what a deployment that runs makes of an image, for the others to compare with
`<instance>/<plane>`       a plane: prelude, head, pixels
`<instance>/<plane>.part`  one that is being made, locked by its maker for as long as that lives
========================== ============================================================================
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PRELUDE: Final = struct.Struct("<8sIIQ")
"""Magic, CRC-32 of all behind the prelude, length of the head, length of the pixels."""
_MAGIC: Final = b"edgeai\x00\x01"
_ALIGNED: Final = 64
_RECIPE: Final = ".recipe"
_PART: Final = ".part"
_MOST_INSTANCES: Final = 64
"""Folders at a time, so that looking through them stays cheap; deployments that keep step need two or three."""
_SHARE: Final = 4
"""One image may take this part of the room, so that some can be under way at a time."""
_FIRST_PAUSE_S: Final = 0.0002
_LAST_PAUSE_S: Final = 0.002


@dataclass(frozen=True, slots=True)
class Plane:
    """One that another deployment left: its head, and its pixels as they lie in the mapped file, read-only."""

    head: bytes
    pixels: memoryview


class Turn:
    """The turn to make a plane, which nobody else makes meanwhile. ``leave`` it or ``close``; twice is fine."""

    def __init__(self, path: Path, file: int, charge: Callable[[int], bool]) -> None:
        self._path = path
        self._part = part_of(path)
        self._file = file
        self._charge = charge

    def leave(self, head: bytes, pixels: memoryview) -> bool:
        """Give the plane to the others; False where there is no room for it. The head may come back with blanks."""
        if self._file < 0:
            return False
        head += b" " * (-(_PRELUDE.size + len(head)) % _ALIGNED)
        checksum = zlib.crc32(pixels, zlib.crc32(head))
        prelude = _PRELUDE.pack(_MAGIC, checksum, len(head), pixels.nbytes)
        left = False
        with suppress(OSError):  # a full disk, or the image is done and its folder gone: nobody needs it
            if self._charge(len(prelude) + len(head) + pixels.nbytes):
                os.ftruncate(self._file, 0)  # of one who died half-way
                _write(self._file, prelude + head, pixels)
                self._part.rename(self._path)
                left = True
        self._end(is_left=left)
        return left

    def close(self) -> None:
        """Let the next one have the turn."""
        self._end(is_left=False)

    def _end(self, *, is_left: bool) -> None:
        if self._file < 0:
            return
        if not is_left:
            with suppress(OSError):
                self._part.unlink()
        os.close(self._file)  # and with it the lock
        self._file = -1


class Place:
    """Where planes of one instance lie, for one job. Several threads may use it.

    Args:
        planes: all of them.
        folder: of this instance.
        patience_s: how long the job may wait, in all, for planes that others are at work on.
    """

    def __init__(self, planes: Planes, folder: Path, patience_s: float) -> None:
        self._planes = planes
        self._folder = folder
        self._patience_s = patience_s
        self._room = planes.quota_bytes
        self._is_made = False

    def get(self, name: str) -> Plane | None:
        """A plane that is there; a damaged one is as good as none, and goes."""
        path = self._folder / name
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            plane = _read(mmap.mmap(file, 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError):  # empty
            plane = None
        finally:
            os.close(file)
        if plane is None:
            with suppress(OSError):
                path.unlink()
        return plane

    def take(self, name: str) -> Plane | Turn | None:
        """A plane, perhaps after a wait for whoever is at work on it; or the turn to make it.

        None: whoever has the turn takes too long, or nothing can be written. Make it, and leave it to nobody.
        The lock of one who dies is gone with it, so that nobody waits for the dead.
        """
        pause = _FIRST_PAUSE_S
        while True:
            plane = self.get(name)
            if plane is not None:
                return plane
            turn, is_taken = self._turn(self._folder / name)
            if not is_taken:
                if turn is None or (plane := self.get(name)) is None:
                    return turn
                turn.close()
                return plane
            if self._patience_s <= 0.0:
                return None
            began = time.monotonic()
            time.sleep(pause)
            self._patience_s -= time.monotonic() - began
            pause = min(pause * 1.3, _LAST_PAUSE_S)

    def _turn(self, path: Path) -> tuple[Turn | None, bool]:
        """The turn if it is free, and whether somebody else has it."""
        part = part_of(path)
        if not self._is_made and not self._planes.make_room(self._folder):
            return None, False
        self._is_made = True
        try:
            file = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return None, False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_mine = os.fstat(file).st_ino == part.stat().st_ino
        except BlockingIOError:
            os.close(file)
            return None, True
        except OSError:  # renamed or removed since it was opened
            is_mine = False
        if not is_mine:
            os.close(file)
            return None, True
        return Turn(path, file, self._charged), False

    def _charged(self, size: int) -> bool:
        if size > self._room:
            return False
        self._room -= size
        return True


class Planes:
    """All planes of a device, as one deployment's role sees them.

    Args:
        folder: ``<spool>/planes``; made if it is not there.
        max_bytes: how much they may take.
        sharers: how many deployments write here.
        reserve_bytes: free disk below which nothing is left for others.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self, folder: Path, *, max_bytes: int, sharers: int, reserve_bytes: int = 0) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._reserve_bytes = reserve_bytes
        self.quota_bytes = max_bytes // _SHARE // max(1, sharers)
        """How much one job may leave of one image."""
        folder.mkdir(mode=0o700, exist_ok=True)

    def place(self, file: str, patience_s: float) -> Place:
        """Of the instance that lies in ``instances/`` under this name."""
        return Place(self, self._folder / file, patience_s)

    def make_room(self, folder: Path) -> bool:
        """Make the folder of an instance, the oldest going where there are too many; whether it is there."""
        if folder.is_dir():
            return True
        try:
            if self._reserve_bytes:
                facts = os.statvfs(self._folder)
                if facts.f_bavail * facts.f_frsize < self._reserve_bytes:
                    return False
            self._drop_oldest()
            folder.mkdir(0o700)
        except FileExistsError:
            return True
        except OSError:
            return False
        return True

    def _drop_oldest(self) -> None:
        """Leave room for one more image at least. Who is behind makes its planes itself; the newest serve most."""
        known: list[tuple[int, str]] = []
        for entry in os.scandir(self._folder):
            with suppress(OSError):  # its last job has just ended
                known += [(entry.stat().st_mtime_ns, entry.path)] if entry.is_dir() else []
        sizes = [(path, _size(path)) for _, path in sorted(known)]
        total = sum(size for _, size in sizes)
        room = self._max_bytes - self._max_bytes // _SHARE
        for index, (path, size) in enumerate(sizes):
            if total <= room and len(sizes) - index < _MOST_INSTANCES:
                return
            remove_tree(Path(path))
            total -= size

    def tidy(self, is_needed: Callable[[str], bool]) -> None:
        """Remove what is left of instances that no job needs, whose last role was killed before it could."""
        for entry in list(os.scandir(self._folder)):
            if entry.is_dir() and not is_needed(entry.name):
                remove_tree(Path(entry.path))

    def tell(self, deployment: str, recipe: bytes) -> None:
        """What this deployment makes of an image, from now on."""
        path = self._folder / f"{deployment}{_RECIPE}"
        with suppress(OSError):
            part_of(path).write_bytes(recipe)
            part_of(path).rename(path)

    def recipes(self) -> Mapping[str, bytes]:
        """Deployment -> what it told. One that ended may still be there: a hint, whom nobody waits for."""
        told: dict[str, bytes] = {}
        with suppress(OSError):
            for entry in list(os.scandir(self._folder)):
                if entry.name.endswith(_RECIPE):
                    told[entry.name.removesuffix(_RECIPE)] = Path(entry.path).read_bytes()
        return told


def part_of(path: Path) -> Path:
    """Where a plane is made before it is there."""
    return path.with_name(path.name + _PART)


def remove_tree(folder: Path) -> None:
    """Remove a folder of files, and what is below it; what cannot be removed now goes at the next start."""
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            if entry.is_dir(follow_symlinks=False):
                remove_tree(Path(entry.path))
            else:
                with suppress(OSError):
                    Path(entry.path).unlink()
        folder.rmdir()


def _size(folder: str) -> int:
    total = 0
    with suppress(OSError):
        for entry in os.scandir(folder):
            with suppress(OSError):
                total += entry.stat().st_size
    return total


def _write(file: int, start: bytes, pixels: memoryview) -> None:
    for part in (memoryview(start), pixels.cast("B")):
        position = 0
        while position < part.nbytes:
            position += os.write(file, part[position:])


def _read(data: mmap.mmap) -> Plane | None:
    """A plane out of a whole and undamaged file."""
    whole = memoryview(data)
    if len(whole) < _PRELUDE.size:
        return None
    magic, checksum, head, pixels = _PRELUDE.unpack_from(whole)
    end = _PRELUDE.size + head
    if magic != _MAGIC or len(whole) != end + pixels or zlib.crc32(whole[_PRELUDE.size :]) != checksum:
        return None
    return Plane(bytes(whole[_PRELUDE.size : end]), whole[end:])
