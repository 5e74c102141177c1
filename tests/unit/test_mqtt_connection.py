"""One session with a broker: how many may be on their way, how a refusal is called, and what a CONNACK bounds."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from edgeai.api import Message, MqttError, SinkFailed, SinkRequest
from edgeai.mqtt import Broker, Connection, Outgoing, connect
from edgeai.plugins import PluginInfo, load_from
from edgeai.sinks.mqtt import MqttSink
from edgeai.testing.scripted_broker import Close, Hang, Puback, ScriptedBroker, Sent


@pytest.fixture
def peer() -> Iterator[ScriptedBroker]:
    with ScriptedBroker() as running:
        yield running


def to(peer: ScriptedBroker, protocol: str = "5", **more: object) -> Connection:
    return connect(Broker(host="127.0.0.1", port=peer.port, client_id="t", protocol=protocol, **more))  # type: ignore[arg-type]


def outgoing(count: int) -> list[Outgoing]:
    return [Outgoing(topic="edgeai/1/lab/cart/event", body=b'{"n":%d}' % n) for n in range(1, count + 1)]


def numbers(peer: ScriptedBroker) -> list[int]:
    return [sent.body["n"] for sent in list(peer.sent)]


def receive_maximum(count: int) -> bytes:
    return b"\x21" + struct.pack("!H", count)


# --- the window ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "window"),
    [(20, None, 20), (20, 7, 7), (7, 20, 7), (1, None, 1), (5, 1, 1), (65_535, None, 65_535)],
)
def test_the_window_is_the_smaller_of_what_both_sides_bear(
    peer: ScriptedBroker, ours: int, theirs: int | None, window: int
) -> None:
    peer.properties = b"" if theirs is None else receive_maximum(theirs)
    connection = to(peer, max_inflight=ours)
    assert connection.window == window
    connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("window", [1, 3])
def test_no_more_than_the_window_are_sent_to_who_answers_nothing(peer: ScriptedBroker, window: int) -> None:
    peer.script = lambda _sent: Hang()
    connection = to(peer, max_inflight=window)
    with pytest.raises(MqttError) as caught:
        connection.publish(outgoing(8), timeout_s=1.0)
    assert caught.value.code == "mqtt.lost"
    assert "no PUBACK" in str(caught.value)
    peer.wait(lambda: len(peer.sent) == window)
    connection.close()
    assert numbers(peer) == list(range(1, window + 1))


def test_the_window_moves_on_with_its_oldest(peer: ScriptedBroker) -> None:
    """The fourth is never answered: the fifth and the sixth may go, the seventh may not."""
    peer.script = lambda sent: Hang() if sent.body["n"] == 4 else Puback()
    connection = to(peer, max_inflight=3)
    with pytest.raises(MqttError):
        connection.publish(outgoing(9), timeout_s=1.0)
    connection.close()
    assert numbers(peer) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("window", [1, 4])
def test_a_sink_keeps_the_window_too(peer: ScriptedBroker, monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    monkeypatch.setattr("edgeai.sinks.mqtt.PUT_S", 0.5)
    peer.script = lambda _sent: Hang()
    settings = {"port": peer.port, "protocol": "5", "max_inflight": window}
    sink = MqttSink(SinkRequest(device_id="cart", site="lab", settings=settings))
    batch = [Message(key=f"k{n}", channel="result/guard", body=b'{"n":%d}' % n, sequence=n) for n in range(1, 10)]
    assert sink.put(batch) == []
    assert sink.put(batch) == [], "what is on its way is not sent twice"
    peer.wait(lambda: len(peer.sent) == window)
    peer.drop_all()
    sink.close()
    assert numbers(peer)[:window] == list(range(1, window + 1))
    assert len([sent for sent in peer.sent if sent.connection == 0]) == window


def test_all_that_were_sent_wait_for_their_answers(peer: ScriptedBroker) -> None:
    """The last one's answer is waited for like the others'."""
    answered: list[int] = []

    def script(sent: Sent) -> Puback:
        time.sleep(0.02)
        answered.append(sent.body["n"])
        return Puback()

    peer.script = script
    connection = to(peer)
    connection.publish(outgoing(5))
    assert answered == [1, 2, 3, 4, 5]
    connection.publish([])
    connection.close()


# --- refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "reason", "code", "remedy"),
    [
        ("5", 0x80, "mqtt.refused", ""),
        ("5", 0x88, "mqtt.refused", ""),
        ("5", 0x89, "mqtt.refused", ""),
        ("5", 0x84, "mqtt.unsupported-version", "mqtt.protocol"),
        ("5", 0x86, "mqtt.not-authorised", "mqtt.username"),
        ("5", 0x87, "mqtt.not-authorised", "mqtt.username"),
        ("5", 0x8A, "mqtt.not-authorised", "mqtt.username"),
        ("5", 0x9A, "mqtt.no-retain", "retain"),
        ("5", 0x97, "mqtt.quota-exceeded", "quota"),
        ("3.1.1", 3, "mqtt.refused", ""),
        ("3.1.1", 5, "mqtt.not-authorised", "mqtt.username"),
    ],
)
def test_a_connection_that_is_refused_is_called_by_its_reason(
    peer: ScriptedBroker, protocol: str, reason: int, code: str, remedy: str
) -> None:
    peer.connack = reason
    with pytest.raises(MqttError) as caught:
        to(peer, protocol)
    assert caught.value.code == code
    assert f"127.0.0.1:{peer.port} refused connecting" in str(caught.value)
    assert remedy in (caught.value.remedy or "")


@pytest.mark.parametrize(
    ("reason", "code"),
    [(0x80, "mqtt.refused"), (0x83, "mqtt.refused"), (0x87, "mqtt.not-authorised"), (0x97, "mqtt.quota-exceeded")],
)
@pytest.mark.parametrize("which", [1, 3])
def test_a_message_that_is_refused_fails_the_batch_wherever_it_stands(
    peer: ScriptedBroker, reason: int, code: str, which: int
) -> None:
    peer.script = lambda sent: Puback(reason if sent.body["n"] == which else 0)
    connection = to(peer)
    with pytest.raises(MqttError) as caught:
        connection.publish(outgoing(3))
    assert caught.value.code == code
    assert "refused publishing" in str(caught.value)
    peer.script = lambda _sent: Puback()
    connection.publish(outgoing(2))
    connection.close()


def test_a_refused_sink_says_why_and_is_refused_by_that_name(peer: ScriptedBroker) -> None:
    peer.connack = 0x88
    sink = MqttSink(SinkRequest(device_id="cart", site="lab", settings={"port": peer.port, "protocol": "5"}))
    with pytest.raises(SinkFailed) as caught:
        sink.put([])
    assert caught.value.code == "mqtt.refused"
    peer.connack = 0
    assert sink.put([]) == []
    sink.close()


# --- what a CONNACK says, and the end -----------------------------------------------------------------


def test_what_a_connack_does_not_bound_is_not_bounded(peer: ScriptedBroker) -> None:
    for protocol in ("5", "3.1.1"):
        connection = to(peer, protocol)
        limits = connection.limits
        assert (limits.receive_maximum, limits.retain, limits.qos) == (65_535, True, 2)
        assert limits.packet_bytes == 268_435_460
        assert connection.protocol == protocol
        assert connection.is_open
        connection.close()
        assert not connection.is_open


def test_what_a_connack_bounds_is_bounded(peer: ScriptedBroker) -> None:
    peer.properties = receive_maximum(9) + b"\x24\x01" + b"\x25\x00" + b"\x27" + struct.pack("!I", 1234)
    connection = to(peer)
    limits = connection.limits
    assert (limits.receive_maximum, limits.retain, limits.qos, limits.packet_bytes) == (9, False, 1, 1234)
    connection.publish([Outgoing(topic="edgeai/1/lab/cart/status", body=b'{"n":1}', retain=True)])
    assert [sent.retain for sent in peer.sent] == [False], "what it does not retain is not asked of it"
    connection.close()


def test_a_broker_below_qos_1_is_left_at_once(peer: ScriptedBroker) -> None:
    peer.properties = b"\x24\x00"
    with pytest.raises(MqttError) as caught:
        to(peer)
    assert caught.value.code == "mqtt.no-qos-1"
    assert peer.sent == []


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_the_size_of_a_packet_is_what_the_broker_gets(peer: ScriptedBroker, protocol: str) -> None:
    connection = to(peer, protocol, message_expiry_s=60)
    for length in (9, 60, 90, 127, 128, 5000, 16_300, 16_384, 70_000):
        for expires in (True, False):
            message = Outgoing(topic="edgeai/1/lab/cart/event", body=b'"' + b"x" * length + b'"', expires=expires)
            connection.publish([message])
            assert connection.size(message) == peer.sent[-1].size
    connection.close()


@pytest.mark.parametrize(("code", "by_peer"), [(0x8B, True), (None, True)])
def test_a_loss_says_whose_it_is(peer: ScriptedBroker, code: int | None, by_peer: bool) -> None:
    peer.script = lambda _sent: Close(code)
    connection = to(peer)
    with pytest.raises(MqttError) as caught:
        connection.publish(outgoing(1))
    assert caught.value.code == "mqtt.lost"
    assert connection.wait_lost(60)
    assert connection.loss is not None
    assert (connection.loss.code, connection.loss.by_peer) == (code, by_peer)
    with pytest.raises(MqttError, match="lost the broker"):
        connection.send(outgoing(1)[0])
    connection.close()
    assert connection.loss.by_peer, "the first loss is the one that counts"


def test_our_own_goodbye_is_no_loss_of_the_peers(peer: ScriptedBroker) -> None:
    connection = to(peer)
    assert not connection.wait_lost(0.01)
    connection.close("enough")
    assert connection.loss is not None
    assert (connection.loss.text, connection.loss.by_peer) == ("enough", False)
    connection.close()


def test_a_second_thread_does_not_close_it_while_the_first_does(
    peer: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """paho's ``disconnect`` writes to a descriptor that ``let_go`` closes: OSError, where both come at once."""
    connection = to(peer)
    client = connection._client
    lets_go, came_in, disconnect, let_go = threading.Event(), threading.Event(), client.disconnect, client.let_go

    def slow_let_go() -> None:
        lets_go.set()
        assert not came_in.wait(0.3)
        let_go()

    def noted_disconnect() -> object:
        if lets_go.is_set():
            came_in.set()
        return disconnect()

    monkeypatch.setattr(client, "let_go", slow_let_go)
    monkeypatch.setattr(client, "disconnect", noted_disconnect)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(connection.close)
        assert lets_go.wait(60)
        monkeypatch.setattr(client, "let_go", let_go)
        connection.close()
        first.result(60)


def test_an_answer_is_given_once(peer: ScriptedBroker) -> None:
    connection = to(peer)
    number = connection.send(outgoing(1)[0])
    assert connection.wait(lambda: connection.is_answered(number), 60)
    reason = connection.answer(number)
    assert reason is not None
    assert not reason.is_failure
    assert connection.answer(number) is None
    assert not connection.is_answered(number)
    assert not connection.wait(lambda: False, 0.01)
    connection.close()


def test_a_port_that_hangs_up_is_said_to_be_no_brokers() -> None:
    """Of Mosquitto's port for TLS, reached plainly, and of whatever else answers there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def hang_up() -> None:
            server.settimeout(0.1)
            while not stop.is_set():
                with suppress(TimeoutError):
                    server.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        try:
            with pytest.raises(MqttError) as caught:
                connect(Broker(host="127.0.0.1", port=server.getsockname()[1], client_id="cart"))
        finally:
            stop.set()
            thread.join()
    assert caught.value.code == "mqtt.lost"
    assert "Unspecified" not in str(caught.value)
    assert "mqtt.port" in (caught.value.remedy or "")
    assert "[mqtt.tls]" in (caught.value.remedy or "")


def test_the_sink_loads_as_anybodys_plugin_does() -> None:
    plugin = load_from(PluginInfo(name="mqtt", module="edgeai.sinks.mqtt", distribution="edgeai", version="0"))
    assert [spec.name for spec in plugin.sinks] == ["mqtt"]
