"""Certificates as RFC 5280 wants them: Python refuses others from 3.13 on, and a modality may long have done so.

Held by ``openssl verify -x509_strict`` and by contexts that check as Python 3.13 does, whatever Python this is.
"""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeai.api.errors import MqttError, SinkFailed
from edgeai.api.sinks import Message, SinkRequest
from edgeai.dicom.scp import server_tls
from edgeai.mqtt import Broker, Outgoing, connect, tls_context
from edgeai.sinks.mqtt import MqttSink
from edgeai.testing.broker import Mosquitto, free_port
from edgeai.testing.certificates import Authority
from edgeai.testing.dicom_peers import SUCCESS, Receiving, radiograph, send
from edgeai.testing.require import require
from edgeai.testing.waiting import until

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs/guides/integrator.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def openssl() -> str:
    path = shutil.which("openssl")
    require("openssl", path is not None, "openssl is not installed")
    assert path is not None
    return path


def refusal(openssl: str, ca: Path, certificate: Path, purpose: str) -> str:
    """What a strict check has against a certificate; empty when it is fine."""
    command = [openssl, "verify", "-x509_strict", "-purpose", purpose, "-CAfile", ca, certificate]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def guide_script() -> str:
    """The guide's lines that make certificates, as they stand."""
    block = re.search(r"```console\n(\$ umask.*?)```", GUIDE, re.DOTALL)
    assert block is not None
    return re.sub(r"^\$ ", "", block[1], flags=re.MULTILINE)


def run_script(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-ec", script], cwd=folder, capture_output=True, text=True, check=False, timeout=600)


@pytest.fixture(scope="module")
def by_the_guide(openssl: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the guide's lines were run."""
    folder = tmp_path_factory.mktemp("guide")
    done = run_script(guide_script(), folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "purpose"),
    [("broker", "sslserver"), ("device", "sslclient"), ("dicom", "sslserver"), ("dicom", "sslclient")],
)
def test_the_guides_own_certificates_pass_a_strict_check(
    openssl: str, by_the_guide: Path, file: str, purpose: str
) -> None:
    assert refusal(openssl, by_the_guide / "ca.pem", by_the_guide / f"{file}.pem", purpose) == ""


@pytest.mark.parametrize(("file", "purpose"), [("broker", "sslclient"), ("device", "sslserver")])
def test_the_guides_certificates_serve_for_one_thing_alone(
    openssl: str, by_the_guide: Path, file: str, purpose: str
) -> None:
    assert "purpose" in refusal(openssl, by_the_guide / "ca.pem", by_the_guide / f"{file}.pem", purpose)


def test_the_guides_keys_are_for_their_owner_alone(by_the_guide: Path) -> None:
    assert {key.name: oct(key.stat().st_mode & 0o077) for key in by_the_guide.glob("*.key")} == {
        f"{name}.key": "0o0" for name in ("ca", "broker", "device", "dicom")
    }


@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
def test_certificates_of_the_tests_pass_a_strict_check(openssl: str, authority: Authority, purpose: str) -> None:
    assert refusal(openssl, authority.ca, authority.issue("st-elsewhere/cart-1").certificate, purpose) == ""


def test_a_strict_check_finds_the_stranger_the_expired_and_the_old_way(
    openssl: str, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other").issue("cart")
    assert refusal(openssl, authority.ca, stranger.certificate, "sslclient") != ""
    expired = authority.issue("late", valid_days=-1)
    assert "expired" in refusal(openssl, authority.ca, expired.certificate, "sslclient")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("right", "wrong", "missing"),
    [
        (" -addext keyUsage=critical,keyCertSign,cRLSign", "", "CA cert does not include key usage"),
        ("authorityKeyIdentifier=keyid", "authorityKeyIdentifier=none", "Missing Authority Key Identifier"),
    ],
)
def test_the_guides_last_line_finds_what_python_3_13_would_refuse(
    tmp_path: Path, right: str, wrong: str, missing: str
) -> None:
    script = guide_script().replace("rsa:3072", "rsa:2048")
    assert right in script
    done = run_script(script.replace(right, wrong), tmp_path)
    assert done.returncode != 0
    assert missing in done.stdout + done.stderr


def strict(context: ssl.SSLContext) -> ssl.SSLContext:
    """What ``create_default_context`` gives from Python 3.13 on."""
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


@pytest.fixture
def guides_broker(mosquitto: str, by_the_guide: Path, tmp_path: Path) -> Iterator[int]:
    """A broker that wants certificates; its port."""
    port = free_port()
    extra = (
        f"listener {port} 127.0.0.1\nallow_anonymous true\nrequire_certificate true\ncafile {by_the_guide}/ca.pem\n"
        f"certfile {by_the_guide}/broker.pem\nkeyfile {by_the_guide}/broker.key\n"
    )
    with Mosquitto(tmp_path, port=port, extra=extra):
        yield port


def test_a_device_and_its_broker_by_the_guide_find_each_other_strictly(guides_broker: int, by_the_guide: Path) -> None:
    context = tls_context(by_the_guide / "ca.pem", by_the_guide / "device.pem", by_the_guide / "device.key")
    link = connect(Broker(host="127.0.0.1", port=guides_broker, client_id="cart", tls=strict(context)))
    link.publish([Outgoing(topic="t", body=b"{}")])
    link.close()


def test_the_sink_takes_a_renewed_certificate_without_a_restart(
    mosquitto: str, authority: Authority, tmp_path: Path
) -> None:
    server, port = authority.issue("broker"), free_port()
    cart = authority.issue("renewed-cart", valid_days=-1)
    extra = (
        f"listener {port} 127.0.0.1\nallow_anonymous true\nrequire_certificate true\ncafile {authority.ca}\n"
        f"certfile {server.certificate}\nkeyfile {server.key}\n"
    )
    tls = {"ca": str(authority.ca), "certificate": str(cart.certificate), "key": str(cart.key)}
    request = SinkRequest(device_id="cart", site="lab", settings={"host": "127.0.0.1", "port": port, "tls": tls})
    with Mosquitto(tmp_path, port=port, extra=extra):
        sink = MqttSink(request)
        with pytest.raises(SinkFailed):
            sink.put([])
        [[_, ended]] = sink.tls_detail["loaded"]["mqtt.tls.certificate"]["periods"]
        assert ended < time.time()
        cart.certificate.write_text("broken")
        with pytest.raises(SinkFailed):
            sink.put([])
        assert sink.tls_detail["refusal"]
        authority.issue("renewed-cart", valid_days=30)  # in its place
        assert sink.put([]) == []
        [[_, ends]] = sink.tls_detail["loaded"]["mqtt.tls.certificate"]["periods"]
        assert (ends > time.time(), sink.tls_detail["refusal"]) == (True, "")
        sink.close()


def test_a_connection_that_stands_is_opened_anew_for_renewed_files_and_nothing_is_lost(
    mosquitto: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, port = authority.issue("broker"), free_port()
    cart, renewed, watcher = (authority.issue(name) for name in ("cart", "renewed", "watcher"))
    extra = (
        f"listener {port} 127.0.0.1\nallow_anonymous true\nrequire_certificate true\ncafile {authority.ca}\n"
        f"certfile {server.certificate}\nkeyfile {server.key}\nuse_identity_as_username true\n"
    )
    tls = {"ca": str(authority.ca), "certificate": str(cart.certificate), "key": str(cart.key)}
    request = SinkRequest(device_id="cart", site="lab", settings={"host": "127.0.0.1", "port": port, "tls": tls})
    heard: list[tuple[str, bytes]] = []
    with Mosquitto(tmp_path, port=port, extra=extra) as broker:
        context = tls_context(authority.ca, watcher.certificate, watcher.key)
        link = connect(Broker(host="127.0.0.1", port=port, client_id="watcher", tls=context))
        link.subscribe("edgeai/1/lab/cart/#", lambda topic, body: heard.append((topic.rpartition("/")[2], body)))
        sink = MqttSink(request)

        def put(*messages: Message) -> None:
            assert {receipt.verdict for receipt in sink.put(messages)} <= {"delivered"}

        def clients() -> list[str]:
            return re.findall(r"as edgeai-lab-cart \(p5, .*?u'(\w+)'", broker.log)

        put(Message(key="status", channel="status", body=b"online"), _result(1))
        shutil.copy(renewed.certificate, cart.certificate)
        shutil.copy(renewed.key, cart.key)
        put(_result(2))
        assert sink.put([]) == []
        assert clients() == ["cart"], "a pair that is being put there is left to settle"
        monkeypatch.setattr("edgeai.sinks.mqtt.RENEW_AFTER_S", 0.0)
        put(_result(3))
        assert clients() == ["cart", "renewed"]
        put(_result(4))
        assert sink.put([]) == []
        assert clients() == ["cart", "renewed"], "once"
        until(lambda: b"4" in [body for _, body in heard])
        assert [body for topic, body in heard if topic == "guard"] == [b"1", b"2", b"3", b"4"]
        assert {body for topic, body in heard if topic == "status"} == {b"online"}, "and nobody took it for gone"
        sink.close()
        link.close()


def _result(number: int) -> Message:
    return Message(key=str(number), channel="result/guard", body=str(number).encode(), sequence=number)


def test_a_broker_of_a_strangers_authority_is_refused(
    guides_broker: int, by_the_guide: Path, authority: Authority
) -> None:
    context = tls_context(authority.ca, by_the_guide / "device.pem", by_the_guide / "device.key")
    with pytest.raises(MqttError) as refused:
        connect(Broker(host="127.0.0.1", port=guides_broker, client_id="cart", tls=strict(context)))
    assert refused.value.code == "mqtt.tls"


@pytest.mark.parametrize("whose", ["guide", "tests"])
def test_the_dicom_port_and_a_sender_find_each_other_strictly(
    whose: str, by_the_guide: Path, authority: Authority, tmp_path: Path
) -> None:
    issued = authority.issue("cart-1")
    ca, certificate, key = {
        "guide": (by_the_guide / "ca.pem", by_the_guide / "dicom.pem", by_the_guide / "dicom.key"),
        "tests": (authority.ca, issued.certificate, issued.key),
    }[whose]
    station = Receiving(tmp_path)
    try:
        station.start(tls=strict(server_tls(certificate, key, ca)))
        client = strict(ssl.create_default_context(cafile=str(ca)))
        client.load_cert_chain(certificate, key)  # as the self-test comes
        (status,) = send(station.port, radiograph(), tls_args=(client, "localhost"))
        assert status.Status == SUCCESS
    finally:
        station.close()
