"""One result of every kind that a picture is made of, and frames to go with them; drawn here, of no patient."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from edgeai.api import (
    Concept,
    Degradation,
    EngineRef,
    Failure,
    Finding,
    Frame,
    Geometry,
    Grayscale,
    GuardFigure,
    Heat,
    InstanceIds,
    InstanceRef,
    Measurement,
    ModelRef,
    Note,
    Outcome,
    Region,
    Result,
    SignerRef,
    UltrasoundRegion,
    Window,
)

ENGINE = EngineRef(backend="tflite", engine="ai-edge-litert 2.3.0", device="CPU", artifact="a", precision="int8")
BASE = Result(
    result_id="254e54b9-ebb0-8a71-a5ee-0c3118c60c22",
    deployment="",
    outcome=Outcome.COMPLETED,
    model=ModelRef(name="chest-findings", version="1.0.0", digest="sha256:" + "0" * 64),
    instance=InstanceIds(
        sop_class_uid="1", sop_instance_uid="1", series_instance_uid="1", study_instance_uid="1", modality="DX"
    ),
    created_at="2026-01-02T03:04:05.678Z",
    edgeai_version="0.2.0",
    findings=(Finding(kind="class", label="x", present=True, probability=0.9),),
    frames_total=1,
    frames_run=1,
    engine=ENGINE,
    timings_ms={"header": 0.5, "transform": 1.0, "total": 24.31},
)


def scored(label: str, probability: float, threshold: float | None = 0.5, **more: Any) -> Finding:
    """A label with its score; present where it reaches its threshold."""
    present = more.pop("present", threshold is None or probability >= threshold)
    return Finding(kind="class", label=label, present=present, probability=probability, threshold=threshold, **more)


def boxed(label: str, box: tuple[float, float, float, float], score: float, **more: Any) -> Finding:
    """A place that is known by its box alone, in source pixels; ``unit`` of its sides, of 0.2 mm a pixel."""
    x0, y0, x1, y1 = box
    unit = more.pop("unit", "mm")
    scale = 0.2 if unit == "mm" else 1.0
    area = (x1 - x0) * (y1 - y0)
    region = {"area_px": area, "area_mm2": area * 0.04, "box": box, "frame_number": 1, **more.pop("region", {})}
    sides = (("width", x1 - x0), ("height", y1 - y0))
    return Finding(
        kind="detect",
        label=label,
        present=True,
        probability=score,
        threshold=0.5,
        region=Region(**region),
        measurements=tuple(Measurement(name=name, value=side * scale, unit=unit) for name, side in sides),
        **more,
    )


def segment(label: str, centre: tuple[float, float], radius: float, **more: Any) -> Finding:
    """A round area in source pixels."""
    turns = [2 * math.pi * step / 48 for step in range(48)]
    contour = tuple((centre[0] + radius * math.cos(turn), centre[1] + radius * math.sin(turn)) for turn in turns)
    region = {
        "area_px": math.pi * radius**2,
        "perimeter_px": 2 * math.pi * radius,
        "box": (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius),
        "parts": 1,
        "contours": (contour,),
        "frame_number": 1,
        **more.pop("region", {}),
    }
    return Finding(
        kind="segment",
        label=label,
        present=True,
        threshold=0.5,
        region=Region(**region),
        **{"probability": 0.94, **more},
    )


def anomaly(score: float, bound: float = 0.9) -> tuple[Finding, Finding]:
    """Usual and unusual by a score, of which a quarter of the image has most."""
    cells = tuple(tuple(score * (2.8 if row < 4 and column < 4 else 0.4) for column in range(8)) for row in range(8))
    heat = Heat(name="error", values=cells, box=(10.0, 0.0, 190.0, 150.0), frame_number=1, bound=bound)
    measured = (Measurement(name="score", value=score, unit="1"), Measurement(name="threshold", value=bound, unit="1"))
    usual = Finding(kind="anomaly", label="usual", present=score <= bound, measurements=measured)
    return usual, replace(usual, label="unusual", present=score > bound, heat=heat)


def withheld(outcome: Outcome, code: str, message: str, remedy: str | None = None, **more: Any) -> Result:
    """No findings, and why."""
    reason = Failure(code=code, message=message, remedy=remedy)
    return replace(BASE, outcome=outcome, findings=(), reason=reason, **more)


LABELS = ("pneumonia", "effusion", "nodule", "mass", "atelectasis", "cardiomegaly", "oedema", "fracture", "hernia")

RESULTS: dict[str, Result] = {
    "completed": replace(BASE, findings=(scored("pneumonia", 0.931), scored("effusion", 0.042))),
    "negative": replace(BASE, findings=(scored("pneumonia", 0.021), scored("effusion", 0.004))),
    "one negative": replace(BASE, findings=(scored("pneumonia", 0.021),)),
    "just above": replace(BASE, findings=(scored("pneumonia", 0.534),)),
    "just below": replace(BASE, findings=(scored("pneumonia", 0.467), scored("effusion", 0.004))),
    "binary": replace(BASE, findings=(scored("pneumonia", 0.56), scored("normal", 0.44))),
    "highest of three": replace(
        BASE,
        findings=(
            scored("ap", 0.97, None),
            scored("pa", 0.02, None, present=False),
            scored("ll", 0.01, None, present=False),
        ),
    ),
    "closely before": replace(
        BASE,
        findings=(
            scored("ap", 0.5, None),
            scored("pa", 0.45, None, present=False),
            scored("ll", 0.05, None, present=False),
        ),
    ),
    "disagrees": replace(
        BASE,
        findings=(
            scored("ultrasound", 0.99, None),
            scored("radiograph", 0.01, None, present=False),
            Finding(kind="agreement", label="modality", present=False, probability=0.01, threshold=0.5),
        ),
    ),
    "nothing to compare": replace(
        BASE,
        findings=(
            scored("ultrasound", 0.99, None),
            Finding(kind="agreement", label="body_part_examined", present=False),
        ),
    ),
    "many labels": replace(
        BASE,
        findings=tuple(scored(label, 0.9 - 0.09 * place, 0.1 + 0.05 * place) for place, label in enumerate(LABELS)),
    ),
    "long words": replace(
        BASE,
        model=ModelRef(
            name="a-model-with-a-name-of-the-length-that-a-slug-may-have-at-most-64", version="1.0.0", digest="d"
        ),
        findings=(
            scored("Verschattung im linken Unterlappen, am ehesten entzündlich µ ≥ 3 日本", 0.93),
            scored("w" * 120, 0.2),
        ),
    ),
    "segment": replace(
        BASE,
        findings=(segment("fetal head", (100, 80), 40, region={"area_mm2": 6241.0, "perimeter_mm": 283.9}),),
    ),
    "segments": replace(
        BASE,
        findings=(
            segment("left lung", (50, 70), 30, region={"area_mm2": 61.0, "perimeter_mm": 28.9, "parts": 2}),
            segment("right lung with a label of many words", (120, 70), 30, probability=0.87),
            segment("heart", (85, 110), 22, probability=0.58),
            segment("spine", (85, 60), 8, probability=0.9, region={"frame_number": 7}),
            Finding(kind="segment", label="tube", present=False, threshold=0.5, region=Region(area_px=0.0)),
        ),
        frames_total=30,
        frames_run=16,
    ),
    "nothing outlined": replace(
        BASE,
        findings=(Finding(kind="segment", label="head", present=False, threshold=0.5, region=Region(area_px=0.0)),),
    ),
    "boxes": replace(
        BASE,
        findings=(
            boxed("lesion", (40, 60, 90, 100), 0.87),
            boxed("lesion", (110, 30, 150, 60), 0.52, region={"area_mm2": None}, unit="{pixels}"),
            Finding(kind="detect", label="clip", present=False, probability=0.12, threshold=0.5),
        ),
    ),
    "measured": replace(
        BASE,
        findings=(
            scored(
                "femur",
                0.9,
                measurements=(
                    Measurement(name="length", value=41.27, unit="mm", interval=(39.9, 42.6)),
                    Measurement(name="angle", value=12.0, unit="deg"),
                ),
            ),
        ),
    ),
    "qualified": replace(
        BASE,
        findings=(
            scored(
                "fracture",
                0.93,
                codes=(Concept(code="7771000", scheme="SCT", meaning="Left"),),
                notes=(Note(code="acme.cast", text="a cast lies over it"),),
            ),
            scored("effusion", 0.04),
        ),
    ),
    "a number alone": replace(
        BASE,
        findings=(
            Finding(
                kind="gauge",
                label="radius",
                present=True,
                measurements=(
                    Measurement(name="radius", value=5.313, unit="mm", interval=(4.9, 5.7)),
                    Measurement(name="contrast", value=0.5, unit="1"),
                ),
            ),
        ),
    ),
    "numbers": replace(
        BASE,
        findings=tuple(
            Finding(
                kind="gauge",
                label=label,
                present=present,
                measurements=(Measurement(name="area", value=2, unit="mm2"),),
            )
            for label, present in (("left", True), ("right", True), ("middle", False))
        ),
    ),
    "usual": replace(BASE, findings=anomaly(0.61)),
    "unusual": replace(BASE, findings=anomaly(2.38)),
    "no number": replace(BASE, findings=(Finding(kind="gauge", label="radius", present=False),)),
    "signed": replace(
        BASE,
        model=replace(
            BASE.model, signers=(SignerRef(name="release-2026", key_id="k"), SignerRef(name="clinic", key_id="l"))
        ),
        attempt=2,
    ),
    "degraded": replace(
        BASE,
        degraded=Degradation(wished="openvino on GPU.0", because=("openvino: no device GPU.0 is there; it has CPU",)),
    ),
    "notes": replace(
        BASE,
        notes=(
            Note(
                code="dicom.ignored-value",
                text="WindowCenter (0028,1050) has values without a width; they were not used",
            ),
            Note(code="input.frames-sampled", text="16 of 60 frames were run"),
            *(Note(code="dicom.too-long", text=f"note {number} of a header with much to note") for number in range(7)),
        ),
        frames_total=60,
        frames_run=16,
    ),
    "not applicable": withheld(
        Outcome.NOT_APPLICABLE,
        "input.not-eligible",
        "modality is US, the model wants CR or DX",
        engine=None,
        frames_run=0,
    ),
    "indeterminate": withheld(
        Outcome.INDETERMINATE,
        "guard.content",
        "the image holds too little to judge",
        guard=(
            GuardFigure(check="content", name="share of equal pixels", value=0.982, threshold=0.9, withheld=True),
            GuardFigure(check="distance", name="Mahalanobis", value=3.1, threshold=9.0),
        ),
    ),
    "failed": withheld(
        Outcome.FAILED,
        "backend.failed",
        "the engine stopped: out of memory on the device",
        "give it a smaller batch",
        frames_run=0,
    ),
    "failed early": withheld(
        Outcome.FAILED,
        "pixels.short",
        "Pixel Data has 8130 bytes, the dimensions need 8192",
        "have the sender send it again",
        engine=None,
        frames_total=None,
        frames_run=None,
        timings_ms={"total": 0.7},
    ),
}


def frame(rows: int = 150, columns: int = 200, *, number: int = 1, level: int | None = None, **geometry: Any) -> Frame:
    """A drawn frame: rings and noise, or one level."""
    y, x = np.mgrid[0:rows, 0:columns] + 0.5
    radius = np.hypot((x - columns / 2) / columns, (y - rows / 2) / rows)
    noise = np.random.default_rng(7).normal(0, 12, (rows, columns))
    pixels = np.full((rows, columns), level or 0) if level is not None else 128 + 90 * np.cos(14 * radius) + noise
    return Frame(
        pixels=np.clip(pixels, 0, 255).astype(np.uint8),
        number=number,
        geometry=Geometry(source_rows=rows, source_columns=columns, **geometry),
        instance=InstanceRef(
            sop_class_uid="1.2", sop_instance_uid="1.2.3", modality="DX", view_position="PA", rows=rows, columns=columns
        ),
        grayscale=Grayscale(windows=(Window(center=128.0, width=256.0),)),
    )


FRAMES: dict[str, Frame | None] = {
    "usual": frame(pixel_spacing_mm=(0.5, 0.5), spacing_from="pixel-spacing"),
    "tiny": frame(16, 16, pixel_spacing_mm=(0.143, 0.143), spacing_from="imager-pixel-spacing"),
    "large": frame(2400, 3000),
    "narrow": frame(600, 60, pixel_spacing_mm=(0.5, 0.5), spacing_from="nominal-scanned-pixel-spacing"),
    "low": frame(20, 900),
    "one pixel": frame(1, 1),
    "region": frame(
        regions=(UltrasoundRegion(min_x0=20, min_y0=30, max_x1=180, max_y1=120, delta_x_mm=0.2, delta_y_mm=0.2),)
    ),
    "none": None,
}
