"""The ellipse of a shape: its circumference and axes, and how far they are from the true ones."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgeai.api import Frame, FrameContext, Geometry, MaskTask, TaskFailed, TaskRequest, TensorSpec
from edgeai.testing.examples import instance_ref
from edgeai_tasks.segment import SPEC
from edgeai_tasks.segment.ellipse import Ellipse, of_source
from edgeai_tasks.segment.judge import Masks, PackedMask, SegmentJudge
from edgeai_tasks.segment.options import SegmentOptions
from edgeai_tasks.sizes import size_of
from edgeai_tasks.weighted import weighted_median

SIDE = 128
OUTPUT = TensorSpec(name="out", dtype="float32", shape=(1, SIDE, SIDE, 1), layout="NHWC")
Mask = npt.NDArray[np.bool_]


def _filled(rows: int, columns: int, long: float, short: float, degrees: float = 0.0) -> Mask:
    """Axes from end to end, about the middle."""
    y, x = np.mgrid[0:rows, 0:columns] + 0.5
    x, y = x - columns / 2, y - rows / 2
    turn = math.radians(degrees)
    along, beside = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    return np.hypot(along / (long / 2), beside / (short / 2)) < 1


def _perimeter(long: float, short: float) -> float:
    """By the integral itself."""
    at = (np.arange(100_000) + 0.5) * (math.pi / 2 / 100_000)
    return float(4 * np.hypot(long / 2 * np.sin(at), short / 2 * np.cos(at)).mean() * math.pi / 2)


@pytest.mark.parametrize("degrees", [0, 30, 90, 135])
@pytest.mark.parametrize(("long", "short"), [(80, 60), (70, 70), (90, 30)])
def test_a_filled_ellipse_has_its_own_axes_whichever_way_it_lies(long: float, short: float, degrees: float) -> None:
    ellipse = of_source(_filled(128, 128, long, short, degrees), None)
    assert ellipse is not None
    assert (ellipse.long, ellipse.short) == pytest.approx((long, short), rel=0.01)
    assert ellipse.circumference == pytest.approx(_perimeter(long, short), rel=0.01)


def test_rows_and_columns_of_other_millimetres_are_measured_in_them() -> None:
    ellipse = of_source(_filled(100, 200, 160, 40), (0.5, 0.25))  # 40 mm wide, 20 mm high
    assert ellipse is not None
    assert (ellipse.long, ellipse.short) == pytest.approx((40, 20), rel=0.01)


@pytest.mark.parametrize("mask", [np.ones((1, 1), bool), np.ones((1, 9), bool), np.eye(5, dtype=bool)])
def test_a_pixel_and_a_line_have_an_ellipse(mask: Mask) -> None:
    ellipse = of_source(mask, None)
    assert ellipse is not None
    assert 0 < ellipse.short <= ellipse.long
    assert 2 * ellipse.long <= ellipse.circumference <= math.pi * ellipse.long * 1.001


def test_nothing_has_none() -> None:
    assert of_source(np.zeros((4, 4), bool), None) is None


def test_a_bay_moves_it_little() -> None:
    mask = _filled(128, 128, 80, 60)
    mask[60:68, 94:] = False
    ellipse = of_source(mask, None)
    assert ellipse is not None
    assert ellipse.circumference == pytest.approx(_perimeter(80, 60), rel=0.03)


def _context(geometry: Geometry) -> FrameContext:
    pixels = np.zeros((SIDE, SIDE), np.float32)
    return FrameContext(
        frame=Frame(pixels=pixels, number=1, geometry=geometry, instance=instance_ref()), instance=instance_ref()
    )


def _geometry(rows: int, columns: int, spacing: tuple[float, float] | None = None) -> Geometry:
    whole = Geometry(source_rows=rows, source_columns=columns, pixel_spacing_mm=spacing)
    return whole.scaled(columns / SIDE, rows / SIDE)


def _task(**options: Any) -> MaskTask:
    task = SPEC.build(TaskRequest(options={"labels": ["head"], **options}, outputs=(OUTPUT,)))
    assert isinstance(task, MaskTask)
    return task


def _outputs(mask: Mask) -> dict[str, npt.NDArray[np.float32]]:
    return {"out": np.where(mask, 0.9, 0.1).astype(np.float32)[np.newaxis, ..., np.newaxis]}


@pytest.mark.parametrize(("rows", "columns"), [(128, 128), (540, 800), (90, 70)])
def test_a_finding_is_measured_in_millimetres_of_the_source(rows: int, columns: int) -> None:
    spacing = (100 / rows, 100 / columns)  # the map covers 100 x 100 mm
    findings = _task(ellipse=True).interpret(
        _outputs(_filled(SIDE, SIDE, 96, 64)), _context(_geometry(rows, columns, spacing))
    )
    values = {m.name: m.value for m in findings[0].measurements}
    assert {m.unit for m in findings[0].measurements} == {"mm"}
    wanted = {"circumference": _perimeter(75, 50), "long axis": 75.0, "short axis": 50.0}
    assert values == pytest.approx(wanted, rel=0.012)


def test_without_spacing_it_is_measured_in_pixels() -> None:
    (finding,) = _task(ellipse=True).interpret(_outputs(_filled(SIDE, SIDE, 60, 30)), _context(_geometry(256, 256)))
    assert [m.unit for m in finding.measurements] == ["{pixels}"] * 3
    assert finding.measurements[1].value == pytest.approx(120, rel=0.02)


def test_who_does_not_ask_gets_none_and_a_head_that_is_not_there_has_none() -> None:
    context = _context(_geometry(128, 128))
    (finding,) = _task().interpret(_outputs(_filled(SIDE, SIDE, 60, 30)), context)
    assert finding.measurements == ()
    (finding,) = _task(ellipse=True).interpret(_outputs(np.zeros((SIDE, SIDE), bool)), context)
    assert (finding.present, finding.measurements) == (False, ())


def _ragged(long: float, short: float, degrees: float = 0.0) -> Mask:
    """An ellipse whose edge runs in and out by a tenth of its radius, fourteen times."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] + 0.5 - SIDE / 2
    turn = math.radians(degrees)
    along, beside = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    edge = 1 + 0.1 * np.sin(14 * np.arctan2(beside, along))
    return np.hypot(along / (long / 2), beside / (short / 2)) < edge


def _overlap(one: Mask, other: Mask) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize("degrees", [0, 30, 120])
@pytest.mark.parametrize(("rows", "columns"), [(128, 128), (540, 800)])
def test_an_ellipse_takes_the_place_of_a_ragged_mask(rows: int, columns: int, degrees: float) -> None:
    whole = _filled(SIDE, SIDE, 84, 60, degrees)
    outputs, context = _outputs(_ragged(84, 60, degrees)), _context(_geometry(rows, columns))
    wanted = _task().masks(_outputs(whole), context)["head"]
    free, round_ = (_task(shape=shape, largest_component=True) for shape in ("free", "ellipse"))
    was, now = (_overlap(task.masks(outputs, context)["head"], wanted) for task in (free, round_))
    assert now > was + 0.03
    assert now > 0.985
    (finding,) = round_.interpret(outputs, context)
    assert finding.region is not None
    assert finding.region.parts == 1
    assert finding.region.area_px == round_.masks(outputs, context)["head"].sum()


def test_the_contour_of_an_ellipse_lies_on_it() -> None:
    context = _context(_geometry(SIDE, SIDE))
    task = _task(shape="ellipse")
    (finding,) = task.interpret(_outputs(_ragged(90, 50)), context)
    ellipse = of_source(task.masks(_outputs(_ragged(90, 50)), context)["head"], None)
    assert finding.region is not None
    assert ellipse is not None
    (ring,) = finding.region.contours
    x, y = np.array(ring).T
    off = [abs(float(ellipse.margin(x[i : i + 1], y[i : i + 1])[0, 0])) * ellipse.short / 2 for i in range(len(x))]
    assert max(off) < 0.75
    assert finding.region.perimeter_px == pytest.approx(ellipse.circumference, rel=0.01)


def test_an_ellipse_claims_nothing_that_the_model_did_not_see() -> None:
    # The model saw the left half of the source alone; a disc is cut by its right edge.
    whole = Geometry(source_rows=128, source_columns=256)
    seen = whole.scaled(1.0, 1.0)
    half = _filled(SIDE, 2 * SIDE - 40, 90, 90)[:, :SIDE]
    task = _task(shape="ellipse")
    mask = task.masks(_outputs(half), _context(seen))["head"]
    assert mask[:, 100:128].any()
    assert not mask[:, 128:].any()


@pytest.mark.parametrize("mask", [np.zeros((SIDE, SIDE), bool), np.eye(SIDE, dtype=bool) & (np.arange(SIDE) == 40)])
def test_nothing_and_a_speck_stay_what_they_are(mask: Mask) -> None:
    context = _context(_geometry(SIDE, SIDE))
    free, round_ = (_task(shape=shape).masks(_outputs(mask), context)["head"] for shape in ("free", "ellipse"))
    np.testing.assert_array_equal(free, round_)


@pytest.mark.parametrize(
    "options",
    [
        {"shape": "round"},
        {"shape": True},
        {"shape": "ellipse", "mode": "multi-class", "labels": ["rest", "head"], "activation": "softmax"},
    ],
)
def test_shapes_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    channels = len(options.get("labels", ["head"]))
    output = TensorSpec(name="out", dtype="float32", shape=(1, SIDE, SIDE, channels), layout="NHWC")
    with pytest.raises(TaskFailed, match="shape") as refused:
        SPEC.build(TaskRequest(options={"labels": ["head"], **options}, outputs=(output,)))
    assert refused.value.code == "task.options"


@pytest.mark.parametrize(
    "options",
    [
        {"ellipse": 1},
        {"ellipse": True, "sizes": 100.0},
        {"ellipse": True, "sizes": [200.0, 100.0]},
        {"ellipse": True, "sizes": [100.0, 100.0]},
        {"ellipse": True, "sizes": [0.0]},
        {"sizes": [100.0]},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(TaskFailed, match=r"ellipse|sizes") as refused:
        _task(**options)
    assert refused.value.code == "task.options"


def test_sizes_have_words() -> None:
    words = [size_of(value, (100.0, 200.0), "mm") for value in (0, 99.9, 100, 199, 200, 900)]
    assert words == [*["under 100 mm"] * 2, *["100 to 200 mm"] * 2, *["from 200 mm"] * 2]
    assert size_of(40, (55.5,), "mm") == "under 55.5 mm"


def _judged(truths: list[Mask], answers: list[Mask], *, sizes: list[float] | None = None) -> tuple[Any, list[Any]]:
    options = SegmentOptions.read({"labels": ["head"], "ellipse": True, "sizes": sizes or []})
    judge = SegmentJudge(options, OUTPUT, _task(ellipse=True))
    rows, columns = truths[0].shape
    context = _context(_geometry(rows, columns, (0.5, 0.5)))
    cases: list[Any] = [
        SimpleNamespace(id=str(n), context=context, truth=SimpleNamespace(load=lambda m=mask: m.astype(np.uint8)))
        for n, mask in enumerate(truths)
    ]
    masks = [Masks({"head": bool(mask.any())}, {"head": PackedMask.of(mask)}) for mask in answers]
    return {f.name: f for f in judge.judged(cases, masks).figures}, [judge.subgroups(case) for case in cases]


def test_the_median_error_is_of_circumferences_and_what_is_missed_is_off_by_all_of_it() -> None:
    truths = [_filled(200, 200, long, long) for long in (60, 80, 100)]
    answers = [_filled(200, 200, 66, 66), np.zeros((200, 200), bool), _filled(200, 200, 100, 100)]
    figures, _ = _judged(truths, answers)
    error, percent = figures["circumference_error"], figures["circumference_percent"]
    assert (error.unit, error.better, percent.unit, percent.better) == ("mm", "lower", "%", "lower")
    assert error.value() == pytest.approx(math.pi * 3, rel=0.05)
    assert percent.value() == pytest.approx(10, rel=0.05)
    missed = percent.over(np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
    assert missed == pytest.approx([100, 10, 10], rel=0.05)


def test_samples_are_told_apart_by_the_true_size() -> None:
    truths = [_filled(200, 200, 50, 50), _filled(200, 200, 150, 150), np.zeros((200, 200), bool)]
    _, groups = _judged(truths, truths, sizes=[100.0])
    assert groups == [{"size": "under 100 mm"}, {"size": "from 100 mm"}, {}]


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_a_weighted_median_is_that_of_the_samples_repeated(count: int) -> None:
    random = np.random.default_rng(count)
    values, weights = random.random(count), random.integers(0, 4, (20, count)).astype(float)
    weights[weights.sum(axis=1) == 0] = 1.0
    wanted = [np.median(np.repeat(values, row.astype(int))) for row in weights]
    np.testing.assert_allclose(weighted_median(values, weights), wanted)


def test_an_ellipse_says_what_it_measured() -> None:
    names = [(m.name, m.unit) for m in Ellipse(centre=(0.0, 0.0), spread=(1.0, 0.25, 0.0)).measurements("mm")]
    assert names == [("circumference", "mm"), ("long axis", "mm"), ("short axis", "mm")]
