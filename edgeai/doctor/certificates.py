"""The files of TLS: readable, in time, key and certificate a pair, and as RFC 5280 wants them."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, TypeAlias

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgeai.config import Tls
from edgeai.counted import counted
from edgeai.doctor.checks import Check
from edgeai.tls import cause_of_file, cause_of_files, show

WARNING_DAYS = 30
STRICT_FROM = (3, 13)
"""The Python from which ``ssl`` verifies strictly by default."""

_AGAIN = (
    "have it issued again with what RFC 5280 asks for (the integrator's guide has the commands); "
    "Python 3.13 and later insist"
)


Side: TypeAlias = Literal["client", "server"]

_PURPOSES: Final[dict[Side, x509.ObjectIdentifier]] = {
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
}


def certificates(where: str, tls: Tls | None, side: Side) -> Iterator[Check]:
    """Every file of one ``tls`` table; ``side`` is what this device is there."""
    if tls is None:
        return
    for name in ("ca", "certificate"):
        path: Path | None = getattr(tls, name)
        if path is not None:
            yield _certificate(f"{where}.{name}", path, None if name == "ca" else side)
    if tls.certificate is not None and tls.key is not None:
        yield from _pair(where, tls.certificate, tls.key)


def common_name(path: Path | None) -> str:
    """Of the first certificate in the file; empty when there is none."""
    if path is None:
        return ""
    try:
        subject = x509.load_pem_x509_certificates(path.read_bytes())[0].subject
    except (OSError, ValueError):
        return ""
    return ", ".join(str(item.value) for item in subject.get_attributes_for_oid(NameOID.COMMON_NAME))


def _certificate(what: str, path: Path, side: Side | None) -> Check:
    """``side``: whose certificate it is; ``None`` for authorities."""
    is_authority = side is None
    if (cause := cause_of_file(path, what.rpartition(".")[2])) is not None:
        return Check(what=what, verdict="fail", found=cause.text, remedy=cause.remedy)
    listed = x509.load_pem_x509_certificates(path.read_bytes())
    now = datetime.now(UTC)
    ends = min(item.not_valid_after_utc for item in listed)
    begins = max(item.not_valid_before_utc for item in listed)
    days = (ends - now).days
    name = f" ({common_name(path)})" if not is_authority and common_name(path) else ""
    shown = f"{path.name}{name}: valid until {ends:%Y-%m-%d}, {counted(days, 'day')}"
    if ends < now:
        shown = f"{path.name}{name}: it ended on {ends:%Y-%m-%d %H:%M} UTC"
        return Check(what=what, verdict="fail", found=shown, remedy="renew it: connections are refused")
    if begins > now:
        shown = f"{path.name}{name}: not valid before {begins:%Y-%m-%d %H:%M} UTC"
        return Check(what=what, verdict="fail", found=shown, remedy="look at this device's clock")
    if side is not None and (elsewhere := _misused(listed[0], side)) is not None:
        why, remedy = elsewhere
        # Whether a broker looks at a device's, its own check says.
        return Check(what=what, verdict="fail" if side == "server" else "warn", found=f"{shown}; {why}", remedy=remedy)
    lacks = [lack for item in listed for lack in _lacks(item, is_authority=is_authority)]
    if lacks:
        strict = is_authority and sys.version_info >= STRICT_FROM
        shown = f"{shown}; it lacks {', '.join(dict.fromkeys(lacks))}"
        return Check(what=what, verdict="fail" if strict else "warn", found=shown, remedy=_AGAIN)
    if days < WARNING_DAYS:
        return Check(what=what, verdict="warn", found=shown, remedy="renew it")
    return Check(what=what, verdict="ok", found=shown)


def _misused(leaf: x509.Certificate, side: Side) -> tuple[str, str] | None:
    """Whether its extended key usage leaves out what it is shown for: then the other side refuses it."""
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return None
    if ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage or _PURPOSES[side] in usage:
        return None
    if side == "server":
        remedy = "have it issued with extendedKeyUsage=serverAuth,clientAuth"
        return "it is not for a server (extendedKeyUsage without serverAuth): senders refuse it", remedy
    remedy = "have it issued with extendedKeyUsage=clientAuth"
    return "it is not for a client (extendedKeyUsage without clientAuth): a broker that asks for it refuses it", remedy


def _lacks(item: x509.Certificate, *, is_authority: bool) -> Iterator[str]:
    """What OpenSSL's strict verification asks for (X509_V_FLAG_X509_STRICT)."""
    extensions = {extension.oid: extension for extension in item.extensions}
    is_own = item.issuer == item.subject
    if not is_own and x509.AuthorityKeyIdentifier.oid not in extensions:
        yield "authorityKeyIdentifier"
    if not is_authority:
        return
    constraints = extensions.get(x509.BasicConstraints.oid)
    if constraints is None or not constraints.value.ca or not constraints.critical:
        yield "basicConstraints=critical,CA:TRUE"
    usage = extensions.get(x509.KeyUsage.oid)
    if usage is None or not usage.value.key_cert_sign:
        yield "keyUsage=keyCertSign"
    if x509.SubjectKeyIdentifier.oid not in extensions:
        yield "subjectKeyIdentifier"


def _pair(where: str, certificate: Path, key: Path) -> Iterator[Check]:
    what = f"{where}.key"
    if cause_of_file(certificate, "certificate") is not None:
        return  # said of the certificate; whether they are a pair nobody can know
    try:
        show(ssl.create_default_context(), certificate, key)
    except (OSError, ssl.SSLError, ValueError) as error:
        cause = cause_of_files(error, ca=None, certificate=certificate, key=key)
        yield Check(what=what, verdict="fail", found=cause.text, remedy=cause.remedy)
        return
    if key.stat().st_mode & 0o077:
        shown = f"{key} can be read by others"
        yield Check(what=what, verdict="warn", found=shown, remedy=f"chmod 600 {key}")
    else:
        yield Check(what=what, verdict="ok", found=f"{key.name}, that of {certificate.name}")
