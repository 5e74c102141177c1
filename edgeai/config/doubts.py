"""What of a profile was hardly meant, though a cart runs with it: `edgeai config check` says it.

Here files are looked for, but none is opened. A profile may be meant for another machine: a file is missed where the
folder that it should be in is here; else it is only noted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgeai.config.files import KEY_FOLDERS, named_files, named_folders, variable
from edgeai.config.rules import Found
from edgeai.config.tables import DeviceConfig
from edgeai.config.words import Where, nearest, nearest_word

_SMALLEST_BYTES = 100_000
_LONGEST_S = 7200.0
_TIMES = ("heartbeat_s", "silent_s", "restart_min_s", "restart_max_s")
_ANYWHERE = frozenset(
    ("/", "/etc", "/var", "/var/lib", "/srv", "/opt", "/usr", "/usr/local", "/home", "/mnt", "/media", "/run", "/data")
)
"""Folders that any machine has: what is missing further below them may be another machine's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """``mistake``: this profile should not go out; ``note``: a person should know."""

    where: Where
    what: str
    weight: Literal["mistake", "note"] = "mistake"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledBackends:
    """The backends that are installed, as metadata has them.

    Attributes:
        plugins: backend -> the plugins that provide it.
        also: what else people write for a backend -> the backend.
        twice: sentences, of each backend that several of the allowed plugins provide.
    """

    plugins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    also: Mapping[str, str] = field(default_factory=dict)
    twice: tuple[str, ...] = ()


def doubts(config: DeviceConfig, installed: InstalledBackends | None = None) -> Iterator[Remark]:
    """Key and sentence of each.

    Args:
        config: the profile.
        installed: what this machine has; what it has not may be on the machine that the profile is for.
    """
    here = installed or InstalledBackends()
    for kind_of in (_without_effect, _limits, _units, _twice_allowed, _ways):
        for where, what in kind_of(config):
            yield Remark(where=where, what=what)
    yield from _backends(config, here)
    yield from _notes(config)
    yield from _files(config)


def _without_effect(config: DeviceConfig) -> Found:
    if config.privacy.uids == "plain" and config.privacy.hmac_key_file is not None:
        yield ("privacy", "hmac_key_file"), 'it has no effect: UIDs leave plainly; write uids = "hmac" to use the key'
    if config.mqtt.password_file is not None and config.mqtt.username is None:
        yield ("mqtt", "password_file"), "a password needs a username"
    if config.updates.model_fields_set and not any(item.updates for item in config.deployments):
        what = "it has no effect: no deployment takes updates; write updates = true under those that are to"
        yield ("updates", min(config.updates.model_fields_set)), what
    for index, folder in enumerate(config.ingest.folders):
        where: Where = ("ingest", "folders", index)
        if folder.done_dir is not None and folder.after != "move":
            yield (*where, "done_dir"), f'it has no effect with after = "{folder.after}": write after = "move"'
    for index, deployment in enumerate(config.deployments):
        if "requires_within_s" in deployment.model_fields_set and not deployment.requires:
            yield ("deployments", index, "requires_within_s"), "it has no effect: this deployment requires nothing"
        wished = deployment.backends
        if not wished or {"auto", "fastest"} & set(wished):
            continue
        for name in deployment.settings:
            if name not in wished:
                what = f"settings of a backend that is not among backends{nearest(name, wished)}"
                yield ("deployments", index, "settings", name), what
    peers = config.ingest.scp.peers
    for index, peer in enumerate(peers):
        if any((peer.ae_title.strip(), peer.host) == (p.ae_title.strip(), p.host) for p in peers[:index]):
            yield ("ingest", "scp", "peers", index, "ae_title"), f'"{peer.ae_title}" stands among the peers twice'


def _limits(config: DeviceConfig) -> Found:
    spool = config.spool
    pairs = (
        ("max_instance_bytes", "max_held_bytes", "an instance of that size could not be held"),
        ("max_held", "max_backlog", "the backlog would be full first"),
    )
    for small, large, why in pairs:
        low, high = getattr(spool, small), getattr(spool, large)
        written = [key for key in (small, large) if key in spool.model_fields_set]
        if low > high and written:
            yield ("spool", written[0]), f"{small} ({low:_}) is more than {large} ({high:_}): {why}"
            return
    if spool.keep_files == "failed" and 0 < spool.max_failed_bytes < spool.max_instance_bytes:
        written = [key for key in ("max_failed_bytes", "max_instance_bytes") if key in spool.model_fields_set]
        if written:
            what = "max_failed_bytes is less than max_instance_bytes: a large file of a failed job would go at once"
            yield ("spool", written[0]), what


def _units(config: DeviceConfig) -> Found:
    sizes: list[tuple[Where, int]] = [
        (("spool", key), getattr(config.spool, key))
        for key in ("reserve_bytes", "max_instance_bytes", "max_failed_bytes", "max_held_bytes")
    ]
    times: list[tuple[Where, float]] = [(("supervise", key), getattr(config.supervise, key)) for key in _TIMES]
    times.append((("ingest", "scp", "idle_timeout_s"), config.ingest.scp.idle_timeout_s))
    times += [(("ingest", "folders", i, "settle_s"), folder.settle_s) for i, folder in enumerate(config.ingest.folders)]
    if config.jsonl is not None:
        sizes.append((("jsonl", "max_bytes"), config.jsonl.max_bytes))
    for index, deployment in enumerate(config.deployments):
        where: Where = ("deployments", index)
        sizes.append(((*where, "max_memory_bytes"), deployment.max_memory_bytes))
        times += [((*where, key), getattr(deployment, key)) for key in ("deadline_s", "open_deadline_s")]
    for at, size in sizes:
        if 0 < size < _SMALLEST_BYTES:
            yield at, f"{size:_} bytes: for {size} MB write {size * 1_000_000:_}"
    for at, seconds in times:
        if seconds > _LONGEST_S:
            yield at, f"{seconds:_g} seconds are {seconds / 3600:.1f} hours: for {seconds:g} ms write {seconds / 1e3:g}"


def _twice_allowed(config: DeviceConfig) -> Found:
    allowed = config.plugins.allow
    if len(set(allowed)) != len(allowed):
        yield ("plugins", "allow"), "a plugin stands here twice"


def _backends(config: DeviceConfig, installed: InstalledBackends) -> Iterator[Remark]:
    """Of one that is unknown no more than a note: an allowed plugin may provide a backend of another name."""
    allowed = config.plugins.allow
    yield from (Remark(where=("plugins", "allow"), what=what) for what in installed.twice)
    for index, deployment in enumerate(config.deployments):
        where: Where = ("deployments", index, "backends")
        for name in deployment.backends:
            plugins = installed.plugins.get(name, ())
            if name in (*allowed, "auto", "fastest") or set(plugins) & set(allowed):
                continue
            if plugins:
                one = f'the plugin "{plugins[0]}"'
                several = f"none of the plugins {', '.join(plugins)}"
                that, it = (f"{one} is not", "it") if len(plugins) == 1 else (f"{several} is", "one of them")
                what = f"{that} allowed: add {it} to plugins.allow, or do not wish for it"
                yield Remark(where=where, what=what)
                continue
            words = {**installed.also, **{known: known for known in (*installed.plugins, *allowed)}}
            near = words.get(name) or nearest_word(name, list(words))
            hint = f'; did you mean "{words.get(near, near)}"?' if near else ""
            yield Remark(where=where, what=f'no plugin in plugins.allow is called "{name}"{hint}', weight="note")


def _ways(config: DeviceConfig) -> Found:
    for host in config.health.allow_hosts:
        if any(mark in host for mark in "/*: "):
            yield ("health", "allow_hosts"), f'give names alone, without port or scheme or * (here: "{host}")'
    client = config.mqtt.client_id
    if client is not None and any(mark in client for mark in "+#"):
        yield ("mqtt", "client_id"), "brokers refuse + and # in it: they are wildcards of topics"


def _notes(config: DeviceConfig) -> Iterator[Remark]:
    mqtt, scp = config.mqtt, config.ingest.scp
    if scp.enabled and scp.port == 2762 and scp.tls is None:
        what = "2762 is usual with TLS, and there is no [ingest.scp.tls]"
        yield Remark(where=("ingest", "scp", "port"), what=what, weight="note")
    if not config.deployments:
        yield Remark(where=("deployments",), what="there is none, so no model runs", weight="note")
    if not config.ingest.scp.enabled and not config.ingest.folders:
        what = "no image can arrive: DICOM is off, and no folder is watched"
        yield Remark(where=("ingest", "scp", "enabled"), what=what, weight="note")
    if not mqtt.enabled and not config.sinks and (config.jsonl is None or not config.jsonl.enabled):
        yield Remark(where=("mqtt", "enabled"), what="results leave nowhere: all sinks are off", weight="note")
    if mqtt.enabled and (mqtt.port, mqtt.tls is None) in ((8883, True), (1883, False)):
        usual = "with" if mqtt.tls is None else "without"
        there = "there is no [mqtt.tls]" if mqtt.tls is None else "there is [mqtt.tls]"
        yield Remark(where=("mqtt", "port"), what=f"{mqtt.port} is usual {usual} TLS, and {there}", weight="note")


# --- files --------------------------------------------------------------------------------------


def _files(config: DeviceConfig) -> Iterator[Remark]:
    unset = dict(_variables(config))
    yield from (Remark(where=where, what=what) for where, what in unset.items())
    for where, path in named_files(config):
        if where in unset:
            continue
        if path.is_dir() and not (
            where in KEY_FOLDERS or (where[-1] == "bundle" and (path / "manifest.json").is_file())
        ):
            yield Remark(where=where, what=f"{path} is a folder: name the file")
        elif not path.exists():
            yield _missing(where, path, "file")
    for where, path, is_made in named_folders(config):
        if where in unset:
            continue
        above = next((item for item in (path, *path.parents) if os.path.lexists(item)), path)
        if above.exists() and not above.is_dir():
            yield Remark(where=where, what=f"{above} is a file: a folder is wanted")
        elif not is_made and not path.exists():
            yield Remark(where=where, what=f"{path} is not here yet: create it for the service's user", weight="note")
    if config.jsonl is not None and config.jsonl.path.is_dir():
        yield Remark(where=("jsonl", "path"), what=f"{config.jsonl.path} is a folder: name the file")


def _variables(config: DeviceConfig) -> Found:
    folders = [(where, path) for where, path, _ in named_folders(config) if where != ("jsonl", "path")]
    if config.jsonl is not None:
        folders.append((("jsonl", "path"), config.jsonl.path))
    for where, path in (*named_files(config), *folders):
        if name := variable(config, path):
            yield where, f"{name} is not replaced in a profile: write the path itself, or ~ for the home folder"


def _missing(where: Where, path: Path, what: str) -> Remark:
    folder = next(item for item in path.parents if item.is_dir())
    if folder != path.parent and str(folder) in _ANYWHERE:
        return Remark(where=where, what=f"{path} is not on this machine", weight="note")
    try:
        near = nearest(path.name, [item.name for item in folder.iterdir()]) if folder == path.parent else ""
    except OSError:
        near = ""
    return Remark(where=where, what=f"there is no {what} {path}{near}")
