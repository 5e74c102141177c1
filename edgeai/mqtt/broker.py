"""Where a broker is, what is sent to it, what it takes, and why it is gone."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeai import defaults
from edgeai.api.errors import MqttError
from edgeai.tls import Cause, cause_of_files, show

LARGEST_PACKET = 1 + 4 + 268_435_455
"""What a fixed header can say (section 1.5.5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where the broker is, and who we are to it. Durations in seconds."""

    host: str
    port: int
    client_id: str
    protocol: Literal["auto", "5", "3.1.1"] = defaults.MQTT_PROTOCOL
    username: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None
    keepalive_s: int = defaults.KEEPALIVE_S
    max_inflight: int = defaults.MAX_INFLIGHT
    message_expiry_s: int | None = None
    max_incoming_bytes: int = 16 << 20
    """Largest packet that is taken from the broker; the connection is dropped on a larger one."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the broker takes, as its CONNACK says (section 3.2.2.3); MQTT 3.1.1 says none of it.

    Attributes:
        packet_bytes: largest packet, its fixed header included.
        receive_maximum: messages that may be on their way without PUBACK.
        retain: whether messages are retained.
        qos: highest quality of service.
    """

    packet_bytes: int = LARGEST_PACKET
    receive_maximum: int = 65_535
    retain: bool = True
    qos: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Why a connection is over.

    Attributes:
        code: reason code of the broker's own DISCONNECT, where it sent one.
        by_peer: not by this side.
        in_order: the other side closed the connection, and did not just vanish or reset it.
        tls: what the other side refused of our end of TLS; since TLS 1.3 it says so after the handshake.
    """

    text: str
    code: int | None = None
    by_peer: bool = True
    in_order: bool = False
    tls: Cause | None = None


def tls_context(
    ca: Path | None, certificate: Path | None, key: Path | None, *, named: str = "of [mqtt.tls]"
) -> ssl.SSLContext:
    """A client's context: the broker is verified against ``ca``, or the system's authorities when ``None``.

    ``named``: where the files were, for the message.

    Raises:
        MqttError: ``mqtt.tls`` when a file cannot be read or does not hold what it should.
    """
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(ca) if ca else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate is not None:
            show(context, certificate, key)
    except (OSError, ssl.SSLError) as error:
        cause = cause_of_files(error, ca=ca, certificate=certificate, key=key)
        raise MqttError(
            f"the TLS files {named} cannot be used: {cause.text}", code="mqtt.tls", remedy=cause.remedy
        ) from error
    return context
