"""One session with a broker: opened, published to and listened to until it breaks."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgeai.api.errors import MqttError
from edgeai.mqtt.broker import LARGEST_PACKET, Broker, Limits, Loss, Outgoing
from edgeai.mqtt.client import BoundedClient
from edgeai.tls import Cause, cause_of_handshake

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
_NO_RETAIN = 0x9A
_UNSPECIFIED = 0x80
"""What paho calls the end of a connection that nobody gave a reason for."""
_QUOTA = (0x96, 0x97)
_GOODBYE_S = 1.0
"""How long a broker may take to read our DISCONNECT."""


def connect(broker: Broker, *, will: Outgoing | None = None) -> Connection:
    """Open a connection; with protocol ``auto``, 3.1.1 when the broker does not speak MQTT 5.

    Raises:
        MqttError: ``mqtt.unreachable``, ``mqtt.tls``, ``mqtt.refused``, ``mqtt.not-authorised``, ``mqtt.no-retain``,
            ``mqtt.quota-exceeded``, ``mqtt.no-qos-1`` or ``mqtt.unsupported-version``, in the broker's own words.
    """
    *newer, oldest = _PROTOCOLS[broker.protocol]
    for version in newer:
        try:
            return _able(Connection(broker, version, will, connack_timeout_s=PROBE_TIMEOUT_S))
        except MqttError as error:
            # Some brokers say that they do not know MQTT 5, some hang up, and some stare at it in silence.
            if error.code not in ("mqtt.unsupported-version", "mqtt.lost"):
                raise
    return _able(Connection(broker, oldest, will))


def _able(connection: Connection) -> Connection:
    if connection.limits.qos < 1:
        connection.close()
        raise MqttError(
            "the broker takes no message at QoS 1, so nothing could be known to have arrived",
            code="mqtt.no-qos-1",
            remedy="let the broker take QoS 1",
        )
    return connection


class Connection:
    """One open session with a broker. Thread-safe.

    Attributes:
        protocol: ``5`` or ``3.1.1``.
        limits: what the broker takes.
        loss: why it is over, or ``None`` while it is not.
        opened_at: when the broker accepted it, monotonic seconds.
    """

    def __init__(
        self, broker: Broker, version: Any, will: Outgoing | None, *, connack_timeout_s: float = ACK_TIMEOUT_S
    ) -> None:
        self._broker = broker
        self._connack_timeout_s = connack_timeout_s
        self.protocol = "5" if version == paho.MQTTv5 else "3.1.1"
        self.limits = Limits()
        self.loss: Loss | None = None
        self._changed = threading.Condition()
        self._closing = threading.Lock()
        self._is_over = threading.Event()
        self._connack: ReasonCode | None = None
        self._acks: dict[int, ReasonCode] = {}
        self._prepared: dict[bool, tuple[Properties, int]] = {}
        self._client = self._prepare(version, will)
        self._open()
        self.opened_at = time.monotonic()

    @property
    def is_open(self) -> bool:
        """Whether the broker has accepted us and the connection has not broken since."""
        return self.loss is None and self._connack is not None

    @property
    def window(self) -> int:
        """How many messages may be on their way without PUBACK."""
        return max(1, min(self._broker.max_inflight, self.limits.receive_maximum))

    def size(self, message: Outgoing) -> int:
        """Bytes of the PUBLISH packet, its fixed header included."""
        rest = 2 + len(message.topic.encode()) + 2 + self._properties(message)[1] + len(message.body)
        return 1 + max(1, (rest.bit_length() + 6) // 7) + rest

    def send(self, message: Outgoing) -> int:
        """Send one message; its number, for ``answer``. The caller keeps to ``window`` and ``limits``.

        Raises:
            MqttError: ``mqtt.lost``.
            ValueError: a topic or a body that no PUBLISH can have.
        """
        if self.loss is not None:
            raise self._lost(self.loss.text)
        retain = message.retain and self.limits.retain
        info = self._client.publish(
            message.topic, message.body, qos=1, retain=retain, properties=self._properties(message)[0]
        )
        if info.rc == paho.MQTT_ERR_QUEUE_SIZE:
            raise self._lost(paho.error_string(info.rc))
        return int(info.mid)  # whatever else went wrong, it may be on its way, and the loss will be seen

    def answer(self, number: int) -> ReasonCode | None:
        """The broker's PUBACK to what ``send`` numbered so, once; ``None`` while there is none."""
        with self._changed:
            return self._acks.pop(number, None)

    def wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Block until ``done``, the connection breaks or the time is over; whether it is done.

        ``done`` is asked with every PUBACK, and must not wait.
        """
        with self._changed:
            self._changed.wait_for(lambda: done() or self.loss is not None, timeout_s)
            return done()

    def is_answered(self, number: int) -> bool:
        """Whether ``answer`` would give something."""
        return number in self._acks

    def publish(self, messages: Iterable[Outgoing], *, timeout_s: float = ACK_TIMEOUT_S) -> None:
        """Send all, in order, and return when each has its PUBACK.

        Raises:
            MqttError: ``mqtt.lost`` when the connection broke or the broker fell silent,
                ``mqtt.not-authorised`` or ``mqtt.refused`` when it answered so (MQTT 5 only: a 3.1.1
                broker cannot say). Any of the messages may have arrived all the same.
        """
        mids: list[int] = []
        for message in messages:
            if len(mids) >= self.window:
                self._wait(partial(self.is_answered, mids[-self.window]), timeout_s, "PUBACK")
            mids.append(self.send(message))
        self._wait(lambda: all(mid in self._acks for mid in mids), timeout_s, "PUBACK")
        reasons = [self._acks.pop(mid) for mid in mids]
        for reason in reasons:
            if reason.is_failure:
                raise _refusal(self._broker, "publishing", reason)

    def subscribe(
        self, topic: str, listener: Callable[[str, bytes], None], *, timeout_s: float = ACK_TIMEOUT_S
    ) -> None:
        """Call ``listener(topic, body)`` on the network thread for each message; returns at SUBACK.

        ``topic``: a filter, also of a shared subscription (``$share/<group>/...``, section 4.8.2).
        """
        granted: list[ReasonCode] = []

        def on_subscribe(_c: Any, _u: Any, _mid: int, reasons: list[ReasonCode], _p: Any) -> None:
            with self._changed:
                granted.extend(reasons)
                self._changed.notify_all()

        self._client.on_subscribe = on_subscribe
        own = topic.split("/", 2)[2] if topic.startswith("$share/") else topic  # what comes has no group in its topic
        self._client.message_callback_add(own, lambda _c, _u, m: listener(m.topic, bytes(m.payload)))
        self._client.subscribe(topic, qos=1)
        self._wait(lambda: bool(granted), timeout_s, "SUBACK")
        if granted[0].is_failure:
            raise _refusal(self._broker, f"subscribing to {topic}", granted[0])

    def wait_lost(self, timeout_s: float) -> bool:
        """Block until the connection breaks, at most ``timeout_s``; whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: self.loss is not None, timeout_s)

    def close(self, why: str = "closed by this side") -> None:
        """Say DISCONNECT, so that the broker does not send the will. Twice is fine, by two threads at once, too."""
        self._end(Loss(text=why, by_peer=False))
        with self._closing:  # paho would wake its thread by a descriptor that the other has just closed
            self._client.disconnect()
            sock: Any = self._client.socket()
            if sock is not None and not self._is_over.wait(_GOODBYE_S):
                with suppress(OSError):  # it does not read what it is sent, and paho would wait until it does
                    sock.shutdown(socket.SHUT_RDWR)
            self._client.let_go()

    def _prepare(self, version: Any, will: Outgoing | None) -> BoundedClient:
        client = BoundedClient(
            paho.CallbackAPIVersion.VERSION2,  # type: ignore[attr-defined]
            client_id=self._broker.client_id,
            protocol=version,
            reconnect_on_failure=False,
        )
        client.max_incoming = self._broker.max_incoming_bytes
        client.on_death = lambda why: self._end(Loss(text=why))
        client.on_alert = self._on_alert
        client.max_inflight_messages_set(0)  # the window is kept here, so that paho queues nothing of its own
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
            self._client.connect(broker.host, broker.port, broker.keepalive_s, properties=self._bounds())
        except ssl.SSLError as error:
            raise self._not_secured(cause_of_handshake(error, peer="the broker")) from error
        except (OSError, ValueError) as error:
            raise MqttError(
                f"the broker at {broker.address} cannot be reached: {error}",
                code="mqtt.unreachable",
                remedy="check mqtt.host and mqtt.port, and that the broker is running",
            ) from error
        self._client.loop_start()
        try:
            self._wait(lambda: self._connack is not None, self._connack_timeout_s, "CONNACK")
        except MqttError as error:
            self._client.let_go()
            if error.code == "mqtt.lost":
                raise self._unanswered(error) from error
            raise
        assert self._connack is not None
        if self._connack.is_failure:
            self._client.let_go()
            raise _refusal(broker, "connecting", self._connack)

    def _bounds(self) -> Properties | None:
        if self.protocol != "5":
            return None
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = self._broker.max_incoming_bytes
        return properties

    def _properties(self, message: Outgoing) -> tuple[Properties | None, int]:
        """What a PUBLISH carries beside topic and body, and its length; made once, since paho takes long to make it."""
        if self.protocol != "5":
            return None, 0
        expires = message.expires and self._broker.message_expiry_s is not None
        if expires not in self._prepared:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.ContentType = "application/json"
            properties.PayloadFormatIndicator = 1
            if expires:
                properties.MessageExpiryInterval = self._broker.message_expiry_s
            self._prepared[expires] = (properties, len(properties.pack()))  # type: ignore[no-untyped-call]
        return self._prepared[expires]

    def _wait(self, done: Callable[[], bool], timeout_s: float, what: str) -> None:
        if self.wait(done, timeout_s):
            return
        if self.loss is not None:
            raise self._lost(self.loss.text) if self.loss.tls is None else self._not_secured(self.loss.tls)
        raise MqttError(f"no {what} from the broker at {self._broker.address} within {timeout_s:g} s", code="mqtt.lost")

    def _lost(self, why: str) -> MqttError:
        return MqttError(f"lost the broker at {self._broker.address}: {why}", code="mqtt.lost")

    def _unanswered(self, error: MqttError) -> MqttError:
        """It took the connection and did not answer as a broker does: mostly another port was meant."""
        remedy = "check mqtt.host and mqtt.port: what answers there may be no MQTT broker"
        if self._broker.tls is None:
            remedy = f"{remedy}, or one that speaks TLS alone there ([mqtt.tls])"
        return MqttError(str(error), code="mqtt.lost", remedy=remedy)

    def _not_secured(self, cause: Cause) -> MqttError:
        text = f"TLS with the broker at {self._broker.address} failed: {cause.text}"
        return MqttError(text, code="mqtt.tls", remedy=cause.remedy)

    def _on_alert(self, error: ssl.SSLError) -> None:
        cause = cause_of_handshake(error, peer="the broker")
        self._end(Loss(text=cause.text, tls=cause))

    def _on_connect(self, _c: Any, _u: Any, _flags: Any, reason: ReasonCode, properties: Any) -> None:
        with self._changed:
            self.limits = _limits(properties)
            self._connack = reason
            self._changed.notify_all()

    def _on_disconnect(self, _c: Any, _u: Any, flags: Any, reason: ReasonCode, _p: Any) -> None:
        told = bool(flags.is_disconnect_packet_from_server)
        in_order = self._client.has_hung_up
        text = "it hung up" if not told and reason.value == _UNSPECIFIED else str(reason)
        self._end(Loss(text=text, code=reason.value if told else None, in_order=in_order))
        self._is_over.set()

    def _end(self, loss: Loss) -> None:
        with self._changed:
            self.loss = self.loss or loss
            self._changed.notify_all()

    def _on_publish(self, _c: Any, _u: Any, mid: int, reason: ReasonCode, _p: Any) -> None:
        with self._changed:
            self._acks[mid] = reason
            self._changed.notify_all()


def _limits(properties: Any) -> Limits:
    """What a CONNACK says; what it does not say is as if there were no bound."""
    return Limits(
        packet_bytes=getattr(properties, "MaximumPacketSize", 0) or LARGEST_PACKET,
        receive_maximum=getattr(properties, "ReceiveMaximum", 0) or 65_535,
        retain=bool(getattr(properties, "RetainAvailable", 1)),
        qos=getattr(properties, "MaximumQoS", 2),
    )


def _refusal(broker: Broker, doing: str, reason: ReasonCode) -> MqttError:
    text = f"the broker at {broker.address} refused {doing}: {reason}"
    if reason.value in _UNSUPPORTED_VERSION or str(reason) == "Unsupported protocol version":
        return MqttError(text, code="mqtt.unsupported-version", remedy='set mqtt.protocol = "auto" or "3.1.1"')
    if reason.value in _NOT_AUTHORISED:
        remedy = "check mqtt.username, the password file or client certificate, and the broker's access list"
        return MqttError(text, code="mqtt.not-authorised", remedy=remedy)
    if reason.value == _NO_RETAIN:
        return MqttError(text, code="mqtt.no-retain", remedy="let the broker retain messages, for the status")
    if reason.value in _QUOTA:
        return MqttError(text, code="mqtt.quota-exceeded", remedy="raise the broker's quota for this device")
    return MqttError(text, code="mqtt.refused")
