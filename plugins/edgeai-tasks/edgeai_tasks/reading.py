"""Options read strictly: what is signed is never half understood."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgeai.api import Concept, Options, OptionSpec, TaskFailed


@dataclass(frozen=True, slots=True)
class Label:
    """One label; ``threshold`` ``None`` means that being the most probable is enough."""

    label: str
    threshold: float | None = None
    concept: Concept | None = None


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the options of one task; every refusal names the task and the option, and what the option takes."""

    task: str
    options: tuple[OptionSpec, ...]

    def values(self, given: Options) -> dict[str, Any]:
        """All options, those not given by their defaults.

        Raises:
            TaskFailed: ``task.options``: one that the task does not have. All methods raise so.
        """
        known = {option.name: option.default for option in self.options}
        for name in given:
            if name not in known:
                raise TaskFailed(
                    f"{self.task}: unknown option {name!r}", code="task.options", remedy=f"options: {', '.join(known)}"
                )
        return {**known, **given}

    def refused(self, name: str, why: str) -> TaskFailed:
        """The error for an option that makes no sense."""
        remedy = next(option.help for option in self.options if option.name == name)
        return TaskFailed(f"{self.task}: option {name!r} {why}", code="task.options", remedy=remedy)

    def labels(self, value: Any) -> tuple[Label, ...]:
        """``labels``: each a word, or a table of label, threshold and concept; no two alike."""
        if not isinstance(value, list | tuple) or not value:
            raise self.refused("labels", "must be a list of at least one label")
        labels = tuple(self._label(item) for item in value)
        names = [label.label for label in labels]
        if len(set(names)) != len(names):
            raise self.refused("labels", f"names a label twice: {', '.join(names)}")
        return labels

    def thresholds(self, labels: tuple[Label, ...], default: float | None, named: Any) -> tuple[Label, ...]:
        """``labels`` with their thresholds: a label's own, or that of ``thresholds``, or the default."""
        if not isinstance(named, Mapping):
            raise self.refused("thresholds", f"is {named!r}, not a table of label and threshold")
        names = {label.label for label in labels}
        for name, value in named.items():
            if name not in names:
                raise self.refused("thresholds", f"names {name!r}, which is no label")
            if any(label.label == name and label.threshold is not None for label in labels):
                raise self.refused("thresholds", f"gives {name!r} a threshold that its label has too")
            self.fraction("thresholds", value)
        return tuple(_with_threshold(label, named, default) for label in labels)

    def choice(self, name: str, value: Any, choices: tuple[str, ...]) -> str:
        """One of ``choices``."""
        if value not in choices:
            raise self.refused(name, f"is {value!r}, not one of {', '.join(choices)}")
        return str(value)

    def text(self, name: str, value: Any) -> str:
        """A word."""
        if not isinstance(value, str) or not value:
            raise self.refused(name, f"has {value!r}, not a word")
        return value

    def flag(self, name: str, value: Any) -> bool:
        """True or false."""
        if not isinstance(value, bool):
            raise self.refused(name, f"is {value!r}, not true or false")
        return value

    def whole(self, name: str, value: Any) -> int:
        """A whole number from 0."""
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.refused(name, f"is {value!r}, not a whole number from 0")
        return value

    def fraction(self, name: str, value: Any) -> float:
        """A number from 0 to 1."""
        number = _number(value)
        if number is None or not 0.0 <= number <= 1.0:
            raise self.refused(name, f"has {value!r}, not a number from 0 to 1")
        return number

    def measure(self, name: str, value: Any) -> float:
        """A finite number from 0."""
        number = _number(value)
        if number is None or number < 0:
            raise self.refused(name, f"is {value!r}, not a finite number from 0")
        return number

    def number(self, name: str, value: Any) -> float:
        """A finite number."""
        number = _number(value)
        if number is None:
            raise self.refused(name, f"has {value!r}, not a finite number")
        return number

    def temperature(self, value: Any) -> float:
        """``temperature``: a finite number above 0."""
        number = _number(value)
        if number is None or number <= 0:
            raise self.refused("temperature", f"is {value!r}, not a finite number above 0")
        return number

    def concept(self, name: str, value: Any) -> Concept | None:
        """A table of code, scheme and meaning; ``None`` where there is none."""
        if value is None:
            return None
        if not isinstance(value, Mapping) or set(value) != {"code", "scheme", "meaning"}:
            raise self.refused(name, f"has concept {value!r}, which needs code, scheme and meaning")
        return Concept(**{key: self.text(name, text) for key, text in value.items()})

    def _label(self, item: Any) -> Label:
        if isinstance(item, str):
            return Label(self.text("labels", item))
        if not isinstance(item, Mapping) or "label" not in item or set(item) - {"label", "threshold", "concept"}:
            raise self.refused("labels", f"has {item!r}, which is no label")
        threshold = item.get("threshold")
        return Label(
            label=self.text("labels", item["label"]),
            threshold=None if threshold is None else self.fraction("labels", threshold),
            concept=self.concept("labels", item.get("concept")),
        )


def _with_threshold(label: Label, named: Mapping[str, Any], default: float | None) -> Label:
    if label.threshold is not None:
        return label
    value = named.get(label.label)
    return replace(label, threshold=default if value is None else float(value))


def _number(value: Any) -> float | None:
    ok = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if ok else None
