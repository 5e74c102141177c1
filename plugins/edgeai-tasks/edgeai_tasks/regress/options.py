"""The options of regress, read strictly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from edgeai.api import Concept, Options, OptionSpec, TaskFailed
from edgeai_tasks.reading import Reader
from edgeai_tasks.regress.scale import AS_IT_IS, MODEL, SOURCE, UNITS
from edgeai_tasks.sizes import place_of

ENDS: Final = ("indeterminate", "not-applicable", "failed")
LOSSES: Final = ("huber", "mean-absolute-error", "mean-squared-error")
_KEYS: Final = frozenset({"name", "unit", "low", "high", "same", "per", "scale", "offset", "sizes", "concept"})
_NEEDED: Final = frozenset({"name", "unit", "low", "high", "same"})

OPTIONS: tuple[OptionSpec, ...] = (
    OptionSpec(
        name="values",
        required=True,
        help="what is measured, in the order of the outputs, each a table: name; unit, as UCUM writes it; low and "
        "high, between which it is plausible; same, by how much two may differ and lead to the same decision; per "
        "(none): none where the network answers in unit, source-pixel or model-pixel where it answers in pixels of the "
        "source image or of what it saw, and the unit is mm, cm, mm2, cm2 or {pixels}; scale (1) and offset (0), so "
        "that offset + scale * output is meant; sizes, rising, between which reports tell samples apart; concept: "
        "{code, scheme, meaning}",
    ),
    OptionSpec(
        name="intervals",
        default={},
        help="name of a value -> {coverage, half}: the share of intervals that hold what is true, and half of their "
        "width in the value's unit: one number, or one for each of its sizes; [choice] chooses them",
    ),
    OptionSpec(
        name="loss",
        default=LOSSES[0],
        choices=LOSSES,
        help="what training minimises, of outputs; huber is quadratic up to an error of 1, and linear beyond",
    ),
    OptionSpec(
        name="out_of_range",
        default=ENDS[0],
        choices=ENDS,
        help="how an image ends whose value is not plausible: without a statement, as none of the model's, or as a "
        "failure",
    ),
    OptionSpec(name="per_frame", default=False, help="whether the result lists the values of each frame too"),
    OptionSpec(name="output", help="which output of the model; needed where it has several"),
)

_READ = Reader("regress", OPTIONS)


def refused(name: str, why: str) -> TaskFailed:
    """The error for an option that makes no sense."""
    return _READ.refused(name, why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How far a value may be from what is true, in ``coverage`` of all cases: ``half`` of the interval's width."""

    coverage: float
    half: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One value that is measured; see the option ``values``."""

    name: str
    unit: str
    low: float
    high: float
    same: float
    per: str = AS_IT_IS
    scale: float = 1.0
    offset: float = 0.0
    sizes: tuple[float, ...] = ()
    concept: Concept | None = None
    spread: Spread | None = None

    def is_plausible(self, value: float) -> bool:
        """Whether it may be stated."""
        return self.low <= value <= self.high

    def interval(self, value: float) -> tuple[float, float] | None:
        """(low, high) about it; ``None`` where the options know none."""
        if self.spread is None:
            return None
        half = self.spread.half[place_of(value, self.sizes) if len(self.spread.half) > 1 else 0]
        return value - half, value + half


@dataclass(frozen=True, slots=True, kw_only=True)
class RegressOptions:
    """What the manifest says about a model that measures."""

    values: tuple[Value, ...]
    loss: str
    out_of_range: str
    per_frame: bool
    output: str | None

    @classmethod
    def read(cls, given: Options) -> RegressOptions:
        """Read a manifest's options.

        Raises:
            TaskFailed: ``task.options``, naming the option.
        """
        values = _READ.values(given)
        return cls(
            values=_values(values["values"], values["intervals"]),
            loss=_READ.choice("loss", values["loss"], LOSSES),
            out_of_range=_READ.choice("out_of_range", values["out_of_range"], ENDS),
            per_frame=_READ.flag("per_frame", values["per_frame"]),
            output=None if values["output"] is None else _READ.text("output", values["output"]),
        )


def _values(given: Any, intervals: Any) -> tuple[Value, ...]:
    if not isinstance(given, list | tuple) or not given:
        raise refused("values", "must be a list of at least one value")
    if not isinstance(intervals, Mapping):
        raise refused("intervals", f"is {intervals!r}, not a table of value and interval")
    values = tuple(_value(item, intervals) for item in given)
    names = [value.name for value in values]
    if len(set(names)) != len(names):
        raise refused("values", f"names a value twice: {', '.join(names)}")
    if strange := sorted(set(intervals) - set(names)):
        raise refused("intervals", f"names {strange[0]!r}, which is no value")
    return values


def _value(item: Any, intervals: Mapping[str, Any]) -> Value:
    if not isinstance(item, Mapping) or not _NEEDED <= set(item) <= _KEYS:
        raise refused("values", f"has {item!r}, which is no value")
    name, unit = (_READ.text("values", item[key]) for key in ("name", "unit"))
    low, high = (_READ.number("values", item[key]) for key in ("low", "high"))
    same = _READ.measure("values", item["same"])
    if low >= high or same > high - low:
        raise refused("values", f"has {name} from {low:g} to {high:g}, of which {same:g} apart are the same")
    per = _READ.choice("values", item.get("per", AS_IT_IS), (AS_IT_IS, SOURCE, MODEL))
    if per != AS_IT_IS and unit not in UNITS:
        raise refused("values", f"has {name} per {per} in {unit!r}, which is none of {', '.join(UNITS)}")
    scale = _READ.number("values", item.get("scale", 1.0))
    if scale == 0:
        raise refused("values", f"has {name} with the scale 0, which leaves nothing of the output")
    sizes = _sizes(name, item.get("sizes", []), low, high)
    return Value(
        name=name,
        unit=unit,
        low=low,
        high=high,
        same=same,
        per=per,
        scale=scale,
        offset=_READ.number("values", item.get("offset", 0.0)),
        sizes=sizes,
        concept=_READ.concept("values", item.get("concept")),
        spread=_spread(name, intervals.get(name), len(sizes) + 1),
    )


def _sizes(name: str, given: Any, low: float, high: float) -> tuple[float, ...]:
    if not isinstance(given, list | tuple):
        raise refused("values", f"has {name} with sizes {given!r}, which are no list")
    sizes = tuple(_READ.number("values", size) for size in given)
    if any(one >= other for one, other in pairwise((low, *sizes, high))):
        raise refused("values", f"has {name} with sizes {list(sizes)}, which do not rise from {low:g} to {high:g}")
    return sizes


def _spread(name: str, given: Any, groups: int) -> Spread | None:
    if given is None:
        return None
    if not isinstance(given, Mapping) or set(given) != {"coverage", "half"}:
        raise refused("intervals", f"has {given!r} for {name}, which needs coverage and half")
    coverage = _READ.fraction("intervals", given["coverage"])
    half = given["half"] if isinstance(given["half"], list | tuple) else [given["half"]]
    if not 0.0 < coverage < 1.0 or len(half) not in (1, groups):
        raise refused("intervals", f"has {given!r} for {name}, of {groups} sizes")
    return Spread(coverage=coverage, half=tuple(_READ.measure("intervals", one) for one in half))
