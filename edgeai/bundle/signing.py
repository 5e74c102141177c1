"""Sign a bundle's manifest, with a key in a file or in a token.

Building and signing are separate acts: this reads a finished bundle, checks every byte of it, and writes it again with
one signature more. The manifest and with it the bundle's digest stay as they were.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeai.api.errors import ConfigError
from edgeai.bundle.archive import Archive
from edgeai.bundle.envelope import PAYLOAD_TYPE, SignatureDecl, encode_envelope
from edgeai.bundle.keys import MAX_KEY_BYTES, PublicKey, crypto_key, public_pem
from edgeai.bundle.pkcs11 import SCHEME as PKCS11
from edgeai.bundle.pkcs11 import token_errors, token_signer
from edgeai.bundle.trust import check_signatures

if TYPE_CHECKING:
    from securesystemslib.signer import Signer, SSlibKey

PIN: Final = "PIN of the token"

Ask = Callable[[str], str]
"""Asked for a passphrase or PIN, by a word that says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What ``sign_bundle`` did: ``key_ids`` are of all signatures now; not ``added`` when this one was there."""

    name: str
    version: str
    digest: str
    key_id: str
    key_ids: tuple[str, ...]
    added: bool


def signer_of(key: str, ask: Ask) -> Signer:
    """A private key: a PEM file (PKCS#8), or a ``pkcs11:`` URI (RFC 7512).

    Raises:
        ConfigError: ``keys.unreadable``, whatever ``ask`` raises, and the codes of ``token_signer``.
    """
    if key.startswith(PKCS11):
        return token_signer(key, lambda secret: ask(PIN))
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    try:
        with Path(key).open("rb") as file:
            data = file.read(MAX_KEY_BYTES)
    except OSError as error:
        raise _unreadable(key, error.strerror or str(error)) from error
    try:
        try:
            private = load_pem_private_key(data, None)
        except TypeError:  # how cryptography says that a passphrase is missing
            private = load_pem_private_key(data, ask(f"passphrase of {key}").encode())
        return CryptoSigner(private)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _unreadable(key, str(error).splitlines()[0]) from error


def public_key_of(signer: Signer, comment: str) -> bytes:
    """The public half as a PEM file, for the trust folders."""
    return public_pem(crypto_key(_key_of(signer)), comment)


def sign_bundle(path: Path, signer: Signer) -> Signed:
    """Add this key's signature to a bundle, in place; the signatures of other keys stay.

    The file is replaced at once and whole, after every byte of the bundle was checked. A bundle that bears a good
    signature of this key is left as it is.

    Raises:
        BundleRejected: the bundle is not sound.
        ConfigError: ``keys.token``, ``keys.unwritable``.
    """
    path = path.resolve()
    key = _key_of(signer)
    with Archive(path) as archive:
        archive.verify()
        present = archive.envelope.signatures if archive.envelope else ()
        added = not (archive.envelope and _is_good(archive, key))
        if added:
            others = [item for item in present if item.keyid != key.keyid]
            present = (*others, sign_payload(archive.manifest_bytes, PAYLOAD_TYPE, signer))
            try:
                archive.write_signed(path, encode_envelope(archive.manifest_bytes, present))
            except OSError as error:
                raise ConfigError(
                    f"{path} cannot be written: {error.strerror}",
                    code="keys.unwritable",
                    remedy="free space there, or sign a copy elsewhere; the bundle is as it was",
                ) from error
        return Signed(
            name=archive.manifest.name,
            version=archive.manifest.version,
            digest=archive.digest,
            key_id=key.keyid,
            key_ids=tuple(sorted(item.keyid for item in present)),
            added=added,
        )


def is_open_to_others(key: str) -> bool:
    """Whether a key's file can be read by more than its owner."""
    return not key.startswith(PKCS11) and bool(Path(key).stat().st_mode & 0o077)


def sign_payload(payload: bytes, kind: str, signer: Signer) -> SignatureDecl:
    """A DSSE signature of these bytes as a payload of this type.

    Raises:
        ConfigError: ``keys.token``.
    """
    from securesystemslib.dsse import Envelope as Dsse

    with token_errors():
        made = Dsse(payload, kind, {}).sign(signer)
    raw = bytes.fromhex(made.signature)
    return SignatureDecl(keyid=made.keyid, sig=base64.standard_b64encode(raw).decode("ascii"))


def _is_good(archive: Archive, key: SSlibKey) -> bool:
    assert archive.envelope is not None
    known = PublicKey(key_id=key.keyid, name="", comment="", path=Path(), key=key)
    seen = check_signatures(archive.envelope, archive.manifest_bytes, [known])
    return any(item.verdict == "good" for item in seen)


def _key_of(signer: Signer) -> SSlibKey:
    from securesystemslib.signer import SSlibKey

    key = signer.public_key
    assert isinstance(key, SSlibKey)
    return key


def _unreadable(key: str, why: str) -> ConfigError:
    return ConfigError(
        f"{key} cannot be used to sign: {why}",
        code="keys.unreadable",
        remedy="name a private key in PEM, as `edgeai keys new` writes it (and its right passphrase), or a pkcs11: URI",
    )
