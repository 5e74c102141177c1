"""What ``backends = ["fastest"]`` wishes for: the trials of this machine, in the order that they came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path

from edgeai.api.errors import ConfigError
from edgeai.api.specs import BackendSpec
from edgeai.bundle.reader import Bundle
from edgeai.model.fastest import try_all
from edgeai.model.loading import Loader
from edgeai.model.opening import EngineUse
from edgeai.model.steps import Breadcrumb, RiskyStep
from edgeai.plugins import Registry, Spec
from edgeai.selection import FASTEST, Wish


def fastest_first(
    bundle: Bundle,
    backends: Sequence[str],
    device: str | None,
    registry: Registry,
    loader: Loader | None,
    use: EngineUse,
    keep: Path | None,
    *,
    excluded: Mapping[str, str],
    breadcrumb: Breadcrumb,
) -> tuple[tuple[Wish, ...], EngineUse, Mapping[str, str]]:
    """The wishes, fastest first; the threads that each was fastest with; and what is passed over, with why.

    Args:
        bundle: verified.
        backends: ``fastest`` and nothing else.
        device: only this one.
        registry: plugins at hand; all their backends are tried.
        loader: whether more may be loaded: then those of all installed plugins are tried too.
        use: the device's own plumbing; a number of threads there is the only one tried.
        keep: where the trials are kept.
        excluded: backends that must not be touched; they are wished for first, so that they are passed over aloud.
        breadcrumb: entered around the measuring.

    Raises:
        ConfigError: ``config.fastest-alone``.
        BackendUnavailable: ``backend.no-candidate``: nothing runs and agrees.
    """
    if list(backends) != [FASTEST]:
        raise ConfigError(
            f"{FASTEST} measures every backend and stands alone, here beside {', '.join(backends)}",
            code="config.fastest-alone",
            remedy=f'write backends = ["{FASTEST}"], or name backends in order',
        )
    formats = {artifact.format for artifact in bundle.artifacts}
    providers = {name: registry.provider(spec).name for name, spec in registry.backends.items()}
    if loader is not None:
        others = [item for item in loader.installed.every("backend") if _opens(item[0], formats)]
        providers = {spec.name: info.name for spec, info in others} | providers
        twice = {spec.name: error for spec, error in loader.installed.contested("backend") if _opens(spec, formats)}
        # Perhaps it is the fastest: like one in quarantine it is passed over aloud.
        excluded = {**{name: str(error) for name, error in twice.items() if name not in providers}, **excluded}
        providers |= dict.fromkeys(twice.keys() - providers.keys(), "")
    tried = sorted((name, plugin) for name, plugin in providers.items() if name not in excluded)
    with breadcrumb(RiskyStep("measure")):
        ranked = try_all(bundle, tried, keep=keep, threads=use.threads, device=device, settings=use.settings).best()
    measured = {(trial.backend, trial.device, trial.artifact): trial.threads for trial in ranked}
    barred = tuple(Wish(backend=name) for name in sorted(providers.keys() & excluded.keys()))
    return (*barred, *(trial.wish for trial in ranked)), replace(use, measured=measured), excluded


def _opens(spec: Spec, formats: Set[str]) -> bool:
    return isinstance(spec, BackendSpec) and spec.artifact_format in formats
