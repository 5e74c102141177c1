"""What a new author does first: `plugins new --kind task`, and the toy that comes with it, as its README says."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgeai.bundle.reader import open_bundle
from edgeai.cli.main import run
from edgeai.testing.distributions import write_fake_distribution
from edgeai.testing.require import require

pytestmark = pytest.mark.slow


def test_the_toy_of_a_new_task_is_drawn_trained_built_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    require("tensorflow", find_spec("tensorflow") is not None, "TensorFlow is not installed")
    require("tflite", find_spec("ai_edge_litert") is not None, "LiteRT is not installed")
    assert run(["plugins", "new", "acme-spots", "--kind", "task", "--output", str(tmp_path)]) == 0
    folder, module = tmp_path / "edgeai-acme-spots", "edgeai_acme_spots"
    # As pip would: its dist-info beside its module.
    write_fake_distribution(folder, name="edgeai-acme-spots", version="0.1.0", entry_points={"acme-spots": module})
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", ":".join([str(folder), *(path for path in sys.path if path)]))
    monkeypatch.chdir(folder)
    try:
        subprocess.run([sys.executable, "toy/draw.py"], check=True, timeout=600)
        data = ["--data", "toy/data"]
        assert run(["train", "toy", *data]) == 0
        assert run(["build", "toy", *data, "--out", "toy/dist"]) == 0
        capfd.readouterr()
        assert run(["evaluate", "toy/dist/toy-1.0.0.edgeai", *data]) == 0
    finally:
        sys.modules.pop(module, None)
    shown = capfd.readouterr().out
    assert "right *" in shown
    assert "left" in shown, "its judge knows parts"
    assert open_bundle(folder / "toy/dist/toy-1.0.0.edgeai").manifest.task.name == "acme-spots"
