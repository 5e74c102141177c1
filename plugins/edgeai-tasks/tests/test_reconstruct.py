"""Whether an image is as those are that an autoencoder knows: score, threshold, and what is no answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeai.api import (
    Array,
    Case,
    ConfigError,
    DataRejected,
    EvaluationFailed,
    Finding,
    FrameContext,
    Judge,
    Task,
    TaskFailed,
    TaskRequest,
    TensorSpec,
)
from edgeai.testing.conformance.judge import ExampleCells
from edgeai.testing.examples import example_frame, instance_ref
from edgeai_tasks.reconstruct import SPEC
from edgeai_tasks.reconstruct.choosing import chosen
from edgeai_tasks.reconstruct.errors import cells_of, error_map, score_of
from edgeai_tasks.reconstruct.judge import Answered
from edgeai_tasks.reconstruct.pictures import heated, underneath

ROWS, COLUMNS = 12, 16
OUTPUT = TensorSpec(name="made", dtype="float32", shape=(1, ROWS, COLUMNS, 1), layout="NHWC")
FRAME = example_frame("float32", rows=ROWS, columns=COLUMNS)
CONTEXT = FrameContext(frame=FRAME, instance=instance_ref())


def _request(**options: Any) -> TaskRequest:
    return TaskRequest(options=options, outputs=(OUTPUT,))


def _judge(**options: Any) -> Judge:
    assert SPEC.judge is not None
    return SPEC.judge(_request(**options))


def _made(off: float | Array) -> dict[str, Array]:
    return {"made": (FRAME.pixels + off).astype(np.float32).reshape(1, ROWS, COLUMNS, 1)}


def _says(task: Task, off: float | Array, number: int = 1) -> tuple[Finding, ...]:
    return task.interpret(_made(off), replace(CONTEXT, frame=replace(FRAME, number=number)))


@pytest.mark.parametrize(("off", "present"), [(0.1, (True, False)), (-0.2, (True, False)), (0.3, (False, True))])
def test_what_is_off_by_more_than_the_threshold_is_unusual(off: float, present: tuple[bool, bool]) -> None:
    findings = _says(SPEC.build(_request(threshold=0.2 + 1e-6)), off)
    assert [(f.kind, f.label, f.present) for f in findings] == [
        ("anomaly", "usual", present[0]),
        ("anomaly", "unusual", present[1]),
    ]
    score, bound = findings[0].measurements
    assert (score.name, score.value, bound.name) == ("score", pytest.approx(abs(off), rel=1e-5), "threshold")


def test_the_threshold_itself_is_usual() -> None:
    assert [finding.present for finding in _says(SPEC.build(_request(threshold=0)), 0.0)] == [True, False]


def test_without_a_threshold_nothing_is_stated() -> None:
    findings = _says(SPEC.build(_request()), 5.0)
    assert [finding.present for finding in findings] == [False, False]
    assert [measured.name for measured in findings[0].measurements] == ["score"]


def test_errors_are_squared_smoothed_and_the_largest_count() -> None:
    off = np.zeros((ROWS, COLUMNS), np.float32)
    off[6, 8] = 0.9
    [first, _] = _says(SPEC.build(_request(error="squared", smooth_px=3, part=9 / off.size)), off)
    assert first.measurements[0].value == pytest.approx(0.09, rel=1e-5)
    picture = np.zeros((5, 5, 3))
    made = picture + np.array([0.3, 0.0, 0.0])
    np.testing.assert_allclose(error_map(picture, made, squared=False, smooth_px=3), 0.1)
    assert score_of(np.arange(10.0).reshape(2, 5), 0.2) == 8.5
    assert score_of(np.arange(10.0).reshape(2, 5), 0.001) == 9.0


def test_a_square_ends_where_the_picture_does() -> None:
    picture, made = np.zeros((3, 3)), np.zeros((3, 3))
    made[0, 0] = 4.0
    smooth = error_map(picture, made, squared=False, smooth_px=3)
    np.testing.assert_allclose(smooth, [[1, 2 / 3, 0], [2 / 3, 4 / 9, 0], [0, 0, 0]])


def test_channels_first_is_the_same_picture() -> None:
    pixels = np.random.default_rng(1).random((4, 6, 3)).astype(np.float32)
    frame = replace(example_frame("float32", rows=4, columns=6), pixels=pixels)
    output = TensorSpec(name="made", dtype="float32", shape=(1, 3, 4, 6), layout="NCHW")
    request = TaskRequest(options={"threshold": 1e-9}, outputs=(output,))
    made = {"made": np.moveaxis(pixels, -1, 0)[np.newaxis]}
    context = FrameContext(frame=frame, instance=instance_ref())
    assert SPEC.build(request).interpret(made, context)[0].present
    assert SPEC.judge is not None
    case = Case(id="one", truth=False, context=context, image=lambda: pixels)
    np.testing.assert_array_equal(SPEC.judge(request).targets(case)["made"], made["made"][0])


def test_a_picture_of_another_size_is_no_reconstruction() -> None:
    small = FrameContext(frame=example_frame("float32", rows=6, columns=16), instance=instance_ref())
    with pytest.raises(TaskFailed) as caught:
        SPEC.build(_request()).interpret(_made(0.0), small)
    assert caught.value.code == "task.output"
    with pytest.raises(ConfigError) as refused:
        _judge().targets(Case(id="one", truth=False, context=small, image=lambda: small.frame.pixels))
    assert refused.value.code == "build.no-target"


def test_a_cell_is_the_mean_over_its_part_and_all_together_are_all() -> None:
    errors = np.random.default_rng(2).random((40, 100))
    cells = cells_of(errors, 16)
    assert cells.shape == (6, 16)
    np.testing.assert_allclose(cells[0, 0], errors[:7, :6].mean())
    np.testing.assert_allclose(cells[-1, -1], errors[33:, 94:].mean())
    np.testing.assert_array_equal(cells_of(errors[:3, :5], 16), errors[:3, :5])
    assert cells_of(errors[:1], 16).shape == (1, 16)


@pytest.mark.parametrize("threshold", [None, 0.3, 0.01])
def test_what_is_unusual_bears_the_errors_where_the_source_has_them(threshold: float | None) -> None:
    geometry = replace(FRAME.geometry, source_rows=50, source_columns=40).cropped(-4, 10).scaled(3, 2)
    context = FrameContext(frame=replace(FRAME, geometry=geometry, number=7), instance=instance_ref())
    off = np.zeros((ROWS, COLUMNS), np.float32)
    off[2, 5] = 0.123456
    usual, unusual = SPEC.build(_request(threshold=threshold)).interpret(_made(off), context)
    assert usual.heat is None
    assert unusual.heat is not None
    assert (unusual.heat.box, unusual.heat.frame_number) == ((-4.0, 10.0, 44.0, 34.0), 7)
    assert (unusual.heat.name, unusual.heat.bound) == ("error", threshold)
    np.testing.assert_allclose(unusual.heat.values, off, atol=1e-4)


def test_of_several_frames_the_one_in_the_middle_speaks_the_higher_of_two() -> None:
    task = SPEC.build(_request(threshold=0.25, per_frame=True))
    frames = [_says(task, off, number) for number, off in enumerate((0.1, 0.9, 0.2, 0.3), 1)]
    usual, unusual, *each = task.summarise(frames, instance_ref())
    assert (usual.present, unusual.present, unusual.frame_number) == (False, True, None)
    assert unusual.measurements[0].value == pytest.approx(0.3, rel=1e-5)
    assert [finding.frame_number for finding in each] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert unusual.heat is not None
    assert unusual.heat.frame_number == 4
    assert {finding.heat for finding in (usual, *each)} == {None}, "one map is enough to draw"
    with pytest.raises(TaskFailed) as caught:
        task.summarise([(Finding(kind="class", label="usual", present=True),)], instance_ref())
    assert caught.value.code == "task.no-frames"


# --- the build host ---------------------------------------------------------------------------


def _cases(*truths: bool) -> list[Case]:
    return [Case(id=f"{n}", truth=t, context=CONTEXT, image=lambda: FRAME.pixels) for n, t in enumerate(truths)]


def _answers(judge: Judge, task: Task, offs: Sequence[float]) -> list[Answered]:
    return [judge.answer(task.interpret(_made(off), CONTEXT), _made(off), CONTEXT) for off in offs]


def test_figures_are_of_the_score_and_of_the_threshold() -> None:
    judge, task = _judge(threshold=0.2), SPEC.build(_request(threshold=0.2))
    answers = _answers(judge, task, (0.1, 0.15, 0.3, 0.12, 0.4))
    cases = _cases(False, False, False, True, True)
    judged = judge.judged(cases, answers)
    figures = {figure.name: figure.value() for figure in judged.figures}
    assert figures["auc_roc"] == pytest.approx(4 / 6)
    assert (figures["sensitivity"], figures["specificity"]) == (0.5, pytest.approx(2 / 3))
    point = judged.point("sensitivity@specificity=0.6")
    assert point is not None
    assert point.value() == 0.5
    for strange in ("sensitivity@specificity=2", "sensitivity@specificity=x", "auc_roc@specificity=0.5", "within@2"):
        assert judged.point(strange) is None


def test_what_is_not_decided_is_wrong_and_withheld() -> None:
    judge, task = _judge(), SPEC.build(_request())
    answers, cases = _answers(judge, task, (0.1, 0.4)), _cases(False, True)
    figures = {figure.name: figure.value() for figure in judge.judged(cases, answers).figures}
    assert (figures["auc_roc"], figures["sensitivity"], figures["specificity"]) == (1.0, 0.0, 0.0)
    assessed = judge.assessed(cases[0], answers[0])
    assert assessed is not None
    assert (assessed.right, assessed.withheld) == (False, True)


def test_figures_have_names_without_cases() -> None:
    assert [f.name for f in _judge().judged((), ()).figures] == ["auc_roc", "auc_pr", "sensitivity", "specificity"]


def test_answers_of_other_labels_are_none_of_this_question() -> None:
    judge, other = _judge(threshold=0.2), SPEC.build(_request(labels=["head", "other"], threshold=0.2))
    [mine], [theirs] = _answers(judge, SPEC.build(_request(threshold=0.2)), [0.1]), _answers(judge, other, [0.1])
    assert judge.alike(mine, mine)
    with pytest.raises(EvaluationFailed) as caught:
        judge.alike(mine, theirs)
    assert caught.value.code == "evaluate.other-labels"
    with pytest.raises(EvaluationFailed) as nothing:
        judge.answer((Finding(kind="class", label="usual", present=True),), _made(0.0), CONTEXT)
    assert nothing.value.code == "evaluate.no-findings"


@pytest.mark.parametrize("cell", ["", "10", "yes", "2"])
def test_a_flag_is_0_or_1(cell: str) -> None:
    with pytest.raises(DataRejected) as caught:
        _judge().read(ExampleCells({"unusual": cell}))
    assert caught.value.code == "data.value-invalid"


def test_a_threshold_accepts_as_many_as_was_asked_for() -> None:
    random = np.random.default_rng(4)
    accepted = []
    for _ in range(200):
        bound = chosen(random.gamma(2.0, 0.1, 150), 0.95, "usual")["threshold"]
        accepted.append(np.mean(random.gamma(2.0, 0.1, 150) <= bound))
    assert 0.94 < np.mean(accepted) < 0.965


def test_what_is_unusual_chooses_nothing() -> None:
    judge = _judge()
    offs = np.linspace(0.1, 0.3, 30)
    plain = judge.choose(_cases(*[False] * 30), [_made(off) for off in offs], {"threshold": "accept=0.9"})
    more = judge.choose(
        _cases(*[False] * 30, True), [*(_made(off) for off in offs), _made(9.0)], {"threshold": "accept=0.9"}
    )
    assert plain == more
    assert plain["threshold"] == pytest.approx(offs[27], rel=1e-3)
    assert plain["threshold"] >= offs[27] - 1e-7


@pytest.mark.parametrize("wish", [{}, {"threshold": 0.9}, {"threshold": "accept=1"}, {"threshold": "accept=0.2"}])
@pytest.mark.parametrize("more", [{}, {"temperature": True}])
def test_a_wish_that_it_does_not_have_is_refused(wish: dict[str, Any], more: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        _judge().choose((), (), {**wish, **more})
    assert caught.value.code == "config.card-choice"


@pytest.mark.parametrize(("count", "share"), [(0, 0.9), (9, 0.5), (48, 0.98)])
def test_so_few_choose_none(count: int, share: float) -> None:
    with pytest.raises(DataRejected) as caught:
        chosen(np.ones(count), share, "usual")
    assert caught.value.code == "data.fold-few"
    assert str(max(10, math.ceil(share / (1 - share) - 1e-9))) in str(caught.value)


def test_heat_lies_where_the_error_is() -> None:
    heat = np.zeros((3, 4))
    heat[1, 2] = 1.0
    picture = heated(np.full((6, 8), 0.5), heat)
    assert picture.shape == (6, 8, 3)
    assert picture[2:4, 4:6].tolist() == [[[255, 255, 0]] * 2] * 2
    assert (picture[0, 0] == picture[0, 0, 0]).all()


def test_the_image_itself_lies_under_the_heat_where_the_model_saw_it() -> None:
    image = np.arange(40 * 64, dtype=np.uint16).reshape(40, 64)
    seen = replace(example_frame("float32", rows=4, columns=8), pixels=np.zeros((4, 8, 7), np.float32))
    # Cells of eight pixels, the first of which begin beyond the left border.
    geometry = replace(seen.geometry, source_rows=40, source_columns=64).cropped(-8, 8).scaled(8, 8)
    context = FrameContext(frame=replace(seen, geometry=geometry), instance=instance_ref())
    drawn = underneath(Case(id="one", truth=False, context=context, image=lambda: image))
    assert drawn.shape == (64, 128)  # each cell sixteen pixels
    assert not drawn[:, :16].any()
    np.testing.assert_array_equal(drawn[::2, 16::2], image[8:40, :56])


def test_pictures_show_what_is_told_wrong() -> None:
    judge, task = _judge(threshold=0.2), SPEC.build(_request(threshold=0.2))
    cases, answers = _cases(False, True, False), _answers(judge, task, (0.3, 0.1, 0.1))
    roc, worst = judge.pictures(cases, {"parent": answers, "small": answers}, ["small"])
    assert roc.title == "ROC"
    assert worst.panels[0].title == "1\nunusual, called usual, score 0.1"
    assert worst.panels[1].title == "0\nusual, called unusual, score 0.3"
    [alone] = judge.pictures(cases[:1], {"small": answers[:1]}, ["small"])
    assert "worst" in alone.title
