"""MQTT peers for tests: a subscriber that misses nothing, and a wire that breaks where a test wants it to break."""

from __future__ import annotations

import json
import selectors
import socket
import ssl
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgeai.testing.broker import wait_for_port

_SESSION_S = 24 * 3600
_PATIENCE_S = 120.0
_PUBLISH_QOS1 = 0x32
_PUBACK = 0x40
_NEVER = 1 << 30

Cut = Literal["mid-publish", "before-puback"]
"""Where a ``BreakingWire`` breaks: half-way through a PUBLISH, or when the broker has it and before its PUBACK."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One delivery to a subscriber, duplicates included."""

    topic: str
    payload: bytes
    qos: int
    retained: bool
    content_type: str | None

    @property
    def body(self) -> dict[str, Any]:
        """Its JSON."""
        content: dict[str, Any] = json.loads(self.payload)
        return content


class Subscriber:
    """Subscribes to everything in a persistent MQTT 5 session, and comes back whenever the broker does."""

    def __init__(
        self, port: int, *, topic: str = "#", client_id: str = "subscriber", tls: ssl.SSLContext | None = None
    ) -> None:
        self.received: list[Received] = []
        self.is_listening = threading.Event()
        self._topic = topic
        self._client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,  # type: ignore[attr-defined]
            client_id=client_id,
            protocol=paho.MQTTv5,
        )
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = lambda *_: self.is_listening.clear()
        self._client.on_subscribe = lambda *_: self.is_listening.set()
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(min_delay=1, max_delay=1)
        if tls is not None:
            self._client.tls_set_context(tls)
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = _SESSION_S
        assert wait_for_port(port, _PATIENCE_S), f"no broker on port {port}"
        self._client.connect("127.0.0.1", port, clean_start=False, properties=session)
        self._client.loop_start()
        assert self.is_listening.wait(_PATIENCE_S), "the broker did not grant the subscription"

    def _on_connect(self, *_: Any) -> None:
        self._client.subscribe(self._topic, qos=1)

    def _on_message(self, _client: Any, _userdata: Any, message: Any) -> None:
        self.received.append(
            Received(
                topic=message.topic,
                payload=bytes(message.payload),
                qos=message.qos,
                retained=message.retain,
                content_type=getattr(message.properties, "ContentType", None),
            )
        )

    def on(self, channel: str) -> list[dict[str, Any]]:
        """Bodies of all deliveries on one channel of any device, in order: ``result/guard``, ``event``, ``status``."""
        return [item.body for item in list(self.received) if item.topic.split("/", 4)[4:] == [channel]]

    def results(self, deployment: str = "guard") -> dict[str, dict[str, Any]]:
        """Result id -> result, in the order of first deliveries; of several attempts the highest counts."""
        results: dict[str, dict[str, Any]] = {}
        for body in self.attempts(deployment):
            if body["attempt"] >= results.get(body["result_id"], body)["attempt"]:
                results[body["result_id"]] = body
        return results

    def attempts(self, deployment: str = "guard") -> list[dict[str, Any]]:
        """Every result, deduplicated by (result id, attempt), in the order of first deliveries."""
        results: dict[tuple[str, int], dict[str, Any]] = {}
        for body in self.on(f"result/{deployment}"):
            results.setdefault((body["result_id"], body.get("attempt", 1)), body)
        return list(results.values())

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Events of one kind, without repeated deliveries."""
        return list({body["event_id"]: body for body in self.on("event") if body["kind"] == kind}.values())

    def close(self) -> None:
        """Disconnect. Twice is fine."""
        self._client.disconnect()
        self._client.loop_stop()


class BreakingWire:
    """A TCP relay to a broker on loopback that breaks its connections on demand.

    Attributes:
        port: where to connect.
        cuts: connections broken by ``cut`` so far.
        is_up: while False, connections are refused by hanging up at once.
    """

    def __init__(self, target: int) -> None:
        self.is_up = True
        self.cuts = 0
        self._target = target
        self._cut: Cut | None = None
        self._left = 0
        self._after = 0
        self._stopping = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        threading.Thread(target=self._accept, daemon=True, name="wire").start()

    def cut(self, where: Cut, *, times: int = 1, after: int = 0) -> None:
        """Break the next ``times`` connections, each at the packet after so many of its kind on it."""
        self._cut, self._left, self._after = where, times, after

    def drop_all(self) -> None:
        """Reset whatever is connected now."""
        for pair in list(self._pairs):
            for end in pair:
                _reset(end)

    def close(self) -> None:
        """Stop. Twice is fine."""
        self._stopping = True
        self._listener.close()
        self.drop_all()

    def _accept(self) -> None:
        while not self._stopping:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self.is_up:
                _reset(client)
                continue
            try:
                broker = socket.create_connection(("127.0.0.1", self._target), timeout=60)
            except OSError:
                _reset(client)
                continue
            threading.Thread(target=self._relay, args=(client, broker), daemon=True, name="wire").start()

    def _relay(self, client: socket.socket, broker: socket.socket) -> None:
        pair = (client, broker)
        self._pairs.add(pair)
        selector = selectors.DefaultSelector()
        selector.register(client, selectors.EVENT_READ, (broker, _PUBLISH_QOS1, "mid-publish"))
        selector.register(broker, selectors.EVENT_READ, (client, _PUBACK, "before-puback"))
        seen = {"mid-publish": _Packets(), "before-puback": _Packets()}
        with suppress(OSError, ValueError):
            while True:
                for key, _ in selector.select():
                    source: Any = key.fileobj
                    target, kind, where = key.data
                    data = source.recv(65536)
                    if not data:
                        return self._end(pair)
                    due = self._cut == where and self._left > 0
                    place = seen[where].find(data, kind, self._after if due else _NEVER)
                    if place is not None:
                        self._left -= 1
                        self.cuts += 1
                        target.sendall(data[:place])
                        return self._end(pair)
                    target.sendall(data)
        return self._end(pair)

    def _end(self, pair: tuple[socket.socket, socket.socket]) -> None:
        self._pairs.discard(pair)
        for end in pair:
            _reset(end)


class _Packets:
    """Walks the packets of one direction of an MQTT connection (MQTT 5.0 section 2.1) as their bytes come by."""

    def __init__(self) -> None:
        self._rest = b""
        self._count = 0

    def find(self, data: bytes, kind: int, after: int) -> int | None:
        """Where in ``data`` to cut: inside the packet of ``kind`` that is number ``after`` from 0, else ``None``."""
        self._rest += data
        while (length := _length(self._rest)) is not None:
            packet, self._rest = self._rest[:length], self._rest[length:]
            if packet and packet[0] & 0xF2 == kind:
                self._count += 1
                if self._count > after:
                    begins = len(data) - len(self._rest) - length
                    return max(0, begins + (length // 2 if kind == _PUBLISH_QOS1 else 0))
        return None


def _length(data: bytes) -> int | None:
    """Bytes of the first packet, head included; ``None`` while it is not all there."""
    value = 0
    for index in range(1, 5):
        if index >= len(data):
            return None
        value |= (data[index] & 0x7F) << 7 * (index - 1)
        if not data[index] & 0x80:
            total = 1 + index + value
            return total if len(data) >= total else None
    return None


def _reset(end: socket.socket) -> None:
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.shutdown(socket.SHUT_RD)  # wakes who reads here; both ways, it would end in good order before the reset
    with suppress(OSError):
        end.close()
