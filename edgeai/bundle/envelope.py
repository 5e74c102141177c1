"""``signatures.json``: the DSSE envelope of a manifest, read and written without any cryptography.

A whole envelope with the manifest as its payload, so that any tool that knows DSSE can check it; the payload must be
the bytes of ``manifest.json``, and nothing is ever read from it. The envelope is no part of the bundle's digest:
signing does not make another model. Source: DSSE 1.0.2, https://github.com/secure-systems-lab/dsse, ``envelope.md``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Annotated, Final, TypeAlias

import msgspec

from edgeai.api.errors import BundleRejected
from edgeai.bundle.manifest import MAX_MANIFEST_BYTES
from edgeai.bundle.parts import Record
from edgeai.bundle.strict_json import read_object

PAYLOAD_TYPE: Final = "application/vnd.edgeai.manifest+json"
MAX_SIGNATURES: Final = 64
MAX_ENVELOPE_BYTES: Final = 4 * (MAX_MANIFEST_BYTES + 2) // 3 + MAX_SIGNATURES * 16 * 1024

KeyId: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Base64: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9+/]+={0,2}\Z")]


class SignatureDecl(Record, frozen=True, kw_only=True):
    """One signature. ``keyid`` says which key to try; that it is this key's is for the key to find."""

    keyid: KeyId
    sig: Annotated[Base64, msgspec.Meta(max_length=12_000)]

    @property
    def hex(self) -> str:
        """The signature's bytes, as hexadecimal digits."""
        return _decoded(self.sig).hex()


class Envelope(Record, frozen=True, kw_only=True):
    """Exactly what stands in ``signatures.json``."""

    payload: Base64
    payload_type: str = msgspec.field(name="payloadType")
    signatures: Annotated[tuple[SignatureDecl, ...], msgspec.Meta(min_length=1, max_length=MAX_SIGNATURES)]


def decode_envelope(data: bytes, manifest: bytes) -> Envelope:
    """Read the bytes of ``signatures.json`` and hold them to those of ``manifest.json``.

    This says nothing about whether a signature is good: that takes keys.

    Raises:
        BundleRejected: ``bundle.bad-signatures-file``, ``bundle.too-large``.
    """
    if len(data) > MAX_ENVELOPE_BYTES:
        raise BundleRejected(
            f"the signatures have {len(data)} bytes, at most {MAX_ENVELOPE_BYTES} are read", code="bundle.too-large"
        )
    try:
        read_object(data)
        envelope = msgspec.json.decode(data, type=Envelope, strict=True)
        payload = _decoded(envelope.payload)
        ids = [signature.keyid for signature in envelope.signatures if signature.hex]
    except (ValueError, RecursionError) as error:  # msgspec's errors and binascii's are ValueErrors
        raise _bad(str(error)) from error
    if envelope.payload_type != PAYLOAD_TYPE:
        raise _bad(f"they are of a {envelope.payload_type[:100]!r}, not of a {PAYLOAD_TYPE}")
    if payload != manifest:
        raise _bad("they are of another manifest than the one beside them")
    if len(set(ids)) != len(ids):
        raise _bad("a key signs twice")
    return envelope


def payload_of(data: bytes) -> bytes:
    """The manifest that an envelope holds; ``decode_envelope`` then holds the envelope to its rules.

    Raises:
        BundleRejected: ``bundle.bad-signatures-file``.
    """
    try:
        return _decoded(msgspec.json.decode(data, type=Envelope, strict=True).payload)
    except (ValueError, RecursionError) as error:
        raise _bad(str(error)) from error


def encode_envelope(manifest: bytes, signatures: Iterable[SignatureDecl]) -> bytes:
    """The bytes of ``signatures.json``: the same manifest and signatures, in whatever order, give the same bytes."""
    return msgspec.json.encode(
        Envelope(
            payload=base64.standard_b64encode(manifest).decode("ascii"),
            payload_type=PAYLOAD_TYPE,
            signatures=tuple(sorted(signatures, key=lambda signature: signature.keyid)),
        ),
        order="sorted",
    )


def _decoded(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error
    if base64.standard_b64encode(data).decode("ascii") != text:
        raise ValueError("base64 with bits behind its end (RFC 4648 section 3.5)")
    return data


def _bad(why: str) -> BundleRejected:
    return BundleRejected(
        f"the bundle's signatures cannot be read: {why}",
        code="bundle.bad-signatures-file",
        remedy="fetch the bundle again; if it happens twice, do not use it and tell who signed it",
    )
