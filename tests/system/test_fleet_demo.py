"""The demo of a fleet: three real carts, a signed repository, two rollouts, and how each of them ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeai.testing.require import require

pytestmark = [pytest.mark.system, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]


def test_the_demo_of_a_fleet(mosquitto: str, tmp_path: Path) -> None:
    try:
        import ai_edge_litert.interpreter as engine
    except ImportError:
        engine = None  # type: ignore[assignment]
    require("tflite", engine is not None, "ai-edge-litert is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "edgeai", "fleet", "demo"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "110", "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith(("yes", "NO"))]
    assert [line.split()[0] for line in lines] == ["yes"] * 7, done.stdout
    assert "slots.failures" in done.stdout
    assert "guard-3 is halted" in done.stdout
