"""What a broker answers to each message, and what becomes of it: against a broker that answers as the test says."""

from __future__ import annotations

import contextlib
import json
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from edgeai.api import Message, Receipt, SinkFailed, SinkRequest
from edgeai.mqtt.reasons import PUBACK
from edgeai.sinks.mqtt import MqttSink
from edgeai.testing.scripted_broker import Close, Hang, Move, Puback, ScriptedBroker, Sent


@pytest.fixture
def peer() -> Iterator[ScriptedBroker]:
    with ScriptedBroker() as running:
        yield running


def sink_to(peer: ScriptedBroker, **settings: object) -> MqttSink:
    settings = {"port": peer.port, "protocol": "5", **settings}
    return MqttSink(SinkRequest(device_id="cart", site="lab", settings=settings))


def message(number: int, channel: str = "result/guard", **more: object) -> Message:
    return Message(key=f"k{number}", channel=channel, body=json.dumps({"n": number, **more}).encode(), sequence=number)


def number_of(sent: Sent) -> int:
    return int(sent.body.get("n", -1))


def settle(sink: MqttSink, *messages: Message, timeout_s: float = 240.0) -> dict[int, Receipt]:
    """Offer these again and again, as publish does, until each was delivered or refused."""
    ended: dict[int, Receipt] = {}
    end = time.monotonic() + timeout_s
    while open_ := [each for each in messages if each.sequence not in ended]:
        assert time.monotonic() < end, f"not settled: {[each.sequence for each in open_]}"
        try:
            receipts = sink.put(open_)
        except SinkFailed:
            time.sleep(0.05)
            continue
        ended.update({receipt.sequence: receipt for receipt in receipts if receipt.verdict != "later"})
    return ended


def answering(wanted: Callable[[Sent], Move | None]) -> Callable[[Sent], Move]:
    return lambda sent: wanted(sent) or Puback()


MEANINGS = {"delivered": "delivered", "refused": "refused", "later": "later", "doubtful": "later"}


@pytest.mark.parametrize("code", [code for code, answer in PUBACK.items() if answer.meaning != "broken"])
def test_each_code_of_a_puback_is_told_of_that_message_alone(peer: ScriptedBroker, code: int) -> None:
    peer.script = answering(lambda sent: Puback(code) if number_of(sent) == 2 else None)
    sink = sink_to(peer)
    receipts = {receipt.sequence: receipt for receipt in sink.put([message(n) for n in (1, 2, 3)])}
    assert receipts[1].verdict == receipts[3].verdict == "delivered"
    assert receipts[2].verdict == MEANINGS[PUBACK[code].meaning]
    assert receipts[2].code == PUBACK[code].code
    assert len(peer.connects) == 1, "no answer but 0x91 is a reason to connect anew"
    sink.close()


def test_a_packet_identifier_in_use_opens_the_connection_anew(peer: ScriptedBroker) -> None:
    peer.script = lambda sent: Puback(0x91 if sent.connection == 0 else 0)
    sink = sink_to(peer)
    assert settle(sink, message(1))[1].verdict == "delivered"
    assert len(peer.connects) == 2
    sink.close()


def test_a_code_that_a_puback_cannot_have_costs_that_message_alone(peer: ScriptedBroker) -> None:
    """It is a malformed packet, upon which the connection ends."""
    peer.script = answering(lambda sent: Puback(0x9E) if number_of(sent) == 1 else None)
    sink = sink_to(peer)
    ended = settle(sink, message(1), message(2))
    assert (ended[1].verdict, ended[2].verdict) == ("refused", "delivered")
    sink.close()


@pytest.mark.parametrize("code", [0x80, 0x83])
def test_what_a_broker_does_not_explain_is_refused_once_it_takes_others(peer: ScriptedBroker, code: int) -> None:
    peer.script = answering(lambda sent: Puback(code) if number_of(sent) == 1 else None)
    sink = sink_to(peer)
    ended = settle(sink, message(1), *(message(n) for n in range(2, 12)))
    assert (ended[1].verdict, ended[1].code) == ("refused", "mqtt.refused")
    assert [ended[n].verdict for n in range(2, 12)] == ["delivered"] * 10
    sink.close()


def test_where_all_results_are_answered_so_none_is_refused(peer: ScriptedBroker) -> None:
    peer.script = answering(lambda sent: Puback(0x83) if sent.channel != "event" else None)
    sink = sink_to(peer)
    for _ in range(20):
        verdicts = {receipt.verdict for receipt in sink.put([message(1), message(2)])}
        assert verdicts == {"later"}
        assert [receipt.verdict for receipt in sink.put([message(3, "event")])] == ["delivered"]
    sink.close()


def test_a_quota_is_waited_for_however_long(peer: ScriptedBroker) -> None:
    peer.script = answering(lambda sent: Puback(0x97) if number_of(sent) == 1 and len(peer.sent) < 40 else None)
    sink = sink_to(peer)
    ended = settle(sink, *(message(n) for n in range(1, 5)))
    assert {receipt.verdict for receipt in ended.values()} == {"delivered"}
    sink.close()


# --- what the broker's CONNACK bounds -------------------------------------------------------------


def test_no_more_are_on_their_way_than_the_broker_receives(peer: ScriptedBroker) -> None:
    peer.properties = b"\x21" + struct.pack("!H", 3)
    held: list[Sent] = []

    def script(sent: Sent) -> Move:
        held.append(sent)
        time.sleep(0.002)  # so that the client would run ahead if it could
        return Puback()

    peer.script = script
    sink = sink_to(peer, max_inflight=50)
    ended = settle(sink, *(message(n) for n in range(1, 41)))
    assert len(ended) == 40
    assert [number_of(sent) for sent in held] == list(range(1, 41)), "in order, and each once"
    sink.close()


@pytest.mark.slow
def test_a_receive_maximum_of_one_is_kept_by_waiting(peer: ScriptedBroker) -> None:
    """Nothing is sent before what is on its way has its PUBACK, though the broker leaves that out at first."""
    peer.properties = b"\x21\x00\x01"
    peer.script = lambda sent: Hang()
    sink = sink_to(peer)
    assert sink.put([message(1), message(2)]) == []
    assert [number_of(sent) for sent in peer.sent] == [1]
    sink.close()


def bounded(limit: int) -> bytes:
    return b"\x27" + struct.pack("!I", limit)


def test_what_is_larger_than_the_broker_takes_is_refused_and_never_sent(peer: ScriptedBroker) -> None:
    peer.properties = bounded(200)
    sink = sink_to(peer)
    ended = settle(sink, *(message(n, text="x" * (400 if n == 2 else 10)) for n in (1, 2, 3)))
    assert [ended[n].verdict for n in (1, 2, 3)] == ["delivered", "refused", "delivered"]
    assert ended[2].code == "mqtt.too-large"
    assert "200" in ended[2].reason
    assert [number_of(sent) for sent in peer.sent] == [1, 3]
    assert len(peer.connects) == 1
    sink.close()


@pytest.mark.parametrize("expiry", [None, 60])
def test_the_largest_packet_that_is_taken_is_sent_and_one_byte_more_is_not(
    peer: ScriptedBroker, expiry: int | None
) -> None:
    sink = sink_to(peer, message_expiry_s=expiry)
    settle(sink, message(1, text="x" * 100))
    size = peer.sent[0].size
    sink.close()
    for limit, verdict in ((size, "delivered"), (size - 1, "refused")):
        peer.properties = bounded(limit)
        sink = sink_to(peer, message_expiry_s=expiry)
        ended = settle(sink, Message(key="k", channel="result/guard", body=_padded(100), sequence=1))
        assert ended[1].verdict == verdict
        sink.close()


def _padded(count: int) -> bytes:
    """As compact as JSON can be, so that nothing makes it smaller, and as long as ``message(1, text=...)``."""
    whole = json.dumps({"n": 1, "text": "x" * count}).encode()
    return json.dumps({"n": 1, "text": "x" * (count + 3)}, separators=(",", ":")).encode().ljust(len(whole))


def test_a_broker_that_retains_nothing_is_sent_a_status_that_asks_for_nothing(peer: ScriptedBroker) -> None:
    peer.properties = b"\x25\x00"
    sink = sink_to(peer)
    sink.put([Message(key="status", channel="status", body=b'{"n": 0}')])
    assert [sent.retain for sent in peer.on("status")] == [False]
    sink.close()


def test_a_broker_that_takes_no_qos_1_is_a_trouble_and_nothing_is_sent(peer: ScriptedBroker) -> None:
    peer.properties = b"\x24\x00"
    sink = sink_to(peer)
    with pytest.raises(SinkFailed) as failure:
        sink.put([message(1)])
    assert failure.value.code == "mqtt.no-qos-1"
    assert peer.sent == []


# --- messages that break the connection -----------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("position", range(6))
def test_one_that_breaks_the_connection_at_any_place_is_set_aside_and_all_others_arrive(
    peer: ScriptedBroker, position: int, protocol: str
) -> None:
    peer.script = answering(lambda sent: Close() if number_of(sent) == position else None)
    sink = sink_to(peer, protocol=protocol)
    ended = settle(sink, *(message(n) for n in range(6)))
    assert (ended[position].verdict, ended[position].code) == ("refused", "mqtt.breaks-connection")
    assert [n for n in range(6) if ended[n].verdict == "delivered"] == [n for n in range(6) if n != position]
    copies = [sum(number_of(sent) == n for sent in peer.sent) for n in range(6) if n != position]
    assert max(copies) <= 2, "each once, or twice when it was on its way with the one that broke the connection"
    assert [sent.in_flight for sent in peer.sent if number_of(sent) == position][-3:] == [1, 1, 1], "it was sent alone"
    sink.close()


@pytest.mark.parametrize(("code", "ours"), [(0x95, "mqtt.too-large"), (0x87, "mqtt.not-authorised")])
def test_a_broker_that_hangs_up_and_says_why_needs_not_be_asked_three_times(
    peer: ScriptedBroker, code: int, ours: str
) -> None:
    peer.script = answering(lambda sent: Close(code) if number_of(sent) == 2 else None)
    sink = sink_to(peer)
    ended = settle(sink, *(message(n) for n in range(1, 5)))
    assert (ended[2].verdict, ended[2].code) == ("refused", ours)
    assert sum(number_of(sent) == 2 for sent in peer.sent) <= 2
    sink.close()


@pytest.mark.slow
def test_a_connection_that_also_breaks_with_nothing_on_its_way_lays_it_on_no_message(peer: ScriptedBroker) -> None:
    breaks = iter((True, True))

    def script(_sent: Sent) -> Move:
        return Close() if next(breaks, False) else Puback()

    peer.script = script
    sink = sink_to(peer)
    with pytest.raises(SinkFailed):
        sink.put([message(1)])
    assert len(peer.sent) == 2, "it has two strikes"
    breaks = iter((True,))  # and would have the third now, had the connection not broken without it before
    dropping = threading.Timer(0.1, peer.drop_all)
    dropping.start()
    assert settle(sink, message(1))[1].verdict == "delivered"
    dropping.join()
    assert len(peer.sent) == 4
    sink.close()


@pytest.mark.slow
def test_one_that_is_never_answered_delays_no_other_and_is_set_aside(
    peer: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeai.sinks.mqtt.ACK_TIMEOUT_S", 0.5)
    monkeypatch.setattr("edgeai.sinks.mqtt.PUT_S", 0.2)
    peer.script = answering(lambda sent: Hang() if sent.channel == "event" else None)
    sink = sink_to(peer)
    event = message(1, "event")
    ended: dict[int, Receipt] = {}
    for number in range(2, 200):
        with contextlib.suppress(SinkFailed):
            ended.update({receipt.sequence: receipt for receipt in sink.put([event])})
        ended.update(settle(sink, message(number)))
        if 1 in ended:
            break
    assert (ended[1].verdict, ended[1].code) == ("refused", "mqtt.breaks-connection")
    assert {ended[number].verdict for number in ended if number > 1} == {"delivered"}
    sent = [number_of(each) for each in peer.on("result/guard")]
    assert len(sent) == len(set(sent)), "each result once"
    sink.close()


@pytest.mark.slow
def test_events_leave_half_of_the_window_to_results(peer: ScriptedBroker) -> None:
    peer.script = answering(lambda sent: Hang() if sent.channel == "event" else None)
    sink = sink_to(peer, max_inflight=4)
    assert sink.put([message(n, "event") for n in range(1, 9)]) == []
    assert len(peer.on("event")) == 2
    assert [receipt.verdict for receipt in sink.put([message(9)])] == ["delivered"]
    assert len(peer.connects) == 1
    sink.close()


def test_a_broker_that_hangs_up_on_whom_it_has_refused_something_costs_no_other_message(peer: ScriptedBroker) -> None:
    """As Mosquitto 2.0 does. Neither a twin nor another message is taken for the reason."""
    peer.script = answering(lambda sent: Puback(0x87, and_close=True) if sent.channel == "event" else None)
    sink = sink_to(peer)
    number, ended = 0, dict[int, Receipt]()
    for _ in range(12):
        batch = [message(number + 1), message(number + 2, "event"), message(number + 3, "event"), message(number + 4)]
        for channel in ("result/guard", "event"):
            ended.update(settle(sink, *(each for each in batch if each.channel == channel), timeout_s=20))
        number += 4
    assert {ended[n].code for n in ended if n % 4 in (2, 3)} == {"mqtt.not-authorised"}
    assert {ended[n].verdict for n in ended if n % 4 in (1, 0)} == {"delivered"}
    assert len(peer.on("event")) <= 36
    assert len(peer.on("result/guard")) <= 36
    sink.close()


# --- the status -----------------------------------------------------------------------------------


def status(state: str = "online") -> Message:
    return Message(key="status", channel="status", body=json.dumps({"n": 0, "state": state}).encode())


def test_a_status_that_is_refused_is_said_and_not_sent_again_until_it_changes(peer: ScriptedBroker) -> None:
    peer.script = answering(lambda sent: Puback(0x87) if sent.channel == "status" else None)
    sink = sink_to(peer)
    [receipt] = sink.put([status()])
    assert (receipt.sequence, receipt.verdict, receipt.code) == (0, "refused", "mqtt.not-authorised")
    peer.drop_all()
    assert settle(sink, message(1))[1].verdict == "delivered"
    assert len(peer.on("status")) == 1
    sink.put([status("degraded")])
    assert len(peer.on("status")) == 2
    sink.close()


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_status_that_breaks_the_connection_delays_no_result(peer: ScriptedBroker, protocol: str) -> None:
    peer.script = answering(lambda sent: Close() if sent.channel == "status" else None)
    sink = sink_to(peer, protocol=protocol)
    receipts: dict[int, Receipt] = {}
    end = time.monotonic() + 240
    while 0 not in receipts:
        assert time.monotonic() < end
        try:
            receipts.update({receipt.sequence: receipt for receipt in sink.put([status()])})
        except SinkFailed:
            time.sleep(0.05)
    assert (receipts[0].verdict, receipts[0].code) == ("refused", "mqtt.breaks-connection")
    assert settle(sink, message(1), message(2))[2].verdict == "delivered"
    assert len(peer.on("status")) == 3
    sink.close()


def test_with_nothing_to_put_it_comes_back_by_itself_and_brings_the_status(peer: ScriptedBroker) -> None:
    sink = sink_to(peer)
    sink.put([status()])
    peer.drop_all()
    peer.wait(lambda: not sink._connection.is_open)  # type: ignore[union-attr]
    assert [receipt.sequence for receipt in sink.put([])] == [0]
    assert len(peer.on("status")) == 2
    assert peer.on("status")[1].retain
    sink.close()


def test_after_mqtt_5_a_connection_that_breaks_at_connect_is_no_reason_for_3_1_1(peer: ScriptedBroker) -> None:
    """Or else refusals would become invisible for as long as that connection holds."""
    sink = sink_to(peer, protocol="auto")
    settle(sink, message(1))
    assert sink.verified
    peer.drop_all()
    peer.connack = 0x88
    peer.wait(lambda: not sink._connection.is_open)  # type: ignore[union-attr]
    with pytest.raises(SinkFailed):
        sink.put([])
    peer.connack = 0
    settle(sink, message(2))
    assert sink.verified
    assert {packet[6] for packet in peer.connects} == {5}
    sink.close()


def test_what_speaks_3_1_1_alone_is_not_verified(peer: ScriptedBroker) -> None:
    peer.versions = (4,)
    sink = sink_to(peer, protocol="auto")
    settle(sink, message(1))
    assert not sink.verified
    sink.close()
