"""A file that is no certificate, or no key: what it is instead is said, and how to make of it what is wanted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edgeai.api.errors import ConfigError, EdgeaiError, MqttError
from edgeai.config import Tls
from edgeai.dicom.scp import server_tls
from edgeai.doctor.certificates import Side, certificates
from edgeai.doctor.checks import Check
from edgeai.mqtt import tls_context
from edgeai.testing.certificates import Authority, Identity


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=600)


def _request(one: Identity, made: Path) -> None:
    openssl("req", "-new", "-key", one.key, "-subj", "/CN=x", "-out", made)


def _der(one: Identity, made: Path) -> None:
    openssl("x509", "-in", one.certificate, "-outform", "DER", "-out", made)


def _pkcs12(one: Identity, made: Path) -> None:
    openssl("pkcs12", "-export", "-in", one.certificate, "-inkey", one.key, "-passout", "pass:x", "-out", made)


def _pkcs7(one: Identity, made: Path) -> None:
    openssl("crl2pkcs7", "-nocrl", "-certfile", one.certificate, "-out", made)


def _pkcs7_der(one: Identity, made: Path) -> None:
    openssl("crl2pkcs7", "-nocrl", "-certfile", one.certificate, "-outform", "DER", "-out", made)


def _public(one: Identity, made: Path) -> None:
    openssl("pkey", "-in", one.key, "-pubout", "-out", made)


def _utf16(one: Identity, made: Path) -> None:
    made.write_text(one.certificate.read_text(), encoding="utf-16")


def _empty(_one: Identity, made: Path) -> None:
    made.write_bytes(b"\n")


def _key(one: Identity, made: Path) -> None:
    made.write_bytes(one.key.read_bytes())


CERTIFICATES = [
    (_request, "it holds a request for a certificate (CSR)", "the authority"),
    (_der, "it holds a certificate in DER form", "openssl x509 -inform DER"),
    (_pkcs12, "it is PKCS#12", "openssl pkcs12"),
    (_pkcs7, "it holds a PKCS#7 collection", "openssl pkcs7 -print_certs"),
    (_pkcs7_der, "it is PKCS#7 in DER form", "openssl pkcs7 -inform DER"),
    (_public, "it holds a public key alone", "a certificate in PEM form"),
    (_utf16, "it is text in UTF-16", "iconv"),
    (_empty, "it is empty", "a certificate in PEM form"),
    (_key, "it holds a private key", "a certificate in PEM form"),
]


def refusals(ca: Path, certificate: Path, key: Path) -> list[EdgeaiError]:
    """By the broker's side and by the DICOM port's."""
    with pytest.raises(MqttError) as of_mqtt:
        tls_context(ca, certificate, key)
    with pytest.raises(ConfigError) as of_dicom:
        server_tls(certificate, key, ca)
    return [of_mqtt.value, of_dicom.value]


@pytest.mark.parametrize(("make", "inside", "remedy"), CERTIFICATES)
def test_what_stands_in_place_of_a_certificate(
    authority: Authority, tmp_path: Path, make: Callable[[Identity, Path], None], inside: str, remedy: str
) -> None:
    one, made = authority.issue("one"), tmp_path / "made.file"
    make(one, made)
    for error in refusals(authority.ca, made, one.key):
        assert f"the file {made} (certificate) is not a certificate in PEM form: {inside}" in str(error)
        assert remedy in (error.remedy or "")


def _key_der(one: Identity, made: Path) -> None:
    openssl("pkey", "-in", one.key, "-outform", "DER", "-out", made)


def _openssh(_one: Identity, made: Path) -> None:
    form = (Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    made.write_bytes(Ed25519PrivateKey.generate().private_bytes(*form))


def _certificate(one: Identity, made: Path) -> None:
    made.write_bytes(one.certificate.read_bytes())


@pytest.mark.parametrize(
    ("make", "inside", "remedy"),
    [
        (_certificate, "it holds a certificate", "a private key in PEM form"),
        (_request, "it holds a request for a certificate (CSR)", "the authority"),
        (_key_der, "it holds a private key in DER form", "openssl pkey -inform DER"),
        (_pkcs12, "it is PKCS#12", "-nocerts"),
        (_openssh, "it holds a key in OpenSSH's form", "ssh-keygen -p"),
        (_public, "it holds a public key alone", "a private key in PEM form"),
    ],
)
def test_what_stands_in_place_of_a_key(
    authority: Authority, tmp_path: Path, make: Callable[[Identity, Path], None], inside: str, remedy: str
) -> None:
    one, made = authority.issue("one"), tmp_path / "made.file"
    make(one, made)
    for error in refusals(authority.ca, one.certificate, made):
        assert f"the file {made} (key) is not a private key in PEM form: {inside}" in str(error)
        assert remedy in (error.remedy or "")


@pytest.mark.slow
def test_the_commands_that_a_refusal_names_make_what_is_wanted(authority: Authority, tmp_path: Path) -> None:
    """As a person would type them, in the file's folder."""
    one = authority.issue("one")
    for make, extra in ((_der, ""), (_pkcs7, ""), (_pkcs7_der, ""), (_pkcs12, " -passin pass:x")):
        made = tmp_path / f"made{make.__name__}"
        make(one, made)
        remedy = refusals(authority.ca, made, one.key)[0].remedy or ""
        command = remedy.partition(",")[0].partition(" makes")[0] + extra
        subprocess.run(["bash", "-ec", command], cwd=tmp_path, check=True, capture_output=True, timeout=600)
        tls_context(authority.ca, tmp_path / "NEW.pem", one.key)
        (tmp_path / "NEW.pem").unlink()


def test_a_key_of_a_later_certificate_in_the_file(authority: Authority, tmp_path: Path) -> None:
    """The authority first and the own one behind it: OpenSSL takes the first for this side's own."""
    one, chain = authority.issue("one"), tmp_path / "chain.pem"
    chain.write_bytes(authority.ca.read_bytes() + one.certificate.read_bytes())
    for error in refusals(authority.ca, chain, one.key):
        assert "it is that of certificate 2 in the file" in str(error)
        assert "first in the file" in (error.remedy or "")
    chain.write_bytes(one.certificate.read_bytes() + authority.ca.read_bytes())
    server_tls(chain, one.key, authority.ca)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["tls_context(ca, certificate, key)", "server_tls(certificate, key, ca)"])
def test_an_encrypted_key_is_refused_and_nobody_is_asked(authority: Authority, tmp_path: Path, side: str) -> None:
    """A person at a terminal who types the passphrase would see a check pass that the service fails."""
    one, locked = authority.issue("one"), tmp_path / "locked.key"
    openssl("pkcs8", "-topk8", "-in", one.key, "-passout", "pass:x", "-out", locked)
    code = (
        "import sys; from pathlib import Path; from edgeai.mqtt import tls_context;"
        "from edgeai.dicom.scp import server_tls; ca, certificate, key = map(Path, sys.argv[1:]);"
        f"{side}"
    )
    command = [sys.executable, "-c", code, authority.ca, one.certificate, locked]
    done = subprocess.run(command, input="x\n", capture_output=True, text=True, timeout=600, start_new_session=True)
    assert done.returncode != 0, "the passphrase was taken"
    assert "is encrypted" in done.stderr
    assert "pass phrase" not in (done.stdout + done.stderr).lower()


# --- doctor ---------------------------------------------------------------------------------------


def checks(authority: Authority, certificate: Path, key: Path, side: Side = "server") -> dict[str, Check]:
    tls = Tls(ca=authority.ca, certificate=certificate, key=key)
    return {check.what: check for check in certificates("t", tls, side)}


@pytest.mark.parametrize(("make", "inside", "remedy"), CERTIFICATES)
def test_doctor_says_it_once_and_of_the_right_file(
    authority: Authority, tmp_path: Path, make: Callable[[Identity, Path], None], inside: str, remedy: str
) -> None:
    one, made = authority.issue("one"), tmp_path / "made.file"
    make(one, made)
    lines = checks(authority, made, one.key)
    assert (lines["t.certificate"].verdict, "fail" in lines["t.ca"].verdict) == ("fail", False)
    assert inside in lines["t.certificate"].found
    assert "cryptography.io" not in lines["t.certificate"].found
    assert remedy in lines["t.certificate"].remedy
    assert "t.key" not in lines, "whether key and certificate are a pair nobody can know"


@pytest.mark.parametrize(
    ("purposes", "side", "verdict"),
    [
        (("server", "client"), "server", "ok"),
        (("server",), "server", "ok"),
        ((), "server", "ok"),
        (("client",), "server", "fail"),
        (("server", "client"), "client", "ok"),
        (("client",), "client", "ok"),
        ((), "client", "ok"),
        (("server",), "client", "warn"),
    ],
)
def test_doctor_knows_which_side_a_certificate_is_for(
    authority: Authority, purposes: tuple[str, ...], side: Side, verdict: str
) -> None:
    one = authority.issue("one", purposes=purposes, valid_days=400)
    line = checks(authority, one.certificate, one.key, side)["t.certificate"]
    assert line.verdict == verdict, line
    if verdict != "ok":
        assert f"it is not for a {side}" in line.found
        assert f"{side}Auth" in line.remedy


def test_doctor_says_when_a_certificate_ended(authority: Authority) -> None:
    one = authority.issue("one", valid_days=-2)
    line = checks(authority, one.certificate, one.key)["t.certificate"]
    assert line.verdict == "fail"
    assert "it ended on 20" in line.found
    assert "valid until" not in line.found
