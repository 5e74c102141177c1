"""Keras to TensorFlow Lite: what comes out, and what is refused."""

from __future__ import annotations

import zipfile
from dataclasses import replace

import numpy as np
import pytest

from edgeai.api import ConversionFailed, TensorSpec
from edgeai_tflite import CONVERTER


def test_precisions_of_the_spec_are_those_of_the_converter():
    from edgeai_tflite.convert import PRECISIONS

    assert CONVERTER.precisions == tuple(PRECISIONS)


def test_fp16_halves_the_weights_and_says_so(request_for, tmp_path):
    sizes = {}
    for precision in ("fp32", "fp16"):
        output = tmp_path / precision
        output.mkdir()
        converted = CONVERTER.convert(request_for(precision=precision, output=output))
        assert converted.artifact == output / "model.tflite"
        assert [path.name for path in output.iterdir()] == ["model.tflite"]
        assert ("float16" in " ".join(converted.notes)) == (precision == "fp16")
        sizes[precision] = converted.artifact.stat().st_size
    assert sizes["fp16"] < 0.75 * sizes["fp32"]


def test_signature_has_the_names_that_were_asked_for(request_for, keras_models, specs, open_artifact, golden):
    inputs = (replace(specs.age, name="patient_factors"), replace(specs.image, name="us_image"))
    outputs = (replace(specs.probabilities, name="b/probabilities"), replace(specs.value, name="a.value"))
    # Other names than the model's: then the order must be the model's own.
    converted = CONVERTER.convert(
        request_for(model=keras_models / "two_heads.keras", inputs=inputs[::-1], outputs=outputs)
    )
    session = open_artifact(converted.artifact, inputs, outputs[::-1])
    known = golden("two_heads")
    result = session.run({"us_image": known["image"][:1], "patient_factors": known["age"][:1]})
    np.testing.assert_allclose(result["b/probabilities"], known["probabilities"][:1], atol=1e-5)
    np.testing.assert_allclose(result["a.value"], known["value"][:1], atol=1e-4)


def test_weights_are_constants_in_the_artifact(artifacts):
    """A variable left in it would be read uninitialised: numbers that look like an answer."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(artifacts / "classifier.tflite"))
    operators = {flatbuffer_utils.opcode_to_name(model, index) for index in range(len(model.operatorCodes))}
    assert "CONV_2D" in operators
    assert not operators & {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"}


def test_the_same_request_gives_the_same_bytes(request_for, tmp_path):
    artifacts = []
    for name in "ab":
        (tmp_path / name).mkdir()
        artifacts.append(CONVERTER.convert(request_for(output=tmp_path / name)).artifact.read_bytes())
    assert artifacts[0] == artifacts[1]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"precision": "int3"}, "convert.precision-unknown"),
        ({"options": {"fast": True}}, "convert.option-unknown"),
        ({"inputs": (TensorSpec(name="größe", dtype="float32", shape=(1, 16, 16, 1)),)}, "convert.name-unusable"),
        ({"inputs": (TensorSpec(name="image", dtype="float32", shape=(1, 32, 32, 1)),)}, "convert.tensors-differ"),
        ({"inputs": (TensorSpec(name="image", dtype="float32", shape=(1, 16, 16)),)}, "convert.tensors-differ"),
        ({"outputs": (TensorSpec(name="probabilities", dtype="float32", shape=(1, 4)),)}, "convert.tensors-differ"),
        ({"outputs": ()}, "convert.tensors-differ"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(request_for, tmp_path, changes, code):
    with pytest.raises(ConversionFailed) as caught:
        CONVERTER.convert(request_for(**changes))
    assert caught.value.code == code
    assert caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def _saved(keras, folder, layer):
    image = keras.Input((16, 16, 1), name="image")
    outputs = keras.layers.Dense(3, name="probabilities")(keras.layers.Flatten()(layer(image)))
    keras.Model(image, outputs).save(folder / "odd.keras")
    return folder / "odd.keras"


def test_a_lambda_layer_is_refused_by_name_and_its_code_does_not_run(keras, request_for, tmp_path):
    model = _saved(keras, tmp_path, keras.layers.Lambda(lambda x: x * 2, name="doubling"))
    with pytest.raises(ConversionFailed, match="'doubling' is a Lambda layer") as caught:
        CONVERTER.convert(request_for(model=model))
    assert caught.value.code == "convert.layer-unsafe"


def test_an_operation_that_tflite_lacks_is_refused_naming_the_layer(keras, request_for, tmp_path):
    class Inverse(keras.layers.Layer):
        def call(self, inputs):
            return keras.ops.erfinv(inputs)

    keras.saving.register_keras_serializable("edgeai_tests")(Inverse)
    model = _saved(keras, tmp_path, Inverse(name="odd_one"))
    with pytest.raises(ConversionFailed, match="layer 'odd_one'") as caught:
        CONVERTER.convert(request_for(model=model))
    assert caught.value.code == "convert.layer-unsupported"
    assert "Erfinv" in str(caught.value)
    assert "odd_one" in (caught.value.remedy or "")


@pytest.mark.parametrize("what", ["missing", "h5", "no config", "bad config", "half"])
def test_a_file_that_is_no_keras_archive_is_refused(request_for, keras_models, tmp_path, what):
    model = tmp_path / "bad.keras"
    whole = (keras_models / "classifier.keras").read_bytes()
    match what:
        case "h5":
            model.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
        case "half":
            model.write_bytes(whole[: len(whole) // 2])
        case "no config" | "bad config":
            with zipfile.ZipFile(model, "w") as archive:
                archive.writestr("config.json" if what == "bad config" else "other.json", "{")
    with pytest.raises(ConversionFailed) as caught:
        CONVERTER.convert(request_for(model=model))
    assert caught.value.code == "convert.model-unreadable"


def test_a_class_that_keras_does_not_know_is_refused_in_its_words(keras, request_for, tmp_path):
    class Unknown(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    model = _saved(keras, tmp_path, Unknown(name="unknown_one"))
    with pytest.raises(ConversionFailed, match="Unknown") as caught:
        CONVERTER.convert(request_for(model=model))
    assert caught.value.code == "convert.model-unreadable"
