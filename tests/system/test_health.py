"""What was green and should not have been, on a real cart: each has a name, a remedy, and goes when its cause goes.

Each test asks all who answer: ``/health``, ``edgeai status`` with its exit status, and the retained status.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE

from edgeai.mqtt import Broker, connect
from edgeai.testing.certificates import Authority
from edgeai.testing.fakes import Misbehaviour
from edgeai.testing.require import require

pytestmark = pytest.mark.system

US = "1.2.840.10008.5.1.4.1.1.6.1"
NOT_SERVING, NOT_DELIVERING = 1, 3


def answers(cart: Any) -> dict[str, Any]:
    """What ``/health`` and ``edgeai status`` say, which must not differ, and the exit status.

    ``edgeai status`` is asked between two answers of ``/health`` that say the same: meanwhile nothing has changed.
    """
    for _ in range(30):
        before, done, (status, health) = cart.health(), cart.command("status", str(cart.path), "--json"), cart.health()
        if (before[0], codes(before[1])) == (status, codes(health)):
            break
    printed = json.loads(done.stdout)
    assert (printed["serving"], printed["delivering"]) == (health["serving"], health["delivering"]), (printed, health)
    assert (status == 200) == (health["serving"] and health["delivering"]) == (done.returncode == 0)
    return {"exit": done.returncode, "codes": codes(health), **health}


def codes(health: dict[str, Any], kind: str = "problems") -> set[str]:
    return {item["code"] for item in health[kind]}


def first_line(cart: Any) -> str:
    """Of ``edgeai status``, for people."""
    return str(cart.command("status", str(cart.path)).stdout.splitlines()[0])


@pytest.fixture
def few_inodes(cart: Any) -> Iterator[Path]:
    """A small disk with few inodes where the cart keeps its data; needs root."""
    cart.data_dir.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=300", "tmpfs", str(cart.data_dir)],
        capture_output=True,
        text=True,
        check=False,
    )
    require("tmpfs", done.returncode == 0, f"no small disk can be mounted: {done.stderr.strip()}")
    yield cart.data_dir
    cart.close()
    subprocess.run(["umount", "-l", str(cart.data_dir)], check=False)


def test_a_cart_that_is_well_says_so_everywhere_and_its_ledger_adds_up(cart: Any, until: Any) -> None:
    cart.deploy()
    heard = cart.listen()
    cart.start()
    for phantom in cart.send(count=5):
        cart.result_of(phantom)
    until(lambda: cart.health()[0] == 200)
    until(lambda: cart.health()[1]["messages_waiting"] == 0)
    until(lambda: cart.health()[1]["problems"] == [] and cart.health()[1]["state"] == "online")
    page = answers(cart)
    assert (page["exit"], page["problems"], page["state"]) == (0, [], "online")
    assert "serving" in first_line(cart)
    assert "not " not in first_line(cart)
    [jobs] = page["ledger"]["jobs"]
    counted = [jobs[name] for name in ("acknowledged", "waiting", "held", "finished", "missing")]
    assert counted == [5, 0, 0, 5, 0]
    results = next(entry for entry in page["ledger"]["messages"] if entry["lane"] == "result")
    assert (results["queued"], results["delivered"], results["missing"]) == (5, 5, 0)
    until(lambda: heard.on("status")[-1]["state"] == "online")
    status = heard.on("status")[-1]
    assert (status["serving"], status["delivering"], status["problems"]) == (True, True, [])


def test_a_cart_that_refuses_every_image_does_not_serve(cart: Any, until: Any) -> None:
    cart.deploy()
    cart.profile["spool"]["reserve_bytes"] = 10**15
    heard = cart.listen()
    cart.start(ready=False)
    until(lambda: "intake.refusing" in cart.problems() and len(cart.problems()) == 1)
    assert list(cart.store(cart.phantom()).values()) == ["Refused: OutOfResources"]
    page = answers(cart)
    assert (page["exit"], page["serving"], page["delivering"]) == (NOT_SERVING, False, True)
    assert cart.problems()["intake.refusing"]["cause"] == "spool.disk-reserve"
    assert "not serving" in first_line(cart)
    until(lambda: heard.on("status") and heard.on("status")[-1]["serving"] is False)
    counted = 'edgeai_instances_total{code="spool.disk-reserve",outcome="refused"} 1.0'
    metrics = until(lambda: counted in (text := cart.get("/metrics")[1]) and text)
    assert "edgeai_serving 0.0" in metrics


def test_a_broker_that_goes_away_while_nothing_happens_is_noticed(cart: Any, until: Any) -> None:
    cart.deploy()
    cart.listen()
    cart.start()
    until(lambda: cart.health()[0] == 200)
    cart.end_broker(kill=True)
    until(lambda: "sink.down" in cart.problems())
    page = answers(cart)
    assert (page["exit"], page["serving"], page["delivering"]) == (NOT_DELIVERING, True, False)
    problem = cart.problems()["sink.down"]
    assert (problem["about"], problem["cause"].partition(".")[0]) == ("mqtt", "mqtt")
    assert problem["since"] is not None
    assert problem["remedy"]
    assert "not delivering" in first_line(cart)
    assert 'edgeai_sink_up{sink="mqtt"} 0.0' in cart.get("/metrics")[1]
    cart.send()
    until(lambda: cart.health()[1]["messages_waiting"] >= 1)
    cart.broker.start()
    until(lambda: cart.health()[0] == 200)
    assert answers(cart)["exit"] == 0


def test_a_disk_without_inodes_is_a_full_disk(cart: Any, few_inodes: Path, until: Any) -> None:
    cart.deploy()
    cart.listen()
    cart.start()
    until(lambda: cart.health()[0] == 200)
    fillers = few_inodes / "fillers"
    fillers.mkdir()
    with suppress(OSError):
        for number in range(1000):
            (fillers / str(number)).touch()
    refused = cart.phantom()
    assert list(cart.store(refused).values()) == ["Refused: OutOfResources"]
    until(lambda: "intake.refusing" in cart.problems())
    assert answers(cart)["exit"] == NOT_SERVING
    until(lambda: cart.health()[1]["free_inodes"] == 0)
    for path in fillers.iterdir():
        path.unlink()
    until(lambda: cart.health()[0] == 200)
    assert set(cart.store(refused).values()) == {"Success"}
    assert cart.result_of(refused)["outcome"] == "completed"


def test_a_write_ahead_log_that_is_damaged_is_no_green(cart: Any, until: Any) -> None:
    cart.deploy()
    cart.listen()
    cart.start()
    cart.send(count=3)
    until(lambda: cart.health()[0] == 200)
    log = cart.data_dir / "spool/spool.sqlite-wal"
    log.write_bytes(os.urandom(log.stat().st_size or 8192))
    until(lambda: cart.health()[0] != 200)
    until(lambda: not (health := cart.health()[1]).get("serving") and not health.get("delivering"))
    done = cart.command("status", str(cart.path), "--json")
    assert done.returncode == NOT_SERVING


def test_a_job_that_outlives_its_deadline_while_nobody_ends_it_is_no_green(cart: Any, until: Any) -> None:
    flag = cart.folder / "hangs"
    flag.touch()
    cart.deploy(misbehave=Misbehaviour(how="hang", flag=str(flag)), deadline_s=3)
    cart.listen()
    cart.start()
    until(lambda: cart.health()[0] == 200)
    supervisor = cart.processes()["supervise"]
    os.kill(supervisor, signal.SIGSTOP)
    try:
        cart.send()
        until(lambda: "infer.stalled" in cart.problems())
        assert answers(cart)["exit"] == NOT_SERVING
        assert cart.problems()["infer.stalled"]["facts"]["jobs"] == 1
    finally:
        flag.unlink()
        os.kill(supervisor, signal.SIGCONT)
    until(lambda: cart.health()[0] == 200)
    assert len(cart.sent) == 1
    assert cart.result_of(cart.sent[0])["outcome"] in ("completed", "failed")


def test_a_log_that_is_damaged_while_the_cart_is_off_throws_no_acknowledged_image_away(cart: Any, until: Any) -> None:
    flag = cart.folder / "hangs"
    flag.touch()
    cart.deploy(misbehave=Misbehaviour(how="hang", flag=str(flag)), deadline_s=600)
    heard = cart.listen()
    cart.start()
    until(lambda: cart.health()[0] == 200)
    cart.send(count=6)
    spool = cart.data_dir / "spool"
    acknowledged = {path.name: path.read_bytes() for path in (spool / "instances").iterdir()}
    assert len(acknowledged) == 6
    assert cart.kill("supervise")  # and the kernel takes the others along
    until(lambda: cart.leftovers() == [])
    log = spool / "spool.sqlite-wal"
    with log.open("r+b") as file:
        file.seek(log.stat().st_size // 10)
        file.write(b"\xa5" * 5000)
    flag.unlink()
    cart.process.wait()
    cart.start(ready=False)
    until(lambda: "spool.images-lost" in cart.problems())
    kept = {path.name: path.read_bytes() for path in (spool / "lost").iterdir()}
    assert kept
    assert kept.items() <= acknowledged.items()
    [event] = until(lambda: heard.events("spool.images-lost"))
    assert event["facts"]["images"] == len(kept)
    # What the database still knows is done; what it forgot is sent again by whoever reads that.
    cart.wait_ready()
    until(lambda: len(heard.results()) == 6 - len(kept))
    assert set(cart.store(*cart.sent).values()) == {"Success"}
    until(lambda: len(heard.results()) == 6)


@pytest.mark.parametrize(("days", "code"), [(-1, "certificate.expired"), (5, "certificate.expiring")])
def test_the_certificate_of_the_dicom_port_is_watched(
    cart: Any, until: Any, tmp_path: Path, days: int, code: str
) -> None:
    (tmp_path / "ca").mkdir()
    identity = Authority(tmp_path / "ca").issue("cart", valid_days=days)
    cart.deploy()
    cart.profile["ingest"]["scp"]["tls"] = {"certificate": str(identity.certificate), "key": str(identity.key)}
    heard = cart.listen()
    cart.start(ready=False)
    until(lambda: all(role["state"] == "ready" for role in cart.health()[1].get("roles", [{"state": ""}])[1:]))
    if days > 0:
        until(lambda: cart.health()[0] == 200)
        until(lambda: code in codes(cart.health()[1], "warnings"))
        until(lambda: heard.on("status")[-1]["state"] == "online")
        until(lambda: code in codes(heard.on("status")[-1], "warnings"))
        identity.certificate.write_text("cut short")  # as a renewal that went wrong: the port goes on
        until(lambda: "certificate.not-renewed" in {item["code"] for item in cart.health()[1]["warnings"]})
        assert cart.health()[0] == 200
        Authority(tmp_path / "ca").issue("cart", valid_days=90)
        gone = {code, "certificate.not-renewed"}
        until(lambda: not gone & {item["code"] for item in cart.health()[1]["warnings"]})
        return
    until(lambda: set(cart.problems()) == {code})
    page = answers(cart)
    assert (page["exit"], page["serving"], page["delivering"]) == (NOT_SERVING, False, True)
    assert cart.problems()[code]["about"] == "ingest.scp.tls.certificate"
    expiry = next(line for line in cart.get("/metrics")[1].splitlines() if line.startswith("edgeai_certificate_exp"))
    assert float(expiry.split()[1]) < 0


def test_forty_silent_connections_shut_nobody_out_and_are_named(cart: Any, until: Any) -> None:
    cart.deploy()
    cart.listen()
    cart.start()
    until(lambda: cart.health()[0] == 200)
    silent = [socket.create_connection(("127.0.0.1", cart.dicom_port)) for _ in range(40)]
    try:
        assert cart.result_of(cart.send()[0])["outcome"] == "completed"
        until(lambda: "connections.crowded" in {item["code"] for item in cart.health()[1]["warnings"]})
        until(lambda: sum(cart.health()[1]["rejections"].values()) >= 10)
        until(lambda: 'edgeai_associations_rejected_total{reason="evicted"}' in cart.get("/metrics")[1])
    finally:
        for connection in silent:
            connection.close()


def test_senders_that_are_turned_away_since_all_associations_are_taken(cart: Any, until: Any) -> None:
    cart.deploy()
    cart.profile["ingest"]["scp"]["max_associations"] = 2
    cart.listen()
    cart.start()
    until(lambda: cart.health()[0] == 200)
    entity = AE()
    entity.add_requested_context(US)
    open_ones = [entity.associate("127.0.0.1", cart.dicom_port) for _ in range(2)]
    try:
        assert all(association.is_established for association in open_ones)
        third = entity.associate("127.0.0.1", cart.dicom_port)
        assert third.is_rejected
        until(lambda: "connections.full" in cart.problems())
        assert answers(cart)["exit"] == NOT_SERVING
    finally:
        for association in open_ones:
            association.release()
    until(lambda: cart.health()[0] == 200)


def test_another_cart_with_the_same_identity_is_noticed(cart: Any, until: Any) -> None:
    cart.deploy()
    heard = cart.listen()
    cart.start()
    until(lambda: cart.health()[0] == 200)

    def is_noticed() -> bool:
        # As another cart does: it connects, and again when it was thrown out.
        twin = connect(Broker(host="127.0.0.1", port=cart.broker.port, client_id="edgeai-lab-cart"))
        twin.wait_lost(3.0)
        twin.close()
        return "identity.taken" in cart.problems()

    until(is_noticed, 600)
    page = answers(cart)
    assert (page["exit"], page["serving"], page["delivering"]) == (NOT_DELIVERING, True, False)
    assert "device.id" in cart.problems()["identity.taken"]["remedy"]
    # The cause is said while this cart is thrown out; in between it is back.
    until(lambda: is_noticed() and "mqtt.session-taken-over" in cart.problems()["identity.taken"]["cause"])
    until(lambda: heard.events("mqtt.session-taken-over"))


def test_a_deployment_that_cannot_run_is_named_with_what_it_holds(cart: Any, until: Any) -> None:
    cart.deploy()
    cart.profile["plugins"]["allow"] = []
    heard = cart.listen()
    cart.start(ready=False)
    until(lambda: "deployment.held" in cart.problems())
    until(lambda: set(cart.store(cart.phantom()).values()) == {"Success"})
    until(lambda: cart.problems()["deployment.held"]["facts"]["jobs"] == 1)
    page = answers(cart)
    assert (page["exit"], page["serving"]) == (NOT_SERVING, False)
    assert page["ledger"]["jobs"][0]["held"] == 1
    until(lambda: "edgeai_jobs_held" in cart.get("/metrics")[1])
    until(lambda: heard.on("status")[-1]["deployments"][0]["state"] == "held")


def test_a_health_port_that_is_taken_is_a_problem_that_the_others_can_tell(cart: Any, until: Any) -> None:
    cart.deploy()
    heard = cart.listen()
    with socket.create_server(("127.0.0.1", cart.health_port)):
        cart.start(ready=False)
        until(lambda: heard.on("status") and heard.on("status")[-1]["serving"])
        until(lambda: [item["code"] for item in heard.on("status")[-1]["problems"]] == ["health.port"])
        assert cart.result_of(cart.send()[0])["outcome"] == "completed"
    until(lambda: cart.health()[0] == 200)


def test_a_profile_that_was_edited_under_a_running_cart_says_what_to_do(cart: Any, until: Any) -> None:
    cart.deploy()
    cart.listen()
    cart.start()
    cart.deploy("later")
    cart.write()
    done = cart.command("status", str(cart.path), "--json")
    assert done.returncode == NOT_SERVING
    [problem] = json.loads(done.stdout)["problems"]
    assert (problem["code"], problem["about"]) == ("role.not-running", "infer:later")
    assert "restart the service" in problem["remedy"]
