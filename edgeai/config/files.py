"""The files and folders that a profile names, and those of them that a watched folder would carry away."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeai.config.tables import DeviceConfig
from edgeai.config.words import Where

KEY_FOLDERS: tuple[tuple[str, str], ...] = (("trust", "approvers"), ("trust", "acceptors"))
"""What may be a folder of public keys, or one of them."""
_VARIABLE = re.compile(r"\$\{?[A-Za-z_]\w*\}?|%[A-Za-z_]\w*%")


def named_files(config: DeviceConfig) -> Iterator[tuple[Where, Path]]:
    """What must be there before the start."""
    named: list[tuple[Where, Path | None]] = [
        (("deployments", index, "bundle"), item.bundle) for index, item in enumerate(config.deployments)
    ]
    named += [(("mqtt", "password_file"), config.mqtt.password_file)]
    named += [(("privacy", "hmac_key_file"), config.privacy.hmac_key_file)]
    named += [(where, getattr(config.trust, where[1])) for where in KEY_FOLDERS]
    for where, tls in ((("mqtt", "tls"), config.mqtt.tls), (("ingest", "scp", "tls"), config.ingest.scp.tls)):
        if tls is not None:
            named += [((*where, "ca"), tls.ca), ((*where, "certificate"), tls.certificate), ((*where, "key"), tls.key)]
    yield from ((where, path) for where, path in named if path is not None)


def named_folders(config: DeviceConfig) -> Iterator[tuple[Where, Path, bool]]:
    """Key, folder, and whether the device makes it."""
    data = config.device.data_dir
    yield ("device", "data_dir"), data, True
    if config.jsonl is not None:
        yield ("jsonl", "path"), config.jsonl.path.parent, True
    for index, folder in enumerate(config.ingest.folders):
        where: Where = ("ingest", "folders", index)
        yield (*where, "path"), folder.path, folder.path.is_relative_to(data)
        for key in ("done_dir", "rejected_dir"):
            place: Path | None = getattr(folder, key)
            if place is not None:
                yield (*where, key), place, True


def looks_for_updates(config: DeviceConfig) -> bool:
    """Whether the device asks a repository by itself for what is offered: whether it has the role ``update``."""
    repository, takes = config.repository, any(item.updates for item in config.deployments)
    return takes and repository is not None and repository.url is not None and bool(repository.every_s)


def allowing(config: DeviceConfig, missing: Sequence[str]) -> str:
    """What to do where plugins are not allowed: the whole line, since ``allow`` is the whole list."""
    return f"under [plugins] write: allow = {json.dumps([*config.plugins.allow, *missing])}"


def carried_away(config: DeviceConfig) -> Iterator[tuple[Where, str]]:
    """What of the device's own lies where files are taken in: it would be refused as an image, and moved away."""
    for index, folder in enumerate(config.ingest.folders):
        if config.device.data_dir.is_relative_to(folder.path):
            continue  # that alone is wrong, and told
        who = f"ingest.folders[{index}]"
        jsonl = config.jsonl
        if jsonl is not None and jsonl.enabled and jsonl.path.is_relative_to(folder.path):
            what = f"it lies in {folder.path}, a watched folder: {who} is to take in images, and would take it for one"
            yield ("jsonl", "path"), what
        if folder.after == "leave":
            continue
        if config.source is not None and config.source.is_relative_to(folder.path):
            yield ("ingest", "folders", index, "path"), "this profile lies in it, and would be moved away as no image"
        for where, path in (*named_files(config), (("trust", "keys"), config.trust.keys)):
            written = where != ("trust", "keys") or "keys" in config.trust.model_fields_set
            if written and path.is_relative_to(folder.path):
                yield (
                    where,
                    f"it lies in {folder.path}, a watched folder: {who} is to take in images, and moves all else",
                )


def variable(config: DeviceConfig, path: Path) -> str:
    """``$HOME`` of a path that was written with one; empty for others. Nothing replaces it in a profile."""
    base = config.source.parent if config.source is not None else None
    written = path.relative_to(base) if base is not None and path.is_relative_to(base) else path
    match = _VARIABLE.search(str(written))
    return match[0] if match else ""


__all__ = ["KEY_FOLDERS", "allowing", "carried_away", "named_files", "named_folders", "variable"]
