"""The MQTT sink passes the kit on a real broker, in both versions of the protocol."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeai.api import Message, Options
from edgeai.testing.broker import Mosquitto, free_port
from edgeai.testing.conformance import SinkConformance
from edgeai.testing.mqtt_peers import Subscriber

PREFIX = "edgeai/1/ward-3/cart-7/"


class TestMqtt(SinkConformance):
    module = "edgeai.sinks.mqtt"
    sink = "mqtt"
    protocol = "5"

    @pytest.fixture(autouse=True)
    def _broker(self, mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        folder = tmp_path_factory.mktemp("broker")
        (folder / "acl").write_text(f"topic readwrite #\ntopic deny {PREFIX}result/refused\n")
        with Mosquitto(folder, extra=f"acl_file {folder}/acl\n") as broker:
            self.port = broker.port
            self.heard = Subscriber(broker.port, topic=f"{PREFIX}#")
            yield
            self.heard.close()

    def settings(self, folder: Path) -> Options:
        return {"port": self.port, "protocol": self.protocol}

    def failing_settings(self, folder: Path) -> Options:
        return {"port": free_port(), "protocol": self.protocol}

    def delivered(self, folder: Path) -> list[tuple[str, bytes]]:
        """What the subscriber has once it is quiet: a PUBACK is for the broker, which may be ahead of others."""
        count, end = -1, time.monotonic() + 10
        while count != len(self.heard.received) and time.monotonic() < end:
            count = len(self.heard.received)
            time.sleep(0.3)
        received = [(item.topic.removeprefix(PREFIX), item.payload) for item in self.heard.received]
        return [(channel, body) for channel, body in received if channel != "status"]

    def refused_message(self, folder: Path) -> Message:
        return Message(key="no", channel="result/refused", body=b"{}", sequence=2)


class TestMqtt311(TestMqtt):
    protocol = "3.1.1"

    def refused_message(self, folder: Path) -> Message:
        pytest.skip("MQTT 3.1.1 cannot refuse a message")
