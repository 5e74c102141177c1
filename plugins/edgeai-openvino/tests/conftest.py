"""Small Keras models and their artifacts, made once a session."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from edgeai.api import ConvertRequest, OpenRequest, TensorSpec
from edgeai.testing.require import require
from edgeai_openvino import BACKEND, CONVERTER

_IMAGE = TensorSpec(name="image", dtype="float32", shape=(1, 16, 16, 1), layout="NHWC")
_IMAGES = TensorSpec(name="image", dtype="float32", shape=(None, 16, 16, 1), layout="NHWC")
_AGE = TensorSpec(name="age", dtype="float32", shape=(1, 2))
_PROBABILITIES = TensorSpec(name="probabilities", dtype="float32", shape=(1, 3))
_MANY = TensorSpec(name="probabilities", dtype="float32", shape=(None, 3))
_VALUE = TensorSpec(name="value", dtype="float32", shape=(1, 1))


def _classifier(keras):
    image = keras.Input((16, 16, 1), name="image")
    x = keras.layers.Conv2D(8, 3, activation="relu", name="first")(image)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Conv2D(16, 3, activation="relu", name="second")(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(image, keras.layers.Dense(3, activation="softmax", name="probabilities")(x))


def _two_heads(keras):
    image, age = keras.Input((16, 16, 1), name="image"), keras.Input((2,), name="age")
    x = keras.layers.Flatten()(keras.layers.Conv2D(8, 3, strides=2, activation="relu")(image))
    x = keras.layers.Concatenate()([x, age])
    value = keras.layers.Dense(1, name="value")(x)
    probabilities = keras.layers.Dense(3, activation="softmax", name="probabilities")(x)
    return keras.Model([image, age], [probabilities, value])


@pytest.fixture(scope="session")
def keras():
    """Keras on TensorFlow; skips aloud where the extra [build] is not installed."""
    require("tensorflow", importlib.util.find_spec("tensorflow") is not None, "needs edgeai-openvino[build]")
    import keras

    return keras


@pytest.fixture(scope="session")
def keras_models(keras, tmp_path_factory) -> Path:
    """A folder with classifier.keras, two_heads.keras and an .npz of inputs and Keras's own outputs for each."""
    folder = tmp_path_factory.mktemp("keras")
    keras.utils.set_random_seed(20)
    random = np.random.default_rng(20)
    image = (2 * random.random((4, 16, 16, 1))).astype("float32")
    age = random.random((4, 2)).astype("float32")
    classifier, two_heads = _classifier(keras), _two_heads(keras)
    classifier.save(folder / "classifier.keras")
    two_heads.save(folder / "two_heads.keras")
    np.savez(folder / "classifier.npz", image=image, probabilities=classifier(image, training=False))
    probabilities, value = two_heads([image, age], training=False)
    np.savez(folder / "two_heads.npz", image=image, age=age, probabilities=probabilities, value=value)
    return folder


@pytest.fixture(scope="session")
def specs() -> SimpleNamespace:
    """The tensors of the models, as a manifest declares them."""
    return SimpleNamespace(
        image=_IMAGE, images=_IMAGES, age=_AGE, probabilities=_PROBABILITIES, many=_MANY, value=_VALUE
    )


def _convert(model: Path, output: Path, inputs, outputs, precision="fp32") -> Path:
    output.mkdir()
    request = ConvertRequest(model=model, output=output, precision=precision, inputs=inputs, outputs=outputs)
    return CONVERTER.convert(request).artifact


@pytest.fixture(scope="session")
def artifacts(keras_models, tmp_path_factory) -> dict[str, Path]:
    """Artifact by name: each in a folder of its own."""
    folder = tmp_path_factory.mktemp("artifacts")
    made = {
        "classifier": ("classifier", (_IMAGE,), (_PROBABILITIES,), "fp32"),
        "classifier_fp16": ("classifier", (_IMAGE,), (_PROBABILITIES,), "fp16"),
        "any_batch": ("classifier", (_IMAGES,), (_MANY,), "fp32"),
        # Neither order is the model's own, nor the alphabet's.
        "two_heads": ("two_heads", (_AGE, _IMAGE), (_VALUE, _PROBABILITIES), "fp32"),
    }
    return {
        name: _convert(keras_models / f"{model}.keras", folder / name, inputs, outputs, precision)
        for name, (model, inputs, outputs, precision) in made.items()
    }


@pytest.fixture(scope="session")
def golden(keras_models):
    """``golden("classifier")`` -> the arrays of its .npz, by name."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(keras_models / f"{name}.npz") as arrays:
            return {key: arrays[key] for key in arrays.files}

    return load


@pytest.fixture(scope="session")
def calibration() -> list[dict[str, np.ndarray]]:
    """Inputs of the classifier, one sample at a time, over the range that its golden ones have."""
    random = np.random.default_rng(21)
    return [{"image": (2 * random.random((1, 16, 16, 1))).astype("float32")} for _ in range(32)]


@pytest.fixture
def open_artifact(artifacts):
    """``open_artifact("classifier", inputs, outputs, ...)`` -> a session, closed at the end."""
    require("openvino", bool(BACKEND.probe()), BACKEND.explain())
    sessions = []

    def opened(artifact, inputs, outputs, **more):
        path = artifact if isinstance(artifact, Path) else artifacts[artifact]
        more = {"device": "CPU", "threads": 1, **more}
        session = BACKEND.open(OpenRequest(artifact=path, inputs=inputs, outputs=outputs, **more))
        sessions.append(session)
        return session

    yield opened
    for session in sessions:
        session.close()


@pytest.fixture
def in_a_child():
    """``in_a_child(code, *arguments)`` -> a finished Python process that sees the same modules."""

    def run(code: str, *arguments: object):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)

    return run
