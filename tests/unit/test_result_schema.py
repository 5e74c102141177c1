"""The published JSON form of a result: real results fit it, and what would mislead does not."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgeai.api import (
    Attachment,
    Concept,
    Degradation,
    EngineRef,
    Failure,
    Finding,
    GuardFigure,
    Heat,
    InstanceIds,
    Measurement,
    ModelRef,
    Note,
    Outcome,
    Region,
    Result,
)
from edgeai.model import open_model, result_id
from edgeai.model.schema1 import as_schema_1
from edgeai.plugins import Registry
from edgeai.testing.fakes import Misbehaviour

SCHEMA = json.loads((files("edgeai") / "schemas" / "result-2.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
ENGINE = EngineRef(backend="tflite", engine="ai-edge-litert 2.3.0", device="CPU", artifact="a", precision="fp32")
FULL = Result(
    result_id=result_id("1.2.3", "sha256:" + "0" * 64, "ward"),
    deployment="ward",
    outcome=Outcome.COMPLETED,
    model=ModelRef(name="m", version="1.0.0", digest="sha256:" + "0" * 64),
    instance=InstanceIds(
        sop_class_uid="1.2", sop_instance_uid="1.2.3", series_instance_uid="1.2", study_instance_uid="1", modality="CR"
    ),
    created_at="2026-01-02T03:04:05.678Z",
    edgeai_version="0.1.0",
    findings=(
        Finding(
            kind="class",
            label="radiograph",
            present=True,
            probability=0.9,
            threshold=0.5,
            concept=Concept(code="RG", scheme="DCM", meaning="Radiographic imaging"),
        ),
        Finding(kind="agreement", label="modality", present=False, frame_number=3),
    ),
    engine=ENGINE,
    degraded=Degradation(wished="openvino", because=("openvino: its engine is not installed",)),
    timings_ms={"decode": 1.23456, "total": 2.0},
)
FAILED: dict[str, Any] = {
    **json.loads(json.dumps(FULL.as_dict())),
    "outcome": "failed",
    "findings": [],
    "reason": {"code": "dicom.truncated", "message": "It ends early.", "remedy": None},
}


def wire(result: Result) -> dict[str, Any]:
    """Over the wire and back, as a receiver sees it."""
    body: dict[str, Any] = json.loads(json.dumps(result.as_dict()))
    return body


@pytest.mark.parametrize("name", ["result-1", "result-2", "event-1", "status-1"])
def test_the_schemas_are_schemas_and_open(name: str) -> None:
    schema = json.loads((files("edgeai") / "schemas" / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)

    def is_open(node: Any) -> None:
        if isinstance(node, dict):
            assert node.get("additionalProperties") is not False
            for value in node.values():
                is_open(value)

    is_open(schema)


def test_a_full_result_fits_and_survives_the_round_trip() -> None:
    body = wire(FULL)
    VALIDATOR.validate(body)
    assert Result.from_dict(body) == replace(FULL, timings_ms=body["timings_ms"])
    assert body["findings"][0]["concept"]["code"] == "RG"
    assert body["timings_ms"]["decode"] == 1.235
    VALIDATOR.validate(FAILED)


REGION = Region(
    area_px=12.0,
    area_mm2=0.48,
    perimeter_px=13.9,
    perimeter_mm=2.8,
    box=(1.0, 2.0, 5.0, 5.0),
    centroid=(3.0, 3.5),
    parts=1,
    contours=(((1.0, 2.0), (5.0, 2.0), (3.0, 5.0)),),
    frame_number=4,
)
SEGMENT = Finding(kind="segment", label="head", present=True, probability=0.8, threshold=0.5, region=REGION)


def test_a_region_fits_and_survives_the_round_trip() -> None:
    nowhere = replace(SEGMENT, present=False, region=Region(area_px=0.0))
    result = replace(FULL, findings=(SEGMENT, nowhere), timings_ms={"total": 2.0})
    body = wire(result)
    VALIDATOR.validate(body)
    assert Result.from_dict(body) == result
    assert hash(Result.from_dict(body).findings) == hash(result.findings)


HEAT = Heat(name="error", values=((0.0, 0.5), (1.0, 2.0)), box=(-1.0, 0.0, 5.0, 5.0), frame_number=4, bound=0.8)
ANOMALY = Finding(kind="anomaly", label="unusual", present=True, heat=HEAT)


def test_heat_fits_and_survives_the_round_trip_and_schema_1_has_none() -> None:
    result = replace(FULL, findings=(ANOMALY, replace(ANOMALY, heat=replace(HEAT, bound=None))))
    body = wire(result)
    VALIDATOR.validate(body)
    assert Result.from_dict(body).findings == result.findings
    assert hash(Result.from_dict(body).findings) == hash(result.findings)
    assert all("heat" not in finding for finding in as_schema_1(result)["findings"])


@pytest.mark.parametrize("change", [{"values": []}, {"values": [[]]}, {"values": [[-1]]}, {"box": [1]}, {"name": ""}])
def test_heat_that_cannot_be_does_not_fit(change: dict[str, Any]) -> None:
    body = wire(replace(FULL, findings=(ANOMALY,)))
    body["findings"][0]["heat"] |= change
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(body)


def test_findings_without_a_region_look_as_they_always_did() -> None:
    later = {"region", "measurements", "codes", "notes", "heat"}
    assert all(later.isdisjoint(finding) for finding in wire(FULL)["findings"])
    assert Result.from_dict(wire(FULL)).findings == FULL.findings


def test_a_reader_ignores_keys_of_a_later_edgeai() -> None:
    body = wire(replace(FULL, findings=(SEGMENT,)))
    body["findings"][0]["colour"] = "red"
    body["findings"][0]["region"]["volume_mm3"] = 1.0
    assert Result.from_dict(body).findings == (SEGMENT,)


@pytest.mark.parametrize(
    "change",
    [{"area_px": -1}, {"box": [1, 2, 3]}, {"contours": [[[0, 0], [1, 1]]]}, {"centroid": [1]}, {"parts": -1}],
)
def test_a_region_that_cannot_be_does_not_fit(change: dict[str, Any]) -> None:
    body = wire(replace(FULL, findings=(SEGMENT,)))
    body["findings"][0]["region"] |= change
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(body)


RICH = replace(
    FULL,
    attempt=3,
    findings=(
        replace(
            SEGMENT,
            measurements=(
                Measurement(name="axis", value=31.5, unit="mm", interval=(30.0, 33.0)),
                Measurement(name="ratio", value=0.8, unit="1", concept=Concept(code="1", scheme="DCM", meaning="r")),
            ),
            codes=(Concept(code="7771000", scheme="SCT", meaning="Left"),),
            notes=(Note(code="acme.cast", text="a cast lies over it"),),
        ),
    ),
    notes=(Note(code="input.frames-sampled", text="16 of 60 frames were run"),),
    frames_total=60,
    frames_run=16,
    guard=(GuardFigure(check="content", name="grey levels", value=200.0, threshold=16.0),),
    attachments=(Attachment(digest="sha256:" + "a" * 64, name="mask", media_type="image/png", size_bytes=10),),
    timings_ms={"total": 2.0},
)


def test_all_that_schema_2_brings_fits_and_survives_the_round_trip() -> None:
    VALIDATOR.validate(wire(RICH))
    assert Result.from_dict(wire(RICH)) == RICH


def test_indeterminate_is_no_completed_result() -> None:
    body = wire(replace(RICH, outcome=Outcome.INDETERMINATE, findings=(), reason=Failure(code="guard.x", message="?")))
    VALIDATOR.validate(body)
    assert Result.from_dict(body).outcome is Outcome.INDETERMINATE
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(body | {"findings": wire(FULL)["findings"]})


def test_a_reader_of_schema_1_reads_what_it_knows_and_never_takes_indeterminate_for_a_negative() -> None:
    old = jsonschema.Draft202012Validator(
        json.loads((files("edgeai") / "schemas" / "result-1.json").read_text(encoding="utf-8"))
    )
    unsure = replace(RICH, outcome=Outcome.INDETERMINATE, findings=(), reason=Failure(code="guard.x", message="?"))
    for result in (FULL, RICH, unsure):
        body = json.loads(json.dumps(as_schema_1(result)))
        old.validate(body)
        assert all({"measurements", "codes", "notes"}.isdisjoint(finding) for finding in body["findings"])
        assert Result.from_dict(body).model == result.model
    assert as_schema_1(unsure)["outcome"] == "failed"
    with pytest.raises(jsonschema.ValidationError):
        old.validate(wire(RICH))  # the number tells an old reader that it does not know this form


def test_in_schema_1_each_attempt_has_an_id_of_its_own_since_its_readers_know_no_attempts() -> None:
    ids = [as_schema_1(replace(RICH, attempt=attempt))["result_id"] for attempt in (1, 2, 2, 3)]
    assert ids[0] == RICH.result_id
    assert ids[1] == ids[2]
    assert len(set(ids)) == 3


def test_keys_that_nobody_knows_are_ignored_everywhere() -> None:
    body = wire(RICH)

    def add_keys(node: Any) -> None:
        for value in node.values() if isinstance(node, dict) else node:
            if isinstance(value, dict | list):
                add_keys(value)
        if isinstance(node, dict) and node is not body.get("timings_ms"):
            node["of-a-later-version"] = {"x": 1}

    add_keys(body)
    VALIDATOR.validate(body)
    assert Result.from_dict(body) == RICH


def test_a_schema_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="schema 3"):
        Result.from_dict(wire(FULL) | {"schema": 3})


def test_a_message_says_where_it_comes_from() -> None:
    VALIDATOR.validate({**wire(FULL), "site": "north", "device_id": "cart-7"})
    VALIDATOR.validate({**wire(FULL), "file": "a.dcm"})
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({**wire(FULL), "site": "north"})


@pytest.mark.parametrize(
    "change",
    [
        {"findings": []},
        {"reason": FAILED["reason"]},
        {"engine": None},
        {"outcome": "failed"},
        {"outcome": "negative"},
        {"schema": 1},
        {"attempt": 0},
        {"attempt": "1"},
        {"notes": [{"code": "input.frames-sampled"}]},
        {"notes": [{"code": "no point", "text": "x"}]},
        {"frames_run": -1},
        {"attachments": [{"digest": "latest", "name": "mask", "media_type": "image/png", "size_bytes": 3}]},
        {"guard": [{"check": "content", "name": "levels", "value": "many", "threshold": None, "withheld": False}]},
        {"schema": "1"},
        {"created_at": "2026-01-02 03:04:05"},
        {"created_at": "2026-01-02T03:04:05+01:00"},
        {"result_id": "1.2.3"},
        {"findings": [{**FULL.as_dict()["findings"][0], "probability": 1.2}]},
        {"findings": [{**FULL.as_dict()["findings"][0], "frame_number": 0}]},
        {"findings": [{**FULL.as_dict()["findings"][0], "measurements": [{"name": "axis", "value": 3}]}]},
        {"findings": [{**FULL.as_dict()["findings"][0], "notes": [{"code": "no point", "text": "x"}]}]},
        {"findings": [{**FULL.as_dict()["findings"][0], "codes": [{"code": "1", "scheme": "SCT"}]}]},
        {"findings": [{**FULL.as_dict()["findings"][0], "codes": []}]},
        {"model": {"name": "m", "version": "1", "digest": "latest"}},
        {"degraded": {"wished": "x", "because": []}},
        {"timings_ms": {"total": -1}},
        {"timings_ms": {"Total": 1}},
        {"instance": {**FULL.as_dict()["instance"], "content": "sha256:short"}},
    ],
)
def test_what_a_completed_result_may_not_be(change: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({**wire(FULL), **change})


@pytest.mark.parametrize(
    "change",
    [
        {"reason": None},
        {"findings": FULL.as_dict()["findings"]},
        {"outcome": "completed"},
        {"reason": {"code": "oops", "message": "m", "remedy": None}},
        {"reason": {"code": "a.b", "message": "", "remedy": None}},
        {"reason": {"code": "a.b", "message": "m"}},
    ],
)
def test_what_a_failed_result_may_not_be(change: dict[str, Any]) -> None:
    body = copy.deepcopy(FAILED)
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({**body, **change})


@pytest.mark.parametrize("field", sorted(FULL.as_dict()))
def test_every_field_is_always_there(field: str) -> None:
    body = wire(FULL)
    del body[field]
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(body)


def test_results_of_real_runs_fit(
    fakes: Registry, make_bundle: Callable[..., Path], make_dicom: Callable[..., Path], tmp_path: Path
) -> None:
    bundle = make_bundle(misbehave=Misbehaviour(how="nan", mean_above=0.9))
    paths = [
        make_dicom("good.dcm", level=100),
        make_dicom("cine.dcm", level=1, frames=5),
        make_dicom("bad.dcm", level=255),
        make_dicom("other.dcm", Modality="US"),
        tmp_path / "missing.dcm",
    ]
    with open_model(bundle, backends=("fake-absent", "fake-works"), registry=fakes, cache_dir=tmp_path / "c") as model:
        results = [model.run_file(path, deployment="ward") for path in paths]
    assert [str(result.outcome) for result in results] == [
        "completed",
        "completed",
        "failed",
        "not-applicable",
        "failed",
    ]
    for result in results:
        VALIDATOR.validate(wire(result))


def test_a_result_that_would_mislead_cannot_even_be_built() -> None:
    reason = Failure(code="a.b", message="m")
    for wrong in (
        {"findings": ()},
        {"reason": reason},
        {"engine": None},
        {"outcome": Outcome.FAILED},
        {"outcome": Outcome.FAILED, "reason": reason},
        {"outcome": Outcome.NOT_APPLICABLE, "findings": ()},
    ):
        fields = {name: getattr(FULL, name) for name in FULL.__dataclass_fields__}
        with pytest.raises(ValueError):
            Result(**{**fields, **wrong})
