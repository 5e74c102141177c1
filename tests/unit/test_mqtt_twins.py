"""Two devices under one client identifier, on a real Mosquitto: both say so, neither fights, and nothing is lost."""

from __future__ import annotations

import json
import queue
import threading
import time
from dataclasses import dataclass, field

import pytest

from edgeai.api import Message, SinkFailed, SinkRequest
from edgeai.mqtt import Broker, connect
from edgeai.sinks import blame
from edgeai.sinks.mqtt import MqttSink
from edgeai.testing.broker import Mosquitto

CODE = "mqtt.session-taken-over"


@dataclass
class Device:
    """Puts its messages, and asks now and then whether the broker is there, as publish does."""

    name: str
    port: int
    protocol: str
    waiting: list[Message] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def add(self, message: Message) -> None:
        with self.guard:
            self.waiting.append(message)

    def run(self) -> None:
        settings = {"port": self.port, "protocol": self.protocol, "client_id": "the-same"}
        sink = MqttSink(SinkRequest(device_id=self.name, site="lab", settings=settings))
        while not self.stopping.wait(0.1):
            try:
                delivered = {r.sequence for r in sink.put(list(self.waiting)) if r.verdict == "delivered"}
                with self.guard:
                    self.waiting = [message for message in self.waiting if message.sequence not in delivered]
            except SinkFailed as failure:
                self.codes.append(failure.code)
        sink.close()


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_both_say_so_and_both_deliver(broker: Mosquitto, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blame, "_PAUSE_S", (0.5, 4.0))
    received: queue.Queue[tuple[str, int]] = queue.Queue()
    subscriber = connect(Broker(host="127.0.0.1", port=broker.port, client_id="subscriber"))
    subscriber.subscribe("#", lambda topic, body: received.put((topic.split("/")[3], json.loads(body).get("n", 0))))
    devices = [Device(name, broker.port, protocol) for name in ("one", "two")]
    threads = [threading.Thread(target=device.run, daemon=True) for device in devices]
    for thread in threads:
        thread.start()
    number, end = 0, time.monotonic() + 600
    while not all(CODE in device.codes for device in devices):
        assert time.monotonic() < end, [device.codes[-3:] for device in devices]
        number += 1
        for device in devices:
            body = json.dumps({"n": number}).encode()
            device.add(Message(key="k", channel="event", body=body, sequence=number))
        time.sleep(0.3)
    while any(device.waiting for device in devices):
        assert time.monotonic() < end, "what waits for its turn never leaves"
        time.sleep(0.1)
    for device in devices:
        device.stopping.set()
    for thread in threads:
        thread.join(240)
    expected = {(device.name, n) for device in devices for n in range(1, number + 1)}
    arrived: set[tuple[str, int]] = set()
    while not expected <= arrived:
        arrived.add(received.get(timeout=240))
    subscriber.close()


def test_pauses_grow_and_are_not_the_same_for_both() -> None:
    twins = [blame.Twin(), blame.Twin()]
    pauses: list[tuple[float, float]] = []
    for _ in range(8):
        for twin in twins:
            twin._took()
        pauses.append((twins[0]._pause_s, twins[1]._pause_s))
    assert all(one != two for one, two in pauses)
    assert max(pauses[0]) < 4.0
    assert min(pauses[-1]) > 30.0
    assert max(pauses[-1]) <= 90.0


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_broker_that_restarts_again_and_again_is_no_twin(broker: Mosquitto, protocol: str) -> None:
    sink = MqttSink(SinkRequest(device_id="one", site="lab", settings={"port": broker.port, "protocol": protocol}))
    codes = []
    for number in range(5):
        message = Message(key="k", channel="event", body=b"{}", sequence=number + 1)
        while not [receipt for receipt in _put(sink, [message], codes) if receipt.verdict == "delivered"]:
            time.sleep(0.05)
        broker.stop() if number % 2 else broker.kill()
        _put(sink, [], codes)
        broker.start()
    assert CODE not in codes
    sink.close()


def _put(sink: MqttSink, messages: list[Message], codes: list[str]) -> list[object]:
    try:
        return list(sink.put(messages))
    except SinkFailed as failure:
        codes.append(failure.code)
        return []
