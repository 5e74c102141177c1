"""What is wrong with a certificate is said: of the broker's, of this device's, of a sender's, and of the files."""

from __future__ import annotations

import os
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgeai.api.errors import ConfigError, EdgeaiError, MqttError
from edgeai.dicom.scp import server_tls
from edgeai.mqtt import Broker, connect, tls_context
from edgeai.testing.broker import Mosquitto, free_port
from edgeai.testing.certificates import Authority, Identity
from edgeai.testing.dicom_peers import Receiving


def _authority(folder: Path, name: str, **options: bool) -> Authority:
    (folder / name).mkdir()
    return Authority(folder / name, **options)


@contextmanager
def _broker(folder: Path, authority: Authority, identity: Identity, *, asks: bool = False) -> Iterator[int]:
    port = free_port()
    extra = f"listener {port} 127.0.0.1\nallow_anonymous true\n"
    extra += f"certfile {identity.certificate}\nkeyfile {identity.key}\n"
    extra += f"require_certificate true\ncafile {authority.ca}\n" if asks else ""
    with Mosquitto(folder, port=port, extra=extra):
        yield port


def _refused(port: int, tls: ssl.SSLContext | None) -> MqttError:
    with pytest.raises(MqttError) as caught:
        connect(Broker(host="localhost", port=port, client_id="x", tls=tls))
    return caught.value


@pytest.mark.parametrize(
    ("issue", "words"),
    [
        ({"valid_days": -2}, "the broker's certificate has expired"),
        ({"begins_days": 1, "valid_days": 9}, "the broker's certificate is not valid yet"),
        ({"host": "broker.example"}, "the broker's certificate is for another name"),
    ],
)
def test_what_is_wrong_with_the_brokers_certificate(
    mosquitto: str, tmp_path: Path, issue: dict[str, Any], words: str
) -> None:
    authority = _authority(tmp_path, "site")
    with _broker(tmp_path, authority, authority.issue("broker", **issue)) as port:
        error = _refused(port, tls_context(authority.ca, None, None))
    assert error.code == "mqtt.tls"
    assert words in str(error)
    assert f"localhost:{port}" in str(error)
    assert error.remedy


def test_a_broker_of_an_unknown_authority(mosquitto: str, tmp_path: Path) -> None:
    ours, theirs = _authority(tmp_path, "ours"), _authority(tmp_path, "theirs")
    with _broker(tmp_path, theirs, theirs.issue("broker")) as port:
        for ca in (ours.ca, None):
            error = _refused(port, tls_context(ca, None, None))
            assert (error.code, "unknown authority" in str(error)) == ("mqtt.tls", True), error


def test_strict_verification_names_the_missing_extension(mosquitto: str, tmp_path: Path) -> None:
    """As Python 3.13 verifies of itself; the lax one passes without, and what the test authority makes passes both."""
    for strict in (False, True):
        authority = _authority(tmp_path, f"strict-{strict}", strict=strict)
        folder = tmp_path / f"broker-{strict}"
        folder.mkdir()
        with _broker(folder, authority, authority.issue("broker")) as port:
            context = tls_context(authority.ca, None, None)
            context.verify_flags |= ssl.VERIFY_X509_STRICT
            if strict:
                connect(Broker(host="localhost", port=port, client_id="x", tls=context)).close()
                continue
            error = _refused(port, context)
            assert "does not keep to RFC 5280" in str(error)
            assert any(word in str(error).lower() for word in ("key identifier", "key usage")), error
            assert "keyUsage" in (error.remedy or "")
            lax = tls_context(authority.ca, None, None)
            lax.verify_flags &= ~ssl.VERIFY_X509_STRICT
            connect(Broker(host="localhost", port=port, client_id="x", tls=lax)).close()


def _of_device(folder: Path, authority: Authority, kind: str) -> Identity | None:
    return {
        "none": lambda: None,
        "expired": lambda: authority.issue("site/cart", valid_days=-2),
        "unknown": lambda: _authority(folder, "elsewhere").issue("site/cart"),
    }[kind]()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("none", ("wants a certificate", "no version or cipher", "hung up", "refuses")),
        ("expired", ("this device's certificate has expired",)),
        ("unknown", ("this device's certificate was signed by an authority that is unknown there",)),
    ],
)
def test_what_the_broker_refuses_of_this_devices_certificate(
    mosquitto: str, tmp_path: Path, kind: str, words: tuple[str, ...], version: ssl.TLSVersion
) -> None:
    """With TLS 1.3 the refusal arrives after the handshake, when MQTT has already begun."""
    authority = _authority(tmp_path, "site")
    identity = _of_device(tmp_path, authority, kind)
    with _broker(tmp_path, authority, authority.issue("broker"), asks=True) as port:
        files = (identity.certificate, identity.key) if identity else (None, None)
        context = tls_context(authority.ca, *files)
        context.maximum_version = version
        error = _refused(port, context)
    assert error.code == "mqtt.tls", error
    assert any(word in str(error) for word in words), error


def test_a_port_that_speaks_no_tls(mosquitto: str, tmp_path: Path) -> None:
    authority = _authority(tmp_path, "site")
    with Mosquitto(tmp_path) as broker:
        error = _refused(broker.port, tls_context(authority.ca, None, None))
    assert error.code in ("mqtt.tls", "mqtt.unreachable")
    assert any(word in str(error) for word in ("does not speak TLS", "hung up", "reset")), error


def _missing(folder: Path, _one: Identity, _two: Identity) -> tuple[Path, Path, str]:
    return folder / "none.pem", _one.key, "none.pem (certificate) cannot be read: No such file or directory"


def _mismatch(_folder: Path, one: Identity, two: Identity) -> tuple[Path, Path, str]:
    return one.certificate, two.key, f"the key {two.key} does not match the certificate {one.certificate}"


def _garbage(folder: Path, one: Identity, _two: Identity) -> tuple[Path, Path, str]:
    (folder / "text.pem").write_text("not a certificate")
    return folder / "text.pem", one.key, "text.pem (certificate) is not a certificate in PEM form"


def _damaged(folder: Path, one: Identity, _two: Identity) -> tuple[Path, Path, str]:
    lines = one.certificate.read_text().splitlines()
    (folder / "cut.pem").write_text("\n".join([*lines[:3], lines[-1]]) + "\n")
    return folder / "cut.pem", one.key, "cut.pem (certificate) is damaged"


def _swapped(_folder: Path, one: Identity, _two: Identity) -> tuple[Path, Path, str]:
    return one.key, one.certificate, f"{one.key} (certificate) is not a certificate in PEM form: it holds a private key"


def _encrypted(folder: Path, one: Identity, _two: Identity) -> tuple[Path, Path, str]:
    key = folder / "locked.key"
    command = ["openssl", "pkcs8", "-topk8", "-in", one.key, "-passout", "pass:x", "-out", key]
    subprocess.run(command, check=True, capture_output=True)
    return one.certificate, key, f"the key {key} is encrypted"


def _folder_for_a_file(folder: Path, one: Identity, _two: Identity) -> tuple[Path, Path, str]:
    return folder, one.key, "(certificate) cannot be read: Is a directory"


@pytest.mark.parametrize("make", [_missing, _mismatch, _garbage, _damaged, _swapped, _encrypted, _folder_for_a_file])
def test_files_that_cannot_be_used_are_named_with_the_reason(
    tmp_path: Path, make: Callable[[Path, Identity, Identity], tuple[Path, Path, str]]
) -> None:
    authority = _authority(tmp_path, "site")
    certificate, key, words = make(tmp_path, authority.issue("one"), authority.issue("two"))
    errors: list[EdgeaiError] = []
    with pytest.raises(MqttError) as of_mqtt:
        tls_context(authority.ca, certificate, key)
    with pytest.raises(ConfigError) as of_dicom:
        server_tls(certificate, key, authority.ca)
    errors += [of_mqtt.value, of_dicom.value]
    assert [error.code for error in errors] == ["mqtt.tls", "config.tls"]
    for error in errors:
        assert words in str(error)
        assert error.remedy


@contextmanager
def _nobody() -> Iterator[None]:
    """As a user who is not root, since root reads every file."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(me)


def test_a_key_that_this_user_may_not_read() -> None:
    with tempfile.TemporaryDirectory() as folder:  # tmp_path lies in a folder that is root's alone
        Path(folder).chmod(0o755)
        identity = _authority(Path(folder), "site").issue("one")
        for path in (identity.certificate, identity.certificate.parent):
            path.chmod(0o755)
        identity.key.chmod(0)
        with _nobody(), pytest.raises(ConfigError, match=r"\(key\) cannot be read: Permission denied"):
            server_tls(identity.certificate, identity.key)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("none", "the sender showed no certificate"),
        ("expired", "the sender's certificate has expired"),
        ("unknown", "the sender's certificate was signed by an unknown authority"),
        ("plain", "the sender does not speak TLS here"),
        ("distrust", "the sender says that this device's certificate was signed by an authority that is unknown there"),
    ],
)
def test_what_is_wrong_with_a_senders_certificate(
    station: Receiving, tmp_path: Path, storescu: str, kind: str, words: str
) -> None:
    authority = _authority(tmp_path, "site")
    server = authority.issue("cart")
    station.start(tls=server_tls(server.certificate, server.key, authority.ca), negotiation_timeout_s=20.0)
    good = authority.issue("modality")
    arguments: list[Any] = {
        "none": ["+tla", "+cf", authority.ca],
        "plain": [],
        "distrust": ["+tls", good.key, good.certificate, "+cf", _authority(tmp_path, "other").ca],
    }.get(kind, [])
    if kind in ("expired", "unknown"):
        identity = _of_device(tmp_path, authority, kind)
        assert identity is not None
        arguments = ["+tls", identity.key, identity.certificate, "+cf", authority.ca]
    echoscu = Path(storescu).with_name("echoscu")
    done = subprocess.run([echoscu, *arguments, "127.0.0.1", str(station.port)], timeout=600, capture_output=True)
    assert done.returncode != 0
    deadline = time.monotonic() + 240
    while not station.messages:
        assert time.monotonic() < deadline, "nothing was said of the handshake"
        time.sleep(0.02)
    [(event, facts)] = station.events
    assert (event, facts["reason"]) == ("association.rejected", "tls")
    assert words in station.messages[0]
