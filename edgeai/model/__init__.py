"""A bundle at work: ``open_model`` verifies it, loads what it names, opens an engine; ``Model`` runs instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeai.api.options import Options
from edgeai.bundle.reader import Bundle, default_cache_dir, open_bundle
from edgeai.model.distance import Distance, distances_of
from edgeai.model.golden import GoldenAnswer
from edgeai.model.loading import Loader, Offers, wishes_of
from edgeai.model.opening import EngineUse, OpenEngine, Opening, build_pipeline, build_task
from edgeai.model.results import result_id
from edgeai.model.running import Model
from edgeai.model.steps import Breadcrumb, RiskyStep, no_breadcrumb
from edgeai.plugins import Registry
from edgeai.selection import FASTEST

if TYPE_CHECKING:
    from edgeai.bundle.trust import TrustPolicy

__all__ = ["Breadcrumb", "GoldenAnswer", "Model", "RiskyStep", "open_model", "result_id"]


def open_model(
    bundle: Bundle | Path | str,
    *,
    backends: Sequence[str] = (),
    device: str | None = None,
    threads: int = 0,
    settings: Mapping[str, Options] | None = None,
    registry: Registry | None = None,
    excluded: Mapping[str, str] | None = None,
    breadcrumb: Breadcrumb = no_breadcrumb,
    cache_dir: Path | None = None,
    trust: TrustPolicy | None = None,
    trials: Path | None = None,
) -> Model:
    """Open a bundle on the best engine of this machine that the wishes allow.

    Args:
        bundle: a ``.edgeai`` file, an unpacked bundle's folder, or what ``open_bundle`` gave.
        backends: wishes, best first, by name (``edgeai.resolving``). None: those that are installed, by rank, smallest
            first. ``fastest``, alone: every one is measured on the golden cases (``fastest``).
        device: as the engine names it; the engine's best when not given.
        threads: engine threads; 0 for the engine's own number, and for single frames on a CPU for what measures best
            here (``edgeai.model.threads``).
        settings: backend -> its own plumbing.
        registry: plugins that are already loaded; without, those that the manifest names are loaded, and
            backends as they are tried. Nothing else is imported.
        excluded: backend -> why it must not be used now (quarantine). It is not even loaded.
        breadcrumb: entered around every risky step.
        cache_dir: where bundles are unpacked; ``$XDG_CACHE_HOME/edgeai/bundles`` by default.
        trials: where ``fastest`` keeps what it measured, so that it measures once; numbers of threads are kept
            beside it, or else in ``cache_dir``.
        trust: whose signatures the bundle must bear; without, nobody asks. Of a ``Bundle`` that was asked already.

    Raises:
        BundleRejected: the bundle is not sound, not trusted, or not for this edgeai.
        PluginError: a plugin that the manifest names is missing, incompatible or broken.
        BackendError: no engine opens it; the message lists every one, with why not.
        TransformFailed, TaskFailed, TensorMismatch: the manifest's options make no sense.
        ConfigError: wishes or settings that cannot be.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle, cache_dir=cache_dir, trust=trust)
    loader = Loader(breadcrumb)
    needed = registry if registry is not None else loader.registry(opened.manifest.plugins)
    more = loader if registry is None else None
    pipeline, task, distances = build_pipeline(opened, needed), build_task(opened, needed), distances_of(opened)
    keep_threads = trials.parent / "threads" if trials is not None else (cache_dir or default_cache_dir()) / ".threads"
    use = EngineUse(threads=threads, settings=settings or {}, keep_threads=keep_threads)
    backends = more.backends_meant(backends) if more is not None else backends
    wishes, excluded = wishes_of(backends, device), excluded or {}
    if FASTEST in backends:
        from edgeai.model.ranking import fastest_first  # it starts processes; a cold run has no use for it

        wishes, use, excluded = fastest_first(
            opened, backends, device, needed, more, use, trials, excluded=excluded, breadcrumb=breadcrumb
        )
    formats = tuple(artifact.format for artifact in opened.artifacts)
    offers = Offers(wishes, registry=needed, loader=more, excluded=excluded, formats=formats, breadcrumb=breadcrumb)
    engine = Opening(opened, offers, excluded, use, breadcrumb).open()
    engine = _guarded(opened, engine, distances, wishes, needed, more, excluded, use=use, breadcrumb=breadcrumb)
    return Model(opened, engine, pipeline, task, breadcrumb=breadcrumb)


def _guarded(
    opened: Bundle, engine: OpenEngine, distances: Mapping[str, Distance], *given: Any, **more: Any
) -> OpenEngine:
    """With what its answers are held to, and the model that stands before it, where one does: see ``with_sentry``."""
    engine = replace(engine, distance=distances.get(engine.engine.artifact))
    if opened.guard is None:
        return engine
    from edgeai.model.sentry import with_sentry  # few bundles have one

    return with_sentry(opened, engine, *given, **more)
