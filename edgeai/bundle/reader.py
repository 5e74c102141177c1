"""Open a bundle: verify first, then let anyone see it.

Unpacked bundles are kept by digest below a cache folder and are verified again, whole, on every open: a
file that was changed there is never used. A bundle may also be a folder (a build in progress, an
installed slot); it is held to the same rules and is used where it lies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeai.api.errors import BundleRejected
from edgeai.bundle.archive import (
    LIMITS,
    Archive,
    BundleLimits,
    check_present,
    hash_file,
    list_files,
    wrong_hash,
    wrong_size,
)
from edgeai.bundle.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest, decode_manifest, digest_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A verified bundle: every file below ``root`` is what ``manifest`` says, as of when it was opened."""

    manifest: Manifest
    digest: str
    root: Path

    def path(self, name: str) -> Path:
        """Where a file (or folder) that the manifest names lies."""
        return self.root / name


def read_manifest(path: Path, *, limits: BundleLimits = LIMITS) -> tuple[Manifest, str]:
    """Manifest and digest, without unpacking or hashing the files: for routing, not for running.

    Raises:
        BundleRejected: as ``open_bundle``, but for ``bundle.wrong-hash``.
    """
    if path.is_dir():
        data = _read_folder_manifest(path)
        return decode_manifest(data), digest_of(data)
    with Archive(path, limits=limits) as archive:
        return archive.manifest, archive.digest


def verify_bundle(path: Path, *, limits: BundleLimits = LIMITS) -> tuple[Manifest, str]:
    """Manifest and digest of a bundle whose every byte was checked, without unpacking it.

    Raises:
        BundleRejected: as ``open_bundle``.
    """
    if path.is_dir():
        bundle = verify_folder(path)
        return bundle.manifest, bundle.digest
    with Archive(path, limits=limits) as archive:
        archive.verify()
        return archive.manifest, archive.digest


def open_bundle(path: Path | str, *, cache_dir: Path | None = None, limits: BundleLimits = LIMITS) -> Bundle:
    """Verify a bundle, unpack it if it is not yet unpacked, and say where it lies.

    Args:
        path: a ``.edgeai`` file, or a folder with a ``manifest.json``.
        cache_dir: where to unpack; by default ``$XDG_CACHE_HOME/edgeai/bundles``.
        limits: how large a bundle may be.

    Raises:
        BundleRejected: what is wrong, each with its own code; see ``docs/reference/errors.md``.
    """
    path = Path(path)
    if path.is_dir():
        return verify_folder(path)
    folder = default_cache_dir() if cache_dir is None else cache_dir
    with Archive(path, limits=limits) as archive:
        target = folder / archive.digest.removeprefix("sha256:")
        if target.exists():
            with contextlib.suppress(BundleRejected):
                return _verified(target, archive)
        try:
            return _unpack(archive, target)
        except OSError as error:
            raise BundleRejected(
                f"cannot unpack into {folder}: {error.strerror or error}",
                code="bundle.cache-unwritable",
                remedy="free space there, or name another folder (XDG_CACHE_HOME)",
            ) from error


def default_cache_dir() -> Path:
    """``$XDG_CACHE_HOME/edgeai/bundles``, or ``~/.cache/edgeai/bundles`` (XDG Base Directory 0.8)."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(named) if named.startswith("/") else Path.home() / ".cache"
    return root / "edgeai" / "bundles"


def verify_folder(root: Path) -> Bundle:
    """Hold an unpacked bundle to its manifest: no file more, none less, each of the right size and content.

    Raises:
        BundleRejected: ``bundle.link``, ``bundle.extra-file``, ``bundle.missing-file``,
            ``bundle.wrong-size``, ``bundle.wrong-hash``, and the codes of ``decode_manifest``.
    """
    data = _read_folder_manifest(root)
    manifest = decode_manifest(data)
    try:
        check_present(set(list_files(root)) - {MANIFEST_NAME}, manifest)
        for name, declared in manifest.files.items():
            size = (root / name).stat().st_size
            if size != declared.bytes:
                raise wrong_size(name, size, declared.bytes)
            if hash_file(root / name) != declared.sha256:
                raise wrong_hash(name)
    except OSError as error:
        raise BundleRejected(f"{root} cannot be read: {error}", code="bundle.not-a-bundle") from error
    return Bundle(manifest=manifest, digest=digest_of(data), root=root)


def _verified(target: Path, archive: Archive) -> Bundle:
    bundle = verify_folder(target)
    if bundle.digest != archive.digest:
        raise wrong_hash(MANIFEST_NAME)
    return bundle


def _unpack(archive: Archive, target: Path) -> Bundle:
    """Unpack beside the target and rename, one process at a time: others see the whole bundle or none of it."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(target.parent / ".lock"):
        if target.exists():
            with contextlib.suppress(BundleRejected):  # another process was first
                return _verified(target, archive)
        fresh = Path(tempfile.mkdtemp(prefix=".unpack-", dir=target.parent))
        try:
            archive.unpack(fresh)
            if target.exists():  # it failed its verification
                target.rename(fresh.with_name(fresh.name + "-stale"))
            fresh.rename(target)
            return _verified(target, archive)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
            shutil.rmtree(fresh.with_name(fresh.name + "-stale"), ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the folder against other processes; the kernel lets go when this one dies."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read_folder_manifest(root: Path) -> bytes:
    path = root / MANIFEST_NAME
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise BundleRejected(f"{path} is a link or a special file", code="bundle.link")
        with path.open("rb") as file:
            return file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise BundleRejected(f"{root} is not a bundle: {error}", code="bundle.not-a-bundle") from error
