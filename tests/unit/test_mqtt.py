"""MQTT against a real Mosquitto: delivery, order, TLS, refusals, fallback, loss."""

from __future__ import annotations

import asyncio
import gc
import json
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from edgeai.api import Message, MqttError, SinkFailed, SinkRequest
from edgeai.mqtt import Broker, Connection, Outgoing, connect, tls_context
from edgeai.sinks.mqtt import MqttSink
from edgeai.testing.broker import Mosquitto, free_port
from edgeai.testing.certificates import Authority
from edgeai.testing.embedded_broker import EmbeddedBroker


def _broker(port: int, client_id: str = "test", **more: object) -> Broker:
    return Broker(host="127.0.0.1", port=port, client_id=client_id, **more)  # type: ignore[arg-type]


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    """What is closed when the test ends; asked for behind a broker, so that it is closed before."""
    with ExitStack() as stack:
        yield stack


def _connect(ends: ExitStack, broker: Broker) -> Connection:
    return ends.enter_context(closing(connect(broker)))


class Subscriber:
    """Collects what a real subscriber receives."""

    def __init__(self, ends: ExitStack, port: int, topic: str = "#") -> None:
        self.messages: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.connection = _connect(ends, _broker(port, f"sub-{topic}"))
        self.connection.subscribe(topic, lambda name, body: self.messages.put((name, body)))

    def take(self, count: int) -> list[tuple[str, bytes]]:
        return [self.messages.get(timeout=240) for _ in range(count)]


def _sink(ends: ExitStack, port: int, **settings: object) -> MqttSink:
    request = SinkRequest(device_id="cart", site="lab", settings={"port": port, **settings})
    return ends.enter_context(closing(MqttSink(request)))


def _messages(count: int, first: int = 0) -> list[Message]:
    return [
        Message(key=f"k{i}", channel="result/guard", body=f'{{"n":{i}}}'.encode(), sequence=i)
        for i in range(first, first + count)
    ]


def test_a_batch_larger_than_the_window_arrives_whole_and_in_order(broker: Mosquitto, ends: ExitStack) -> None:
    subscriber = Subscriber(ends, broker.port, "edgeai/#")
    sink = _sink(ends, broker.port, max_inflight=5)
    sink.put(_messages(57))
    received = subscriber.take(57)
    assert [json.loads(body)["n"] for _, body in received] == list(range(57))
    assert {topic for topic, _ in received} == {"edgeai/1/lab/cart/result/guard"}
    sink.close()


def test_mqtt_5_is_taken_where_the_broker_has_it_and_3_1_1_when_told(broker: Mosquitto, ends: ExitStack) -> None:
    assert _connect(ends, _broker(broker.port)).protocol == "5"
    assert _connect(ends, _broker(broker.port, "old", protocol="3.1.1")).protocol == "3.1.1"


def test_a_broker_without_mqtt_5_is_spoken_to_in_3_1_1(ends: ExitStack) -> None:
    """A listener that answers an MQTT 5 CONNECT as 3.1.1 brokers do: CONNACK, return code 1."""
    server = ends.enter_context(socket.create_server(("127.0.0.1", 0)))

    def serve() -> None:
        for _ in range(3):
            client = ends.enter_context(server.accept()[0])
            connect_packet = client.recv(1024)
            level = connect_packet[connect_packet.index(b"MQTT") + 4]
            client.sendall(b"\x20\x02\x00" + (b"\x01" if level == 5 else b"\x00"))
            if level == 5:
                client.close()

    threading.Thread(target=serve, daemon=True).start()
    port = server.getsockname()[1]
    connection = _connect(ends, _broker(port))
    assert connection.protocol == "3.1.1"
    with pytest.raises(MqttError) as failure:
        _connect(ends, _broker(port, protocol="5"))
    assert failure.value.code == "mqtt.unsupported-version"
    server.close()


@pytest.mark.slow
def test_an_embedded_broker_that_hangs_on_mqtt_5_with_a_will_is_spoken_to_in_3_1_1(ends: ExitStack) -> None:
    with EmbeddedBroker() as embedded:
        subscriber = Subscriber(ends, embedded.port, "edgeai/#")
        sink = _sink(ends, embedded.port)
        sink.put(_messages(20))
        assert [json.loads(body)["n"] for _, body in subscriber.take(20)] == list(range(20))
        sink.close()


@pytest.mark.slow
def test_an_embedded_broker_that_does_not_end_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeai.testing.embedded_broker._STOP_TIMEOUT_S", 0.2)
    embedded = EmbeddedBroker().start()
    ending = asyncio.Event()
    monkeypatch.setattr(embedded._broker, "shutdown", ending.wait)
    embedded.stop()
    assert not embedded._thread.is_alive()


def test_no_broker_is_one_clear_error(ends: ExitStack) -> None:
    port = free_port()
    with pytest.raises(MqttError) as failure:
        _connect(ends, _broker(port))
    assert failure.value.code == "mqtt.unreachable"
    assert str(port) in str(failure.value)
    assert failure.value.remedy


def test_a_wrong_password_is_refused_in_the_brokers_words(mosquitto: str, tmp_path: Path, ends: ExitStack) -> None:
    port = free_port()
    (tmp_path / "passwords").write_text("")
    extra = f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {tmp_path}/passwords\n"
    with Mosquitto(tmp_path, port=port, extra=extra), pytest.raises(MqttError) as failure:
        _connect(ends, _broker(port, username="cart", password="wrong"))
    assert failure.value.code == "mqtt.not-authorised"


def test_a_publish_that_the_access_list_denies_is_refused_and_no_other(
    mosquitto: str, tmp_path: Path, ends: ExitStack
) -> None:
    port = free_port()
    (tmp_path / "acl").write_text("topic readwrite #\ntopic deny edgeai/1/lab/cart/event\n")
    extra = f"listener {port} 127.0.0.1\nallow_anonymous true\nacl_file {tmp_path}/acl\n"
    event = Message(key="e", channel="event", body=b"{}", sequence=9)
    with Mosquitto(tmp_path, port=port, extra=extra):
        sink = _sink(ends, port)
        [receipt] = sink.put([event])
        assert (receipt.verdict, receipt.code) == ("refused", "mqtt.not-authorised")
        assert [receipt.verdict for receipt in sink.put(_messages(3))] == ["delivered"] * 3
        sink.close()


def test_a_broker_that_dies_fails_the_batch_and_the_next_put_reconnects(broker: Mosquitto, ends: ExitStack) -> None:
    sink = _sink(ends, broker.port)
    sink.put(_messages(3))
    broker.kill()
    with pytest.raises(SinkFailed):
        sink.put(_messages(3, first=3))
    broker.start()
    subscriber = Subscriber(ends, broker.port, "edgeai/+/+/+/result/#")
    sink.put(_messages(3, first=3))
    assert [json.loads(body)["n"] for _, body in subscriber.take(3)] == [3, 4, 5]
    sink.close()


def test_status_is_retained_and_the_will_replaces_it_when_the_cart_dies(broker: Mosquitto, ends: ExitStack) -> None:
    sink = _sink(ends, broker.port)
    sink.put([Message(key="status", channel="status", body=b'{"state":"online"}')])
    late = Subscriber(ends, broker.port, "edgeai/1/lab/cart/status")
    assert late.take(1) == [("edgeai/1/lab/cart/status", b'{"state":"online"}')]
    _cut(sink)
    _, body = late.take(1)[0]
    assert json.loads(body)["state"] == "offline"
    sink.put(_messages(1))
    assert late.take(1)[0][1] == b'{"state":"online"}', "the status comes back with the connection"
    sink.close()
    assert json.loads(late.take(1)[0][1])["state"] == "offline", "a clean end says offline too"


def _cut(sink: MqttSink) -> None:
    """Break the TCP connection without a DISCONNECT, as a power cut would."""
    connection = sink._connection
    assert connection is not None
    sock = connection._client.socket()
    assert sock is not None
    sock.shutdown(socket.SHUT_RDWR)
    assert connection.wait_lost(10)


def test_tls_with_client_certificates(mosquitto: str, tmp_path: Path, authority: Authority, ends: ExitStack) -> None:
    port = free_port()
    server, client = authority.issue("broker"), authority.issue("cart")
    extra = (
        f"listener {port} 127.0.0.1\nallow_anonymous true\nrequire_certificate true\n"
        f"cafile {authority.ca}\ncertfile {server.certificate}\nkeyfile {server.key}\n"
    )
    with Mosquitto(tmp_path, port=port, extra=extra):
        good = tls_context(authority.ca, client.certificate, client.key)
        _connect(ends, _broker(port, tls=good)).publish([Outgoing(topic="t", body=b"{}")])
        with pytest.raises(MqttError) as nameless:
            _connect(ends, _broker(port, tls=tls_context(authority.ca, None, None))).publish(
                [Outgoing(topic="t", body=b"{}")]
            )
        assert nameless.value.code in ("mqtt.tls", "mqtt.lost", "mqtt.unreachable")
        with pytest.raises(MqttError) as stranger:
            _connect(ends, _broker(port, tls=tls_context(None, None, None)))
        assert stranger.value.code == "mqtt.tls"


def test_unusable_certificate_files_say_which(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    with pytest.raises(MqttError) as failure:
        tls_context(tmp_path / "ca.pem", None, None)
    assert failure.value.code == "mqtt.tls"
    assert "ca.pem" in str(failure.value)


def test_a_missing_password_file_says_so(tmp_path: Path, ends: ExitStack) -> None:
    with pytest.raises(MqttError) as failure:
        _sink(ends, 1883, username="u", password_file=tmp_path / "absent")
    assert failure.value.code == "mqtt.password-file"


def test_closing_twice_is_fine(broker: Mosquitto, ends: ExitStack) -> None:
    connection: Connection = _connect(ends, _broker(broker.port))
    connection.close()
    connection.close()
    assert not connection.is_open
    with pytest.raises(MqttError):
        connection.publish([Outgoing(topic="t", body=b"{}")])


@pytest.fixture
def descriptors() -> Iterator[Callable[[], int]]:
    """How many are open now; garbage is not collected meanwhile: a broker that comes and goes is faster."""
    gc.collect()
    gc.disable()
    yield lambda: len(list(Path("/proc/self/fd").iterdir()))
    gc.enable()


@pytest.mark.slow
def test_a_connection_that_is_over_keeps_no_descriptor(broker: Mosquitto, descriptors: Callable[[], int]) -> None:
    before = descriptors()
    for number in range(20):
        connection = connect(_broker(broker.port, f"fd-{number}"))
        connection.publish([Outgoing(topic="a", body=b"{}")])
        connection.close()
        connection.close()
    assert descriptors() <= before + 2


@pytest.mark.slow
def test_a_connection_that_does_not_come_about_keeps_no_descriptor(
    mosquitto: str, tmp_path: Path, authority: Authority, descriptors: Callable[[], int]
) -> None:
    """Of a broker that nobody vouches for, one that is not there, and one that refuses, for as long as it takes."""
    port, server = free_port(), authority.issue("broker")
    refusing, tls = free_port(), f"certfile {server.certificate}\nkeyfile {server.key}\n"
    extra = f"listener {port} 127.0.0.1\nallow_anonymous true\n{tls}"
    extra += f"listener {refusing} 127.0.0.1\nallow_anonymous false\n"
    brokers = [_broker(port, tls=tls_context(None, None, None)), _broker(free_port()), _broker(refusing)]
    with Mosquitto(tmp_path, port=port, extra=f"per_listener_settings true\n{extra}"):
        before, failures = descriptors(), []
        for broker in brokers * 8:
            with pytest.raises(MqttError) as failure:
                connect(broker)
            failures.append(failure.value)  # and with it the frames, and what stands in them
        assert descriptors() <= before + 2
    assert {failure.code for failure in failures} == {"mqtt.tls", "mqtt.unreachable", "mqtt.not-authorised"}
