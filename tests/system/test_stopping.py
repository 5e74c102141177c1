"""SIGTERM: what is held is finished, everyone is told, nothing stays behind, and the next start goes on."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from edgeai.roles.supervise import STOP_ROLES_S
from edgeai.testing.fakes import Misbehaviour

pytestmark = pytest.mark.system

_STANDS = """
import time
from pathlib import Path
def _stands(how):
    while not Path({gate!r}).exists():
        time.sleep(0.01)
    time.sleep(0.2)
fakes._die = _stands
"""
"""An engine that stands, at what it misbehaves on, until a file is there."""


def is_stopping(cart: Any) -> bool:
    note = cart.note("supervise")
    return note is not None and note.state == "stopping"


def test_a_stop_ends_everything_within_seconds_and_a_start_goes_on(cart: Any, until: Any) -> None:
    gate = cart.folder / "gate"
    engine = cart.add_backend("stands", prelude=_STANDS.format(gate=str(gate)))
    cart.deploy(backends=[engine], misbehave=Misbehaviour(how="slow", mean_above=0.9), deadline_s=600)
    heard = cart.listen()
    cart.start()
    sent = cart.send(count=4) + cart.send(cart.BRIGHT, count=16)
    until(lambda: len(heard.results()) >= 3)
    roles = cart.processes()
    cart.process.send_signal(signal.SIGTERM)
    until(lambda: is_stopping(cart))
    gate.touch()
    assert cart.process.wait(60) == 0  # the supervisor's own limits add up to 22
    assert cart.leftovers() == []
    assert all(not os.path.exists(f"/proc/{pid}") for pid in roles.values())
    until(lambda: heard.on("status")[-1]["state"] == "offline")
    assert 3 <= len(heard.results()) < 20
    assert cart.logged("run.stopped")
    assert cart.logged("role.died") == []
    cart.start()
    until(lambda: len(heard.results()) == 20)
    order = [result["instance"]["sop_instance_uid"] for result in heard.results().values()]
    assert order == [phantom.instance.sop_instance_uid for phantom in sent]
    assert {result["outcome"] for result in heard.results().values()} == {"completed"}
    until(lambda: heard.on("status")[-1]["state"] == "online")


def test_a_planned_stop_says_offline_and_nothing_else_and_a_death_says_degraded(cart: Any, until: Any) -> None:
    cart.deploy(misbehave=Misbehaviour(how="slow"))
    cart.profile["supervise"] |= {"restart_min_s": 3.0, "restart_max_s": 3.0}  # so that nobody overlooks the death
    heard = cart.listen()
    cart.start()
    until(lambda: heard.on("status") and heard.on("status")[-1]["state"] == "online")
    seen = len(heard.on("status"))
    assert cart.kill("infer:guard")
    until(lambda: any(body["state"] == "degraded" for body in heard.on("status")[seen:]), what="a role's death said")
    until(lambda: heard.on("status")[-1]["state"] == "online")
    cart.send(count=3)
    until(lambda: heard.results())
    seen = len(heard.on("status"))
    assert cart.stop() == 0
    until(lambda: heard.on("status")[-1]["state"] == "offline")
    assert {(body["state"], body.get("serving", True)) for body in heard.on("status")[seen:]} <= {
        ("online", True),  # figures that had moved
        ("offline", True),
    }


def test_a_stop_lets_an_image_that_is_arriving_arrive(cart: Any, until: Any) -> None:
    from edgeai.testing.dicom_peers import SUCCESS, Wire, body_of, radiograph, store_pdus

    cart.deploy()
    heard = cart.listen()
    cart.start()
    dataset = radiograph(side=512)
    pdus = store_pdus(dataset.SOPInstanceUID, body_of(dataset))
    wire = Wire(cart.dicom_port)
    for pdu in pdus[:-4]:
        wire.socket.sendall(pdu)
    until(lambda: list((cart.data_dir / "spool/tmp").iterdir()))
    cart.process.send_signal(signal.SIGTERM)
    until(lambda: is_stopping(cart))
    for pdu in pdus[-4:]:
        wire.socket.sendall(pdu)
    assert wire.status().Status == SUCCESS
    assert cart.process.wait(120) == 0
    cart.start()
    until(lambda: len(heard.results()) == 1)


def test_a_second_signal_ends_at_once(cart: Any, until: Any) -> None:
    flag = cart.folder / "hangs"
    flag.touch()
    cart.deploy(misbehave=Misbehaviour(how="hang", flag=str(flag)), deadline_s=600)
    heard = cart.listen()
    cart.start()
    [phantom] = cart.send()
    until(lambda: cart.health()[1]["jobs_waiting"] == 1)
    cart.process.send_signal(signal.SIGTERM)
    until(lambda: is_stopping(cart))
    assert cart.process.poll() is None
    cart.process.send_signal(signal.SIGINT)
    assert cart.process.wait(STOP_ROLES_S - 2) == 0, "before it would have ended by itself"
    until(lambda: cart.leftovers() == [])
    flag.unlink()
    cart.start()
    assert cart.result_of(phantom)["outcome"] == "completed"
    assert heard.events("plugin.fault") == []


def test_a_supervisor_that_is_killed_leaves_no_process(cart: Any, until: Any) -> None:
    cart.deploy()
    heard = cart.listen()
    cart.start()
    cart.send()
    until(lambda: len(heard.results()) == 1)
    assert cart.kill("supervise")
    cart.process.wait(60)
    until(lambda: cart.leftovers() == [], what="the end of the roles")
    until(lambda: heard.on("status")[-1]["state"] == "offline", what="the last will")
    done = cart.command("status", str(cart.path), "--json")
    assert done.returncode == 1
    assert '"state": "offline"' in done.stdout
    cart.start()
    assert cart.result_of(cart.send()[0])["outcome"] == "completed"
