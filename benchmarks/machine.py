"""On what a run was measured: kept beside its figures, since a ratio without its machine says half."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "edgeai", "ai-edge-litert", "openvino", "tensorflow", "numpy", "opencv-python-headless", "pillow", "contourpy",
    "pydicom", "paho-mqtt",
)  # fmt: skip


def machine() -> dict[str, object]:
    """Processor, memory, system, versions and how busy the machine is before the first case."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "processor": _of("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory_kib": _of("/proc/meminfo", "MemTotal").removesuffix(" kB"),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def _of(file: str, key: str) -> str:
    """The first value of a key in one of the kernel's tables; empty when there is none."""
    try:
        lines = Path(file).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
