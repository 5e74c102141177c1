"""What a run says: findings only when it completed, else a code and a reason.

Nothing here can look like a negative unless a model ran to its end (DESIGN decision 5); the
constructors hold that, so no caller can build a misleading result by accident.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from edgeai.api.errors import EdgeaiError

RESULT_SCHEMA = 1
"""Number of the JSON form; ``edgeai/schemas/result-1.json`` describes it."""


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

    Millimetres are there where Pixel Spacing, or an ultrasound region that holds it, calibrates it, else ``None``.

    Attributes:
        area_px: in pixels of the source image; 0 when nothing was found.
        area_mm2: in square millimetres.
        perimeter_px: length of its outlines, those of holes included, in pixels of the source image.
        perimeter_mm: the same in millimetres.
        box: (x0, y0, x1, y1), the pixels' outer edges; ``None`` when nothing was found.
        centroid: mean of its pixels' centres; ``None`` when nothing was found.
        parts: how many pieces it has, of which ``contours`` may leave out the smallest.
        contours: closed polygons, simplified. Filled by the even-odd rule: one inside another is a hole.
        frame_number: the frame that it lies in, from 1.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One statement about an instance or one of its frames.

    Attributes:
        kind: ``class`` (a label of a classifier), ``segment`` (where the label is) or ``agreement`` (does the image
            fit its header?). Later minors add kinds; a reader skips those it does not know.
        label: the model's word.
        probability: calibrated, 0 to 1; of a ``segment`` the mean inside; ``None`` where there is none.
        threshold: the bound that ``present`` was decided by, or ``None``.
        present: whether the statement is made (True) or denied (False).
        concept: the label's code, where the card gives one.
        frame_number: from 1, or ``None`` when the statement is about the whole instance.
        region: where, of a kind that says so; the JSON form leaves it out where there is none.
    """

    kind: str
    label: str
    present: bool
    probability: float | None = None
    threshold: float | None = None
    concept: Concept | None = None
    frame_number: int | None = None
    region: Region | None = None


Findings: TypeAlias = tuple[Finding, ...]


class Outcome(StrEnum):
    """How a run ended. Only ``COMPLETED`` carries findings."""

    COMPLETED = "completed"
    NOT_APPLICABLE = "not-applicable"
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
    """The identifiers that leave the device: the UIDs themselves, or an HMAC of each."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    modality: str = ""
    hashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All of a run.

    Attributes:
        result_id: the same for every retry of the same (instance, bundle, deployment).
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
    findings: Findings = ()
    reason: Failure | None = None
    engine: EngineRef | None = None
    degraded: Degradation | None = None
    timings_ms: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
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
        body["model"]["signers"] = list(body["model"]["signers"])
        body["timings_ms"] = {stage: round(value, 3) for stage, value in self.timings_ms.items()}
        return {"schema": RESULT_SCHEMA, **body, "outcome": str(self.outcome)}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Result:
        """What ``as_dict`` made, or a message that holds it; keys that are not ours are ignored.

        Raises:
            ValueError: another schema, or a result that the constructor refuses.
        """
        if body.get("schema") != RESULT_SCHEMA:
            raise ValueError(f"result schema {body.get('schema')!r}, this edgeai reads {RESULT_SCHEMA}")
        known: dict[str, Any] = {name: body[name] for name in cls.__slots__ if name in body}
        nested: dict[str, Callable[..., Any]] = {
            "model": _model,
            "instance": InstanceIds,
            "reason": Failure,
            "engine": EngineRef,
        }
        for name, kind in nested.items():
            known[name] = kind(**known[name]) if known.get(name) else None
        if known.get("degraded"):
            degraded = known["degraded"]
            known["degraded"] = Degradation(wished=degraded["wished"], because=tuple(degraded["because"]))
        known["outcome"] = Outcome(known["outcome"])
        known["findings"] = tuple(_finding(item) for item in known.get("findings", ()))
        return cls(**known)


def _model(signers: Sequence[Mapping[str, Any]] = (), **known: Any) -> ModelRef:
    return ModelRef(signers=tuple(SignerRef(**signer) for signer in signers), **known)


def _finding(body: Mapping[str, Any]) -> Finding:
    known: dict[str, Any] = {name: body[name] for name in Finding.__slots__ if name in body}
    concept, region = known.get("concept"), known.get("region")
    known["concept"] = Concept(**concept) if concept else None
    known["region"] = _region(region) if region else None
    return Finding(**known)


def _region(body: Mapping[str, Any]) -> Region:
    known: dict[str, Any] = {name: body[name] for name in Region.__slots__ if name in body}
    for name in ("box", "centroid"):
        known[name] = tuple(known[name]) if known.get(name) else None
    known["contours"] = tuple(tuple((x, y) for x, y in contour) for contour in known.get("contours", ()))
    return Region(**known)
