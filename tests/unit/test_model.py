"""A bundle at work on fake engines: results that are right, and failures that say so."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeai
from edgeai.api import (
    BackendError,
    BundleRejected,
    EdgeaiError,
    Frame,
    Geometry,
    InstanceRef,
    Outcome,
    PluginNotFound,
    Result,
    SessionClosed,
    TaskFailed,
    TransformFailed,
)
from edgeai.bundle.manifest import ArtifactDecl, FrameUse, TaskUse, TensorDecl, TransformStep
from edgeai.model import open_model, result_id
from edgeai.model.results import uuid_of
from edgeai.testing.fakes import WAYS, Misbehaviour

Make = Callable[..., Path]


def label_of(result: Result) -> str:
    assert result.outcome is Outcome.COMPLETED, result.reason
    return next(finding.label for finding in result.findings if finding.present)


def code_of(result: Result) -> str:
    assert result.outcome is not Outcome.COMPLETED
    assert result.findings == ()
    assert result.reason is not None
    return result.reason.code


# --- what completes ---------------------------------------------------------------------------


def test_a_result_names_everything_that_made_it(opened: Any, make_dicom: Make) -> None:
    model = opened()
    result = model.run_file(make_dicom(level=250), deployment="ward")
    assert label_of(result) == "bright"
    assert result.model.name == "tiny"
    assert result.model.digest == model.bundle.digest
    assert result.engine == model.engine
    assert (model.engine.backend, model.engine.device, model.engine.precision) == ("fake-works", "CPU", "fp32")
    assert (model.engine.engine, model.engine.artifact) == ("fake 1.0", "fake-fp32")
    assert result.degraded is None
    assert result.edgeai_version == edgeai.__version__
    assert result.created_at.endswith("Z")
    assert set(result.timings_ms) == {"header", "decode", "transform", "run", "interpret", "total"}
    assert result.timings_ms["total"] >= max(result.timings_ms.values()) > 0
    assert result.instance.modality == "CR"
    assert "Secret" not in str(result.as_dict())


def test_the_answer_is_the_images(opened: Any, make_dicom: Make) -> None:
    model = opened()
    assert label_of(model.run_file(make_dicom("b.dcm", level=250))) == "bright"
    assert label_of(model.run_file(make_dicom("d.dcm", level=3))) == "dark"


def test_the_identity_is_of_instance_bundle_and_deployment(opened: Any, make_dicom: Make) -> None:
    model = opened()
    path = make_dicom()
    first, again = model.run_file(path, deployment="a"), model.run_file(path, deployment="a")
    assert first.result_id == again.result_id
    others = {
        model.run_file(path, deployment="b").result_id,
        model.run_file(make_dicom("other.dcm"), deployment="a").result_id,
        opened(version="1.0.1").run_file(path, deployment="a").result_id,
    }
    assert len({first.result_id, *others}) == 4
    assert first.result_id == result_id(first.instance.sop_instance_uid, model.bundle.digest, "a")
    assert result_id("1.2", "d", "3") != result_id("1.23", "d", ""), "no way to shift a character across a border"


def test_a_file_that_is_no_instance_has_the_identity_of_its_name(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened()
    missing = tmp_path / "no such file.dcm"
    expected = result_id(missing.as_uri(), model.bundle.digest, "a")
    assert model.run_file(missing, deployment="a").result_id == expected
    monkeypatch.chdir(tmp_path)
    assert model.run_file(missing.name, deployment="a").result_id == expected, "however it is named"


def test_an_identity_is_a_uuid_of_version_8() -> None:
    for bits in (0, 1, 2**127, 2**128 - 1, 0x0123456789ABCDEF0F1E2D3C4B5A6978):
        text = uuid_of(bits.to_bytes(16) + b"more of the hash")
        identity = uuid.UUID(text)
        assert (str(identity), identity.version, identity.variant) == (text, 8, uuid.RFC_4122)
        assert (identity.int ^ bits) & ~(0xF << 76 | 0x3 << 62) == 0, "all other bits are those of the hash"


@pytest.mark.parametrize("overlap", [True, False])
def test_a_cine_runs_every_frame_in_order(opened: Any, make_dicom: Make, overlap: bool) -> None:
    seen: list[int | None] = []
    model = opened()
    interpret = model._task.interpret

    class Watching:
        def interpret(self, outputs: Any, context: Any) -> Any:
            seen.append(context.frame.number)
            return interpret(outputs, context)

        summarise = staticmethod(model._task.summarise)

    model._task = Watching()
    result = model.run_file(make_dicom(level=100, frames=40), overlap=overlap)
    assert seen == list(range(1, 41))
    assert label_of(result) == "bright"
    assert set(result.timings_ms) == {"header", "decode", "transform", "run", "interpret", "total"}
    assert not [thread for thread in threading.enumerate() if thread.name == "edgeai-ahead"]


def test_the_manifest_chooses_the_frames(opened: Any, make_dicom: Make) -> None:
    path = make_dicom(level=0, frames=200)  # from black to bright
    assert label_of(opened(frames=FrameUse(select="first")).run_file(path)) == "dark"
    assert label_of(opened(frames=FrameUse()).run_file(path)) == "bright"
    assert label_of(opened(frames=FrameUse(every=150)).run_file(path)) == "bright"


def test_frames_without_a_file(opened: Any) -> None:
    model = opened()
    instance = InstanceRef(sop_class_uid="1.2", sop_instance_uid="1.2.3", modality="CR")
    pixels = np.full((16, 16), 250, np.uint8)
    frame = Frame(pixels=pixels, number=1, geometry=Geometry(source_rows=16, source_columns=16), instance=instance)
    assert label_of(model.run([frame], instance)) == "bright"
    assert label_of(model.run((frame for _ in range(30)), instance)) == "bright"
    assert code_of(model.run([], instance)) == "input.no-frames"
    assert code_of(model.run(iter(()), instance)) == "input.no-frames"


# --- what does not ----------------------------------------------------------------------------


def test_an_instance_that_is_not_meant_is_not_applicable(opened: Any, make_dicom: Make) -> None:
    result = opened().run_file(make_dicom(Modality="US"))
    assert result.outcome is Outcome.NOT_APPLICABLE
    assert code_of(result) == "input.not-eligible"
    assert "US" in result.reason.message
    assert result.engine is None, "nothing was computed"


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "dicom.not-dicom"), (b"hello", "dicom.not-dicom"), (None, "input.unreadable")],
)
def test_a_file_that_is_no_image_fails_with_a_code(opened: Any, tmp_path: Path, content: Any, code: str) -> None:
    path = tmp_path / "x.dcm"
    if content is not None:
        path.write_bytes(content)
    result = opened().run_file(path)
    assert code_of(result) == code
    assert result.outcome is Outcome.FAILED
    assert result.instance.sop_instance_uid == ""


def test_unreadable_files_have_identities_of_their_own(opened: Any, tmp_path: Path) -> None:
    model = opened()
    assert model.run_file(tmp_path / "a").result_id != model.run_file(tmp_path / "b").result_id
    assert model.run_file(tmp_path / "a").result_id == model.run_file(tmp_path / "a").result_id


def test_missing_pixels_fail(opened: Any, make_dicom: Make) -> None:
    model = opened()
    path = make_dicom("short.dcm")
    path.write_bytes(path.read_bytes()[:-10])
    assert code_of(model.run_file(path)).split(".")[0] in ("pixels", "dicom")
    cine = make_dicom("cine.dcm", frames=9)
    cine.write_bytes(cine.read_bytes()[:-10])
    assert code_of(model.run_file(cine)).split(".")[0] in ("pixels", "dicom")


LIES = {
    "wrong-shape": "tensor.mismatch",
    "wrong-dtype": "tensor.mismatch",
    "wrong-names": "tensor.mismatch",
    "nan": "tensor.not-finite",
    "raise": "plugin.fault",
    "raise-base": "plugin.fault",
    "exit": "plugin.fault",
}


@pytest.mark.parametrize("frames", [1, 5])
@pytest.mark.parametrize(("how", "code"), LIES.items())
def test_a_backend_that_misbehaves_fails_the_run(
    opened: Any, make_dicom: Make, how: str, code: str, frames: int
) -> None:
    assert how in WAYS
    result = opened((f"fake-{how}",)).run_file(make_dicom(frames=frames))
    assert result.outcome is Outcome.FAILED
    assert code_of(result) == code
    assert result.engine is not None, "who did it is named"


def test_a_backend_that_drops_outputs_fails_the_run(opened: Any, make_dicom: Make) -> None:
    assert code_of(opened(("fake-drop",)).run_file(make_dicom(frames=8))) == "backend.miscounted"


def test_one_bad_image_does_not_stop_the_next(opened: Any, make_dicom: Make) -> None:
    model = opened(misbehave=Misbehaviour(how="raise", mean_above=0.9))
    bad, good = make_dicom("bad.dcm", level=255), make_dicom("good.dcm", level=200)
    assert code_of(model.run_file(bad)) == "plugin.fault"
    assert label_of(model.run_file(good)) == "bright"
    assert code_of(model.run_file(make_dicom("cine.dcm", level=225, frames=30))) == "plugin.fault"
    assert label_of(model.run_file(good)) == "bright"
    assert not [thread for thread in threading.enumerate() if thread.name == "edgeai-ahead"]


@pytest.mark.parametrize("frames", [1, 4])
def test_a_transform_that_fails(opened: Any, make_dicom: Make, frames: int) -> None:
    model = opened(transforms=(TransformStep(transform="fake-raises", options={"rows": 8, "columns": 8}),))
    assert code_of(model.run_file(make_dicom(frames=frames))) == "plugin.fault"


def test_a_transform_of_another_size_than_the_model(opened: Any, make_dicom: Make) -> None:
    model = opened(transforms=(TransformStep(transform="fake-subsample", options={"rows": 9, "columns": 8}),))
    assert code_of(model.run_file(make_dicom())).startswith("tensor.")


def test_a_task_that_says_nothing_is_a_failure_and_not_a_negative(opened: Any, make_dicom: Make) -> None:
    model = opened(task=TaskUse(name="fake-silent", options={"labels": ["bright", "dark"]}))
    assert code_of(model.run_file(make_dicom())) == "plugin.contract"


def test_a_mistake_of_our_own_is_a_failure_too(opened: Any, make_dicom: Make) -> None:
    model = opened()
    model._pipeline = None
    assert code_of(model.run_file(make_dicom())) == "edgeai.internal"


def test_a_closed_model_fails_every_run(opened: Any, make_dicom: Make) -> None:
    model = opened()
    model.close()
    model.close()
    assert code_of(model.run_file(make_dicom())) == SessionClosed.default_code


# --- what a bundle may ask --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"task": TaskUse(name="nonesuch")}, PluginNotFound),
        ({"task": TaskUse(name="fake-classify", options={"labels": ["one"]})}, TaskFailed),
        ({"task": TaskUse(name="fake-classify", options={"lables": []})}, TaskFailed),
        ({"transforms": (TransformStep(transform="nonesuch"),)}, PluginNotFound),
        (
            {"transforms": (TransformStep(transform="fake-subsample", options={"rows": -1, "columns": 8}),)},
            TransformFailed,
        ),
        ({"artifacts": (ArtifactDecl(id="f", format="fake", precision="x", path="golden/input.npy"),)}, BackendError),
    ],
)
def test_a_bundle_that_cannot_be_opened(opened: Any, changes: dict[str, Any], error: type[EdgeaiError]) -> None:
    with pytest.raises(error):
        opened(**changes)


def test_a_model_of_two_inputs_is_refused(opened: Any) -> None:
    two = (
        TensorDecl(name="image", dtype="float32", shape=(1, 8, 8, 1), layout="NHWC"),
        TensorDecl(name="age", dtype="float32", shape=(1, 1)),
    )
    with pytest.raises(BundleRejected) as caught:
        opened(inputs=two, golden=False)
    assert caught.value.code == "bundle.unsupported-inputs"


def test_plugins_that_the_manifest_names_must_be_installed(make_bundle: Make, tmp_path: Path) -> None:
    with pytest.raises(PluginNotFound, match="nonesuch"):
        open_model(make_bundle(plugins=("nonesuch",)), cache_dir=tmp_path / "cache")
