"""Faults of plugins get the plugin's name: whatever is not of our own tree becomes ``PluginFault``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from traceback import walk_tb
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from edgeai.api.errors import EdgeaiError, PluginFault

if TYPE_CHECKING:
    from edgeai.api.tensors import Tensors

HOSTS_OWN = (EdgeaiError, KeyboardInterrupt, GeneratorExit)
"""What is laid on no plugin: our own tree, the user's Ctrl-C, and Python's own way of closing a generator."""

_LOADING = ("plugin.import-failed", "plugin.registration-failed")
_ON_THE_WAY = ("edgeai.hosting", "edgeai.plugins", "importlib", "pluggy")
"""Modules between the host and what the plugin did."""

_S = TypeVar("_S")


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """A plugin as its metadata names it. ``str`` of it is how messages call it.

    ``backends`` are those that its metadata declares (``BACKENDS_GROUP``); it may provide others.
    """

    name: str
    module: str
    distribution: str
    version: str
    backends: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        origin = f"{self.distribution} {self.version}".strip() or f"module {self.module}"
        return f"plugin {self.name!r} ({origin})"


class _LaidOn:
    __slots__ = ("_code", "_info", "_step")

    def __init__(self, info: PluginInfo, step: str, code: str) -> None:
        self._info, self._step, self._code = info, step, code

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, HOSTS_OWN):
            raise fault(self._info, self._step, error, self._code) from error


def laid_on(info: PluginInfo, step: str, *, code: str = "plugin.fault") -> _LaidOn:
    """A context in which whatever is not an ``EdgeaiError`` becomes ``PluginFault`` naming plugin and step.

    ``SystemExit`` too: a plugin does not end its host. ``KeyboardInterrupt`` passes.
    """
    return _LaidOn(info, step, code)


def fault(info: PluginInfo, step: str, error: BaseException, code: str = "plugin.fault") -> PluginFault:
    """What a plugin raised at a step, under its name; while it is loaded with the place in its source, too."""
    message = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    place = _place(info, error) if code in _LOADING else ""
    return PluginFault(f"{info}, {step}: {type(error).__name__}: {message}".removesuffix(": ") + place, code=code)


def _place(info: PluginInfo, error: BaseException) -> str:
    """``(file, line n)``: the plugin's own innermost line; of what has no line of its own, the innermost of all."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    package = info.module.partition(".")[0]
    own = innermost = ""
    for frame, line in walk_tb(error.__traceback__):
        file, module = frame.f_code.co_filename, str(frame.f_globals.get("__name__", ""))
        if file.startswith("<frozen ") or module.startswith(_ON_THE_WAY):
            continue
        innermost = f" ({file}, line {line})"
        own = innermost if module.partition(".")[0] == package else own
    return own or innermost


def broken(info: PluginInfo, step: str, what: str) -> PluginFault:
    """A plugin that does not do what its spec promises."""
    return PluginFault(f"{info}, {step}: {what}", code="plugin.contract")


def hold_sound(info: PluginInfo, step: str, error: BaseException, unsound: Callable[[EdgeaiError], str]) -> None:
    """Nothing, where an error of our own tree may be raised there (``edgeai.hosting.raised``).

    Raises:
        PluginFault: ``plugin.contract``: it may not.
    """
    if isinstance(error, EdgeaiError) and (why := unsound(error)):
        raise broken(info, step, why) from error


def hosted_call(
    info: PluginInfo, step: str, function: Callable[..., _S], *, unsound: Callable[[EdgeaiError], str] | None = None
) -> Callable[..., _S]:
    """``function``, its faults laid on the plugin. Only for calls that answer with a value, not with an iterator.

    Its own errors are held by ``unsound``, where that is given (``hold_sound``).
    """

    def called(*args: Any) -> _S:
        try:
            return function(*args)
        except HOSTS_OWN as error:
            if unsound is not None:
                hold_sound(info, step, error, unsound)
            raise
        except BaseException as error:
            raise fault(info, step, error) from error

    return called


class Feed:
    """The host's own iterable on its way through a plugin, so that its errors are not laid on the plugin."""

    __slots__ = ("_iterator", "error")

    def __init__(self, items: Iterable[Tensors]) -> None:
        self._iterator = iter(items)
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[Tensors]:
        return self

    def __next__(self) -> Tensors:
        try:
            return next(self._iterator)
        except StopIteration:
            raise
        except BaseException as error:
            self.error = error
            raise
