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


@pytest.mark.parametrize(("broker", "columns"), [("Mosquitto", "80"), ("amqtt", "120")])
def test_the_demo_shows_a_result_for_every_instance(broker: str, columns: str, mosquitto: str, tmp_path: Path) -> None:
    try:
        import ai_edge_litert.interpreter as result
    except ImportError:
        result = None  # type: ignore[assignment]
    require("tflite", result is not None, "ai-edge-litert is not installed")
    environment: dict[str, Any] = {**os.environ, "COLUMNS": columns, "OMP_NUM_THREADS": "1"}
    if broker == "amqtt":
        (tmp_path / "sitecustomize.py").write_text(_NO_MOSQUITTO)
        environment["PYTHONPATH"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "edgeai", "demo", "--backend", "tflite", "--output", str(tmp_path / "pictures")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    text = done.stdout
    assert f"broker {broker}" in text, text + done.stderr
    summary = re.search(r"(\d+) instances acknowledged, (\d+) results received, (\d+) agree, (\d+) withheld", text)
    assert summary is not None, text + done.stderr
    acknowledged, received, agree, withheld = map(int, summary.groups())
    assert acknowledged == received == agree + withheld == 8
    assert (withheld, done.returncode) == (1, 0)
    told = " ".join(text.split())
    assert "no-probe.dcm: no result, which is no negative; it was kept from the model: all of the image is one" in told
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 8
    assert "examples_overlay.dcm again: known, so acknowledged and not run twice" in text
    assert "examples_ybr_color.dcm: 16 of 30 frames were run" in text
    assert max(map(len, text.splitlines())) <= int(columns)
    head = next(line for line in text.splitlines() if line.startswith("instance"))
    assert len(head.split()) == 13, "twelve columns, one of two words"
