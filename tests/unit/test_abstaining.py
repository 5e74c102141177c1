"""A bundle that abstains: what is not one answer alone at its risk gets no statement, on a cart or a build host."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgeai.api import (
    Alternatives,
    Assessed,
    BundleRejected,
    Case,
    ConfigError,
    Figure,
    FigureUndefined,
    Finding,
    Findings,
    FrameContext,
    Judge,
    Judged,
    Outcome,
    Result,
    TaskFailed,
    TaskRequest,
    Tensors,
    TensorSpec,
)
from edgeai.bundle.archive import pack
from edgeai.bundle.honour import SPLIT_CONFORMAL
from edgeai.bundle.manifest import ArtifactDecl, TaskUse, TensorDecl, TransformStep
from edgeai.bundle.uses import AbstentionUse, GuardUse
from edgeai.cli.main import run
from edgeai.hosting import PluginInfo, hosted_spec
from edgeai.model import Model, open_model
from edgeai.plugins import Registry, load_from
from edgeai.testing.bundles import small_manifest
from edgeai.testing.examples import example_frame, instance_ref
from edgeai.testing.fakes import write_fake_artifact
from edgeai_tasks.classify import SPEC
from edgeai_workbench.abstaining import ABSTAINED, COVERED, AbstainingJudge, judge_behind
from edgeai_workbench.card_parts import UNFITTED

ACME = PluginInfo(name="acme", module="acme", distribution="acme", version="1")
FAKES = PluginInfo(name="fakes", module="edgeai.testing.fakes_plugin", distribution="edgeai", version="0")
INPUT = TensorDecl(name="image", dtype="float32", shape=(1, 8, 8, 1), layout="NHWC")
OUTPUT = TensorDecl(name="p", dtype="float32", shape=(1, 3))
LABELS = ("a", "b", "c")


def use(quantile: float, **more: Any) -> GuardUse:
    return GuardUse(
        content=False, abstention=AbstentionUse(method=SPLIT_CONFORMAL, risk=0.1, quantile=quantile, **more)
    )


class Told:
    """``classify`` of three labels, whose outputs are told by the frame's number."""

    def __init__(self, task: Any, outputs: dict[int, Sequence[float]]) -> None:
        self._task, self._outputs = task, outputs
        self.summarise, self.alternatives = task.summarise, task.alternatives

    def interpret(self, outputs: Tensors, context: FrameContext) -> Findings:
        row = np.array([self._outputs[context.frame.number]], np.float32)
        findings: Findings = self._task.interpret({"p": row}, context)
        return findings


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Model]]:
    """Open a bundle behind a guard: ``opened(use(0.4), [0.7, 0.2, 0.1], ...)``, an answer a frame."""
    fakes = Registry.of_plugins([load_from(FAKES)])
    models: list[Model] = []
    numbers = count()

    def opening(guard: GuardUse, *outputs: Sequence[float], task: Any = None) -> Model:
        folder = tmp_path / f"content-{next(numbers)}"
        folder.mkdir()
        write_fake_artifact(folder / "model.json", (INPUT.spec(),), (OUTPUT.spec(),))
        manifest = small_manifest(
            plugins=("fakes",),
            task=TaskUse(name="told"),
            transforms=(TransformStep(transform="fake-subsample", options={"rows": 8, "columns": 8}),),
            inputs=(INPUT,),
            outputs=(OUTPUT,),
            artifacts=(ArtifactDecl(id="fake-fp32", format="fake", precision="fp32", path="model.json"),),
            schema=2,
            guard=guard,
        )
        bundle = folder.with_suffix(".edgeai")
        pack(folder, manifest, bundle)
        told = task or Told(classify(), dict(enumerate(outputs, 1)))
        spec = replace(SPEC, name="told", build=lambda request: told, options=(), judge=None, guess=None)
        registry = replace(fakes, tasks={"told": hosted_spec(ACME, "task", spec)})
        model = open_model(bundle, backends=("fake-works",), registry=registry, cache_dir=tmp_path / "cache")
        models.append(model)
        return model

    yield opening
    for model in models:
        model.close()


def classify(**options: Any) -> Any:
    return SPEC.build(
        TaskRequest(
            options={"labels": LABELS, **options},
            outputs=(TensorSpec(name="p", dtype="float32", shape=(1, len(options.get("labels", LABELS)))),),
        )
    )


def withheld(result: Result) -> dict[str, bool]:
    return {figure.name: figure.withheld for figure in result.guard}


def test_one_answer_alone_is_stated_with_its_figures(opened: Any, make_dicom: Any) -> None:
    result = opened(use(0.4), [0.7, 0.2, 0.1]).run_file(make_dicom())
    assert result.outcome is Outcome.COMPLETED
    count, strange = result.guard
    assert (count.check, count.name, count.value, count.threshold) == ("abstention", "answers left", 1.0, 1.0)
    assert (strange.value, strange.threshold) == (pytest.approx(0.3), 0.4)
    assert not any(withheld(result).values())


@pytest.mark.parametrize(
    ("quantile", "row", "message", "names"),
    [
        (0.6, [0.5, 0.45, 0.05], "a and b cannot be told apart at a risk of 0.1", {"answers left"}),
        (0.96, [0.5, 0.45, 0.05], "a, b and c cannot be told apart", {"answers left"}),
        (0.4, [0.5, 0.45, 0.05], "no answer is likely enough", {"answers left", "strangeness of what is stated"}),
    ],
)
def test_what_is_not_one_answer_is_no_statement(
    opened: Any, make_dicom: Any, quantile: float, row: list[float], message: str, names: set[str]
) -> None:
    result = opened(use(quantile), row).run_file(make_dicom())
    assert (result.outcome, result.findings, result.frames_run) == (Outcome.INDETERMINATE, (), 1)
    assert result.engine is not None
    assert result.reason.code == "guard.abstained"
    assert message in result.reason.message
    assert {name for name, is_withheld in withheld(result).items() if is_withheld} == names


def test_a_tie_with_the_quantile_is_left() -> None:
    from edgeai.model.abstaining import left_of

    assert left_of(Alternatives(strangeness={"a": 0.25, "b": 0.75}), 0.25) == ("a",)
    assert left_of(Alternatives(strangeness={"a": 0.5, "b": 0.5}), 0.5) == ("a", "b")
    assert left_of(Alternatives(strangeness={"a": 0.25, "b": 0.75}), 0.2) == ()


def test_what_is_left_and_not_what_would_be_stated_is_no_statement(opened: Any, make_dicom: Any) -> None:
    """A threshold that is not reached: nothing is stated, though one label alone is left."""
    task = Told(classify(threshold=0.9), {1: [0.7, 0.2, 0.1]})
    result = opened(use(0.4), task=task).run_file(make_dicom())
    assert result.outcome is Outcome.INDETERMINATE
    assert "a alone is left, and nothing would be stated" in result.reason.message


def test_each_group_has_its_own_quantile_and_others_the_one_for_all(opened: Any, make_dicom: Any) -> None:
    guard = use(0.2, by="view_position", quantiles={"PA": 0.4})
    model = opened(guard, [0.7, 0.2, 0.1])
    ends = {view: model.run_file(make_dicom(f"{view}.dcm", ViewPosition=view)).outcome for view in ("PA", "AP", "")}
    assert ends == {"PA": Outcome.COMPLETED, "AP": Outcome.INDETERMINATE, "": Outcome.INDETERMINATE}


def test_frames_that_are_left_open_are_named_and_half_of_all_speak(opened: Any, make_dicom: Any) -> None:
    sure, open_ = [0.7, 0.2, 0.1], [0.5, 0.45, 0.05]
    result = opened(use(0.4), sure, open_, sure, open_).run_file(make_dicom(frames=4))
    assert result.outcome is Outcome.COMPLETED
    assert result.findings[0].probability == pytest.approx(0.7), "frames without a statement are in no mean"
    [note] = result.notes
    assert note.text.endswith("2, 4 (guard.abstained)")
    result = opened(use(0.4), sure, open_, open_).run_file(make_dicom("more.dcm", frames=3))
    assert (result.outcome, result.reason.code) == (Outcome.INDETERMINATE, "guard.abstained")


@pytest.mark.parametrize("overlap", [True, False])
def test_frames_that_contradict_one_another_make_no_statement_together(
    opened: Any, make_dicom: Any, overlap: bool
) -> None:
    """Each is one answer alone; of all together none is likely enough."""
    model = opened(use(0.2), [0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.9, 0.05, 0.05], [0.05, 0.9, 0.05])
    result = model.run_file(make_dicom(frames=4), overlap=overlap)
    assert (result.outcome, result.findings, result.frames_run) == (Outcome.INDETERMINATE, (), 4)
    assert result.reason.code == "guard.abstained"
    assert "no answer is likely enough" in result.reason.message
    assert withheld(result) == {"answers left": True, "strangeness of what is stated": True}
    assert result.notes == (), "it is not this frame or that one that got no statement"


@pytest.mark.parametrize("per_frame", [False, True])
def test_frames_that_say_the_same_make_it_together(opened: Any, make_dicom: Any, per_frame: bool) -> None:
    """What the summary says of single frames beside is theirs: of those nothing is held once more."""
    task = Told(classify(per_frame=per_frame), {1: [0.9, 0.05, 0.05], 2: [0.85, 0.1, 0.05]})
    result = opened(use(0.2), task=task).run_file(make_dicom(frames=2))
    assert result.outcome is Outcome.COMPLETED
    stated = [finding.label for finding in result.findings if finding.present and finding.frame_number is None]
    assert stated == ["a"]


@pytest.mark.parametrize("summarise", ["mean", "max", "vote"])
def test_however_frames_are_put_together_it_is_held(opened: Any, make_dicom: Any, summarise: str) -> None:
    rows = {1: [0.9, 0.05, 0.05], 2: [0.05, 0.9, 0.05]}
    result = opened(use(0.2), task=Told(classify(summarise=summarise), rows)).run_file(make_dicom(frames=2))
    assert (result.outcome, result.findings) == (Outcome.INDETERMINATE, ())


def test_a_task_that_leaves_nothing_open_cannot_be_run_so(opened: Any) -> None:
    class Plain:
        def interpret(self, outputs: Tensors, context: FrameContext) -> Findings:
            return (Finding(kind="acme", label="ok", present=True),)

        def summarise(self, frames: Sequence[Findings], instance: Any) -> Findings:
            return frames[0]

    with pytest.raises(BundleRejected, match="what else it could have answered") as caught:
        opened(use(0.4), task=Plain())
    assert caught.value.code == "bundle.not-honoured"
    assert opened(GuardUse(content=False), task=Plain()).abstention is None


@pytest.mark.parametrize(
    "given",
    [
        None,
        Alternatives(strangeness={"a": 0.1}),
        Alternatives(strangeness={"a": float("nan"), "b": 0.0}),
        Alternatives(strangeness={"a": -0.1, "b": 0.0}),
    ],
)
def test_alternatives_that_make_no_sense_are_the_plugins_fault(opened: Any, make_dicom: Any, given: Any) -> None:
    task = Told(classify(), {1: [0.7, 0.2, 0.1]})
    task.alternatives = lambda findings: given
    result = opened(use(0.4), task=task).run_file(make_dicom())
    assert (result.outcome, result.reason.code) == (Outcome.FAILED, "plugin.contract")


def test_inspect_says_at_which_risk(opened: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    opened(use(0.4), [1.0, 0.0, 0.0])
    assert run(["inspect", str(tmp_path / "content-0.edgeai")]) == 0
    printed = capfd.readouterr().out
    for words in ("abstention", "split-conformal", "risk", "0.1", "quantile", "0.4"):
        assert words in printed


# --- classify -------------------------------------------------------------------------------------


def context() -> FrameContext:
    return FrameContext(frame=example_frame(number=1), instance=instance_ref())


def test_one_label_leaves_open_that_it_is_not_so() -> None:
    task = classify(labels=["pneumonia"], mode="binary")
    given = task.alternatives(task.interpret({"p": np.array([[0.2]], np.float32)}, context()))
    assert given.strangeness == {"pneumonia": pytest.approx(0.8), "not pneumonia": pytest.approx(0.2)}
    assert given.stated == "not pneumonia"


def test_labels_that_do_not_exclude_one_another_leave_nothing_open() -> None:
    with pytest.raises(TaskFailed) as caught:
        classify(mode="multi-label").alternatives(())
    assert caught.value.code == "task.options"
    with pytest.raises(TaskFailed):
        classify().alternatives(())


# --- on the build host ------------------------------------------------------------------------------


def judge(quantile: float = 0.4, **more: Any) -> AbstainingJudge:
    request = TaskRequest(options={"labels": LABELS}, outputs=(TensorSpec(name="p", dtype="float32", shape=(1, 3)),))
    assert SPEC.judge is not None
    made = judge_behind(SPEC.judge(request), SPEC.build(request), use(quantile, **more))
    assert isinstance(made, AbstainingJudge)
    return made


ROWS = ([0.7, 0.2, 0.1], [0.5, 0.45, 0.05], [0.1, 0.8, 0.1], [0.2, 0.1, 0.7])
TRUE = ("a", "a", "c", "c")


def asked(judge: Judge) -> tuple[list[Case], list[Any]]:
    task = classify()
    cases = [Case(id=name, truth=judge.folders[name], context=context(), image=lambda: np.zeros(1)) for name in TRUE]
    outputs = [{"p": np.array([row], np.float32)} for row in ROWS]
    return cases, [judge.answer(task.interpret(each, context()), each, context()) for each in outputs]


def figures(judged: Judged) -> dict[str, Figure]:
    return {figure.name: figure for figure in judged.figures}


def test_figures_of_what_is_left_open_stand_behind_those_of_the_task() -> None:
    mine = judge()
    cases, answers = asked(mine)
    known = figures(mine.judged(cases, answers))
    assert [one.states for one in answers] == [True, False, True, True]
    assert (known[ABSTAINED].value(), known[ABSTAINED].better) == (0.25, "lower")
    assert known[COVERED].value() == 0.5, "of the second nothing is left, of the third another"
    plain, of_plain = mine.plain, asked(mine.plain)[1]
    assert known["accuracy"].value() == figures(plain.judged(cases, of_plain))["accuracy"].value()
    weights = np.array([[1, 1, 1, 1], [0, 2, 0, 2], [0, 0, 0, 0]], float)
    assert known[ABSTAINED].over(weights).tolist()[:2] == [0.25, 0.5]
    assert np.isnan(known[ABSTAINED].over(weights)[2])
    with pytest.raises(FigureUndefined):
        figures(mine.judged((), ()))[ABSTAINED].value()


def test_before_it_is_fitted_its_figures_have_names_and_no_values() -> None:
    mine = judge(quantile=UNFITTED)
    assert {ABSTAINED, COVERED} <= set(figures(mine.judged((), ())))
    cases, answers = asked(mine)
    assert {ABSTAINED, COVERED}.isdisjoint(figures(mine.judged(cases, answers)))
    assert not any(answer.states for answer in answers)


def test_a_statement_and_none_are_not_alike_and_none_is_withheld() -> None:
    mine = judge()
    cases, (first, second, third, _) = asked(mine)
    assert mine.alike(first, first)
    assert mine.alike(second, second)
    assert not mine.alike(first, second)
    assert not mine.alike(first, third)
    assert mine.assessed(cases[1], second) == Assessed(right=False, withheld=True)
    assert mine.assessed(cases[0], first).right  # type: ignore[union-attr]


def test_samples_are_told_apart_by_the_attribute_that_it_goes_by() -> None:
    mine = judge(by="modality", quantiles={"CR": 0.4})
    [case, *_], [answer, *_] = asked(mine)
    assert (mine.subgroups(case)["modality"], answer.group) == (case.context.instance.modality,) * 2
    assert "modality" not in judge().subgroups(case)


def test_a_task_that_leaves_nothing_open_is_said_before_anything_is_trained() -> None:
    plain: Any = object()
    with pytest.raises(ConfigError, match="what else it could have answered") as caught:
        judge_behind(plain, plain, use(0.4))
    assert caught.value.code == "config.card-abstention"
    with pytest.raises(ConfigError, match="several labels may be true"):
        judge_behind(plain, classify(mode="multi-label"), use(0.4))
    assert judge_behind(plain, plain, GuardUse()) is plain


def test_what_was_fitted_is_of_these_artifacts_and_of_what_the_card_asks(tmp_path: Path) -> None:
    from edgeai_workbench.card_parts import AbstentionTable
    from edgeai_workbench.fitted_quantiles import ABSTENTION, Fitted, with_fitted
    from edgeai_workbench.notes import write_note

    class Card:
        name = "tiny"

        def __init__(self, guard: GuardUse) -> None:
            self.guard = guard

        def model_copy(self, update: dict[str, Any]) -> Card:
            return Card(**update)

    asks = msgspec.convert(AbstentionTable(risk=0.1).model_dump(), AbstentionUse)
    assert asks.quantile > 1e6, "before it is fitted no image gets a statement"
    card: Any = Card(GuardUse(abstention=asks))
    digests = {"tflite-int8": "sha256:1"}
    fitted = Fitted(risk=0.1, quantile=0.4, samples=20, units=18, data="sha256:2", artifacts=digests)

    def refused(why: str, artifacts: dict[str, str] = digests) -> None:
        with pytest.raises(ConfigError, match=why) as caught:
            with_fitted(card, tmp_path, artifacts)
        assert caught.value.code == "build.abstention"
        assert "edgeai build" in (caught.value.remedy or "")

    refused("nothing was fitted yet")
    write_note(tmp_path / ABSTENTION, fitted)
    assert with_fitted(card, tmp_path, digests).guard.abstention.quantile == 0.4  # type: ignore[union-attr]
    refused("is of other artifacts", {"tflite-int8": "sha256:3"})
    write_note(tmp_path / ABSTENTION, msgspec.structs.replace(fitted, risk=0.05))
    refused("asks for something else")
    (tmp_path / ABSTENTION).write_text("{}")
    refused("cannot be read")
    plain: Any = Card(GuardUse())
    assert with_fitted(plain, tmp_path, digests) is plain
