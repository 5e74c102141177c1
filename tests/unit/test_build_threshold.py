"""A mask's threshold that validation chose: by the variant that ships, in ``edgeai build``, on to the bundle."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeai.cli.main import run
from edgeai.model import open_model
from edgeai.testing.require import require
from edgeai_workbench.card import file_digest, read_card
from edgeai_workbench.variants import VARIANTS

pytestmark = pytest.mark.slow

SIDE = 32
CHOOSING = """
[choice]
on = "validation"
options = { threshold = "WISH" }

[dataset.train]
table = "train.csv"
image = "file"
mask = "mask"

[dataset.validation]
table = "validation.csv"
image = "file"
mask = "mask"
"""
RECIPES = """
[[recipes]]
converter = "tflite"
precision = "fp32"
variant = "small"

[[variants]]
name = "small"
steps = [{ compressor = "prune-channels", options = { parameters = 0.6, epochs = 1 } }]
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discs, of which the masks hold the brighter inside alone: no threshold of a half is right."""
    root = tmp_path_factory.mktemp("discs")
    random = np.random.default_rng(6)
    y, x = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    for split, count in (("train", 20), ("validation", 14)):
        lines = ["file,mask"]
        for number in range(count):
            off = np.hypot(y - random.uniform(12, 20), x - random.uniform(12, 20)) / random.uniform(8, 12)
            grey = np.clip(255 * (1 - off) + random.normal(0, 2, off.shape), 0, 255)
            name = f"{split}-{number:02}"
            Image.fromarray(grey.astype(np.uint8)).save(root / f"{name}.png")
            Image.fromarray((255 * (off < 0.7)).astype(np.uint8)).save(root / f"{name}-mask.png")
            lines.append(f"{name}.png,{name}-mask.png")
        (root / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def tried(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a first try makes of a network that answers how bright a pixel is."""
    require("tensorflow", find_spec("tensorflow") is not None, "TensorFlow is not installed")
    require("tflite", find_spec("ai_edge_litert") is not None, "LiteRT is not installed")
    import keras

    root = tmp_path_factory.mktemp("tried")
    image = keras.Input((SIDE, SIDE, 1), name="image")
    x = keras.layers.Conv2D(8, 1, activation="relu", kernel_initializer=keras.initializers.Constant(0.5))(image)
    x = keras.layers.Conv2D(8, 1, activation="relu", kernel_initializer=keras.initializers.Constant(0.25))(x)
    out = keras.layers.Conv2D(1, 1, activation="sigmoid", name="disc")
    model = keras.Model(image, out(x))
    out.set_weights([np.full((1, 1, 8, 1), 1.0, np.float32), np.full(1, -4.0, np.float32)])
    model.save(root / "discs.keras")
    (root / "labels.txt").write_text("disc\n")
    command = ["build", str(root / "discs.keras"), "--labels", str(root / "labels.txt"), "--values", "0", "1"]
    assert run([*command, "--calibration", str(data), "--out", str(root / "dist")]) == 0
    return root / "dist" / "discs"


def _card(folder: Path, wish: str) -> None:
    path = folder / "model.toml"
    before, rest = path.read_text().split("[[recipes]]", 1)
    path.write_text(before + RECIPES + "\n[[data]]" + rest.split("[[data]]", 1)[1] + CHOOSING.replace("WISH", wish))


def test_what_ships_chooses_the_threshold_of_its_masks(
    tried: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _card(tried, "dise")
    build = ["build", str(tried), "--data", str(data), "--out", str(tmp_path / "dist")]
    assert run(build) == 2
    assert 'did you mean "dice"?' in " ".join(capfd.readouterr().err.split())
    assert not (tried / VARIANTS).exists()  # said before the variant is made
    text = (tried / "model.toml").read_text()
    (tried / "model.toml").write_text(text.replace("dise", "dice"))
    assert run(build) == 0
    chosen = json.loads((tried / "choice.json").read_text())
    assert (chosen["variant"], chosen["samples"]) == ("small", 14)
    assert chosen["model"] == file_digest(tried / VARIANTS / "small" / "model.keras")
    assert chosen["strata"] == {"disc": 14}
    threshold = chosen["chosen"]["thresholds"]["disc"]
    assert read_card(tried).task.options["thresholds"] == {"disc": threshold}
    assert "thresholds {'disc': " in (tried / "REPORT.md").read_text()
    with open_model(tmp_path / "dist" / "discs-0.1.0.edgeai", cache_dir=tmp_path, backends=["tflite"]) as model:
        assert model.bundle.manifest.task.options["thresholds"] == {"disc": threshold}
