"""What each process does without when it begins: what it imports is held in memory, and waited for at each start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

BUILD_HOST = {
    "edgeai_workbench",
    "edgeai_fleet",
    "edgeai_update",
    "tuf",
    "edgeai.api.building",
    "edgeai.hosting.building",
    "tensorflow",
    "keras",
    "matplotlib",
}
IMAGES = {"pydicom", "pynetdicom", "PIL", "cv2"}
SIGNATURES = {"cryptography", "securesystemslib"}
COMMANDS = {"typer", "rich", "edgeai.cli", "edgeai.doctor"}
ENGINES = {"ai_edge_litert", "openvino"}
OF_NO_CART = {*BUILD_HOST, *SIGNATURES, *ENGINES, "edgeai.testing", "pytest"}

WITHOUT = {
    "supervise": {*OF_NO_CART, *IMAGES, *COMMANDS, "numpy", "pydantic", "msgspec", "pluggy", "paho", "http", "ssl"},
    "ingest": {*OF_NO_CART, *IMAGES, *COMMANDS, "pluggy", "paho", "http", "edgeai.plugins", "edgeai.model"},
    "infer": {*OF_NO_CART, *IMAGES, *COMMANDS, "paho", "http", "edgeai.sinks", "edgeai.hosting.sinks"},
    "publish": {*OF_NO_CART, *IMAGES, *COMMANDS, "numpy", "msgspec", "edgeai.dicom", "edgeai.model"},
    "update": {*OF_NO_CART, *IMAGES, *COMMANDS, "numpy", "pluggy", "paho", "http", "edgeai.plugins", "edgeai.model"},
    "edgeai infer": {*OF_NO_CART, *IMAGES, "rich", "pydantic", "paho", "edgeai.roles", "edgeai.spool", "edgeai.config"},
}
"""Process (``benchmarks.closure``, which counts all of it) -> what it must not have imported."""


@pytest.mark.parametrize("process", WITHOUT)
def test_a_process_begins_without_what_it_has_no_use_for(process: str) -> None:
    code = "import json, sys; from benchmarks.closure import closure; print(json.dumps(closure(sys.argv[1])[0]))"
    done = subprocess.run(
        [sys.executable, "-c", code, process], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    )
    modules = set(json.loads(done.stdout))
    assert "edgeai.api.errors" in modules
    needless = {name for name in WITHOUT[process] if any(f"{module}.".startswith(f"{name}.") for module in modules)}
    assert needless == set()
