"""Which plugins a model needs, loaded one by one: those its manifest names, and backends only as they are tried."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from edgeai.api.errors import ConfigError, EdgeaiError, PluginConflict, PluginError, PluginNotFound
from edgeai.api.specs import LAST_RANK, BackendSpec
from edgeai.hosting import PluginInfo
from edgeai.model.steps import Breadcrumb, RiskyStep
from edgeai.plugins import Plugin, Registry, load_from
from edgeai.resolving import Installed, rank_of
from edgeai.selection import AUTO, FASTEST, Offer, Wish


class Loader:
    """Loads plugins by name, each under its own breadcrumb; what is installed is looked up once."""

    def __init__(self, breadcrumb: Breadcrumb) -> None:
        self._breadcrumb = breadcrumb
        self.installed = Installed(self._load)

    def _load(self, info: PluginInfo) -> Plugin:
        with self._breadcrumb(RiskyStep("load", info)):
            return load_from(info)

    def registry(self, names: Iterable[str]) -> Registry:
        """Several plugins, all of which must load.

        Raises:
            PluginError: as ``load``; or ``PluginConflict`` between them.
        """
        return Registry.of_plugins([self.installed.load(name) for name in names])

    def backends_meant(self, words: Sequence[str]) -> tuple[str, ...]:
        """The backends that words of a command mean, by their own names; what means none stays, and is refused later.

        Nothing is loaded for a backend that its plugin's metadata declares.

        Raises:
            PluginConflict: several plugins provide it.
        """
        known = {AUTO, FASTEST, *(name for info in self.installed.infos for name in info.backends)}
        return tuple(word if word in known else self._meant(word) for word in words)

    def _meant(self, word: str) -> str:
        try:
            return self.installed.resolve("backend", word)[0].name
        except PluginConflict:
            raise
        except PluginError:
            return word


class Offers:
    """What backends offer here, each loaded and probed only when its turn comes.

    A cold start on the first wish so never imports the engines behind it.

    Args:
        wishes: best first.
        registry: plugins at hand.
        loader: finds and loads the plugin of a backend that none at hand provides; ``None``: nothing more is loaded.
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

    def turns(self) -> Iterator[tuple[str, tuple[Wish, ...]]]:
        """Backends in the order they are tried, each with the wishes up to its own; loaded no further than is read."""
        named = [wish.backend for wish in self._wishes if wish.backend != AUTO]
        for index, wish in enumerate(self._wishes):
            so_far = tuple(self._wishes[: index + 1])
            names = (name for name in self._auto() if name not in named) if wish.backend == AUTO else [wish.backend]
            for name in names:
                yield name, so_far

    def _auto(self) -> Iterator[str]:
        """By rank those at hand and those that metadata declares; then, once these are used up, all that is installed.

        A plugin that declares nothing is so imported only where nothing else opens the model.
        """
        ranked = {name: rank_of(spec) for name, spec in self._registry.backends.items()}
        installed = self._loader.installed if self._loader is not None else None
        for name in dict.fromkeys(name for info in installed.infos for name in info.backends) if installed else ():
            try:
                ranked.setdefault(name, rank_of(self._find(name)[0]))
            except EdgeaiError:  # said when its turn comes
                ranked.setdefault(name, (LAST_RANK, name))
        yield from sorted(ranked, key=lambda name: ranked[name])
        if installed is not None:
            yield from (spec.name for spec, _ in installed.every("backend") if spec.name not in ranked)
            twice = dict.fromkeys(spec.name for spec, _ in installed.contested("backend"))
            yield from (name for name in twice if name not in ranked)  # each says in its turn who provides it

    def offer(self, backend: str, *, named: bool) -> Offer | None:
        """Load and probe one; ``None`` for one that nobody named and that is not installed.

        Raises:
            PluginConflict: somebody named it, and several plugins provide it.
        """
        if backend in self._excluded:
            # Not touched. It is taken to be fit, so that passing it over shows as a degradation.
            at_hand = self._registry.backends.get(backend)
            rank = at_hand.rank if at_hand is not None else LAST_RANK
            return Offer(backend=backend, artifact_format=self._formats[0], devices=("any",), engine="any", rank=rank)
        try:
            spec, info = self._find(backend, named=named)
        except PluginNotFound as error:
            return _no_offer(backend, error) if named else None
        except EdgeaiError as error:
            if named and isinstance(error, PluginConflict):
                raise  # no other engine answers for a word that may mean two
            return _no_offer(backend, error)
        self._specs[backend] = (spec, info)
        if spec.artifact_format not in self._formats:
            fits = spec.artifact_format
            return Offer(backend=backend, artifact_format=fits, devices=("any",), engine="any", rank=spec.rank)
        with self._breadcrumb(RiskyStep("probe", info)):
            return _probed(spec)

    def _find(self, backend: str, *, named: bool = False) -> tuple[BackendSpec, PluginInfo]:
        """A backend of the plugins at hand, or else of the plugin that provides it here."""
        registry = self._registry
        if backend not in registry.backends and self._loader is not None:
            spec, info = self._loader.installed.resolve("backend", backend, at_a_glance=not named)
            assert isinstance(spec, BackendSpec)
            return spec, info
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
    fits, rank = spec.artifact_format, spec.rank
    return Offer(backend=spec.name, artifact_format=fits, devices=devices, engine=engine, why=why, rank=rank)


def _no_offer(backend: str, error: EdgeaiError, *, artifact_format: str = "") -> Offer:
    return Offer(backend=backend, artifact_format=artifact_format, devices=(), fault=str(error))
