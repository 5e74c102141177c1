"""What ships under ``firmware-configs/`` works: profiles, broker with TLS and ACL, systemd unit, Containerfile."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeai.api.errors import MqttError
from edgeai.bundle.keys import make_keys
from edgeai.bundle.signing import sign_bundle, signer_of
from edgeai.config import Health, Scp
from edgeai.mqtt import Broker, Outgoing, connect, tls_context
from edgeai.testing.broker import free_port, wait_for_port
from edgeai.testing.certificates import Authority, Identity
from edgeai.testing.mqtt_peers import Subscriber

pytestmark = pytest.mark.system


@pytest.fixture
def site_broker(mosquitto: str, authority: Authority, repo_root: Path, tmp_path: Path) -> Iterator[int]:
    """Mosquitto with the configuration that ships, its paths and its port changed and nothing else; the port."""
    shipped = repo_root / "firmware-configs/brokers"
    identity = authority.issue("localhost")
    port = free_port()
    folder = tmp_path / "site-broker"
    folder.mkdir()
    text = (shipped / "mosquitto.conf").read_text()
    for old, new in (
        ("listener 8883", f"listener {port} 127.0.0.1"),
        ("/etc/mosquitto/certs/ca.pem", str(authority.ca)),
        ("/etc/mosquitto/certs/broker.pem", str(identity.certificate)),
        ("/etc/mosquitto/certs/broker.key", str(identity.key)),
        ("/etc/mosquitto/conf.d/edgeai.acl", shutil.copy(shipped / "edgeai.acl", folder)),
        ("/var/lib/mosquitto/", f"{folder}/"),
    ):
        assert old in text
        text = text.replace(old, new)
    conf = folder / "mosquitto.conf"
    conf.write_text(f"user root\n{text}")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([mosquitto, "-c", str(conf)], stdout=log, stderr=log)
    try:
        assert wait_for_port(port, 10), (folder / "log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait(10)


def as_device(authority: Authority, port: int, identity: Identity, protocol: Any = "5") -> Any:
    tls = tls_context(authority.ca, identity.certificate, identity.key)
    return connect(Broker(host="127.0.0.1", port=port, client_id="device", protocol=protocol, tls=tls))


def test_a_device_speaks_under_its_own_name_and_no_other(site_broker: int, authority: Authority, until: Any) -> None:
    receiver = authority.issue("receiver")
    heard = Subscriber(site_broker, tls=tls_context(authority.ca, receiver.certificate, receiver.key))
    link = as_device(authority, site_broker, authority.issue("st-elsewhere/xray-017"))
    own = "edgeai/1/st-elsewhere/xray-017"
    try:
        channels = ("result/guard", "event", "status", "selftest/guard")
        for channel in channels:
            link.publish([Outgoing(topic=f"{own}/{channel}", body=b"{}")])
        for topic in (
            "edgeai/1/st-elsewhere/xray-018/event",
            "edgeai/1/other-site/xray-017/result/guard",
            "edgeai/1/st-elsewhere/xray-018/selftest/guard",
            f"{own}/update/request",
            f"{own}/anything",
            "elsewhere",
        ):
            with pytest.raises(MqttError) as refused:
                link.publish([Outgoing(topic=topic, body=b"{}")])
            assert refused.value.code == "mqtt.not-authorised", topic
        until(lambda: len(heard.received) == 4)
        assert {item.topic for item in heard.received} == {f"{own}/{channel}" for channel in channels}
    finally:
        link.close()
        heard.close()


def test_nobody_comes_in_without_a_certificate_of_the_sites_authority(
    site_broker: int, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "stranger").mkdir()
    stranger = Authority(tmp_path / "stranger").issue("st-elsewhere/xray-017")
    expired = authority.issue("st-elsewhere/xray-019", valid_days=-2)
    for identity in (stranger, expired):
        with pytest.raises(MqttError):
            as_device(authority, site_broker, identity)
    with pytest.raises(MqttError):
        connect(Broker(host="127.0.0.1", port=site_broker, client_id="x", tls=tls_context(authority.ca, None, None)))
    with pytest.raises(MqttError):
        connect(Broker(host="127.0.0.1", port=site_broker, client_id="x"))


def test_the_xray_profile_runs_on_the_site_broker_with_tls_on_both_sides(
    cart: Any, site_broker: int, authority: Authority, repo_root: Path, until: Any
) -> None:
    """The profile as it ships; only paths, ports, addresses and the model are this machine's."""
    shipped = tomllib.loads((repo_root / "firmware-configs/profiles/xray-cart.toml").read_text())
    name = f"{shipped['device']['site']}/{shipped['device']['id']}"
    device, detector = authority.issue(name), authority.issue("detector")
    (cart.folder / "hmac").write_text("0123456789abcdef" * 4)
    cart.deploy()
    shipped["device"]["data_dir"] = str(cart.data_dir)
    shipped["plugins"]["allow"] += ["fakes"]
    shipped["spool"]["reserve_bytes"] = 1_000_000
    shipped["ingest"]["scp"] |= {"host": "127.0.0.1", "port": cart.dicom_port}
    shipped["ingest"]["scp"]["peers"][0]["host"] = "127.0.0.1"
    tls = {"ca": str(authority.ca), "certificate": str(device.certificate), "key": str(device.key)}
    assert set(shipped["ingest"]["scp"]["tls"]) == set(shipped["mqtt"]["tls"]) == set(tls)
    shipped["ingest"]["scp"]["tls"] = shipped["mqtt"]["tls"] = tls
    shipped["deployments"][0] |= {"bundle": cart.profile["deployments"][0]["bundle"], "backends": ["fake-works"]}
    shipped["mqtt"] |= {"host": "127.0.0.1", "port": site_broker}
    shipped["jsonl"]["path"] = str(cart.folder / "results.jsonl")
    shipped["privacy"]["hmac_key_file"] = str(cart.folder / "hmac")
    shipped["health"] = {"port": cart.health_port}
    pairs = [make_keys(who, cart.folder / "keys") for who in ("build", "clinic")]
    for pair in pairs:
        sign_bundle(Path(shipped["deployments"][0]["bundle"]), signer_of(str(pair.private), str))
        pair.private.unlink()
    shipped["trust"]["keys"] = str(cart.folder / "keys")
    cart.profile = shipped
    receiver = authority.issue("receiver")
    heard = Subscriber(site_broker, tls=tls_context(authority.ca, receiver.certificate, receiver.key))
    cart.subscriber = heard
    cart.start()
    phantom = cart.phantom(modality="DX")
    assert cart.store(phantom) == {}  # not without TLS
    options = ["+tls", str(detector.key), str(detector.certificate), "+cf", str(authority.ca)]
    assert cart.store(phantom, options=[*options, "-aet", "STRANGER", "-aec", "EDGEAI"]) == {}
    assert cart.store(phantom, options=[*options, "-aet", "DETECTOR", "-aec", "OTHER"]) == {}
    sent = cart.store(phantom, options=[*options, "-aet", "DETECTOR", "-aec", "EDGEAI"])
    assert sent == {phantom.instance.sop_instance_uid: "Success"}
    [result] = until(lambda: list(heard.results().values()))
    assert (result["outcome"], result["instance"]["hashed"]) == ("completed", True)
    assert [signer["name"] for signer in result["model"]["signers"]] == sorted(
        ("build", "clinic"), key=lambda who: next(p.public.key_id for p in pairs if p.public.name == who)
    )
    assert f"{result['site']}/{result['device_id']}" == name
    done = cart.command("doctor", str(cart.path))
    assert done.returncode == 0, done.stdout
    # A phantom gets in past AE rules and client certificates, and its end comes back through the access list.
    done = cart.command("selftest", str(cart.path), timeout_s=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "guard: completed, heard at the broker" in done.stdout
    assert len(heard.results()) == 1, "no reader of results sees it"


@pytest.mark.parametrize("name", ["dev", "ultrasound-cart", "xray-cart"])
def test_a_profile_that_ships_has_no_mistake(cart: Any, repo_root: Path, name: str) -> None:
    done = cart.command("config", "check", str(repo_root / f"firmware-configs/profiles/{name}.toml"))
    assert done.returncode == 0
    assert "no mistakes" in done.stdout
    # This machine is no cart: it is told that the folder of trusted keys is not here, where one is wanted.
    noted = "/etc/edgeai/trust is missing" in done.stderr
    assert noted == (name != "dev" and not Path("/etc/edgeai/trust").exists()), done.stderr


def test_the_list_of_profiles_is_whole(repo_root: Path) -> None:
    names = {path.stem for path in (repo_root / "firmware-configs/profiles").glob("*.toml")}
    assert names == {"dev", "ultrasound-cart", "xray-cart"}


def test_the_systemd_unit_says_what_it_must(cart: Any, repo_root: Path, tmp_path: Path) -> None:
    text = (repo_root / "firmware-configs/systemd/edgeai.service").read_text()
    unit = configparser.ConfigParser(strict=True, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text)
    service = unit["Service"]
    assert (service["Type"], service["Restart"], service["KillMode"]) == ("notify", "always", "mixed")
    assert float(service["TimeoutStopSec"]) > 15 + 7  # what the supervisor gives its roles, see roles/supervise.py
    assert (service["NoNewPrivileges"], service["ProtectSystem"]) == ("yes", "strict")
    for key in ("ExecStart", "ExecStartPre"):
        program, *words = service[key].split()
        assert program == "/opt/edgeai/bin/edgeai"
        assert cart.command(*words[:-1], "--help").returncode == 0
    analyze = shutil.which("systemd-analyze")
    if analyze is not None:
        # The program is not installed where the unit has it; anything else that it says is a mistake.
        copy = tmp_path / "edgeai.service"
        copy.write_text(text.replace("/opt/edgeai/bin/edgeai", sys.executable))
        done = subprocess.run([analyze, "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_containerfile_copies_what_there_is(repo_root: Path) -> None:
    text = (repo_root / "firmware-configs/containers/Containerfile").read_text().replace("\\\n", " ")
    sources: list[str] = []
    for line in text.splitlines():
        if line.startswith("COPY --from=build /src/"):
            sources.append(line.split()[2].removeprefix("/src/"))
        elif line.startswith("COPY ") and "--from" not in line:
            sources += line.split()[1:-1]
        elif line.startswith("RUN "):
            sources += re.findall(r"(?<=\./)plugins/[\w-]+|(?<=-c )\S+", line)
    assert len(sources) >= 6
    assert [source for source in sources if not (repo_root / source).exists()] == []
    exposed = {int(port) for port in re.search(r"^EXPOSE (.*)$", text, re.MULTILINE)[1].split()}  # type: ignore[index]
    assert exposed == {Scp().port, Health().port}
    assert f"127.0.0.1:{Health().port}/health" in text
