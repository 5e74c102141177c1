"""``edgeai demo`` as a newcomer runs it: with Mosquitto, and without."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeai.testing.require import require

pytestmark = pytest.mark.system

_NO_MOSQUITTO = """
import shutil
which = shutil.which
shutil.which = lambda name, *more, **options: None if name == "mosquitto" else which(name, *more, **options)
"""


@pytest.mark.parametrize("broker", ["Mosquitto", "amqtt"])
def test_the_demo_shows_a_result_for_every_instance(broker: str, mosquitto: str, tmp_path: Path) -> None:
    try:
        import ai_edge_litert.interpreter as found
    except ImportError:
        found = None  # type: ignore[assignment]
    require("tflite", found is not None, "ai-edge-litert is not installed")
    environment: dict[str, Any] = {**os.environ, "COLUMNS": "120", "OMP_NUM_THREADS": "1"}
    if broker == "amqtt":
        (tmp_path / "sitecustomize.py").write_text(_NO_MOSQUITTO)
        environment["PYTHONPATH"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "edgeai", "demo", "--backend", "tflite", "--output", str(tmp_path / "pictures")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    text = done.stdout
    assert f"broker {broker}" in text, text + done.stderr
    summary = re.search(r"(\d+) instances acknowledged, (\d+) results received, (\d+) agree", text)
    assert summary is not None, text + done.stderr
    acknowledged, received, agree = map(int, summary.groups())
    assert acknowledged == received == 10
    assert done.returncode == (0 if agree == received else 1)
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 10
    assert "MR_small_RLE.dcm: an instance already known" in text
