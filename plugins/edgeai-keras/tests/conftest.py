"""Small Keras models and data, made once a session."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from edgeai.api import CompressRequest, Objective
from edgeai.testing.require import require


@pytest.fixture(scope="session")
def keras():
    """Keras on TensorFlow; skips aloud where it is not installed."""
    require("tensorflow", importlib.util.find_spec("tensorflow") is not None, "needs edgeai-keras")
    import keras

    return keras


@pytest.fixture(scope="session")
def data_kit() -> Path:
    """The data kit's folder; skips, saying where it looked, when it is absent."""
    root = Path(__file__).resolve().parents[3]
    folder = Path(os.environ.get("EDGEAI_DATA", root.parent / "shared" / "data"))
    require("data", (folder / "models").is_dir(), f"no data kit at {folder}; set EDGEAI_DATA")
    return folder


def _blobs(count: int, seed: int):
    """Pictures of 16 x 16 with a bright square, left (class 0), right (1) or below (2); and its mask."""
    random = np.random.default_rng(seed)
    label = random.integers(0, 3, count)
    pictures = 0.2 * random.random((count, 16, 16, 1)).astype("float32")
    masks = np.zeros((count, 16, 16, 1), "float32")
    for n, place in enumerate(label):
        y, x = random.integers(0, 5) + (9 if place == 2 else 0), random.integers(0, 4) + (9 if place == 1 else 0)
        masks[n, y : y + 4, x : x + 4] = 1
    return pictures + 0.7 * masks, np.eye(3, dtype="float32")[label], masks


@pytest.fixture(scope="session")
def blobs():
    """``blobs(count, seed)`` -> pictures, one-hot classes, masks."""
    return _blobs


@pytest.fixture(scope="session")
def batches() -> Callable:
    """``batches(inputs, targets, size)`` -> what ``CompressRequest.train`` wants."""

    def made(inputs, targets, size=16):
        def epoch():
            count = len(next(iter(inputs.values())))
            for n in range(0, count, size):
                yield (
                    {name: value[n : n + size] for name, value in inputs.items()},
                    {name: value[n : n + size] for name, value in targets.items()},
                )

        return epoch

    return made


def _classifier(keras):
    image = keras.Input((16, 16, 1), name="image")
    x = keras.layers.Conv2D(8, 3, activation="relu", name="first")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.MaxPooling2D(name="pool")(x)
    x = keras.layers.Conv2D(16, 3, activation="relu", name="second")(x)
    x = keras.layers.Flatten(name="flat")(x)
    return keras.Model(image, keras.layers.Dense(3, activation="softmax", name="probabilities")(x), name="classifier")


def _segmenter(keras):
    image = keras.Input((16, 16, 1), name="image")
    x = down = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="down")(image)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="bottom")(x)
    x = keras.layers.Conv2DTranspose(8, 2, strides=2, name="up")(x)
    x = keras.layers.Concatenate(name="skip")([x, down])
    return keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid", name="mask")(x), name="segmenter")


def _regressor(keras):
    image = keras.Input((16, 16, 1), name="image")
    x = keras.layers.Flatten(name="flat")(keras.layers.Conv2D(4, 3, strides=2, activation="relu", name="first")(image))
    return keras.Model(image, keras.layers.Dense(1, name="value")(x), name="regressor")


@pytest.fixture(scope="session")
def build(keras):
    """``build("classifier")`` -> a fresh, seeded model: ``classifier``, ``segmenter`` or ``regressor``."""

    def made(name, seed=7):
        keras.utils.set_random_seed(seed)
        return {"classifier": _classifier, "segmenter": _segmenter, "regressor": _regressor}[name](keras)

    return made


@pytest.fixture(scope="session")
def samples(blobs):
    """``samples("classifier", count, seed)`` -> (inputs, targets) by tensor name."""

    def made(name, count, seed):
        pictures, classes, masks = blobs(count, seed)
        value = (masks * np.arange(16)[None, None, :, None]).sum((1, 2, 3))[:, None].astype("float32") / 160
        targets = {
            "classifier": ("probabilities", classes),
            "segmenter": ("mask", masks),
            "regressor": ("value", value),
        }
        return {"image": pictures}, dict([targets[name]])

    return made


OBJECTIVES = {
    "classifier": Objective(loss="categorical-crossentropy"),
    "segmenter": Objective(loss="dice-binary-crossentropy"),
    "regressor": Objective(loss="mean-squared-error"),
}


@pytest.fixture(scope="session")
def objectives():
    """Model name -> what its training minimises."""
    return OBJECTIVES


@pytest.fixture(scope="session")
def trained(build, samples, batches, tmp_path_factory):
    """``trained("classifier")`` -> a ``.keras`` file of a model that has learnt its task, and is made once."""
    made: dict[str, Path] = {}

    def train(name):
        if name not in made:
            from edgeai_keras.training import fit, save

            model = build(name)
            data = {split: batches(*samples(name, count, seed)) for split, count, seed in (("t", 96, 1), ("v", 32, 2))}
            objective = OBJECTIVES[name]
            fit(model, objective=objective, train=data["t"], validation=data["v"], epochs=12, patience=12,
                learning_rate=0.005)  # fmt: skip
            made[name] = tmp_path_factory.mktemp("trained") / f"{name}.keras"
            save(model, made[name])
        return made[name]

    return train


@pytest.fixture
def request_for(trained, samples, batches, tmp_path):
    """``request_for("classifier", **changes)`` -> a request to compress the trained model."""

    def made(name="classifier", *, data=True, **changes):
        usual = {
            "model": trained(name),
            "output": tmp_path / "out.keras",
            "objective": OBJECTIVES[name],
            "teacher": trained(name),
            "seed": 5,
        }
        if data:
            usual["train"] = batches(*samples(name, 96, 1))
            usual["validation"] = batches(*samples(name, 32, 2))
        return CompressRequest(**{**usual, **changes})

    return made


@pytest.fixture(scope="session")
def loss_on(samples, batches, keras):
    """``loss_on(path, "classifier")`` -> the file's loss on data that no training saw."""

    def measured(path, name):
        from edgeai_keras.training import loss_of, predict

        inputs, targets = samples(name, 64, 3)
        answers = predict(keras.saving.load_model(path, compile=False), inputs)
        loss = loss_of(OBJECTIVES[name])
        return float(np.mean([np.mean(loss(targets[key], answers[key])) for key in targets]))

    return measured
