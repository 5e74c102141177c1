"""The guide "Keeping a cart": its commands, as they stand, on a cart whose /etc, /var and /opt lie in a folder."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeai.config import load_config
from edgeai.mqtt import Broker, connect
from edgeai.testing.certificates import Authority
from edgeai.testing.mqtt_peers import Subscriber
from edgeai.testing.require import require

pytestmark = pytest.mark.system

GUIDE = (Path(__file__).resolve().parents[2] / "docs/guides/maintenance.md").read_text()
SECTIONS = re.findall(r"<!-- (\w+) -->\n```console\n(.*?)```", GUIDE, re.DOTALL)


class Machine:
    """What the guide's commands are run on: paths below ``root``, the service's manager played by the test."""

    def __init__(self, cart: Any, root: Path) -> None:
        self.cart = cart
        self.root = root
        self.etc, self.var, self.opt = root / "etc/edgeai", root / "var/lib/edgeai", root / "opt/edgeai"
        for folder in (self.etc, self.var / "bundles", self.opt / "bin"):
            folder.mkdir(parents=True)
        program = self.opt / "bin/edgeai"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m edgeai "$@"\n')
        program.chmod(0o755)
        cart.data_dir = self.var
        cart.path = self.etc / "profile.toml"
        cart.profile["device"]["data_dir"] = str(self.var)
        cart.deploy()
        [deployment] = cart.profile["deployments"]
        deployment["bundle"] = shutil.move(deployment["bundle"], self.var / "bundles")

    def run(self, section: str, *changes: tuple[str, str]) -> str:
        """All lines of a block, in order; what they wrote."""
        text = dict(SECTIONS)[section].replace("\\\n", " ")
        lines = [line.removeprefix("$ ") for line in text.splitlines()]
        written, waiting = "", []
        for line in lines:
            for old, new in changes:
                line = re.sub(old, new, line)
            match = re.fullmatch(r"sudo systemctl (\S+)(?: --now)?(?: edgeai)?", line)
            if match is None:
                waiting.append(self._here(line))
                continue
            written += self._shell(waiting)
            waiting = []
            self._service(match[1])
        return written + self._shell(waiting)

    def _service(self, what: str) -> None:
        if what in ("stop", "restart", "disable"):
            if self.cart.process is not None:
                self.cart.stop()
            self.cart.process = None
        if what in ("start", "restart"):
            self.cart.start()

    def _here(self, line: str) -> str:
        line = re.sub(r"sudo (?:-u edgeai )?", "", line).replace(" -o root -g edgeai", "")
        line = line.replace("--directory / ", f"--directory {self.root} ")
        line = re.sub(r"--directory /$", f"--directory {self.root}", line)
        return re.sub(r"(?<![\w/.])/(?=(?:etc|var|opt)/)", f"{self.root}/", line)

    def _shell(self, lines: list[str]) -> str:
        work = self.root / "work"
        work.mkdir(exist_ok=True)
        script = "\n".join(["set -euo pipefail", *lines])
        command = ["bash", "-c", script]
        environment = self.cart.environment
        done = subprocess.run(
            command, cwd=work, env=environment, capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def machine(cart: Any, tmp_path: Path) -> Machine:
    """A cart by the guide's paths."""
    return Machine(cart, tmp_path / "machine")


def test_every_block_of_the_guide_is_run_here() -> None:
    source = Path(__file__).read_text()
    assert [name for name, _ in SECTIONS if not re.search(rf'run\(\s*"{name}"', source)] == []
    assert GUIDE.count("```console") == len(SECTIONS)


def _finished(cart: Any) -> int:
    return sum(entry["finished"] for entry in cart.health()[1]["ledger"]["jobs"])


def test_a_backup_brings_back_what_was_on_its_way(machine: Machine, until: Callable[..., Any]) -> None:
    """The broker is away; what was done waits. The machine is lost; its replacement delivers it, and knows it."""
    cart = machine.cart
    (machine.etc / "trust").mkdir()
    (machine.var / "releases.json").write_text(_floors(4))
    cart.start()
    phantom = cart.phantom()
    assert cart.store(phantom) == {phantom.instance.sop_instance_uid: "Success"}
    until(lambda: _finished(cart) == 1)
    floors = (machine.var / "releases.json").read_bytes()
    machine.run("backup")
    archive = machine.root / "work/edgeai-backup.tar.gz"
    assert archive.stat().st_mode & 0o077 == 0, "it holds images and keys"
    cart.stop()
    cart.process = None
    before = (machine.etc / "profile.toml").read_bytes()
    shutil.rmtree(machine.etc)
    shutil.rmtree(machine.var)
    heard = cart.listen()
    machine.run("restore", (r"(edgeai status .*)", r"\1 || true"))
    assert (machine.etc / "profile.toml").read_bytes() == before
    assert (machine.var / "releases.json").read_bytes() == floors
    assert (machine.etc / "trust").is_dir()
    result = cart.result_of(phantom)
    assert result["outcome"] == "completed"
    assert cart.store(phantom) == {phantom.instance.sop_instance_uid: "Success"}
    until(lambda: "known" in cart.get("/metrics")[1])
    assert len(heard.results()) == 1


def _floors(release: int) -> str:
    entry = {"release": release, "digest": f"sha256:{'0' * 64}", "since": "2026-01-01T00:00:00Z"}
    return json.dumps({"schema": 1, "floors": {"another": entry}})


def test_restoring_does_not_lower_the_floor_of_releases(machine: Machine) -> None:
    cart = machine.cart
    cart.listen()
    cart.start()
    (machine.var / "releases.json").write_text(_floors(4))
    machine.run("backup")
    newer = _floors(5)
    (machine.var / "releases.json").write_text(newer)
    cart.send()
    cart.stop()
    cart.process = None
    machine.run("restore", (r"(edgeai status .*)", r"\1 || true"), ("systemctl start", "systemctl stop"))
    assert (machine.var / "releases.json").read_text() == newer
    assert (machine.var.with_name("edgeai.before") / "spool").is_dir()


def test_a_new_version_and_back_keep_what_waits(machine: Machine, until: Callable[..., Any]) -> None:
    """The environment is this one both times; what is tried is the order of the lines, and that nothing gets lost."""
    cart = machine.cart
    cart.start()  # the broker is away: results wait
    phantom = cart.phantom()
    assert cart.store(phantom) == {phantom.instance.sop_instance_uid: "Success"}
    until(lambda: _finished(cart) == 1)
    quiet = (r"(edgeai (?:status|selftest) .*)", r"\1 || true")
    machine.run("upgrade", (r".*pip install.*", "touch /opt/edgeai/new"), quiet)
    assert (machine.opt / "new").exists()
    assert not (machine.opt.with_name("edgeai.before") / "new").exists()
    assert "schema of edgeai 0.1" in machine.run("downgrade", quiet)
    assert not (machine.opt / "new").exists()
    assert (machine.opt.with_name("edgeai.after") / "new").exists()
    cart.broker.start()
    cart.subscriber = Subscriber(cart.broker.port)
    assert cart.result_of(phantom)["outcome"] == "completed"


def _served(cart: Any) -> str:
    return ssl.get_server_certificate(("127.0.0.1", cart.dicom_port), timeout=120)


def test_a_certificate_is_renewed_without_a_restart(
    machine: Machine, until: Callable[..., Any], tmp_path: Path
) -> None:
    require("openssl", shutil.which("openssl") is not None, "openssl is not installed")
    cart = machine.cart
    (tmp_path / "ca").mkdir()
    authority = Authority(tmp_path / "ca")
    old = authority.issue("st-elsewhere/xray-017", valid_days=3)
    shutil.copy(authority.ca, machine.etc / "broker-ca.pem")
    for source, name in ((old.certificate, "device.pem"), (old.key, "device.key")):
        shutil.copy(source, machine.etc / name)
    tls = {"certificate": str(machine.etc / "device.pem"), "key": str(machine.etc / "device.key")}
    cart.profile["ingest"]["scp"]["tls"] = tls
    cart.listen()
    cart.start()
    before = _served(cart)
    until(lambda: "certificate.expiring" in {item["code"] for item in cart.health()[1]["warnings"]})
    told = machine.run("renew")
    assert "xray-017" in told
    _sign(machine.root / "work", authority, machine.etc)
    quiet = (r"(edgeai (?:status|doctor) .*)", r"\1 || true")
    pid = cart.process.pid
    assert "device.pem: OK" in machine.run("renewed", quiet)
    until(lambda: "certificate.expiring" not in {item["code"] for item in cart.health()[1]["warnings"]})
    until(lambda: _served(cart) == (machine.etc / "device.pem").read_text() != before)
    assert cart.process.pid == pid


def _sign(work: Path, authority: Authority, etc: Path) -> None:
    """As the authority does it: another certificate for the same key, with a later end."""
    renewed = authority.sign_request(work / "device.csr", valid_days=400)
    shutil.copy(renewed, work / "device.pem")
    assert (work / "device.pem").read_text() != (etc / "device.pem").read_text()


def test_the_end_leaves_nothing(machine: Machine, until: Callable[..., Any]) -> None:
    require("mosquitto", shutil.which("mosquitto_pub") is not None, "mosquitto_pub is not installed")
    cart = machine.cart
    cart.listen()
    cart.start()
    cart.send()
    until(lambda: cart.subscriber.results())
    device = load_config(cart.path).device
    name = f"edgeai/1/{device.site}/{device.id}"
    assert json.loads(_retained(cart, f"{name}/status"))["device_id"] == device.id  # whatever its state
    cart.subscriber.close()  # what takes a retained message back has no body, and is no message of the contract
    cart.subscriber = None
    there = f"mosquitto_pub -h 127.0.0.1 -p {cart.broker.port} -t {name}"
    machine.run(
        "uninstall",
        (r"mosquitto_pub .*-t edgeai/1/SITE/DEVICE", there),
        (r"userdel edgeai", "true"),
        (r"(edgeai status .*)", r"\1 || true"),
    )
    assert [path for path in machine.root.rglob("*") if "edgeai" in path.name] == []
    assert cart.leftovers() == []
    assert _retained(cart, f"{name}/status") == ""


def _retained(cart: Any, topic: str) -> str:
    """What the broker keeps there; it sends that before it grants a later subscription."""
    told: list[bytes] = []
    link = connect(Broker(host="127.0.0.1", port=cart.broker.port, client_id="late"))
    try:
        link.subscribe(topic, lambda _, body: told.append(body))
        link.subscribe("nothing", lambda _, body: None)
    finally:
        link.close()
    return b"".join(told).decode()
