"""A first try without a card: what is read from a ``.keras`` file, asked for, refused, and how soon."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeai.api import DataRejected, EdgeaiError
from edgeai.pipeline import Pipeline
from edgeai.plugins import Registry
from edgeai.testing.require import require
from edgeai_workbench.card import Card, read_card
from edgeai_workbench.card_drafts import is_untouched
from edgeai_workbench.first_card import First, first_card, leave_out
from edgeai_workbench.first_checks import Wish

pytestmark = pytest.mark.slow

SIDE = 24


@pytest.fixture(scope="module")
def keras() -> Any:
    """Keras on TensorFlow."""
    require("tensorflow", find_spec("tensorflow") is not None, "TensorFlow is not installed")
    import keras

    keras.utils.set_random_seed(4)
    return keras


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dark and bright ones, four each, in a folder for each."""
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(1)
    for label, level in (("dark", 40), ("bright", 200)):
        (root / label).mkdir()
        for number in range(4):
            plane = np.clip(random.normal(level, 15, (40, 50)), 0, 255).astype(np.uint8)
            plane[0, :2] = 0, 255
            Image.fromarray(plane).save(root / label / f"{number}.png")
    return root


@pytest.fixture
def attempt(tmp_path: Path, pictures: Path) -> Callable[..., tuple[First, Card]]:
    """``attempt(model, **wish)`` -> what came of a first try, and its card."""

    def made(model: Path, **wish: Any) -> tuple[First, Card]:
        first = first_card(model, out=tmp_path / "out", wish=Wish(**{"images": pictures, **wish}))
        return first, read_card(first.folder)

    return made


def _saved(keras: Any, path: Path, end: Callable[[Any], Any], *, first: Any = None, **how: Any) -> Path:
    """A small network: ``first`` (layers), a convolution, ``end``."""
    image = keras.Input(how.get("shape", (SIDE, SIDE, 1)), name="image", batch_size=how.get("batch"))
    x = image
    for layer in first or ():
        x = layer(x)
    x = keras.layers.Conv2D(6, 3, activation="relu", name="stem")(x)
    if how.get("pool", True):
        x = keras.layers.GlobalAveragePooling2D()(x)
    keras.Model(image, end(x)).save(path)
    return path


def _refused(made: Callable[[], object], *words: str, code: str = "build.first-try") -> EdgeaiError:
    with pytest.raises(EdgeaiError) as caught:
        made()
    told = f"{caught.value} | {caught.value.remedy}"
    assert caught.value.code == code, told
    for word in words:
        assert word in told
    return caught.value


# --- the range ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "black", "white"),
    [
        (lambda k: [k.layers.Rescaling(1 / 255)], 0, 255),
        (lambda k: [k.layers.RandomFlip(), k.layers.Rescaling(1 / 127.5, offset=-1)], 0, 255),
        (lambda k: [k.layers.Normalization(mean=0.4, variance=0.05)], 0, 1),
        (lambda k: [k.Sequential([k.layers.Rescaling(2.0, offset=-1)])], 0, 1),
        (lambda k: [], 0, 1),
    ],
)
def test_the_range_is_what_the_first_layers_take(
    keras: Any, attempt: Callable[..., Any], tmp_path: Path, pictures: Path, layers: Any, black: float, white: float
) -> None:
    model = _saved(keras, tmp_path / "m.keras", keras.layers.Dense(2, activation="softmax"), first=layers(keras))
    first, card = attempt(model)
    text = next(note for note in first.notes if "black is" in note)
    assert f"black is {black}, white is {white}" in text
    assert ("assumed" in text) == (not layers(keras))
    registry = Registry.of(["transforms"])
    spec = card.for_manifest()["inputs"][0].spec()
    from edgeai_workbench.pictures import load

    tensor, _ = Pipeline(card.transforms, registry.transforms, spec).prepare(load(pictures / "bright" / "1.png"))
    assert 0.6 * white < tensor.mean() < 0.9 * white, "a picture keeps its own grey levels"


def test_a_range_that_is_none_of_the_usual_ones_is_asked_for(
    keras: Any, attempt: Callable[..., Any], tmp_path: Path
) -> None:
    end = keras.layers.Dense(2, activation="softmax")
    model = _saved(keras, tmp_path / "hu.keras", end, first=[keras.layers.Rescaling(1 / 1000)])
    _refused(lambda: attempt(model), "--values")
    first, card = attempt(model, values=(-1000.0, 2000.0))
    assert any("black is -1000, white is 2000" in note for note in first.notes)
    assert card.transforms[-1].options == {"mode": "scale", "scale": 3000.0, "offset": -1000.0}


def test_values_that_the_first_layers_hardly_take_are_said_to_be_doubtful(
    keras: Any, attempt: Callable[..., Any], tmp_path: Path
) -> None:
    end = keras.layers.Dense(2, activation="softmax")
    model = _saved(keras, tmp_path / "d.keras", end, first=[keras.layers.Rescaling(2.0, offset=-1)])
    first, card = attempt(model, values=(-1.0, 1.0))
    doubt = "input image: --values says -1 to 1, and its first layers look as if they take 0 to 1: one is wrong"
    assert doubt in first.notes
    assert doubt in card.limits
    assert not [note for note in attempt(model, values=(0.0, 1.0))[0].notes if "is wrong" in note]


def test_colour_is_brought_into_the_range(keras: Any, attempt: Callable[..., Any], tmp_path: Path) -> None:
    end = keras.layers.Dense(2, activation="softmax")
    shape = (SIDE, SIDE, 3)
    preprocess = keras.applications.mobilenet_v2.preprocess_input
    model = _saved(keras, tmp_path / "c.keras", end, first=[preprocess], shape=shape)
    _, card = attempt(model)
    assert card.transforms[-1].options == {"mode": "full_range", "to": [0.0, 255.0]}


# --- the answers ----------------------------------------------------------------------------------


def test_several_logits_are_made_to_sum_to_one_also_inside_the_unit(
    keras: Any, attempt: Callable[..., Any], tmp_path: Path
) -> None:
    small = keras.initializers.RandomUniform(0.0, 0.01, seed=1)
    model = _saved(keras, tmp_path / "l.keras", keras.layers.Dense(2, kernel_initializer=small))
    _, card = attempt(model)
    assert (card.task.options["mode"], card.task.options["activation"]) == ("multi-class", "softmax")


@pytest.mark.parametrize("separate", [False, True])
def test_several_sigmoids_are_asked_about_at_once(
    keras: Any, attempt: Callable[..., Any], tmp_path: Path, separate: bool
) -> None:
    def end(x: Any) -> Any:
        return keras.ops.sigmoid(keras.layers.Dense(5)(x)) if separate else keras.layers.Dense(5, "sigmoid")(x)

    model = _saved(keras, tmp_path / "s.keras", end)
    _refused(lambda: attempt(model), "5 sigmoids", "--mode multi-label")
    _refused(lambda: attempt(model, mode="multi-class"), "--mode multi-label")
    _refused(lambda: attempt(model, mode="multi-labels"), "no such mode")
    _, card = attempt(model, mode="multi-label")
    assert (card.task.options["mode"], card.task.options["activation"]) == ("multi-label", "none")


@pytest.mark.parametrize(("activation", "applied"), [("sigmoid", "none"), (None, "sigmoid")])
def test_one_answer_is_binary_and_has_two_labels(
    keras: Any, attempt: Callable[..., Any], tmp_path: Path, activation: str | None, applied: str
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_bytes(b"\xef\xbb\xbfdark\r\nbright\r\n\r\n")
    model = _saved(keras, tmp_path / "b.keras", keras.layers.Dense(1, activation=activation))
    _, card = attempt(model, labels=labels)
    assert card.task.options == {"labels": ["dark", "bright"], "activation": applied, "mode": "binary"}


def test_a_map_of_exclusive_labels_is_segmented(keras: Any, attempt: Callable[..., Any], tmp_path: Path) -> None:
    end = keras.layers.Conv2D(3, 1, activation="softmax")
    model = _saved(keras, tmp_path / "map.keras", end, pool=False)
    _refused(lambda: attempt(model, task="classify"), "a map", "--task segment")
    assert attempt(model, task="segment")[1].task == attempt(model)[1].task, "no other task reads a map"
    _, card = attempt(model)
    assert card.task.options == {
        "labels": ["label-0", "label-1", "label-2"],
        "activation": "none",
        "mode": "multi-class",
    }
    logits = _saved(keras, tmp_path / "logits.keras", keras.layers.Conv2D(3, 1), pool=False)
    _refused(lambda: attempt(logits, task="segment"), "exclude one another", "--mode multi-label")


# --- what is refused, and how soon ----------------------------------------------------------------


def _two(keras: Any, path: Path) -> Path:
    return _saved(
        keras, path, lambda x: [keras.layers.Dense(2, name="kind")(x), keras.layers.Dense(1, name="grade")(x)]
    )


UNFIT: list[tuple[Any, dict[str, Any], str]] = [
    (_two, {}, "1 input and 2 outputs (image, kind, grade)"),
    (lambda k, p: _saved(k, p, k.layers.Dense(1, "relu", name="age")), {}, "output age ends in relu"),
    (lambda k, p: _saved(k, p, k.layers.Dense(1, "tanh", name="age")), {"task": "classify"}, "age ends in tanh"),
    (lambda k, p: _saved(k, p, lambda x: k.layers.ReLU(name="age")(k.layers.Dense(1)(x))), {}, "age ends in relu"),
    (lambda k, p: _saved(k, p, lambda x: k.ops.exp(k.layers.Dense(1)(x))), {}, "ends in exponential"),
    (lambda k, p: _saved(k, p, k.layers.Conv2D(1, 1, activation="softplus"), pool=False), {}, "ends in softplus"),
    (lambda k, p: _saved(k, p, k.layers.Dense(2, "softmax")), {"mode": "multi-label"}, "a softmax, so that"),
    (lambda k, p: _saved(k, p, k.layers.Dense(2), batch=4), {}, "4 images at a time"),
    (lambda k, p: _saved(k, p, k.layers.Dense(2), shape=(SIDE, SIDE, 2)), {}, "no grey or RGB image"),
    (None, {"task": "caption"}, "--task caption: no installed plugin provides a task called 'caption'"),
    (None, {"task": "segment"}, "no map"),
    (None, {"mode": "binary"}, "2 answers"),
    (None, {"labels": "a\n\nb\nc\n"}, "has 3 labels (line 2 is empty), the output out wants 2"),
    (None, {"labels": "\n\n"}, "has no label"),
    (None, {"labels": None}, "No such file"),
    (None, {"labels": b"\xff\xfea\x00\n\x00"}, "no text in UTF-8"),
    (
        None,
        {"labels": "normal\nmalignant\n"},
        "sub-folders are bright, dark, and none is called as a label (normal",
    ),
    (lambda k, p: _saved(k, p, k.layers.Dense(1, "sigmoid")), {"labels": "ill\n"}, "first line is the negative"),
    (None, {"labels": "dark\nbrigth\n"}, "folder bright is no label"),
    (None, {"labels": "Dark\nBright\n"}, "nearly"),
    (None, {"values": (1.0, 1.0)}, "white is not more than black"),
    (None, {"values": (0.0, float("nan"))}, "nan is no number"),
    (None, {"values": (float("-inf"), 1.0)}, "-inf is no number"),
    (None, {"size": (8, 8)}, "takes no other"),
    (
        lambda k, p: _saved(k, p, k.layers.Dense(2), shape=(None, 64, 1)),
        {"size": (40, 40)},
        "any x 64 x 1, and its columns are 64 always",
    ),
    (
        lambda k, p: _saved(k, p, k.layers.Dense(2), first=[k.layers.Rescaling(1 / 255)]),
        {"values": (0.0, 1.0)},
        "take 0 to 255, and make what is 0 to 1 about 255 times too small",
    ),
    (
        lambda k, p: _saved(k, p, k.layers.Dense(2), first=[k.Sequential([k.layers.Rescaling(1 / 127.5, -1)])]),
        {"values": (-1.0, 1.0)},
        "--values 0 255",
    ),
    (
        lambda k, p: _saved(k, p, k.layers.Dense(2), first=[k.layers.Normalization(mean=0.4, variance=0.05)]),
        {"values": (0.0, 255.0)},
        "255 times too large",
    ),
    (None, {"images": None}, "--calibration"),
]
"""What saves the model (or none: one of two answers), what is wished for, and what is said."""

TRIES = """
import json, pickle, sys
from pathlib import Path
from edgeai.api import EdgeaiError
from edgeai_workbench.first_card import first_card
from edgeai_workbench.first_checks import Wish
for model, out, wish in pickle.loads(Path(sys.argv[1]).read_bytes()):
    says = ""
    try:
        first_card(model, out=out, wish=Wish(**wish))
    except EdgeaiError as error:
        says = f"{error.code} {error} {error.remedy}"
    print(json.dumps([says, "tensorflow" in sys.modules, out.exists()]))
"""


@pytest.fixture(scope="module")
def unfit(keras: Any, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, bool, bool]]:
    """Of each of ``UNFIT``, all in one process: what is said, and whether TensorFlow and a card are there."""
    root = tmp_path_factory.mktemp("unfit")
    tries = []
    for number, (make, wish, _) in enumerate(UNFIT):
        folder = root / str(number)
        folder.mkdir()
        (make or (lambda k, p: _saved(k, p, k.layers.Dense(2, name="out"))))(keras, folder / "m.keras")
        given = {"images": pictures} | wish
        if "labels" in wish:
            given["labels"] = folder / "l.txt"
            content = wish["labels"]
            if content is not None:
                given["labels"].write_bytes(content if isinstance(content, bytes) else content.encode())
        tries.append((folder / "m.keras", folder / "out", given))
    (root / "tries").write_bytes(pickle.dumps(tries))
    command = [sys.executable, "-c", TRIES, str(root / "tries")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1100, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("number", range(len(UNFIT)))
def test_what_does_not_fit_is_said_before_tensorflow_is_there_and_nothing_is_written(
    unfit: list[tuple[str, bool, bool]], number: int
) -> None:
    says, has_tensorflow, is_written = unfit[number]
    assert UNFIT[number][2] in says
    assert not has_tensorflow
    assert not is_written


def test_pictures_of_a_label_that_are_too_few_to_judge_by_are_refused(
    keras: Any, attempt: Callable[..., Any], tmp_path: Path, pictures: Path
) -> None:
    model = _saved(keras, tmp_path / "m.keras", keras.layers.Dense(3))
    labels = tmp_path / "labels.txt"
    labels.write_text("dark\nbright\nneither\n")
    _refused(lambda: attempt(model, labels=labels), "neither has 0 pictures")
    with pytest.raises(DataRejected):
        attempt(model, images=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("stem", "name"),
    [("_My model (2)", "my-model-2"), ("x" * 80, "x" * 64), ("..hidden", "hidden"), ("模型", "model")],
)
def test_whatever_the_file_is_called_the_bundle_has_a_name(
    keras: Any, attempt: Callable[..., Any], tmp_path: Path, stem: str, name: str
) -> None:
    first, card = attempt(_saved(keras, tmp_path / f"{stem}.keras", keras.layers.Dense(2, activation="softmax")))
    assert (first.folder.name, card.name, card.model) == (name, name, f"{name}.keras")


def test_a_word_that_is_there_twice_is_numbered_aloud(
    keras: Any, attempt: Callable[..., Any], tmp_path: Path, pictures: Path
) -> None:
    model = _saved(keras, tmp_path / "m.keras", keras.layers.Dense(3))
    (tmp_path / "labels.txt").write_text("crane\nheron\ncrane\n")
    first, card = attempt(model, labels=tmp_path / "labels.txt", images=pictures / "dark")
    assert card.task.options["labels"] == ["crane", "heron", "crane (2)"]
    assert any("labels.txt:3" in note for note in first.notes)


# --- extents and precisions -----------------------------------------------------------------------


def test_a_model_of_any_extent_is_tried_at_one_that_it_takes(
    keras: Any, attempt: Callable[..., Any], tmp_path: Path
) -> None:
    pools = [keras.layers.MaxPooling2D(), keras.layers.MaxPooling2D(), keras.layers.MaxPooling2D()]
    model = _saved(keras, tmp_path / "any.keras", keras.layers.Dense(2), first=pools, shape=(None, None, 1))
    first, card = attempt(model)
    assert card.inputs[0].shape == (1, 32, 64, 1)
    assert any("32 x 64 is taken" in note for note in first.notes)
    _, card = attempt(model, size=(96, 48))
    assert card.inputs[0].shape == (1, 96, 48, 1)
    assert card.transforms[1].options == {"rows": 96, "columns": 48}


@pytest.mark.parametrize(("size", "taken"), [((41, 41), "--size 42 42"), ((40, 43), "--size 40 44")])
def test_an_extent_that_the_model_cannot_take_is_said_in_a_sentence_with_one_that_it_can(
    keras: Any, attempt: Callable[..., Any], tmp_path: Path, size: tuple[int, int], taken: str
) -> None:
    image = keras.Input((None, None, 1), name="image")
    x = keras.layers.UpSampling2D()(keras.layers.MaxPooling2D()(image))
    x = keras.layers.Concatenate(name="skip")([x, image])
    keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid", name="mask")(x)).save(tmp_path / "u.keras")
    error = _refused(
        lambda: attempt(tmp_path / "u.keras", size=size),
        f"u.keras does not take {size[0]} x {size[1]} (layer skip: ",
        taken,
    )
    assert not [part for part in ("\x1b", "\n", "{{", "Arguments received") if part in str(error)]
    assert not (tmp_path / "out" / "u").exists()
    assert attempt(tmp_path / "u.keras", size=(40, 44))[1].inputs[0].shape == (1, 40, 44, 1)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16"])
def test_half_precision_is_built_as_float32_and_noted(
    keras: Any, attempt: Callable[..., Any], tmp_path: Path, policy: str
) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = _saved(keras, tmp_path / "half.keras", keras.layers.Dense(2, name="out"))
    finally:
        keras.config.set_dtype_policy(before)
    first, card = attempt(model)
    assert first.notes[0] == f"its layers are {policy}; built as float32 weights"
    assert (card.inputs[0].dtype, card.outputs[0].dtype) == ("float32", "float32")
    case = first.folder / "golden" / "case-1"
    wanted = keras.saving.load_model(model, compile=False)(np.load(case / "inputs" / "image.npy"))
    np.testing.assert_allclose(
        np.load(case / "outputs" / "out.npy"), keras.ops.convert_to_numpy(keras.ops.cast(wanted, "float32")), atol=0.02
    )


# --- the second try -------------------------------------------------------------------------------


def test_a_card_that_nobody_changed_does_not_stand_in_the_way_and_one_that_was_is_kept(
    keras: Any, attempt: Callable[..., Any], tmp_path: Path
) -> None:
    model = _saved(keras, tmp_path / "m.keras", keras.layers.Dense(2))
    first, card = attempt(model)
    path = first.folder / "model.toml"
    (first.folder / "artifacts").mkdir()
    leave_out(path, {f"{card.recipes[0].converter}-{card.recipes[0].precision}": "min_agreement"})
    assert is_untouched(path)
    assert not read_card(path).recipes[0].ship
    _, again = attempt(model, values=(0.0, 255.0))
    assert again.transforms[-1].options["output"] == "byte"
    assert again.recipes[0].ship
    assert (first.folder / "artifacts").is_dir()
    path.write_text(path.read_text().replace("release = 0", "release = 3"))
    _refused(lambda: attempt(model), "changed by hand", f"edgeai build {first.folder}")
    assert read_card(path).release == 3
