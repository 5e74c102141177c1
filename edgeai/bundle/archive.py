"""The one file that ships: a zip that any tool can list, but of exactly one form.

``pack`` writes members stored (the artifacts hardly compress, and a stored member cannot be a bomb),
``manifest.json`` first (and its signatures next) and the rest by name, each with the same time and mode, and
nothing between or after them. ``Archive`` reads that form and no other: every byte of the file is accounted for
before anything is believed, so nothing can hide in an archive, and two tools cannot see two contents.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import struct
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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
from edgeai.bundle.paths import MAX_PATH_CHARS, check_paths

if TYPE_CHECKING:  # a start without signatures pays for none of it
    from edgeai.api.results import SignerRef
    from edgeai.bundle.envelope import Envelope
    from edgeai.bundle.trust import TrustPolicy

SUFFIX: Final = ".edgeai"
_FIXED_TIME: Final = (1980, 1, 1, 0, 0, 0)
_FILE_MODE: Final = stat.S_IFREG | 0o644
_CHUNK: Final = 1 << 20
# Sizes of the fixed parts of a zip: PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16.
_LOCAL, _CENTRAL, _END = 30, 46, 22


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleLimits:
    """How large a bundle may be. One of 2 GiB or more would need zip64, which the format leaves out."""

    max_bytes: int = (1 << 31) - 1
    max_files: int = 10_000


LIMITS: Final = BundleLimits()


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
    _check_size(len(declared) + 1, sum(file.bytes for file in declared.values()), limits)
    _write(out, [(MANIFEST_NAME, [data]), *((path, _content(folder / path)) for path in sorted(declared))])
    return digest_of(data)


def list_files(folder: Path) -> list[str]:
    """Every file below, as relative paths with ``/``, in no order.

    Raises:
        BundleRejected: ``bundle.link`` for a symbolic link, device, socket or pipe.
    """
    found: list[str] = []
    for where, folders, names in os.walk(folder, onerror=_raise):
        for name in (*folders, *names):
            path = Path(where, name)
            mode = path.lstat().st_mode
            relative = path.relative_to(folder).as_posix()
            if stat.S_ISREG(mode):
                found.append(relative)
            elif not stat.S_ISDIR(mode):
                raise BundleRejected(f"{relative!r} is a link or a special file", code="bundle.link")
    return found


class Archive:
    """A bundle file, open, its layout, signatures and manifest checked; the content of its files is not, until read.

    Attributes:
        envelope: its signatures, which are of this manifest; ``None`` when it has none.
        signers: the trusted keys that signed it, asked before the manifest is parsed; none without a ``trust``.

    Raises:
        BundleRejected: the codes of ``decode_manifest``, ``decode_envelope`` and ``TrustPolicy.check``, and
            ``bundle.not-a-bundle``, ``bundle.surplus-bytes``, ``bundle.two-contents``, ``bundle.compressed``,
            ``bundle.encrypted``, ``bundle.link``, ``bundle.too-large``, ``bundle.extra-file``,
            ``bundle.missing-file``, ``bundle.wrong-size``.
        ConfigError: a trusted key cannot be read.
    """

    def __init__(self, path: Path, *, limits: BundleLimits = LIMITS, trust: TrustPolicy | None = None) -> None:
        self._file: BinaryIO | None = None
        try:
            self._file = path.open("rb")
            size = os.fstat(self._file.fileno()).st_size
            count = _check_end(self._file, path.name, size, limits)
            self._zip = zipfile.ZipFile(self._file)
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            self.close()
            raise _not_a_bundle(path, getattr(error, "strerror", None) or str(error)) from error
        except BundleRejected:
            self.close()
            raise
        try:
            self._members = {member.filename: member for member in self._zip.infolist()}
            _check_members(self._zip.infolist(), count, size)
            for member in self._members.values():
                _check_local(self._file, member)
            self.manifest_bytes = b"".join(self.chunks(MANIFEST_NAME, MAX_MANIFEST_BYTES))
            self.envelope_bytes: bytes | None = None
            self.envelope: Envelope | None = None
            if SIGNATURES_NAME in self._members:
                self._read_envelope()
            self.signers: tuple[SignerRef, ...] = ()
            if trust is not None:
                self.signers = trust.check(self.envelope, self.manifest_bytes, path.name)
            self.manifest = decode_manifest(self.manifest_bytes)
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
        try:
            with self._zip.open(member) as source:
                while chunk := source.read(_CHUNK):
                    yield chunk
        except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, RuntimeError) as error:
            raise BundleRejected(f"{path!r} cannot be read: {error}", code="bundle.wrong-hash") from error

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
        _check_size(len(files) + 2, total, limits)
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


def check_present(present: set[str], manifest: Manifest) -> None:
    """Exactly the files that the manifest names, the manifest itself, and perhaps its signatures.

    Raises:
        BundleRejected: ``bundle.extra-file``, ``bundle.missing-file``.
    """
    if extra := sorted(present - set(manifest.files) - {MANIFEST_NAME, SIGNATURES_NAME}):
        raise BundleRejected(f"the manifest does not name {_some(extra)}", code="bundle.extra-file")
    if missing := sorted(set(manifest.files) - present):
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
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
                for path, chunks in members:
                    with archive.open(_member(path), "w") as target:
                        for chunk in chunks:
                            target.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        if out.exists():
            shutil.copymode(out, partial)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def _content(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            yield chunk


def _declare(path: Path) -> FileDecl:
    return FileDecl(sha256=hash_file(path), bytes=path.stat().st_size)


def _member(path: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(path, _FIXED_TIME)
    member.create_system = 3  # Unix, wherever it is packed
    member.external_attr = _FILE_MODE << 16
    return member


def _check_size(files: int, total: int, limits: BundleLimits) -> None:
    if files > limits.max_files or total > limits.max_bytes:
        raise BundleRejected(
            f"{files} files of {total} bytes; a bundle has at most {limits.max_files} and {limits.max_bytes}",
            code="bundle.too-large",
        )


def _check_end(file: BinaryIO, name: str, size: int, limits: BundleLimits) -> int:
    """The end record, by hand: it bounds how much of the file the zip reader will hold in memory. How many members."""
    if size < _END or file.read(4) != b"PK\x03\x04":
        raise _not_a_bundle(name, "it does not begin as a zip file")
    file.seek(size - _END)
    fields = struct.unpack("<4s4H2LH", file.read(_END))
    magic, disk, first_disk, here, count, central_bytes, central_at, comment = fields
    if magic != b"PK\x05\x06" or (disk, first_disk, comment) != (0, 0, 0) or here != count:
        raise _not_a_bundle(name, "it does not end as a bundle does (truncated, or a comment or second disk)")
    _check_size(count, size, limits)
    if central_at + central_bytes + _END != size or central_bytes > count * (_CENTRAL + MAX_PATH_CHARS):
        raise BundleRejected(f"{name} has bytes that no member accounts for", code="bundle.surplus-bytes")
    return int(count)


def _check_members(members: list[zipfile.ZipInfo], count: int, size: int) -> None:
    """Names, kinds and places of all members; together they are every byte of the file."""
    if len(members) != count:
        raise BundleRejected(f"the archive says {count} files and has {len(members)}", code="bundle.not-a-bundle")
    if not members or members[0].filename != MANIFEST_NAME:
        raise BundleRejected(f"the first file of a bundle is {MANIFEST_NAME}", code="bundle.not-a-bundle")
    check_paths(member.orig_filename for member in members)
    at = 0
    for member in members:
        _check_member(member)
        if member.header_offset != at:
            raise BundleRejected(f"{member.filename!r} is not where it should be", code="bundle.surplus-bytes")
        at += _LOCAL + len(member.filename) + member.file_size
    if at + sum(_CENTRAL + len(member.filename) for member in members) + _END != size:
        raise BundleRejected("the archive has bytes that no member accounts for", code="bundle.surplus-bytes")


def _check_member(member: zipfile.ZipInfo) -> None:
    name = member.filename
    if member.flag_bits & 0x2041:
        raise BundleRejected(f"{name!r} is encrypted", code="bundle.encrypted")
    if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
        raise BundleRejected(
            f"{name!r} is compressed; the files of a bundle are stored",
            code="bundle.compressed",
            remedy="write bundles with edgeai, not with a zip program",
        )
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        raise BundleRejected(f"{name!r} is a link or a special file", code="bundle.link")


def _check_local(file: BinaryIO, member: zipfile.ZipInfo) -> None:
    """The header before a member says what the directory at the end says: there are tools that read only the one."""
    year, month, day, hour, minute, second = member.date_time
    fields = (
        *(b"PK\x03\x04", member.extract_version, member.flag_bits, member.compress_type),
        *(hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day),
        *(member.CRC, member.compress_size, member.file_size, len(member.filename), 0),
    )
    file.seek(member.header_offset)
    if file.read(_LOCAL + len(member.filename)) != struct.pack("<4s5H3L2H", *fields) + member.filename.encode("ascii"):
        raise BundleRejected(
            f"{member.filename!r} is described in two ways",
            code="bundle.two-contents",
            remedy="do not use it; if you packed it, pack it again with edgeai",
        )


def _not_a_bundle(path: Path | str, why: str) -> BundleRejected:
    return BundleRejected(f"{path} is not a bundle: {why}", code="bundle.not-a-bundle")


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(repr(path) for path in paths[:3]) + more


def _raise(error: OSError) -> None:
    raise error
