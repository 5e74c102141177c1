"""What a ``.keras`` file says of itself before Keras is there: it must be what Keras says of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeai.api import ModelRejected
from edgeai_keras import BACKEND


def _saved(path, inputs, outputs, keras):
    keras.Model(inputs, outputs).save(path)
    return path


def _net(keras, path, first, *, shape=(20, 24, 3), end=None):
    image = keras.Input(shape, name="image")
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(first(image))
    x = keras.layers.GlobalMaxPooling2D()(x)
    return _saved(path, image, (end or keras.layers.Dense(3))(x), keras)


def _nested(keras):
    inner = keras.Input((20, 24, 3))
    return keras.Model(inner, keras.layers.Rescaling(1 / 255)(keras.layers.RandomFlip()(inner)), name="pre")


def _fitted(keras, low, high):
    layer = keras.layers.Normalization()
    layer.adapt(np.random.default_rng(2).uniform(low, high, (4, 20, 24, 3)).astype(np.float32))
    return layer


FIRST = {
    "nothing": (lambda k: lambda x: x, "silent"),
    "a rescaling of 1": (lambda k: k.layers.Rescaling(1.0), "silent"),
    "a rescaling of bytes": (lambda k: k.layers.Rescaling(1 / 255), (0, 255)),
    "to both sides of 0": (lambda k: k.layers.Rescaling(1 / 127.5, offset=-1.0), (0, 255)),
    "by 128": (lambda k: k.layers.Rescaling(1 / 128.0, offset=-1.0), (0, 255)),
    "of the unit": (lambda k: k.layers.Rescaling(2.0, offset=-1.0), (0, 1)),
    "of the unit to bytes": (lambda k: k.layers.Rescaling(255.0), (0, 1)),
    "of both sides to bytes": (lambda k: k.layers.Rescaling(127.5, offset=127.5), (-1, 1)),
    "of sixteen bits": (lambda k: k.layers.Rescaling(1 / 65535), (0, 65535)),
    "of Hounsfield units": (lambda k: k.layers.Rescaling(1 / 1000), None),
    "fitted to bytes": (lambda k: _fitted(k, 0, 255), (0, 255)),
    "fitted to dark bytes": (lambda k: _fitted(k, 0, 60), (0, 255)),
    "fitted to the unit": (lambda k: _fitted(k, 0, 1), (0, 1)),
    "fitted to both sides": (lambda k: _fitted(k, -1, 1), (-1, 1)),
    "fitted to twelve bits": (lambda k: _fitted(k, 1000, 4000), None),
    "never fitted": (lambda k: k.layers.Normalization(mean=0.0, variance=1.0), "silent"),
    "a rescaling, then ImageNet": (
        lambda k: k.Sequential(
            [k.layers.Rescaling(1 / 255), k.layers.Normalization(mean=[0.485] * 3, variance=[0.05] * 3)]
        ),
        (0, 255),
    ),
    "a model in the model": (_nested, (0, 255)),
    "twice in each other": (lambda k: k.Sequential([k.Sequential([k.layers.Rescaling(1 / 255)])]), (0, 255)),
    "as tf": (lambda k: k.applications.mobilenet_v2.preprocess_input, (0, 255)),
    "as caffe": (lambda k: k.applications.resnet50.preprocess_input, (0, 255)),
    "as torch": (lambda k: k.applications.densenet.preprocess_input, (0, 255)),
    "by hand": (lambda k: lambda x: 2.0 * x - 1.0, (0, 1)),
    "away from 1": (lambda k: lambda x: 1.0 - x / 255.0, (0, 255)),
}


@pytest.mark.parametrize("what", FIRST)
def test_the_range_is_what_comes_out_as_networks_are_trained(keras, tmp_path, what):
    make, wanted = FIRST[what]
    outlined = BACKEND.outline(_net(keras, tmp_path / "m.keras", make(keras)))
    if wanted == "silent":
        assert "image" not in outlined.ranges
    else:
        assert outlined.ranges["image"] == (wanted if wanted is None else pytest.approx(wanted))


def test_what_keras_offers_with_its_preprocessing_inside(keras, tmp_path):
    for make in (keras.applications.EfficientNetV2B0, keras.applications.MobileNetV3Small):
        model = make(weights=None, input_shape=(64, 64, 3), classes=4, include_top=True)
        model.save(tmp_path / "m.keras")
        (taken,) = BACKEND.outline(tmp_path / "m.keras").ranges.values()
        assert taken == (0, 255)


def test_a_branch_that_nothing_is_done_to_says_nothing(keras, tmp_path):
    def both(x):
        return keras.layers.Concatenate()([x, keras.layers.Rescaling(1 / 255)(x)])

    assert BACKEND.outline(_net(keras, tmp_path / "m.keras", both)).ranges == {}


ENDS = {
    "softmax": lambda k: k.layers.Dense(3, activation="softmax"),
    "sigmoid": lambda k: k.Sequential([k.layers.Dense(5), k.layers.Activation("sigmoid")]),
    "none": lambda k: k.Sequential([k.layers.Dense(4), k.layers.Activation("linear", dtype="float32")]),
    "softmax ": lambda k: lambda x: k.ops.softmax(k.layers.Dense(3)(x)),
    "softmax  ": lambda k: k.Sequential([k.layers.Dense(6), k.layers.Softmax(), k.layers.Dropout(0.1)]),
    "tanh": lambda k: k.layers.Dense(3, activation="tanh"),
    "": lambda k: k.Sequential([k.layers.Dense(3), k.layers.BatchNormalization()]),
}


def _uncounted(described):
    """What an outline can know of it: nobody counts a model's work without loading it."""
    return replace(described, parameters=None, operations=None)


@pytest.mark.parametrize("how", ENDS)
def test_what_gives_the_answers_last_and_tensors_as_keras_has_them(keras, tmp_path, how):
    path = _net(keras, tmp_path / "m.keras", lambda x: x, end=ENDS[how](keras))
    outlined, described = BACKEND.outline(path), BACKEND.describe(path)
    assert outlined == _uncounted(described)
    assert list(outlined.activations.values()) == ([how.strip()] if how else [])


@pytest.mark.parametrize("shape", [(None, None, 1), (33, 21, 1)])
def test_shapes_of_maps_are_those_of_keras(keras, tmp_path, shape):
    layers = keras.layers
    image = keras.Input(shape, name="image")
    x = layers.Conv2D(4, 3, strides=2, dilation_rate=1)(image)
    x = layers.UpSampling2D(2)(layers.SeparableConv2D(5, 3, dilation_rate=2)(x))
    path = _saved(tmp_path / "m.keras", image, layers.Conv2D(2, 1, activation="sigmoid")(x), keras)
    assert BACKEND.outline(path) == _uncounted(BACKEND.describe(path))


def test_weights_and_work_are_counted_where_a_model_is_loaded(keras, tmp_path):
    described = BACKEND.describe(_net(keras, tmp_path / "m.keras", lambda x: x))
    assert described.parameters == 4 * 27 + 4 + 3 * 4 + 3
    assert described.operations == 2 * (10 * 12 * 4 * 27 + 3 * 4)
    open_ = _net(keras, tmp_path / "open.keras", lambda x: x, shape=(None, None, 3))
    assert (BACKEND.describe(open_).parameters, BACKEND.describe(open_).operations) == (127, None)


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")  # other keys than names, on purpose
def test_what_cannot_be_told_is_left_to_whoever_loads_it(keras, tmp_path):
    image = keras.Input((16, 16, 1), name="image")
    pooled = keras.layers.AveragePooling2D(2)(image)
    path = _saved(tmp_path / "m.keras", image, pooled, keras)
    assert BACKEND.outline(path) is None
    assert BACKEND.describe(path).outputs[0].shape == (None, 8, 8, 1)
    named = _saved(tmp_path / "n.keras", {"a": image}, {"b": keras.layers.Flatten()(image)}, keras)
    assert BACKEND.outline(named) is None


def test_what_is_no_model_is_refused_at_once(tmp_path):
    (tmp_path / "odd.keras").write_bytes(b"PK no model")
    for name, code in (("odd.keras", "backend.artifact-damaged"), ("none.keras", "backend.artifact-missing")):
        with pytest.raises(ModelRejected) as refused:
            BACKEND.outline(tmp_path / name)
        assert refused.value.code == code
