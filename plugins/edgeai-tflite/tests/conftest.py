"""Small Keras models and their artifacts, made once a session; or, where TensorFlow is not, taken from a folder.

``EDGEAI_TFLITE_ARTIFACTS`` names such a folder, ``EDGEAI_TFLITE_ENGINE`` the runtime to test: that is how
``test_tflite_runtime.py`` runs these tests again in the environment of tflite-runtime.
"""

from __future__ import annotations

import importlib.util
import os
from functools import partial
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from edgeai.testing.fixtures import *  # noqa: F403  pytest finds them by name
from edgeai.testing.keras_models import convert_models, read_golden
from edgeai.testing.require import require
from edgeai.testing.sessions import opening
from edgeai_tflite import BACKEND, CONVERTER

ENGINE = os.environ.get("EDGEAI_TFLITE_ENGINE", "auto")


@pytest.fixture(scope="session")
def keras():
    """Keras on TensorFlow; skips aloud where the extra [build] is not installed."""
    require("tensorflow", importlib.util.find_spec("tensorflow") is not None, "needs edgeai-tflite[build]")
    import keras

    return keras


def _newer(artifact: Path, target: Path) -> None:
    """The same model, asking for version 99 of its first operator: no runtime has that."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(artifact))
    model.operatorCodes[0].version = 99
    flatbuffer_utils.write_model(model, str(target))


def _stateful(target: Path) -> None:
    """A model of ``rows`` that adds them up in a resource variable, which begins at 3."""
    import tensorflow as tf

    module = tf.Module()
    module.total = tf.Variable(tf.fill((1, 4), 3.0))
    function = tf.function(
        lambda rows: {"answer": module.total.assign_add(rows)},
        input_signature=[tf.TensorSpec((1, 4), tf.float32, name="rows")],
        autograph=False,
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], module)
    converter.experimental_enable_resource_variables = True
    target.write_bytes(converter.convert())


@pytest.fixture(scope="session")
def artifacts(request, tmp_path_factory) -> Path:
    """A folder with the .tflite files and golden .npz files."""
    given = os.environ.get("EDGEAI_TFLITE_ARTIFACTS")
    if given:
        return Path(given)
    source = request.getfixturevalue("keras_models")
    folder = tmp_path_factory.mktemp("artifacts")
    made = tmp_path_factory.mktemp("converted")
    for name, artifact in convert_models(CONVERTER, source, made).items():
        artifact.rename(folder / f"{name}.tflite")
    for name in ("classifier", "two_heads"):
        (folder / f"{name}.npz").write_bytes((source / f"{name}.npz").read_bytes())
    _newer(folder / "classifier.tflite", folder / "newer.tflite")
    _stateful(folder / "stateful.tflite")
    return folder


@pytest.fixture(scope="session")
def examples(request) -> Path:
    """What the kit is given: of ``artifacts``, or, where there is no TensorFlow to make those, what ships beside."""
    if "EDGEAI_TFLITE_ARTIFACTS" in os.environ or importlib.util.find_spec("tensorflow") is not None:
        return request.getfixturevalue("artifacts")
    return Path(__file__).with_name("examples")


@pytest.fixture(scope="session")
def golden(artifacts):
    """``golden("classifier")`` -> the arrays of its .npz, by name: from the artifacts' folder, which may be given."""
    return partial(read_golden, artifacts)


@pytest.fixture(scope="session")
def engine_name() -> str:
    """The runtime under test: as the setting ``engine`` names it."""
    return ENGINE


@pytest.fixture
def open_artifact(artifacts):
    """``open_artifact("classifier.tflite", inputs, outputs, ...)`` -> a session, closed at the end."""
    require("tflite", bool(BACKEND.probe()), BACKEND.explain())
    with opening(BACKEND) as opened:

        def on_engine(artifact, inputs, outputs, *, settings=None, **more):
            path = artifact if isinstance(artifact, Path) else artifacts / artifact
            return opened(path, inputs, outputs, settings={"engine": ENGINE, **(settings or {})}, **more)

        yield on_engine


@pytest.fixture(scope="session")
def data_kit() -> Path:
    """The data kit's folder; skips, saying where it looked, when it is absent."""
    default = Path(__file__).resolve().parents[4] / "shared" / "data"
    folder = Path(os.environ.get("EDGEAI_DATA", default))
    require("data", (folder / "models").is_dir(), f"no data kit at {folder}; set EDGEAI_DATA")
    return folder
