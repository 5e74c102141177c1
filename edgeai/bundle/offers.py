"""What a repository offers of a bundle, and the files of it there: ``models/<name>/<release>.json`` and ``blobs/``.

An **offer** is the bundle's manifest with its signatures, as ``signatures.json`` has them, and for each content of
its files how that lies in the repository, packed: length and SHA-256. A **blob** is one content as a zlib stream
(RFC 1950), named by the SHA-256 of what is in it, so that versions and models share it. Both sides of an update read
this: who offers and who fetches (ADR 0054).
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from edgeai.api.errors import BundleRejected
from edgeai.bundle.archive import wrong_hash
from edgeai.bundle.envelope import MAX_ENVELOPE_BYTES, Envelope, decode_envelope, payload_of
from edgeai.bundle.manifest import FileDecl, Manifest, decode_manifest, digest_of
from edgeai.bundle.parts import Count, Record, Sha256
from edgeai.bundle.strict_json import read_object
from edgeai.bundle.zip_form import CHUNK, LIMITS, check_size, drained

if TYPE_CHECKING:
    from edgeai.api.results import SignerRef
    from edgeai.bundle.trust import TrustPolicy

OFFER_SCHEMA: Final = 1
MAX_OFFER_BYTES: Final = MAX_ENVELOPE_BYTES + LIMITS.max_files * 256
_LEVEL: Final = 9


class PackedDecl(Record, frozen=True, kw_only=True):
    """One blob, as it lies in the repository."""

    sha256: Sha256
    bytes: Count


class _Body(Record, frozen=True, kw_only=True):
    schema: int = OFFER_SCHEMA
    envelope: msgspec.Raw
    packed: dict[Sha256, PackedDecl]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A bundle without its files.

    Attributes:
        packed: by the SHA-256 of a content.
        signers: the trusted keys that signed it; none when nobody asked.
    """

    manifest: Manifest
    manifest_bytes: bytes
    envelope: Envelope
    envelope_bytes: bytes
    digest: str
    packed: Mapping[str, PackedDecl]
    signers: tuple[SignerRef, ...] = ()


def offer_path(name: str, release: int) -> str:
    """Where the offer of a release is, as the path of a TUF target."""
    return f"models/{name}/{release}.json"


def blob_path(sha256: str) -> str:
    """Where a content lies, below the repository's folder."""
    return f"blobs/sha256/{sha256}"


def encode_offer(envelope: bytes, packed: Mapping[str, PackedDecl]) -> bytes:
    """The bytes of an offer; the same gives the same bytes."""
    body = _Body(envelope=msgspec.Raw(envelope), packed=dict(sorted(packed.items())))
    return msgspec.json.encode(body, order="sorted")


def decode_offer(data: bytes, trust: TrustPolicy | None = None) -> Offer:
    """Read an offer: its signatures are held to the trusted keys before its manifest is parsed.

    Raises:
        BundleRejected: ``bundle.bad-offer``, ``bundle.too-large``; the codes of ``decode_envelope``,
            ``TrustPolicy.check``, ``Signatures.by`` and ``decode_manifest``.
        ConfigError: a trusted key cannot be read.
    """
    if len(data) > MAX_OFFER_BYTES:
        raise BundleRejected(
            f"the offer has {len(data)} bytes, at most {MAX_OFFER_BYTES} are read", code="bundle.too-large"
        )
    try:
        read_object(data)
        body = msgspec.json.decode(data, type=_Body, strict=True)
    except (ValueError, RecursionError) as error:
        raise _bad(str(error)) from error
    if body.schema != OFFER_SCHEMA:
        raise _bad(f"it has schema {body.schema}, and schema {OFFER_SCHEMA} is read")
    envelope_bytes = bytes(body.envelope)
    manifest_bytes = payload_of(envelope_bytes)
    envelope = decode_envelope(envelope_bytes, manifest_bytes)
    signed = trust.check(envelope, manifest_bytes, "the offer") if trust is not None else None
    manifest = decode_manifest(manifest_bytes)
    _check_packed(manifest, body.packed)
    return Offer(
        manifest=manifest,
        manifest_bytes=manifest_bytes,
        envelope=envelope,
        envelope_bytes=envelope_bytes,
        digest=digest_of(manifest_bytes),
        packed=body.packed,
        signers=signed.by(manifest.name) if signed is not None else (),
    )


def most_packed(size: int) -> int:
    """No content of so many bytes is longer when it is packed: what a stream of stored blocks needs, and some."""
    return size + size // 1000 + 64


def pack_blob(content: Iterable[bytes], out: Path) -> PackedDecl:
    """Write a content as a blob; it is on the disk when this returns."""
    deflate, seen, length = zlib.compressobj(_LEVEL), hashlib.sha256(), 0
    with out.open("wb") as sink:
        for piece in _deflated(deflate, content):
            seen.update(piece)
            length += len(piece)
            sink.write(piece)
        sink.flush()
        os.fsync(sink.fileno())
    return PackedDecl(sha256=seen.hexdigest(), bytes=length)


def packed_as(path: Path) -> PackedDecl:
    """What a blob on the disk is, whatever is in it."""
    with path.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
        return PackedDecl(sha256=digest, bytes=source.tell())


def unpacked(blob: Path, packed: PackedDecl, declared: FileDecl, name: str) -> Iterator[bytes]:
    """A blob's content in pieces, held to both of its digests: no byte is inflated of a blob that is not as offered.

    What was given before an error is the caller's to throw away. No more than the declared bytes are ever given.

    Args:
        blob: the file.
        packed: what the offer says of it.
        declared: what the manifest says of its content.
        name: of the file in the bundle, for messages.

    Raises:
        BundleRejected: ``bundle.wrong-hash``, ``bundle.wrong-size``, ``bundle.surplus-bytes``.
    """
    if blob.stat().st_size != packed.bytes:
        raise _wrong_size(name, blob.stat().st_size, packed.bytes, "packed, the offer")
    if packed_as(blob) != packed:
        raise wrong_hash(name)
    seen, left = hashlib.sha256(), declared.bytes
    for piece in _inflated(blob, name, declared.bytes):
        left -= len(piece)
        seen.update(piece)
        yield piece
    if left:
        raise _wrong_size(name, declared.bytes - left, declared.bytes, "the manifest")
    if seen.hexdigest() != declared.sha256:
        raise wrong_hash(name)


def _inflated(blob: Path, name: str, most: int) -> Iterator[bytes]:
    inflate, given = zlib.decompressobj(), 0
    with blob.open("rb") as source:
        packed = iter(lambda: b"" if inflate.eof else source.read(CHUNK), b"")
        try:
            for piece in drained(inflate, packed):
                given += len(piece)
                if given > most:
                    raise _wrong_size(name, given, most, "the manifest", more=True)
                yield piece
        except zlib.error as error:
            raise wrong_hash(name) from error
        if not inflate.eof:
            raise wrong_hash(name)
        if inflate.unused_data or source.read(1):
            raise BundleRejected(f"{name!r} has bytes behind the end of its blob", code="bundle.surplus-bytes")


def _deflated(deflate: zlib._Compress, content: Iterable[bytes]) -> Iterator[bytes]:
    for piece in content:
        yield deflate.compress(piece)
    yield deflate.flush()


def _check_packed(manifest: Manifest, packed: Mapping[str, PackedDecl]) -> None:
    """Every content of the bundle, no other, and none longer than packing can make it."""
    sizes = {declared.sha256: declared.bytes for declared in manifest.files.values()}
    if set(packed) != set(sizes):
        raise _bad("it does not say of exactly the manifest's files how they are packed")
    if any(packed[each].bytes > most_packed(size) for each, size in sizes.items()):
        raise _bad("a blob is longer than its content can be when it is packed")
    check_size(len(manifest.files), sum(declared.bytes for declared in manifest.files.values()), LIMITS)


def _wrong_size(name: str, got: int, want: int, whose: str, *, more: bool = False) -> BundleRejected:
    least = " or more" if more else ""
    return BundleRejected(f"{name!r} has {got} bytes{least}, {whose} says {want}", code="bundle.wrong-size")


def _bad(why: str) -> BundleRejected:
    return BundleRejected(
        f"the offer of a bundle cannot be read: {why}",
        code="bundle.bad-offer",
        remedy="fetch it again; if it happens twice, do not use it and tell who runs the repository",
    )
