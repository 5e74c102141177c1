"""Where the broker is, as the commands that hear carts take it."""

from __future__ import annotations

import importlib.util
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeai.api.errors import ConfigError

if TYPE_CHECKING:
    from edgeai.mqtt import Broker

BrokerOption = Annotated[
    str | None, typer.Option("--broker", help="The broker, HOST or HOST:PORT. Required.", show_default=False)
]
CaOption = Annotated[Path | None, typer.Option("--ca", help="Speak TLS, and hold the broker to these authorities.")]
CertificateOption = Annotated[Path | None, typer.Option("--certificate", help="This client's, for TLS.")]
TlsKeyOption = Annotated[Path | None, typer.Option("--tls-key", help="Its private key.")]
UserOption = Annotated[str | None, typer.Option("--username", help="To the broker.")]
PasswordOption = Annotated[Path | None, typer.Option("--password-file", help="A file with one line.")]
_PLACE = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]/@]+)(?::(?P<port>[0-9]{1,5}))?")


def hold_to_extra() -> None:
    """Say what is to be installed, where a conductor's store is not.

    Raises:
        ConfigError: ``fleet.extra-missing``.
    """
    if importlib.util.find_spec("sqlalchemy") is None:
        raise ConfigError(
            "a conductor needs SQLAlchemy, which is not installed here",
            code="fleet.extra-missing",
            remedy="pip install 'edgeai-fleet[conduct]'",
        )


def broker_of(
    place: str | None,
    who: str,
    ca: Path | None,
    certificate: Path | None,
    key: Path | None,
    username: str | None,
    password_file: Path | None,
) -> Broker:
    """The broker that was given.

    Raises:
        ConfigError: ``fleet.broker``.
        MqttError: ``mqtt.tls``, ``mqtt.password-file``.
    """
    from edgeai.cli.given import given
    from edgeai.mqtt import Broker, tls_context
    from edgeai.sinks.mqtt_settings import password

    match = _PLACE.fullmatch(given(place, "--broker", "say where carts publish"))
    if match is None or (match["port"] and not 1 <= int(match["port"]) <= 65_535):
        raise ConfigError(f"{place} is no broker", code="fleet.broker", remedy="give HOST or HOST:PORT")
    for given_, lacks, option, other in (
        (key, certificate, "--tls-key", "--certificate"),
        (password_file, username, "--password-file", "--username"),
    ):
        if given_ is not None and lacks is None:
            raise ConfigError(f"{option} without {other}", code="fleet.broker", remedy="give both, or neither")
    is_tls = ca is not None or certificate is not None
    files = "of --ca, --certificate and --tls-key"
    return Broker(
        host=match["host"].strip("[]"),
        port=int(match["port"] or (8883 if is_tls else 1883)),
        client_id=f"edgeai-fleet-{who}-{secrets.token_hex(6)}",  # of two with one name a broker ends the first
        username=username,
        password=password(password_file),
        tls=tls_context(ca, certificate, key, named=files) if is_tls else None,
    )
