"""What a file holds that was taken for a certificate or a key, and how to make of it what is wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_MARKS: Final[tuple[tuple[bytes, str, str], ...]] = (
    (
        b"CERTIFICATE REQUEST-----",
        "it holds a request for a certificate (CSR)",
        "send it to the authority, and install the certificate that comes back",
    ),
    (b"OPENSSH PRIVATE KEY", "it holds a key in OpenSSH's form", "ssh-keygen -p -m PKCS8 -f {name} makes PEM of it"),
    (b"PRIVATE KEY-----", "it holds a private key", ""),
    (b"PUBLIC KEY-----", "it holds a public key alone", ""),
    (b"BEGIN PKCS7", "it holds a PKCS#7 collection", "openssl pkcs7 -print_certs -in {name} -out NEW.pem"),
    (b"X509 CRL-----", "it holds a revocation list", ""),
    (b"CERTIFICATE-----", "it holds a certificate", ""),
)
"""Between the dashes of PEM -> in words, and what to do; the first that fits."""

_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_PKCS7: Final = bytes.fromhex("06092a864886f70d010702")
_PKCS12: Final = bytes.fromhex("020103")


def instead_of(content: bytes, path: Path) -> tuple[str, str]:
    """What is in the file, as the end of a sentence, and what to do; both may be empty."""
    if not content.strip():
        return "it is empty", ""
    for mark, inside, remedy in _MARKS:
        if mark in content:
            return inside, remedy.format(name=path.name)
    if content.startswith(_UTF16):
        return "it is text in UTF-16", f"iconv -f UTF-16 -t ASCII {path.name} > NEW.pem makes PEM of it"
    if content[:1] == b"\x30":
        return _binary(content, path.name)
    return "", ""


def _binary(content: bytes, name: str) -> tuple[str, str]:
    """ASN.1, not in PEM."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    if _PKCS12 in content[2:9]:
        make = f"openssl pkcs12 -in {name} -nokeys -out NEW.pem, and -nocerts -nodes -out NEW.key for its key"
        return "it is PKCS#12 (.p12, .pfx)", make
    if _PKCS7 in content[:24]:
        return "it is PKCS#7 in DER form", f"openssl pkcs7 -inform DER -print_certs -in {name} -out NEW.pem"
    try:
        x509.load_der_x509_certificate(content)
    except ValueError:
        pass
    else:
        return "it holds a certificate in DER form", f"openssl x509 -inform DER -in {name} -out NEW.pem"
    try:
        load_der_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "it is in DER form", "have it in PEM form: text that begins with -----BEGIN"
    return "it holds a private key in DER form", f"openssl pkey -inform DER -in {name} -out NEW.key"


def position_of_key(certificate: Path, key: Path) -> int | None:
    """Which certificate of a file a key belongs to, from 1 on; ``None`` for none, or when that cannot be known."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        own = load_pem_private_key(Path(key).read_bytes(), None).public_key()
        listed = x509.load_pem_x509_certificates(Path(certificate).read_bytes())
        keys = [item.public_key() for item in listed]
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return next((number for number, item in enumerate(keys, 1) if item == own), None)


__all__ = ["instead_of", "position_of_key"]
