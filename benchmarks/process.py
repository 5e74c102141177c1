"""Whole processes: what ``edgeai infer`` takes from a cold start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.material import write_xray
from benchmarks.timing import Row, children_seconds, paired


def cold_start(folder: Path, bundle: Path, rounds: int) -> Iterator[Row]:
    """One file through ``edgeai infer`` on LiteRT, against importing what it cannot do without; in processor time.

    Both as they are on a cart, where pip has compiled what it installed: a checkout that nobody compiled would have
    Python read all sources of ours at each start, and none of the others'.
    """
    path = write_xray(folder / "cold.dcm")
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPYCACHEPREFIX": str(folder / "pyc")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    infer = [sys.executable, "-m", "edgeai", "infer", str(bundle), str(path), "--backend", "tflite"]
    imports = [sys.executable, "-c", "import numpy, pydicom, ai_edge_litert.interpreter"]

    def run(command: list[str]) -> None:
        subprocess.run(command, check=True, capture_output=True, env=environment)

    taken = paired(lambda: run(infer), lambda: run(imports), rounds=rounds, clock=children_seconds)
    yield Row(
        case="edgeai infer, one file, cold, tflite",
        ours=f"{taken.ours_ms:.0f} ms",
        limit=f"{taken.limit_ms:.0f} ms: import numpy, pydicom, LiteRT",
        ratio=taken.ratio,
        spread=taken.spread,
        bound=1.3,
        notes=_heavy_imports(infer, environment),
    )


def _heavy_imports(command: list[str], environment: dict[str, str]) -> tuple[str, ...]:
    timed = [command[0], "-X", "importtime", *command[1:]]
    told = subprocess.run(timed, check=True, capture_output=True, text=True, env=environment).stderr
    modules = {line.rsplit("|", 1)[-1].strip() for line in told.splitlines() if line.startswith("import time:")}
    heavy = sorted(
        modules & {"tensorflow", "keras", "openvino", "pynetdicom", "paho.mqtt.client", "pydantic", "pydicom", "rich"}
    )
    return (f"imports that it should do without: {', '.join(heavy) or 'none'}",)
