"""Two results of one model on one image: where they are the same, and where they differ, in words and figures. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeAlias

from edgeai.api.results import Concept, Finding, GuardFigure, Result
from edgeai.bundle.manifest import Manifest, Tolerance
from edgeai.model.outlines import apart

OUTLINES_PX: Final = 2.0
"""So far apart may outlines of one shape lie: they are simplified, and a pixel more or less moves their points."""
HEAT_SHARE: Final = 0.02
"""So far apart may the cells of a heat be, as a part of its largest: it is rounded, and to be looked at."""
UNCOMPARED: Final = (
    "schema",
    "attempt",
    "created_at",
    "edgeai_version",
    "degraded",
    "timings_ms",
    "model.signers.name",
)
"""Fields of a result to which another run has no word."""
OF_OTHERS: Final = "requires"
"""A check whose figures other deployments gave (``edgeai.roles.requirements``): no run of this model has them."""
SENTENCES: Final = ("reason.message", "reason.remedy", "notes.text", "findings.notes.text")
"""Fields that are compared where one version of edgeai wrote both, and no UID in them was replaced."""

_OF_MODEL: Final = "guard-model"
"""Figures of this check are an engine's."""

Named: TypeAlias = Iterator[tuple[str, Any]]
Cells: TypeAlias = Sequence[Sequence[float]]


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
    return _widest([case.tolerance_for(artifact_id) for case in manifest.golden])


def tolerance_of_guard(manifest: Manifest) -> Tolerance:
    """The widest that a golden case allows any artifact of the guard's model: no result says which of them ran."""
    model = manifest.guard.model if manifest.guard is not None else None
    cases = model.golden if model is not None else ()
    return _widest([each for case in cases for each in (case.tolerance, *case.artifacts.values())])


def _widest(allowed: Sequence[Tolerance]) -> Tolerance:
    return Tolerance(
        absolute=max((each.absolute for each in allowed), default=Tolerance().absolute),
        relative=max((each.relative for each in allowed), default=Tolerance().relative),
    )


def compare(before: Result, after: Result, tolerance: Tolerance, *, guard: Tolerance | None = None) -> Comparison:
    """Hold a result to an earlier one of the same image, model and engine.

    Words must be the same: id, model, image, engine, outcome, labels, codes, notes, thresholds, what is stated. Numbers
    may be ``absolute + relative * |was|`` apart, outlines ``OUTLINES_PX``, heat ``HEAT_SHARE``. ``UNCOMPARED`` is not
    compared (nor who signed, which no run says), and ``SENTENCES`` only where ``has_sentences``. ``guard`` is what
    figures of the guard's model are allowed, where it is more.
    """
    words = list(_pairs(_words(before), _words(after)))
    if has_sentences(before, after.edgeai_version):
        words += _pairs(_sentences(before), _sentences(after))
    differences = [Difference(what=what, was=old, now=new) for what, old, new in words if old != new]
    largest, numbers = 0.0, 0
    for what, old, new in _pairs(_numbers(before), _numbers(after)):
        if old is None or new is None:
            differences.append(Difference(what=what, was=old, now=new))
            continue
        numbers, largest = numbers + 1, max(largest, abs(new - old))
        wider = guard if guard is not None and what.startswith(f"guard {_OF_MODEL}") else tolerance
        allowed = max(each.absolute + each.relative * abs(old) for each in (tolerance, wider))
        if not abs(new - old) <= allowed:
            differences.append(Difference(what=what, was=old, now=new, allowed=allowed))
    for what, old, new in _pairs(_outlines(before), _outlines(after)):
        away = apart(old or (), new or ())
        largest = max(largest, away)
        if away > OUTLINES_PX:
            differences.append(Difference(what=what, was=0.0, now=away, allowed=OUTLINES_PX))
    for what, old, new in _pairs(_heats(before), _heats(after)):
        away = _heat_apart(old or (), new or ())
        if away > HEAT_SHARE:
            differences.append(Difference(what=what, was=0.0, now=away, allowed=HEAT_SHARE))
    return Comparison(differences=tuple(differences), largest=largest, numbers=numbers)


def has_sentences(before: Result, version: str) -> bool:
    """Whether a result of this version of edgeai is to have the same sentences; another may have other words."""
    return before.edgeai_version == version and not before.instance.hashed


def _pairs(was: Named, now: Named) -> Iterator[tuple[str, Any, Any]]:
    """By name; what is there several times by one name is numbered, so that none hides another."""
    old, new = _numbered(was), _numbered(now)
    yield from ((what, old.get(what), new.get(what)) for what in dict.fromkeys((*old, *new)))


def _numbered(named: Named) -> dict[str, Any]:
    values: dict[str, Any] = {}
    counted: dict[str, int] = {}
    for what, value in named:
        counted[what] = counted.get(what, 0) + 1
        values[f"{what} ({counted[what]})" if counted[what] > 1 else what] = value
    return values


def _words(result: Result) -> Named:
    """What may not differ at all."""
    yield "result id", result.result_id
    for what in ("name", "version", "digest"):
        yield f"model {what}", getattr(result.model, what)
    for what, value in asdict(result.instance).items():
        yield f"image {what}", value
    for what, value in (asdict(result.engine) if result.engine else {}).items():
        yield f"engine {what}", value
    yield "outcome", str(result.outcome)
    yield "reason", result.reason.code if result.reason else None
    yield "frames", result.frames_run
    yield "frames in all", result.frames_total
    for note in result.notes:
        yield f"note {note.code}", True
    for file in result.attachments:
        yield f"attachment {file.name}", f"{file.digest}, {file.media_type}, {file.size_bytes} bytes"
    for figure in _own_figures(result):
        yield f"guard {figure.check}, {figure.name}, threshold", figure.threshold
        yield f"guard {figure.check}, {figure.name}, withheld", figure.withheld
    for name, finding in _findings(result):
        yield f"{name}, stated", finding.present
        yield f"{name}, threshold", finding.threshold
        yield f"{name}, code", _coded(finding.concept)
        for item in finding.measurements:
            yield f"{name}, {item.name}, code", _coded(item.concept)
        for concept in finding.codes:
            yield f"{name}, further code", _coded(concept)
        for note in finding.notes:
            yield f"{name}, note {note.code}", True
        if finding.region is not None:
            for what in ("parts", "frame_number", "spacing_from"):
                yield f"{name}, {what}", getattr(finding.region, what)
        if finding.heat is not None:
            for what in ("name", "box", "frame_number", "bound"):
                yield f"{name}, heat, {what}", getattr(finding.heat, what)


def _own_figures(result: Result) -> tuple[GuardFigure, ...]:
    return tuple(figure for figure in result.guard if figure.check != OF_OTHERS)


def _sentences(result: Result) -> Named:
    if result.reason is not None:
        yield "reason in words", result.reason.message
        yield "remedy", result.reason.remedy
    for note in result.notes:
        yield f"note {note.code}, in words", note.text
    for name, finding in _findings(result):
        yield from ((f"{name}, note {note.code}, in words", note.text) for note in finding.notes)


def _numbers(result: Result) -> Named:
    """What an engine may give otherwise at the end of its digits; ``None`` is left out."""
    for figure in _own_figures(result):
        yield f"guard {figure.check}, {figure.name}", figure.value
    for name, finding in _findings(result):
        yield from ((f"{name}, {what}", value) for what, value in _of(finding) if value is not None)


def _of(finding: Finding) -> Named:
    yield "probability", finding.probability
    for item in finding.measurements:
        yield f"{item.name} in {item.unit}", item.value
        yield from ((f"{item.name}, {end}", at) for end, at in zip(("from", "to"), item.interval or (), strict=False))
    region = finding.region
    if region is None:
        return
    for what in ("area_px", "area_mm2", "perimeter_px", "perimeter_mm"):
        yield what, getattr(region, what)
    for what in ("box", "centroid"):
        yield from ((f"{what}[{at}]", value) for at, value in enumerate(getattr(region, what) or ()))


def _outlines(result: Result) -> Named:
    for name, finding in _findings(result):
        if finding.region is not None:
            yield f"{name}, outlines in pixels", finding.region.contours


def _heats(result: Result) -> Named:
    for name, finding in _findings(result):
        if finding.heat is not None:
            yield f"{name}, heat, values", finding.heat.values


def _heat_apart(one: Cells, other: Cells) -> float:
    """The largest difference of two cells, as a part of the largest that was; all of it where they are no pairs."""
    if [len(row) for row in one] != [len(row) for row in other]:
        return 1.0
    differences = [abs(a - b) for before, now in zip(one, other, strict=True) for a, b in zip(before, now, strict=True)]
    return max(differences, default=0.0) / (max((max(row) for row in one), default=0.0) or 1.0)


def _findings(result: Result) -> Iterator[tuple[str, Finding]]:
    """Each by a name that is its own."""
    named = (
        (f"{item.kind} {item.label}" + (f" of frame {item.frame_number}" if item.frame_number else ""), item)
        for item in result.findings
    )
    yield from _numbered(named).items()


def _coded(concept: Concept | None) -> str | None:
    return f"{concept.scheme} {concept.code} ({concept.meaning})" if concept else None


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "absent" if value is None else str(value)
