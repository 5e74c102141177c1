"""The table ``[mqtt]`` of a profile: what it may say, and the broker that it describes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from edgeai.api.errors import MqttError
from edgeai.api.options import OptionSpec
from edgeai.api.sinks import SinkRequest
from edgeai.mqtt import Broker, tls_context
from edgeai.tls_files import TlsFiles

SETTINGS = (
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
)
"""What ``[mqtt]`` of a profile may say."""


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


def tls_files_of(request: SinkRequest) -> TlsFiles | None:
    """The files of ``[mqtt.tls]``, which may be renewed; None without that table.

    Raises:
        MqttError: ``mqtt.tls``.
    """
    tls: dict[str, Any] | None = request.settings.get("tls")
    if tls is None:
        return None
    files = {key: Path(tls[key]) if tls.get(key) else None for key in ("ca", "certificate", "key")}
    return TlsFiles("mqtt.tls", partial(tls_context, **files), **files)


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
