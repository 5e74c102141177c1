"""Which TensorFlow Lite runtime is installed, and how to load it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import sys
from dataclasses import dataclass
from typing import Any

from edgeai.api import BackendUnavailable, Device


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """One runtime that this plugin can load.

    Attributes:
        name: as the setting ``engine`` names it.
        distribution: what to install.
        module: where its ``Interpreter`` lives.
        verifies: whether it checks a file's structure itself. tflite-runtime 2.14 does not, and a
            truncated file ends the process with a segmentation fault (measured: 136 of 160 truncations).
    """

    name: str
    distribution: str
    module: str
    verifies: bool

    @property
    def installed(self) -> bool:
        """Whether the module can be found; imports nothing of the runtime itself."""
        package = self.module.partition(".")[0]
        return package in sys.modules or importlib.util.find_spec(package) is not None

    @property
    def described(self) -> str:
        """Distribution and version, e.g. ``ai-edge-litert 2.3.0``."""
        try:
            return f"{self.distribution} {importlib.metadata.version(self.distribution)}"
        except importlib.metadata.PackageNotFoundError:
            return self.distribution


RUNTIMES = (
    Runtime(name="litert", distribution="ai-edge-litert", module="ai_edge_litert.interpreter", verifies=True),
    Runtime(name="tflite-runtime", distribution="tflite-runtime", module="tflite_runtime.interpreter", verifies=False),
)
"""Best first."""

MOST_UNASKED = 4
"""Interpreters of a stream where the configuration gives no number of threads: each has its own memory."""

_INSTALL = "install one: pip install 'edgeai-tflite[litert]' (or 'edgeai-tflite[tflite-runtime]', Python 3.11 only)"


def choose(wish: str = "auto") -> Runtime | None:
    """The runtime that the setting ``engine`` means, or ``None`` when it is not installed."""
    for runtime in RUNTIMES:
        if wish in ("auto", runtime.name) and runtime.installed:
            return runtime
    return None


def load(wish: str = "auto") -> tuple[Runtime, Any]:
    """Import the runtime that the setting means; gives it and its Python module.

    Raises:
        BackendUnavailable: not installed, or its import fails; the import's own words are kept.
    """
    runtime = choose(wish)
    if runtime is None:
        missing = wish if wish != "auto" else "neither ai-edge-litert nor tflite-runtime"
        raise BackendUnavailable(
            f"tflite: {missing} is {'not ' if wish != 'auto' else ''}installed",
            code="backend.engine-missing",
            remedy=_INSTALL,
        )
    try:
        return runtime, importlib.import_module(runtime.module)
    except Exception as error:
        raise BackendUnavailable(
            f"tflite: {runtime.described} does not load: {error}",
            code="backend.engine-broken",
            remedy="tflite-runtime 2.14 needs numpy < 2; otherwise reinstall the engine",
        ) from error


def available_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not every system can say
        return os.cpu_count() or 1


def probe() -> tuple[Device, ...]:
    """``CPU`` when a runtime is installed. Never raises."""
    return (Device(name="CPU", description=f"CPU by {describe()}"),) if choose() else ()


def describe() -> str:
    """Name and version of the runtime that ``engine = "auto"`` takes; empty when there is none."""
    runtime = choose()
    return runtime.described if runtime else ""


def explain() -> str:
    """Why ``probe`` gives nothing; empty when all is well."""
    return "" if choose() else f"neither ai-edge-litert nor tflite-runtime is installed; {_INSTALL}"
