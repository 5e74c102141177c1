"""What of a profile cannot be together: no cart could run with it as it is meant. Looks at nothing but the profile."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from edgeai.config.files import carried_away
from edgeai.config.requirements import mistaken_requirements
from edgeai.config.tables import DeviceConfig, Tls
from edgeai.config.words import Where
from edgeai.ports import LOCAL_NAMES

Found: TypeAlias = Iterator[tuple[Where, str]]

_ANY = ("0.0.0.0", "::", "")  # noqa: S104  # compared with, not listened on


def contradictions(config: DeviceConfig) -> Found:
    """Key and sentence of each."""
    yield from _names(config)
    yield from mistaken_requirements(config.deployments)
    yield from _ports(config)
    yield from _hosts(config)
    yield from _tls(config)
    yield from _addresses(config)
    yield from _texts(config)
    yield from _folders(config)
    yield from carried_away(config)
    yield from _intervals(config)
    if config.privacy.uids == "hmac" and config.privacy.hmac_key_file is None:
        yield ("privacy", "uids"), '"hmac" needs hmac_key_file: a file of at least 32 bytes'


def _names(config: DeviceConfig) -> Found:
    first: dict[str, int] = {}
    for index, deployment in enumerate(config.deployments):
        where: Where = ("deployments", index)
        if deployment.name in first:
            yield (*where, "name"), f'deployments[{first[deployment.name]}] has the same name: "{deployment.name}"'
        first.setdefault(deployment.name, index)
        if len(set(deployment.backends)) != len(deployment.backends):
            yield (*where, "backends"), "a backend stands here twice: name each once, best first"
        if "fastest" in deployment.backends and len(deployment.backends) > 1:
            yield (*where, "backends"), '"fastest" measures all backends: let it stand alone, or name them in order'
    for name in config.sinks:
        if name in ("mqtt", "jsonl"):
            yield ("sinks", name), f"the table [{name}] has this name already: call the sink something else"


def _ports(config: DeviceConfig) -> Found:
    scp, health, mqtt = config.ingest.scp, config.health, config.mqtt
    scp_at: Where = ("ingest", "scp", "port")
    health_at: Where = ("health", "port")
    mqtt_at: Where = ("mqtt", "port")
    if scp.enabled and health.enabled and scp.port == health.port and _meet(scp.host, health.host):
        written = "port" in health.model_fields_set
        at, other = (health_at, "ingest.scp.port") if written else (scp_at, "health.port")
        yield at, f"{scp.port} is {other} too: each needs a port of its own"
    if not mqtt.enabled or mqtt.host not in LOCAL_NAMES:
        return
    for listens, table, key in ((scp.enabled, scp, "ingest.scp.port"), (health.enabled, health, "health.port")):
        if listens and table.port == mqtt.port and _meet(table.host, mqtt.host):
            where: Where = mqtt_at if "port" in mqtt.model_fields_set else tuple(key.split("."))
            other = key if where == mqtt_at else "mqtt.port"
            yield where, f"{mqtt.port} is {other} too: the broker on this machine has that port"


def _meet(first: str, second: str) -> bool:
    """Whether two listeners on one port would be in each other's way."""
    return first == second or first in _ANY or second in _ANY or {first, second} <= set(LOCAL_NAMES)


def _hosts(config: DeviceConfig) -> Found:
    hosts: list[tuple[Where, str | None]] = [
        (("mqtt", "host"), config.mqtt.host),
        (("ingest", "scp", "host"), config.ingest.scp.host),
        (("health", "host"), config.health.host),
    ]
    hosts += [(("ingest", "scp", "peers", i, "host"), peer.host) for i, peer in enumerate(config.ingest.scp.peers)]
    for where, host in hosts:
        if host is not None and (why := _why_no_host(host)):
            yield where, f"{why} (here: {host!r})".replace("'", '"')


def _why_no_host(host: str) -> str:
    if not host.strip():
        return "it is empty: give a name or an address"
    if "://" in host:
        return "give the name or address alone, without what stands before and behind ://"
    if re.search(r"\s", host):
        return "there is no space in a name or address"
    if re.fullmatch(r"[0-9a-fA-F.:]+/\d+", host):
        return "give one address, no range"
    if wrong := re.search(r"[/@*]", host):
        return f'no name or address has "{wrong[0]}"'
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        if re.fullmatch(r"[\w.-]*:\d+", host):
            return "give the name or address alone, and its port as `port`"
        if re.fullmatch(r"[\d.]+", host):
            return "this is no address: four numbers of 0 to 255, e.g. 192.0.2.10"
    return ""


def _tls(config: DeviceConfig) -> Found:
    repository = config.repository
    tables: tuple[tuple[Where, Tls | None], ...] = (
        (("repository", "tls"), repository.tls if repository is not None else None),
        (("mqtt", "tls"), config.mqtt.tls),
        (("ingest", "scp", "tls"), config.ingest.scp.tls),
    )
    for where, tls in tables:
        if tls is None:
            continue
        if (tls.certificate is None) != (tls.key is None):
            there, missing = ("key", "certificate") if tls.certificate is None else ("certificate", "key")
            yield (*where, there), f"certificate and key go together: {missing} is missing"
        elif tls.certificate is None and where[0] == "ingest" and config.ingest.scp.enabled:
            yield where, "who listens with TLS needs certificate and key"


def _addresses(config: DeviceConfig) -> Found:
    repository = config.repository
    if repository is None:
        return
    if repository.url is not None and (why := _why_no_address(repository.url, ("https", "http"))):
        yield ("repository", "url"), why
    if repository.proxy is not None and (why := _why_no_address(repository.proxy, ("http",))):
        yield ("repository", "proxy"), why


def _why_no_address(text: str, schemes: tuple[str, ...]) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return f'its host or port is none (here: "{text}")'
    if parts.scheme not in schemes:
        return f'it begins with {" or ".join(f"{scheme}://" for scheme in schemes)} (here: "{text}")'
    if not parts.hostname or port == 0:
        return f'its host or port is none (here: "{text}")'
    if parts.username is not None:
        return "name no user here: whoever reads the profile would have the password"
    if parts.query or parts.fragment or re.search(r"[^!-~]", text):
        return f'an address of a folder, without ?, # and spaces (here: "{text}")'
    return ""


def _texts(config: DeviceConfig) -> Found:
    texts: list[tuple[Where, str | None]] = [
        (("mqtt", "client_id"), config.mqtt.client_id),
        (("mqtt", "username"), config.mqtt.username),
    ]
    texts += [(("plugins", "allow"), name) for name in config.plugins.allow]
    for index, deployment in enumerate(config.deployments):
        texts += [(("deployments", index, "backends"), name) for name in deployment.backends]
        texts.append((("deployments", index, "device"), deployment.device))
    texts += [(("sinks", name, "kind"), sink.kind) for name, sink in config.sinks.items()]
    for where, text in texts:
        if text is not None and not text.strip():
            yield where, "it is empty"
    scp: Where = ("ingest", "scp")
    titles: list[tuple[Where, str]] = [((*scp, "ae_title"), config.ingest.scp.ae_title)]
    titles += [((*scp, "peers", index, "ae_title"), p.ae_title) for index, p in enumerate(config.ingest.scp.peers)]
    for where, title in titles:
        if not title.strip():
            yield where, "an AE title needs one character at least that is no space, e.g. CART-1"


def _folders(config: DeviceConfig) -> Found:
    data = config.device.data_dir
    own = [data / name for name in ("spool", "bundles", "trials", "folders", "slots", "update")]
    folders = config.ingest.folders
    for index, folder in enumerate(folders):
        where: Where = ("ingest", "folders", index)
        for mine in own:
            if folder.path.is_relative_to(mine):
                yield (*where, "path"), f"it lies in {mine}, which is the device's own: watch another folder"
        if data.is_relative_to(folder.path):
            yield (*where, "path"), f"device.data_dir ({data}) lies in it: the device would take in its own files"
        for other, earlier in enumerate(folders[:index]):
            if folder.path.is_relative_to(earlier.path) or earlier.path.is_relative_to(folder.path):
                yield (*where, "path"), f"ingest.folders[{other}] watches the same files: watch each folder once"
        yield from _places(config, index)
    if config.jsonl is not None and any(config.jsonl.path.is_relative_to(mine) for mine in own):
        yield ("jsonl", "path"), f"it lies in a folder of the device's own below {data}: write it elsewhere"


def _places(config: DeviceConfig, index: int) -> Found:
    """Where taken and refused files go must not be watched."""
    folder, where = config.ingest.folders[index], ("ingest", "folders", index)
    places: tuple[tuple[str, Path | None], ...] = (("done_dir", folder.done_dir), ("rejected_dir", folder.rejected_dir))
    for key, place in places:
        if place is None:
            continue
        if place == folder.path:
            yield (*where, key), "it is the watched folder itself: a file would be taken again and again"
        for other, watched in enumerate(config.ingest.folders):
            if other != index and place.is_relative_to(watched.path):
                yield (*where, key), f"ingest.folders[{other}] watches it: a file would be taken twice"


def _intervals(config: DeviceConfig) -> Found:
    supervise, scp = config.supervise, config.ingest.scp
    pairs = (
        (supervise, ("supervise",), "heartbeat_s", "silent_s", "a role would be ended before it can say that it lives"),
        (supervise, ("supervise",), "restart_min_s", "restart_max_s", "the shortest pause is longer than the longest"),
    )
    for table, where, small, large, why in pairs:
        low, high = getattr(table, small), getattr(table, large)
        if low > high or (small == "heartbeat_s" and low == high):
            key, other = (small, large) if small in table.model_fields_set else (large, small)
            yield (*where, key), f"{small} ({low:g}) must be less than {large} ({high:g}): {why} (see {other})"
    if "max_associations_per_host" in scp.model_fields_set and scp.max_associations_per_host > scp.max_associations:
        yield (
            ("ingest", "scp", "max_associations_per_host"),
            f"it is more than max_associations ({scp.max_associations}): no address gets so many",
        )
    if scp.enabled and config.spool.max_instance_bytes == 0:
        yield ("spool", "max_instance_bytes"), "0 bytes: every image would be refused"
