"""Which plugins a model needs, loaded one by one: those its manifest names, and backends only as they are tried."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from edgeai.api.errors import ConfigError, EdgeaiError, PluginNotFound
from edgeai.api.specs import BackendSpec
from edgeai.hosting import PluginInfo
from edgeai.model.steps import Breadcrumb, Step
from edgeai.plugins import Plugin, Registry, find, load, load_from
from edgeai.selection import AUTO, AUTO_ORDER, Offer, Wish


class Loader:
    """Loads plugins by name, each under its own breadcrumb; what is installed is looked up once."""

    def __init__(self, breadcrumb: Breadcrumb) -> None:
        self._breadcrumb = breadcrumb
        self._found: tuple[PluginInfo, ...] | None = None

    def load(self, name: str) -> Plugin:
        """One plugin.

        Raises:
            PluginError: as ``edgeai.plugins.load``.
        """
        if self._found is None:
            self._found = find()
        match [info for info in self._found if info.name == name]:
            case [info]:
                with self._breadcrumb(Step("load", info)):
                    return load_from(info)
            case _:
                return load(name)  # none or several: it says which, and what is near

    def registry(self, names: Iterable[str]) -> Registry:
        """Several plugins, all of which must load.

        Raises:
            PluginError: as ``load``; or ``PluginConflict`` between them.
        """
        return Registry.of_plugins([self.load(name) for name in names])


class Offers:
    """What backends offer here, each loaded and probed only when its turn comes.

    A cold start on the first wish so never imports the engines behind it.

    Args:
        wishes: best first.
        registry: plugins at hand.
        loader: loads the plugin that has a backend's name when none at hand provides it; ``None``: nothing more
            is loaded.
        excluded: backends that must not be touched, and why.
        formats: those of the bundle's artifacts.
        breadcrumb: entered around loading and probing.
    """

    def __init__(
        self,
        wishes: Sequence[Wish],
        *,
        registry: Registry,
        loader: Loader | None,
        excluded: Mapping[str, str],
        formats: Sequence[str],
        breadcrumb: Breadcrumb,
    ) -> None:
        self._wishes = wishes
        self._registry = registry
        self._loader = loader
        self._excluded = excluded
        self._formats = formats
        self._breadcrumb = breadcrumb
        self._specs: dict[str, tuple[BackendSpec, PluginInfo]] = {}

    def spec(self, backend: str) -> tuple[BackendSpec, PluginInfo]:
        """A backend that was offered, and the plugin it comes from."""
        return self._specs[backend]

    def turns(self) -> list[tuple[str, tuple[Wish, ...]]]:
        """Backends in the order they are tried, each with the wishes up to its own."""
        named = [wish.backend for wish in self._wishes if wish.backend != AUTO]
        turns: list[tuple[str, tuple[Wish, ...]]] = []
        for index, wish in enumerate(self._wishes):
            so_far = tuple(self._wishes[: index + 1])
            backends = [name for name in self._auto() if name not in named] if wish.backend == AUTO else [wish.backend]
            turns += [(backend, so_far) for backend in backends]
        return turns

    def _auto(self) -> Sequence[str]:
        known = AUTO_ORDER if self._loader is not None else [n for n in AUTO_ORDER if n in self._registry.backends]
        return (*known, *sorted(set(self._registry.backends) - set(AUTO_ORDER)))

    def offer(self, backend: str, *, named: bool) -> Offer | None:
        """Load and probe one; ``None`` for one that nobody named and that is not installed."""
        if backend in self._excluded:
            # Not touched. It is taken to be fit, so that passing it over shows as a degradation.
            return Offer(backend=backend, artifact_format=self._formats[0], devices=("any",), engine="any")
        try:
            spec, info = self._find(backend)
        except PluginNotFound as error:
            return _no_offer(backend, error) if named else None
        except EdgeaiError as error:
            return _no_offer(backend, error)
        self._specs[backend] = (spec, info)
        if spec.artifact_format not in self._formats:
            return Offer(backend=backend, artifact_format=spec.artifact_format, devices=("any",), engine="any")
        with self._breadcrumb(Step("probe", info)):
            return _probed(spec)

    def _find(self, backend: str) -> tuple[BackendSpec, PluginInfo]:
        """A backend of the plugins at hand, or else of the plugin that has its name."""
        registry = self._registry
        if backend not in registry.backends and self._loader is not None:
            registry = self._loader.registry([backend])
        if backend not in registry.backends and backend in registry.faults:
            raise registry.faults[backend]  # most plugins carry the name of their backend
        spec = registry.spec("backend", backend)
        assert isinstance(spec, BackendSpec)
        return spec, registry.provider(spec)


def wishes_of(backends: Sequence[str], device: str | None) -> tuple[Wish, ...]:
    """An ordered wish by backend, perhaps for one device; ``auto`` when no backend is named.

    Raises:
        ConfigError: ``config.backend-twice``.
    """
    if len(set(backends)) != len(backends):
        raise ConfigError(f"backends are wished for twice: {', '.join(backends)}", code="config.backend-twice")
    return tuple(Wish(backend=backend, device=device) for backend in backends or (AUTO,))


def _probed(spec: BackendSpec) -> Offer:
    try:
        devices = tuple(device.name for device in spec.probe())
        engine = spec.engine()
        why = "" if devices and engine else spec.explain()
    except EdgeaiError as error:  # a backend whose probe raises breaks the contract; the next one is tried
        return _no_offer(spec.name, error, artifact_format=spec.artifact_format)
    return Offer(backend=spec.name, artifact_format=spec.artifact_format, devices=devices, engine=engine, why=why)


def _no_offer(backend: str, error: EdgeaiError, *, artifact_format: str = "") -> Offer:
    return Offer(backend=backend, artifact_format=artifact_format, devices=(), fault=str(error))
