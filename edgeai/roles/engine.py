"""Open a deployment's model as the device may: only allowed plugins, none that is in quarantine, every step noted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from edgeai.api.errors import EdgeaiError, PluginError, PluginQuarantined
from edgeai.api.specs import BackendSpec, OpenRequest, Session
from edgeai.api.version import API_VERSION
from edgeai.bundle.reader import Bundle, open_bundle
from edgeai.bundle.trust import TrustPolicy
from edgeai.config import Deployment, DeviceConfig
from edgeai.guards import PluginInfo
from edgeai.model import Model, Step, open_model
from edgeai.plugins import Plugin, Registry, find, load, load_from
from edgeai.selection import AUTO_ORDER
from edgeai.spool import Quarantine, Station

MEASURE_DEADLINE_S = 1800.0
"""For ``backends = ["fastest"]``: each backend's own process has a deadline of minutes, and is ended by it."""


class Noter:
    """A breadcrumb that writes the role's note; opening has a deadline a step, running the deadline of its job.

    Attributes:
        last_run: the last ``run``, which names the plugin whose engine it is.
    """

    def __init__(self, station: Station, deployment: Deployment) -> None:
        self.last_run: Step | None = None
        self._station = station
        self._open_deadline_s = deployment.open_deadline_s

    def __call__(self, step: Step) -> AbstractContextManager[None]:
        """Note the step until the context ends."""
        if step == "run":
            self.last_run = step
        deadline_s = self._open_deadline_s if step in ("load", "probe", "open") else 0.0
        if step == "measure":
            deadline_s = MEASURE_DEADLINE_S
        return self._station.step(
            str(step), deadline_s=deadline_s, plugin=step.plugin or "", version=step.version or ""
        )


def bundle_of(config: DeviceConfig, deployment: Deployment) -> Bundle:
    """The deployment's bundle, verified and unpacked.

    Raises:
        BundleRejected: it is missing, not sound, or not signed as the device demands.
        ConfigError: a trusted key cannot be read.
    """
    trust = TrustPolicy.of(config.trust)
    return open_bundle(deployment.bundle, cache_dir=config.device.data_dir / "bundles", trust=trust)


def open_deployment(
    bundle: Bundle, config: DeviceConfig, deployment: Deployment, note: Noter, quarantined: Sequence[Quarantine]
) -> Model:
    """The model, on the best engine that is allowed and not in quarantine.

    Raises:
        PluginError: ``plugin.not-allowed``, ``plugin.quarantined``, or what ``open_model`` raises.
        EdgeaiError: as ``open_model``.
    """
    missing = [name for name in bundle.manifest.plugins if name not in config.plugins.allow]
    if missing:
        raise PluginError(
            f"the bundle needs plugins that are not allowed here: {', '.join(missing)}",
            code="plugin.not-allowed",
            remedy="add them to plugins.allow",
        )
    opening = _Allowed(note, quarantined)
    registry = opening.registry(config.plugins.allow)
    for name in bundle.manifest.plugins:
        if name in registry.faults:
            raise registry.faults[name]
    return open_model(
        bundle,
        backends=deployment.backends,
        device=deployment.device,
        threads=deployment.threads,
        settings=deployment.settings,
        registry=registry,
        excluded=opening.excluded,
        breadcrumb=note,
        trials=config.device.data_dir / "trials" / f"{deployment.name}.json",
    )


class _Allowed:
    """Loads the plugins that are allowed, and knows which backends the quarantine takes away."""

    def __init__(self, note: Noter, quarantined: Sequence[Quarantine]) -> None:
        self.excluded: dict[str, str] = {}
        self._note = note
        self._barred = {(item.plugin, item.version): item for item in quarantined}

    def registry(self, names: Sequence[str]) -> Registry:
        """All of them; one that does not load is among the faults, and the others serve on."""
        installed = find()
        plugins: list[Plugin] = []
        faults: dict[str, EdgeaiError] = {}
        for name in names:
            known = [info for info in installed if info.name == name]
            try:
                # None or several of that name: load() says which, and what is near.
                plugins.append(self._load(known[0]) if len(known) == 1 else load(name))
            except PluginQuarantined as error:
                faults[name] = error
                plugins += [_stand_in(known[0], error)] if name in AUTO_ORDER else []
            except EdgeaiError as error:
                faults[name] = error
        return Registry.of_plugins(plugins, faults=faults)

    def _load(self, info: PluginInfo) -> Plugin:
        held = self._barred.get((info.name, info.version))
        why = f"{info} is in quarantine since it failed at {held.step} ({held.cause})" if held else ""
        if held and held.step == "load":
            # What it would have provided is known only of backends, whose plugins carry their name.
            self.excluded[info.name] = why
            raise PluginQuarantined(why, remedy="update the plugin, or `edgeai status PROFILE --pardon PLUGIN`")
        with self._note(Step("load", info)):
            plugin = load_from(info)
        if held:
            self.excluded.update({spec.name: why for spec in plugin.backends})
        return plugin


def _stand_in(info: PluginInfo, error: PluginQuarantined) -> Plugin:
    """A backend that can only be passed over, so that a choice among all passes it over aloud."""

    def refuse(request: OpenRequest) -> Session:
        raise error

    spec = BackendSpec(name=info.name, artifact_format="", probe=tuple, open=refuse, engine=str)
    return Plugin(info=info, api=API_VERSION, backends=(spec,))
