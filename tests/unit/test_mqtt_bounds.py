"""What a broker may make this side hold in memory: nothing that nobody asked for."""

from __future__ import annotations

import socket
import struct
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress

import pytest

from edgeai.api import Message, SinkFailed, SinkRequest
from edgeai.mqtt import Broker, Outgoing, connect
from edgeai.mqtt.client import BoundedClient
from edgeai.sinks.mqtt import MAX_INCOMING_BYTES, MqttSink
from edgeai.testing.broker import Mosquitto
from edgeai.testing.scripted_broker import Puback, Raw, ScriptedBroker, publish_packet

pytestmark = pytest.mark.slow

HUGE = 256 * 1024 * 1024 - 100


class Flood:
    """Accepts one MQTT client, then sends it ``piece`` again and again until it hangs up."""

    def __init__(self, version: int, head: bytes, piece: bytes) -> None:
        self.sent = 0
        self.connect = b""
        self.is_over = threading.Event()
        self._head, self._piece = head, piece
        self._connack = b"\x20\x03\x00\x00\x00" if version == 5 else b"\x20\x02\x00\x00"
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # what it never reads piles up elsewhere
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        self._listener.close()  # who comes again is refused, and need not wait for an answer
        with client, suppress(OSError):
            self.connect = client.recv(4096)
            client.sendall(self._connack + self._head)
            while self.sent < HUGE:
                client.sendall(self._piece)
                self.sent += len(self._piece)
        self.is_over.set()

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(params=[5, 4], ids=["5", "3.1.1"])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def sink_to(port: int, version: int) -> MqttSink:
    protocol = "5" if version == 5 else "3.1.1"
    return MqttSink(SinkRequest(device_id="cart", site="lab", settings={"port": port, "protocol": protocol}))


def test_a_publish_of_256_mb_to_who_subscribed_to_nothing_is_not_taken(version: int) -> None:
    head, size = publish_packet("any/topic", HUGE, version=version)
    flood = Flood(version, head, bytes(65536))
    sink = sink_to(flood.port, version)
    tracemalloc.start()
    with suppress(SinkFailed):
        sink.put([])
    assert flood.is_over.wait(240), "the connection was not dropped"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == HUGE
    assert flood.sent < 32 << 20, "only what the kernel's buffers hold"
    assert peak < 8 << 20
    if version == 5:
        assert b"\x27" + struct.pack("!I", MAX_INCOMING_BYTES) in flood.connect, "CONNECT says what is taken"
    sink.close()
    flood.close()


def test_the_reason_is_said(version: int) -> None:
    head, _ = publish_packet("any/topic", HUGE, version=version)
    with ScriptedBroker(script=lambda _sent: Raw(head)) as peer:
        sink = sink_to(peer.port, version)
        with pytest.raises(SinkFailed, match="packet of 26843"):
            sink.put([Message(key="k", channel="event", body=b"{}", sequence=1)])
        sink.close()


_open = BoundedClient._create_socket_connection


def _narrow(client: BoundedClient) -> socket.socket:
    """A connection in which few answers are enough to fill what the kernel keeps of them."""
    made: socket.socket = _open(client)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return made


@pytest.mark.parametrize("qos", [1, 2])
def test_a_broker_that_sends_on_and_on_and_takes_no_answer_is_left(
    version: int, qos: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeai.mqtt.client.MAX_UNANSWERED", 200)
    monkeypatch.setattr(BoundedClient, "_create_socket_connection", _narrow)
    pieces = []
    for mid in range(1, 2001):
        head, _ = publish_packet("t", 2, qos=qos, mid=mid, version=version)
        pieces.append(head + b"{}")
    flood = Flood(version, b"", b"".join(pieces))
    sink = sink_to(flood.port, version)
    with suppress(SinkFailed):
        sink.put([])
    assert flood.is_over.wait(240), "it was never left"
    assert flood.sent < HUGE, "it was left before it had sent all"
    sink.close()
    flood.close()


def test_a_packet_that_cannot_be_read_is_a_loss_that_is_seen_at_once(version: int) -> None:
    """paho's thread would end in silence, and the loss be seen 20 seconds later."""
    garbage = b"\x30\x03\x00\x09a"  # a topic that is longer than its packet
    with ScriptedBroker(script=lambda _sent: Raw(garbage)) as peer:
        link = connect(
            Broker(host="127.0.0.1", port=peer.port, client_id="c", protocol="5" if version == 5 else "3.1.1")
        )
        with suppress(Exception):
            link.publish([Outgoing(topic="t", body=b"{}")], timeout_s=30)
        assert link.wait_lost(10)
        link.close()


def test_a_real_broker_keeps_to_what_connect_says(broker: Mosquitto) -> None:
    small = connect(Broker(host="127.0.0.1", port=broker.port, client_id="small", max_incoming_bytes=2000))
    received: list[bytes] = []
    small.subscribe("#", lambda _topic, body: received.append(body))
    sender = connect(Broker(host="127.0.0.1", port=broker.port, client_id="sender"))
    sender.publish([Outgoing(topic="t", body=bytes(n)) for n in (10, 100_000, 11)])
    end = threading.Event()
    for _ in range(5000):
        if len(received) == 2:
            break
        end.wait(0.05)
    assert [len(body) for body in received] == [10, 11]
    assert small.is_open
    small.close()
    sender.close()


def test_closing_does_not_wait_for_a_broker_that_reads_nothing() -> None:
    """paho waits until the DISCONNECT is out, which may be never."""
    with ScriptedBroker(script=lambda _sent: Puback()) as peer:
        link = connect(Broker(host="127.0.0.1", port=peer.port, client_id="c"))
        stuck = threading.Event()
        peer.script = lambda _sent: (stuck.wait(600), Puback())[1]
        for number in range(300):
            link.send(Outgoing(topic="t", body=bytes(200_000)))
            if number > 100 and not link.is_open:
                break
        closing = threading.Thread(target=link.close, daemon=True)
        closing.start()
        closing.join(240)
        assert not closing.is_alive()
        stuck.set()


@pytest.fixture(autouse=True)
def _no_thread_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("paho")]
