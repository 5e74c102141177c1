"""The test vectors of OpenSSF Model Signing, held against what edgeai signs; README.md says how it is run."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from cryptography.x509 import load_der_x509_certificate
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signature, SSlibKey

from edgeai.bundle.oms import PREDICATE, statement

STATEMENTS = ("tests/_signing/testdata/signing/TestPayload", "tests/signing/testdata/signing/TestPayload")
SIGNED = "scripts/tests"
LEFT_OUT = "ignore-me"
"""What their scripts tell the tool to pass over, and the signature does not say."""
KEY = "scripts/tests/keys/certificate/signing-key-pub.pem"


def main(checkout: Path) -> int:
    """0 where all that is of this form is the same; each that is of another form is named."""
    ends = [*of_statements(checkout), *of_signed(checkout)]
    for name, end in ends:
        print(f"{end:<24} {name}")
    wrong = [name for name, end in ends if end == "DIFFERS"]
    print(f"{sum(end == 'same' for _, end in ends)} the same, {len(wrong)} differ, of {len(ends)}")
    return 1 if wrong or not ends else 0


def of_statements(checkout: Path) -> Iterator[tuple[str, str]]:
    """What is to be signed of models whose files are known by their digests."""
    for folder in filter(Path.is_dir, (checkout / path for path in STATEMENTS)):
        for path in sorted(folder.iterdir()):
            theirs = json.loads(path.read_text())
            yield f"statement of {path.name}", _compared(theirs, _resources(theirs))


def of_signed(checkout: Path) -> Iterator[tuple[str, str]]:
    """Models with signatures: files, statement and signature."""
    for path in sorted((checkout / SIGNED).glob("v*/model.sig")):
        bundle, name = json.loads(path.read_text()), f"signed {path.parent.name}"
        envelope = bundle.get("dsseEnvelope")
        if envelope is None:
            yield name, "no DSSE envelope"
            continue
        payload = base64.b64decode(envelope["payload"])
        theirs = json.loads(payload)
        end = _compared(theirs, _files(path.parent, theirs))
        key = _key(bundle["verificationMaterial"], checkout / KEY)
        if end == "same" and key is not None and not _verifies(envelope, payload, key):
            end = "DIFFERS"
        yield name, end if key is not None else f"{end}, key not known here"


def _compared(theirs: Mapping[str, Any], files: Mapping[str, str]) -> str:
    if theirs["predicateType"] != PREDICATE:
        return "older form"
    how = theirs["predicate"]["serialization"]
    if (how["method"], how["hash_type"]) != ("files", "sha256"):
        return f"by {how['method']}, {how['hash_type']}"
    if any(not item["name"] or item["name"] == "." for item in theirs["predicate"]["resources"]):
        return "one file, no folder"
    ours = json.loads(statement(theirs["subject"][0]["name"], dict(files)))
    for body in (ours, theirs):  # links are allowed or not, and paths left out, by whoever signs
        for word in ("allow_symlinks", "ignore_paths"):
            body["predicate"]["serialization"].pop(word, None)
    return "same" if ours == theirs else "DIFFERS"


def _resources(theirs: Mapping[str, Any]) -> dict[str, str]:
    return {item["name"]: item["digest"] for item in theirs["predicate"]["resources"]}


def _files(folder: Path, theirs: Mapping[str, Any]) -> dict[str, str]:
    left_out = {"model.sig", LEFT_OUT, *theirs["predicate"].get("serialization", {}).get("ignore_paths", ())}
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).as_posix() not in left_out
    }


def _key(material: Mapping[str, Any], pem: Path) -> SSlibKey | None:
    chain = material.get("x509CertificateChain", {}).get("certificates", ())
    if chain:
        public = load_der_x509_certificate(base64.b64decode(chain[0]["rawBytes"])).public_key()
    elif "publicKey" in material and pem.is_file():
        public = load_pem_public_key(pem.read_bytes())
        plain = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        if material["publicKey"].get("hint") not in (None, hashlib.sha256(plain).hexdigest()):
            return None
    else:
        return None
    return SSlibKey.from_crypto(public)


def _verifies(envelope: Mapping[str, Any], payload: bytes, key: SSlibKey) -> bool:
    signed = Envelope(payload, envelope["payloadType"], {}).pae()
    raw = base64.b64decode(envelope["signatures"][0]["sig"])
    try:
        key.verify_signature(Signature(key.keyid, raw.hex()), signed)
    except UnverifiedSignatureError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
