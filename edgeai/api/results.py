"""What a run says: findings only when it completed, else a code and a reason.

Nothing here can look like a negative unless a model ran to its end (DESIGN decision 5); the
constructors hold that, so no caller can build a misleading result by accident.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from edgeai.api.errors import EdgeaiError
from edgeai.api.heat import Heat

RESULT_SCHEMA = 2
"""Number of the JSON form; ``edgeai/schemas/result-2.json`` describes it."""

READABLE_SCHEMAS = (1, 2)
"""Numbers of the JSON forms that ``Result.from_dict`` reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concept:
    """A coded concept, as a DICOM code sequence item (PS3.3 8): SNOMED CT is ``SCT``, RadLex ``RADLEX``."""

    code: str
    scheme: str
    meaning: str


Point: TypeAlias = tuple[float, float]
"""(x, y) in pixels of the source image; (0, 0) is the outer corner of its first pixel (see ``Geometry``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Where in the source image, and how large.

    Millimetres are there where something calibrates it that the model may use, else ``None``.

    Attributes:
        area_px: in pixels of the source image; 0 when nothing was found.
        area_mm2: in square millimetres.
        perimeter_px: length of its outlines, those of holes included, in pixels of the source image.
        perimeter_mm: the same in millimetres.
        box: (x0, y0, x1, y1), the pixels' outer edges; ``None`` when nothing was found.
        centroid: mean of its pixels' centres; ``None`` when nothing was found.
        parts: how many pieces it has, of which ``contours`` may leave out the smallest.
        contours: closed polygons, simplified. Filled by the even-odd rule: one inside another is a hole. None of a
            place that is known by its box alone: its area is the box's, it has no perimeter, and it is drawn as a box.
        frame_number: the frame that it lies in, from 1.
        spacing_from: where its millimetres come from, out of ``edgeai.api.SPACINGS``; ``None`` where it has none.
    """

    area_px: float
    area_mm2: float | None = None
    perimeter_px: float = 0.0
    perimeter_mm: float | None = None
    box: tuple[float, float, float, float] | None = None
    centroid: Point | None = None
    parts: int = 0
    contours: tuple[tuple[Point, ...], ...] = ()
    frame_number: int | None = None
    spacing_from: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A number that belongs to a finding.

    Attributes:
        name: what was measured, in the model's word.
        value: the number.
        unit: as UCUM writes it (``mm``, ``mm2``, ``1`` for a plain number).
        interval: (low, high) in the same unit, where the model states one; its coverage stands in the report.
        concept: what was measured, as a code, where the card gives one.
    """

    name: str
    value: float
    unit: str
    interval: tuple[float, float] | None = None
    concept: Concept | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something that a reader of the result should know and that did not stop the run.

    Attributes:
        code: stable, ``<area>.<what>``; ``docs/reference/errors.md`` lists those of edgeai.
        text: one sentence without patient data.
    """

    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One statement about an instance or one of its frames.

    Attributes:
        kind: ``class`` (a label of a classifier), ``segment`` (where the label is), ``detect`` (one thing of the
            label, by its box), ``value`` (how large it is), ``anomaly`` (is the image as those of training?) or
            ``agreement`` (does the image fit its header?). Later
            minors add kinds; a reader skips those it does not know.
        label: the model's word.
        probability: 0 to 1, with the card's temperature where it gives one; of a ``segment`` the mean inside, of
            a box its score; ``None`` where there is none.
        threshold: the bound that ``present`` was decided by, or ``None``.
        present: whether the statement is made (True) or denied (False).
        concept: the label's code, where the card gives one.
        frame_number: from 1, or ``None`` when the statement is about the whole instance.
        region: where, of a kind that says so; the JSON form leaves it out where there is none.
        measurements: numbers that belong to it; the JSON form leaves them out where there are none.
        codes: what qualifies it beside the label's ``concept`` (a side, a severity, a site), as codes (since 1.4).
        notes: what a reader of this very statement should know (since 1.4). The JSON form leaves both out where there
            are none.
        heat: what it was made of, place by place, of a kind that has it (since 1.4); likewise.
    """

    kind: str
    label: str
    present: bool
    probability: float | None = None
    threshold: float | None = None
    concept: Concept | None = None
    frame_number: int | None = None
    region: Region | None = None
    measurements: tuple[Measurement, ...] = ()
    codes: tuple[Concept, ...] = ()
    notes: tuple[Note, ...] = ()
    heat: Heat | None = None


Findings: TypeAlias = tuple[Finding, ...]


class Outcome(StrEnum):
    """How a run ended. Only ``COMPLETED`` carries findings.

    ``INDETERMINATE`` means that the model ran and makes no statement; it is no negative.
    """

    COMPLETED = "completed"
    NOT_APPLICABLE = "not-applicable"
    INDETERMINATE = "indeterminate"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why there are no findings: a stable code (see ``edgeai.api.errors``) and one sentence."""

    code: str
    message: str
    remedy: str | None = None

    @classmethod
    def of(cls, error: EdgeaiError) -> Failure:
        """The same three facts that the error carries."""
        return cls(code=error.code, message=str(error), remedy=error.remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardFigure:
    """What a check in front of the model measured, whether it let the image pass or not.

    Attributes:
        check: which check (``content``, ``guard-model``, ``distance``, ``abstention``; ``requires`` of what the profile
            wants another deployment to have said first).
        name: the figure's name.
        value: the figure.
        threshold: the bound that it was held to, or ``None``.
        withheld: whether this figure kept the model from speaking.
    """

    check: str
    name: str
    value: float
    threshold: float | None = None
    withheld: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that a result carries, named by its content.

    Attributes:
        digest: ``sha256:<hex>`` of its bytes.
        name: what it is called.
        media_type: as RFC 6838 has it (``image/png``).
        size_bytes: its length.
    """

    digest: str
    name: str
    media_type: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerRef:
    """A trusted key that signed a bundle: ``name`` is what this device calls it, ``key_id`` what it is."""

    name: str
    key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """Exactly which model: ``digest`` is ``sha256:<hex>`` of the bundle's manifest, which names every byte of it.

    ``signers`` are the trusted keys whose signatures were checked when it was opened; none where none were asked for.
    """

    name: str
    version: str
    digest: str
    signers: tuple[SignerRef, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRef:
    """Exactly what computed it: ``artifact`` is the id in the manifest, ``device`` as the engine names it."""

    backend: str
    engine: str
    """The engine with its version, e.g. ``ai-edge-litert 2.3.0``."""
    device: str
    artifact: str
    precision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradation:
    """What was wished for first, and why it was not taken."""

    wished: str
    because: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceIds:
    """The identifiers that leave the device: the UIDs themselves, or an HMAC of each.

    Attributes:
        content: ``sha256:<hex>`` over the transfer syntax UID and the data set's bytes, or its HMAC; empty where it
            was not computed (``edgeai infer``, and images that were received by edgeai 0.1).
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    modality: str = ""
    hashed: bool = False
    content: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All of a run.

    Attributes:
        result_id: the same for every retry of the same (instance, content, bundle, deployment).
        attempt: from 1; an image that failed and is done again keeps the result id and raises this. Receivers
            deduplicate by (``result_id``, ``attempt``); the highest attempt counts.
        notes: what a reader should know beside the findings, or beside the reason.
        frames_total, frames_run: how many frames the instance has, and how many of them the model saw; ``None``
            where that is not known (its header could not be read).
        guard: figures of the checks in front of the model.
        attachments: files that belong to the result.
        timings_ms: stage -> milliseconds of wall clock; ``total`` is first to last.
        created_at: RFC 3339, UTC.

    Raises:
        ValueError: findings without a completed run, or a run that did not complete without a reason.
    """

    result_id: str
    deployment: str
    outcome: Outcome
    model: ModelRef
    instance: InstanceIds
    created_at: str
    edgeai_version: str
    attempt: int = 1
    findings: Findings = ()
    reason: Failure | None = None
    notes: tuple[Note, ...] = ()
    frames_total: int | None = None
    frames_run: int | None = None
    guard: tuple[GuardFigure, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    engine: EngineRef | None = None
    degraded: Degradation | None = None
    timings_ms: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.attempt < 1:
            raise ValueError("attempts are counted from 1")
        if self.outcome is Outcome.COMPLETED:
            if not self.findings or self.reason is not None or self.engine is None:
                raise ValueError("a completed result has findings and an engine, and no reason")
        elif self.findings or self.reason is None:
            raise ValueError(f"a result that is {self.outcome} has a reason and no findings")

    def as_dict(self) -> dict[str, Any]:
        """The JSON form (schema ``RESULT_SCHEMA``): plain dicts, lists, strings and numbers."""
        body = asdict(self)
        for finding in body["findings"]:
            if finding["region"] is None:  # so that kinds without a place look as they did before there were places
                del finding["region"]
            for name in ("measurements", "codes", "notes", "heat"):
                if not finding[name]:
                    del finding[name]
        for name in ("findings", "notes", "guard", "attachments"):
            body[name] = list(body[name])
        if body["degraded"] is not None:
            body["degraded"]["because"] = list(body["degraded"]["because"])
        body["model"]["signers"] = list(body["model"]["signers"])
        body["timings_ms"] = {stage: round(value, 3) for stage, value in self.timings_ms.items()}
        return {"schema": RESULT_SCHEMA, **body, "outcome": str(self.outcome)}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Result:
        """What ``as_dict`` made, now or in an earlier schema, or a message that holds it. Unknown keys are ignored.

        Raises:
            ValueError: a schema that is not known, or a result that the constructor refuses.
        """
        if body.get("schema") not in READABLE_SCHEMAS:
            raise ValueError(f"result schema {body.get('schema')!r}, this edgeai reads {READABLE_SCHEMAS}")
        known = {name: value for name, value in body.items() if name in cls.__slots__}
        readers: dict[str, Callable[[Any], Any]] = {
            "outcome": Outcome,
            "model": _model,
            "instance": _reader(InstanceIds),
            "reason": _optional(_reader(Failure)),
            "engine": _optional(_reader(EngineRef)),
            "degraded": _optional(lambda item: Degradation(wished=item["wished"], because=tuple(item["because"]))),
            "findings": _each(_finding),
            "notes": _each(_reader(Note)),
            "guard": _each(_reader(GuardFigure)),
            "attachments": _each(_reader(Attachment)),
        }
        return cls(**{name: readers[name](value) if name in readers else value for name, value in known.items()})


def _known(kind: Any, body: Mapping[str, Any]) -> dict[str, Any]:
    """What of ``body`` the dataclass knows: a later version may say more."""
    return {name: body[name] for name in kind.__slots__ if name in body}


def _reader(kind: Any) -> Callable[[Mapping[str, Any]], Any]:
    return lambda body: kind(**_known(kind, body))


def _optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


def _each(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    return lambda values: tuple(read(value) for value in values)


def _model(body: Mapping[str, Any]) -> ModelRef:
    known = _known(ModelRef, body)
    return ModelRef(**{**known, "signers": _each(_reader(SignerRef))(known.get("signers", ()))})


def _finding(body: Mapping[str, Any]) -> Finding:
    known = _known(Finding, body)
    known["concept"] = _optional(_reader(Concept))(known.get("concept"))
    known["region"] = _optional(_region)(known.get("region"))
    known["measurements"] = _each(_measurement)(known.get("measurements", ()))
    known["codes"] = _each(_reader(Concept))(known.get("codes", ()))
    known["notes"] = _each(_reader(Note))(known.get("notes", ()))
    known["heat"] = _optional(Heat.read)(known.get("heat"))
    return Finding(**known)


def _measurement(body: Mapping[str, Any]) -> Measurement:
    known = _known(Measurement, body)
    known["concept"] = _optional(_reader(Concept))(known.get("concept"))
    known["interval"] = _optional(tuple)(known.get("interval"))
    return Measurement(**known)


def _region(body: Mapping[str, Any]) -> Region:
    known = _known(Region, body)
    for name in ("box", "centroid"):
        known[name] = tuple(known[name]) if known.get(name) else None
    known["contours"] = tuple(tuple((x, y) for x, y in contour) for contour in known.get("contours", ()))
    return Region(**known)
