"""The ``keras`` backend: a ``.keras`` file as it is, for the build host's comparisons. Imports no Keras by itself."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util

from edgeai.api import Device

CPU = "CPU"
_NEEDED = ("keras", "tensorflow")


@functools.cache
def missing() -> tuple[str, ...]:
    """Which of Keras and TensorFlow are not installed. Imports neither."""
    return tuple(name for name in _NEEDED if importlib.util.find_spec(name) is None)


def probe() -> tuple[Device, ...]:
    """``CPU`` where Keras and TensorFlow are installed. Never raises."""
    return () if missing() else (Device(name=CPU, description="the Keras model itself, on TensorFlow"),)


def describe() -> str:
    """``keras 3.15.1 on tensorflow 2.21.0``; empty when either is missing."""
    if missing():
        return ""
    keras, tensorflow = (importlib.metadata.version(name) for name in _NEEDED)
    return f"keras {keras} on tensorflow {tensorflow}"


def explain() -> str:
    """Why there is no device."""
    return f"{' and '.join(missing())} not installed; pip install edgeai-keras" if missing() else ""
