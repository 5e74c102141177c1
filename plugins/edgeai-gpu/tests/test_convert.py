"""Keras to SavedModel: what comes out, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from edgeai.api import ConversionFailed
from edgeai_gpu import CONVERTER


def test_precisions_of_the_spec_are_those_of_the_converter():
    from edgeai_gpu.convert import PRECISIONS

    assert CONVERTER.precisions == tuple(PRECISIONS)


def test_fp16_stores_half_and_nests(keras, artifacts, request_for, open_artifact, specs, tmp_path):
    weights = {name: artifacts[name] / "variables" / "variables.data-00000-of-00001" for name in artifacts}
    assert weights["classifier_fp16"].stat().st_size < 0.75 * weights["classifier"].stat().st_size
    keras.utils.set_random_seed(3)
    inner = keras.Sequential([keras.Input((16, 16, 1)), keras.layers.Conv2D(4, 3), keras.layers.Flatten()], name="stem")
    image = keras.Input((16, 16, 1), name="image")
    model = keras.Model(image, keras.layers.Dense(3, activation="softmax")(inner(image)))
    model.save(tmp_path / "nested.keras")
    output = tmp_path / "out"
    output.mkdir()
    made = CONVERTER.convert(request_for(model=tmp_path / "nested.keras", precision="fp16", output=output))
    pixels = np.random.default_rng(3).random((1, 16, 16, 1)).astype("float32")
    session = open_artifact(made.artifact, (specs.image,), (specs.probabilities,))
    got = session.run({"image": pixels})["probabilities"]
    wanted = np.asarray(model(pixels, training=False))
    assert 0 < np.abs(got - wanted).max() < 5e-3


def test_a_lambda_layer_is_refused_by_name(keras, request_for, tmp_path):
    image = keras.Input((16, 16, 1), name="image")
    doubled = keras.layers.Lambda(lambda x: x * 2, name="doubling")(image)
    keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(doubled))).save(tmp_path / "odd.keras")
    with pytest.raises(ConversionFailed, match="'doubling'") as caught:
        CONVERTER.convert(request_for(model=tmp_path / "odd.keras"))
    assert caught.value.code == "convert.layer-unsafe"
