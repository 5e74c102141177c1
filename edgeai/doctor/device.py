"""The trust folder, ports, watched folders, the key of ``privacy.uids`` and the clock."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from edgeai.api.errors import EdgeaiError
from edgeai.config import DeviceConfig, Folder
from edgeai.counted import counted
from edgeai.doctor.checks import Check
from edgeai.health.clock import is_synchronised
from edgeai.ports import why_not
from edgeai.privacy import UidMask

if TYPE_CHECKING:
    from edgeai.bundle.keys import PublicKey

WARNING_DAYS = 30


def trust(config: DeviceConfig) -> Check:
    """The keys that bundles must be signed with: whether there are enough, and that all of them are public keys."""
    from edgeai.bundle.keys import read_keys

    folder, threshold = config.trust.keys, config.trust.threshold
    try:
        keys = read_keys([folder])
    except EdgeaiError as error:
        return Check(what="trust", verdict="fail", found=str(error), remedy=error.remedy or "")
    now = datetime.now(UTC)
    count = sum(not key.bounds.is_over(now) for key in keys)
    ending = [key for key in keys if key.bounds.is_over(now + timedelta(days=WARNING_DAYS))]
    names = ", ".join(_key(key, now) for key in keys)
    state = f"{counted(len(keys), 'key')} in {folder}: {names}" if keys else f"no key in {folder}"
    if not folder.exists():
        state = f"{folder} is missing"
    if config.trust.unsigned == "accept":
        remedy = "before patients: put public keys there and take `unsigned` out of [trust]"
        return Check(what="trust", verdict="warn", found=f"unsigned bundles run here; {state}", remedy=remedy)
    if count < threshold:
        remedy = f"put the public keys of who signs there (NAME.pub); {threshold} must have signed a bundle"
        return Check(what="trust", verdict="fail", found=f"{state}: no bundle can run", remedy=remedy)
    state = f"{state}; {threshold} must have signed"
    if ending:
        remedy = "have the bundles signed by another key, or move the end in trust.toml"
        return Check(what="trust", verdict="warn", found=state, remedy=remedy)
    return Check(what="trust", verdict="ok", found=state)


def _key(key: PublicKey, now: datetime) -> str:
    bounds = key.bounds
    if bounds.is_over(now):
        return f"{key.name} (ended on {bounds.ends})"
    return f"{key.name} ({bounds})" if bounds.models or bounds.ends else key.name


def ports(config: DeviceConfig) -> Iterator[Check]:
    """What the device listens on."""
    if config.ingest.scp.enabled:
        yield _port("DICOM port", config.ingest.scp.host, config.ingest.scp.port, config, "ingest")
    if config.health.enabled:
        yield _port("health port", config.health.host, config.health.port, config, "publish")


def _port(what: str, host: str, port: int, config: DeviceConfig, role: str) -> Check:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            # Who only bound a port without listening yet is found by listening too.
            probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and _is_open_by(role, config):
            return Check(what=what, verdict="ok", found=f"{host}:{port}, held by the running service")
        cause, remedy = why_not(error, port)
        return Check(what=what, verdict="fail", found=f"{host}:{port}: {cause}", remedy=remedy)
    return Check(what=what, verdict="ok", found=f"{host}:{port} is free")


def _is_open_by(role: str, config: DeviceConfig) -> bool:
    """Whether the running service has its port: it runs without one that somebody else took."""
    from edgeai.spool import is_held, read_note

    place = config.device.data_dir / "spool" / "roles" / f"{role}.note"
    note = read_note(place) if is_held(place) else None
    return note is not None and not (note.detail.get("port") or note.detail.get("health_problem"))


def folder(watched: Folder, config: DeviceConfig) -> Check:
    """One watched folder."""
    what, path = "watched folder", watched.path
    wanted = os.R_OK | os.X_OK | (0 if watched.after == "leave" else os.W_OK)
    if path.is_dir():
        if os.access(path, wanted):
            return Check(what=what, verdict="ok", found=str(path))
        rights = "readable" if watched.after == "leave" else "readable and writable"
        remedy = f"make it {rights} for the service's user; call doctor as that user"
        return Check(what=what, verdict="warn", found=f"{path} is closed to this user", remedy=remedy)
    if path.is_relative_to(config.device.data_dir):
        return Check(what=what, verdict="ok", found=f"{path}: the first start makes it")
    remedy = "create it, readable and writable by the service's user; or mount it"
    return Check(what=what, verdict="warn", found=f"{path} is missing", remedy=remedy)


def hmac_key(config: DeviceConfig) -> Check:
    """The key of ``privacy.uids``."""
    try:
        UidMask.of(config.privacy)
    except EdgeaiError as error:
        remedy = error.remedy or "install the key, readable by the service's user alone"
        return Check(what="privacy key", verdict="fail", found=str(error), remedy=remedy)
    return Check(what="privacy key", verdict="ok", found=str(config.privacy.hmac_key_file))


def clock() -> Check:
    """Whether the kernel's clock is disciplined (NTP): times in results and certificates depend on it."""
    synchronised = is_synchronised()
    if synchronised is None:
        return Check(what="clock", verdict="warn", found="this system does not say", remedy="run an NTP client")
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if not synchronised:
        return Check(what="clock", verdict="warn", found=f"{now}, not synchronised", remedy="run an NTP client")
    return Check(what="clock", verdict="ok", found=f"{now}, synchronised")
