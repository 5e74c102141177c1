"""``edgeai status`` and ``edgeai doctor`` beside a running cart, and when things are broken: what to do is said."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from edgeai.testing.broker import free_port
from edgeai.testing.certificates import Authority

pytestmark = pytest.mark.system


def doctor(cart: Any) -> tuple[int, dict[str, dict[str, str]]]:
    """Exit status, and its lines by what was looked at."""
    done = cart.command("doctor", str(cart.path), "--json")
    return done.returncode, {line["what"]: line for line in json.loads(done.stdout)}


def test_status_says_what_runs_what_waits_and_what_came_last(cart: Any, until: Any) -> None:
    cart.deploy()
    heard = cart.listen()
    cart.write()
    never = cart.command("status", str(cart.path))
    assert never.returncode == 1
    assert "spool.absent" in never.stderr
    assert "edgeai run" in never.stderr
    cart.start()
    [phantom] = cart.send()
    assert cart.result_of(phantom)
    until(lambda: (now := cart.health())[0] == 200 and now[1]["state"] == "online")
    done = cart.command("status", str(cart.path), "--json")
    assert done.returncode == 0
    printed = json.loads(done.stdout)
    assert (printed["serving"], printed["state"], printed["problems"]) == (True, "online", [])
    assert {role["role"]: role["pid"] for role in printed["roles"]} == cart.processes()
    until(lambda: printed["deployments"][0] == heard.on("status")[-1]["deployments"][0])
    assert (printed["last"][0]["outcome"], printed["last"][0]["modality"]) == ("completed", "US")
    page = cart.command("status", str(cart.path))
    assert page.returncode == 0
    assert all(word in page.stdout for word in ("lab/cart", "guard-model 1.0.0", "fake-works", "ingest", "completed"))
    assert cart.stop() == 0
    done = cart.command("status", str(cart.path), "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["state"] == "offline"


def test_doctor_beside_a_healthy_cart_disturbs_nothing(cart: Any, until: Any) -> None:
    cart.deploy()
    heard = cart.listen()
    cart.start()
    until(lambda: heard.on("status") and heard.on("status")[-1]["state"] == "online")
    processes = cart.processes()
    status, lines = doctor(cart)
    assert status == 0, lines
    assert "held by the running service" in lines["DICOM port"]["found"]
    assert "MQTT 5" in lines["broker"]["found"]
    assert lines["backend fake-works"]["verdict"] == "ok"
    assert cart.processes() == processes
    assert heard.on("status")[-1]["state"] == "online"  # it said what is, and threw nobody off the broker
    page = cart.command("doctor", str(cart.path))
    assert page.returncode == 0
    assert "guard-model 1.0.0" in page.stdout


def test_doctor_says_what_to_do_about_everything_that_is_broken(cart: Any, tmp_path: Any) -> None:
    (tmp_path / "ca").mkdir()
    authority = Authority(tmp_path / "ca")
    expired = authority.issue("lab/cart", valid_days=-2)
    expired.key.chmod(0o644)
    cart.deploy()
    cart.profile["deployments"][0]["bundle"] = str(tmp_path / "missing.edgeai")
    cart.profile["plugins"]["allow"].append("nobody")
    cart.profile["spool"]["reserve_bytes"] = 10**15
    cart.profile["privacy"] = {"uids": "hmac", "hmac_key_file": str(tmp_path / "no-key")}
    cart.profile["ingest"]["folders"] = [{"path": str(tmp_path / "no-folder")}]
    cart.profile["mqtt"] = {
        "port": free_port(),
        "tls": {"ca": str(authority.ca), "certificate": str(expired.certificate), "key": str(expired.key)},
    }
    cart.write()
    with socket.create_server(("127.0.0.1", cart.dicom_port)):
        status, lines = doctor(cart)
        page = cart.command("doctor", str(cart.path))
    assert (status, page.returncode) == (1, 1)
    failed = {what for what, line in lines.items() if line["verdict"] == "fail"}
    parts = {"plugin nobody", "disk", "bundle of guard", "DICOM port", "broker", "mqtt.tls.certificate", "privacy key"}
    assert failed == parts
    assert lines["watched folder"]["verdict"] == lines["mqtt.tls.key"]["verdict"] == "warn"
    for line in lines.values():
        assert line["found"]
        assert line["verdict"] == "ok" or line["remedy"], line
    assert f"sport = :{cart.dicom_port}" in lines["DICOM port"]["remedy"]
    assert "mqtt.host" in lines["broker"]["remedy"]


def test_doctor_finds_a_bundle_whose_plugins_are_not_allowed(cart: Any) -> None:
    cart.deploy()
    cart.profile["plugins"]["allow"] = []
    cart.profile["mqtt"] = {"enabled": False}
    cart.write()
    status, lines = doctor(cart)
    assert (status, lines["bundle of guard"]["verdict"]) == (1, "fail")
    assert "fakes" in lines["bundle of guard"]["found"]
    assert lines["bundle of guard"]["remedy"] == 'under [plugins] write: allow = ["fakes"]'


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mqqt": {"port": 1}}, ("mqqt", '"mqtt"')),
        ({"device": {"id": "Not A Slug", "site": "lab"}}, ("device.id",)),
    ],
)
def test_a_profile_with_mistakes_starts_nothing(cart: Any, change: dict[str, Any], words: tuple[str, ...]) -> None:
    cart.deploy()
    cart.profile |= change
    cart.write()
    for command in (["run"], ["config", "check"], ["status"], ["doctor"]):
        done = cart.command(*command, str(cart.path))
        assert done.returncode == 2, command
        assert all(word in done.stderr for word in words)
    assert not cart.data_dir.exists()


def test_a_second_run_on_the_same_data_is_refused_and_the_first_goes_on(cart: Any) -> None:
    cart.deploy()
    cart.listen()
    cart.start()
    done = cart.command("run", str(cart.path))
    assert done.returncode == 70
    assert "run.already-running" in done.stderr
    assert cart.result_of(cart.send()[0])


def test_a_port_that_is_taken_is_said_and_taken_over_when_it_is_free(cart: Any, until: Any, tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    folder.mkdir()
    cart.deploy()
    cart.profile["ingest"]["folders"] = [{"path": str(folder), "settle_s": 0.2}]
    cart.listen()
    with socket.create_server(("127.0.0.1", cart.dicom_port)):
        cart.start(ready=False)
        until(lambda: set(cart.problems()) == {"ingest.port"})
        told = cart.problems()["ingest.port"]
        assert (told["about"], told["cause"], told["stops"]) == ("ingest", "config.scp-address", ["serving"])
        assert all(word in told["message"] for word in (str(cart.dicom_port), f"(pid {os.getpid()})"))
        assert "stop what listens there" in told["remedy"]
        until(lambda: told["message"] in json.dumps(cart.subscriber.on("status")))
        assert len(cart.logged("scp.not-listening")) == 1, "it is said once, however often it is tried"
        page = cart.command("status", str(cart.path))
        assert page.returncode == 1
        assert "ingest.port" in page.stdout
        port = doctor(cart)[1]["DICOM port"]
        assert (port["verdict"], str(os.getpid()) in port["found"]) == ("fail", True), "it is not the service's"
        phantom = cart.phantom()
        shutil.copy(phantom.path, folder / "image.dcm")
        assert cart.result_of(phantom)["outcome"] == "completed", "folders are watched on"
    cart.wait_ready()
    assert cart.result_of(cart.send()[0])
    until(lambda: cart.problems() == {} and cart.health()[0] == 200)
    assert cart.logged("role.died") == []


def test_a_role_that_ends_by_an_error_has_left_word_of_it(cart: Any, until: Any, tmp_path: Path) -> None:
    cart.deploy()
    cart.profile["ingest"]["scp"]["tls"] = {"certificate": str(tmp_path / "none"), "key": str(tmp_path / "none")}
    cart.listen()
    cart.start(ready=False)
    told = until(lambda: (now := cart.problems().get("role.not-running")) and now["cause"] and now)
    assert (told["about"], told["cause"], told["stops"]) == ("ingest", "config.tls", ["serving"])
    assert "TLS files of the DICOM port" in told["message"]
    assert told["remedy"]
