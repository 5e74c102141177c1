"""Certificates for tests: an authority that lives as long as the test run, and what it signs."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = datetime.timedelta(days=1)
_PURPOSES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its private key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates for ``localhost`` and 127.0.0.1; ``ca`` is its own certificate.

    All are as RFC 5280 wants them, since Python refuses others from 3.13 on: the authority says what its key is for,
    and whatever it signs says whose key signed it. Unless ``strict`` is off: then they are as many recipes make them.
    """

    def __init__(self, folder: Path, *, strict: bool = True) -> None:
        self._strict = strict
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"edgeai test authority {folder.name}")])
        builder = self._builder(self._name, self._key.public_key())
        constraints = x509.BasicConstraints(ca=True, path_length=0 if strict else None)
        builder = builder.add_extension(constraints, critical=True)
        if strict:
            builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
        certificate = builder.sign(self._key, hashes.SHA256())
        self.ca = self._write("ca.pem", certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        name: str,
        *,
        valid_days: int = 1,
        begins_days: int = -30,
        host: str = "localhost",
        purposes: Sequence[str] = ("server", "client"),
    ) -> Identity:
        """A certificate with common name ``name`` (``site/device``, say); expired when ``valid_days`` is negative.

        ``host`` is the name that it is for; with ``localhost`` it is for 127.0.0.1 too. ``purposes``: which sides of
        a connection may show it; of none, it does not say.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._certify(self._builder(subject, key.public_key(), valid_days, begins_days), host, purposes)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = name.replace("/", "-")
        return Identity(self._write(f"{file}.pem", certificate), self._write(f"{file}.key", private))

    def sign_request(self, request: Path, *, valid_days: int) -> Path:
        """A certificate for the key and the name of a request in PEM form."""
        asked = x509.load_pem_x509_csr(request.read_bytes())
        key = asked.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        certificate = self._certify(self._builder(asked.subject, key, valid_days), "localhost")
        return self._write(f"{request.stem}-{valid_days}.pem", certificate)

    def _certify(
        self, builder: x509.CertificateBuilder, host: str, purposes: Sequence[str] = ("server", "client")
    ) -> bytes:
        names: list[x509.GeneralName] = [x509.DNSName(host)]
        if host == "localhost":
            names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        if purposes:
            usage = x509.ExtendedKeyUsage([_PURPOSES[purpose] for purpose in purposes])
            builder = builder.add_extension(usage, critical=False)
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, valid_days: int = 1, begins_days: int = -30
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins_days * _DAY)
            .not_valid_after(now + valid_days * _DAY)
        )
        if not self._strict:
            return builder
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False).add_extension(
            signer, critical=False
        )

    def _write(self, name: str, content: bytes) -> Path:
        path = self._folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        return path


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
