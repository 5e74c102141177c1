"""MQTT: connect (TLS, last will, MQTT 5 and 3.1.1), publish until every PUBACK is in, subscribe.

A ``Connection`` never reconnects by itself. When it breaks, whatever was not acknowledged raises, the
caller opens a new one and offers its messages again: at least once, and in order. MQTT 5.0 is the OASIS
standard of that name; section numbers below refer to it.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgeai.api.errors import MqttError

ACK_TIMEOUT_S = 20.0
"""How long a broker may take for CONNACK or PUBACK before the connection counts as broken."""

PROBE_TIMEOUT_S = 4.0
"""The same for CONNACK while it is not known whether the broker speaks MQTT 5 at all."""

Listener: TypeAlias = Callable[[str, bytes], None]
"""Called with (topic, body) on the network thread; must be quick."""

_PROTOCOLS = {"5": (paho.MQTTv5,), "3.1.1": (paho.MQTTv311,), "auto": (paho.MQTTv5, paho.MQTTv311)}
_UNSUPPORTED_VERSION = (0x84, 0x01)
"""CONNACK reason of MQTT 5 (section 3.2.2.2), and the return code 1 of a 3.1.1 broker."""
_NOT_AUTHORISED = (0x86, 0x87, 0x8A)


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where the broker is, and who we are to it. Durations in seconds."""

    host: str
    port: int
    client_id: str
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    username: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None
    keepalive_s: int = 30
    max_inflight: int = 20
    message_expiry_s: int | None = None

    @property
    def address(self) -> str:
        """``host:port``, for messages."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One PUBLISH at QoS 1. ``expires`` lets ``Broker.message_expiry_s`` apply to it."""

    topic: str
    body: bytes
    retain: bool = False
    expires: bool = False


def tls_context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """A client's context: the broker is verified against ``ca``, or the system's authorities when ``None``.

    Raises:
        MqttError: ``mqtt.tls`` when a file cannot be read or does not hold what it should.
    """
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(ca) if ca else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate is not None:
            context.load_cert_chain(str(certificate), str(key) if key else None)
    except (OSError, ssl.SSLError) as error:
        raise MqttError(
            f"TLS files cannot be used ({ca}, {certificate}, {key}): {error}",
            code="mqtt.tls",
            remedy="check that they are PEM files that this user may read, and that key and certificate match",
        ) from error
    return context


def connect(broker: Broker, *, will: Outgoing | None = None) -> Connection:
    """Open a connection; with protocol ``auto``, 3.1.1 when the broker does not speak MQTT 5.

    Raises:
        MqttError: ``mqtt.unreachable``, ``mqtt.tls``, ``mqtt.refused``, ``mqtt.not-authorised`` or
            ``mqtt.unsupported-version``, in the broker's own words.
    """
    *newer, oldest = _PROTOCOLS[broker.protocol]
    for version in newer:
        try:
            return Connection(broker, version, will, connack_timeout_s=PROBE_TIMEOUT_S)
        except MqttError as error:
            # Some brokers say that they do not know MQTT 5, some hang up, and some stare at it in silence.
            if error.code not in ("mqtt.unsupported-version", "mqtt.lost"):
                raise
    return Connection(broker, oldest, will)


class Connection:
    """One open session with a broker. Thread-safe."""

    def __init__(
        self, broker: Broker, version: Any, will: Outgoing | None, *, connack_timeout_s: float = ACK_TIMEOUT_S
    ) -> None:
        self._broker = broker
        self._connack_timeout_s = connack_timeout_s
        self.protocol = "5" if version == paho.MQTTv5 else "3.1.1"
        self._changed = threading.Condition()
        self._connack: ReasonCode | None = None
        self._lost: str | None = None
        self._acks: dict[int, ReasonCode] = {}
        self._client = self._prepare(version, will)
        self._open()

    @property
    def is_open(self) -> bool:
        """Whether the broker has accepted us and the connection has not broken since."""
        return self._lost is None and self._connack is not None

    def publish(self, messages: Iterable[Outgoing], *, timeout_s: float = ACK_TIMEOUT_S) -> None:
        """Send all, in order, and return when each has its PUBACK.

        Raises:
            MqttError: ``mqtt.lost`` when the connection broke or the broker fell silent,
                ``mqtt.not-authorised`` or ``mqtt.refused`` when it answered so (MQTT 5 only: a 3.1.1
                broker cannot say). Any of the messages may have arrived all the same.
        """
        mids: list[int] = []
        for message in messages:
            self._wait_for_window(mids, timeout_s)
            mids.append(self._send(message))
        self._wait(lambda: all(mid in self._acks for mid in mids), timeout_s, "PUBACK")
        reasons = [self._acks.pop(mid) for mid in mids]
        for reason in reasons:
            if reason.is_failure:
                raise _refusal(self._broker, "publishing", reason)

    def subscribe(
        self, topic: str, listener: Callable[[str, bytes], None], *, timeout_s: float = ACK_TIMEOUT_S
    ) -> None:
        """Call ``listener(topic, body)`` on the network thread for each message; returns at SUBACK."""
        granted: list[ReasonCode] = []

        def on_subscribe(_c: Any, _u: Any, _mid: int, reasons: list[ReasonCode], _p: Any) -> None:
            with self._changed:
                granted.extend(reasons)
                self._changed.notify_all()

        self._client.on_subscribe = on_subscribe
        self._client.message_callback_add(topic, lambda _c, _u, m: listener(m.topic, bytes(m.payload)))
        self._client.subscribe(topic, qos=1)
        self._wait(lambda: bool(granted), timeout_s, "SUBACK")
        if granted[0].is_failure:
            raise _refusal(self._broker, f"subscribing to {topic}", granted[0])

    def wait_lost(self, timeout_s: float) -> bool:
        """Block until the connection breaks, at most ``timeout_s``; whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: self._lost is not None, timeout_s)

    def close(self) -> None:
        """Say DISCONNECT, so that the broker does not send the will. Twice is fine."""
        self._client.disconnect()
        self._client.loop_stop()
        with self._changed:
            self._lost = self._lost or "closed by this side"

    def _prepare(self, version: Any, will: Outgoing | None) -> paho.Client:
        client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,  # type: ignore[attr-defined]
            client_id=self._broker.client_id,
            protocol=version,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(self._broker.max_inflight)
        if self._broker.username is not None:
            client.username_pw_set(self._broker.username, self._broker.password)
        if self._broker.tls is not None:
            client.tls_set_context(self._broker.tls)
        if will is not None:
            client.will_set(will.topic, will.body, qos=1, retain=will.retain)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        return client

    def _open(self) -> None:
        broker = self._broker
        try:
            self._client.connect(broker.host, broker.port, keepalive=broker.keepalive_s)
        except ssl.SSLError as error:
            raise MqttError(
                f"TLS with the broker at {broker.address} failed: {error}",
                code="mqtt.tls",
                remedy="check mqtt.tls.ca, the broker's certificate and its host name, and this device's clock",
            ) from error
        except (OSError, ValueError) as error:
            raise MqttError(
                f"the broker at {broker.address} cannot be reached: {error}",
                code="mqtt.unreachable",
                remedy="check mqtt.host and mqtt.port, and that the broker is running",
            ) from error
        self._client.loop_start()
        try:
            self._wait(lambda: self._connack is not None, self._connack_timeout_s, "CONNACK")
        except MqttError:
            self._client.loop_stop()
            raise
        assert self._connack is not None
        if self._connack.is_failure:
            self._client.loop_stop()
            raise _refusal(broker, "connecting", self._connack)

    def _send(self, message: Outgoing) -> int:
        properties = None
        if self.protocol == "5":
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.ContentType = "application/json"
            properties.PayloadFormatIndicator = 1
            if message.expires and self._broker.message_expiry_s is not None:
                properties.MessageExpiryInterval = self._broker.message_expiry_s
        info = self._client.publish(message.topic, message.body, qos=1, retain=message.retain, properties=properties)
        if info.rc not in (paho.MQTT_ERR_SUCCESS, paho.MQTT_ERR_QUEUE_SIZE):
            raise MqttError(
                f"lost the broker at {self._broker.address}: {paho.error_string(info.rc)}", code="mqtt.lost"
            )
        return info.mid

    def _wait_for_window(self, mids: list[int], timeout_s: float) -> None:
        """Keep at most ``max_inflight`` unacknowledged, so that paho queues nothing of its own."""
        if len(mids) >= self._broker.max_inflight:
            oldest = mids[-self._broker.max_inflight]
            self._wait(lambda: oldest in self._acks, timeout_s, "PUBACK")

    def _wait(self, done: Callable[[], bool], timeout_s: float, what: str) -> None:
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not done():
                if self._lost is not None:
                    raise MqttError(f"lost the broker at {self._broker.address}: {self._lost}", code="mqtt.lost")
                if not self._changed.wait(max(0.0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                    raise MqttError(
                        f"no {what} from the broker at {self._broker.address} within {timeout_s:g} s", code="mqtt.lost"
                    )

    def _on_connect(self, _c: Any, _u: Any, _flags: Any, reason: ReasonCode, _p: Any) -> None:
        with self._changed:
            self._connack = reason
            self._changed.notify_all()

    def _on_disconnect(self, _c: Any, _u: Any, _flags: Any, reason: ReasonCode, _p: Any) -> None:
        with self._changed:
            self._lost = self._lost or str(reason)
            self._changed.notify_all()

    def _on_publish(self, _c: Any, _u: Any, mid: int, reason: ReasonCode, _p: Any) -> None:
        with self._changed:
            self._acks[mid] = reason
            self._changed.notify_all()


def _refusal(broker: Broker, doing: str, reason: ReasonCode) -> MqttError:
    text = f"the broker at {broker.address} refused {doing}: {reason}"
    if reason.value in _UNSUPPORTED_VERSION or str(reason) == "Unsupported protocol version":
        return MqttError(text, code="mqtt.unsupported-version", remedy='set mqtt.protocol = "auto" or "3.1.1"')
    if reason.value in _NOT_AUTHORISED:
        remedy = "check mqtt.username, the password file or client certificate, and the broker's access list"
        return MqttError(text, code="mqtt.not-authorised", remedy=remedy)
    return MqttError(text, code="mqtt.refused")
