"""Pictures into models that somebody else quantised: as the file's own scale says, or as its packer does."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeai.api import ConfigError, Outcome
from edgeai.cli.main import run
from edgeai.model import open_model
from edgeai.testing.bundles import let_all_pass
from edgeai.testing.require import require
from edgeai_workbench.card import read_card
from edgeai_workbench.foreign import foreign_card
from edgeai_workbench.foreign_known import Foreign
from edgeai_workbench.pack import pack_card
from edgeai_workbench.pictures import load

pytestmark = [
    pytest.mark.slow,
    # The converter would rather have statistics than pictures, which is how these files came about.
    pytest.mark.filterwarnings("ignore:Statistics for quantized inputs were expected"),
]

SIDE = 16


@pytest.fixture(scope="module")
def keras() -> Any:
    """Keras, whose models become other people's files here."""
    require("tensorflow", find_spec("tensorflow") is not None, "TensorFlow is not installed")
    require("tflite", find_spec("ai_edge_litert") is not None, "LiteRT is not installed")
    import keras

    keras.utils.set_random_seed(2)
    return keras


@pytest.fixture(scope="module")
def quantised(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``quantised(low, high, dtype=..., end=...)``: a file that was calibrated between ``low`` and ``high``."""
    import tensorflow as tf

    def made(low: float, high: float, *, dtype: str = "int8", end: Any = None, channels: int = 1) -> Path:
        image = keras.Input((SIDE, SIDE, channels), name="image")
        x = keras.layers.GlobalAveragePooling2D()(image)
        if end is None:
            # P(bright) = sigmoid of how far the mean is above the middle of the range
            last = keras.layers.Dense(2, activation="softmax")
            out = last(x)
            weight = np.array([[-1.0, 1.0]] * channels, np.float32) * 8 / (high - low) / channels
            last.set_weights([weight, np.array([1.0, -1.0], np.float32) * 4 * (high + low) / (high - low)])
        else:
            out = end(x)
        converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(image, out))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        random = np.random.default_rng(0)
        planes = [np.full((1, SIDE, SIDE, channels), v, np.float32) for v in (low, high)]
        planes += [random.uniform(low, high, (1, SIDE, SIDE, channels)).astype(np.float32) for _ in range(8)]
        converter.representative_dataset = lambda: [[plane] for plane in planes]
        kind = getattr(tf, dtype)
        sixteen = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [sixteen if dtype == "int16" else tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = kind
        path = tmp_path_factory.mktemp("theirs") / "theirs.tflite"
        path.write_bytes(converter.convert())
        return path

    return made


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Black, white and what is between."""
    root = tmp_path_factory.mktemp("pictures")
    for name, level in (("black", 0), ("dark", 64), ("bright", 192), ("white", 255)):
        Image.fromarray(np.full((20, 20), level, np.uint8)).save(root / f"{name}.png")
    return root


def _whole(folder: Path) -> list[int]:
    """The inputs of the golden cases, by file name: black, bright, dark, white."""
    return [int(np.load(folder / "golden" / f"case-{n}" / "inputs" / "image.npy").mean()) for n in (1, 2, 3, 4)]


def _bright(folder: Path, out: Path, picture: Path) -> float:
    bundle = pack_card(let_all_pass(folder), out=out).bundle
    frame = load(picture)
    with open_model(bundle, cache_dir=out / "cache") as model:
        result = model.run([frame], frame.instance)
    assert result.outcome is Outcome.COMPLETED, result.failure
    return next(finding.probability or 0.0 for finding in result.findings if finding.label == "bright")


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_bytes(b"\xef\xbb\xbfdark\r\nbright\r\n")
    return path


@pytest.mark.parametrize(
    ("low", "high", "dtype", "channels"),
    [
        (-1, 1, "int8", 1),
        (0, 255, "int8", 3),
        (0, 1, "uint8", 1),
        pytest.param(0, 1, "int8", 1, marks=pytest.mark.torture),
        pytest.param(-2, 3, "uint8", 3, marks=pytest.mark.torture),
    ],
)
def test_black_is_the_least_whole_number_and_white_the_greatest(
    quantised: Any, pictures: Path, labels: Path, tmp_path: Path, low: float, high: float, dtype: str, channels: int
) -> None:
    model = quantised(low, high, dtype=dtype, channels=channels)
    made = foreign_card(model, out=tmp_path, known=Foreign(labels=labels, images=pictures))
    least = np.iinfo(dtype).min
    assert _whole(made.folder) == [pytest.approx(least + level, abs=1) for level in (0, 192, 64, 255)]
    assert any("as its own scale says" in note for note in made.notes)
    assert "4 of its pictures will be withheld (guard.constant), unless the card says [guard] content" in made.notes[-1]
    options = read_card(made.folder).task.options
    assert (options["mode"], options["activation"]) == ("multi-class", "none")
    assert _bright(made.folder, tmp_path, pictures / "white.png") > 0.95
    assert _bright(made.folder, tmp_path, pictures / "black.png") < 0.05


def test_values_say_what_black_and_white_are_as_real_numbers(
    quantised: Any, pictures: Path, labels: Path, tmp_path: Path
) -> None:
    for dtype in ("int8", "uint8"):
        known = Foreign(labels=labels, images=pictures, values=(0.0, 1.0), name=dtype)
        made = foreign_card(quantised(-1, 1, dtype=dtype), out=tmp_path, known=known)
        middle = np.iinfo(dtype).min + 127.5
        assert _whole(made.folder) == [pytest.approx(middle + level / 2, abs=1.5) for level in (0, 192, 64, 255)]
        assert any("as --values says" in note for note in made.notes)


def test_sixteen_bits_are_quantised_around_zero_whatever_goes_in(
    quantised: Any, pictures: Path, labels: Path, tmp_path: Path
) -> None:
    made = foreign_card(quantised(0, 1, dtype="int16"), out=tmp_path, known=Foreign(labels=labels, images=pictures))
    whole = _whole(made.folder)
    assert whole[0] == 0
    assert whole[3] == pytest.approx(32767, rel=0.01)
    assert any("assumed" in note for note in made.notes)


def test_several_answers_that_do_not_sum_to_one_are_asked_about(
    keras: Any, quantised: Any, pictures: Path, tmp_path: Path
) -> None:
    model = quantised(0, 1, end=lambda x: keras.layers.Maximum()([0.2 * x, keras.layers.Dense(3, "sigmoid")(x)]))
    with pytest.raises(ConfigError, match="sum to 1") as caught:
        foreign_card(model, out=tmp_path, known=Foreign(images=pictures))
    assert "--mode multi-label" in (caught.value.remedy or "")
    assert not list(tmp_path.rglob("model.toml"))
    for mode, activation in (("multi-label", "none"), ("multi-class", "softmax")):
        made = foreign_card(model, out=tmp_path, known=Foreign(images=pictures, mode=mode, name=mode))
        options = read_card(made.folder).task.options
        assert (options["mode"], options["activation"]) == (mode, activation)


@pytest.mark.parametrize(
    ("activation", "mode", "applied"),
    [("softmax", "multi-class", "none"), (None, "multi-class", "softmax"), ("sigmoid", None, None)],
)
def test_what_the_last_operation_is_says_what_the_answers_are(
    keras: Any, quantised: Any, pictures: Path, tmp_path: Path, activation: str | None, mode: str, applied: str
) -> None:
    small = keras.initializers.RandomUniform(0.0, 0.1, seed=1)  # logits inside the unit
    model = quantised(0, 1, end=keras.layers.Dense(3, activation=activation, kernel_initializer=small))
    if mode is None:
        with pytest.raises(ConfigError, match="sigmoids"):
            foreign_card(model, out=tmp_path, known=Foreign(images=pictures))
        return
    made = foreign_card(model, out=tmp_path, known=Foreign(images=pictures))
    options = read_card(made.folder).task.options
    assert (options["mode"], options["activation"]) == (mode, applied)


def test_what_a_device_cannot_read_is_not_packed(
    keras: Any, quantised: Any, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The golden cases agree with themselves; a task that takes logits for probabilities does not."""
    model = quantised(0, 1, end=keras.layers.Dense(3))
    made = foreign_card(model, out=tmp_path, known=Foreign(images=pictures))
    card = made.folder / "model.toml"
    assert run(["pack", str(made.folder), "--out", str(tmp_path)]) == 0
    card.write_text(card.read_text().replace('activation = "softmax"', 'activation = "none"'))
    assert run(["pack", str(made.folder), "--out", str(tmp_path)]) == 1
    assert "error[task.not-probabilities]" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.edgeai"))


def test_the_second_try_is_free_until_the_card_is_changed(
    quantised: Any, pictures: Path, labels: Path, tmp_path: Path
) -> None:
    command = ["pack", str(quantised(0, 1)), "--out", str(tmp_path), "--images", str(pictures)]
    assert run(command) == 0
    assert run([*command, "--labels", str(labels)]) == 0
    card = tmp_path / "theirs" / "model.toml"
    assert read_card(card).task.options["labels"] == ["dark", "bright"]
    card.write_text(card.read_text().replace("release = 0", "release = 2"))
    assert run(command) == 2
    assert read_card(card).release == 2
