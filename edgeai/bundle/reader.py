"""Open a bundle: signatures first, then the manifest, then every file; only then may anyone see it.

Unpacked bundles are kept by digest below a cache folder and are verified again, whole, on every open: a
file that was changed there is never used. A bundle may also be a folder (a build in progress, an
installed slot); it is held to the same rules and is used where it lies.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from edgeai.api.errors import BundleRejected
from edgeai.bundle.archive import (
    Archive,
    check_present,
    hash_file,
    list_files,
    wrong_hash,
    wrong_size,
)
from edgeai.bundle.honour import hold_to_honoured
from edgeai.bundle.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    SIGNATURES_NAME,
    ArtifactDecl,
    Manifest,
    decode_manifest,
    digest_of,
)
from edgeai.bundle.partial import HELD_NAME, Held, absent_files, guard_manifest, read_held
from edgeai.bundle.strangers import REMEDY, other_folder
from edgeai.bundle.zip_form import LIMITS, BundleLimits
from edgeai.durable import locked

if TYPE_CHECKING:  # a start without signatures pays for none of it
    from edgeai.api.results import SignerRef
    from edgeai.bundle.envelope import Envelope
    from edgeai.bundle.trust import TrustPolicy

Accept: TypeAlias = Callable[[Manifest, str], object]
"""Asked with manifest and digest once the signatures are held to the trusted keys; raises where it does not accept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A verified bundle: every file below ``root`` is what ``manifest`` says, as of when it was opened.

    ``signers`` are the trusted keys that signed it; none when nobody asked. ``held`` says which artifacts are there,
    where not all are. ``is_guard``: it is what ``guard`` gave.
    """

    manifest: Manifest
    digest: str
    root: Path
    signers: tuple[SignerRef, ...] = ()
    held: Held | None = None
    is_guard: bool = False

    @property
    def artifacts(self) -> tuple[ArtifactDecl, ...]:
        """Those that are there, in the manifest's order."""
        if self.held is None:
            return self.manifest.artifacts
        held = self.held.guard if self.is_guard else self.held.artifacts
        return tuple(item for item in self.manifest.artifacts if item.id in held)

    @property
    def guard(self) -> Bundle | None:
        """The model that stands before the model, as if the bundle were of it; ``None`` where there is none."""
        manifest = guard_manifest(self.manifest)
        return None if manifest is None else replace(self, manifest=manifest, is_guard=True)

    @property
    def absent(self) -> tuple[str, ...]:
        """Ids of those that are not there."""
        there = {item.id for item in self.artifacts}
        return tuple(item.id for item in self.manifest.artifacts if item.id not in there)

    def path(self, name: str) -> Path:
        """Where a file (or folder) that the manifest names lies."""
        return self.root / name


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A bundle whose every byte was held to its manifest; its signatures are not yet held to any key."""

    manifest: Manifest
    manifest_bytes: bytes
    digest: str
    envelope: Envelope | None
    absent: tuple[str, ...] = ()
    """Ids of artifacts that a folder does not hold."""


def read_manifest(
    path: Path, *, limits: BundleLimits = LIMITS, trust: TrustPolicy | None = None, accept: Accept | None = None
) -> tuple[Manifest, str]:
    """Manifest and digest, without unpacking or hashing the files: for routing, not for running.

    Raises:
        BundleRejected: as ``open_bundle``, but for ``bundle.wrong-hash``.
        ConfigError: as ``open_bundle``.
    """
    if path.is_dir():
        head = _read_head(path, trust)
        manifest, digest = head.manifest, digest_of(head.manifest_bytes)
    else:
        with Archive(path, limits=limits, trust=trust) as archive:
            manifest, digest = archive.manifest, archive.digest
    _runnable(accept)(manifest, digest)
    return manifest, digest


def verify_bundle(path: Path, *, limits: BundleLimits = LIMITS) -> Verified:
    """A bundle of which every byte is checked, without unpacking it, and its signatures, to be held to keys.

    Raises:
        BundleRejected: as ``open_bundle``.
    """
    if path.is_dir():
        bundle, head = verify_folder(path), _read_head(path, None)
        return Verified(
            manifest=bundle.manifest,
            manifest_bytes=head.manifest_bytes,
            digest=bundle.digest,
            envelope=head.envelope,
            absent=bundle.absent,
        )
    with Archive(path, limits=limits) as archive:
        archive.verify()
        return Verified(
            manifest=archive.manifest,
            manifest_bytes=archive.manifest_bytes,
            digest=archive.digest,
            envelope=archive.envelope,
        )


def read_member(path: Path, manifest: Manifest, name: str, max_bytes: int) -> bytes | None:
    """One file of a bundle, held to its manifest; ``None`` where the bundle has none of this name.

    Raises:
        BundleRejected: ``bundle.too-large``, ``bundle.wrong-hash``, and as ``open_bundle``.
    """
    declared = manifest.files.get(name)
    if declared is None:
        return None
    if declared.bytes > max_bytes:
        raise BundleRejected(f"{name!r} has {declared.bytes} bytes, at most {max_bytes}", code="bundle.too-large")
    if path.is_dir():
        data = _read_file(path, name, max_bytes)
    else:
        with Archive(path) as archive:
            data = b"".join(archive.chunks(name, max_bytes))
    if hashlib.sha256(data).hexdigest() != declared.sha256:
        raise wrong_hash(name)
    return data


def read_signatures(root: Path) -> tuple[Envelope | None, bytes]:
    """The signatures of an unpacked bundle, not yet held to any key, and the bytes that they are of.

    Raises:
        BundleRejected: as ``open_bundle``.
    """
    head = _read_head(root, None)
    return head.envelope, head.manifest_bytes


def open_bundle(
    path: Path | str,
    *,
    cache_dir: Path | None = None,
    limits: BundleLimits = LIMITS,
    trust: TrustPolicy | None = None,
    accept: Accept | None = None,
) -> Bundle:
    """Verify a bundle, unpack it if it is not yet unpacked, and say where it lies.

    Args:
        path: a ``.edgeai`` file, or a folder with a ``manifest.json``.
        cache_dir: where to unpack; by default ``$XDG_CACHE_HOME/edgeai/bundles``.
        limits: how large a bundle may be.
        trust: whose signatures it must bear; without, nobody asks.
        accept: asked before anything is unpacked.

    Raises:
        BundleRejected: what is wrong, each with its own code; see ``docs/reference/errors.md``.
        ConfigError: ``keys.not-public``: a trusted key cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        return verify_folder(path, trust, _runnable(accept))
    folder = default_cache_dir() if cache_dir is None else cache_dir
    with Archive(path, limits=limits, trust=trust) as archive:
        _runnable(accept)(archive.manifest, archive.digest)
        target = folder / archive.digest.removeprefix("sha256:")
        try:
            if target.exists():
                with contextlib.suppress(BundleRejected, OSError):
                    return _verified(target, archive)
            return _unpack(archive, target)
        except OSError as error:
            raise BundleRejected(
                f"cannot unpack into {folder}: {error.strerror or error}",
                code="bundle.cache-unwritable",
                remedy="free space there, or name another folder (XDG_CACHE_HOME)",
            ) from error


def _runnable(accept: Accept | None) -> Accept:
    """What whoever runs a bundle asks first: whether this edgeai can do all that it says."""

    def check(manifest: Manifest, digest: str) -> None:
        hold_to_honoured(manifest)
        if accept is not None:
            accept(manifest, digest)

    return check


def default_cache_dir() -> Path:
    """``$XDG_CACHE_HOME/edgeai/bundles``, or ``~/.cache/edgeai/bundles`` (XDG Base Directory 0.8)."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(named) if named.startswith("/") else Path.home() / ".cache"
    return root / "edgeai" / "bundles"


def verify_folder(root: Path, trust: TrustPolicy | None = None, accept: Accept | None = None) -> Bundle:
    """Hold an unpacked bundle to its manifest: no file more, none less, each of the right size and content.

    Where the folder says that it does not hold all artifacts, the files of the others are not there.

    Raises:
        BundleRejected: ``bundle.link``, ``bundle.extra-file``, ``bundle.missing-file``,
            ``bundle.wrong-size``, ``bundle.wrong-hash``, ``bundle.bad-held-file``, and the codes of
            ``decode_manifest``, ``decode_envelope`` and ``TrustPolicy.check``.
        ConfigError: ``keys.not-public``.
    """
    head = _read_head(root, trust)
    manifest, digest = head.manifest, digest_of(head.manifest_bytes)
    if accept is not None:
        accept(manifest, digest)
    held = read_held(root, manifest, digest)
    absent = absent_files(manifest, held)
    try:
        check_present(set(list_files(root)) - {HELD_NAME}, manifest, absent)
        for name, declared in manifest.files.items():
            if name in absent:
                continue
            size = (root / name).stat().st_size
            if size != declared.bytes:
                raise wrong_size(name, size, declared.bytes)
            if hash_file(root / name) != declared.sha256:
                raise wrong_hash(name)
    except OSError as error:
        why = f"{root} cannot be read: {error}"
        raise BundleRejected(why, code="bundle.not-a-bundle", remedy=REMEDY) from error
    return Bundle(manifest=manifest, digest=digest, root=root, signers=head.signers, held=held)


def verify_again(bundle: Bundle) -> None:
    """Before a file of a bundle is opened long after the bundle was: it may have been changed or replaced since.

    Raises:
        BundleRejected: as ``verify_folder``; ``bundle.wrong-hash`` where another bundle lies there now, or other
            artifacts of it.
    """
    now = verify_folder(bundle.root)
    if (now.digest, now.held) != (bundle.digest, bundle.held):
        raise wrong_hash(MANIFEST_NAME)


def _verified(target: Path, archive: Archive) -> Bundle:
    """The unpacked bundle, once it is what the archive holds; who signed is the archive's to say."""
    _renew_signatures(target, archive.envelope_bytes)
    bundle = verify_folder(target)
    if bundle.digest != archive.digest or bundle.held is not None:  # an archive is whole, and so is what it unpacks to
        raise wrong_hash(MANIFEST_NAME)
    return replace(bundle, signers=archive.signers)


def _renew_signatures(target: Path, signatures: bytes | None) -> None:
    """The same content signed anew has the same digest and so the same place; its signatures follow it there."""
    path = target / SIGNATURES_NAME
    if signatures is None:
        path.unlink(missing_ok=True)
    elif not (path.is_file() and path.read_bytes() == signatures):
        descriptor, fresh = tempfile.mkstemp(prefix=".signatures-", dir=target.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(signatures)
        Path(fresh).replace(path)


def _unpack(archive: Archive, target: Path) -> Bundle:
    """Unpack beside the target and rename, one process at a time: others see the whole bundle or none of it."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(target.parent / ".lock"):
        if target.exists():
            with contextlib.suppress(BundleRejected, OSError):  # another process was first
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """What is read of a folder before any other file of it."""

    manifest: Manifest
    manifest_bytes: bytes
    envelope: Envelope | None
    signers: tuple[SignerRef, ...]


def _read_head(root: Path, trust: TrustPolicy | None) -> _Head:
    data = _read_file(root, MANIFEST_NAME, MAX_MANIFEST_BYTES)
    envelope = None
    if os.path.lexists(root / SIGNATURES_NAME):
        from edgeai.bundle.envelope import MAX_ENVELOPE_BYTES, decode_envelope

        envelope = decode_envelope(_read_file(root, SIGNATURES_NAME, MAX_ENVELOPE_BYTES), data)
    signed = trust.check(envelope, data, root.name) if trust is not None else None
    manifest = decode_manifest(data)
    signers = signed.by(manifest.name) if signed is not None else ()
    return _Head(manifest=manifest, manifest_bytes=data, envelope=envelope, signers=signers)


def _read_file(root: Path, name: str, max_bytes: int) -> bytes:
    """At most one byte more than may be: whoever parses it refuses that."""
    path = root / name
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise BundleRejected(f"{path} is a link or a special file", code="bundle.link")
        with path.open("rb") as file:
            return file.read(max_bytes + 1)
    except OSError as error:
        why = f"it has no {name}" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        raise other_folder(root, why) from error
