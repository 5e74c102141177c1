"""Every sink with its settings, opened as ``publish`` opens it; and the broker, by a real publish."""

from __future__ import annotations

import difflib
import json
import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeai.api.errors import EdgeaiError
from edgeai.config import DeviceConfig
from edgeai.doctor.apart import Apart
from edgeai.doctor.certificates import common_name
from edgeai.doctor.checks import Check
from edgeai.doctor.engines import Plugins
from edgeai.mqtt import Broker, Connection, Outgoing, connect
from edgeai.ports import LOCAL_NAMES
from edgeai.spool import Spool, is_held
from edgeai.tls import cause_of_handshake

_CONNECT_S = 10.0


def checks(config: DeviceConfig, plugins: Plugins, apart: Apart) -> Iterator[Check]:
    """JSON lines and the plugins' sinks; the broker is a check of its own."""
    if config.jsonl is not None and config.jsonl.enabled:
        yield _jsonl(config.jsonl.path)
    for name, sink in config.sinks.items():
        what = f"sink {name}"
        if plugins.deaths:
            names = ", ".join(plugins.deaths)
            state = f"not opened: the publish role loads every allowed plugin, and would end with {names}"
            yield Check(what=what, verdict="fail", found=state, remedy=f"first take {names} out of plugins.allow")
            continue
        known = sorted({*plugins.sinks, "mqtt", "jsonl"})
        if sink.kind not in known:
            near = difflib.get_close_matches(sink.kind, known, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            state = f'no allowed plugin provides a sink "{sink.kind}"{hint}'
            remedy = f"install its plugin and add it to plugins.allow; known here: {', '.join(known)}"
            yield Check(what=what, verdict="fail", found=state, remedy=remedy)
            continue
        yield _opened(what, sink.kind, apart, name)


def _opened(what: str, kind: str, apart: Apart, name: str) -> Check:
    answer = apart.ask(f"sink:{name}")
    last = answer.lines[-1] if answer.lines else {}
    if answer.death:
        remedy = "update the plugin, or take the sink out: `publish` would end with it"
        return Check(what=what, verdict="fail", found=f"{kind}: {answer.death}", remedy=remedy)
    if "error" in last:
        remedy = last["remedy"] or f"correct sinks.{name}.settings"
        return Check(what=what, verdict="fail", found=f"{last['error']} [{last['code']}]", remedy=remedy)
    return Check(what=what, verdict="ok", found=f"{kind}, opened with its settings")


def _jsonl(path: Path) -> Check:
    what, above = "jsonl", next(item for item in path.parents if item.exists())
    if path.is_dir():
        return Check(what=what, verdict="fail", found=f"{path} is a folder", remedy="name a file in jsonl.path")
    if not above.is_dir():
        return Check(what=what, verdict="fail", found=f"{above} is a file", remedy="name a folder in jsonl.path")
    if not os.access(above, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.W_OK)):
        remedy = "give it to the service's user, or name another place"
        return Check(what=what, verdict="fail", found=f"{path} cannot be written", remedy=remedy)
    return Check(what=what, verdict="ok", found=str(path))


# --- the broker -----------------------------------------------------------------------------------


def broker(config: DeviceConfig) -> Iterator[Check]:
    """Connect, and publish the status as it is: not retained, and under a client's name of its own.

    So it neither overwrites the retained status nor takes the session of the running service over; and there is no last
    will, which would be published if this process were killed.
    """
    if not config.mqtt.enabled:
        yield Check(what="broker", verdict="warn", found="mqtt.enabled is false", remedy="no result leaves by MQTT")
        return
    from edgeai.sinks.mqtt import broker_of

    settings = config.mqtt.model_copy(update={"client_id": f"edgeai-doctor-{os.getpid()}"})
    try:
        place = broker_of(settings, site=config.device.site, device_id=config.device.id)
        connection = connect(place)
    except EdgeaiError as error:
        yield Check(what="broker", verdict="fail", found=str(error), remedy=error.remedy or "")
        return
    try:
        yield _met(config, connection, place)
        yield _published(config, connection)
    finally:
        connection.close()
    if place.tls is not None:
        yield from _strictly(place)


def _met(config: DeviceConfig, connection: Connection, place: Broker) -> Check:
    encrypted = "TLS" if config.mqtt.tls else "not encrypted"
    state = f"{place.address}, MQTT {connection.protocol}, {encrypted}"
    if not connection.limits.retain:
        remedy = "let the broker retain messages: the status and the last will need it"
        return Check(what="broker", verdict="fail", found=f"{state}, retains nothing", remedy=remedy)
    if config.mqtt.tls is None and config.mqtt.host not in LOCAL_NAMES:
        return Check(what="broker", verdict="warn", found=state, remedy="add [mqtt.tls]: results cross a network")
    return Check(what="broker", verdict="ok", found=state)


def _published(config: DeviceConfig, connection: Connection) -> Check:
    what, topic = "broker's access list", f"edgeai/1/{config.device.site}/{config.device.id}/status"
    try:
        connection.publish([Outgoing(topic=topic, body=json.dumps(_truth(config)).encode())])
    except EdgeaiError as error:
        whose = common_name(config.mqtt.tls.certificate) if config.mqtt.tls else ""
        wanted = f"{config.device.site}/{config.device.id}"
        remedy = f"let the broker's access list allow edgeai/1/{wanted}/#"
        if whose and whose != wanted:
            remedy = f'the certificate\'s common name is "{whose}", the topic is of "{wanted}": they should be the same'
        elif config.mqtt.username:
            remedy = f"{remedy} to {config.mqtt.username}"
        return Check(what=what, verdict="fail", found=f"{topic}: {error}", remedy=remedy)
    if connection.protocol != "5":
        return Check(what=what, verdict="ok", found=f"{topic} published; with MQTT 3.1.1 no broker says if it may be")
    return Check(what=what, verdict="ok", found=f"{topic} may be published")


def _truth(config: DeviceConfig) -> dict[str, Any]:
    """What a subscriber may believe: the status of the running service, or that there is none."""
    from edgeai.health import read_health, status_body

    note = config.device.data_dir / "spool" / "roles" / "publish.note"
    if is_held(note):
        with suppress(EdgeaiError):
            spool = Spool.of(config)
            try:
                last = spool.notes().get("publish")
                since = time.time() - (last.age_s() if last else 0.0)
                with suppress(OSError):
                    since = Path(f"/proc/{last.pid}").stat().st_ctime if last else since
                moment = datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds")
                return status_body(config, read_health(spool, config), moment)
            finally:
                spool.close()
    return {"schema": 2, "site": config.device.site, "device_id": config.device.id, "state": "offline"}


def _strictly(place: Broker) -> Iterator[Check]:
    """Whether Python 3.13 and later would take the broker's certificate too: they hold it to RFC 5280."""
    context = place.tls
    assert context is not None
    if context.verify_flags & ssl.VERIFY_X509_STRICT:
        return  # it was held to that just now
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        with (
            socket.create_connection((place.host, place.port), timeout=_CONNECT_S) as plain,
            context.wrap_socket(plain, server_hostname=place.host),
        ):
            return
    except ssl.SSLCertVerificationError as error:
        cause = cause_of_handshake(error, peer="the broker")
        reason = f"{cause.text}: Python 3.13 and later refuse it"
        yield Check(what="broker's certificate", verdict="warn", found=reason, remedy=cause.remedy)
    except OSError:
        return  # met a moment ago: what comes and goes is not this check's
