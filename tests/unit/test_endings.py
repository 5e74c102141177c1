"""A task that makes no statement of a frame or an instance: no failure, no negative, and said with code and figures."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from edgeai.api import (
    EvaluationFailed,
    Finding,
    Findings,
    FrameContext,
    GuardFigure,
    Indeterminate,
    InstanceRef,
    NoStatement,
    NotApplicable,
    Note,
    Outcome,
    Result,
    Tensors,
)
from edgeai.cli.statement import statement
from edgeai.cli.wording import finding_says
from edgeai.hosting import PluginInfo, hosted_spec
from edgeai.model import Model, open_model
from edgeai.model.agreement import difference
from edgeai.model.endings import Endings
from edgeai.plugins import Registry
from edgeai_workbench.answers import answer_of

SCHEMA = json.loads((files("edgeai") / "schemas" / "result-2.json").read_text(encoding="utf-8"))
ACME = PluginInfo(name="acme", module="acme", distribution="acme", version="1")
FIGURE = GuardFigure(check="acme", name="contrast", value=0.1, threshold=0.5, withheld=True)
Open = Callable[..., Model]


class Unsure:
    """States one label, but of the frames (by number) and, with 0, of the instance, that it is told to end."""

    def __init__(self, ends: dict[int, NoStatement], notes: tuple[Note, ...] = ()) -> None:
        self.ends, self.notes = ends, notes

    def interpret(self, outputs: Tensors, context: FrameContext) -> Findings:
        number = context.frame.number
        if number in self.ends:
            raise self.ends[number]
        return (Finding(kind="acme", label="ok", present=True, frame_number=number, notes=self.notes),)

    def summarise(self, frames: Sequence[Findings], instance: InstanceRef) -> Findings:
        if 0 in self.ends:
            raise self.ends[0]
        return tuple(replace(finding, frame_number=None) for finding in frames[0])


def unsure(message: str = "it holds too little contrast", code: str = "acme.contrast", **more: Any) -> Indeterminate:
    return Indeterminate(message, code=code, figures=(FIGURE,), **more)


@pytest.fixture
def opened(fakes: Registry, make_bundle: Callable[..., Path], tmp_path: Path) -> Open:
    """The tiny bundle with another task: ``opened({2: unsure()})`` ends the second frame so."""

    def opening(ends: dict[int, NoStatement], notes: tuple[Note, ...] = ()) -> Model:
        spec = replace(fakes.tasks["fake-classify"], build=lambda request: Unsure(ends, notes))
        registry = replace(fakes, tasks={"fake-classify": hosted_spec(ACME, "task", spec)})
        return open_model(make_bundle(), backends=("fake-works",), registry=registry, cache_dir=tmp_path / "c")

    return opening


def wire(result: Result) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(json.dumps(result.as_dict()))
    jsonschema.Draft202012Validator(SCHEMA).validate(body)
    assert Result.from_dict(body).guard == result.guard
    return body


@pytest.mark.parametrize("frame", [1, 0])
@pytest.mark.parametrize(
    ("kind", "outcome", "headline"),
    [
        (Indeterminate, Outcome.INDETERMINATE, "The model makes no statement"),
        (NotApplicable, Outcome.NOT_APPLICABLE, "This image is not for this model"),
    ],
)
def test_an_image_ends_with_code_figures_and_engine(
    opened: Open, make_dicom: Any, frame: int, kind: type[NoStatement], outcome: Outcome, headline: str
) -> None:
    ending = kind("it holds too little contrast", code="acme.contrast", figures=(FIGURE,), remedy="look yourself")
    with opened({frame: ending}) as model:
        result = model.run_file(make_dicom())
        assert model.failed_step is None
        again = model.run_file(make_dicom("again.dcm"))
    assert (result.outcome, result.findings, result.guard, result.frames_run) == (outcome, (), (FIGURE,), 1)
    assert result.engine is not None, "an engine computed it"
    assert result.reason is not None
    assert (result.reason.code, result.reason.remedy) == ("acme.contrast", "look yourself")
    assert wire(result)["outcome"] == str(outcome)
    assert statement(result).headline == headline
    assert finding_says(result) == "acme.contrast: it holds too little contrast"
    assert again.outcome is outcome, "the session goes on"


def test_frames_that_end_so_are_named_where_as_many_got_a_statement(opened: Open, make_dicom: Any) -> None:
    with opened({2: unsure(), 4: unsure(code="acme.other")}) as model:
        result = model.run_file(make_dicom(frames=4))
    assert (result.outcome, result.frames_run, result.frames_total) == (Outcome.COMPLETED, 4, 4)
    [note] = result.notes
    assert note.code == "task.frames-unstated"
    assert note.text == (
        "2 frames without a statement, and no finding speaks of what is there: 2, 4 (acme.contrast, acme.other)"
    )
    assert result.guard == (FIGURE,)
    wire(result)


def test_fewer_than_half_do_not_speak_for_the_instance(opened: Open, make_dicom: Any) -> None:
    with opened({1: unsure(), 3: unsure(), 4: unsure()}) as model:
        result = model.run_file(make_dicom(frames=4))
    assert (result.outcome, result.findings) == (Outcome.INDETERMINATE, ())
    assert result.reason is not None
    assert result.reason.message == ("3 of 4 frames give no statement; of the first, it holds too little contrast")
    assert (result.guard, result.notes) == ((FIGURE,), ())


def test_one_frame_says_its_own_words_and_none_holds_nothing() -> None:
    endings = Endings()
    endings.hold(0)
    endings.add(7, unsure())
    endings.hold(1)
    with pytest.raises(Indeterminate, match=r"^it holds too little contrast$"):
        endings.hold(0)


@pytest.mark.parametrize(
    ("ending", "why"),
    [
        (Indeterminate("x", code="No Code"), "code 'No Code'"),
        (NotApplicable("x", code="requires.not-met"), "edgeai's own"),
        (NotApplicable("x", code="input.not-eligible"), "edgeai's own"),
        (Indeterminate("x", code="guard.abstained"), "edgeai's own"),
        (Indeterminate("x", code="spool.full"), "edgeai's own"),
        (Indeterminate("x", code="acme.x", figures=("x",)), "no figure"),  # type: ignore[arg-type]
        (Indeterminate("x", code="acme.x", figures=(replace(FIGURE, value=float("nan")),)), "not finite"),
        (Indeterminate("x", code="acme.x", figures=(replace(FIGURE, threshold=float("inf")),)), "not finite"),
    ],
)
def test_what_would_break_the_message_is_the_plugins_fault(
    opened: Open, make_dicom: Any, ending: NoStatement, why: str
) -> None:
    with opened({1: ending}) as model:
        result = model.run_file(make_dicom())
    assert (result.outcome, result.guard) == (Outcome.FAILED, ())
    assert result.reason is not None
    assert result.reason.code == "plugin.contract"
    assert why in result.reason.message


@pytest.mark.parametrize(("code", "outcome"), [("acme.cast", Outcome.COMPLETED), ("a cast", Outcome.FAILED)])
def test_a_note_of_a_finding_has_a_code(opened: Open, make_dicom: Any, code: str, outcome: Outcome) -> None:
    with opened({}, (Note(code=code, text="a cast lies over it"),)) as model:
        assert model.run_file(make_dicom()).outcome is outcome


def test_another_model_that_makes_a_statement_differs(opened: Open, make_dicom: Any) -> None:
    with opened({}) as model:
        stated = model.run_file(make_dicom())
        task = model.task
    with opened({1: unsure()}) as model:
        ended = model.run_file(make_dicom())
    assert difference(stated, ended, task) == "indeterminate (acme.contrast) in place of completed"
    assert difference(ended, ended, task) == ""


def test_an_ending_is_whole_on_the_other_side_of_a_process() -> None:
    ending = pickle.loads(pickle.dumps(unsure(remedy="look")))
    assert (type(ending), ending.code, ending.remedy, ending.figures) == (
        *(Indeterminate, "acme.contrast", "look"),
        (FIGURE,),
    )
    assert (Indeterminate("x").code, NotApplicable("x").code) == ("task.indeterminate", "task.not-applicable")


class Keeps:
    """A judge that keeps the code of what has no statement, or nothing."""

    def __init__(self, keeps: bool) -> None:
        self.keeps = keeps

    def answer(self, findings: Findings, outputs: Tensors, context: FrameContext) -> str:
        return findings[0].label

    def unanswered(self, ending: NoStatement, outputs: Tensors, context: FrameContext) -> str | None:
        return ending.code if self.keeps else None


def test_a_judge_says_what_is_kept_and_it_is_counted(opened: Open, make_dicom: Any) -> None:
    from edgeai.testing.examples import example_frame, instance_ref

    context = FrameContext(frame=example_frame(number=1), instance=instance_ref())
    outputs = {"x": np.zeros(1)}
    ended: Counter[str] = Counter()
    asked = Unsure({1: unsure()})
    judge: Any = Keeps(True)
    assert answer_of(judge, Unsure({}), outputs, context, ended) == "ok"
    assert answer_of(judge, asked, outputs, context, ended) == "acme.contrast"
    assert ended == {"acme.contrast": 1}
    with pytest.raises(EvaluationFailed, match="makes no statement of it") as caught:
        answer_of(Keeps(False), asked, outputs, context, ended)  # type: ignore[arg-type]
    assert caught.value.code == "evaluate.no-findings"
