"""Fixtures for the tests of a converter or a backend, which a plugin's ``conftest.py`` imports::

    from edgeai.testing.fixtures import *  # noqa: F403  pytest finds them by name

``keras_models``, and what is made from it, wants a fixture ``keras`` of the plugin's own: Keras, or a skip that says
what to install. One that is not asked for is not made, and one of the same name in the ``conftest.py`` takes its place.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeai.api import Array, ConvertRequest
from edgeai.testing import keras_models as models
from edgeai.testing.examples import Golden

__all__ = ["calibration", "cases", "golden", "in_a_child", "keras_models", "request_for", "specs"]


@pytest.fixture(scope="session")
def keras_models(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with classifier.keras, two_heads.keras and an .npz of inputs and Keras's own outputs for each."""
    return models.write_models(keras, tmp_path_factory.mktemp("keras"))


@pytest.fixture(scope="session")
def specs() -> SimpleNamespace:
    """The tensors of the models, as a manifest declares them: ``image``, ``age``, ``probabilities``, ``value``.

    ``images`` and ``many`` are ``image`` and ``probabilities`` with the batch open.
    """
    return SimpleNamespace(
        image=models.IMAGE,
        images=models.IMAGES,
        age=models.AGE,
        probabilities=models.PROBABILITIES,
        many=models.MANY,
        value=models.VALUE,
    )


@pytest.fixture(scope="session")
def golden(keras_models: Path) -> Callable[[str], dict[str, Array]]:
    """``golden("classifier")`` -> the arrays of its .npz, by name."""
    return partial(models.read_golden, keras_models)


@pytest.fixture(scope="session")
def cases(golden: Callable[[str], Mapping[str, Array]]) -> tuple[Golden, ...]:
    """Two inputs of the classifier with Keras's own outputs."""
    return models.classifier_cases(golden("classifier"))


@pytest.fixture(scope="session")
def calibration() -> list[dict[str, Array]]:
    """32 inputs of the classifier, one sample at a time, over the range that its golden ones have."""
    return models.calibration_samples()


@pytest.fixture
def request_for(keras_models: Path, tmp_path: Path) -> Callable[..., ConvertRequest]:
    """``request_for(precision=..., ...)`` -> a request that converts the classifier into ``tmp_path``."""
    return partial(models.classifier_request, keras_models, tmp_path)


@pytest.fixture
def in_a_child() -> Callable[..., subprocess.CompletedProcess[str]]:
    """``in_a_child(code, *arguments)`` -> a finished Python process that sees the same modules."""

    def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)

    return run
