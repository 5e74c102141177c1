"""How good values are: each figure against what its definition gives, and what is no answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeai.api import (
    HIGHER,
    LOWER,
    Case,
    ConfigError,
    DataRejected,
    EvaluationFailed,
    FigureUndefined,
    Finding,
    FrameContext,
    Geometry,
    Judge,
    TaskFailed,
    TaskRequest,
    TensorSpec,
)
from edgeai.testing.conformance.judge import ExampleCells
from edgeai.testing.examples import example_frame, instance_ref
from edgeai_tasks.regress import SPEC
from edgeai_tasks.regress.figures import NAMES, Measured, icc
from edgeai_tasks.regress.judge import Stated
from edgeai_tasks.regress.truth import TrueValues

OUTPUT = TensorSpec(name="y", dtype="float32", shape=(1, 1))
VALUE = {"name": "head", "unit": "mm", "low": 20, "high": 440, "same": 3, "sizes": [100, 200]}
CONTEXT = FrameContext(frame=example_frame(), instance=instance_ref())
TRUTH = (60.0, 90.0, 150.0, 199.0, 260.0, 300.0)
ANSWERS = (61.0, 88.0, 155.0, 199.5, 258.0, 900.0)


def _judge(**changes: Any) -> Judge:
    options = {"values": [{**VALUE, **changes}]}
    assert SPEC.judge is not None
    return SPEC.judge(TaskRequest(options=options, outputs=(OUTPUT,)))


def _case(true: float, context: FrameContext = CONTEXT) -> Case:
    return Case(id=f"sample-{true:g}", truth=TrueValues((true,)), context=context, image=lambda: CONTEXT.frame.pixels)


def _stated(value: float, half: float | None = None, *, present: bool = True) -> Stated:
    interval = None if half is None else (value - half, value + half)
    return Stated(("head",), (value,), (present,), (interval,))


def _figures(*answers: Stated, truth: tuple[float, ...] = TRUTH) -> dict[str, Any]:
    judged = _judge().judged([_case(true) for true in truth], answers)
    return {figure.name: figure for figure in judged.figures}


def _answered(half: float | None = 2.0) -> dict[str, Any]:
    return _figures(*(_stated(a, half, present=a < 440) for a in ANSWERS))


def test_figures_are_what_their_definitions_give() -> None:
    error = np.array([1.0, -2.0, 5.0, 0.5, -2.0])
    figures = _answered()
    assert tuple(figures) == NAMES
    wanted = {
        "mae": np.abs(error).mean(),
        "median_error": 2.0,
        "bias": 0.5,
        "limit_low": error.mean() - 1.96 * error.std(ddof=1),
        "limit_high": error.mean() + 1.96 * error.std(ddof=1),
        "within": 4 / 6,
        "stated": 5 / 6,
        "interval_coverage": 4 / 5,
        "interval_width": 4.0,
    }
    for name, value in wanted.items():
        assert figures[name].value() == pytest.approx(value), name


def test_an_intraclass_correlation_is_that_of_the_analysis_of_variance() -> None:
    random = np.random.default_rng(2)
    truth = random.normal(100, 10, 12)
    answers = truth + random.normal(2, 3, 12)
    table = np.stack((truth, answers), axis=1)
    count, raters = table.shape
    rows, columns = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    between = raters * ((rows - table.mean()) ** 2).sum() / (count - 1)
    across = count * ((columns - table.mean()) ** 2).sum() / (raters - 1)
    error = ((table - rows - columns + table.mean()) ** 2).sum() / ((count - 1) * (raters - 1))
    wanted = (between - error) / (between + (raters - 1) * error + raters * (across - error) / count)
    assert icc(truth, answers, np.ones((1, count)))[0] == pytest.approx(wanted)
    assert icc(truth, truth, np.ones((1, count)))[0] == pytest.approx(1.0)
    assert icc(truth, truth + 30, np.ones((1, count)))[0] < 0.5  # a constant offset is no agreement
    assert np.isnan(icc(truth, truth, np.eye(count))).all()


def test_figures_say_which_way_they_are_better_and_in_what() -> None:
    figures = _answered()
    better = {name for name, figure in figures.items() if figure.better == HIGHER}
    assert better == {"limit_low", "icc", "within", "stated", "interval_coverage"}
    assert figures["mae"].better == LOWER
    assert {name for name, figure in figures.items() if figure.unit == ""} == better - {"limit_low"}
    assert figures["mae"].unit == "mm"


@pytest.mark.parametrize(
    ("answers", "undefined"),
    [
        ([_stated(61.0)], {"limit_low", "limit_high", "icc", "interval_coverage", "interval_width"}),
        ([_stated(900.0, present=False)], set(NAMES) - {"within", "stated"}),
    ],
)
def test_what_the_samples_do_not_determine_is_told(answers: list[Stated], undefined: set[str]) -> None:
    figures = _figures(*answers, truth=TRUTH[:1])
    for name, figure in figures.items():
        over = figure.over(np.ones((2, 1)))
        if name in undefined:
            assert np.isnan(over).all(), name
            with pytest.raises(FigureUndefined, match=name):
                figure.value()
        else:
            assert figure.value() == pytest.approx(over[0]), name


def test_an_operating_point_is_a_distance() -> None:
    judged = _judge().judged([_case(true) for true in TRUTH], [_stated(a, present=a < 440) for a in ANSWERS])
    point = judged.point("within@2")
    assert point is not None
    assert point.value() == 4 / 6
    for strange in ("within", "within@", "within@far", "within@-1", "within@inf", "mae@2"):
        assert judged.point(strange) is None


def test_several_values_have_shares_together_and_figures_of_their_own() -> None:
    values = [{**VALUE, "name": name} for name in ("head", "abdomen")]
    output = TensorSpec(name="y", dtype="float32", shape=(1, 2))
    assert SPEC.judge is not None
    judge = SPEC.judge(TaskRequest(options={"values": values}, outputs=(output,)))
    case = Case(id="one", truth=TrueValues((60.0, 90.0)), context=CONTEXT, image=lambda: CONTEXT.frame.pixels)
    answer = Stated(("head", "abdomen"), (61.0, 120.0), (True, True), (None, None))
    figures = {figure.name: figure for figure in judge.judged([case], [answer]).figures}
    assert figures["within"].value() == 0.5
    assert (figures["mae head"].value(), figures["mae abdomen"].value()) == (1.0, 30.0)
    assert judge.main == ("within",)
    assert judge.subgroups(case) == {"size of head": "under 100 mm", "size of abdomen": "under 100 mm"}


def test_the_same_decision_is_within_the_tolerance() -> None:
    judge, unsure = _judge(), _stated(900.0, present=False)
    assert judge.alike(_stated(100.0), _stated(103.0))
    assert not judge.alike(_stated(100.0), _stated(103.1))
    assert judge.alike(unsure, _stated(1000.0, present=False))
    assert not judge.alike(_stated(100.0), unsure)
    with pytest.raises(EvaluationFailed) as caught:
        judge.alike(_stated(100.0), Stated(("foot",), (100.0,), (True,), (None,)))
    assert caught.value.code == "evaluate.other-labels"


def test_one_answer_is_right_wrong_or_withheld() -> None:
    judge = _judge()
    told = [judge.assessed(_case(100.0), one) for one in (_stated(102.0), _stated(110.0), _stated(9.0, present=False))]
    assert [(each.right, each.withheld) for each in told if each] == [(True, False), (False, False), (False, True)]


def test_targets_are_what_the_network_answers() -> None:
    judge = _judge(per="source-pixel", scale=100, offset=200)
    assert judge.targets(_case(200.0))["y"] == np.float32((200 / 0.4 - 200) / 100)
    nowhere = example_frame(geometry=Geometry(source_rows=96, source_columns=128))
    with pytest.raises(DataRejected) as caught:
        judge.targets(_case(200.0, FrameContext(frame=nowhere, instance=instance_ref())))
    assert caught.value.code == "data.target-missing"


def test_an_output_of_whole_numbers_has_no_targets() -> None:
    output = TensorSpec(name="y", dtype="int8", shape=(1, 1))
    assert SPEC.judge is not None
    judge = SPEC.judge(TaskRequest(options={"values": [VALUE]}, outputs=(output,)))
    with pytest.raises(ConfigError) as caught:
        judge.targets(_case(200.0))
    assert caught.value.code == "build.no-target"


@pytest.mark.parametrize(
    ("loss", "formula"), [("huber", True), ("mean-absolute-error", False), ("mean-squared-error", False)]
)
def test_the_loss_is_what_the_options_say(loss: str, formula: bool) -> None:
    assert SPEC.judge is not None
    judge = SPEC.judge(TaskRequest(options={"values": [VALUE], "loss": loss}, outputs=(OUTPUT,)))
    assert judge.objective is not None
    assert (judge.objective.loss, judge.objective.formula is not None) == (loss, formula)
    if judge.objective.formula is not None:
        off = np.array([[0.5], [3.0]])
        np.testing.assert_allclose(judge.objective.formula(np, np.zeros_like(off), off), [0.125, 2.5])


def test_strata_are_sizes() -> None:
    assert [_judge().stratum(_case(true)) for true in (60.0, 100.0, 250.0)] == [
        *("under 100 mm", "100 to 200 mm", "from 200 mm")
    ]
    assert _judge(sizes=[]).stratum(_case(60.0)) == 0
    assert _judge(sizes=[]).subgroups(_case(60.0)) == {}


@pytest.mark.parametrize("cell", ["", "wide", "19.9", "440.1", "inf"])
def test_a_truth_that_is_none_is_refused(cell: str) -> None:
    with pytest.raises(DataRejected) as caught:
        _judge().read(ExampleCells({"value": cell}))
    assert caught.value.code == "data.value-invalid"


def test_what_is_measured_stays_where_the_picture_is_turned_and_is_unknown_where_it_is_cut() -> None:
    whole = Geometry(source_rows=96, source_columns=128)
    judge = _judge()
    assert judge.moved(TrueValues((200.0,)), whole.scaled(2.0, 2.0), (48, 64)) == TrueValues((200.0,))
    assert judge.moved(TrueValues((200.0,)), whole.cropped(10.0, 0.0), (96, 118)) is None
    assert judge.moved(TrueValues((200.0,)), whole.cropped(0.0, 0.0), (80, 128)) is None
    assert _judge(unit="{pixels}").moved(TrueValues((200.0,)), whole, (96, 128)) is None


def test_a_picture_may_lose_what_lies_beyond_the_box_of_what_is_measured() -> None:
    whole = Geometry(source_rows=96, source_columns=128)
    judge = _judge()
    truth = judge.read(ExampleCells({"value": "200", "x0": "20", "y0": "10", "x1": "60", "y1": "50"}))
    near = judge.moved(truth, whole.cropped(10.0, 0.0), (96, 118))
    assert near.values == (200.0,)
    assert near.place == ((10.0, 10.0), (50.0, 10.0), (10.0, 50.0), (50.0, 50.0))
    assert judge.moved(near, whole.cropped(15.0, 0.0), (96, 103)) is None, "what is measured itself is cut"
    assert judge.digest(near) != judge.digest(truth) != judge.digest(TrueValues((200.0,)))


def test_a_skewed_picture_says_no_length() -> None:
    skewed = Geometry(source_rows=96, source_columns=128, affine=(1.0, 0.1, 0.0, 0.0, 1.0, 0.0))
    assert _judge().moved(TrueValues((200.0,), ((20.0, 20.0), (40.0, 40.0))), skewed, (96, 128)) is None


@pytest.mark.parametrize("box", [{"x0": "1"}, {"x0": "9", "y0": "1", "x1": "8", "y1": "4"}])
def test_a_place_that_is_no_box_is_refused(box: dict[str, str]) -> None:
    with pytest.raises(DataRejected) as caught:
        _judge().read(ExampleCells({"value": "200", **box}))
    assert caught.value.code == "data.value-invalid"


def test_findings_of_another_task_are_no_answer() -> None:
    finding = Finding(kind="class", label="head", present=True, probability=0.9)
    with pytest.raises(EvaluationFailed) as caught:
        _judge().answer((finding,), {}, CONTEXT)
    assert caught.value.code == "evaluate.no-findings"


def test_pictures_tell_bias_limits_and_what_the_worst_are() -> None:
    cases = [_case(true) for true in TRUTH]
    answers = [_stated(a, 2.0, present=a < 440) for a in ANSWERS]
    drawn = _judge().pictures(cases, {"parent": answers, "small": answers}, ["small"])
    scatter, differences, worst = drawn
    assert [mark.label for mark in scatter.panels[0].marks] == ["parent", "small", ""]  # type: ignore[union-attr]
    assert "head: bias +0.5, limits -5.13 to +6.13 mm" in differences.says
    assert "small" in differences.title
    assert worst.panels[0].title == "sample-300\nhead 900, not stated; true 300 mm"
    assert worst.panels[1].title == "sample-150\nhead 155 (153 to 157); true 150 mm"


def test_nothing_stated_is_drawn_as_nothing() -> None:
    cases, answers = [_case(300.0)], [_stated(900.0, present=False)]
    for drawing in _judge().pictures(cases, {"parent": answers, "small": answers}, ["small"]):
        assert drawing.panels


def test_measured_values_are_of_one_length() -> None:
    one = Measured(
        name="x",
        unit="mm",
        same=1.0,
        truth=np.zeros(2),
        answers=np.zeros(2),
        stated=np.ones(2, bool),
        low=np.full(2, np.nan),
        high=np.full(2, np.nan),
    )
    assert one.error.shape == (2,)


def test_options_that_make_no_sense_give_no_judge() -> None:
    assert SPEC.judge is not None
    with pytest.raises(TaskFailed):
        SPEC.judge(TaskRequest(options={"values": []}, outputs=(OUTPUT,)))
