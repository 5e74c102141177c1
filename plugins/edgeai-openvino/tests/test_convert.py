"""Keras to OpenVINO IR: what comes out, and what is refused."""

from __future__ import annotations

import pytest

from edgeai.api import ConversionFailed
from edgeai_openvino import CONVERTER


def test_precisions_of_the_spec_are_those_of_the_converter():
    from edgeai_openvino.convert import PRECISIONS

    assert CONVERTER.precisions == tuple(PRECISIONS)


def test_fp16_halves_the_weights(artifacts):
    sizes = {name: path.with_suffix(".bin").stat().st_size for name, path in artifacts.items()}
    assert sizes["classifier_fp16"] < 0.6 * sizes["classifier"]
    assert sorted(part.name for part in artifacts["classifier"].parent.iterdir()) == ["model.bin", "model.xml"]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_same_request_gives_the_same_bytes(request_for, tmp_path, precision):
    made = []
    for name in "ab":
        (tmp_path / name).mkdir()
        artifact = CONVERTER.convert(request_for(output=tmp_path / name, precision=precision)).artifact
        made.append((artifact.read_bytes(), artifact.with_suffix(".bin").read_bytes()))
    assert made[0] == made[1]


def test_an_operation_that_openvino_lacks_is_refused_naming_the_layer(keras, request_for, tmp_path):
    class Inverse(keras.layers.Layer):
        def call(self, inputs):
            return keras.ops.erfinv(inputs)

    keras.saving.register_keras_serializable("edgeai_openvino_tests")(Inverse)
    image = keras.Input((16, 16, 1), name="image")
    inverse = Inverse(name="odd_one")(image)
    keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(inverse))).save(tmp_path / "odd.keras")
    with pytest.raises(ConversionFailed, match=r"layer 'odd_one'.*Erfinv") as caught:
        CONVERTER.convert(request_for(model=tmp_path / "odd.keras"))
    assert caught.value.code == "convert.layer-unsupported"


def test_a_lambda_layer_is_refused_by_name(keras, request_for, tmp_path):
    image = keras.Input((16, 16, 1), name="image")
    doubled = keras.layers.Lambda(lambda x: x * 2, name="doubling")(image)
    keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(doubled))).save(tmp_path / "odd.keras")
    with pytest.raises(ConversionFailed, match="'doubling'") as caught:
        CONVERTER.convert(request_for(model=tmp_path / "odd.keras"))
    assert caught.value.code == "convert.layer-unsafe"
