"""Pictures into models of any extent that somebody else made: a bundle says one that they take, and a cart runs it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeai.api import ConfigError, ModelRejected, Outcome, TensorSpec
from edgeai.model import open_model
from edgeai.testing.bundles import let_all_pass
from edgeai.testing.require import require
from edgeai_workbench.card import read_card
from edgeai_workbench.extents import as_answered, fixed, is_open
from edgeai_workbench.foreign import foreign_card
from edgeai_workbench.foreign_known import Foreign, refused
from edgeai_workbench.pack import pack_card
from edgeai_workbench.pictures import load

# --- which extent, without an engine


def _spec(shape: tuple[int | None, ...], layout: str) -> TensorSpec:
    return TensorSpec(name="image", dtype="float32", shape=shape, layout=layout)


@pytest.mark.parametrize(
    ("shape", "layout", "wanted"),
    [
        ((1, None, None, 3), "NHWC", (1, 64, 96, 3)),
        ((1, 3, None, None), "NCHW", (1, 3, 64, 96)),
        ((1, None, None), "NHW", (1, 64, 96)),
        ((1, None, 32, 1), "NHWC", (1, 64, 32, 1)),
        ((1, 32, None, 1), "NHWC", (1, 32, 96, 1)),
    ],
)
def test_what_is_open_takes_the_extent_and_what_is_fixed_stays(
    shape: tuple[int | None, ...], layout: str, wanted: tuple[int, ...]
) -> None:
    spec = _spec(shape, layout)
    assert is_open(spec)
    taken, notes = fixed(spec, None, lambda: (64, 96), refused)
    assert (taken.shape, taken.layout) == (wanted, layout)
    rows, columns = wanted[layout.index("H")], wanted[layout.index("W")]
    open_axes = {(64, 96): "extent", (64, 32): "number of rows", (32, 96): "number of columns"}[rows, columns]
    assert notes == (f"input image takes any {open_axes}; {rows} x {columns} is taken: --size says otherwise",)
    asked, notes = fixed(spec, (rows, columns), lambda: pytest.fail("it was said"), refused)
    assert (asked.shape, notes) == (wanted, ())


@pytest.mark.parametrize(
    ("shape", "layout", "says", "remedy"),
    [
        ((1, None, 64, 1), "NHWC", "1 x any x 64 x 1, and its columns are 64 always", "--size 40 64"),
        ((1, 3, 48, None), "NCHW", "1 x 3 x 48 x any, and its rows are 48 always", "--size 48 50"),
    ],
)
def test_a_size_of_which_one_axis_is_fixed_to_another_is_refused(
    shape: tuple[int | None, ...], layout: str, says: str, remedy: str
) -> None:
    with pytest.raises(ConfigError, match=f"--size 40 50: input image is {says}") as caught:
        fixed(_spec(shape, layout), (40, 50), lambda: (8, 8), refused)
    assert caught.value.remedy == remedy


@pytest.mark.parametrize("spec", [_spec((1, 8, 8, 1), "NHWC"), _spec((1, None), ""), _spec((1, 5), "NC")])
def test_what_is_fixed_or_no_picture_takes_no_extent(spec: TensorSpec) -> None:
    assert fixed(spec, None, lambda: pytest.fail("not asked"), refused) == (spec, ())
    with pytest.raises(ConfigError, match="takes no other") as caught:
        fixed(spec, (8, 8), lambda: (8, 8), refused)
    assert caught.value.code == "build.foreign-model"


@pytest.mark.parametrize("size", [(0, 8), (8, -1)])
def test_an_extent_that_is_none(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="is no extent"):
        fixed(_spec((1, None, None, 1), "NHWC"), size, lambda: (8, 8), refused)


def test_an_output_that_follows_its_input_has_the_extent_of_its_answer() -> None:
    mask, score = _spec((1, None, None, 1), "NHWC"), TensorSpec(name="score", dtype="float32", shape=(1, 2))
    assert as_answered((mask, score), {"image": (1, 64, 96, 1), "score": (1, 9)})[0].shape == (1, 64, 96, 1)
    assert as_answered((mask, score), {"image": (1, 64, 96, 1), "score": (1, 9)})[1] is score


# --- with engines


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``theirs(format, mask=...)``: a model of any extent, that knows bright from dark."""
    require("tensorflow", find_spec("tensorflow") is not None, "TensorFlow is not installed")
    require("tflite", find_spec("ai_edge_litert") is not None, "LiteRT is not installed")
    import keras

    def made(form: str = "tflite", *, mask: bool = False, pools: int = 0, thirds: bool = False) -> Path:
        image = keras.Input((None, None, 1), name="image")
        x: Any = image
        for _ in range(pools):
            x = keras.layers.MaxPooling2D()(x)
        if thirds:  # only rows and columns that three divides come back as they went
            x = keras.layers.add([x, keras.layers.UpSampling2D(3)(keras.layers.MaxPooling2D(3)(x))])
        if mask:
            last = keras.layers.Conv2D(1, 1, activation="sigmoid", name="mask")
            model = keras.Model(image, last(x))
            last.set_weights([np.full((1, 1, 1, 1), 20, np.float32), np.full(1, -10, np.float32)])
        else:
            last = keras.layers.Dense(2, activation="softmax", name="answer")
            model = keras.Model(image, last(keras.layers.GlobalAveragePooling2D()(x)))
            last.set_weights([np.array([[-8.0, 8.0]], np.float32), np.array([4.0, -4.0], np.float32)])
        folder = tmp_path_factory.mktemp("theirs")
        if form == "tflite":
            import tensorflow as tf

            path = folder / "theirs.tflite"
            path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
            return path
        if form == "savedmodel":
            model.export(folder / "theirs", format="tf_saved_model", verbose=False)
            return folder / "theirs"
        import openvino as ov
        from openvino.tools.ovc import convert_model  # ``openvino`` lacks it where an engine was opened before

        model.export(folder / "saved", format="tf_saved_model", verbose=False)
        path = folder / "theirs.xml"
        ov.save_model(convert_model(folder / "saved"), path)
        return path

    return functools.cache(made)  # nobody writes to what somebody else made


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for name, level in (("bright", 230), ("dark", 20), ("middle", 60)):
        Image.fromarray(np.full((70, 130), level, np.uint8)).save(root / f"{name}.png")
    return root


def _packed_says(bundle: Path, backend: str, picture: Path) -> str:
    frame = load(picture)
    with open_model(bundle, cache_dir=bundle.parent / "cache", backends=[backend], device="CPU") as model:
        result = model.run([frame], frame.instance)
    assert result.outcome is Outcome.COMPLETED, result.failure
    return next(finding.label for finding in result.findings if finding.present)


@pytest.mark.slow
@pytest.mark.parametrize(("form", "backend"), [("tflite", "tflite"), ("openvino", "openvino"), ("savedmodel", "gpu")])
def test_one_of_any_extent_is_packed_at_that_of_its_pictures_and_runs(
    theirs: Callable[..., Path], pictures: Path, tmp_path: Path, form: str, backend: str
) -> None:
    require("openvino", form != "openvino" or find_spec("openvino") is not None, "OpenVINO is not installed")
    (tmp_path / "labels.txt").write_text("dark\nbright\n")
    made = foreign_card(theirs(form), out=tmp_path, known=Foreign(labels=tmp_path / "labels.txt", images=pictures))
    card = read_card(made.folder)
    assert card.inputs[0].shape == (1, 64, 128, 1)
    assert any("takes any extent; 64 x 128 is taken: --size says otherwise" in note for note in made.notes)
    bundle = pack_card(let_all_pass(made.folder), out=tmp_path / "out").bundle
    assert _packed_says(bundle, backend, pictures / "bright.png") == "bright"
    assert _packed_says(bundle, backend, pictures / "dark.png") == "dark"


@pytest.mark.slow
def test_without_pictures_it_is_at_a_usual_extent_and_size_says_another(
    theirs: Callable[..., Path], tmp_path: Path
) -> None:
    model = theirs(pools=5)  # of 8 x 8 nothing would be left
    made = foreign_card(model, out=tmp_path, known=Foreign())
    assert read_card(made.folder).inputs[0].shape == (1, 224, 224, 1)
    assert any("224 x 224 is taken" in note for note in made.notes)
    asked = foreign_card(model, out=tmp_path, known=Foreign(size=(96, 160), name="asked"))
    assert read_card(asked.folder).inputs[0].shape == (1, 96, 160, 1)
    assert not any("is taken" in note for note in asked.notes)


@pytest.mark.slow
def test_an_extent_that_we_took_and_the_model_cannot_use_is_no_fault_of_the_file(
    theirs: Callable[..., Path], pictures: Path, tmp_path: Path
) -> None:
    model = theirs(thirds=True)
    with pytest.raises(ConfigError, match="64 x 128 is taken, and it does not answer") as caught:
        foreign_card(model, out=tmp_path, known=Foreign(images=pictures))
    assert (caught.value.code, caught.value.remedy) == (
        "build.foreign-model",
        "say rows and columns that it takes: --size 256 256",
    )
    assert not (tmp_path / "theirs").exists()
    made = foreign_card(model, out=tmp_path, known=Foreign(images=pictures, size=(96, 96)))
    assert read_card(made.folder).inputs[0].shape == (1, 96, 96, 1)
    with pytest.raises(ModelRejected):  # what was asked for is not ours to blame
        foreign_card(model, out=tmp_path / "asked", known=Foreign(images=pictures, size=(64, 128)))


@pytest.mark.slow
def test_golden_inputs_say_the_extent(theirs: Callable[..., Path], tmp_path: Path) -> None:
    np.savez(tmp_path / "cases.npz", input=np.full((3, 40, 56, 1), 0.9, np.float32))
    made = foreign_card(theirs(), out=tmp_path, known=Foreign(inputs=tmp_path / "cases.npz"))
    assert read_card(made.folder).inputs[0].shape == (1, 40, 56, 1)
    np.savez(tmp_path / "flat.npz", input=np.full((3, 40), 0.9, np.float32))
    with pytest.raises(ConfigError, match="has 2 axes, not the 4 of the input"):
        foreign_card(theirs(), out=tmp_path / "flat", known=Foreign(inputs=tmp_path / "flat.npz"))


@pytest.mark.slow
def test_a_mask_of_any_extent_is_as_large_as_its_picture(
    theirs: Callable[..., Path], pictures: Path, tmp_path: Path
) -> None:
    made = foreign_card(theirs(mask=True), out=tmp_path, known=Foreign(task="segment", images=pictures))
    card = read_card(made.folder)
    assert (card.inputs[0].shape, card.outputs[0].shape) == ((1, 64, 128, 1), (1, 64, 128, 1))
