"""What ships under ``firmware-configs/`` works: profiles, broker with TLS and ACL, systemd unit, Containerfile."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from edgeai.api.errors import MqttError
from edgeai.bundle.keys import make_keys
from edgeai.bundle.reader import verify_bundle
from edgeai.bundle.signing import sign_bundle, signer_of
from edgeai.config import Health, Scp, load_config
from edgeai.mqtt import Broker, Outgoing, connect, tls_context
from edgeai.testing.certificates import Authority, Identity
from edgeai.testing.mqtt_peers import Subscriber
from edgeai.testing.require import require
from edgeai.testing.shipped_broker import ShippedMosquitto
from edgeai_workbench.drawings import head

pytestmark = pytest.mark.system


@pytest.fixture
def site_broker(mosquitto: str, authority: Authority, repo_root: Path, tmp_path: Path) -> Iterator[int]:
    """Mosquitto with the configuration that ships; its port."""
    with ShippedMosquitto(tmp_path / "site-broker", repo_root / "firmware-configs/brokers", authority) as broker:
        yield broker.port


def as_device(authority: Authority, port: int, identity: Identity, protocol: Any = "5") -> Any:
    tls = tls_context(authority.ca, identity.certificate, identity.key)
    return connect(Broker(host="127.0.0.1", port=port, client_id="device", protocol=protocol, tls=tls))


def test_the_broker_says_how_large_a_message_may_be(site_broker: int, authority: Authority) -> None:
    """A client of MQTT 5 then leaves out what a smaller message can do without, and is not hung up on."""
    link = as_device(authority, site_broker, authority.issue("st-elsewhere/xray-017"))
    assert link.limits.packet_bytes == 1_048_576
    link.close()


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


OWN, OTHER = "edgeai/1/st-elsewhere/xray-017", "edgeai/1/st-elsewhere/xray-018"
WHO_WRITES: dict[str, tuple[str, ...]] = {
    "st-elsewhere/xray-017": (*(f"{OWN}/{each}" for each in ("result/guard", "event", "status")),),
    "operations": (f"{OWN}/update/request", f"{OTHER}/update/request"),
    "receiver": (),
    "somebody": (),
    "st-elsewhere/+": (),
    "st-elsewhere": (),
}
"""Common name of a certificate -> where its holder may write, of all topics that are named here."""


def _takes(link: Any, topic: str) -> bool:
    try:
        link.publish([Outgoing(topic=topic, body=b"{}")])
    except MqttError as refused:
        return refused.code != "mqtt.not-authorised"
    return True


def test_each_certificate_writes_and_reads_what_the_access_list_says_and_no_more(
    site_broker: int, authority: Authority, until: Any
) -> None:
    """A device's key that was stolen, a certificate that nobody expects, a name that is a pattern."""
    topics = sorted({topic for each in WHO_WRITES.values() for topic in each} | {f"{OTHER}/result/guard"})
    heard: dict[str, Subscriber] = {}
    try:
        for name in ("receiver", "operations", "st-elsewhere/xray-017", "somebody"):
            identity = authority.issue(name)
            tls = tls_context(authority.ca, identity.certificate, identity.key)
            heard[name] = Subscriber(site_broker, client_id=f"hears-{name.replace('/', '-')}", tls=tls)
        taken: dict[str, set[str]] = {name: set() for name in WHO_WRITES}
        for name in WHO_WRITES:
            with suppress(MqttError):  # Mosquitto may let no name in that is a pattern
                link = as_device(authority, site_broker, authority.issue(name))
                taken[name] = {topic for topic in topics if _takes(link, topic)}
                link.close()
        assert taken == {name: set(may) for name, may in WHO_WRITES.items()}
        written = {topic for may in WHO_WRITES.values() for topic in may}
        for name in ("receiver", "operations"):
            until(lambda name=name: {item.topic for item in heard[name].received} == written)
        until(lambda: heard["st-elsewhere/xray-017"].received)
        assert {item.topic for item in heard["st-elsewhere/xray-017"].received} == {f"{OWN}/update/request"}
        assert heard["somebody"].received == []
    finally:
        for each in heard.values():
            each.close()


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


PROFILES = ("dev", "ultrasound-cart", "xray-cart")


@pytest.fixture
def on_this_machine(cart: Any, authority: Authority, repo_root: Path) -> Callable[..., dict[str, Any]]:
    """A shipped profile with the model that it names, signed as it wants; paths, ports, addresses alone are changed."""

    def adapted(name: str, broker_port: int) -> dict[str, Any]:
        shipped = tomllib.loads((repo_root / f"firmware-configs/profiles/{name}.toml").read_text())
        who = f"{shipped['device']['site']}/{shipped['device']['id']}"
        shipped["device"]["data_dir"] = str(cart.data_dir)
        shipped["spool"]["reserve_bytes"] = 1_000_000
        shipped["ingest"]["scp"] |= {"host": "127.0.0.1", "port": cart.dicom_port}
        for peer in shipped["ingest"]["scp"].get("peers", ()):
            peer["host"] = "127.0.0.1"
        for number, folder in enumerate(shipped["ingest"].get("folders", ())):
            folder["path"] = str(cart.folder / f"inbox-{number}")
            Path(folder["path"]).mkdir()
        identity = authority.issue(who)
        files = {"ca": authority.ca, "certificate": identity.certificate, "key": identity.key}
        for table in (shipped["mqtt"], shipped["ingest"]["scp"]):
            table |= {"tls": {key: str(files[key]) for key in table["tls"]}} if "tls" in table else {}
        shipped["mqtt"] |= {"host": "localhost", "port": broker_port}
        shipped["health"] = {"port": cart.health_port}
        if "jsonl" in shipped:
            shipped["jsonl"]["path"] = str(cart.folder / "results.jsonl")
        if "privacy" in shipped:
            shipped["privacy"]["hmac_key_file"] = str(cart.folder / "hmac")
            (cart.folder / "hmac").write_text("0123456789abcdef" * 4)
        [deployment] = shipped["deployments"]
        bundle = shutil.copy(repo_root / "models/modality-guard" / Path(deployment["bundle"]).name, cart.folder)
        deployment["bundle"] = str(bundle)
        if shipped["trust"].get("unsigned") != "accept":
            for signer in ("build", "clinic")[: shipped["trust"].get("threshold", 1)]:
                pair = make_keys(signer, cart.folder / "keys")
                sign_bundle(Path(bundle), signer_of(str(pair.private), str))
                pair.private.unlink()
            shipped["trust"]["keys"] = str(cart.folder / "keys")
        cart.profile = shipped
        return shipped

    return adapted


@pytest.fixture
def receiver(site_broker: int, authority: Authority) -> Iterator[Subscriber]:
    """The subscriber that the shipped access list lets read."""
    identity = authority.issue("receiver")
    heard = Subscriber(site_broker, tls=tls_context(authority.ca, identity.certificate, identity.key))
    yield heard
    heard.close()


def _sender(authority: Authority, shipped: dict[str, Any], **changed: str) -> list[str]:
    """The options that let ``storescu`` in; ``changed`` says otherwise."""
    scp = shipped["ingest"]["scp"]
    names = {"aet": next((peer["ae_title"] for peer in scp.get("peers", ())), "ANY"), "aec": scp["ae_title"]} | changed
    options = ["-aet", names["aet"], "-aec", names["aec"]]
    if "tls" in scp:
        detector = authority.issue("detector")
        options += ["+tls", str(detector.key), str(detector.certificate), "+cf", str(authority.ca)]
    return options


@pytest.mark.parametrize(
    ("name", "modality", "engines"),
    [("ultrasound-cart", "US", {"tflite"}), ("xray-cart", "DX", {"openvino"})],
)
def test_a_cart_profile_runs_on_the_site_broker_with_its_own_model(
    cart: Any,
    on_this_machine: Any,
    receiver: Subscriber,
    site_broker: int,
    authority: Authority,
    until: Any,
    name: str,
    modality: str,
    engines: set[str],
) -> None:
    """An image in by C-STORE, its result out at the receiver, on the profile's first engine and not a later wish."""
    for engine in engines:
        require(engine, find_spec({"tflite": "ai_edge_litert"}.get(engine, engine)) is not None, "pip install it")
    shipped = on_this_machine(name, site_broker)
    cart.subscriber = receiver
    cart.start()
    phantom = cart.phantom(modality=modality, pixels=head(0))
    if "tls" in shipped["ingest"]["scp"]:
        assert cart.store(phantom) == {}  # not without TLS
    for wrong in ({"aet": "STRANGER"}, {"aec": "OTHER"}):
        assert cart.store(phantom, options=_sender(authority, shipped, **wrong)) == {}
    sent = cart.store(phantom, options=_sender(authority, shipped))
    assert sent == {phantom.instance.sop_instance_uid: "Success"}
    [result] = until(lambda: list(receiver.results().values()))
    assert (result["outcome"], result["instance"]["hashed"]) == ("completed", True)
    assert (result["engine"]["backend"] in engines, result["degraded"]) == (True, None)
    assert f"{result['site']}/{result['device_id']}" == f"{shipped['device']['site']}/{shipped['device']['id']}"
    assert len(result["model"]["signers"]) == shipped["trust"].get("threshold", 1)
    for folder in shipped["ingest"].get("folders", ()):
        shutil.copy(cart.phantom(modality=modality, pixels=head(1)).path, folder["path"])
        until(lambda: len(receiver.results()) == 2)
    done = cart.command("doctor", str(cart.path))
    assert done.returncode == 0, done.stdout
    # A phantom gets in past AE rules and client certificates, and its end comes back through the access list.
    before = len(receiver.results())
    done = cart.command("selftest", str(cart.path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "guard: completed, heard at the broker" in done.stdout
    assert len(receiver.results()) == before, "no reader of results sees it"


def test_the_profile_for_ones_own_machine_runs_on_the_broker_of_the_guide(
    cart: Any, on_this_machine: Any, authority: Authority, repo_root: Path, until: Any
) -> None:
    """`mosquitto -p PORT`, as the guide has it: without a configuration, on loopback alone."""
    assert "$ mosquitto -p 1883" in (repo_root / "docs/guides/integrator.md").read_text()
    heard = cart.listen()
    shipped = on_this_machine("dev", cart.broker.port)
    cart.start()
    phantom = cart.phantom(modality="US", pixels=head(0))
    assert cart.store(phantom, options=_sender(authority, shipped)) == {phantom.instance.sop_instance_uid: "Success"}
    [result] = until(lambda: list(heard.results().values()))
    assert (result["outcome"], result["instance"]["sop_instance_uid"]) == (
        "completed",
        phantom.instance.sop_instance_uid,
    )


NEEDS = {"tflite": "litert", "segment": "segment"}
"""Plugin -> the extra of its distribution without which it is there and cannot work."""


def _install_lines(repo_root: Path) -> dict[str, list[str]]:
    """Where a cart's installation is written down -> the plugins' folders with their extras, as pip is given them."""
    lines = {}
    for page in ("docs/guides/integrator.md", "docs/guides/operations.md", "firmware-configs/containers/Containerfile"):
        text = (repo_root / page).read_text().replace("\\\n", " ")
        [line] = [line for line in text.splitlines() if "pip install" in line and "./plugins/" in line]
        lines[page] = re.findall(r"\./plugins/[\w-]+(?:\[[\w,]+\])?", line)
    makefile = (repo_root / "Makefile").read_text()
    lines["Makefile"] = re.search(r"^CART_PLUGINS := (.*)$", makefile, re.MULTILINE)[1].split()  # type: ignore[index]
    return lines


def _plugins_of(repo_root: Path, requirements: list[str]) -> set[str]:
    """The plugins that work once these are installed."""
    names = set(tomllib.loads((repo_root / "pyproject.toml").read_text())["project"]["entry-points"]["edgeai.plugins"])
    for requirement in requirements:
        folder, _, extras = requirement.rstrip("]").partition("[")
        project = tomllib.loads((repo_root / folder / "pyproject.toml").read_text())["project"]
        wanted = set(extras.split(",")) - {""}
        assert wanted <= set(project.get("optional-dependencies", ())), requirement
        plugins = project["entry-points"]["edgeai.plugins"]
        names |= {name for name in plugins if name not in NEEDS or NEEDS[name] in wanted}
    return names


def test_the_guides_install_lines_bring_what_each_profile_and_each_model_needs(repo_root: Path) -> None:
    needed: dict[str, set[str]] = {}
    for name in PROFILES:
        config = load_config(repo_root / f"firmware-configs/profiles/{name}.toml")
        needed[name] = {*config.plugins.allow, *(each for item in config.deployments for each in item.backends)}
    for path in (repo_root / "models").glob("*/*.edgeai"):
        manifest = verify_bundle(path).manifest
        needed[path.name] = {*manifest.plugins, *(artifact.format for artifact in manifest.artifacts)}
    assert [name for name, wants in needed.items() if name.startswith("us-head-") and "segment" in wants]
    for page, requirements in _install_lines(repo_root).items():
        there = _plugins_of(repo_root, requirements)
        assert {name: sorted(wants - there) for name, wants in needed.items() if wants - there} == {}, page


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_that_ships_has_no_mistake(cart: Any, repo_root: Path, name: str) -> None:
    done = cart.command("config", "check", str(repo_root / f"firmware-configs/profiles/{name}.toml"))
    assert done.returncode == 0
    assert "no mistakes" in done.stdout
    # This machine is no cart: it is told that the folder of trusted keys is not here, where one is wanted.
    noted = "/etc/edgeai/trust is missing" in done.stderr
    assert noted == (name != "dev" and not Path("/etc/edgeai/trust").exists()), done.stderr


def test_the_list_of_profiles_is_whole(repo_root: Path) -> None:
    assert {path.stem for path in (repo_root / "firmware-configs/profiles").glob("*.toml")} == set(PROFILES)


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
