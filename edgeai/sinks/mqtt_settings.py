"""The broker that the table ``[mqtt]`` of a profile describes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from edgeai.api.errors import MqttError
from edgeai.config import Mqtt
from edgeai.mqtt import Broker, tls_context
from edgeai.tls_files import TlsFiles


def broker_of(settings: Mqtt, *, site: str, device_id: str) -> Broker:
    """The broker that the table describes, to this device.

    Raises:
        MqttError: ``mqtt.tls`` or ``mqtt.password-file``.
    """
    tls = settings.tls
    return Broker(
        host=settings.host,
        port=settings.port,
        client_id=settings.client_id or f"edgeai-{site}-{device_id}",
        protocol=settings.protocol,
        username=settings.username,
        password=password(settings.password_file),
        tls=tls_context(tls.ca, tls.certificate, tls.key) if tls is not None else None,
        keepalive_s=settings.keepalive_s,
        max_inflight=settings.max_inflight,
        message_expiry_s=settings.message_expiry_s,
    )


def tls_files_of(settings: Mqtt) -> TlsFiles | None:
    """The files of ``[mqtt.tls]``, which may be renewed; None without that table.

    Raises:
        MqttError: ``mqtt.tls``.
    """
    if settings.tls is None:
        return None
    files = {key: getattr(settings.tls, key) for key in ("ca", "certificate", "key")}
    return TlsFiles("mqtt.tls", partial(tls_context, **files), **files)


def password(path: Path | None) -> str | None:
    """The one line of a password file; ``None`` without one.

    Raises:
        MqttError: ``mqtt.password-file``.
    """
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise MqttError(
            f"the password file {path} cannot be read: {error}",
            code="mqtt.password-file",
            remedy="create it with one line, readable by the service's user alone",
        ) from error
