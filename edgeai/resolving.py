"""Which installed plugin provides what a word names: one way for every command that is given by hand.

A word is the name of a spec (a backend, a converter, a task), of a plugin, or of a distribution: in this order, and
where one of the last two provides a single spec of the kind. A name that two plugins provide is used by none, the
plugin that is called so included. A word is never an abbreviation: what is the only one today is
one of two once another plugin is installed. What is not known is refused with what is near and what there is.

Whoever runs a command here and installed the plugins here has authorised them. A service loads what its profile allows,
and does not come here.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Final

from edgeai.api.errors import EdgeaiError, PluginConflict, PluginNotFound
from edgeai.api.specs import BackendSpec
from edgeai.hosting import PluginInfo
from edgeai.plugins import Plugin, Spec, conflicts, find, load, load_from

_CLOSE: Final = 0.6
_NO_ENGINES: Final = frozenset({"build", "test", "testing", "dev", "docs"})
"""Extras that are not called after an engine."""


class Installed:
    """What the installed plugins provide. Each is loaded once, when it may be the one that is meant.

    Args:
        loading: how one is loaded; ``edgeai.plugins.load_from`` by default.
    """

    def __init__(self, loading: Callable[[PluginInfo], Plugin] = load_from) -> None:
        self._loading = loading
        self._found: tuple[PluginInfo, ...] | None = None
        self._loaded: dict[str, Plugin] = {}
        self.faults: dict[str, EdgeaiError] = {}
        """Plugin -> why it does not load; the others serve on."""

    @property
    def infos(self) -> tuple[PluginInfo, ...]:
        """Every installed plugin, from metadata alone, which is read once."""
        if self._found is None:
            self._found = find()
        return self._found

    def load(self, name: str) -> Plugin:
        """One plugin by its name.

        Raises:
            PluginError: as ``edgeai.plugins.load``.
        """
        if name not in self._loaded:
            if name in self.faults:
                raise self.faults[name]
            known = [info for info in self.infos if info.name == name]
            try:
                # None or several of that name: load() says which, and what is near.
                self._loaded[name] = self._loading(known[0]) if len(known) == 1 else load(name)
            except EdgeaiError as error:
                self.faults[name] = error
                raise
        return self._loaded[name]

    def plugin_called(self, word: str) -> str:
        """The name of the plugin that a word means: its own, or that of the distribution of one plugin alone.

        Raises:
            PluginNotFound: none; says which are near, and which are installed.
        """
        names = [info.name for info in self.infos]
        of_distribution = [info.name for info in self.infos if _same(info.distribution, word)]
        if word in names or len(of_distribution) == 1:
            return word if word in names else of_distribution[0]
        if of_distribution:
            raise PluginNotFound(
                f"the distribution {word} has several plugins", remedy=f"one of {', '.join(sorted(of_distribution))}"
            )
        words = {**{info.distribution: info.name for info in self.infos}, **{name: name for name in names}}
        raise PluginNotFound(
            f"no installed plugin is called {word!r}{did_you_mean(word, words)}",
            remedy="install the distribution that provides it; installed here: "
            + (", ".join(sorted(set(names))) or "none"),
        )

    def resolve(self, kind: str, word: str, *, at_a_glance: bool = False) -> tuple[Spec, PluginInfo]:
        """The spec of a kind (``backend``, ``converter``, ...) that a word names, and the plugin that provides it.

        Args:
            kind: of ``edgeai.plugins.KINDS``.
            word: the name of a spec, of a plugin or of a distribution.
            at_a_glance: nothing is loaded to learn whether another provides it too, where its metadata does not say so.

        Raises:
            PluginConflict: several plugins provide it.
            PluginNotFound: none does; says which are near, and which there are.
            PluginError: the plugin that is called so does not load.
        """
        for name in self._likely(word):
            self.load(name)
        if not at_a_glance:
            self._ask_the_silent(kind)
        asked = [(spec, plugin.info) for plugin in self._loaded.values() for spec in plugin.specs(kind)]
        if not any(spec.name == word for spec, _ in asked):
            asked = self.specs(kind)
        matches = [item for item in asked if item[0].name == word]
        spec, info = matches[0] if matches else self._only_one(kind, word, asked)
        if (conflict := self._conflicts(kind, asked).get(spec.name)) is not None:
            raise conflict
        return spec, info

    def _only_one(self, kind: str, word: str, everywhere: Sequence[tuple[Spec, PluginInfo]]) -> tuple[Spec, PluginInfo]:
        """What the plugin or the distribution of that name provides of a kind, where that is one."""
        own = [item for item in everywhere if item[1].name == word]
        own = own or [item for item in everywhere if _same(item[1].distribution, word)]
        if len(own) == 1:
            return own[0]
        there = sorted({spec.name for spec, _ in everywhere} - set(self._conflicts(kind, everywhere)))
        if own:
            names = ", ".join(spec.name for spec, _ in own)
            raise PluginNotFound(f"{word} provides several {kind}s", remedy=f"one of {names}")
        words = {name: name for name in there}
        for spec, info in everywhere:
            words.setdefault(info.name, spec.name)
            words.setdefault(info.distribution, spec.name)
        raise PluginNotFound(
            f"no installed plugin provides a {kind} called {word!r}{did_you_mean(word, words)}{self._told_faults()}",
            remedy=f"one of {', '.join(there)}" if there else f"install a plugin that provides a {kind}",
        )

    def every(self, kind: str) -> Iterator[tuple[Spec, PluginInfo]]:
        """The specs of a kind that can be used, of all installed plugins; what does not load is among ``faults``.

        Backends by rank, the others by name. Those of one name that several plugins provide are ``contested``.
        """
        specs = self.specs(kind)
        unusable = self._conflicts(kind, specs)
        yield from (item for item in specs if item[0].name not in unusable)

    def contested(self, kind: str) -> list[tuple[Spec, PluginConflict]]:
        """The specs that are used by none, since several plugins provide their name; and the error that says who."""
        specs = self.specs(kind)
        unusable = self._conflicts(kind, specs)
        return [(spec, unusable[spec.name]) for spec, _ in specs if spec.name in unusable]

    def specs(self, kind: str) -> list[tuple[Spec, PluginInfo]]:
        """All that the installed plugins provide of a kind: what can be used and what cannot."""
        specs = [(spec, plugin.info) for plugin in self._all(kind) for spec in plugin.specs(kind)]
        return sorted(specs, key=lambda item: rank_of(item[0]))

    def opening(self, artifact_format: str) -> tuple[BackendSpec, PluginInfo] | None:
        """The first backend by rank that opens a format; ``None`` where none does.

        Raises:
            PluginConflict: only such do whose name several plugins provide.
        """
        for spec, info in self.every("backend"):
            if isinstance(spec, BackendSpec) and spec.artifact_format == artifact_format:
                return spec, info
        for spec, conflict in self.contested("backend"):
            if isinstance(spec, BackendSpec) and spec.artifact_format == artifact_format:
                raise conflict
        return None

    @staticmethod
    def _conflicts(kind: str, specs: Iterable[tuple[Spec, PluginInfo]]) -> dict[str, PluginConflict]:
        return conflicts(kind, ((spec.name, info) for spec, info in specs))

    def _ask_the_silent(self, kind: str) -> None:
        """Load those whose metadata does not say what they provide of a kind; of backends alone it may say that."""
        for plugin in self._all(kind, silent=kind == "backend"):
            del plugin  # it is among the loaded

    def _all(self, kind: str, *, silent: bool = False) -> Iterator[Plugin]:
        """All that load; with ``silent`` only those that declare no backend."""
        # The sinks of the core import what the cold start of a model has no use for.
        infos = [info for info in self.infos if kind == "sink" or not info.module.startswith("edgeai.sinks.")]
        infos = [info for info in infos if not (silent and info.backends)]
        for name in dict.fromkeys(info.name for info in infos):
            try:
                yield self.load(name)
            except EdgeaiError:  # kept among the faults
                continue

    def _likely(self, word: str) -> Iterator[str]:
        """The plugins to ask first: the one of that name, and those whose metadata declares a backend of that name."""
        infos = sorted(self.infos, key=lambda info: info.name != word)
        yield from dict.fromkeys(info.name for info in infos if info.name == word or word in info.backends)

    def _told_faults(self) -> str:
        return "".join(f"; plugin {name!r} does not load: {error}" for name, error in self.faults.items())


def words_for_backends(infos: Sequence[PluginInfo]) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """(backend -> the plugins that declare it, what else people write for one -> the backend), from metadata alone.

    What they write is the name of the distribution, or of one of its extras, which are called after engines.
    """
    plugins: dict[str, tuple[str, ...]] = {}
    for info in infos:
        plugins |= {name: (*plugins.get(name, ()), info.name) for name in info.backends}
    also: dict[str, str] = {}
    for info in infos:
        if len(info.backends) == 1:
            extras = metadata.distribution(info.distribution).metadata.get_all("Provides-Extra") or []
            words = [info.distribution, *(extra for extra in extras if extra not in _NO_ENGINES)]
            also |= {word: info.backends[0] for word in words if word not in plugins}
    return plugins, also


def rank_of(spec: Spec) -> tuple[int, str]:
    """The place of a spec among its kind where nobody says which: a backend's rank, then its name."""
    return (spec.rank if isinstance(spec, BackendSpec) else 0, spec.name)


def did_you_mean(word: str, words: Mapping[str, str] | Iterable[str]) -> str:
    """``; did you mean 'this'?``: the known word that is near, or that begins so; nothing where none is.

    Args:
        word: as it was written; upper case and _ for - make no difference.
        words: what is known; or word -> what to write for it.
    """
    near = near_word(word, words)
    return f"; did you mean {near!r}?" if near else ""


def near_word(word: str, words: Mapping[str, str] | Iterable[str]) -> str:
    """As ``did_you_mean``: what to write, or nothing."""
    known = words if isinstance(words, Mapping) else {one: one for one in words}
    plain = {_plain(one): meant for one, meant in known.items()}
    near = difflib.get_close_matches(_plain(word), list(plain), n=1, cutoff=_CLOSE)
    near = near or [one for one in plain if _plain(word) and one.startswith(_plain(word))][:1]
    return plain[near[0]] if near else ""


def _plain(word: str) -> str:
    return word.casefold().replace("_", "-")


def _same(distribution: str, word: str) -> bool:
    return _plain(distribution) == _plain(word)


__all__ = ["Installed", "did_you_mean", "near_word", "rank_of", "words_for_backends"]
