"""TLS in words: which file cannot be used and why, and what was wrong with whose certificate."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_EXPIRED: Final = "has expired"
_RENEW: Final = "have it renewed by its authority, and look at the clocks"
_STRICT: Final = (
    "have it issued again with the extensions of RFC 5280 (Python 3.13 and later insist): an authority needs "
    "basicConstraints=critical,CA:TRUE, keyUsage=critical,keyCertSign and subjectKeyIdentifier, what it signs "
    "authorityKeyIdentifier; the integrator's guide has the commands"
)
_UNKNOWN: Final = "give each side the certificate of the authority that signed the other's (ca)"
_NAME: Final = "connect by a name that stands in its subjectAltName, or have it issued for this one"

_VERDICTS: Final[dict[int, tuple[str, str]]] = {
    9: ("is not valid yet", "look at the clocks of both machines"),
    10: (_EXPIRED, _RENEW),
    **dict.fromkeys((2, 18, 19, 20, 21), ("was signed by an unknown authority", _UNKNOWN)),
    7: ("has a signature that its authority did not make", _UNKNOWN),
    23: ("was revoked", "have another one issued"),
    26: ("is not meant for this use", "have it issued with the extendedKeyUsage of its side, or with none"),
    **dict.fromkeys((62, 64), ("is for another name", _NAME)),
    **dict.fromkeys((66, 67, 68), ("has a key or a digest that is too weak", "RSA of 3072 bits or P-256, and SHA-256")),
    **dict.fromkeys((24, 32, 37, 79, *range(80, 95)), ("does not keep to RFC 5280", _STRICT)),
}
"""What OpenSSL finds wrong with a certificate (x509_vfy.h) -> in words, and what to do."""

_ALERTS: Final[dict[str, tuple[str, str]]] = {
    "CERTIFICATE_EXPIRED": (_EXPIRED, _RENEW),
    "CERTIFICATE_REVOKED": ("was revoked", "have another one issued"),
    "UNKNOWN_CA": ("was signed by an authority that is unknown there", _UNKNOWN),
    "UNSUPPORTED_CERTIFICATE": ("is not meant for this use", "have it issued with the extendedKeyUsage of its side"),
    "CERTIFICATE_UNKNOWN": ("is not acceptable there", "the log of the other side says why"),
    "BAD_CERTIFICATE": ("is not acceptable there", "the log of the other side says why; look at its clock too"),
    "ACCESS_DENIED": ("is not let in there", "the log of the other side says why"),
}
"""How the other side refuses our certificate (RFC 8446, 6.2), as OpenSSL spells it -> in words, and what to do."""

_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
_NO_COMMON: Final = (
    "UNSUPPORTED_PROTOCOL",
    "PROTOCOL_VERSION",
    "NO_SHARED_CIPHER",
    "HANDSHAKE_FAILURE",
    "INSUFFICIENT_SECURITY",
    "VERSION_TOO_LOW",
)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why TLS does not come about, as the end of a sentence, and what to do."""

    text: str
    remedy: str


def cause_of_handshake(error: OSError, *, peer: str, own: str = "this device's") -> Cause:
    """What a handshake with ``peer`` ("the broker") ended of; its certificate is ours to judge, ours is its."""
    if isinstance(error, ssl.SSLCertVerificationError):
        words, remedy = _VERDICTS.get(error.verify_code, ("cannot be verified", _UNKNOWN))
        return Cause(f"{peer}'s certificate {words} ({_plain(error.verify_message)})", remedy)
    reason = str(getattr(error, "reason", "") or "")
    for alert, (words, remedy) in _ALERTS.items():
        if reason.endswith(f"ALERT_{alert}"):
            return Cause(f"{peer} says that {own} certificate {words} ({_plain(reason)})", remedy)
    if reason.endswith("CERTIFICATE_REQUIRED"):
        return Cause(f"{peer} wants a certificate and was shown none", "name certificate and key in the profile")
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return Cause(f"{peer} showed no certificate", f"give {peer} a certificate of the authority in ca")
    if reason.startswith(_NO_TLS):
        return Cause(f"{peer} does not speak TLS here ({_plain(reason)})", "look at port and address on both sides")
    if reason.endswith(_NO_COMMON):
        words = f"{peer} and this device have no version or cipher of TLS in common ({_plain(reason)})"
        return Cause(words, "both sides need TLS 1.2 or later with forward secrecy")
    if isinstance(error, ssl.SSLEOFError | ConnectionError) or "UNEXPECTED_EOF" in reason:
        words = f"{peer} hung up in the middle of the handshake ({error})"
        return Cause(words, "the log of the other side says why; it may know another authority, or speak no TLS there")
    return Cause(str(error), "check the certificates, keys, names and clocks of both sides")


def show(context: ssl.SSLContext, certificate: Path | str, key: Path | str | None) -> None:
    """Load what identifies this side. An encrypted key is refused: OpenSSL would ask whoever sits at a terminal.

    Raises:
        OSError: (``ssl.SSLError``) for `cause_of_files`.
    """
    context.load_cert_chain(str(certificate), str(key) if key else None, password=lambda: b"")


def cause_of_files(error: Exception, *, ca: Path | None, certificate: Path | None, key: Path | None) -> Cause:
    """Which of the profile's files cannot be used, and why; ``error`` is what came of loading them together."""
    for path, name in ((ca, "ca"), (certificate, "certificate"), (key, "key")):
        if path is not None and (cause := cause_of_file(Path(path), name)) is not None:
            return cause
    reason = str(getattr(error, "reason", "") or "")
    if "KEY_VALUES_MISMATCH" in reason or "KEY_TYPE_MISMATCH" in reason:
        return _mismatch(certificate, key)
    if any(word in reason for word in ("TOO_SMALL", "TOO_WEAK", "TOO_SHORT")):
        words = f"the certificate {certificate} has a key or a digest that is too weak ({_plain(reason)})"
        return Cause(words, "RSA of 3072 bits or P-256, and SHA-256")
    return Cause(f"{_plain(reason) or error} ({ca}, {certificate}, {key})", "PEM files, readable by the service")


def _mismatch(certificate: Path | None, key: Path | None) -> Cause:
    from edgeai.tls_kinds import position_of_key

    words = f"the key {key} does not match the certificate {certificate}"
    position = position_of_key(certificate, key) if certificate and key else None
    if position:
        words = f"{words}: it is that of certificate {position} in the file"
        return Cause(words, "put this side's own certificate first in the file, and those that signed it behind")
    return Cause(words, "install the key that the certificate was requested with, or request a new certificate")


def cause_of_file(path: Path, name: str) -> Cause | None:
    """What is wrong with one file by itself; ``name`` is its key in the profile: ca, certificate or key."""
    from cryptography import x509

    from edgeai.tls_kinds import instead_of

    try:
        content = path.read_bytes()
    except OSError as error:
        words = f"the file {path} ({name}) cannot be read: {error.strerror}"
        return Cause(words, "put it there, readable by the service's user")
    wanted = "a private key in PEM form" if name == "key" else "a certificate in PEM form"
    kind = b"PRIVATE KEY-----" if name == "key" else b"CERTIFICATE-----"
    if kind not in content or b"OPENSSH PRIVATE KEY" in content:
        inside, remedy = instead_of(content, path)
        words = f"the file {path} ({name}) is not {wanted}{inside and f': {inside}'}"
        return Cause(words, remedy or f"install {wanted} there")
    if name == "key":
        if b"ENCRYPTED" in content:
            words = f"the key {path} is encrypted, and a service has nobody to type its passphrase"
            return Cause(words, f"store it unencrypted, mode 0600: openssl pkey -in {path.name} -out NEW.key")
        return None
    try:
        x509.load_pem_x509_certificates(content)
    except ValueError:
        return Cause(f"the file {path} ({name}) is damaged: no certificate can be read from it", "install it again")
    return None


def _plain(reason: str) -> str:
    return reason.lower().replace("_", " ") if reason.isupper() or "_" in reason else reason


__all__ = ["Cause", "cause_of_file", "cause_of_files", "cause_of_handshake", "show"]
