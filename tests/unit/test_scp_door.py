"""Who comes in at the Storage SCP: room for senders whatever else is connected, and every refusal counted."""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from edgeai.dicom.door import MAX_NEGOTIATING, MAX_NEGOTIATING_PER_ADDRESS, Door
from edgeai.dicom.hosts import Hosts
from edgeai.dicom.negotiation import AssociationRules, PeerRule, Reason
from edgeai.dicom.scp import server_tls
from edgeai.testing.certificates import Authority
from edgeai.testing.dicom_peers import (
    CR,
    EXPLICIT,
    SUCCESS,
    Receiving,
    associate_rq,
    radiograph,
    save,
    send,
)
from edgeai.testing.waiting import until

REQUEST = associate_rq(((CR, EXPLICIT),))
NO_ROOM = struct.pack(">BxLxBBB", 3, 4, 2, 3, 2)


def connect(port: int, address: str = "127.0.0.1", say: bytes = b"") -> socket.socket:
    """A connection from one of this machine's addresses."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(address, 0))
    connection.sendall(say)
    return connection


def answer(connection: socket.socket) -> bytes:
    """The first ten bytes of what comes back; fewer when it is closed before."""
    data = b""
    try:
        while len(data) < 10 and (part := connection.recv(10 - len(data))):
            data += part
    except ConnectionResetError:
        pass
    return data


def drip(connection: socket.socket) -> None:
    """A byte every 20 ms, for 20 s."""
    for _ in range(1000):
        connection.sendall(b"\0")
        time.sleep(0.02)


def is_accepted(connection: socket.socket) -> bool:
    return answer(connection)[:1] == b"\2"


def rejected(scp: Any) -> dict[str, int]:
    """What was refused, without the reasons that nobody had."""
    return {reason: count for reason, count in scp.rejections.items() if count}


# --- those that do not negotiate ------------------------------------------------------------------


@pytest.mark.parametrize("say", [b"", b"\1\0", REQUEST[:70]], ids=["silent", "two bytes", "half a request"])
def test_40_connections_that_never_negotiate_shut_out_no_sender(
    station: Receiving, storescu: str, tmp_path: Path, say: bytes
) -> None:
    scp = station.start(negotiation_timeout_s=600)
    file = save(radiograph(), tmp_path / "image.dcm")
    silent = [connect(station.port, say=say) for _ in range(40)]
    until(lambda: rejected(scp).get("evicted", 0) == 40 - MAX_NEGOTIATING_PER_ADDRESS)
    subprocess.run([storescu, "127.0.0.1", str(station.port), file], check=True, timeout=600)
    assert station.jobs == 1
    assert [answer(connection) for connection in silent[:24]] == [b""] * 24  # the oldest went
    silent[-1].sendall(REQUEST[len(say) :])
    assert is_accepted(silent[-1])
    for connection in silent:
        connection.close()
    assert {facts["reason"] for kind, facts in station.events if kind == "association.rejected"} == {"evicted"}


@pytest.mark.slow
def test_silent_connections_from_many_addresses_shut_out_no_sender(station: Receiving) -> None:
    scp = station.start(negotiation_timeout_s=600)
    silent = [connect(station.port, f"127.0.1.{1 + number % 50}") for number in range(100)]
    (status,) = send(station.port, radiograph())
    assert status.Status == SUCCESS
    until(lambda: rejected(scp) == {"evicted": 101 - MAX_NEGOTIATING})
    for connection in silent:
        connection.close()


def test_handshakes_that_never_end_shut_out_no_sender(
    station: Receiving, authority: Authority, storescu: str, tmp_path: Path
) -> None:
    server, client = authority.issue("cart"), authority.issue("modality")
    scp = station.start(tls=server_tls(server.certificate, server.key, authority.ca), negotiation_timeout_s=600)
    file = save(radiograph(), tmp_path / "image.dcm")
    silent = [connect(station.port, say=b"\x16\x03\x01"[: number % 4]) for number in range(40)]
    secured: list[str | Path] = ["+tls", client.key, client.certificate, "+cf", authority.ca]
    subprocess.run([storescu, *secured, "127.0.0.1", str(station.port), file], check=True, timeout=600)
    assert station.jobs == 1
    assert rejected(scp)["evicted"] >= 40 - MAX_NEGOTIATING_PER_ADDRESS
    for connection in silent:
        connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("sent", [0, 1000, 100_000])
def test_negotiation_has_an_end_however_much_came(station: Receiving, sent: int) -> None:
    scp = station.start(negotiation_timeout_s=0.5, idle_timeout_s=600)
    large = struct.pack(">BxL", 1, 200_000) + bytes(200_000)
    connection = connect(station.port, say=large[:sent])
    assert answer(connection) == struct.pack(">BxLxxBB", 7, 4, 2, 0)
    station.wait_for_quiet()
    assert rejected(scp) == {"timed-out": 1}
    connection.close()


@pytest.mark.slow
def test_a_byte_now_and_then_does_not_make_negotiation_longer(station: Receiving) -> None:
    scp = station.start(negotiation_timeout_s=0.5, idle_timeout_s=600)
    connection = connect(station.port, say=struct.pack(">BxL", 1, 250_000) + bytes(70_000))
    with pytest.raises(OSError):
        drip(connection)
    station.wait_for_quiet()
    assert rejected(scp) == {"timed-out": 1}
    connection.close()


@pytest.mark.slow
def test_a_handshake_and_a_request_share_one_time(station: Receiving, authority: Authority) -> None:
    server = authority.issue("cart")
    scp = station.start(tls=server_tls(server.certificate, server.key), negotiation_timeout_s=2.0, idle_timeout_s=600)
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.check_hostname = False
    with context.wrap_socket(connect(station.port)) as secured:
        assert answer(secured)[:1] == b"\7"  # the handshake was done, the request never came
    station.wait_for_quiet()
    assert rejected(scp) == {"timed-out": 1}


# --- those that would be inside -------------------------------------------------------------------


def test_one_address_may_not_have_all_associations(station: Receiving) -> None:
    scp = station.start(max_associations=4, max_associations_per_host=2)
    held = [connect(station.port, say=REQUEST) for _ in range(2)]
    assert all(is_accepted(connection) for connection in held)
    third = connect(station.port, say=REQUEST)
    assert answer(third) == NO_ROOM
    another = connect(station.port, "127.0.0.2", say=REQUEST)
    assert is_accepted(another)
    assert rejected(scp) == {"per-address": 1}
    held[0].close()
    third.close()
    until(lambda: scp.connections == 2)
    (status,) = send(station.port, radiograph())
    assert status.Status == SUCCESS
    held[1].close()
    another.close()


def test_known_peers_keep_a_reserve(station: Receiving) -> None:
    peers = (PeerRule(ae_title="WIRE"), PeerRule(ae_title="WIRE", host="127.0.0.2"))
    scp = station.start(AssociationRules(ae_title="EDGEAI", peers=peers), max_associations=4)
    strangers = []
    for _ in range(3):  # one after the other: each is served on a thread of its own, and any may be faster
        strangers.append(connect(station.port, say=REQUEST))
        assert is_accepted(strangers[-1])
    strangers.append(connect(station.port, say=REQUEST))
    assert answer(strangers[-1]) == NO_ROOM
    known = connect(station.port, "127.0.0.2", say=REQUEST)
    assert is_accepted(known)
    late = connect(station.port, "127.0.0.2", say=REQUEST)
    assert answer(late) == NO_ROOM
    assert rejected(scp) == {"reserved": 1, "too-many": 1}
    for connection in (*strangers, known, late):
        connection.close()


def test_who_is_rejected_takes_no_room(station: Receiving) -> None:
    rules = AssociationRules(ae_title="EDGEAI", peers=(PeerRule(ae_title="SENDER"),))
    scp = station.start(rules, max_associations=1)
    stranger = connect(station.port, say=REQUEST)
    assert answer(stranger)[:1] == b"\3"  # and it stays connected
    (status,) = send(station.port, radiograph())
    assert status.Status == SUCCESS
    assert rejected(scp) == {"not-a-peer": 1}
    stranger.close()


# --- every refusal is counted and said ------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "say", "rules"),
    [
        ("called-ae-title", REQUEST, AssociationRules(ae_title="OTHER", require_called_ae_title=True)),
        ("not-a-peer", REQUEST, AssociationRules(ae_title="EDGEAI", peers=(PeerRule(ae_title="CART"),))),
        ("unsupported", REQUEST[:6] + b"\0\2" + REQUEST[8:], None),
        ("malformed", b"GET / HTTP/1.1\r\n\r\n", None),
        ("malformed", REQUEST[:74] + b"\xff" * (len(REQUEST) - 74), None),
        ("malformed", struct.pack(">BxL", 1, 0x7FFFFFFF), None),
    ],
)
def test_a_refusal_is_counted_and_said_with_its_reason(
    station: Receiving, reason: str, say: bytes, rules: AssociationRules | None
) -> None:
    scp = station.start(rules)
    connection = connect(station.port, say=say)
    assert answer(connection)[:1] in (b"\3", b"\7")
    connection.close()
    station.wait_for_quiet()
    assert rejected(scp) == {reason: 1}
    ((kind, facts),) = station.events
    assert (kind, facts["reason"], facts["address"]) == ("association.rejected", reason, "127.0.0.1")


def test_a_client_without_tls_is_counted(station: Receiving, authority: Authority) -> None:
    server = authority.issue("cart")
    scp = station.start(tls=server_tls(server.certificate, server.key))
    connection = connect(station.port, say=REQUEST)
    until(lambda: rejected(scp) == {"tls": 1})
    connection.close()


def test_a_look_whether_the_port_is_open_is_no_rejection(station: Receiving) -> None:
    scp = station.start()
    for _ in range(3):
        connect(station.port).close()
    (status,) = send(station.port, radiograph())
    assert status.Status == SUCCESS
    station.wait_for_quiet()
    assert rejected(scp) == {}
    assert station.events == []
    assert set(scp.rejections) == {str(reason) for reason in Reason}


# --- the door itself ------------------------------------------------------------------------------


def test_strangers_go_before_known_peers() -> None:
    door = Door(max_associations=10, max_per_address=8, hosts=Hosts(["192.0.2.1"]))
    pairs = [socket.socketpair() for _ in range(MAX_NEGOTIATING + 1)]
    known = door.enter(pairs[0][0], "192.0.2.1")
    others = [door.enter(pair[0], f"198.51.100.{number}") for number, pair in enumerate(pairs[1:])]
    assert known is not None
    assert not known.is_evicted
    assert [place.is_evicted for place in others if place] == [True] + [False] * (MAX_NEGOTIATING - 1)
    for pair in pairs:
        pair[0].close()
        pair[1].close()


def test_no_more_connections_than_can_end() -> None:
    door = Door(max_associations=2, max_per_address=2, hosts=Hosts([]))
    pairs = [socket.socketpair() for _ in range(2 + 2 * MAX_NEGOTIATING + 1)]
    places = [door.enter(pair[0], "192.0.2.1") for pair in pairs]
    assert places[-1] is None
    assert places[-2] is not None
    door.leave(places[-2])
    assert door.enter(pairs[-1][0], "192.0.2.1") is not None
    for pair in pairs:
        pair[0].close()
        pair[1].close()


def test_a_name_server_that_is_away_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def away(name: str, *_: object, **__: object) -> list[Any]:
        asked.append(name)
        raise socket.gaierror(socket.EAI_AGAIN, "away")

    monkeypatch.setattr(socket, "getaddrinfo", away)
    known = Hosts(["cart.example", "192.0.2.7", "::ffff:192.0.2.8"])
    known.start()
    try:
        assert known.addresses("cart.example") == frozenset()
        assert known.addresses("192.0.2.7") == {"192.0.2.7"}
        assert known.knows("192.0.2.8")
        assert not known.knows("192.0.2.9")
        for _ in range(100):
            known.addresses("cart.example")
        assert asked == ["cart.example"]  # callers do not ask: only its own thread does
    finally:
        known.stop()
