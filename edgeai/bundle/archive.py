"""The one file that ships: a zip that any tool can list, but of exactly one form.

``pack`` writes members deflated, ``manifest.json`` first (and its signatures next) and the rest by name, each with
the same time and mode, and nothing between or after them. ``Archive`` reads that form and no other (``zip_form``):
every byte of the file is accounted for before anything is believed, so nothing can hide in an archive, and two tools
cannot see two contents.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from edgeai.api.errors import BundleRejected
from edgeai.bundle.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    SIGNATURES_NAME,
    FileDecl,
    Manifest,
    check_manifest,
    decode_manifest,
    digest_of,
    encode_manifest,
)
from edgeai.bundle.strangers import closed, not_a_bundle, other_folder
from edgeai.bundle.zip_form import (
    CHUNK,
    LIMITS,
    BundleLimits,
    check_size,
    content,
    missing,
    new_member,
    read_members,
)

if TYPE_CHECKING:  # a start without signatures pays for none of it
    from edgeai.api.results import SignerRef
    from edgeai.bundle.envelope import Envelope
    from edgeai.bundle.trust import TrustPolicy

SUFFIX: Final = ".edgeai"


def pack(folder: Path, manifest: Manifest, out: Path, *, limits: BundleLimits = LIMITS) -> str:
    """Write a bundle of every file below ``folder`` and say its digest.

    ``manifest.files`` is filled in from the folder, whatever it held. The same content gives the same
    bytes. ``out`` appears only when it is whole.

    Raises:
        BundleRejected: a link, a name that is not allowed, too much, or a manifest that does not fit
            the files; with the codes that reading would give.
    """
    paths = list_files(folder)
    declared = {path: _declare(folder / path) for path in paths if path != MANIFEST_NAME}
    manifest = msgspec.structs.replace(manifest, files=declared)
    check_manifest(manifest)
    data = encode_manifest(manifest)
    decode_manifest(data)  # what is written can be read: the types of a Struct are checked on decoding only
    check_size(len(declared) + 1, sum(file.bytes for file in declared.values()), limits)
    _write(out, [(MANIFEST_NAME, [data]), *((path, _pieces(folder / path)) for path in sorted(declared))])
    return digest_of(data)


def list_files(folder: Path) -> list[str]:
    """Every file below, as relative paths with ``/``, in no order.

    Raises:
        BundleRejected: ``bundle.link`` for a symbolic link, device, socket or pipe.
    """
    paths: list[str] = []
    for where, folders, names in os.walk(folder, onerror=_raise):
        for name in (*folders, *names):
            path = Path(where, name)
            mode = path.lstat().st_mode
            relative = path.relative_to(folder).as_posix()
            if stat.S_ISREG(mode):
                paths.append(relative)
            elif not stat.S_ISDIR(mode):
                raise BundleRejected(f"{relative!r} is a link or a special file", code="bundle.link")
    return paths


class Archive:
    """A bundle file, open, its layout, signatures and manifest checked; the content of its files is not, until read.

    Attributes:
        envelope: its signatures, which are of this manifest; ``None`` when it has none.
        signers: the trusted keys that signed it and may sign this model; none without a ``trust``. That enough trusted
            keys signed is asked before the manifest is parsed.

    Raises:
        BundleRejected: the codes of ``decode_manifest``, ``decode_envelope``, ``TrustPolicy.check`` and
            ``Signatures.by``, and
            ``bundle.missing``, ``bundle.unreadable``, ``bundle.not-a-bundle``, ``bundle.surplus-bytes``,
            ``bundle.two-contents``, ``bundle.compressed``,
            ``bundle.encrypted``, ``bundle.link``, ``bundle.too-large``, ``bundle.extra-file``,
            ``bundle.missing-file``, ``bundle.wrong-size``.
        ConfigError: a trusted key cannot be read.
    """

    def __init__(self, path: Path, *, limits: BundleLimits = LIMITS, trust: TrustPolicy | None = None) -> None:
        self._file: BinaryIO | None = None
        try:
            self._file = path.open("rb")
        except FileNotFoundError as error:
            raise missing(path) from error
        except PermissionError as error:
            raise closed(path) from error
        except OSError as error:
            why = error.strerror or str(error)
            raise (other_folder if path.is_dir() else not_a_bundle)(path, why) from error
        try:
            self._members = read_members(self._file, path.name, limits)
            self.manifest_bytes = b"".join(self.chunks(MANIFEST_NAME, MAX_MANIFEST_BYTES))
            self.envelope_bytes: bytes | None = None
            self.envelope: Envelope | None = None
            if SIGNATURES_NAME in self._members:
                self._read_envelope()
            signed = trust.check(self.envelope, self.manifest_bytes, path.name) if trust is not None else None
            self.manifest = decode_manifest(self.manifest_bytes)
            self.signers: tuple[SignerRef, ...] = signed.by(self.manifest.name) if signed is not None else ()
            self._check_declared()
        except BaseException:
            self.close()
            raise
        self.digest = digest_of(self.manifest_bytes)

    def _read_envelope(self) -> None:
        from edgeai.bundle.envelope import MAX_ENVELOPE_BYTES, decode_envelope

        self.envelope_bytes = b"".join(self.chunks(SIGNATURES_NAME, MAX_ENVELOPE_BYTES))
        self.envelope = decode_envelope(self.envelope_bytes, self.manifest_bytes)

    def _check_declared(self) -> None:
        check_present(set(self._members), self.manifest)
        for path, declared in self.manifest.files.items():
            if self._members[path].file_size != declared.bytes:
                raise wrong_size(path, self._members[path].file_size, declared.bytes)

    def chunks(self, path: str, max_bytes: int) -> Iterator[bytes]:
        """The content of one member, in pieces."""
        member = self._members[path]
        if member.file_size > max_bytes:
            raise BundleRejected(f"{path!r} has {member.file_size} bytes, at most {max_bytes}", code="bundle.too-large")
        assert self._file is not None
        yield from content(self._file, member)

    def verify(self) -> None:
        """Read every file and hold it to its hash.

        Raises:
            BundleRejected: ``bundle.wrong-hash``.
        """
        for path, declared in self.manifest.files.items():
            for _ in self._hashed(path, declared):
                pass

    def unpack(self, folder: Path) -> None:
        """Write every file below ``folder``, hashing on the way; each is on the disk when this returns.

        Raises:
            BundleRejected: ``bundle.wrong-hash``. What was written so far is the caller's to remove.
        """
        for path, declared in self.manifest.files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as sink:
                sink.writelines(self._hashed(path, declared))
                sink.flush()
                os.fsync(sink.fileno())
        (folder / MANIFEST_NAME).write_bytes(self.manifest_bytes)
        if self.envelope_bytes is not None:
            (folder / SIGNATURES_NAME).write_bytes(self.envelope_bytes)

    def write_signed(self, out: Path, envelope: bytes, *, limits: BundleLimits = LIMITS) -> None:
        """Write the same bundle with these signatures instead of its own; ``out`` may be this very file.

        Raises:
            BundleRejected: ``bundle.wrong-hash``, ``bundle.too-large``; ``out`` is then as it was.
        """
        files = self.manifest.files
        total = len(self.manifest_bytes) + len(envelope) + sum(file.bytes for file in files.values())
        check_size(len(files) + 2, total, limits)
        content = ((path, self._hashed(path, files[path])) for path in sorted(files))
        _write(out, [(MANIFEST_NAME, [self.manifest_bytes]), (SIGNATURES_NAME, [envelope]), *content])

    def _hashed(self, path: str, declared: FileDecl) -> Iterator[bytes]:
        seen = hashlib.sha256()
        for chunk in self.chunks(path, declared.bytes):
            seen.update(chunk)
            yield chunk
        if seen.hexdigest() != declared.sha256:
            raise wrong_hash(path)

    def close(self) -> None:
        """Close the file. Twice is fine."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_present(present: set[str], manifest: Manifest, absent: frozenset[str] = frozenset()) -> None:
    """Exactly the files that the manifest names, the manifest itself, and perhaps its signatures.

    Args:
        present: what is there.
        manifest: of the bundle.
        absent: files that it names and that are not held here, and so must not be here.

    Raises:
        BundleRejected: ``bundle.extra-file``, ``bundle.missing-file``.
    """
    if extra := sorted(present - set(manifest.files) - {MANIFEST_NAME, SIGNATURES_NAME}):
        raise BundleRejected(f"the manifest does not name {_some(extra)}", code="bundle.extra-file")
    if extra := sorted(present & absent):
        raise BundleRejected(f"the folder does not say that it holds {_some(extra)}", code="bundle.extra-file")
    if missing := sorted(set(manifest.files) - present - absent):
        raise BundleRejected(f"{_some(missing)} missing from the bundle", code="bundle.missing-file")


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def wrong_hash(path: str) -> BundleRejected:
    """The content of a file is not what the manifest says."""
    return BundleRejected(
        f"the content of {path!r} is not what the manifest says",
        code="bundle.wrong-hash",
        remedy="fetch the bundle again; if it happens twice, do not use it and tell who packed it",
    )


def wrong_size(path: str, got: int, want: int) -> BundleRejected:
    """The size of a file is not what the manifest says."""
    return BundleRejected(f"{path!r} has {got} bytes, the manifest says {want}", code="bundle.wrong-size")


def _write(out: Path, members: Iterable[tuple[str, Iterable[bytes]]]) -> None:
    """An archive of these members, in this order, on the disk; ``out`` is replaced once it is whole."""
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, allowZip64=False) as archive:
                for path, chunks in members:
                    with archive.open(new_member(path), "w") as target:
                        for chunk in chunks:
                            target.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        if out.exists():
            shutil.copymode(out, partial)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        while chunk := source.read(CHUNK):
            yield chunk


def _declare(path: Path) -> FileDecl:
    return FileDecl(sha256=hash_file(path), bytes=path.stat().st_size)


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(repr(path) for path in paths[:3]) + more


def _raise(error: OSError) -> None:
    raise error
