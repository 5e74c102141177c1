"""At which step a run failed: known for certain, whatever a plugin makes of it, with one frame and with many."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from edgeai.api import (
    EdgeaiError,
    Frame,
    InferenceFailed,
    TaskFailed,
    TensorMismatch,
    TransformFailed,
)
from edgeai.api.results import Note
from edgeai.bundle.manifest import Eligibility, FrameUse
from edgeai.model import running
from edgeai.model.running import Model
from edgeai.testing.examples import instance_ref

Make = Callable[..., Path]
FRAMES = (1, 5)
STEPS = ("decode", "transform", "run", "interpret", "summarise")


def break_at(model: Any, step: str, error: BaseException, monkeypatch: pytest.MonkeyPatch, *, after: int = 0) -> None:
    """Make the step fail, once it went well so many times."""
    calls = 0

    def failing(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > after:
                raise error
            return function(*args, **options)

        return call

    def decoding(*args: Any, **options: Any) -> Iterator[Frame]:
        yield from map(failing(lambda frame: frame), read(*args, **options))

    match step:
        case "decode":
            read = running.read_frames
            monkeypatch.setattr(running, "read_frames", decoding)
        case "transform":
            monkeypatch.setattr(model._pipeline, "prepare", failing(model._pipeline.prepare))
        case "run":
            session = model._session
            run = failing(session.run)
            monkeypatch.setattr(session, "run", run)
            monkeypatch.setattr(session, "stream", lambda inputs: (run(tensors) for tensors in inputs))
        case _:
            monkeypatch.setattr(model._task, step, failing(getattr(model._task, step)))


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("step", STEPS)
def test_the_step_that_failed_is_known_and_only_what_the_engine_saw_names_it(
    opened: Any, make_dicom: Make, monkeypatch: pytest.MonkeyPatch, step: str, frames: int, overlap: bool
) -> None:
    model: Model = opened()
    break_at(model, step, EdgeaiError("told to", code="odd.one"), monkeypatch)
    result = model.run_file(make_dicom(frames=frames), overlap=overlap)
    assert result.reason is not None
    assert (result.reason.code, model.failed_step) == ("odd.one", step)
    assert (result.engine is None) == (step in ("decode", "transform")), "an engine that saw nothing computed nothing"
    assert (result.frames_total, result.frames_run) == (frames, {"interpret": 1, "summarise": frames}.get(step, 0))
    assert not [thread for thread in threading.enumerate() if thread.name == "edgeai-ahead"]


@pytest.mark.parametrize("step", STEPS[:4])
def test_a_later_frame_that_fails_is_laid_on_its_own_step(
    opened: Any, make_dicom: Make, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    model: Model = opened()
    break_at(model, step, TensorMismatch("the third"), monkeypatch, after=2)
    result = model.run_file(make_dicom(frames=6))
    assert result.reason is not None
    assert (result.reason.code, model.failed_step) == ("tensor.mismatch", step)
    assert result.frames_total == 6
    # Threads prepare frames in turn, so the engine may have been told of the failure before it took the others.
    assert result.frames_run in {"run": (2,), "interpret": (3,)}.get(step, (0, 1, 2))


class Wrapping:
    """A session whose stream makes something of its own of whatever its feed raises."""

    def __init__(self, session: Any, how: str) -> None:
        self._session, self._how = session, how

    def stream(self, inputs: Iterable[Any]) -> Iterator[Any]:
        try:
            for tensors in inputs:
                yield self._session.run(tensors)
        except EdgeaiError as error:
            if self._how == "swallows":
                return
            raise InferenceFailed("the engine broke off") from (error if self._how == "chains" else None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


@pytest.mark.parametrize("how", ["swallows", "chains", "hides"])
@pytest.mark.parametrize("after", [0, 3])
def test_an_engine_that_makes_the_feeds_error_its_own_is_not_believed(
    opened: Any, make_dicom: Make, monkeypatch: pytest.MonkeyPatch, how: str, after: int
) -> None:
    model: Model = opened()
    break_at(model, "transform", TransformFailed("not this one"), monkeypatch, after=after)
    monkeypatch.setattr(model._session, "_session", Wrapping(model._session._session, how))
    result = model.run_file(make_dicom(frames=6))
    assert result.reason is not None
    assert (result.reason.code, model.failed_step) == ("transform.failed", "transform")


class Early:
    """A session whose stream ends early: it takes three inputs, answers three, and is done."""

    def __init__(self, session: Any, close_fails: bool = False) -> None:
        self._session, self._close_fails = session, close_fails

    def stream(self, inputs: Iterable[Any]) -> Iterator[Any]:
        try:
            for number, tensors in enumerate(inputs, start=1):
                yield self._session.run(tensors)
                if number == 3 and not self._close_fails:
                    return
        finally:
            if self._close_fails:
                raise InferenceFailed("the engine does not like to be closed")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def test_an_engine_that_ends_early_has_not_run_the_image(
    opened: Any, make_dicom: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Model = opened()
    monkeypatch.setattr(model._session, "_session", Early(model._session._session))
    result = model.run_file(make_dicom(frames=8))
    assert result.reason is not None
    assert (result.reason.code, model.failed_step) == ("backend.miscounted", "run")


def test_what_an_engine_says_when_it_is_closed_does_not_hide_why(
    opened: Any, make_dicom: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Model = opened()
    break_at(model, "interpret", TaskFailed("no sense in it"), monkeypatch)
    monkeypatch.setattr(model._session, "_session", Early(model._session._session, close_fails=True))
    result = model.run_file(make_dicom(frames=8))
    assert result.reason is not None
    assert (result.reason.code, model.failed_step) == ("task.failed", "interpret")


@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("how", ["wrong-shape", "nan", "raise", "raise-base", "exit"])
def test_a_backend_that_lies_failed_at_its_own_step(opened: Any, make_dicom: Make, how: str, frames: int) -> None:
    model: Model = opened((f"fake-{how}",))
    assert model.run_file(make_dicom(frames=frames)).engine == model.engine
    assert model.failed_step == "run"


@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("step", STEPS[1:])
def test_what_is_no_error_of_ours_has_its_step_too(
    opened: Any, make_dicom: Make, monkeypatch: pytest.MonkeyPatch, step: str, frames: int
) -> None:
    model: Model = opened()
    break_at(model, step, ZeroDivisionError("told to"), monkeypatch)
    assert model.run_file(make_dicom(frames=frames)).reason is not None
    assert model.failed_step == step


def test_no_step_failed_where_none_was_at_fault(opened: Any, make_dicom: Make, tmp_path: Path) -> None:
    model: Model = opened()
    assert model.run_file(tmp_path / "nothing.dcm").engine is None
    assert model.failed_step == "header"
    model.run_file(make_dicom("us.dcm", Modality="US"))
    assert model.failed_step is None, "not meant for it is not a failure"
    model.run_file(make_dicom("good.dcm", frames=3))
    assert model.failed_step is None
    assert model.run([], instance_ref(modality="CR")).reason is not None
    assert model.failed_step is None


# --- how much of it was run ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("use", "total", "run"),
    [
        (FrameUse(select="first"), 9, 1),
        (FrameUse(every=4), 9, 3),
        (FrameUse(max=4), 9, 4),
        (FrameUse(), 9, 9),
        (FrameUse(max=4), 1, 1),
    ],
)
@pytest.mark.parametrize("overlap", [True, False])
def test_a_result_says_how_many_frames_of_how_many(
    opened: Any, make_dicom: Make, use: FrameUse, total: int, run: int, overlap: bool
) -> None:
    result = opened(frames=use).run_file(make_dicom(frames=total), overlap=overlap)
    assert (result.frames_total, result.frames_run) == (total, run)
    texts = [note.text for note in result.notes if note.code == "input.frames-sampled"]
    assert texts == ([f"{run} of {total} frames were run"] if run < total else [])


def test_what_did_not_complete_says_no_word_of_sampling(opened: Any, make_dicom: Make) -> None:
    result = opened(("fake-nan",)).run_file(make_dicom(frames=9))
    assert (result.frames_total, result.frames_run, result.notes) == (9, 0, ())
    other = opened().run_file(make_dicom("us.dcm", frames=9, Modality="US"))
    assert (other.frames_total, other.frames_run, other.notes) == (9, 0, ())


def test_a_file_without_a_header_says_nothing_of_frames(opened: Any, tmp_path: Path) -> None:
    result = opened().run_file(tmp_path / "nothing.dcm")
    assert (result.frames_total, result.frames_run) == (None, None)


@pytest.mark.parametrize("change", [{"Rows": 0}, {"Columns": 0}, {"NumberOfFrames": 0}])
def test_an_image_without_extent_is_no_image_and_not_one_of_another_kind(
    opened: Any, make_dicom: Make, change: dict[str, int]
) -> None:
    result = opened(eligibility=Eligibility(modality=("CR",), min_rows=8, min_columns=8)).run_file(make_dicom(**change))
    assert result.reason is not None
    assert (str(result.outcome), result.reason.code) == ("failed", "pixels.dimensions")


def test_an_image_too_small_for_the_model_is_not_for_it(opened: Any, make_dicom: Make) -> None:
    result = opened(eligibility=Eligibility(min_rows=17)).run_file(make_dicom())
    assert result.reason is not None
    assert (str(result.outcome), result.reason.code) == ("not-applicable", "input.not-eligible")


def test_a_report_is_not_for_the_model_although_it_has_no_rows(opened: Any, make_dicom: Make) -> None:
    path = make_dicom(Modality="SR", Rows=0, Columns=0)
    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    dataset.save_as(path)
    result = opened().run_file(path)
    assert result.reason is not None
    assert (str(result.outcome), result.reason.code) == ("not-applicable", "input.not-eligible")


def test_what_the_header_notes_stands_in_the_result(
    opened: Any, make_dicom: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Noted:
        """A header, and a note on it."""

        def __init__(self, header: Any) -> None:
            self.notes = (Note(code="dicom.ignored", text="Manufacturer stands twice"),)
            self._header = header

        def __getattr__(self, name: str) -> Any:
            return getattr(self._header, name)

    read = running.read_header
    monkeypatch.setattr(running, "read_header", lambda path: Noted(read(path)))
    for frames in FRAMES:
        result = opened().run_file(make_dicom(f"{frames}.dcm", frames=frames))
        assert [(note.code, note.text) for note in result.notes] == [("dicom.ignored", "Manufacturer stands twice")]
