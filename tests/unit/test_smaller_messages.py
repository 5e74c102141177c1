"""A result that is too long for a broker: each smaller form is a result, says what is missing, and denies nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

from edgeai.api.heat import Heat
from edgeai.api.results import (
    Concept,
    EngineRef,
    Finding,
    GuardFigure,
    InstanceIds,
    ModelRef,
    Note,
    Outcome,
    Region,
    Result,
)
from edgeai.sinks.smaller import smaller, smallest

SCHEMA = json.loads((files("edgeai") / "schemas" / "result-2.json").read_text(encoding="utf-8"))


def result(*, contours: bool = True, guard: bool = True, regions: bool = True) -> Result:
    outline = tuple((float(n), float(n * n % 97)) for n in range(500)) if contours else ()
    region = Region(
        area_px=400.0, box=(1.0, 2.0, 30.0, 40.0), centroid=(9.0, 9.0), parts=1, contours=(outline,) if outline else ()
    )
    return Result(
        result_id="80277ee5-5f72-8c9f-b392-846e173da119",
        deployment="guard",
        outcome=Outcome.COMPLETED,
        model=ModelRef(name="m", version="1.0.0", digest="sha256:" + "0" * 64),
        instance=InstanceIds(
            sop_class_uid="1.2", sop_instance_uid="1.3", series_instance_uid="1.4", study_instance_uid="1.5"
        ),
        created_at="2026-01-01T00:00:00.000Z",
        edgeai_version="0.2.0",
        findings=(
            Finding(
                kind="segment",
                label="head",
                present=True,
                probability=0.9,
                concept=Concept(code="1", scheme="SCT", meaning="Köpfchen"),
                region=region if regions else None,
            ),
            Finding(kind="class", label="none", present=False, probability=0.1),
        ),
        notes=(Note(code="header.ignored", text="something"),),
        guard=(GuardFigure(check="content", name="levels", value=3.0),) if guard else (),
        engine=EngineRef(backend="b", engine="e", device="CPU", artifact="a", precision="fp32"),
        timings_ms={"run": 1.0, "total": 2.0},
    )


def wire(whole: Result) -> bytes:
    return json.dumps({**whole.as_dict(), "site": "lab", "device_id": "cart"}).encode()


def without_what_may_go(body: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in body.items() if name not in ("timings_ms", "guard", "notes")}
    kept["findings"] = [
        {name: value for name, value in finding.items() if name != "region"} for finding in body["findings"]
    ]
    return kept


def test_each_form_is_smaller_a_result_and_makes_the_same_statements() -> None:
    whole = wire(result())
    forms = list(smaller(whole))
    assert len(forms) == 4
    sizes = [len(whole), *map(len, forms)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)
    for form in forms:
        body = json.loads(form)
        jsonschema.Draft202012Validator(SCHEMA).validate(body)
        assert Result.from_dict(body).outcome is Outcome.COMPLETED
        assert without_what_may_go(body) == without_what_may_go(json.loads(whole))


def test_what_is_left_out_is_said_in_the_notes_and_earlier_notes_stay() -> None:
    blanks, timings, contours, regions = (json.loads(form) for form in smaller(wire(result())))
    assert blanks == json.loads(wire(result()))
    assert [note["code"] for note in timings["notes"]] == ["header.ignored"]
    assert timings["timings_ms"] == {}
    for form in (contours, regions):
        assert [note["code"] for note in form["notes"]] == ["header.ignored", "result.contours-omitted"]
    assert contours["findings"][0]["region"] == {**blanks["findings"][0]["region"], "contours": []}
    assert contours["guard"] == blanks["guard"]
    assert "region" not in regions["findings"][0]
    assert regions["guard"] == []


def test_figures_alone_have_a_note_of_their_own() -> None:
    *_, last = (json.loads(form) for form in smaller(wire(result(regions=False))))
    assert [note["code"] for note in last["notes"]] == ["header.ignored", "result.figures-omitted"]


@pytest.mark.parametrize("guard", [True, False])
def test_heat_goes_with_what_is_drawn_and_that_is_said(guard: bool) -> None:
    whole = result(regions=False, guard=guard)
    heat = Heat(name="error", values=((1.0, 2.0),), box=(0.0, 0.0, 4.0, 2.0), frame_number=1)
    heated = replace(whole, findings=(replace(whole.findings[0], heat=heat),))
    *_, drawn, last = (json.loads(form) for form in smaller(wire(heated)))
    for form in (drawn, last) if guard else (last,):
        assert "heat" not in form["findings"][0]
        assert [note["code"] for note in form["notes"]] == ["header.ignored", "result.contours-omitted"]


def test_where_there_is_nothing_to_leave_out_nothing_is_said() -> None:
    forms = [json.loads(form) for form in smaller(wire(result(regions=False, guard=False)))]
    assert len(forms) == 2
    assert all([note["code"] for note in form["notes"]] == ["header.ignored"] for form in forms)


@pytest.mark.slow
def test_a_result_of_schema_1_says_so_too() -> None:
    body = json.loads(wire(result()))
    for name in ("notes", "guard", "attempt", "frames_total", "frames_run", "attachments"):
        del body[name]
    forms = [json.loads(form) for form in smaller(json.dumps({**body, "schema": 1}).encode())]
    assert [note["code"] for note in forms[-1]["notes"]] == ["result.contours-omitted"]
    assert "guard" not in forms[-1]


@pytest.mark.parametrize("body", [b"", b"\xff", b"[1, 2]", b'"text"', b"12"])
def test_what_is_no_object_has_no_smaller_form(body: bytes) -> None:
    assert list(smaller(body)) == []
    assert smallest(body) is None


@pytest.mark.parametrize(
    "body", [{"kind": "a.b", "facts": {"n": 1}}, {"findings": "none"}, {"findings": [1]}, {"findings": None}]
)
def test_of_what_is_no_result_only_the_blanks_go(body: dict[str, Any]) -> None:
    assert [json.loads(form) for form in smaller(json.dumps(body).encode())] == [body]
