"""Senders that repeat themselves, break off, talk at once or talk nonsense: no duplicate, no leak, no crash."""

from __future__ import annotations

import random
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from edgeai.roles.ingest import SPOOL_THREADS
from edgeai.testing.dicom_peers import CR, EXPLICIT, Wire, body_of, radiograph, store_pdus

pytestmark = pytest.mark.system


def at_once(*calls: Any) -> list[Any]:
    answers: list[Any] = [None] * len(calls)

    def call(number: int) -> None:
        answers[number] = calls[number]()

    threads = [threading.Thread(target=call, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    return answers


def held_by(pid: int) -> tuple[int, int]:
    """File descriptors and threads of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir())), len(list(Path(f"/proc/{pid}/task").iterdir()))


def test_the_same_instance_twice_is_one_result(cart: Any, until: Any) -> None:
    cart.deploy()
    heard = cart.listen()
    cart.start()
    [phantom] = cart.send()
    assert cart.result_of(phantom)
    for _ in range(3):
        assert set(cart.store(phantom, phantom).values()) == {"Success"}
    [other] = cart.send()
    assert cart.result_of(other)
    assert len(heard.on("result/guard")) == 2


def test_two_senders_at_once_with_the_same_and_with_other_instances(cart: Any, until: Any) -> None:
    cart.deploy()
    heard = cart.listen()
    cart.start()
    shared = [cart.phantom() for _ in range(30)]
    mine, yours = [cart.phantom() for _ in range(15)], [cart.phantom() for _ in range(15)]
    answers = at_once(
        lambda: cart.store(*mine, *shared), lambda: cart.store(*shared, *yours), lambda: cart.store(*reversed(shared))
    )
    assert [set(answer.values()) for answer in answers] == [{"Success"}] * 3
    until(lambda: len(heard.results()) == 60)
    until(lambda: cart.health()[1]["messages_waiting"] == 0)
    assert len(heard.on("result/guard")) == 60
    assert {result["outcome"] for result in heard.results().values()} == {"completed"}


def test_broken_associations_and_garbage_leave_nothing_behind(cart: Any, until: Any) -> None:
    cart.deploy()
    heard = cart.listen()
    cart.profile["ingest"]["scp"]["idle_timeout_s"] = 2
    cart.start()
    cart.send(count=3)
    pid = cart.processes()["ingest"]
    until(lambda: until_idle(cart))
    before = held_by(pid)
    for number in range(25):
        break_off(cart, number)
    for number in range(25):
        talk_nonsense(cart.dicom_port, number)
    aborted = cart.phantom()
    assert cart.store(aborted, options=["--abort"]) == {aborted.instance.sop_instance_uid: "Success"}
    [last] = cart.send()
    assert cart.result_of(last)["outcome"] == "completed"
    assert cart.result_of(aborted)["outcome"] == "completed"
    until(lambda: until_idle(cart), what="the end of all connections")
    assert cart.processes()["ingest"] == pid
    # The pool that talks to the spool grows to its size once, three descriptors a thread (database, its log, the turn).
    most = (before[0] + 3 * SPOOL_THREADS, before[1] + SPOOL_THREADS)
    until(lambda: all(now <= limit for now, limit in zip(held_by(pid), most, strict=True)), what="freeing all")
    until(lambda: list((cart.data_dir / "spool/tmp").iterdir()) == [])
    assert len(heard.results()) == 5
    assert len(heard.on("event")) < 20  # a port scan must not flood whoever reads events
    assert cart.logged("ingest.failed") == []


def until_idle(cart: Any) -> bool:
    from edgeai.spool import read_note

    note = read_note(cart.data_dir / "spool/roles/ingest.note")
    return note is not None and note.detail.get("connections") == 0


def break_off(cart: Any, number: int) -> None:
    """A sender that is gone in the middle of a data set, politely or not."""
    dice = random.Random(number)
    dataset = radiograph(side=256)
    pdus = store_pdus(dataset.SOPInstanceUID, body_of(dataset))
    wire = Wire(cart.dicom_port, contexts=((CR, EXPLICIT),))
    for pdu in pdus[: dice.randrange(1, len(pdus))]:
        wire.socket.sendall(pdu)
    wire.socket.sendall(pdus[-1][: dice.randrange(len(pdus[-1]))] if number % 3 else b"\x07\0\0\0\0\x04\0\0\0\0")
    wire.close(reset=number % 2 == 0)


def talk_nonsense(port: int, number: int) -> None:
    dice = random.Random(number)
    words = [
        b"GET / HTTP/1.1\r\nHost: cart\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + dice.randbytes(500),
        b"\x01\x00\xff\xff\xff\xff" + dice.randbytes(2000),
        b"\x04\x00\x00\x00\x10\x00" + dice.randbytes(4096),
        dice.randbytes(dice.randrange(1, 5000)),
        b"",
    ]
    with socket.create_connection(("127.0.0.1", port), timeout=120) as peer:
        try:
            peer.sendall(words[number % len(words)])
            peer.settimeout(0.05)
            peer.recv(100)
        except (TimeoutError, ConnectionError):
            return


def test_more_senders_than_are_allowed_are_told_so_and_may_come_again(cart: Any, until: Any) -> None:
    cart.deploy()
    cart.profile["ingest"]["scp"]["max_associations"] = 2
    heard = cart.listen()
    cart.start()
    wires = [Wire(cart.dicom_port) for _ in range(2)]
    phantom = cart.phantom()
    assert cart.store(phantom) == {}
    for wire in wires:
        wire.close()
    until(lambda: cart.store(phantom) == {phantom.instance.sop_instance_uid: "Success"})
    assert cart.result_of(phantom)
    assert until(lambda: heard.events("association.rejected"))
