"""Bundles around models that someone else made: the kit's MobileNetV2 and LSTM, an OpenVINO IR, a SavedModel."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeai.api import ConfigError, DataRejected, OpenRequest, Outcome, TaskFailed, TensorMismatch
from edgeai.bundle.reader import Bundle, open_bundle
from edgeai.cli.main import run
from edgeai.model import open_model
from edgeai.plugins import Registry
from edgeai.testing.bundles import let_all_pass
from edgeai.testing.require import require
from edgeai_workbench.building import build_card
from edgeai_workbench.card import read_card
from edgeai_workbench.foreign import Foreign, foreign_card
from edgeai_workbench.pack import pack_card
from edgeai_workbench.pictures import load

pytestmark = pytest.mark.slow

TFLITE = Registry.of(["tflite"]).backends["tflite"]


@pytest.fixture(scope="module")
def kit(data_kit: Path) -> Path:
    """The kit's models."""
    require("tflite", bool(TFLITE.probe()), TFLITE.explain())
    return data_kit / "models"


def _packed(model: Path, out: Path, **known: Any) -> Bundle:
    folder = let_all_pass(foreign_card(model, out=out, known=Foreign(**known)).folder)  # photographs and digits
    return open_bundle(pack_card(folder, out=out).bundle, cache_dir=out / "cache")


def _golden(bundle: Bundle, what: str, name: str) -> np.ndarray:
    cases = bundle.manifest.golden
    return np.concatenate([np.load(bundle.path(getattr(case, what)[name])) for case in cases])


def _top(bundle: Bundle, picture: Path) -> str:
    frame = load(picture)
    with open_model(bundle, backends=["tflite"]) as model:
        result = model.run([frame], frame.instance)
    assert result.outcome is Outcome.COMPLETED, result.reason
    return next(finding.label for finding in result.findings if finding.present)


@pytest.fixture(scope="module")
def mobilenet(kit: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """MobileNetV2 with whole numbers at its borders, and the reference's input as its golden case."""
    return _packed(
        kit / "mobilenet_v2_1.0_224_quant.tflite",
        tmp_path_factory.mktemp("mobilenet"),
        name="mobilenet",
        labels=kit / "imagenet_labels.txt",
        inputs=kit / "ref_mobilenet_v2_orange.npz",
    )


def test_a_model_of_bytes_answers_as_the_reference_and_names_the_orange(mobilenet: Bundle, kit: Path) -> None:
    with np.load(kit / "ref_mobilenet_v2_orange.npz") as reference:
        wanted = reference["output"]
    answers = _golden(mobilenet, "outputs", "output")
    assert answers.dtype == np.uint8
    assert np.abs(answers.astype(int) - wanted.astype(int)).max() <= 3
    assert answers.argmax() == json.loads((kit / "reference.json").read_text())["mobilenet_v2_1.0_224_quant"]["top1"]
    manifest = mobilenet.manifest
    assert [(spec.name, spec.dtype, spec.layout) for spec in manifest.inputs] == [("input", "uint8", "NHWC")]
    assert manifest.task.options["dequantise"] == [pytest.approx(0.0988925), 58]
    assert manifest.task.options["activation"] == "softmax"
    assert manifest.artifacts[0].id == "tflite-int8"
    assert manifest.golden[0].tolerance_for("tflite-int8").absolute == 3.0
    assert "crane (2)" in manifest.task.options["labels"]
    assert _top(mobilenet, kit / "orange.png") == "orange"


def test_its_bill_of_materials_knows_the_file_and_no_converter(mobilenet: Bundle) -> None:
    bom = json.loads(mobilenet.path("sbom.cdx.json").read_text())
    assert bom["metadata"]["component"]["hashes"]
    artifact = next(one for one in bom["components"] if one["bom-ref"] == "artifact:tflite-int8")
    assert {"name": "edgeai:converter", "value": "as-is"} in artifact["properties"]


def test_a_model_of_rows_runs_by_tensors_where_pictures_are_refused(kit: Path, tmp_path: Path) -> None:
    model = kit / "mnist_trained_lstm.tflite"
    bundle = _packed(model, tmp_path, inputs=kit / "ref_mnist_trained_lstm.npz")
    with np.load(kit / "ref_mnist_trained_lstm.npz") as reference:
        np.testing.assert_allclose(_golden(bundle, "outputs", "sequential"), reference["output"], atol=1e-5)
        np.testing.assert_array_equal(_golden(bundle, "inputs", "fixed_input"), reference["input"])
    with pytest.raises(TensorMismatch) as caught:
        open_model(bundle, backends=["tflite"])
    assert caught.value.code == "tensor.layout"
    manifest = bundle.manifest
    request = OpenRequest(
        artifact=bundle.path(manifest.artifacts[0].path),
        device="CPU",
        inputs=manifest.input_specs(),
        outputs=manifest.output_specs(),
    )
    from edgeai.model.golden import rehearse

    session = TFLITE.open(request)
    assert len(rehearse(bundle, manifest.artifacts[0].id, session.run)) == 5
    with pytest.raises(Exception, match="outside their tolerance"):
        rehearse(bundle, manifest.artifacts[0].id, lambda inputs: {"sequential": np.full((1, 10), 0.1, np.float32)})
    session.close()


def test_the_same_rows_as_a_picture(kit: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(5):
        shutil.copyfile(kit / f"mnist_sample{number}.png", images / f"{number}.png")
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"digit {number}\n" for number in range(10)))
    bundle = _packed(kit / "mnist_trained_lstm.tflite", tmp_path / "out", images=images, labels=labels)
    assert bundle.manifest.inputs[0].layout == "NHW"
    wanted = json.loads((kit / "reference.json").read_text())["mnist_trained_lstm"]
    assert [_top(bundle, images / f"{number}.png") for number in range(5)] == [f"digit {number}" for number in wanted]


def test_the_command_says_where_the_card_is_and_a_corrected_card_packs_again(
    kit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(kit / "mnist_trained_lstm.tflite")
    assert run(["pack", model, "--out", str(tmp_path), "--name", "digits", "--values", "-1", "1"]) == 0
    printed = capsys.readouterr().out
    assert "tflite-fp32" in printed
    card = tmp_path / "digits" / "model.toml"
    assert f"card: {card}" in printed
    assert np.load(card.parent / "golden" / "case-1" / "inputs" / "fixed_input.npy").min() < -0.9
    first = (tmp_path / "digits-0.1.0.edgeai").read_bytes()
    assert run(["pack", str(card.parent), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "digits-0.1.0.edgeai").read_bytes() == first
    card.write_text(card.read_text().replace('version = "0.1.0"', 'version = "0.2.0"'))
    assert run(["pack", str(card.parent), "--out", str(tmp_path)]) == 0
    assert open_bundle(tmp_path / "digits-0.2.0.edgeai", cache_dir=tmp_path / "cache").manifest.version == "0.2.0"
    assert run(["pack", model, "--out", str(tmp_path), "--name", "digits"]) == 2


# --- the other formats ----------------------------------------------------------------------------


@pytest.fixture
def ir(tmp_path: Path) -> Path:
    """An OpenVINO IR of y = softmax(2 x), made by hand."""
    backend = Registry.of(["openvino"]).backends["openvino"]
    require("openvino", bool(backend.probe()), backend.explain())
    import openvino as ov
    from openvino import opset13 as ops

    x = ops.parameter([-1, 4], np.float32, name="x")
    y = ops.softmax(ops.multiply(x, ops.constant(np.full((1, 4), 2.0, np.float32))), 1)
    y.output(0).set_names({"y"})
    x.output(0).set_names({"x"})
    folder = tmp_path / "theirs"
    folder.mkdir()
    ov.serialize(ov.Model([y], [x], "theirs"), folder / "theirs.xml", folder / "theirs.bin")
    return folder / "theirs.xml"


def test_an_openvino_ir_with_its_weights(ir: Path, tmp_path: Path) -> None:
    bundle = _packed(ir, tmp_path / "out")
    assert [(one.format, one.path) for one in bundle.manifest.artifacts] == [
        ("openvino", "artifacts/openvino-fp32/model.xml")
    ]
    assert "artifacts/openvino-fp32/model.bin" in bundle.manifest.files
    x, y = _golden(bundle, "inputs", "x").astype(np.float64), _golden(bundle, "outputs", "y")
    np.testing.assert_allclose(y, np.exp(2 * x) / np.exp(2 * x).sum(1, keepdims=True), atol=1e-5)
    assert bundle.manifest.task.options["activation"] == "none"


def test_weights_that_were_changed_after_the_card_was_written_are_refused(ir: Path, tmp_path: Path) -> None:
    folder = foreign_card(ir, out=tmp_path / "out", known=Foreign()).folder
    weights = folder / "theirs.bin"
    weights.write_bytes(weights.read_bytes()[:-4] + np.float32(3).tobytes())
    with pytest.raises(ConfigError) as caught:
        pack_card(folder, out=tmp_path / "out")
    assert caught.value.code == "config.card-model-changed"


def test_a_saved_model(tmp_path: Path) -> None:
    backend = Registry.of(["gpu"]).backends["gpu"]
    require("tensorflow", bool(backend.engine()), "needs tensorflow")
    tf = pytest.importorskip("tensorflow")

    class Theirs(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.weight = tf.Variable(np.full((4, 2), 0.5, np.float32))

        @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="x")])
        def serve(self, x: Any) -> dict[str, Any]:
            return {"logits": 10.0 * tf.matmul(x, self.weight)}

    module = Theirs()
    tf.saved_model.save(module, str(tmp_path / "theirs"), signatures={"serving_default": module.serve})
    (tmp_path / "theirs" / "notes.txt").write_text("not for the bundle")
    bundle = _packed(tmp_path / "theirs", tmp_path / "out")
    x = _golden(bundle, "inputs", "x")
    np.testing.assert_allclose(
        _golden(bundle, "outputs", "logits"), np.repeat(5 * x.sum(1, keepdims=True), 2, 1), rtol=1e-5
    )
    assert bundle.manifest.task.options["activation"] == "softmax"
    assert not [name for name in bundle.manifest.files if "notes" in name]


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("model.keras", "edgeai build"),
        ("model.hdf5", "edgeai_keras.importing"),
        ("model.xml", "OpenVINO"),
        ("model.onnx", "ovc model.onnx"),
        ("model.pt", "tflite"),
        ("model.edgeai", "edgeai inspect"),
        ("missing.tflite", "tflite"),
    ],
)
def test_a_file_that_is_no_artifact_is_refused_with_the_way_to_one(tmp_path: Path, name: str, remedy: str) -> None:
    if not name.startswith("missing"):
        (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(ConfigError) as caught:
        foreign_card(tmp_path / name, out=tmp_path / "out", known=Foreign())
    assert caught.value.code == ("build.no-model" if name.startswith("missing") else "build.foreign-model")
    assert remedy in (caught.value.remedy or "")


def test_what_does_not_fit_the_model_is_refused_and_no_card_is_left(kit: Path, tmp_path: Path) -> None:
    model = kit / "mnist_trained_lstm.tflite"
    few, other, wrong = tmp_path / "labels.txt", tmp_path / "other.npz", tmp_path / "wrong.npz"
    few.write_text("one\ntwo\n")
    np.savez(other, a=np.zeros((2, 28, 28), np.float32), b=np.zeros((2, 28, 28), np.float32))
    np.savez(wrong, fixed_input=np.zeros((2, 28, 27), np.float32))
    (tmp_path / "empty").mkdir()
    for known in (
        Foreign(labels=few),
        Foreign(labels=tmp_path / "none.txt"),
        Foreign(inputs=other),
        Foreign(inputs=wrong),
        Foreign(inputs=few),
        Foreign(task="detect"),
    ):
        with pytest.raises(ConfigError) as caught:
            foreign_card(model, out=tmp_path / "out", known=known)
        assert caught.value.code == "build.foreign-model", known
        assert caught.value.remedy
    with pytest.raises(DataRejected):
        foreign_card(model, out=tmp_path / "out", known=Foreign(images=tmp_path / "empty"))
    assert not list((tmp_path / "out").rglob("model.toml"))


def test_there_is_no_parent_to_build_against(kit: Path, tmp_path: Path) -> None:
    folder = foreign_card(kit / "mnist_trained_lstm.tflite", out=tmp_path, known=Foreign()).folder
    assert read_card(folder).recipes[0].converter == "as-is"
    with pytest.raises(ConfigError) as caught:
        build_card(folder, tmp_path, out=tmp_path)
    assert caught.value.code == "build.foreign-model"
    assert "edgeai pack" in (caught.value.remedy or "")


@pytest.mark.parametrize("value", [3, [0.1], [0.0, 1], ["a", 1], [float("inf"), 0], [True, 0]])
def test_a_scale_that_is_none_is_refused(value: Any) -> None:
    from edgeai.api import TaskRequest, TensorSpec

    task = Registry.of(["classify"]).tasks["classify"]
    outputs = (TensorSpec(name="y", dtype="uint8", shape=(1, 2)),)
    with pytest.raises(TaskFailed, match="dequantise"):
        task.build(TaskRequest(options={"labels": ["a", "b"], "dequantise": value}, outputs=outputs))
