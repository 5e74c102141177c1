"""The reader that every converter begins with: what it refuses, and that a device needs none of it."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from edgeai.api import CompressionFailed, ConversionFailed, ConvertRequest, ModelRejected, TensorSpec
from edgeai_keras.backend.opening import describe_tensors
from edgeai_keras.loading import load as load_for_compressor
from edgeai_keras.model_file import check, load, read, structure_of, tensor_names

IMAGE = TensorSpec(name="image", dtype="float32", shape=(1, 8, 8, 1), layout="NHWC")
SCORES = TensorSpec(name="scores", dtype="float32", shape=(1, 2), layout="NC")


def _request(tmp_path: Path, **changes: object) -> ConvertRequest:
    (tmp_path / "out").mkdir(exist_ok=True)
    usual = {"model": tmp_path / "m.keras", "output": tmp_path / "out", "precision": "fp32"}
    return ConvertRequest(**{**usual, "inputs": (IMAGE,), "outputs": (SCORES,), **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [{"precision": "int4"}, {"inputs": (TensorSpec(name="an image", dtype="float32", shape=(1, 8, 8, 1)),)}],
)
def test_a_request_that_cannot_be_met_is_refused_before_tensorflow_is_loaded(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    with pytest.raises(ConversionFailed) as refused:
        check(_request(tmp_path, **changes), "mine", precisions=("fp32",))
    assert refused.value.code.startswith("convert.")
    assert refused.value.remedy


@pytest.mark.parametrize("plugin", ["edgeai_tflite", "edgeai_openvino", "edgeai_gpu"])
def test_without_this_distribution_a_converter_says_what_to_install(plugin: str) -> None:
    """As on a device, where the extra [build] is not installed."""
    code = (
        "import sys; sys.modules['edgeai_keras'] = None\n"
        f"import {plugin} as plugin\n"
        "from edgeai.api import ConversionFailed\n"
        "try: plugin.edgeai_converters()[0].convert(None)\n"
        "except ConversionFailed as error: print(error.code, error.remedy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("convert.engine-missing pip install")
    assert plugin.replace("_", "-") in done.stdout


def test_a_sequential_model_has_names_and_a_structure_as_any_other() -> None:
    """Keras' own ``Sequential.input`` raises: it says that the model was never called."""
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((4,), name="numbers"), keras.layers.Dense(3, name="scores")])
    assert tensor_names(model, "input") == ["numbers"]
    assert tensor_names(model, "output") == ["scores"]
    assert structure_of(model, "input") is model.inputs[0]
    assert tensor_names(keras.Sequential([keras.layers.Dense(3)]), "input") == []


def _refused(path: Path, code: str) -> list[str]:
    """What each reader says of a file that none may use."""
    with pytest.raises(ConversionFailed) as caught:
        load(path)
    assert caught.value.code == code
    assert caught.value.remedy
    with pytest.raises(ModelRejected) as described:
        describe_tensors(path)
    with pytest.raises(CompressionFailed) as compressed:
        load_for_compressor(path)
    return [str(each.value) for each in (caught, described, compressed)]


def test_a_class_of_the_author_s_own_is_named_with_its_layer_in_one_sentence(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")

    @keras.saving.register_keras_serializable(package="mine")
    class Twice(keras.layers.Layer):
        def call(self, x):  # type: ignore[no-untyped-def]
            return x * 2

    @keras.saving.register_keras_serializable(package="mine")
    def bend(x):  # type: ignore[no-untyped-def]
        return x / (1 + abs(x))

    image = keras.Input((8,), name="image")
    keras.Model(image, keras.layers.Dense(2)(Twice(name="twice")(image))).save(tmp_path / "layer.keras")
    keras.Model(image, keras.layers.Dense(2, activation=bend, name="bent")(image)).save(tmp_path / "function.keras")
    keras.saving.get_custom_objects().clear()
    for name, layer, kind in (("layer", "twice", "mine>Twice"), ("function", "bent", "mine>bend")):
        for words in _refused(tmp_path / f"{name}.keras", "convert.model-unreadable"):
            assert f"layer {layer!r} is a {kind!r}" in words
            assert len(words) < 200
            assert "\n" not in words


def test_a_class_that_is_registered_here_is_read(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")

    @keras.saving.register_keras_serializable(package="mine")
    class Thrice(keras.layers.Layer):
        def call(self, x):  # type: ignore[no-untyped-def]
            return x * 3

    image = keras.Input((8,), name="image")
    keras.Model(image, Thrice(name="thrice")(image)).save(tmp_path / "own.keras")
    try:
        assert load(tmp_path / "own.keras").get_layer("thrice")
    finally:
        keras.saving.get_custom_objects().clear()


@pytest.mark.parametrize("layer", ["first", "inner/second"])
def test_weights_that_are_no_numbers_are_refused_with_their_layer(tmp_path: Path, layer: str) -> None:
    keras = pytest.importorskip("keras")
    own, image = keras.Input((4,)), keras.Input((8,), name="image")
    inner = keras.Model(own, keras.layers.Dense(2, name="second")(own), name="inner")
    model = keras.Model(image, inner(keras.layers.Dense(4, name="first")(image)))
    kernel = (inner.get_layer("second") if "/" in layer else model.get_layer("first")).kernel
    values = kernel.numpy()
    values[0, 0] = np.inf  # a mask may well have it
    kernel.assign(values)
    model.save(tmp_path / "infinite.keras")
    assert load(tmp_path / "infinite.keras")
    values[0, 0] = np.nan
    kernel.assign(values)
    model.save(tmp_path / "nan.keras")
    for words in _refused(tmp_path / "nan.keras", "convert.not-a-number"):
        assert layer.rpartition("/")[2] in words
        assert "kernel" in words


def test_a_model_that_was_never_built_is_refused_by_whoever_reads_it(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    path = tmp_path / "m.keras"
    with warnings.catch_warnings(action="ignore"):  # Keras warns of what is meant here
        keras.Sequential([keras.layers.Dense(3)]).save(path)
    with pytest.raises(ModelRejected, match="never built") as described:
        describe_tensors(path)
    assert described.value.code == "backend.tensors-differ"
    with pytest.raises(ConversionFailed, match="never built") as read_so:
        read(_request(tmp_path))
    assert read_so.value.code == "convert.tensors-differ"
    with pytest.raises(CompressionFailed) as compressed:
        load_for_compressor(path)
    assert compressed.value.code == "compress.model-unreadable"
