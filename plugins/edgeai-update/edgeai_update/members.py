"""The files of a bundle, and where each comes from: what lies in a slot already is linked, the rest is inflated."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeai.api.errors import BundleRejected
from edgeai.bundle.archive import hash_file
from edgeai.bundle.manifest import MANIFEST_NAME, SIGNATURES_NAME
from edgeai.bundle.offers import Offer, unpacked
from edgeai.bundle.partial import HELD_NAME, Held, absent_files, encode_held
from edgeai.bundle.reader import read_manifest
from edgeai.durable import make_folder, sync_folder
from edgeai.slots.record import OTHER
from edgeai_update.blobs import Blobs, write_all
from edgeai_update.errors import told_of_disk

if TYPE_CHECKING:
    from edgeai.bundle.offers import PackedDecl
    from edgeai.slots import SlotFolder

_NO_LINK: Final = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP)
"""Why a file system links nothing: another volume, a kind that has no links, one that has too many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a device takes of an offer.

    Attributes:
        offer: signed, and held to the device's keys.
        held: which artifacts; ``None`` for all.
        here: by the SHA-256 of a content, a file that has it, as its digest was found to be.
    """

    offer: Offer
    held: Held | None
    here: Mapping[str, Path]

    @property
    def names(self) -> list[str]:
        """The files of the bundle that will be there."""
        absent = absent_files(self.offer.manifest, self.held)
        return [name for name in self.offer.manifest.files if name not in absent]

    @property
    def to_fetch(self) -> dict[str, PackedDecl]:
        """Blobs that the device has to have, by the SHA-256 of their content."""
        files = self.offer.manifest.files
        contents = dict.fromkeys(files[name].sha256 for name in self.names)
        return {sha256: self.offer.packed[sha256] for sha256 in contents if sha256 not in self.here}

    def written_bytes(self) -> int:
        """What the files take on the disk that are not linked."""
        files = self.offer.manifest.files
        return sum(files[name].bytes for name in self.names if files[name].sha256 not in self.here)

    def packed_bytes(self, names: Iterable[str]) -> int:
        """What a repository would send for these files."""
        contents = {self.offer.manifest.files[name].sha256 for name in names}
        return sum(self.offer.packed[sha256].bytes for sha256 in contents)


def assemble(wanted: Wanted, blobs: Blobs, folder: Path) -> None:
    """Write the bundle's folder, which is not there yet; whoever installs it reads it back and syncs it.

    Raises:
        BundleRejected: a blob is not what was offered; it is removed, to be fetched again.
        OSError: the disk refuses.
    """
    offer = wanted.offer
    _make(folder)
    for name in wanted.names:
        declared = offer.manifest.files[name]
        _make((folder / name).parent)
        source = wanted.here.get(declared.sha256)
        if source is not None:
            _link(source, folder / name)
            continue
        packed = offer.packed[declared.sha256]
        try:
            _write(folder / name, unpacked(blobs.folder / packed.sha256, packed, declared, name))
        except BundleRejected:
            blobs.drop(packed)
            raise
    _write(folder / MANIFEST_NAME, [offer.manifest_bytes])
    _write(folder / SIGNATURES_NAME, [offer.envelope_bytes])
    if wanted.held is not None:
        _write(folder / HELD_NAME, [encode_held(wanted.held)])


class Lent:
    """Files of the slot that is about to be written over, kept by their digest until that is done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take(self, files: Mapping[str, Path], spare: Path) -> dict[str, Path]:
        """The same files, of which none lies in ``spare`` any more."""
        taken = dict(files)
        for sha256, path in files.items():
            if path.is_relative_to(spare):
                taken[sha256] = self.folder / sha256
                if not taken[sha256].exists():
                    make_folder(self.folder)
                    _link(path, taken[sha256])
        if self.folder.is_dir():
            sync_folder(self.folder)
        return taken

    def here(self) -> Iterator[Path]:
        """What was lent before, whatever became of it."""
        if self.folder.is_dir():
            yield from self.folder.iterdir()

    def keep_only(self, wanted: Collection[str]) -> None:
        """Remove what nobody waits for, by the SHA-256 of contents."""
        with told_of_disk(self.folder):
            for path in list(self.here()):
                if path.name not in wanted:
                    path.unlink(missing_ok=True)
            if not wanted and self.folder.is_dir():
                self.folder.rmdir()


def lying_here(offer: Offer, names: Sequence[str], slots: Iterable[SlotFolder], lent: Lent) -> dict[str, Path]:
    """Contents of these files that some slot of the device has, by SHA-256; each file was read for it."""
    wanted = {offer.manifest.files[name].sha256: offer.manifest.files[name].bytes for name in names}
    here: dict[str, Path] = {}
    candidates = [(path.name, path) for path in lent.here()]
    candidates += [each for folder in slots for each in _contents(folder)]
    for sha256, path in candidates:
        if sha256 in here or sha256 not in wanted:
            continue
        with contextlib.suppress(OSError):
            if path.is_file() and path.stat().st_size == wanted[sha256] and hash_file(path) == sha256:
                here[sha256] = path
    return here


def _contents(folder: SlotFolder) -> Iterator[tuple[str, Path]]:
    """What lies in the slots of a deployment, as their manifests say; none of it is believed yet."""
    slots = folder.read()
    for name in OTHER:
        slot, root = slots.of(name), folder.content(name)
        if slot is None or slot.stage == "pending":
            continue
        with contextlib.suppress(BundleRejected, OSError):
            manifest, _ = read_manifest(root)
            yield from ((declared.sha256, root / file) for file, declared in manifest.files.items())


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        with source.open("rb") as file:
            _write(target, iter(lambda: file.read(1 << 20), b""))


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        for piece in pieces:
            write_all(file, piece)
    finally:
        os.close(file)


def _make(folder: Path) -> None:
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(mode=0o700)
