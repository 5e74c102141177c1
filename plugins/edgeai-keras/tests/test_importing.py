"""Keras 2's files become ``.keras`` files that answer the same; code in them is never run."""

from __future__ import annotations

import base64
import importlib.util
import json
import marshal
import pickle
import shutil

import numpy as np
import pytest

from edgeai.api import CompressionFailed, ConversionFailed
from edgeai.testing.require import require

pytest.importorskip("tensorflow")


# Keras 2 says of its own older format that there is a newer one.
pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")


@pytest.fixture(scope="module")
def keras2():
    """Keras 2 itself, to write what it wrote."""
    require("tf_keras", importlib.util.find_spec("tf_keras") is not None, "needs tf_keras, which is Keras 2")
    import tf_keras

    return tf_keras


@pytest.fixture(scope="module")
def functional(keras2, tmp_path_factory):
    """A trained SavedModel folder of Keras 2, with nested, recurrent and normalising layers; an input; its answer."""
    layers = keras2.layers
    keras2.utils.set_random_seed(3)
    image = keras2.Input((8, 8, 1), name="image")
    x = layers.Conv2D(4, 3, name="conv")(image)
    frozen = layers.Conv2D(4, 1, name="frozen")
    frozen.trainable = False
    x = layers.BatchNormalization(name="norm")(frozen(x))
    inner = [layers.InputLayer((6, 6, 4)), layers.Dense(4, activation="relu", name="d"), layers.Dense(4, name="d2"),
             layers.BatchNormalization(name="n2"), layers.Dense(4, name="d3")]  # fmt: skip
    x = keras2.Sequential(inner, name="inner")(x)
    x = layers.Reshape((5, 15))(layers.SeparableConv2D(3, 2, name="separable")(x))
    x = layers.Bidirectional(layers.GRU(4), name="both")(x)
    model = keras2.Model(image, layers.Dense(2, name="out")(x))
    model.compile("adam", "mse", run_eagerly=True)  # saving traces every layer; training need not
    pictures = np.random.default_rng(0).random((16, 8, 8, 1)).astype("float32")
    model.fit(pictures, np.ones((16, 2)), epochs=1, verbose=0)
    folder = tmp_path_factory.mktemp("keras2") / "functional"
    model.save(folder, save_format="tf")
    return folder, pictures, model(pictures, training=False).numpy()


def _answer(keras, path, inputs):
    from edgeai_keras.model_file import structure_of

    model = keras.saving.load_model(path, safe_mode=True)
    given = keras.tree.pack_sequence_as(structure_of(model, "input"), [inputs])
    return keras.ops.convert_to_numpy(model(given, training=False))


def test_the_kits_keras_2_0_5_file_answers_as_it_did(keras, data_kit, tmp_path):
    from edgeai_keras.importing import to_keras

    imported = to_keras(data_kit / "models/fer2013_mini_XCEPTION.102-0.66.hdf5", tmp_path / "m.keras")
    with np.load(data_kit / "models/ref_fer2013_mini_XCEPTION.npz") as reference:
        got, wanted = _answer(keras, imported.path, reference["input"]), reference["output"]
    np.testing.assert_allclose(got, wanted, atol=2e-6)
    assert "2.0.5" in imported.notes[0]


def test_it_can_be_pruned_as_it_is(data_kit, request_for):
    from edgeai_keras.magnitude import compress

    model = data_kit / "models/fer2013_mini_XCEPTION.102-0.66.hdf5"
    made = compress(request_for(data=False, model=model, options={"sparsity": 0.5}))
    assert made.facts["sparsity"] == pytest.approx(0.5, abs=0.01)


def test_a_savedmodel_of_keras_2_is_rebuilt_layer_by_layer(keras, functional, tmp_path):
    from edgeai_keras.importing import to_keras

    folder, pictures, wanted = functional
    imported = to_keras(folder, tmp_path / "m.keras")
    np.testing.assert_allclose(_answer(keras, imported.path, pictures), wanted, atol=1e-5)
    names = [layer.name for layer in keras.saving.load_model(imported.path).layers]
    assert {"conv", "norm", "inner", "separable", "both", "out"} <= set(names)


def test_a_sequential_savedmodel_is_rebuilt(keras, keras2, tmp_path):
    from edgeai_keras.importing import to_keras

    layers = keras2.layers
    model = keras2.Sequential([layers.InputLayer((6,)), layers.Dense(4, activation="tanh"), layers.Dense(4)])
    model.save(tmp_path / "sequential", save_format="tf")
    numbers = np.random.default_rng(1).random((3, 6)).astype("float32")
    imported = to_keras(tmp_path / "sequential", tmp_path / "m.keras")
    np.testing.assert_allclose(_answer(keras, imported.path, numbers), model(numbers).numpy(), atol=1e-6)


_LAYERS = {
    "depthwise": ((8, 8, 2), lambda k: [k.DepthwiseConv2D(3)]),
    "separable": ((8, 8, 2), lambda k: [k.SeparableConv2D(3, 2)]),
    "transposed": ((8, 8, 2), lambda k: [k.Conv2DTranspose(3, 2)]),
    "grouped": ((8, 8, 2), lambda k: [k.Conv2D(4, 3, groups=2)]),
    "lstm": ((8, 2), lambda k: [k.LSTM(3, return_sequences=True), k.Bidirectional(k.GRU(3))]),
    "simple": ((8, 2), lambda k: [k.SimpleRNN(3)]),
    "cine": ((4, 8, 8, 1), lambda k: [k.ConvLSTM2D(3, 3, return_sequences=True), k.TimeDistributed(k.Conv2D(2, 3))]),
    "dropped": ((8, 8, 2), lambda k: [k.SpatialDropout2D(0.1), k.Dropout(0.2), k.BatchNormalization(), k.ReLU(6.0)]),
    "hard": (
        (8, 2),
        lambda k: [
            k.LSTM(3, recurrent_activation="hard_sigmoid", return_sequences=True),
            k.GRU(3, recurrent_activation="hard_sigmoid", return_sequences=True),
            k.GRU(3, recurrent_activation="hard_sigmoid", reset_after=False),
            k.Dense(3, activation="hard_sigmoid"),
        ],
    ),
    "resized": ((8, 8, 2), lambda k: [k.ZeroPadding2D(1), k.UpSampling2D(2, interpolation="bilinear"), k.PReLU()]),
}


@pytest.mark.parametrize("name", _LAYERS)
def test_layers_of_the_last_keras_2_answer_as_they_did(keras, keras2, name, tmp_path):
    """Keras 3 itself refuses half of these files for keys that say nothing."""
    from edgeai_keras.importing import to_keras

    shape, made = _LAYERS[name]
    model = keras2.Sequential([keras2.layers.InputLayer(shape), *made(keras2.layers)])
    random = np.random.default_rng(4)
    model.set_weights([value + 0.1 * random.random(value.shape) for value in model.get_weights()])
    pictures = random.random((2, *shape)).astype("float32")
    model.save(tmp_path / "m.h5")
    imported = to_keras(tmp_path / "m.h5", tmp_path / "m.keras")
    np.testing.assert_allclose(
        _answer(keras, imported.path, pictures), model(pictures, training=False).numpy(), atol=1e-5
    )


def test_hard_sigmoid_that_cannot_be_kept_is_refused(keras2, tmp_path):
    """Keras 3 loads it without a word, and computes another function."""
    from edgeai_keras.importing import to_keras

    model = keras2.Sequential([keras2.layers.InputLayer((3,)), keras2.layers.Activation("hard_sigmoid", name="hard")])
    model.save(tmp_path / "m.h5")
    with pytest.raises(ConversionFailed, match="hard_sigmoid of hard") as refused:
        to_keras(tmp_path / "m.h5", tmp_path / "m.keras")
    assert refused.value.code == "import.layer-differs"


def test_a_key_that_says_something_is_not_dropped():
    from edgeai_keras.modern import modern

    for kind, key, value in (("LSTM", "time_major", True), ("Conv2DTranspose", "groups", 2), ("Conv2D", "groups", 1)):
        config = {"class_name": kind, "config": {"name": "x", key: value}}
        assert modern([config]) == [config]


def test_a_savedmodel_that_only_serves_is_refused_with_what_can_be_done(build, tmp_path):
    from edgeai_keras.importing import to_keras

    build("regressor").export(tmp_path / "served", verbose=False)
    with pytest.raises(ConversionFailed) as refused:
        to_keras(tmp_path / "served", tmp_path / "m.keras")
    assert refused.value.code == "import.savedmodel-opaque"
    assert "edgeai pack" in refused.value.remedy
    assert not (tmp_path / "m.keras").exists()


def test_a_subclassed_savedmodel_is_refused_as_opaque(keras2, tmp_path):
    from edgeai_keras.importing import to_keras

    class Own(keras2.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras2.layers.Dense(2)

        def call(self, x):
            return self.dense(x)

    model = Own()
    model(np.ones((1, 3), "float32"))
    model.save(tmp_path / "own", save_format="tf")
    with pytest.raises(ConversionFailed, match="Own") as refused:
        to_keras(tmp_path / "own", tmp_path / "m.keras")
    assert refused.value.code == "import.savedmodel-opaque"


def _hostile(code: str):
    """A Lambda layer's configuration as Keras 2 wrote it, whose marshalled code does ``code``."""
    raw = base64.b64encode(marshal.dumps(compile(code, "<lambda>", "eval"))).decode()
    config = {"name": "evil", "trainable": True, "function": [raw, None, None], "function_type": "lambda",
              "output_shape_type": "raw", "arguments": {}}  # fmt: skip
    return {"class_name": "Lambda", "config": config, "name": "evil"}


def _hdf5_with(path, layers, **attributes):
    import h5py

    first = {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 3], "name": "i", "dtype": "float32"}}
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [first, *layers]}}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        for name, value in attributes.items():
            file.attrs[name] = value
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = []
    return path


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_lambda_in_an_hdf5_file_is_refused_by_name_and_never_runs(tmp_path, wrapped):
    from edgeai_keras.importing import to_keras

    mark = tmp_path / "mark"
    layer = _hostile(f"__import__('pathlib').Path({str(mark)!r}).touch()")
    if wrapped:
        layer = {"class_name": "TimeDistributed", "config": {"name": "wrapping", "layer": layer}}
    with pytest.raises(ConversionFailed, match="'evil'") as refused:
        to_keras(_hdf5_with(tmp_path / "evil.h5", [layer]), tmp_path / "m.keras")
    assert refused.value.code == "import.layer-unsafe"
    assert not mark.exists()


def test_a_lambda_in_place_of_a_function_is_refused_and_never_runs(tmp_path):
    from edgeai_keras.importing import to_keras

    mark = tmp_path / "mark"
    code = _hostile(f"__import__('pathlib').Path({str(mark)!r}).touch()")["config"]["function"][0]
    activation = {"class_name": "__lambda__", "config": {"code": code, "defaults": None, "closure": None}}
    layer = {"class_name": "Dense", "config": {"name": "dense", "units": 2, "activation": activation}}
    with pytest.raises(ConversionFailed) as refused:
        to_keras(_hdf5_with(tmp_path / "evil.h5", [layer]), tmp_path / "m.keras")
    assert refused.value.code == "import.layer-unsafe"
    assert not mark.exists()


def test_a_lambda_in_a_savedmodel_is_refused_and_never_runs(keras2, tmp_path):
    from edgeai_keras.importing import to_keras

    mark = tmp_path / "mark"
    model = keras2.Sequential([keras2.layers.InputLayer((3,)), keras2.layers.Lambda(lambda x: x * 2, name="evil")])
    model.save(tmp_path / "folder", save_format="tf")
    with pytest.raises(ConversionFailed, match="'evil'") as refused:
        to_keras(tmp_path / "folder", tmp_path / "m.keras")
    assert refused.value.code == "import.layer-unsafe"
    assert not mark.exists()


def test_a_pickle_is_refused_and_never_runs(tmp_path):
    from edgeai_keras.importing import to_keras

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "mark"), "w"))

    (tmp_path / "evil.h5").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ConversionFailed) as refused:
        to_keras(tmp_path / "evil.h5", tmp_path / "m.keras")
    assert refused.value.code == "import.pickle"
    assert not (tmp_path / "mark").exists()


def test_layers_that_keras_3_does_not_know_are_refused(tmp_path):
    from edgeai_keras.importing import to_keras

    layer = {"class_name": "MyAttention", "config": {"name": "attention"}}
    with pytest.raises(ConversionFailed, match="MyAttention") as refused:
        to_keras(_hdf5_with(tmp_path / "own.h5", [layer]), tmp_path / "m.keras")
    assert refused.value.code == "import.layer-unknown"


def test_weights_without_a_model_are_refused(keras2, tmp_path):
    from edgeai_keras.importing import to_keras

    keras2.Sequential([keras2.layers.InputLayer((3,)), keras2.layers.Dense(2)]).save_weights(tmp_path / "w.h5")
    with pytest.raises(ConversionFailed) as refused:
        to_keras(tmp_path / "w.h5", tmp_path / "m.keras")
    assert refused.value.code == "import.weights-only"


@pytest.mark.parametrize(
    "part", ["keras_metadata.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
)
@pytest.mark.parametrize("damage", ["halved", "noise", "gone"])
def test_a_damaged_savedmodel_is_refused(functional, tmp_path, part, damage):
    from edgeai_keras.importing import to_keras

    shutil.copytree(functional[0], tmp_path / "model")
    data = (tmp_path / "model" / part).read_bytes()
    if damage == "gone":
        (tmp_path / "model" / part).unlink()
    else:
        (tmp_path / "model" / part).write_bytes(data[: len(data) // 2] if damage == "halved" else bytes(range(256)) * 9)
    with pytest.raises(ConversionFailed) as refused:
        to_keras(tmp_path / "model", tmp_path / "m.keras")
    assert refused.value.code in ("import.unreadable", "import.savedmodel-opaque")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty.h5", b""),
        ("noise.h5", bytes(range(256)) * 4),
        ("half.h5", None),
        ("not.h5", b"\x89HDF\r\n\x1a\n" + b"x" * 99),
    ],
)
def test_a_damaged_file_is_refused(data_kit, tmp_path, name, data):
    from edgeai_keras.importing import to_keras

    if data is None:
        whole = (data_kit / "models/fer2013_mini_XCEPTION.102-0.66.hdf5").read_bytes()
        data = whole[: len(whole) // 2]
    (tmp_path / name).write_bytes(data)
    for path in (tmp_path / name, tmp_path / "none.h5", tmp_path):
        with pytest.raises(ConversionFailed) as refused:
            to_keras(path, tmp_path / "m.keras")
        assert refused.value.code == "import.unreadable"


def test_a_keras_file_passes_and_a_lambda_in_it_does_not(keras, trained, tmp_path):
    from edgeai_keras.importing import to_keras
    from edgeai_keras.loading import load

    assert to_keras(trained("classifier"), tmp_path / "m.keras").notes == ()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x * 2, name="evil")])
    model.save(tmp_path / "evil.keras")
    with pytest.raises(ConversionFailed, match="'evil'") as refused:
        to_keras(tmp_path / "evil.keras", tmp_path / "n.keras")
    assert refused.value.code == "convert.layer-unsafe"
    with pytest.raises(CompressionFailed, match="'evil'") as refused:
        load(tmp_path / "evil.keras")
    assert refused.value.code == "compress.layer-unsafe"


def test_its_command_works(trained, tmp_path, capsys):
    from edgeai_keras.importing import main

    assert main([str(trained("regressor")), str(tmp_path / "m.keras")]) == 0
    assert main([str(tmp_path / "none.h5"), str(tmp_path / "n.keras")]) == 1
    assert "import.unreadable" in capsys.readouterr().err
    assert main([]) == 2
