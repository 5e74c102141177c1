"""TensorFlow itself: loading it, and the CUDA devices it sees."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgeai.api import BackendUnavailable, Device

CPU = "CPU"
_NODES = ("/dev/nvidiactl", "/dev/dxg", "/dev/nvhost-gpu", "/dev/nvgpu")
_NODES_SAID = (
    "no NVIDIA device node (/dev/nvidiactl, or /dev/dxg under WSL, or /dev/nvhost-gpu on Jetson), "
    "without which CUDA does not start"
)
_LIST = "import sys; sys.modules['keras'] = None; import tensorflow as tf; tf.config.list_physical_devices('GPU')"
_LIST_TIMEOUT_S = 120.0
_LOG_PREFIX = re.compile(r"^.*?\.cc:\d+\] ")
_ABOUT_CUDA = re.compile(r"cuda|cuinit|cudnn|gpu|nvidia|libdevice|dlopen", re.IGNORECASE)


def has_node() -> bool:
    """Whether this machine shows an NVIDIA device at all; without one, CUDA cannot start."""
    return any(Path(node).exists() for node in _NODES)


@functools.cache
def load() -> Any:
    """Import TensorFlow, some six seconds, and let its GPU memory grow instead of taking all of it.

    Raises:
        BackendUnavailable: not installed, or its import fails; the import's own words are kept.
    """
    if "tensorflow" not in sys.modules and importlib.util.find_spec("tensorflow") is None:
        raise BackendUnavailable(
            "tensorflow is not installed", code="backend.engine-missing", remedy="pip install edgeai-gpu"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        tf = _without_keras()
    except Exception as error:
        raise BackendUnavailable(
            f"{describe()} does not load: {error}", code="backend.engine-broken", remedy="reinstall tensorflow"
        ) from error
    for device in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(device, True)
        except (RuntimeError, ValueError):  # the host has used the GPU before; its choice stands
            break
    return tf


def _without_keras() -> Any:
    """TensorFlow. It brings Keras along where that is installed: two fifths of the time and 120 MB, of no use here."""
    table: dict[str, Any] = sys.modules
    if "keras" in table:
        return importlib.import_module("tensorflow")
    table["keras"] = None  # how Python says "not importable"; TensorFlow goes on
    try:
        return importlib.import_module("tensorflow")
    finally:
        del table["keras"]


def describe() -> str:
    """``tensorflow 2.21.0``; empty when it is not installed. Imports nothing of it."""
    try:
        return f"tensorflow {importlib.metadata.version('tensorflow')}"
    except importlib.metadata.PackageNotFoundError:
        return ""


def probe() -> tuple[Device, ...]:
    """The CUDA devices that TensorFlow lists. Never raises, and never gives ``CPU``.

    Imports TensorFlow only where there is an NVIDIA device node.
    """
    if not has_node():
        return ()
    try:
        return cuda_devices(load())
    except Exception:  # noqa: BLE001  a driver may throw anything; explain() says what
        return ()


def cuda_devices(tf: Any) -> tuple[Device, ...]:
    """``GPU:0`` and on, with the name and compute capability that CUDA gives."""
    devices = []
    for physical in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(physical)
        capability = ".".join(str(part) for part in details.get("compute_capability", ()))
        description = details.get("device_name", "") + (f", compute capability {capability}" if capability else "")
        devices.append(Device(name=physical.name.removeprefix("/physical_device:"), description=description))
    return tuple(devices)


@functools.cache
def explain() -> str:
    """Why ``probe`` finds no CUDA device; empty when it finds one.

    In TensorFlow's own words where this machine shows an NVIDIA device. It says them on its error stream while it
    starts, so that a process of its own is asked (seconds).
    """
    if probe():
        return ""
    if not describe():
        return "tensorflow is not installed; pip install edgeai-gpu"
    return _tensorflow_says() if has_node() else f"{describe()}: {_NODES_SAID}"


def _tensorflow_says() -> str:
    try:
        process = subprocess.run(
            [sys.executable, "-c", _LIST],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"},
            capture_output=True,
            text=True,
            timeout=_LIST_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{describe()} cannot be asked: {error}"
    lines = [_LOG_PREFIX.sub("", line).strip() for line in process.stderr.splitlines() if _ABOUT_CUDA.search(line)]
    words = list(dict.fromkeys(line for line in lines if line))
    if process.returncode and not words:
        words = process.stderr.strip().splitlines()[-1:]
    return f"{describe()}: " + " / ".join(words or ["it lists no CUDA device"])
