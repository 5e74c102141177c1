"""Blobs on their way: each under the digest that was signed for it, resumed where it broke off, whole or not there.

What is half here is believed by nobody: a blob gets its name once all of it is on the disk and has its digest. What a
power cut made of a half shows then, and it is fetched anew.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeai.bundle.offers import PackedDecl, blob_path, packed_as
from edgeai.durable import make_folder, sync_folder
from edgeai_update.errors import UpdateError, altered, told_of_disk, wrong_range
from edgeai_update.sources import Reply, Source

_PART: Final = ".part"
_SYNC_EVERY: Final = 8 << 20
_PAUSES: Final = (1.0, 2.0, 4.0, 8.0)
"""Before it is tried again; a try that brought ``_SOMETHING`` counts for none."""
_SOMETHING: Final = 1 << 14
_ANEW: Final = 2
"""So often a blob is begun anew in one look, since what was here of it, or a range, was wrong."""
_PASSING: Final = ("update.unreachable", "update.too-slow")
"""Reasons that may be gone in a moment."""


@dataclass(slots=True)
class Blobs:
    """The blobs of a device: what was fetched and not yet installed.

    Args:
        folder: theirs alone.
        sleep: before another try.
    """

    folder: Path
    sleep: Callable[[float], None] = time.sleep

    def whole(self, packed: PackedDecl) -> Path | None:
        """A blob that is all here."""
        path = self.folder / packed.sha256
        return path if path.is_file() and path.stat().st_size == packed.bytes else None

    def lacking(self, packed: PackedDecl) -> int:
        """So many bytes of it are still to come."""
        if self.whole(packed) is not None:
            return 0
        return max(0, packed.bytes - _size(self._part(packed)))

    def fetch(self, source: Source, sha256: str, packed: PackedDecl, came: Callable[[int], None]) -> None:
        """Bring a blob here, whatever is here of it.

        Args:
            source: of it.
            sha256: of its content, by which a repository names it.
            packed: what it is.
            came: told how many bytes came, for who waits.

        Raises:
            UpdateError: ``update.altered``, ``update.unwritable``, and the codes of ``Source.open``.
        """
        if self.whole(packed) is not None:
            return
        with told_of_disk(self.folder):
            make_folder(self.folder)
        path, pauses, anew = blob_path(sha256), list(_PAUSES), _ANEW
        while True:
            before = _size(self._part(packed))
            resumed = before > 0
            try:
                self._come(source, path, packed, came)
            except UpdateError as error:
                if error.code == "update.wrong-range" and resumed and anew:
                    anew -= 1
                    self._drop(packed)
                    continue
                if _size(self._part(packed)) >= before + _SOMETHING:
                    pauses = list(_PAUSES)
                if error.code not in _PASSING or not pauses:
                    raise
                self.sleep(pauses.pop(0))
                continue
            if self._named(packed):
                return
            if not (resumed and anew):  # a half may be what a power cut left; what came at one go is what was sent
                raise altered(path, "it has another digest")
            anew -= 1

    def keep_only(self, wanted: Collection[PackedDecl]) -> None:
        """Remove what nobody waits for."""
        names = {each.sha256 for each in wanted}
        with told_of_disk(self.folder):
            for path in self.folder.iterdir() if self.folder.is_dir() else ():
                if path.name.removesuffix(_PART) not in names:
                    path.unlink(missing_ok=True)

    def drop(self, packed: PackedDecl) -> None:
        """Remove a blob that turned out to be none."""
        with told_of_disk(self.folder):
            (self.folder / packed.sha256).unlink(missing_ok=True)

    # --- pieces -----------------------------------------------------------------------------------

    def _part(self, packed: PackedDecl) -> Path:
        return self.folder / f"{packed.sha256}{_PART}"

    def _drop(self, packed: PackedDecl) -> None:
        with told_of_disk(self.folder):
            self._part(packed).unlink(missing_ok=True)

    def _come(self, source: Source, path: str, packed: PackedDecl, came: Callable[[int], None]) -> None:
        """What is still lacking, as far as it comes; what came stays."""
        if _size(self._part(packed)) > packed.bytes:
            self._drop(packed)
        here = _size(self._part(packed))
        if here == packed.bytes:
            return
        reply = source.open(path, here)
        try:
            if reply.length is not None and reply.length != packed.bytes - reply.offset:
                if reply.offset:
                    raise wrong_range(path)
                raise altered(path, f"it has {reply.length} bytes, {packed.bytes} were signed for")
            self._write(reply, path, packed, came)
        finally:
            reply.close()

    def _write(self, reply: Reply, path: str, packed: PackedDecl, came: Callable[[int], None]) -> None:
        with told_of_disk(self.folder):
            file = os.open(self._part(packed), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        at, synced = reply.offset, reply.offset
        try:
            with told_of_disk(self.folder):
                os.ftruncate(file, at)
                os.lseek(file, at, os.SEEK_SET)
            for piece in reply.pieces:
                if at + len(piece) > packed.bytes:
                    raise altered(path, f"more than the {packed.bytes} bytes come that were signed for")
                with told_of_disk(self.folder):
                    write_all(file, piece)
                    at += len(piece)
                    if at - synced >= _SYNC_EVERY:
                        os.fsync(file)
                        synced = at
                came(len(piece))
                if at == packed.bytes:
                    break  # nobody waits for the end of a connection
            with told_of_disk(self.folder):
                os.fsync(file)
        finally:
            os.close(file)
        if at < packed.bytes:
            raise UpdateError(f"{path} broke off after {at} of {packed.bytes} bytes", code="update.unreachable")

    def _named(self, packed: PackedDecl) -> bool:
        """Give a blob its name, where it is what was signed; else remove it."""
        part = self._part(packed)
        with told_of_disk(self.folder):
            if packed_as(part) != packed:
                part.unlink()
                return False
            part.replace(self.folder / packed.sha256)
            sync_folder(self.folder)
            return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def write_all(file: int, data: bytes) -> None:
    """Every byte, however the kernel takes them."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
