"""A bundle's signature as OpenSSF Model Signing 1.0 has it, beside the bundle, for tools that know no edgeai.

A Sigstore bundle with a DSSE envelope around an in-toto statement: every file of the unpacked bundle by SHA-256, and
the SHA-256 of all these digests in their order as the subject. `signatures.json` is no part of it, so that edgeai's own
signatures may still be added. Written from what `model-signing` 1.1.1 writes and verifies; no cart reads it.
"""

from __future__ import annotations

import hashlib
import json
from base64 import standard_b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeai.api.errors import ConfigError
from edgeai.bundle.archive import Archive
from edgeai.bundle.keys import crypto_key
from edgeai.bundle.manifest import MANIFEST_NAME, SIGNATURES_NAME
from edgeai.bundle.signing import sign_payload

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

OMS_SUFFIX: Final = ".oms.sig"
_BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://model_signing/signature/v1.0"
_SCHEME: Final = "ecdsa-sha2-nistp256"


def sign_oms(path: Path, signer: Signer) -> bytes:
    """The detached signature of a bundle, after every byte of it was checked.

    Args:
        path: a ``.edgeai`` file.
        signer: an ECDSA key on P-256, the one kind that foreign tools verify with SHA-256.

    Raises:
        BundleRejected: the bundle is not sound.
        ConfigError: ``keys.not-p256``; ``keys.token``.
    """
    if getattr(signer.public_key, "scheme", "") != _SCHEME:
        raise ConfigError(
            "this key is none that OpenSSF Model Signing takes here: it must be ECDSA on P-256",
            code="keys.not-p256",
            remedy="make one with `edgeai keys new NAME --ecdsa`, or in a token",
        )
    with Archive(path) as archive:
        archive.verify()
        files = {name: declared.sha256 for name, declared in archive.manifest.files.items()}
        files[MANIFEST_NAME] = archive.digest.removeprefix("sha256:")
        payload = statement(f"{archive.manifest.name}-{archive.manifest.version}", files)
    signed = sign_payload(payload, _PAYLOAD_TYPE, signer)
    body = {
        "mediaType": _BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": _hint(signer)}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": standard_b64encode(payload).decode("ascii"),
            "payloadType": _PAYLOAD_TYPE,
            "signatures": [{"sig": signed.sig, "keyid": ""}],
        },
    }
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"


def statement(name: str, files: dict[str, str]) -> bytes:
    """What is signed; the same files give the same bytes.

    Args:
        name: of the model, for people.
        files: path below the unpacked bundle -> SHA-256 in hex.
    """
    ordered = sorted(files.items())
    root = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, digest in ordered)).hexdigest()
    body: dict[str, Any] = {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": root}}],
        "predicateType": PREDICATE,
        "predicate": {
            "resources": [{"algorithm": "sha256", "name": path, "digest": digest} for path, digest in ordered],
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [SIGNATURES_NAME],
            },
        },
    }
    return json.dumps(body, indent=2, sort_keys=True).encode()


def _hint(signer: Signer) -> str:
    """Which key, as `model-signing` says it: SHA-256 of the public half in PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public: Any = crypto_key(signer.public_key)  # type: ignore[arg-type]
    return hashlib.sha256(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
