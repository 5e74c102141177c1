"""All checks, in the order in which they are told."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgeai.config import DeviceConfig, load_config
from edgeai.doctor import device, engines, sinks, store
from edgeai.doctor.apart import Apart
from edgeai.doctor.certificates import certificates
from edgeai.doctor.checks import Check
from edgeai.doctor.second_keys import second_keys
from edgeai.plugins import find

LIMIT_S = 60.0
"""For each step of a plugin, but for opening a model, which has the profile's ``open_deadline_s``."""


def checkup(config: DeviceConfig | None, *, limit_s: float = LIMIT_S) -> Iterator[Check]:
    """Every check that applies: the plugins alone without a profile.

    Args:
        config: of a file.
        limit_s: how long a plugin may take for one step.
    """
    yield Check(what="python", verdict="ok", found=f"{platform.python_version()} on {platform.machine()}")
    with tempfile.TemporaryDirectory(prefix="edgeai-doctor-") as folder:
        if config is None:
            bare = _of_all_plugins(Path(folder))
            yield from engines.plugin_checks(engines.ask_plugins(Apart(bare, Path(folder), limit_s)), bare)
            return
        yield from _of_device(config, Apart(config, Path(folder), limit_s))


def _of_device(config: DeviceConfig, apart: Apart) -> Iterator[Check]:
    bundles = [engines.look_at_bundle(item, config) for item in config.deployments]
    yield from (bundle.check for bundle in bundles)
    yield device.trust(config)
    yield from second_keys(config)
    answers = engines.ask_plugins(apart)
    yield from engines.plugin_checks(answers, config)
    for bundle in bundles:
        yield from engines.deployment_checks(bundle, answers, config, apart)
    yield from store.checks(config)
    yield from device.ports(config)
    yield from (device.folder(item, config) for item in config.ingest.folders)
    yield from sinks.checks(config, answers, apart)
    yield from sinks.broker(config)
    yield from certificates("mqtt.tls", config.mqtt.tls if config.mqtt.enabled else None, "client")
    yield from certificates("ingest.scp.tls", config.ingest.scp.tls if config.ingest.scp.enabled else None, "server")
    if config.privacy.uids == "hmac":
        yield device.hmac_key(config)
    yield device.clock()


def _of_all_plugins(folder: Path) -> DeviceConfig:
    """A profile that allows whatever is installed."""
    path = folder / "profile.toml"
    names = ", ".join(f'"{name}"' for name in dict.fromkeys(info.name for info in find()))
    path.write_text(f'[device]\nid = "doctor"\nsite = "doctor"\n[plugins]\nallow = [{names}]\n', encoding="utf-8")
    return load_config(path)
