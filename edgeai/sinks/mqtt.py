"""The MQTT sink: results and events at QoS 1, a retained status and its last will.

Topics are ``edgeai/1/<site>/<device>/<channel>``; ``docs/asyncapi.yaml`` is the contract.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeai.api.errors import MqttError, SinkFailed
from edgeai.api.hooks import hookimpl
from edgeai.api.specs import Message, OptionSpec, SinkRequest, SinkSpec
from edgeai.mqtt import Broker, Connection, Outgoing, connect, tls_context

EDGEAI_API = (1, 0)


class MqttSink:
    """One broker. Connects at the first ``put``, and again at the next after it was lost."""

    def __init__(self, request: SinkRequest) -> None:
        self._broker = broker_of(request)
        self._prefix = f"edgeai/1/{request.site}/{request.device_id}"
        self._will = Outgoing(topic=f"{self._prefix}/status", body=_offline(request), retain=True)
        self._status: Outgoing | None = None
        self._connection: Connection | None = None

    def put(self, messages: Sequence[Message]) -> None:
        """All of ``messages`` acknowledged by the broker, in order.

        Raises:
            SinkFailed: with the code of the ``MqttError`` behind it.
        """
        outgoing = [self._outgoing(message) for message in messages]
        try:
            self._connected().publish(outgoing)
        except MqttError as error:
            self._drop()
            raise SinkFailed(str(error), code=error.code, remedy=error.remedy) from error

    def close(self) -> None:
        """Say offline in so many words, since a clean DISCONNECT suppresses the will."""
        if self._connection is not None and self._connection.is_open:
            with contextlib.suppress(MqttError):  # the broker is gone: it will publish the will itself
                self._connection.publish([self._will], timeout_s=2.0)
        self._drop()

    def _outgoing(self, message: Message) -> Outgoing:
        is_status = message.channel == "status"
        topic = f"{self._prefix}/{message.channel}"
        outgoing = Outgoing(topic=topic, body=message.body, retain=is_status, expires=not is_status)
        if is_status:
            self._status = outgoing
        return outgoing

    def _connected(self) -> Connection:
        if self._connection is not None and not self._connection.is_open:
            self._drop()
        if self._connection is None:
            self._connection = connect(self._broker, will=self._will)
            if self._status is not None:  # the will has overwritten it
                self._connection.publish([self._status])
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _offline(request: SinkRequest) -> bytes:
    body = {"schema": 2, "site": request.site, "device_id": request.device_id, "state": "offline"}
    return json.dumps(body).encode()


def broker_of(request: SinkRequest) -> Broker:
    """The broker that a configuration's ``[mqtt]`` table describes (``edgeai.config.Mqtt``).

    Raises:
        MqttError: ``mqtt.tls`` or ``mqtt.password-file``.
    """
    settings = request.settings
    tls: dict[str, Any] | None = settings.get("tls")
    return Broker(
        host=settings.get("host", "127.0.0.1"),
        port=settings.get("port", 1883),
        client_id=settings.get("client_id") or f"edgeai-{request.site}-{request.device_id}",
        protocol=settings.get("protocol", "auto"),
        username=settings.get("username"),
        password=_password(settings.get("password_file")),
        tls=tls_context(tls.get("ca"), tls.get("certificate"), tls.get("key")) if tls is not None else None,
        keepalive_s=settings.get("keepalive_s", 30),
        max_inflight=settings.get("max_inflight", 20),
        message_expiry_s=settings.get("message_expiry_s"),
    )


def _password(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise MqttError(
            f"the password file {path} cannot be read: {error}",
            code="mqtt.password-file",
            remedy="create it with one line, readable by the service's user alone",
        ) from error


@hookimpl
def edgeai_sinks() -> tuple[SinkSpec, ...]:
    """The ``mqtt`` sink."""
    return (
        SinkSpec(
            name="mqtt",
            open=MqttSink,
            help="an MQTT 5 or 3.1.1 broker, QoS 1",
            settings=(
                OptionSpec(name="host", help="host name or address", default="127.0.0.1"),
                OptionSpec(name="port", help="TCP port", default=1883),
                OptionSpec(name="protocol", help="protocol version", default="auto", choices=("auto", "5", "3.1.1")),
                OptionSpec(name="client_id", help="edgeai-<site>-<device> when absent"),
                OptionSpec(name="username", help="user name"),
                OptionSpec(name="password_file", help="a file that holds the password"),
                OptionSpec(name="tls", help="table of PEM files: ca, certificate, key"),
                OptionSpec(name="keepalive_s", help="keep-alive in seconds", default=30),
                OptionSpec(name="max_inflight", help="messages sent and not yet acknowledged", default=20),
                OptionSpec(name="message_expiry_s", help="MQTT 5 message expiry of results in seconds"),
                OptionSpec(name="enabled", help="whether it is used", default=True),
            ),
        ),
    )
