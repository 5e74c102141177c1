"""What is wrong with given options, held to those that a spec declares: by a host that opens, and by who only looks."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from edgeai.api.options import OptionSpec


class OptionMistake(NamedTuple):
    """One option that is not as declared.

    Attributes:
        name: of the option.
        kind: there is none of this name, it must be given and is not, or its value is no choice.
        near: what was meant by an unknown name, perhaps; empty where nothing comes close.
        choices: those that there are.
    """

    name: str
    kind: Literal["unknown", "missing", "choice"]
    near: str = ""
    choices: tuple[Any, ...] = ()


def option_mistakes(declared: Sequence[OptionSpec], given: Mapping[str, Any]) -> Iterator[OptionMistake]:
    """Those that are given first, in their order; then what is missing."""
    by_name = {option.name: option for option in declared}
    for name, value in given.items():
        option = by_name.get(name)
        if option is None:
            near = difflib.get_close_matches(name, by_name, n=1)
            yield OptionMistake(name, "unknown", near=near[0] if near else "")
        elif option.choices and value not in option.choices:
            yield OptionMistake(name, "choice", choices=tuple(option.choices))
    yield from (OptionMistake(name, "missing") for name, o in by_name.items() if o.required and name not in given)
