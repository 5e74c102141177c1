"""Open a deployment's model as the device may: only allowed plugins, none that is in quarantine, every step noted."""

from __future__ import annotations

from collections.abc import Sequence, Set
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from edgeai.api.errors import BackendError, EdgeaiError, PluginError, PluginQuarantined
from edgeai.api.specs import BackendSpec, OpenRequest, Session
from edgeai.api.version import API_VERSION
from edgeai.bundle.reader import Bundle
from edgeai.config import Deployment, DeviceConfig, allowing
from edgeai.hosting import PluginInfo
from edgeai.model import Breadcrumb, Model, RiskyStep, open_model
from edgeai.plugins import Plugin, Registry, find, load, load_from
from edgeai.selection import AUTO, FASTEST, NO_CANDIDATE
from edgeai.slots import SLOTS_NAME
from edgeai.spool import Quarantine, Station

MEASURE_DEADLINE_S = 1800.0
"""For ``backends = ["fastest"]``: each backend's own process has a deadline of minutes, and is ended by it."""

_LIFT: Final = (
    "it is tried again by itself and used again once it answers the golden cases; else update the plugin, let the"
    " deployment use another backend, or `edgeai status PROFILE --pardon PLUGIN`"
)


class Noter:
    """A breadcrumb that writes the role's note; opening has a deadline a step, running the deadline of its job."""

    def __init__(self, station: Station, deployment: Deployment) -> None:
        self._station = station
        self._open_deadline_s = deployment.open_deadline_s

    def of(self, job_id: int) -> Breadcrumb:
        """The same for one of several jobs that are under way: each step says whose it is."""
        return lambda step: self(step, job_id)

    def __call__(self, step: RiskyStep, job_id: int | None = None) -> AbstractContextManager[None]:
        """Note the step until the context ends."""
        deadline_s = self._open_deadline_s if step in ("load", "probe", "open") else 0.0
        if step == "measure":
            deadline_s = MEASURE_DEADLINE_S
        return self._station.step(
            str(step), deadline_s=deadline_s, job_id=job_id, plugin=step.plugin or "", version=step.version or ""
        )


def open_deployment(
    bundle: Bundle,
    config: DeviceConfig,
    deployment: Deployment,
    note: Noter,
    quarantined: Sequence[Quarantine],
    *,
    only: str = "",
) -> Model:
    """The model, on the best engine that is allowed and not in quarantine.

    Args:
        bundle: of the deployment.
        config: the profile.
        deployment: what it wishes for.
        note: entered around every risky step.
        quarantined: who is skipped.
        only: a plugin whose engine is meant and no other (a trial), where it provides one.

    Raises:
        PluginError: ``plugin.not-allowed``, of what the bundle needs or of the only backends that might run it;
            ``plugin.quarantined`` when only engines in quarantine could; or what ``open_model`` raises.
        EdgeaiError: as ``open_model``.
    """
    missing = [name for name in bundle.manifest.plugins if name not in config.plugins.allow]
    if missing:
        raise PluginError(
            f"the bundle needs plugins that are not allowed here: {', '.join(missing)}",
            code="plugin.not-allowed",
            remedy=allowing(config, missing),
        )
    opening = _Allowed(note, quarantined)
    registry = opening.registry(config.plugins.allow, deployment.backends)
    for name in (*bundle.manifest.plugins, only):
        if name in registry.faults:
            raise registry.faults[name]
    backends = _of_plugin(registry, only, deployment.backends) if only else deployment.backends
    try:
        return open_model(
            bundle,
            backends=backends,
            device=deployment.device,
            threads=deployment.threads,
            settings=deployment.settings,
            registry=registry,
            excluded=opening.excluded,
            breadcrumb=note,
            trials=trials_of(config, deployment, bundle.root),
        )
    except BackendError as error:
        formats = {artifact.format for artifact in bundle.artifacts}
        if any(_would_do(registry, name, backends, formats) for name in opening.excluded):
            # Not "no engine is here": there is one, and it comes back by itself once a trial passes.
            raise PluginQuarantined(str(error), remedy=_LIFT) from error
        raise _for_want_of_leave(error, registry, opening.not_allowed, backends) from error


def trials_of(config: DeviceConfig, deployment: Deployment, bundle: Path) -> Path:
    """Where it is kept how fast each engine is with a bundle: of each slot for itself, so that what waits in one is
    measured before its turn, and what runs is not forgotten.
    """
    is_slot = bundle.parent == config.device.data_dir / SLOTS_NAME / deployment.name
    return config.device.data_dir / "trials" / f"{deployment.name}{f'.{bundle.name}' if is_slot else ''}.json"


def not_tried(model: Model, config: DeviceConfig, wished: Sequence[str]) -> list[str]:
    """The allowed backends behind the one that opened: nobody asked them, and `edgeai status` should say so."""
    allowed = [info for info in find() if info.name in config.plugins.allow]
    declared = {name for info in allowed for name in info.backends}
    there = declared | {info.name for info in allowed}
    seen = {model.engine.backend, *(refusal.backend for refusal in model.choice.refusals)}
    behind = [name for name in wished or sorted(declared) if name in there and name not in seen]
    return [f"{name}: not tried, {model.engine.backend} comes first" for name in behind]


def _for_want_of_leave(
    error: BackendError, registry: Registry, not_allowed: Sequence[PluginInfo], wished: Sequence[str]
) -> EdgeaiError:
    """``error``, or that a backend is installed here and ``plugins.allow`` leaves it out.

    Of a plugin that is not allowed nothing is loaded: its metadata says which backends it provides, or only its name.
    """
    if error.code != NO_CANDIDATE or not not_allowed:
        return error
    is_any = _is_any(wished)
    likely = [info.name for info in not_allowed if (info.backends if is_any else set(_provided(info)) & set(wished))]
    if likely:
        names = ", ".join(likely)
        return PluginError(
            f"installed here and not allowed: {names}. {error}",
            code="plugin.not-allowed",
            remedy=f"add {names} to plugins.allow, once you trust it; or let the deployment use another backend",
        )
    if is_any or any(name not in registry.backends and name not in registry.faults for name in wished):
        names = ", ".join(info.name for info in not_allowed)
        error.remedy = f"{error.remedy}; or add its plugin to plugins.allow: not allowed are {names}"
    return error


def _is_any(wished: Sequence[str]) -> bool:
    """Whether any backend may be taken."""
    return not wished or bool({AUTO, FASTEST} & set(wished))


def _provided(info: PluginInfo) -> tuple[str, ...]:
    """The backends of a plugin that is not loaded: those that it declares; most that declare none carry its name."""
    return info.backends or (info.name,)


def _of_plugin(registry: Registry, plugin: str, wished: Sequence[str]) -> tuple[str, ...]:
    """The backends of one plugin, in the order of the wishes; the wishes themselves when it provides none."""
    own = [name for name, spec in registry.backends.items() if registry.provider(spec).name == plugin]
    return tuple([name for name in wished if name in own] or own or wished)


def _would_do(registry: Registry, backend: str, wished: Sequence[str], formats: Set[str]) -> bool:
    """Whether a backend might have run the bundle, had it not been in quarantine."""
    spec = registry.backends.get(backend)
    is_meant = not wished or backend in wished or FASTEST in wished
    # Of one that was not even loaded nobody knows the format.
    return is_meant and (spec is None or not spec.artifact_format or spec.artifact_format in formats)


class _Allowed:
    """Loads the plugins that are allowed, and knows which backends the quarantine takes away."""

    def __init__(self, note: Noter, quarantined: Sequence[Quarantine]) -> None:
        self.excluded: dict[str, str] = {}
        self.not_allowed: tuple[PluginInfo, ...] = ()
        """Plugins that are installed and that the profile does not allow."""
        self._note = note
        self._barred = {(item.plugin, item.version): item for item in quarantined}

    def registry(self, names: Sequence[str], wished: Sequence[str]) -> Registry:
        """All of ``names``; one that does not load is among the faults, and the others serve on.

        So is a backend that is wished for and installed, and that ``names`` leaves out: not to be passed over as if it
        were not here.
        """
        installed = find()
        self.not_allowed = tuple(info for info in installed if info.name not in names)
        plugins: list[Plugin] = []
        faults: dict[str, EdgeaiError] = {
            name: _not_allowed(info.name) for info in self.not_allowed for name in _provided(info) if name in wished
        }
        for name in names:
            known = [info for info in installed if info.name == name]
            try:
                # None or several of that name: load() says which, and what is near.
                plugins.append(self._load(known[0]) if len(known) == 1 else load(name))
            except PluginQuarantined as error:
                faults[name] = error
                plugins += [_stand_in(known[0], error)] if known[0].backends else []
            except EdgeaiError as error:
                faults[name] = error
        return Registry.of_plugins(plugins, faults=faults)

    def _load(self, info: PluginInfo) -> Plugin:
        held = self._barred.get((info.name, info.version))
        why = f"{info} is in quarantine since it failed at {held.step} ({held.cause})" if held else ""
        if held and held.step == "load":
            self.excluded.update(dict.fromkeys(_provided(info), why))
            raise PluginQuarantined(why, remedy=_LIFT)
        with self._note(RiskyStep("load", info)):
            plugin = load_from(info)
        if held:
            self.excluded.update({spec.name: why for spec in plugin.backends})
        return plugin


def _not_allowed(name: str) -> PluginError:
    text = f"the plugin {name} is installed, and plugins.allow does not name it"
    return PluginError(text, code="plugin.not-allowed", remedy=f"add {name} to plugins.allow, once you trust it")


def _stand_in(info: PluginInfo, error: PluginQuarantined) -> Plugin:
    """Backends that can only be passed over, and first of all, so that a choice among all passes them over aloud."""

    def refuse(request: OpenRequest) -> Session:
        raise error

    specs = [
        BackendSpec(name=name, artifact_format="", probe=tuple, open=refuse, engine=str, rank=0)
        for name in info.backends
    ]
    return Plugin(info=info, api=API_VERSION, backends=tuple(specs))
