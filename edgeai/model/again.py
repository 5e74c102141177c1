"""Two results of one model on one image: where they are the same, and where they differ, in words and figures. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgeai.api.results import Finding, Result
from edgeai.bundle.manifest import Manifest, Tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is otherwise than it was. ``allowed`` is ``None`` of words: they may not differ at all."""

    what: str
    was: Any
    now: Any
    allowed: float | None = None

    def __str__(self) -> str:
        """What a person reads."""
        if self.allowed is None:
            return f"{self.what}: was {_told(self.was)}, is {_told(self.now)}"
        away = abs(self.now - self.was)
        return f"{self.what}: was {self.was:.6g}, is {self.now:.6g}: {away:.3g} apart, {self.allowed:.3g} allowed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What came of it.

    Attributes:
        differences: beyond the tolerance.
        largest: the largest distance of two numbers, be it within the tolerance or not.
        numbers: how many numbers were compared.
    """

    differences: tuple[Difference, ...]
    largest: float
    numbers: int


def tolerance_of(manifest: Manifest, artifact_id: str) -> Tolerance:
    """The widest that a golden case of the bundle allows this artifact; the usual one where there is no case."""
    allowed = [case.tolerance_for(artifact_id) for case in manifest.golden]
    return Tolerance(
        absolute=max((each.absolute for each in allowed), default=Tolerance().absolute),
        relative=max((each.relative for each in allowed), default=Tolerance().relative),
    )


def compare(before: Result, after: Result, tolerance: Tolerance) -> Comparison:
    """Hold a result to an earlier one of the same image, model and engine.

    Outcome, reason, labels and what is stated of each must be the same; numbers may be ``absolute + relative * |was|``
    apart. Times, ids and the points of outlines, which follow from areas and boxes, are not compared.
    """
    was, now = dict(_values(before)), dict(_values(after))
    differences, largest, numbers = [], 0.0, 0
    for what in dict.fromkeys((*was, *now)):
        old: Any = was.get(what)
        new: Any = now.get(what)
        if not (_is_number(old) and _is_number(new)):
            if old != new:
                differences.append(Difference(what=what, was=old, now=new))
            continue
        numbers, largest = numbers + 1, max(largest, abs(new - old))
        allowed = tolerance.absolute + tolerance.relative * abs(old)
        if not abs(new - old) <= allowed:
            differences.append(Difference(what=what, was=old, now=new, allowed=allowed))
    return Comparison(differences=tuple(differences), largest=largest, numbers=numbers)


def _values(result: Result) -> Iterator[tuple[str, Any]]:
    """What a result says, each by a name that is its own."""
    yield "outcome", str(result.outcome)
    yield "reason", result.reason.code if result.reason else None
    yield "frames", result.frames_run
    counted: dict[str, int] = {}
    for finding in result.findings:
        name = f"{finding.kind} {finding.label}" + (f" of frame {finding.frame_number}" if finding.frame_number else "")
        counted[name] = counted.get(name, 0) + 1
        name += f" ({counted[name]})" if counted[name] > 1 else ""
        yield from ((f"{name}, {what}", value) for what, value in _of(finding))


def _of(finding: Finding) -> Iterator[tuple[str, Any]]:
    yield "stated", finding.present
    yield "probability", finding.probability
    yield "threshold", finding.threshold
    for item in finding.measurements:
        yield f"{item.name} in {item.unit}", item.value
    region = finding.region
    if region is None:
        return
    for what in ("area_px", "area_mm2", "perimeter_px", "perimeter_mm", "parts"):
        yield what, getattr(region, what)
    for what in ("box", "centroid"):
        yield from ((f"{what}[{at}]", value) for at, value in enumerate(getattr(region, what) or ()))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _told(value: Any) -> str:
    return "absent" if value is None else {True: "yes", False: "no"}.get(value, str(value))
