"""The core's own sinks, with what the kit needs to ask them: ``edgeai plugins check mqtt``, ``... jsonl``.

MQTT is asked against a real Mosquitto, in both versions of the protocol; where none is installed, the rules that need
a broker say so and are not asked.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeai.api import Message, Options
from edgeai.mqtt import Broker, Outgoing, connect
from edgeai.testing.broker import Mosquitto, find_mosquitto, free_port
from edgeai.testing.conformance.sink import SinkConformance
from edgeai.testing.mqtt_peers import Subscriber

PREFIX = "edgeai/1/ward-3/cart-7/"
PATIENCE_S = 120.0
NO_BROKER = "asked only where a broker is installed: apt install mosquitto"


class TestMqtt(SinkConformance):
    """MQTT 5."""

    plugin = "mqtt"
    sink = "mqtt"
    nonsense = ({"protocol": "4"}, {"port": "many"}, {"port": 0}, {"keepalive_s": -1}, {"tls": "yes"})
    protocol = "5"

    @pytest.fixture(autouse=True)
    def _broker(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        self.port = 0
        if find_mosquitto() is None:
            yield
            return
        folder = tmp_path_factory.mktemp("broker")
        (folder / "acl").write_text(f"topic readwrite #\ntopic deny {PREFIX}result/refused\n", encoding="utf-8")
        with Mosquitto(folder, extra=f"acl_file {folder}/acl\n") as broker:
            self.port = broker.port
            self.heard = Subscriber(broker.port, topic=f"{PREFIX}#")
            self.marks = 0
            yield
            self.heard.close()

    def settings(self, folder: Path) -> Options:
        """A broker of its own."""
        if not self.port:
            pytest.skip(NO_BROKER)
        return {"port": self.port, "protocol": self.protocol}

    def failing_settings(self, folder: Path) -> Options:
        """A port that nobody listens on."""
        return {"port": free_port(), "protocol": self.protocol}

    def delivered(self, folder: Path) -> list[tuple[str, bytes]]:
        """What the subscriber has once a mark has reached it that came after all: a PUBACK is the broker's alone."""
        self.marks += 1
        mark = Outgoing(topic=f"{PREFIX}mark", body=b"%d" % self.marks)
        link = connect(Broker(host="127.0.0.1", port=self.port, client_id="mark"))
        try:
            link.publish([mark])
        finally:
            link.close()
        end = time.monotonic() + PATIENCE_S
        while (mark.topic, mark.body) not in [(item.topic, item.payload) for item in list(self.heard.received)]:
            assert time.monotonic() < end, "the broker does not pass on what it took"
            time.sleep(0.01)
        received = [(item.topic.removeprefix(PREFIX), item.payload) for item in list(self.heard.received)]
        return [(channel, body) for channel, body in received if channel not in ("status", "mark")]

    def refused_message(self, folder: Path) -> Message:
        """One that the broker's access list forbids."""
        return Message(key="no", channel="result/refused", body=b"{}", sequence=2)


class TestMqtt311(TestMqtt):
    """MQTT 3.1.1."""

    protocol = "3.1.1"

    def refused_message(self, folder: Path) -> Message:
        """There is none: what is refused is acknowledged."""
        pytest.skip("MQTT 3.1.1 cannot refuse a message")


class TestJsonl(SinkConformance):
    """JSON lines."""

    plugin = "jsonl"
    sink = "jsonl"
    nonsense = ({}, {"path": ""}, {"path": 7}, {"path": "x.jsonl", "max_bytes": "many"}, {"path": "x", "keep": -1})

    def settings(self, folder: Path) -> Options:
        """A file in a folder that is yet to be made."""
        return {"path": str(folder / "out" / "results.jsonl")}

    def failing_settings(self, folder: Path) -> Options:
        """A file where a folder should be."""
        (folder / "file").write_text("", encoding="utf-8")
        return {"path": str(folder / "file" / "results.jsonl")}

    def delivered(self, folder: Path) -> list[tuple[str, bytes]]:
        """Lines do not say of which channel they are, but in what they hold."""
        path = folder / "out" / "results.jsonl"
        lines = path.read_bytes().splitlines() if path.exists() else []
        return [("result/lungs" if "result_id" in json.loads(line) else "event", line) for line in lines]

    def refused_message(self, folder: Path) -> Message:
        """There is none."""
        pytest.skip("a file takes every message")
