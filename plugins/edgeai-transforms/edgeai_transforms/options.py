"""Reading a step's options strictly: nothing unknown, nothing of another type, nothing out of range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NoReturn

from edgeai.api import Frame, Options, OptionSpec, TransformFailed

BAD_OPTION = "transform.options"
NOT_APPLICABLE = "transform.not-applicable"


class OptionReader:
    """A manifest's options for one step, held against the options that its spec declares.

    Raises:
        TransformFailed: ``transform.options``, for an unknown name or a required one that is missing.
    """

    def __init__(self, step: str, declared: Sequence[OptionSpec], given: Options) -> None:
        self.step = step
        self._declared = {option.name: option for option in declared}
        self._given = dict(given)
        for name in self._given:
            if name not in self._declared:
                known = ", ".join(self._declared) or "none"
                raise TransformFailed(
                    f"{step}: unknown option {name!r}", code=BAD_OPTION, remedy=f"options of {step}: {known}"
                )
        for option in declared:
            if option.required and option.name not in self._given:
                self.refuse(option.name, "is required")

    def refuse(self, name: str, why: str) -> NoReturn:
        """Raise ``transform.options`` about this option."""
        raise TransformFailed(f"{self.step}: option {name!r} {why}", code=BAD_OPTION, remedy=self._declared[name].help)

    def raw(self, name: str) -> Any:
        """The value given, or the declared default."""
        return self._given.get(name, self._declared[name].default)

    def is_given(self, name: str) -> bool:
        """Whether the option has a value, given or by default."""
        return self.raw(name) is not None

    def choice(self, name: str) -> str:
        """One of the declared choices."""
        value = self.raw(name)
        choices = self._declared[name].choices
        if not isinstance(value, str) or value not in choices:
            self.refuse(name, f"is {value!r}, not one of {', '.join(map(str, choices))}")
        return value

    def flag(self, name: str) -> bool:
        """A boolean; 0, 1 and words are none."""
        value = self.raw(name)
        if not isinstance(value, bool):
            self.refuse(name, f"is {value!r}, not true or false")
        return value

    def whole(self, name: str, least: int, most: int) -> int:
        """An integer from ``least`` to ``most``, both inclusive."""
        value = self.raw(name)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            self.refuse(name, f"is {value!r}, not a whole number from {least} to {most}")
        return value

    def number(self, name: str, least: float = -math.inf, most: float = math.inf, *, above: float = -math.inf) -> float:
        """A finite number from ``least`` to ``most``, and greater than ``above``."""
        return self._finite(name, self.raw(name), least, most, above)

    def numbers(self, name: str, *, above: float = -math.inf) -> tuple[float, ...]:
        """One or more finite numbers: a list, or a single one."""
        value = self.raw(name)
        values = value if isinstance(value, list | tuple) else [value]
        if not values:
            self.refuse(name, "is empty")
        return tuple(self._finite(name, item, -math.inf, math.inf, above) for item in values)

    def span(self, name: str) -> tuple[float, float]:
        """Two finite numbers, the second greater than the first."""
        values = self.numbers(name)
        if len(values) != 2 or values[0] >= values[1]:
            self.refuse(name, f"is {list(values)!r}, not two numbers of which the second is greater")
        return values[0], values[1]

    def _finite(self, name: str, value: Any, least: float, most: float, above: float) -> float:
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not least <= value <= most or value <= above:
            bounds = [f"at least {least:g}"] if least > -math.inf else []
            bounds += [f"at most {most:g}"] if most < math.inf else []
            bounds += [f"greater than {above:g}"] if above > -math.inf else []
            self.refuse(name, f"is {value!r}, not a finite number {' and '.join(bounds)}".rstrip())
        return float(value)


def not_applicable(step: str, frame: Frame, why: str, remedy: str | None = None) -> TransformFailed:
    """The error for a frame that a step cannot work on, saying what the frame is."""
    return TransformFailed(
        f"{step}: {why} (frame {frame.number}: {described(frame)})", code=NOT_APPLICABLE, remedy=remedy
    )


def described(frame: Frame) -> str:
    """A frame in a few words: extent, samples, dtype, photometric interpretation."""
    extent = "x".join(str(extent) for extent in frame.pixels.shape)
    return f"{extent} {frame.pixels.dtype} {frame.photometric_interpretation}"
