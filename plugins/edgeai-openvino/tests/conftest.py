"""Small Keras models and their artifacts, made once a session."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from edgeai.testing.fixtures import *  # noqa: F403  pytest finds them by name
from edgeai.testing.keras_models import convert_models
from edgeai.testing.require import require
from edgeai.testing.sessions import opening
from edgeai_openvino import BACKEND, CONVERTER


@pytest.fixture(scope="session")
def keras():
    """Keras on TensorFlow; skips aloud where the extra [build] is not installed."""
    require("tensorflow", importlib.util.find_spec("tensorflow") is not None, "needs edgeai-openvino[build]")
    import keras

    return keras


@pytest.fixture(scope="session")
def artifacts(keras_models, tmp_path_factory) -> dict[str, Path]:
    """Artifact by name: each in a folder of its own."""
    return convert_models(CONVERTER, keras_models, tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="session")
def examples(request) -> tuple[Path, Path]:
    """The classifier's IR, and the folder of its golden answers; those that ship where no TensorFlow can make them."""
    if importlib.util.find_spec("tensorflow") is None:
        folder = Path(__file__).with_name("examples")
        return folder / "model.xml", folder
    return request.getfixturevalue("artifacts")["classifier"], request.getfixturevalue("keras_models")


@pytest.fixture
def open_artifact(artifacts):
    """``open_artifact("classifier", inputs, outputs, ...)`` -> a session, closed at the end."""
    require("openvino", bool(BACKEND.probe()), BACKEND.explain())
    with opening(BACKEND) as opened:
        yield lambda artifact, *tensors, **more: opened(
            artifact if isinstance(artifact, Path) else artifacts[artifact], *tensors, **more
        )
