"""The model that stands before the model admits, withholds or fails; what it was not asked about does not pass."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from edgeai.api import (
    BackendUnavailable,
    EdgeaiError,
    Indeterminate,
    InferenceFailed,
    Note,
    Outcome,
    PluginNotFound,
    Result,
)
from edgeai.bundle.manifest import ArtifactDecl, GoldenCase, TaskUse, TensorDecl, TransformStep
from edgeai.bundle.reader import open_bundle
from edgeai.bundle.uses import GuardModel, GuardUse
from edgeai.cli.statement import statement
from edgeai.model import Model, RiskyStep
from edgeai.model.abreast import run_files
from edgeai.model.again import compare, tolerance_of, tolerance_of_guard
from edgeai.model.looks import Looks
from edgeai.roles.strikes import engine_at_fault
from edgeai.testing.fakes import Misbehaviour
from edgeai.testing.gallery import frame as gallery_frame
from edgeai.testing.phantoms import write_instance

IMAGE = TensorDecl(name="image", dtype="float32", shape=(1, 8, 8, 1), layout="NHWC")
SCORES = TensorDecl(name="scores", dtype="float32", shape=(1, 2))
GUARD = GuardModel(
    task=TaskUse(name="fake-classify", options={"labels": ["bright", "dark"]}),
    admit=("bright",),
    min_score=0.6,
    inputs=(IMAGE,),
    outputs=(SCORES,),
    artifacts=(ArtifactDecl(id="fake-fp32", format="fake", precision="fp32", path="guard.json"),),
    transforms=(TransformStep(transform="fake-subsample", options={"rows": 8, "columns": 8}),),
)
Opened = Callable[..., Model]
MakeDicom = Callable[..., Path]


def guarded(*, content: bool = False, **changes: Any) -> dict[str, Any]:
    """Of a manifest whose model is asked about bright images alone."""
    model = msgspec.structs.replace(GUARD, **changes)
    return {"schema": 2, "guard": GuardUse(content=content, model=model)}


def code_of(result: Result) -> str:
    return result.reason.code if result.reason else ""


# --- one by one ---------------------------------------------------------------------------------


def test_what_it_admits_is_answered_and_has_its_figure(opened: Opened, make_dicom: MakeDicom) -> None:
    model = opened(**guarded())
    result = model.run_file(make_dicom(level=250))
    assert result.outcome is Outcome.COMPLETED
    [figure] = result.guard
    assert (figure.check, figure.name, figure.threshold, figure.withheld) == (
        "guard-model",
        "score of bright",
        0.6,
        False,
    )
    assert figure.value > 0.9
    assert {"guard", "run"} <= set(result.timings_ms)
    assert Result.from_dict(result.as_dict()).guard == result.guard


def test_what_it_does_not_admit_is_withheld_and_the_model_is_not_asked(opened: Opened, make_dicom: MakeDicom) -> None:
    model = opened(misbehave=Misbehaviour(how="raise"), **guarded())
    result = model.run_file(make_dicom(level=20))
    assert (result.outcome, code_of(result)) == (Outcome.NOT_APPLICABLE, "guard.not-admitted")
    assert (result.engine, result.frames_run, result.findings, model.failed_step) == (None, 0, (), None)
    assert result.reason is not None
    assert "not shown to be bright, which the model is for: score of bright 0.0" in result.reason.message
    assert "at least 0.6, and dark 0.9" in result.reason.message
    assert [figure.withheld for figure in result.guard] == [True]
    assert "run" not in result.timings_ms
    assert statement(result).headline == "This image was kept from the model"
    assert code_of(model.run_file(make_dicom(level=250))) == "plugin.fault", "the model itself is broken"


def test_content_is_asked_first_and_its_figures_come_first(opened: Opened, tmp_path: Path) -> None:
    model = opened(guard_misbehaves=Misbehaviour(how="raise"), **guarded(content=True))
    black = write_instance(tmp_path / "black.dcm", np.zeros((64, 80), np.uint8), modality="CR").path
    assert code_of(model.run_file(black)) == "guard.constant", "the broken guard's model was not asked"
    model = opened(**guarded(content=True, admit=("dark",)))
    picture = write_instance(tmp_path / "picture.dcm", gallery_frame(64, 80).pixels, modality="CR").path
    result = model.run_file(picture)
    assert [figure.check for figure in result.guard] == [*["content"] * 7, "guard-model"]


@pytest.mark.parametrize("admit", [("dark", "bright"), ("bright", "dark")])
def test_the_highest_of_several_admits(opened: Opened, make_dicom: MakeDicom, admit: tuple[str, ...]) -> None:
    result = opened(**guarded(admit=admit)).run_file(make_dicom(level=250))
    assert (result.outcome, result.guard[0].name) == (Outcome.COMPLETED, "score of bright")


def test_a_label_that_it_does_not_give_admits_nothing(opened: Opened, make_dicom: MakeDicom) -> None:
    result = opened(**guarded(admit=("chest",))).run_file(make_dicom(level=250))
    assert (code_of(result), result.guard[0].value) == ("guard.not-admitted", 0.0)


def test_no_statement_of_it_admits_nothing(
    opened: Opened, make_dicom: MakeDicom, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened(**guarded())

    def silent(*_: Any) -> Any:
        raise Indeterminate("nothing is stated")

    assert model.sentry is not None
    monkeypatch.setattr(model.sentry, "_task", SimpleNamespace(interpret=silent))
    result = model.run_file(make_dicom(level=250))
    assert (result.outcome, code_of(result)) == (Outcome.NOT_APPLICABLE, "guard.not-admitted")


# --- what goes wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "code"),
    [("raise", "plugin.fault"), ("nan", "tensor.not-finite"), ("wrong-shape", "tensor.mismatch")],
)
def test_an_engine_of_it_that_fails_is_an_error_and_its_plugins_doing(
    opened: Opened, make_dicom: MakeDicom, how: str, code: str
) -> None:
    model = opened(guard_misbehaves=Misbehaviour(how=how), **guarded())
    result = model.run_file(make_dicom(level=250))
    assert (result.outcome, code_of(result), result.findings) == (Outcome.FAILED, code, ())
    assert (model.failed_step, result.engine) == ("guard", None)
    engine = engine_at_fault(model)
    assert engine is not None
    assert (engine, engine.plugin) == ("run", "fakes")


def test_a_frame_that_it_cannot_take_fails_and_is_nobodys_engine(opened: Opened, make_dicom: MakeDicom) -> None:
    steps = (TransformStep(transform="fake-raises", options={"rows": 8, "columns": 8}),)
    model = opened(**guarded(transforms=steps))
    assert code_of(model.run_file(make_dicom(level=250))) == "plugin.fault"
    assert (model.failed_step, engine_at_fault(model)) == ("transform", None)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"artifacts": (msgspec.structs.replace(GUARD.artifacts[0], format="other"),)}, BackendUnavailable),
        ({"task": TaskUse(name="of-another-world")}, PluginNotFound),
        ({"transforms": (TransformStep(transform="of-another-world"),)}, PluginNotFound),
        ({"task": TaskUse(name="fake-classify", options={"labels": ["one"]})}, EdgeaiError),
    ],
)
def test_a_model_whose_guard_does_not_open_does_not_open(
    opened: Opened, changes: dict[str, Any], error: type[EdgeaiError]
) -> None:
    with pytest.raises(error):
        opened(**guarded(**changes))


def test_its_breadcrumb_is_a_run_inside_that_of_the_image(opened: Opened, make_dicom: MakeDicom) -> None:
    """So that a process that dies in there is laid on the plugin of its engine."""
    left: list[tuple[str, str | None]] = []

    @contextmanager
    def crumb(step: RiskyStep) -> Iterator[None]:
        left.append((str(step), step.plugin))
        yield

    model = opened(breadcrumb=crumb, **guarded())
    left.clear()
    model.run_file(make_dicom(level=20), overlap=False)
    assert left == [("decode", None), ("run", "fakes"), ("interpret", None)]
    left.clear()
    model.run_file(make_dicom(level=250), overlap=False)
    guarded_run = [("run", "fakes"), ("interpret", None)]
    assert left == [("decode", None), *guarded_run, *guarded_run, ("interpret", None)]


# --- several frames, several images -------------------------------------------------------------


@pytest.mark.parametrize("overlap", [True, False])
def test_of_a_cine_each_frame_is_asked_about(opened: Opened, tmp_path: Path, overlap: bool) -> None:
    model = opened(**guarded())
    pixels = np.full((9, 64, 80), 250, np.uint8)
    pixels[[1, 4, 8]] = 7
    path = write_instance(tmp_path / "cine.dcm", pixels, modality="CR", frames=True).path
    result = model.run_file(path, overlap=overlap)
    assert (result.outcome, result.frames_run, result.frames_total) == (Outcome.COMPLETED, 6, 9)
    text = "3 frames not judged, and no finding speaks of what is there: 2, 5, 9 (guard.not-admitted)"
    assert Note(code="guard.frames-withheld", text=text) in result.notes
    assert [figure.withheld for figure in result.guard] == [True]
    pixels[[0, 2]] = 7
    path = write_instance(tmp_path / "cine.dcm", pixels, modality="CR", frames=True).path
    result = model.run_file(path, overlap=overlap)
    assert (result.outcome, code_of(result)) == (Outcome.NOT_APPLICABLE, "guard.not-admitted")
    assert result.reason is not None
    assert "5 of 9 frames show what the model is not for" in result.reason.message
    pixels[:] = 7
    path = write_instance(tmp_path / "cine.dcm", pixels, modality="CR", frames=True).path
    result = model.run_file(path, overlap=overlap)
    assert (result.outcome, code_of(result), result.frames_run) == (Outcome.NOT_APPLICABLE, "guard.not-admitted", 0)
    assert result.engine is None


@pytest.mark.parametrize("code", ["guard.not-admitted", "guard.constant", "task.indeterminate"])
def test_frames_that_are_withheld_are_not_kept_in_memory(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """By the traceback of why they are, say."""
    frames: list[weakref.ref[Any]] = []
    kept: list[int] = []
    prepare = Looks.prepare

    def watching(looks: Looks, pipeline: Any, frame: Any, shared: Any) -> Any:
        kept.append(sum(each() is not None for each in frames))
        frames.append(weakref.ref(frame.pixels))
        return prepare(looks, pipeline, frame, shared)

    def unsure(outputs: Any, context: Any) -> Any:
        raise Indeterminate("nothing is stated")

    monkeypatch.setattr(Looks, "prepare", watching)
    admit = ("bright",) if code == "guard.not-admitted" else ("dark",)
    model = opened(**guarded(content=code == "guard.constant", admit=admit))
    monkeypatch.setattr(model, "_task", SimpleNamespace(interpret=unsure, summarise=unsure))
    cine = np.full((12, 64, 80), 7, np.uint8)
    path = write_instance(tmp_path / "cine.dcm", cine, modality="CR", frames=True).path
    result = model.run_file(path, overlap=False)
    assert (code_of(result), len(kept)) == (code, 12)
    assert max(kept) <= 2


@pytest.mark.parametrize("overlap", [True, False])
def test_a_cine_fails_where_it_cannot_be_asked_about_a_frame(opened: Opened, tmp_path: Path, overlap: bool) -> None:
    failing = Misbehaviour(how="raise", mean_above=0.99)
    model = opened(guard_misbehaves=failing, **guarded())
    pixels = np.full((5, 64, 80), 240, np.uint8)
    pixels[3] = 255
    path = write_instance(tmp_path / "cine.dcm", pixels, modality="CR", frames=True).path
    result = model.run_file(path, overlap=overlap)
    assert (result.outcome, code_of(result), model.failed_step) == (Outcome.FAILED, "plugin.fault", "guard")


@pytest.mark.parametrize("how", ["", "drop", "eager", "raise"])
def test_images_in_a_row_end_as_alone(opened: Opened, make_dicom: MakeDicom, how: str) -> None:
    """Admitted, withheld and failing ones among one another, on engines whose streams are sound and are not."""
    levels = [250, 10, 255, 11, 240, 241, 12, 255, 13, 242, 243, 244]
    files = [make_dicom(f"{number}.dcm", level=level) for number, level in enumerate(levels)]
    failing = Misbehaviour(how="raise", mean_above=0.99) if how == "raise" else None
    odd = Misbehaviour(how=how) if how in ("drop", "eager") else None
    model = opened(misbehave=odd, guard_misbehaves=failing, **guarded())
    alone = [(told(model.run_file(path)), model.failed_step) for path in files]
    assert {body["outcome"] for body, _ in alone} >= {"completed", "not-applicable"}
    with closing(run_files(model, files)) as results:
        assert [(told(result), model.failed_step) for _, result in results] == alone


def told(result: Result) -> dict[str, Any]:
    body = result.as_dict()
    return {name: body[name] for name in ("outcome", "reason", "findings", "guard", "frames_run", "engine", "notes")}


# --- rehearsal, and what is known of it ----------------------------------------------------------


def test_its_golden_cases_are_rehearsed_with_those_of_the_model(opened: Opened) -> None:
    case = GoldenCase(id="grey", inputs={"image": "golden/input.npy"}, outputs={"scores": "golden/output.npy"})
    with closing(opened(**guarded(golden=(case,)))) as model:
        assert [answer.case for answer in model.rehearse()] == ["guard, grey", "grey"]
        model.prove()
    lying = opened(guard_misbehaves=Misbehaviour(how="zeros"), **guarded(golden=(case,)))
    with pytest.raises(InferenceFailed, match="golden"):
        lying.rehearse()


def test_one_without_golden_cases_is_asked_all_the_same(opened: Opened) -> None:
    broken = opened(guard_misbehaves=Misbehaviour(how="raise"), **guarded())
    with pytest.raises(EdgeaiError):
        broken.prove()
    opened(**guarded()).prove()


def test_it_runs_on_the_engine_of_the_model_and_is_not_degraded(opened: Opened) -> None:
    model = opened(("fake-leak", "fake-works"), **guarded())
    assert model.sentry is not None
    assert (model.sentry.engine.backend, model.engine.backend) == ("fake-leak", "fake-leak")
    assert (model.degraded, model.sentry.engine.artifact) == (None, "fake-fp32")


def test_a_bundle_shows_it_as_a_bundle_of_its_own(make_bundle: Callable[..., Path]) -> None:
    bundle = open_bundle(make_bundle(**guarded()))
    assert bundle.guard is not None
    assert [item.path for item in bundle.guard.artifacts] == ["guard.json"]
    assert (bundle.guard.digest, bundle.guard.manifest.guard, bundle.guard.guard) == (bundle.digest, None, None)
    assert open_bundle(make_bundle()).guard is None


def test_scaled_decoding_leaves_enough_for_both(opened: Opened) -> None:
    """Scaled decoding goes by what the model takes; what stands before it may take more."""
    any_size = TensorDecl(name="image", dtype="float32", shape=(1, None, None, 1), layout="NHWC")
    options = opened(inputs=(any_size,), takes=any_size, golden=False, **guarded()).decode_options((1,))
    assert (options.min_rows, options.min_columns) == (8, 8)


def test_a_replay_allows_its_figure_what_its_golden_cases_allow(opened: Opened, make_dicom: MakeDicom) -> None:
    wide = GoldenCase(
        id="grey",
        inputs={"image": "golden/input.npy"},
        outputs={"scores": "golden/output.npy"},
        artifacts={"fake-fp32": {"absolute": 0.05, "relative": 0.0}},  # type: ignore[dict-item]
    )
    model = opened(**guarded(golden=(msgspec.convert(msgspec.to_builtins(wide), GoldenCase),)))
    manifest = model.bundle.manifest
    before = model.run_file(make_dicom(level=250))
    for away, same in ((0.02, True), (0.2, False)):
        moved = replace(before, guard=(replace(before.guard[0], value=before.guard[0].value - away),))
        compared = compare(before, moved, tolerance_of(manifest, "fake-fp32"), guard=tolerance_of_guard(manifest))
        assert (not compared.differences) == same
