"""The options of a step, checked. Imports no Keras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeai.api import CompressionFailed, Options, OptionSpec


class Given:
    """What a recipe's step gives for a compressor's options, with the defaults for what it does not give."""

    def __init__(self, by: str, specs: Sequence[OptionSpec], options: Options) -> None:
        """Take them.

        Raises:
            CompressionFailed: ``compress.options``: an unknown name, or a value that is not among the choices.
        """
        self._by = by
        self._values = {spec.name: options.get(spec.name, spec.default) for spec in specs}
        unknown = sorted(set(options) - set(self._values))
        if unknown:
            raise self.wrong(f"there is no option {', '.join(unknown)}", f"it takes {', '.join(self._values)}")
        for spec in specs:
            if spec.choices and self._values[spec.name] not in spec.choices:
                choices = ", ".join(map(str, spec.choices))
                raise self.wrong(f"{spec.name} is {self._values[spec.name]!r}", f"use one of {choices}")

    def number(self, name: str, low: float, high: float) -> float:
        """A number from ``low`` to ``high``, both allowed."""
        value = self._values[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.wrong(f"{name} is {value!r}", f"give a number from {low:g} to {high:g}")
        return float(value)

    def count(self, name: str, least: int) -> int:
        """A whole number, ``least`` or more."""
        value = self._values[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.wrong(f"{name} is {value!r}", f"give a whole number, {least} or more")
        return value

    def word(self, name: str) -> str:
        """A string."""
        value = self._values[name]
        if not isinstance(value, str):
            raise self.wrong(f"{name} is {value!r}", "give a string")
        return value

    def flag(self, name: str) -> bool:
        """``True`` or ``False``."""
        value = self._values[name]
        if not isinstance(value, bool):
            raise self.wrong(f"{name} is {value!r}", "use true or false")
        return value

    def names(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        value = self._values[name]
        if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(n, str) for n in value):
            raise self.wrong(f"{name} is {value!r}", f'give a list of names, as {name} = ["stem"]')
        return tuple(value)

    def table(self, name: str) -> Mapping[str, Any]:
        """A table."""
        value = self._values[name]
        if not isinstance(value, Mapping):
            raise self.wrong(f"{name} is {value!r}", f"give a table, as {name} = {{ size = 64 }}")
        return value

    def wrong(self, what: str, remedy: str) -> CompressionFailed:
        """The error that says so."""
        return CompressionFailed(f"{self._by}: {what}", code="compress.options", remedy=remedy)
