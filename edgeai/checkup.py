"""The checks behind ``edgeai doctor``: each looks at one thing that a device needs, and never raises."""

from __future__ import annotations

import os
import platform
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgeai.api.errors import EdgeaiError
from edgeai.config import Deployment, DeviceConfig, Tls
from edgeai.health.clock import is_synchronised
from edgeai.plugins import Registry, find
from edgeai.privacy import UidMask

if TYPE_CHECKING:
    from edgeai.bundle.keys import PublicKey

CERTIFICATE_WARNING_DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was looked at, what was found, and what to do about it when ``verdict`` is not ``ok``."""

    what: str
    verdict: Literal["ok", "warn", "fail"]
    found: str
    remedy: str = ""


def checkup(config: DeviceConfig | None) -> Iterator[Check]:
    """Every check that applies: the engines alone without a profile."""
    yield Check(what="python", verdict="ok", found=f"{platform.python_version()} on {platform.machine()}")
    yield from _engines(config)
    if config is None:
        return
    yield from _data_dir(config)
    yield _trust(config)
    for deployment in config.deployments:
        yield _bundle(deployment, config)
    if config.ingest.scp.enabled:
        yield _port("DICOM port", config.ingest.scp.host, config.ingest.scp.port, config, "ingest")
    if config.health.enabled:
        yield _port("health port", config.health.host, config.health.port, config, "publish")
    for folder in config.ingest.folders:
        yield _folder(folder.path)
    yield _broker(config)
    yield from _certificates("mqtt.tls", config.mqtt.tls)
    yield from _certificates("ingest.scp.tls", config.ingest.scp.tls)
    if config.privacy.uids == "hmac":
        yield _hmac_key(config)
    yield _clock()


def _engines(config: DeviceConfig | None) -> Iterator[Check]:
    """Each backend plugin that is installed and allowed: its engine, its devices, or why it has none."""
    known = {info.name: info for info in find()}
    wanted = config.plugins.allow if config else tuple(known)
    for name in wanted:
        if name not in known:
            yield Check(
                what=f"plugin {name}",
                verdict="fail",
                found="allowed by the profile, and not installed",
                remedy="pip install the plugin, or take it out of plugins.allow; see `edgeai plugins list`",
            )
    registry = Registry.of(name for name in wanted if name in known)
    for name, error in registry.faults.items():
        yield Check(what=f"plugin {name}", verdict="fail", found=str(error), remedy=error.remedy or "reinstall it")
    for name, backend in registry.backends.items():
        devices = [device.name for device in backend.probe()]
        why = backend.explain()
        found = f"{backend.engine() or 'engine not installed'}: {', '.join(devices) or 'no device'}"
        needed = config is not None and any(name in deployment.backends for deployment in config.deployments)
        if devices:
            yield Check(what=f"backend {name}", verdict="ok", found=found)
        else:
            verdict: Literal["warn", "fail"] = "fail" if needed else "warn"
            remedy = "install its engine (the plugin's README says how)"
            if backend.engine():
                remedy = "nothing, unless this machine should have such a device: then its driver is missing"
            yield Check(what=f"backend {name}", verdict=verdict, found=f"{found}. {why}", remedy=remedy)


def _data_dir(config: DeviceConfig) -> Iterator[Check]:
    folder = config.device.data_dir
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        remedy = f"create {folder} and give it to the service's user"
        yield Check(what="data_dir", verdict="fail", found=f"{existing} cannot be written", remedy=remedy)
        return
    yield Check(what="data_dir", verdict="ok", found=str(folder))
    free, reserve = shutil.disk_usage(existing).free, config.spool.reserve_bytes
    found = f"{free / 1e9:.1f} GB free, {reserve / 1e9:.1f} GB kept in reserve"
    if free < reserve:
        remedy = "free space or lower spool.reserve_bytes: until then every C-STORE is answered 0xA700"
        yield Check(what="disk", verdict="fail", found=found, remedy=remedy)
    elif free < 2 * reserve:
        yield Check(what="disk", verdict="warn", found=found, remedy="free space before the reserve is reached")
    else:
        yield Check(what="disk", verdict="ok", found=found)


def _trust(config: DeviceConfig) -> Check:
    """The keys that bundles must be signed with: whether there are enough, and that all of them are public keys."""
    from edgeai.bundle.keys import read_keys

    folder, threshold = config.trust.keys, config.trust.threshold
    try:
        keys = read_keys([folder])
    except EdgeaiError as error:
        return Check(what="trust", verdict="fail", found=str(error), remedy=error.remedy or "")
    now = datetime.now(UTC)
    count = sum(not key.bounds.is_over(now) for key in keys)
    ending = [key for key in keys if key.bounds.is_over(now + timedelta(days=CERTIFICATE_WARNING_DAYS))]
    names = ", ".join(_key(key, now) for key in keys)
    found = f"{len(keys)} keys in {folder}: {names}" if keys else f"no key in {folder}"
    if not folder.exists():
        found = f"{folder} is missing"
    if config.trust.unsigned == "accept":
        remedy = "before patients: put public keys there and take `unsigned` out of [trust]"
        return Check(what="trust", verdict="warn", found=f"unsigned bundles run here; {found}", remedy=remedy)
    if count < threshold:
        remedy = f"put the public keys of who signs there (NAME.pub); {threshold} must have signed a bundle"
        return Check(what="trust", verdict="fail", found=f"{found}: no bundle can run", remedy=remedy)
    found = f"{found}; {threshold} must have signed"
    if ending:
        remedy = "have the bundles signed by another key, or move the end in trust.toml"
        return Check(what="trust", verdict="warn", found=found, remedy=remedy)
    return Check(what="trust", verdict="ok", found=found)


def _key(key: PublicKey, now: datetime) -> str:
    bounds = key.bounds
    if bounds.is_over(now):
        return f"{key.name} (ended on {bounds.ends})"
    return f"{key.name} ({bounds})" if bounds.models or bounds.ends else key.name


def _bundle(deployment: Deployment, config: DeviceConfig) -> Check:
    from edgeai.bundle.admission import read_admitted

    what = f"bundle of {deployment.name}"
    try:
        manifest, digest = read_admitted(config, deployment)
    except EdgeaiError as error:
        return Check(what=what, verdict="fail", found=str(error), remedy=error.remedy or "copy the bundle again")
    missing = [name for name in manifest.plugins if name not in config.plugins.allow]
    if missing:
        found = f"{manifest.name} {manifest.version} needs plugins that are not allowed: {', '.join(missing)}"
        return Check(what=what, verdict="fail", found=found, remedy="add them to plugins.allow")
    release = f"release {manifest.release}" if manifest.release else "not numbered"
    return Check(what=what, verdict="ok", found=f"{manifest.name} {manifest.version} ({release}, {digest[:19]}...)")


def _port(what: str, host: str, port: int, config: DeviceConfig, role: str) -> Check:
    from edgeai.spool import is_held

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if is_held(config.device.data_dir / "spool" / "roles" / f"{role}.note"):
                return Check(what=what, verdict="ok", found=f"{host}:{port}, held by the running service")
            remedy = f"stop what listens there (ss -ltnp 'sport = :{port}'), or choose another port or address"
            return Check(what=what, verdict="fail", found=f"{host}:{port}: {error.strerror}", remedy=remedy)
    return Check(what=what, verdict="ok", found=f"{host}:{port} is free")


def _folder(path: Path) -> Check:
    what = "watched folder"
    if path.is_dir() and os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return Check(what=what, verdict="ok", found=str(path))
    remedy = "create it, readable and writable by the service's user"
    return Check(what=what, verdict="warn", found=f"{path} is missing or closed to this user", remedy=remedy)


def _broker(config: DeviceConfig) -> Check:
    if not config.mqtt.enabled:
        return Check(what="broker", verdict="warn", found="mqtt.enabled is false", remedy="results stay on this device")
    from edgeai.api.specs import SinkRequest
    from edgeai.mqtt import connect
    from edgeai.sinks.mqtt import broker_of

    # An id of its own: taking the device's would throw the running service off the broker.
    settings = {**config.mqtt.model_dump(), "client_id": f"edgeai-doctor-{os.getpid()}"}
    try:
        broker = broker_of(SinkRequest(device_id=config.device.id, site=config.device.site, settings=settings))
        connection = connect(broker)
    except EdgeaiError as error:
        return Check(what="broker", verdict="fail", found=str(error), remedy=error.remedy or "")
    connection.close()
    encrypted = "TLS" if config.mqtt.tls else "not encrypted"
    found = f"{broker.address}, MQTT {connection.protocol}, {encrypted}"
    if config.mqtt.tls is None and config.mqtt.host not in ("127.0.0.1", "::1", "localhost"):
        return Check(what="broker", verdict="warn", found=found, remedy="add [mqtt.tls]: results cross a network")
    return Check(what="broker", verdict="ok", found=found)


def _certificates(where: str, tls: Tls | None) -> Iterator[Check]:
    if tls is None:
        return
    for name in ("ca", "certificate"):
        path: Path | None = getattr(tls, name)
        if path is not None:
            yield _certificate(f"{where}.{name}", path)
    if tls.key is not None and tls.key.exists() and tls.key.stat().st_mode & 0o077:
        found = f"{tls.key} can be read by others"
        yield Check(what=f"{where}.key", verdict="warn", found=found, remedy=f"chmod 600 {tls.key}")


def _certificate(what: str, path: Path) -> Check:
    from cryptography import x509

    try:
        ends = min(item.not_valid_after_utc for item in x509.load_pem_x509_certificates(path.read_bytes()))
    except (OSError, ValueError) as error:
        return Check(what=what, verdict="fail", found=f"{path}: {error}", remedy="install a PEM certificate there")
    days = (ends - datetime.now(UTC)).days
    found = f"{path.name}: valid until {ends:%Y-%m-%d}, {days} days"
    if days < 0:
        return Check(what=what, verdict="fail", found=found, remedy="renew it: connections are refused")
    if days < CERTIFICATE_WARNING_DAYS:
        return Check(what=what, verdict="warn", found=found, remedy="renew it")
    return Check(what=what, verdict="ok", found=found)


def _hmac_key(config: DeviceConfig) -> Check:
    try:
        UidMask.of(config.privacy)
    except EdgeaiError as error:
        remedy = error.remedy or "install the key, readable by the service's user alone"
        return Check(what="privacy key", verdict="fail", found=str(error), remedy=remedy)
    return Check(what="privacy key", verdict="ok", found=str(config.privacy.hmac_key_file))


def _clock() -> Check:
    """Whether the kernel's clock is disciplined (NTP): times in results and certificates depend on it."""
    synchronised = is_synchronised()
    if synchronised is None:
        return Check(what="clock", verdict="warn", found="this system does not say", remedy="run an NTP client")
    found = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if not synchronised:
        return Check(what="clock", verdict="warn", found=f"{found}, not synchronised", remedy="run an NTP client")
    return Check(what="clock", verdict="ok", found=f"{found}, synchronised")
