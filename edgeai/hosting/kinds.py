"""The one way in which a spec is hosted, whatever its kind; what is particular to a kind stands in a ``Kind``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias, TypeVar

from edgeai.api.errors import ConfigError, EdgeaiError
from edgeai.hosting.faults import PluginInfo, broken, hosted_call
from edgeai.hosting.options import OptionMistake, option_mistakes

_S = TypeVar("_S")

Hold: TypeAlias = Callable[[str, Any, Any], None]
"""``(what, spec, request)``: refuses a request that is not as the spec says, before the plugin sees it."""
Take: TypeAlias = Callable[..., Any]
"""``(info, what, answer, *request)``: what the host gets for the plugin's answer, once that keeps the contract."""


class Maker(NamedTuple):
    """A callable of a spec whose answer is held to the contract: it opens, builds, converts."""

    take: Take
    holds: tuple[Hold, ...] = ()


class Kind(NamedTuple):
    """A kind of spec.

    Attributes:
        name: as messages call it.
        makers: by the spec's field. A field that is ``None`` stays so.
        others: fields whose answers are plain values.
    """

    name: str
    makers: Mapping[str, Maker]
    others: tuple[str, ...] = ()


def hosted(info: PluginInfo, kind: Kind, spec: _S) -> _S:
    """The spec with its callables hosted."""
    what = f"{kind.name} {spec.name!r}"  # type: ignore[attr-defined]  # every spec has one

    def has(field: str) -> bool:
        return getattr(spec, field) is not None

    def call(field: str) -> Callable[..., Any]:
        return hosted_call(info, f"{what}: {field}", getattr(spec, field))

    def made(field: str, maker: Maker) -> Callable[..., Any]:
        make = call(field)

        def checked(*request: Any) -> Any:
            for hold in maker.holds:
                hold(what, spec, *request)
            return maker.take(info, what, make(*request), *request)

        return checked

    callables = {field: made(field, maker) for field, maker in kind.makers.items() if has(field)}
    callables |= {field: call(field) for field in kind.others if has(field)}
    return replace(spec, **callables)  # type: ignore[type-var]


def options(error: type[EdgeaiError], code: str, *, given: Callable[[Any], Any] = attrgetter("options")) -> Hold:
    """Holds a request's options to those that the spec declares: none is ignored in silence."""

    def hold(what: str, spec: Any, request: Any) -> None:
        _hold(spec.options, given(request), what, error, code)

    return hold


def settings(what: str, spec: Any, request: Any) -> None:
    """The same for a configuration's settings."""
    _hold(spec.settings, request.settings, what, ConfigError, "config.options")


def _hold(declared: Sequence[Any], given: Mapping[str, Any], what: str, error: type[EdgeaiError], code: str) -> None:
    if mistakes := [_sentence(mistake, given) for mistake in option_mistakes(declared, given)]:
        takes = ", ".join(option.name for option in declared) or "none"
        raise error(f"{what}: " + "; ".join(mistakes), code=code, remedy=f"options that it takes: {takes}")


def _sentence(mistake: OptionMistake, given: Mapping[str, Any]) -> str:
    if mistake.kind == "missing":
        return f"option {mistake.name!r} is missing"
    if mistake.kind == "choice":
        return f"{mistake.name} = {given[mistake.name]!r} is not one of {', '.join(map(repr, mistake.choices))}"
    return f"unknown option {mistake.name!r}" + (f"; did you mean {mistake.near!r}?" if mistake.near else "")


def require_methods(info: PluginInfo, step: str, thing: Any, *methods: str) -> None:
    """That what a plugin opened or built can be called as the host will.

    Raises:
        PluginFault: ``plugin.contract``, naming those that it lacks.
    """
    if lacking := [name for name in methods if not callable(getattr(thing, name, None))]:
        raise broken(info, step, f"returned {type(thing).__name__}, which has no {', '.join(lacking)}")
