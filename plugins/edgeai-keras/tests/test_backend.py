"""The Keras parent as a backend: any batch, any order of tensors, no code out of the file."""

from __future__ import annotations

import numpy as np
import pytest

from edgeai.api import BackendUnavailable, ConfigError, ModelRejected, OpenRequest, TensorSpec
from edgeai_keras import BACKEND

pytest.importorskip("tensorflow")

IMAGES = TensorSpec(name="image", dtype="float32", shape=(None, 16, 16, 1))
SCORES = TensorSpec(name="probabilities", dtype="float32", shape=(None, 3))
DOUBLE = TensorSpec(name="p", dtype="float64", shape=(None, 3))
BYTES = TensorSpec(name="i", dtype="uint8", shape=(None, 16, 16, 1))


def _open(path, inputs=(IMAGES,), outputs=(SCORES,), **changes):
    return BACKEND.open(OpenRequest(artifact=path, inputs=inputs, outputs=outputs, **{"device": "CPU", **changes}))


def test_an_open_batch_stays_open(trained, samples):
    session = _open(trained("classifier"))
    inputs, _ = samples("classifier", 7, 3)
    together = session.run(inputs)["probabilities"]
    alone = [session.run({"image": inputs["image"][n : n + 1]})["probabilities"][0] for n in range(7)]
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert session.engine == BACKEND.engine()
    assert "keras" in session.engine and "tensorflow" in session.engine  # noqa: PT018


def test_tensors_are_matched_by_name_whatever_their_order(keras, tmp_path):
    image, age = keras.Input((4,), name="image"), keras.Input((2,), name="age")
    score = keras.layers.Dense(1, name="score")(keras.layers.Concatenate()([image, age]))
    twice = keras.layers.Rescaling(2.0, name="twice")(age)
    model = keras.Model([image, age], [score, twice])
    model.save(tmp_path / "two.keras")
    specs = {name: TensorSpec(name=name, dtype="float32", shape=(1, n)) for name, n in
             (("image", 4), ("age", 2), ("score", 1), ("twice", 2))}  # fmt: skip
    session = _open(tmp_path / "two.keras", (specs["age"], specs["image"]), (specs["twice"], specs["score"]))
    inputs = {"age": np.array([[1, 2]], "float32"), "image": np.array([[3, 4, 5, 6]], "float32")}
    outputs = session.run(inputs)
    np.testing.assert_array_equal(outputs["twice"], [[2, 4]])
    np.testing.assert_allclose(outputs["score"], np.asarray(model([inputs["image"], inputs["age"]])[0]), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "error", "code"),
    [
        ({"device": "GPU:0"}, BackendUnavailable, "backend.unknown-device"),
        ({"settings": {"xla": True}}, ConfigError, "config.backend-setting"),
        ({"options": {"signature": "x"}}, ModelRejected, "backend.option-unknown"),
        ({"outputs": (DOUBLE,)}, ModelRejected, "backend.tensors-differ"),
        ({"inputs": (BYTES,)}, ModelRejected, "backend.tensors-differ"),
    ],
)
def test_what_cannot_be_done_is_refused(trained, changes, error, code):
    from edgeai_keras.backend.opening import open_session

    request = {"artifact": trained("classifier"), "device": "CPU", "inputs": (IMAGES,), "outputs": (SCORES,), **changes}
    with pytest.raises(error) as refused:
        open_session(OpenRequest(**request))
    assert refused.value.code == code


def test_a_lambda_layer_is_refused_by_name(keras, tmp_path):
    image = keras.Input((16, 16, 1), name="image")
    doubled = keras.layers.Lambda(lambda x: x * 2, name="doubling")(image)
    keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(doubled))).save(tmp_path / "odd.keras")
    with pytest.raises(ModelRejected, match="'doubling'") as refused:
        _open(tmp_path / "odd.keras")
    assert refused.value.code == "backend.artifact-unsafe"


ROWS = TensorSpec(name="rows", dtype="float32", shape=(1, 4, 3))
TWO = TensorSpec(name="two", dtype="float32", shape=(1, 2))


def _of_rows(keras, path, *layers):
    rows = x = keras.Input((4, 3), batch_size=1, name="rows")
    for layer in (*layers, keras.layers.Flatten(), keras.layers.Dense(2, name="two")):
        x = layer(x)
    keras.Model(rows, x).save(path)
    return path


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "SimpleRNN"])
def test_layers_that_keep_state_are_refused_and_those_that_do_not_are_taken(keras, tmp_path, kind):
    layer = getattr(keras.layers, kind)
    with pytest.raises(ModelRejected) as refused:
        _open(_of_rows(keras, tmp_path / "kept.keras", layer(4, stateful=True)), (ROWS,), (TWO,))
    assert refused.value.code == "backend.stateful"
    assert "stateful=False" in refused.value.remedy
    plain = _of_rows(keras, tmp_path / "plain.keras", keras.layers.Dropout(0.5), layer(4))
    session = _open(plain, (ROWS,), (TWO,))
    given = {"rows": np.random.default_rng(1).random((1, 4, 3)).astype("float32")}
    first = session.run(given)["two"]
    np.testing.assert_array_equal(session.run(given)["two"], first)


def test_random_numbers_are_refused(keras, tmp_path):
    @keras.saving.register_keras_serializable("edgeai-tests")
    class Noisy(keras.layers.Layer):
        def __init__(self, **more):
            super().__init__(**more)
            self.seeds = keras.random.SeedGenerator(3)

        def call(self, x):
            return x + keras.random.normal((1, 4, 3), seed=self.seeds)

    with pytest.raises(ModelRejected, match="Random") as refused:
        _open(_of_rows(keras, tmp_path / "noisy.keras", Noisy()), (ROWS,), (TWO,))
    assert refused.value.code == "backend.random"
    assert "training=True" in refused.value.remedy


def test_a_file_says_its_own_tensors(trained, tmp_path):
    kernels = BACKEND.describe(trained("classifier"))
    assert kernels.inputs == (IMAGES,)
    assert kernels.outputs == (SCORES,)
    (tmp_path / "odd.keras").write_bytes(b"no model")
    for name, code in (("odd.keras", "backend.artifact-damaged"), ("none.keras", "backend.artifact-missing")):
        with pytest.raises(ModelRejected) as refused:
            BACKEND.describe(tmp_path / name)
        assert refused.value.code == code
