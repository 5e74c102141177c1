"""What regress says on a cart: values in their units, by the image's own spacing, or why there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeai.api import (
    ComparingTask,
    EdgeaiError,
    Finding,
    Findings,
    FrameContext,
    Geometry,
    Indeterminate,
    NotApplicable,
    TaskFailed,
    TaskRequest,
    TensorSpec,
    UltrasoundRegion,
)
from edgeai.testing.examples import example_frame, instance_ref
from edgeai_tasks.regress import SPEC
from edgeai_tasks.regress.task import Regress

ROWS, COLUMNS = 96, 128
OUTPUT = TensorSpec(name="y", dtype="float32", shape=(1, 1))
HEAD = {"name": "head", "unit": "mm", "low": 40, "high": 400, "same": 3, "per": "source-pixel"}


def _task(intervals: Any = None, **changes: Any) -> Regress:
    options = {"values": [{**HEAD, **changes}], "intervals": intervals or {}}
    task = SPEC.build(TaskRequest(options=options, outputs=(OUTPUT,)))
    assert isinstance(task, Regress)
    return task


def _seen(number: int = 1, **geometry: Any) -> FrameContext:
    facts: dict[str, Any] = {"source_rows": ROWS, "source_columns": COLUMNS, "pixel_spacing_mm": (0.5, 0.5)}
    frame = example_frame(rows=ROWS, columns=COLUMNS, number=number, geometry=Geometry(**{**facts, **geometry}))
    return FrameContext(frame=frame, instance=instance_ref())


def _says(task: Regress, output: float, context: FrameContext | None = None) -> Finding:
    [finding] = task.interpret({"y": np.array([[output]], np.float32)}, context or _seen())
    return finding


def _region(left: int, right: int, mm: float | None, **changes: Any) -> UltrasoundRegion:
    ends = {"min_x0": left, "min_y0": 0, "max_x1": right, "max_y1": ROWS - 1}
    return UltrasoundRegion(**ends, delta_x_mm=mm, delta_y_mm=mm, data_type=1, spatial_format=1, **changes)


def test_pixels_of_the_source_become_millimetres_by_its_spacing() -> None:
    finding = _says(_task(), 400.0)
    assert (finding.kind, finding.label, finding.present, finding.frame_number) == ("value", "head", True, 1)
    [measured] = finding.measurements
    assert (measured.name, measured.value, measured.unit, measured.interval) == ("head", 200.0, "mm", None)


@pytest.mark.parametrize(
    ("changes", "geometry", "wanted"),
    [
        ({"unit": "cm", "low": 4, "high": 40}, {}, 20.0),
        ({"unit": "{pixels}", "high": 500}, {"pixel_spacing_mm": None}, 400.0),
        ({"per": "none"}, {"pixel_spacing_mm": None}, 400.0),
        ({"per": "none", "scale": 100, "offset": -39900}, {}, 100.0),
        ({"per": "model-pixel"}, {"affine": (0.5, 0, 3, 0, 0.5, 1)}, 100.0),
        ({"per": "model-pixel"}, {"affine": (0, 0.5, 0, -0.5, 0, ROWS)}, 100.0),
        # a step that makes pixels of other sides square again
        ({"per": "model-pixel"}, {"affine": (1, 0, 0, 0, 2, 0), "pixel_spacing_mm": (0.25, 0.5)}, 200.0),
        ({"unit": "mm2"}, {"pixel_spacing_mm": (0.5, 1.0)}, 200.0),
        ({"unit": "cm2", "low": 0}, {}, 1.0),
        ({"unit": "mm2", "per": "model-pixel"}, {"affine": (2, 0, 0, 0, 0.5, 0)}, 100.0),
        ({}, {"pixel_spacing_mm": (0.5, 0.502)}, 200.4),
        ({}, {"regions": (_region(0, COLUMNS - 1, 0.25),)}, 100.0),
    ],
)
def test_a_value_is_in_its_unit(changes: dict[str, Any], geometry: dict[str, Any], wanted: float) -> None:
    finding = _says(_task(**changes), 400.0, _seen(**geometry))
    assert finding.measurements[0].value == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "geometry", "code"),
    [
        ({}, {"pixel_spacing_mm": None}, "task.no-spacing"),
        ({}, {"spacing_from": "imager-pixel-spacing"}, "task.no-spacing"),
        ({"unit": "mm2"}, {"pixel_spacing_mm": None}, "task.no-spacing"),
        ({}, {"regions": (_region(0, 63, 0.5), _region(64, COLUMNS - 1, 0.25))}, "task.no-spacing"),
        ({}, {"pixel_spacing_mm": None, "regions": (_region(0, 40, 0.5),)}, "task.no-spacing"),
        ({}, {"pixel_spacing_mm": None, "regions": (_region(0, COLUMNS - 1, None),)}, "task.no-spacing"),
        ({}, {"pixel_spacing_mm": (0.5, 0.55)}, "task.unequal-spacing"),
        ({"per": "model-pixel"}, {"affine": (1, 0, 0, 0, 2, 0)}, "task.unequal-spacing"),
        ({"per": "model-pixel", "unit": "{pixels}"}, {"affine": (1, 0, 0, 0, 2, 0)}, "task.unequal-spacing"),
    ],
)
def test_where_no_length_is_known_nothing_is_stated(
    changes: dict[str, Any], geometry: dict[str, Any], code: str
) -> None:
    with pytest.raises(TaskFailed) as caught:
        _says(_task(**changes), 400.0, _seen(**geometry))
    assert caught.value.code == code
    assert caught.value.remedy


def test_what_the_model_did_not_see_does_not_count() -> None:
    other = _region(64, COLUMNS - 1, 0.25)
    cut = _seen(regions=(_region(0, 63, 0.5), other)).frame.geometry.scaled(0.5, 1.0)
    frame = replace(_seen().frame, geometry=cut)
    assert _says(_task(), 400.0, FrameContext(frame=frame, instance=instance_ref())).measurements[0].value == 200.0


def test_padding_is_not_of_another_size() -> None:
    geometry = Geometry(
        source_rows=ROWS, source_columns=COLUMNS, pixel_spacing_mm=(0.5, 0.5), regions=(_region(0, COLUMNS - 1, 0.25),)
    )
    frame = example_frame(rows=COLUMNS, columns=COLUMNS, geometry=geometry.cropped(0.0, -16.0))
    assert _says(_task(), 400.0, FrameContext(frame=frame, instance=instance_ref())).measurements[0].value == 100.0


@pytest.mark.parametrize("output", [79.0, 801.0, -400.0])
def test_what_is_not_plausible_is_denied_with_its_number_and_never_clamped(output: float) -> None:
    task = _task({"head": {"coverage": 0.9, "half": 4}})
    finding = _says(task, output)
    assert not finding.present
    assert finding.measurements[0].value == output / 2
    assert finding.measurements[0].interval is None
    with pytest.raises(Indeterminate, match=r"head would be .* mm, and is plausible from 40 to 400") as caught:
        task.summarise([(finding,)], instance_ref())
    assert caught.value.code == "task.out-of-range"
    assert caught.value.remedy
    [figure] = caught.value.figures
    assert (figure.check, figure.name, figure.value, figure.withheld) == ("range", "head", output / 2, True)
    assert figure.threshold == (400 if output > 800 else 40)


@pytest.mark.parametrize(
    ("ends", "kind"), [("indeterminate", Indeterminate), ("not-applicable", NotApplicable), ("failed", TaskFailed)]
)
def test_the_options_say_how_an_image_ends_whose_value_is_not_plausible(ends: str, kind: type[EdgeaiError]) -> None:
    task = SPEC.build(TaskRequest(options={"values": [HEAD], "out_of_range": ends}, outputs=(OUTPUT,)))
    findings = task.interpret({OUTPUT.name: np.array([[2.0]], np.float32)}, _seen())
    with pytest.raises(EdgeaiError) as caught:
        task.summarise([findings], instance_ref())
    assert (type(caught.value), caught.value.code) == (kind, "task.out-of-range")


def test_an_interval_is_about_the_value_and_by_its_size() -> None:
    task = _task({"head": {"coverage": 0.9, "half": [3, 5]}}, sizes=[200])
    assert _says(task, 380.0).measurements[0].interval == (187.0, 193.0)
    assert _says(task, 400.0).measurements[0].interval == (195.0, 205.0)
    assert _says(_task({"head": {"coverage": 0.9, "half": 4}}, sizes=[200]), 400.0).measurements[0].interval == (
        196.0,
        204.0,
    )


def _frames(task: Regress, *outputs: float) -> list[Findings]:
    return [(_says(task, output, _seen(number)),) for number, output in enumerate(outputs, 1)]


def test_of_several_frames_the_one_in_the_middle_speaks_of_those_that_are_plausible() -> None:
    task = _task({"head": {"coverage": 0.9, "half": 4}})
    [finding] = task.summarise(_frames(task, 500, 2, 300, 400, 5000, 380), instance_ref())
    assert (finding.frame_number, finding.present) == (None, True)
    assert (finding.measurements[0].value, finding.measurements[0].interval) == (190.0, (186.0, 194.0))


def test_where_most_frames_are_not_plausible_none_speaks() -> None:
    task = _task()
    assert task.summarise(_frames(task, 500, 2), instance_ref())[0].measurements[0].value == 250.0
    with pytest.raises(Indeterminate, match=r"head would be 2 mm in 2 of 3 frames, and is plausible from 40") as caught:
        task.summarise(_frames(task, 500, 4, 6), instance_ref())
    assert caught.value.code == "task.out-of-range"


def test_frames_are_listed_where_they_state_something() -> None:
    options = {"values": [HEAD], "per_frame": True}
    task = SPEC.build(TaskRequest(options=options, outputs=(OUTPUT,)))
    assert isinstance(task, Regress)
    findings = task.summarise(_frames(task, 500, 2, 300), instance_ref())
    assert [finding.frame_number for finding in findings] == [None, 1, 3]


@pytest.mark.parametrize("frames", [[], [()], [(Finding(kind="value", label="foot", present=True),)]])
def test_frames_that_do_not_speak_of_every_value_are_refused(frames: list[Findings]) -> None:
    with pytest.raises(TaskFailed) as caught:
        _task().summarise(frames, instance_ref())
    assert caught.value.code == "task.no-frames"


@pytest.mark.parametrize(
    ("one", "other", "differs"),
    [
        (400, 404, ""),
        (400, 408, "head is 204 mm in place of 200 mm"),
        (400, 2, "head is stated no longer"),
        (2, 400, "head is stated"),
        (2, 4, ""),
    ],
)
def test_two_models_agree_where_the_decision_is_the_same(one: float, other: float, differs: str) -> None:
    task = _task()
    assert isinstance(task, ComparingTask)
    first, second = ((replace(_says(task, output), frame_number=None),) for output in (one, other))
    assert task.difference(first, second) == differs


def test_values_in_other_units_or_of_other_names_differ() -> None:
    task = _task()
    finding = replace(_says(task, 400.0), frame_number=None)
    inches = replace(finding, measurements=(replace(finding.measurements[0], unit="[in_i]"),))
    assert task.difference((finding,), (inches,)) == "head is 200 [in_i] in place of 200 mm"
    assert task.difference((finding,), (replace(finding, label="foot"),)) == "head is stated no longer"


def test_whole_numbers_are_read_by_scale_and_offset() -> None:
    output = TensorSpec(name="y", dtype="int8", shape=(1, 1))
    value = {**HEAD, "per": "none", "scale": 2, "offset": 256}
    task = SPEC.build(TaskRequest(options={"values": [value]}, outputs=(output,)))
    [finding] = task.interpret({"y": np.array([[-28]], np.int8)}, _seen())
    assert finding.measurements[0].value == 200.0


def test_several_values_fail_together_where_one_is_not_plausible() -> None:
    values = [{**HEAD, "name": name} for name in ("head", "abdomen")]
    output = TensorSpec(name="y", dtype="float32", shape=(1, 2))
    task = SPEC.build(TaskRequest(options={"values": values}, outputs=(output,)))
    findings = task.interpret({"y": np.array([[400.0, 2.0]], np.float32)}, _seen())
    assert [finding.present for finding in findings] == [True, False]
    with pytest.raises(Indeterminate, match="abdomen would be 1 mm"):
        task.summarise([findings], instance_ref())
