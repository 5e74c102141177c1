"""What may die or hang, done in a process that may: plugins, one deployment, or one sink; an answer a line.

Nothing below ``data_dir`` is written: bundles are unpacked beside the answers, so that looking as another user than the
service's leaves no file that the service cannot write.
"""

from __future__ import annotations

import faulthandler
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from edgeai.api.errors import EdgeaiError
from edgeai.api.results import EngineRef
from edgeai.api.sinks import SinkRequest, SinkSpec
from edgeai.api.specs import BackendSpec
from edgeai.bundle.admission import admit
from edgeai.bundle.reader import Bundle, open_bundle
from edgeai.bundle.trust import TrustPolicy
from edgeai.config import Deployment, DeviceConfig, load_config
from edgeai.doctor.apart import DONE, ROLE
from edgeai.doctor.store import quarantined
from edgeai.plugins import Plugin, Registry, load
from edgeai.roles.engine import Noter, open_deployment, trials_of
from edgeai.roles.publish import sink_requests
from edgeai.selection import FASTEST
from edgeai.slots import standing
from edgeai.spool import Station


def examine(profile: Path, part: str, folder: Path, limit_s: float) -> None:
    """Write what is found of ``part`` to ``answers.jsonl`` in ``folder``.

    Args:
        profile: the device's.
        part: ``plugins:NAME,NAME``, ``deployment:NAME``, or ``sink:NAME``.
        folder: for the answers, the note and what is unpacked.
        limit_s: what a plugin may take for one step.
    """
    kind, _, name = part.partition(":")
    station = Station(folder, ROLE)
    config = load_config(profile)
    with (
        (folder / "answers.jsonl").open("a", encoding="utf-8") as answers,
        (folder / f"{ROLE}.crash").open("w") as crash,
    ):
        faulthandler.enable(crash, all_threads=True)
        parts: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
            "plugins": lambda: _plugins(name.split(","), station, limit_s),
            "deployment": lambda: _deployment(config, name, station, folder),
            "sink": lambda: _sink(config, name, station, limit_s),
        }
        for answer in parts[kind]():
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
        answers.write(json.dumps(DONE) + "\n")
        faulthandler.disable()


def error_of(error: EdgeaiError) -> dict[str, Any]:
    """An error as an answer holds it."""
    return {"error": str(error), "code": error.code, "remedy": error.remedy or ""}


# --- plugins --------------------------------------------------------------------------------------


def _plugins(names: list[str], station: Station, limit_s: float) -> Iterator[dict[str, Any]]:
    for name in names:
        try:
            with station.step("load", deadline_s=limit_s, plugin=name):
                plugin = load(name)
            with station.step("probe", deadline_s=limit_s, plugin=name):
                yield {"plugin": name, **_described(plugin)}
        except EdgeaiError as error:
            yield {"plugin": name, **error_of(error)}


def _described(plugin: Plugin) -> dict[str, Any]:
    return {
        "info": str(plugin.info),
        "backends": [_backend(spec) for spec in plugin.backends],
        "sinks": [spec.name for spec in plugin.sinks],
        "settings": {
            spec.name: {option.name: [option.required, list(option.choices)] for option in spec.settings}
            for spec in plugin.sinks
        },
    }


def _backend(spec: BackendSpec) -> dict[str, Any]:
    try:
        devices = [device.name for device in spec.probe()]
        facts = {"engine": spec.engine(), "devices": devices, "why": spec.explain(), "install": spec.install}
        return {"name": spec.name, **facts}
    except EdgeaiError as error:
        return {"name": spec.name, "engine": "", "devices": [], "why": "", "install": "", **error_of(error)}


# --- a deployment ---------------------------------------------------------------------------------


def _deployment(config: DeviceConfig, name: str, station: Station, folder: Path) -> Iterator[dict[str, Any]]:
    deployment = next(item for item in config.deployments if item.name == name)
    limit_s = deployment.open_deadline_s
    try:
        deployment = standing(config, deployment)
        with station.step("verify", deadline_s=limit_s):
            bundle = open_bundle(
                deployment.bundle,
                cache_dir=folder / "bundles",
                trust=TrustPolicy.of(config.trust),
                accept=lambda manifest, digest: admit(config, deployment, manifest, digest),
            )
        device = config.device.model_copy(update={"data_dir": folder})
        elsewhere, meant = config.model_copy(update={"device": device}), _as_measured(config, deployment, folder)
        note = Noter(station, deployment)
        with closing(open_deployment(bundle, elsewhere, meant, note, quarantined(config, name))) as model:
            deadline_s = deployment.deadline_s * max(2, 6 * len(bundle.manifest.golden))
            with station.step("prove", deadline_s=deadline_s, plugin=model.engine.backend):
                model.prove()
            engine, degraded = model.engine, model.degraded
            plugin = model.run_step.plugin or ""
            with station.step("open", deadline_s=limit_s, plugin=plugin):
                caution = _caution(bundle, engine, load(plugin))
            yield {
                "on": f"{engine.backend} ({engine.device}), {engine.engine}, artifact {engine.artifact}",
                "cases": len(bundle.manifest.golden),
                "degraded": list(degraded.because) if degraded else [],
                "unmeasured": meant is not deployment,
                "caution": caution and error_of(caution),
            }
    except EdgeaiError as error:
        yield error_of(error)


def _caution(bundle: Bundle, engine: EngineRef, plugin: Plugin) -> EdgeaiError | None:
    spec = next(item for item in plugin.backends if item.name == engine.backend)
    artifact = next(item for item in bundle.artifacts if item.id == engine.artifact)
    return spec.caution(bundle.path(artifact.path), engine.device)


def _as_measured(config: DeviceConfig, deployment: Deployment, folder: Path) -> Deployment:
    """What was measured on this device is used as it is: measuring all backends takes minutes of the whole machine."""
    trials = config.device.data_dir / "trials"
    with suppress(OSError, shutil.Error):  # none yet, or not for this user to read: then it is as at a first start
        shutil.copytree(trials / "threads", folder / "trials" / "threads")
    if FASTEST not in deployment.backends:
        return deployment
    kept = trials_of(config, deployment, deployment.bundle)
    if not kept.is_file():
        return deployment.model_copy(update={"backends": ()})
    (folder / "trials").mkdir(exist_ok=True)
    shutil.copy(kept, folder / "trials" / f"{deployment.name}.json")
    return deployment


# --- a sink ---------------------------------------------------------------------------------------


def _sink(config: DeviceConfig, name: str, station: Station, limit_s: float) -> Iterator[dict[str, Any]]:
    """Open it as publish does, and close it; nothing is put."""
    kind, settings = sink_requests(config)[name]
    try:
        built_in = [kind] if kind in ("mqtt", "jsonl") else []
        with station.step("load", deadline_s=limit_s * (1 + len(config.plugins.allow)), plugin=name):
            spec = Registry.of([*built_in, *config.plugins.allow]).spec("sink", kind)
        assert isinstance(spec, SinkSpec)
        request = SinkRequest(device_id=config.device.id, site=config.device.site, settings=settings)
        with station.step("open", deadline_s=limit_s, plugin=kind):
            spec.open(request).close()
        yield {"opened": True}
    except EdgeaiError as error:
        yield error_of(error)
