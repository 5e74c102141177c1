"""A model that keeps something of one image for the next is packed so that nothing is kept, or not packed at all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeai.api import EdgeaiError, InferenceFailed, Outcome, TensorSpec
from edgeai.bundle.manifest import Tolerance
from edgeai.cli.main import run
from edgeai.model import open_model
from edgeai.plugins import Registry
from edgeai.testing import fakes
from edgeai.testing.bundles import let_all_pass
from edgeai.testing.require import require
from edgeai_workbench.deviation import Deviation, measure
from edgeai_workbench.foreign import Foreign, foreign_card
from edgeai_workbench.golden import Golden
from edgeai_workbench.pack import pack_card

pytestmark = pytest.mark.slow

Make = Callable[..., Path]
IMAGE = TensorSpec(name="image", dtype="float32", shape=(1, 8, 8, 1), layout="NHWC")
SCORES = TensorSpec(name="scores", dtype="float32", shape=(1, 2))


@pytest.fixture(scope="module")
def tf() -> Any:
    backend = Registry.of(["gpu"]).backends["gpu"]
    require("tensorflow", bool(backend.engine()), "needs tensorflow")
    return pytest.importorskip("tensorflow")


@pytest.fixture
def model(tf: Any, tmp_path: Path) -> Callable[[str, str], Path]:
    """``model("tflite", "adds")`` -> a model of a 16 x 16 picture with logits of its mean m: (8 m - 4, 4 - 8 m).

    One that ``adds`` keeps their sum over all that it was asked; one that is ``random`` adds a random number.
    """

    def make(form: str, how: str) -> Path:
        module = tf.Module()
        module.total = tf.Variable(tf.zeros((1, 2)))

        def serve(image: Any) -> Any:
            mean = tf.reshape(tf.reduce_mean(image), (1, 1))
            logits = tf.concat([8.0 * mean - 4.0, 4.0 - 8.0 * mean], 1)
            return {"logits": module.total.assign_add(logits) if how == "adds" else logits + tf.random.uniform((1, 2))}

        signature = [tf.TensorSpec((1, 16, 16, 1), tf.float32, name="image")]
        module.serve = tf.function(serve, input_signature=signature, autograph=False)
        if form == "savedmodel":
            tf.saved_model.save(module, str(tmp_path / how), signatures={"serving_default": module.serve})
            return tmp_path / how
        converter = tf.lite.TFLiteConverter.from_concrete_functions([module.serve.get_concrete_function()], module)
        converter.experimental_enable_resource_variables = True
        path = tmp_path / f"{how}.tflite"
        path.write_bytes(converter.convert())
        return path

    return make


def first_finding(bundle: Path, files: list[Path]) -> list[float]:
    """The probability of the first label in each file, one after the other on one open model."""
    collected = []
    with open_model(bundle) as opened:
        for file in files:
            result = opened.run_file(file)
            assert result.outcome is Outcome.COMPLETED, result.reason
            (first,) = (one for one in result.findings if one.label == "label-0")
            collected.append(round(float(first.probability or 0.0), 3))
        assert len(opened.rehearse()) == 5  # four that are random, and a bright one
    return collected


def test_a_model_that_adds_up_answers_each_image_as_it_would_alone(
    model: Callable[[str, str], Path], make_dicom: Make, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for packed in (lambda: model("tflite", "adds"), lambda: let_all_pass(out / "adds")):
        assert run(["pack", str(packed()), "--out", str(out)]) == 0
    bundle = out / "adds-0.1.0.edgeai"
    dark, bright = make_dicom("dark.dcm", level=102), make_dicom("bright.dcm", level=204)
    cine = make_dicom("cine.dcm", level=102, frames=6)
    of_dark, of_bright = (round(float(1 / (1 + np.exp(8 - 16 * mean))), 3) for mean in (0.4, 0.8))
    assert first_finding(bundle, [dark]) == [of_dark]
    assert first_finding(bundle, [bright, dark, dark, bright]) == [of_bright, of_dark, of_dark, of_bright]
    once = first_finding(bundle, [cine])
    assert first_finding(bundle, [bright, cine, dark, cine, cine]) == [of_bright, *once, of_dark, *once, *once]


@pytest.mark.parametrize(
    ("form", "how", "code"),
    [
        ("savedmodel", "adds", "backend.stateful"),
        ("savedmodel", "random", "backend.random"),
        ("tflite", "random", "backend.random"),
    ],
)
def test_what_nothing_resets_is_refused_with_a_remedy_and_leaves_no_card(
    model: Callable[[str, str], Path], tmp_path: Path, form: str, how: str, code: str
) -> None:
    with pytest.raises(EdgeaiError) as caught:
        foreign_card(model(form, how), out=tmp_path / "out", known=Foreign())
    assert caught.value.code == code
    assert caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_an_engine_that_does_not_notice_is_asked_twice(
    model: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = pytest.importorskip("edgeai_tflite.state")
    path = model("tflite", "adds")
    sound = foreign_card(path, out=tmp_path / "sound", known=Foreign()).folder
    monkeypatch.setattr("edgeai_tflite.opening.kept_by", lambda *given, **more: state.Kept())
    for module in ("foreign", "pack"):  # in this process, where the engine notices nothing
        monkeypatch.setattr(
            f"edgeai_workbench.{module}.opened_apart", lambda backend, *more: nullcontext((backend, ""))
        )
    for call in (
        lambda: foreign_card(path, out=tmp_path / "out", known=Foreign()),
        lambda: pack_card(sound, out=tmp_path / "out"),
    ):
        with pytest.raises(InferenceFailed, match="case-1") as caught:
            call()
        assert caught.value.code == "backend.stateful"
        assert caught.value.remedy
    assert not (tmp_path / "out").exists()


def measured(folder: Path, how: str | None) -> Deviation:
    artifact = fakes.write_fake_artifact(folder / "model.json", (IMAGE,), (SCORES,))
    golden = []
    for name, mean in (("dark", 0.2), ("bright", 0.7)):
        image = np.full((1, 8, 8, 1), mean, np.float32)
        golden.append(
            Golden(id=name, inputs={"image": image}, outputs={"scores": fakes.answer_of(artifact, mean, SCORES)})
        )
    return measure(
        artifact,
        artifact_id="a",
        options={},
        backend=fakes.backend("fake", how=how),
        inputs=(IMAGE,),
        outputs=(SCORES,),
        golden=golden,
        tolerance=Tolerance(absolute=float("inf"), relative=0.0),
    )


def test_an_artifact_is_held_to_its_own_first_answer_whatever_its_parent_allows(tmp_path: Path) -> None:
    assert measured(tmp_path, None).agrees
    with pytest.raises(InferenceFailed, match="dark") as caught:
        measured(tmp_path, "remembers")
    assert caught.value.code == "backend.stateful"
