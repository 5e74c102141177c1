"""Find and load plugins: one at a time, each with its own pluggy manager, every fault with a name.

Three acts, each safe without the next:

- ``find`` reads the metadata of installed distributions and imports nothing.
- ``load`` imports one plugin, reads its ``EDGEAI_API`` before anything is registered, calls its hooks
  once and holds what they return against the contract.
- The specs that come out are *hosted* (``edgeai.hosting``): what a plugin raises outside the tree of
  ``edgeai.api.errors`` becomes ``PluginFault`` that names the plugin and the step.

Stock pluggy lets one broken entry point stop the host; that is why there is a manager for each plugin.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from importlib import metadata
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import pluggy

import edgeai.api
from edgeai.api import (
    API_VERSION,
    BACKENDS_GROUP,
    ENTRY_POINT_GROUP,
    PROJECT,
    EdgeaiError,
    OptionSpec,
    PluginConflict,
    PluginFault,
    PluginIncompatible,
    PluginNotFound,
    hooks,
    is_compatible,
)
from edgeai.hosting import PluginInfo, hosted_spec, laid_on
from edgeai.hosting.facts import wrong_facts

if TYPE_CHECKING:
    from edgeai.api import (
        BackendSpec,
        CompressorSpec,
        ConverterSpec,
        SinkSpec,
        SourceSpec,
        TaskSpec,
        TransformSpec,
    )

__all__ = ["KINDS", "Plugin", "PluginInfo", "Registry", "Spec", "conflicts", "find", "load", "load_from"]

Spec: TypeAlias = "BackendSpec | TransformSpec | TaskSpec | SinkSpec | SourceSpec | ConverterSpec | CompressorSpec"

_NAME = re.compile(r"[a-z][a-z0-9_-]*")

KINDS = ("backend", "transform", "task", "sink", "source", "converter", "compressor")
"""What a plugin may provide; the hook of a kind is ``edgeai_<kind>s``, its spec ``<Kind>Spec``."""


def _type_of(kind: str) -> type[Spec]:
    """The specs' class. Asked for only where a plugin has the kind: a cart never imports the build host's."""
    spec_type: type[Spec] = getattr(edgeai.api, f"{kind.capitalize()}Spec")
    return spec_type


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """What one plugin registered, hosted. ``api`` is the contract's version that it declares."""

    info: PluginInfo
    api: tuple[int, int]
    backends: tuple[BackendSpec, ...] = ()
    transforms: tuple[TransformSpec, ...] = ()
    tasks: tuple[TaskSpec, ...] = ()
    sinks: tuple[SinkSpec, ...] = ()
    sources: tuple[SourceSpec, ...] = ()
    converters: tuple[ConverterSpec, ...] = ()
    compressors: tuple[CompressorSpec, ...] = ()

    def specs(self, kind: str) -> tuple[Spec, ...]:
        """The specs of one of ``KINDS``."""
        specs: tuple[Spec, ...] = getattr(self, f"{kind}s")
        return specs


# --- find -------------------------------------------------------------------------------------


def find(group: str = ENTRY_POINT_GROUP) -> tuple[PluginInfo, ...]:
    """Every installed plugin by name, from metadata alone; nothing of a plugin is imported.

    Another ``group`` of entry points is found in the same way: commands, say.

    A name that two distributions claim appears twice: ``load`` refuses it. A distribution whose
    metadata cannot be read is passed over, as pip itself does.
    """
    infos: set[PluginInfo] = set()
    for name in _distributions_with(group):
        distribution = metadata.distribution(name)  # the first on the path, which is the one that imports
        version = _fact(distribution, "Version")
        entries = distribution.entry_points
        declared = [(entry.name, entry.value.strip()) for entry in entries.select(group=BACKENDS_GROUP)]
        for entry in entries.select(group=group):
            module = entry.value.strip()
            backends = tuple(backend for backend, of in declared if of == module)
            infos.add(PluginInfo(entry.name, module, name, version, backends))
    return tuple(sorted(infos, key=lambda info: (info.name, info.distribution)))


def _distributions_with(group: str) -> set[str]:
    names: set[str] = set()
    for distribution in metadata.distributions():
        try:
            text = distribution.read_text("entry_points.txt")
            if text and group in text:
                names.add(_fact(distribution, "Name"))
                _ = distribution.entry_points
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return {name for name in names if name}


def _fact(distribution: metadata.Distribution, name: str) -> str:
    """What its metadata say; read without the description that follows, which takes many times as long to parse."""
    text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    fact = re.search(rf"^{name}:[ \t]*(.*)$", text.partition("\n\n")[0], re.MULTILINE | re.IGNORECASE)
    return fact[1].strip() if fact else ""


def _locate(name: str, infos: Iterable[PluginInfo]) -> PluginInfo:
    everything = tuple(infos)
    matches = [info for info in everything if info.name == name]
    if not matches:
        near = difflib.get_close_matches(name, [info.name for info in everything], n=1)
        installed = ", ".join(sorted({info.name for info in everything})) or "none"
        raise PluginNotFound(
            f"no installed plugin is called {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
            remedy=f"install the distribution that provides it; installed here: {installed}",
        )
    if len(matches) > 1:
        raise PluginConflict(
            f"plugin {name!r} is provided by " + " and ".join(f"{m.distribution} {m.version}" for m in matches),
            remedy="uninstall all of them but one",
        )
    return matches[0]


# --- load -------------------------------------------------------------------------------------


def load(name: str) -> Plugin:
    """Import one plugin by its entry-point name and take what it registers.

    Raises:
        PluginNotFound: nothing installed has this name.
        PluginConflict: two distributions have it; the message names both.
        PluginIncompatible: its ``EDGEAI_API`` is missing or one that this host cannot serve.
        PluginFault: it fails to import, a hook raises, or a hook returns what the contract does not allow.
    """
    return load_from(_locate(name, find()))


def load_from(info: PluginInfo) -> Plugin:
    """As ``load``, for a module that need not be installed (tests, a plugin being written)."""
    if not all(part.isidentifier() for part in info.module.split(".")):
        raise PluginFault(
            f"{info}: its entry point {info.module!r} is not the name of a module",
            code="plugin.import-failed",
            remedy='write it as  name = "package.module"  without a colon',
        )
    with laid_on(info, "import", code="plugin.import-failed"):
        module = importlib.import_module(info.module)
    api = _declared_api(info, module)
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hooks)
    with laid_on(info, "register", code="plugin.registration-failed"):
        manager.register(module, name=info.name)
        manager.check_pending()
    _refuse_unmarked_hooks(info, module)
    provided: dict[str, Any] = {f"{kind}s": _call_hook(info, manager, kind) for kind in KINDS}
    return Plugin(info=info, api=api, **provided)


def _declared_api(info: PluginInfo, module: ModuleType) -> tuple[int, int]:
    with laid_on(info, "read EDGEAI_API", code="plugin.import-failed"):
        declared: Any = getattr(module, "EDGEAI_API", None)
    if declared is None:
        raise PluginIncompatible(
            f"{info}: module {info.module} states no EDGEAI_API",
            remedy=f"add  EDGEAI_API = {API_VERSION}  to the module",
        )
    if not is_compatible(declared):
        raise PluginIncompatible(
            f"{info}: EDGEAI_API = {declared!r}, and this edgeai serves {API_VERSION[0]}.0 to "
            f"{API_VERSION[0]}.{API_VERSION[1]}",
            remedy="install versions of edgeai and of the plugin that go together",
        )
    return (int(declared[0]), int(declared[1]))


def _refuse_unmarked_hooks(info: PluginInfo, module: ModuleType) -> None:
    """A function called ``edgeai_...`` without ``@hookimpl`` would be passed over in silence."""
    for name, value in vars(module).items():
        if name.startswith("edgeai_") and callable(value) and not hasattr(value, f"{PROJECT}_impl"):
            raise PluginFault(
                f"{info}: {name} is not marked with @hookimpl",
                code="plugin.registration-failed",
                remedy="mark it, or give it a name that does not begin with edgeai_",
            )


def _call_hook(info: PluginInfo, manager: pluggy.PluginManager, kind: str) -> tuple[Spec, ...]:
    hook = f"edgeai_{kind}s"
    caller = getattr(manager.hook, hook)
    if not caller.get_hookimpls():
        return ()
    with laid_on(info, f"hook {hook}", code="plugin.registration-failed"):
        answers = caller()
    complaints = _complaints(answers, _type_of(kind))
    if complaints:
        raise PluginFault(f"{info}: {hook}: " + "; ".join(complaints), code="plugin.registration-failed")
    return tuple(hosted_spec(info, kind, spec) for spec in answers[0])


def _complaints(answers: list[Any], spec_type: type[Spec]) -> list[str]:
    """What is wrong with a hook's answer; pluggy leaves out a None, and a wrapper has no answer."""
    if len(answers) != 1 or not isinstance(answers[0], tuple):
        kind = type(answers[0]).__name__ if len(answers) == 1 else "nothing"
        return [f"returned {kind}, not a tuple of {spec_type.__name__}"]
    complaints: list[str] = []
    names: set[object] = set()
    for spec in answers[0]:
        if not isinstance(spec, spec_type):
            complaints.append(f"{type(spec).__name__} in place of {spec_type.__name__}")
            continue
        complaints += _spec_complaints(spec)
        if spec.name in names:
            complaints.append(f"{spec.name!r} twice")
        names.add(spec.name)
    return complaints


def _spec_complaints(spec: Any) -> list[str]:
    """What is wrong with a spec as a record: its name, its callables, its options."""
    complaints = []
    if not isinstance(spec.name, str) or not _NAME.fullmatch(spec.name):
        complaints.append(f"name {spec.name!r} is not lower-case letters, digits, - and _")
    for item in fields(spec):
        value = getattr(spec, item.name)
        optional = value is None and str(item.type).endswith("| None")
        if "Callable" in str(item.type) and not callable(value) and not optional:
            complaints.append(f"{spec.name}.{item.name} is {type(value).__name__}, not callable")
        if item.name in ("options", "settings"):
            if not isinstance(value, tuple) or not all(isinstance(option, OptionSpec) for option in value):
                complaints.append(f"{spec.name}.{item.name} is not a tuple of OptionSpec")
            elif len({option.name for option in value}) != len(value):
                complaints.append(f"{spec.name}.{item.name} has a name twice")
        if item.name == "precisions" and not value:
            complaints.append(f"{spec.name}.{item.name} is empty")
        complaints += [f"{spec.name}.{what}" for what in wrong_facts(spec, item.name, value)]
        if item.name == "unit" and value not in edgeai.api.UNITS:
            complaints.append(f"{spec.name}.unit {value!r} is not one of {', '.join(edgeai.api.UNITS)}")
    return complaints


# --- registry ---------------------------------------------------------------------------------


def _empty() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Registry:
    """The specs of several plugins by name, and the faults of those that did not load.

    A plugin that faults is left out, aloud (``on_fault``, ``faults``); the others serve on.
    """

    plugins: tuple[Plugin, ...] = ()
    backends: Mapping[str, BackendSpec] = field(default_factory=_empty)
    transforms: Mapping[str, TransformSpec] = field(default_factory=_empty)
    tasks: Mapping[str, TaskSpec] = field(default_factory=_empty)
    sinks: Mapping[str, SinkSpec] = field(default_factory=_empty)
    sources: Mapping[str, SourceSpec] = field(default_factory=_empty)
    converters: Mapping[str, ConverterSpec] = field(default_factory=_empty)
    compressors: Mapping[str, CompressorSpec] = field(default_factory=_empty)
    faults: Mapping[str, EdgeaiError] = field(default_factory=_empty)

    @classmethod
    def of(cls, names: Iterable[str], *, on_fault: Callable[[EdgeaiError], None] | None = None) -> Registry:
        """Load the plugins of these names, in this order; a name given twice is loaded once.

        Args:
            names: entry-point names. Discovery is not authorisation: only what is named is imported.
            on_fault: called with the error of each plugin that does not load, which ``faults`` keeps too.

        Raises:
            PluginConflict: two of the plugins provide a spec of the same kind and name. Which one was
                meant cannot be guessed, so nothing is served; the message names both.
        """
        installed = find()
        plugins: list[Plugin] = []
        faults: dict[str, EdgeaiError] = {}
        for name in dict.fromkeys(names):
            try:
                plugins.append(load_from(_locate(name, installed)))
            except EdgeaiError as error:
                faults[name] = error
                if on_fault is not None:
                    on_fault(error)
        return cls.of_plugins(plugins, faults=faults)

    @classmethod
    def of_plugins(cls, plugins: Iterable[Plugin], *, faults: Mapping[str, EdgeaiError] | None = None) -> Registry:
        """The same, of plugins that are already loaded.

        Raises:
            PluginConflict: as ``of``.
        """
        loaded = tuple(plugins)
        tables = {f"{kind}s": MappingProxyType(_table(loaded, kind)) for kind in KINDS}
        return cls(plugins=loaded, faults=MappingProxyType(dict(faults or {})), **tables)  # type: ignore[arg-type]

    def provider(self, spec: Spec) -> PluginInfo:
        """Which plugin registered this spec.

        Raises:
            PluginNotFound: none of this registry's.
        """
        kind = _kind_of(spec)
        for plugin in self.plugins:
            if any(spec.name == other.name for other in plugin.specs(kind)):
                return plugin.info
        raise PluginNotFound(f"no plugin of this registry provides {kind} {spec.name!r}")

    def spec(self, kind: str, name: str) -> Spec:
        """One spec by kind (of ``KINDS``) and name.

        Raises:
            PluginNotFound: no loaded plugin provides it; says which plugins faulted, since it may be theirs.
        """
        table: Mapping[str, Spec] = getattr(self, f"{kind}s")
        if name in table:
            return table[name]
        faults = "".join(f"; plugin {plugin!r} did not load: {error}" for plugin, error in self.faults.items())
        raise PluginNotFound(
            f"no loaded plugin provides {kind} {name!r}{faults}",
            remedy=f"name the plugin that provides it; loaded {kind}s: {', '.join(sorted(table)) or 'none'}",
        )


def _kind_of(spec: Spec) -> str:
    return next(kind for kind in KINDS if isinstance(spec, _type_of(kind)))


def _table(plugins: tuple[Plugin, ...], kind: str) -> dict[str, Spec]:
    provided = [(spec, plugin.info) for plugin in plugins for spec in plugin.specs(kind)]
    for conflict in conflicts(kind, ((spec.name, info) for spec, info in provided)).values():
        raise conflict
    return {spec.name: spec for spec, _ in provided}


def conflicts(kind: str, provided: Iterable[tuple[str, object]]) -> dict[str, PluginConflict]:
    """Name -> the error that says who provides it, of each that several plugins provide: it is used by none.

    Args:
        kind: of ``KINDS``.
        provided: (name of a spec, the plugin that provides it, as ``PluginInfo`` reads), of all in question.
    """
    providers: dict[str, set[str]] = {}
    for name, info in provided:
        providers.setdefault(name, set()).add(str(info))
    remedy = "uninstall all of these distributions but one; for a service it is enough to leave the others out of"
    return {
        name: PluginConflict(
            f"{kind} {name!r} is provided by {' and by '.join(sorted(several))}", remedy=f"{remedy} plugins.allow"
        )
        for name, several in providers.items()
        if len(several) > 1
    }
