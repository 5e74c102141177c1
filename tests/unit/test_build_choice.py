"""``[choice]``: what is chosen out of fold, by which samples, what is no fold, and that nothing ships without it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeai.api import ConfigError, DataRejected, EdgeaiError
from edgeai.cli.main import run
from edgeai_workbench.building import build_card
from edgeai_workbench.card import read_card
from edgeai_workbench.chosen import CHOICE, hold_choice
from edgeai_workbench.folds import check_strata, gathered, write
from edgeai_workbench.pack import pack_card
from edgeai_workbench.reference import begin
from edgeai_workbench.training import choose, train

pytest.importorskip("tomlkit")

COUNT, FOLDS = 60, 3
CARD = """\
schema = 1
name = "tiny"
version = "1.0.0"
release = 1
min_edgeai = "0.1"
intended_use = "Tests."
limits = ["All."]
licence = "Apache-2.0"
model = "tiny.keras"
model_digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
plugins = ["classify"]
inputs = [{ name = "image", shape = [1, 4, 4, 1], layout = "NHWC" }]
outputs = [{ name = "logits", shape = [1, 1] }]
recipes = [{ converter = "tflite", precision = "fp32" }]

[task]
name = "classify"

[task.options]  # by hand
mode = "binary"
activation = "sigmoid"
labels = ["no", "yes"]  # the second is the positive

[choice]
folds = 3
options = { temperature = true, threshold = "sensitivity@specificity=0.9" }

[[data]]
name = "noise"
source = "drawn here"
licence = "Apache-2.0"
use = "train and evaluate"

[dataset.train]
table = "train.csv"
array = "data.npz:images"
index = "place"
label = "label"
group = "patient"

[dataset.validation]
table = "validation.csv"
array = "data.npz:images"
index = "place"
label = "label"
group = "patient"

[training]
command = "edgeai train tiny --data DIR"
seed = 4
"""
VARIANT = """\
recipes = [{ converter = "tflite", precision = "fp32", variant = "small" }]
variants = [{ name = "small", steps = [{ compressor = "prune-channels", options = { parameters = 0.5 } }] }]"""
SCRIPT = """\
import os, sys
from pathlib import Path
import numpy as np
from edgeai_workbench.folds import write
here = Path(__file__).parent
with (here / "log.txt").open("a") as log:
    log.write(" ".join(sys.argv[3:]) + "\\n")
if "--cross-validate" in sys.argv:
    kept = np.load(here / "folds.npz")
    print(*(f"result: fold {number}: 0.9" for number in (1, 2, 3)), sep="\\n")
    if "EDGEAI_OUT_OF_FOLD" in os.environ:
        write(Path(os.environ["EDGEAI_OUT_OF_FOLD"]), [
            (places, {"logits": kept["logits"][places % 60]}) for places in (kept[n] for n in kept if n != "logits")
        ])
else:
    (here / "tiny.keras").write_bytes(b"new weights")
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Sixty samples of thirty patients, of whom every third has it."""
    folder = tmp_path / "data"
    folder.mkdir()
    images = np.random.default_rng(1).integers(0, 256, (COUNT + 2, 4, 4), np.uint8)
    np.savez(folder / "data.npz", images=images)
    rows = [f"{place},{_label(place)},p{place // 2}" for place in range(COUNT)]
    (folder / "train.csv").write_text("\n".join(["place,label,patient", *rows]) + "\n")
    (folder / "validation.csv").write_text(f"place,label,patient\n{COUNT},no,v\n{COUNT + 1},yes,w\n")
    return folder


def _label(place: int) -> str:
    return "yes" if place // 2 % 3 == 0 else "no"


def _logits() -> Any:
    """Twice as sure as they may be."""
    truth = np.array([_label(place) == "yes" for place in range(COUNT)])
    return (2 * np.random.default_rng(2).normal(np.where(truth, 1.0, -1.0), 1.2)).astype(np.float32)[:, np.newaxis]


def _folds() -> list[Any]:
    """By patient, each with a third of either kind."""
    patients = np.arange(COUNT) // 2
    return [np.flatnonzero(patients // 3 % FOLDS == number) for number in range(FOLDS)]


@pytest.fixture
def card(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "model.toml").write_text(CARD)
    (folder / "train.py").write_text(SCRIPT)
    _split(folder, _folds())
    return folder


def _split(folder: Path, folds: list[Any]) -> None:
    np.savez(folder / "folds.npz", logits=_logits(), **{f"f{n}": places for n, places in enumerate(folds)})


def _ran(card: Path) -> list[str]:
    path = card / "log.txt"
    return [line.strip() for line in path.read_text().splitlines()] if path.exists() else []


def _change(card: Path, old: str, new: str) -> None:
    text = (card / "model.toml").read_text()
    assert old in text
    (card / "model.toml").write_text(text.replace(old, new))


@pytest.mark.slow
def test_folds_choose_before_the_model_is_trained_on_all_and_the_card_says_what(card: Path, data: Path) -> None:
    trained = train(card, data)
    assert _ran(card) == ["--cross-validate 3", ""]
    after = read_card(card)
    kept = json.loads((card / CHOICE).read_text())
    temperature, thresholds = after.task.options["temperature"], after.task.options["thresholds"]
    assert kept["chosen"] == {"temperature": temperature, "thresholds": thresholds}
    assert 1.2 < temperature < 4.0
    assert 0.0 < thresholds["yes"] < 1.0
    assert (kept["on"], kept["folds"], kept["samples"], kept["groups"]) == ("folds", FOLDS, COUNT, COUNT // 2)
    assert kept["strata"] == {"no": 40, "yes": 20}
    assert kept["model"] == after.model_digest
    assert kept["data"].startswith("sha256:")
    assert "3 folds of train (60 samples of 30 groups)" in trained.chosen
    truth = np.array([_label(place) == "yes" for place in range(COUNT)])
    stated = 1 / (1 + np.exp(-_logits()[:, 0].astype(float) / temperature)) >= thresholds["yes"]
    assert (~stated & ~truth).sum() / (~truth).sum() >= 0.9
    text = (card / "model.toml").read_text()
    assert "# by hand" in text
    assert "# the second is the positive" in text
    assert hold_choice(after, card) is not None


@pytest.mark.slow
def test_choosing_again_trains_the_folds_alone(card: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(card, data)
    _change(card, "specificity=0.9", "specificity=0.5")
    assert run(["train", str(card), "--data", str(data), "--choose"]) == 0
    assert capsys.readouterr().out.startswith("Chosen on 3 folds of train (60 samples of 30 groups): temperature")
    assert _ran(card) == ["--cross-validate 3", "", "--cross-validate 3"]
    assert hold_choice(read_card(card), card) is not None


def test_every_fold_that_chose_is_told(card: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folds = [f"fold {number}: 0.9" for number in (1, 2, 3)]
    assert run(["train", str(card), "--data", str(data)]) == 0
    assert capsys.readouterr().out.splitlines()[:3] == folds
    assert run(["train", str(card), "--data", str(data), "--choose"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == folds


def test_a_cross_validation_by_itself_chooses_nothing(card: Path, data: Path) -> None:
    train(card, data, folds=3)
    assert not (card / CHOICE).exists()
    assert "temperature" not in read_card(card).task.options


def test_a_card_without_a_choice_is_trained_as_before(card: Path, data: Path) -> None:
    _change(
        card, '[choice]\nfolds = 3\noptions = { temperature = true, threshold = "sensitivity@specificity=0.9" }', ""
    )
    assert train(card, data).chosen == ""
    assert not (card / CHOICE).exists()
    assert hold_choice(read_card(card), card) is None
    with pytest.raises(ConfigError) as caught:
        choose(card, data)
    assert caught.value.code == "build.choice"


def _refused(made: Callable[[], object], code: str, *words: str) -> EdgeaiError:
    with pytest.raises(EdgeaiError) as caught:
        made()
    assert caught.value.code == code
    for word in words:
        assert word in str(caught.value)
    return caught.value


@pytest.mark.parametrize("change", ["group", "label", "lost", "twice", "count", "beyond"])
def test_what_is_no_fold_chooses_nothing(card: Path, data: Path, change: str) -> None:
    folds = _folds()
    if change == "group":  # one of a patient's two samples in another fold
        folds[1], folds[0] = np.append(folds[1], folds[0][0]), folds[0][1:]
    elif change == "label":
        ill = [place for place in folds[2] if _label(place) == "yes"]
        folds[0], folds[2] = np.append(folds[0], ill), np.setdiff1d(folds[2], ill)
    elif change == "lost":
        folds[0] = folds[0][2:]
    elif change == "twice":
        folds[0] = np.append(folds[0], folds[1][:2])
    elif change == "count":
        folds = [np.concatenate(folds[:2]), folds[2]]
    else:
        folds[0] = np.append(folds[0][:-1], 60 + folds[0][-1])
    _split(card, folds)
    code = {"group": "data.fold-group", "label": "data.fold-label"}.get(change, "data.fold-samples")
    words = {"group": ("p0", "folds 1 and 2"), "label": ("fold 3", "yes")}.get(change, ())
    _refused(lambda: train(card, data), code, *words)
    assert not (card / CHOICE).exists()
    assert not (card / "tiny.keras").exists()  # said before the long training


def test_a_label_that_does_not_fill_the_folds_is_said_before_anything_is_trained(card: Path, data: Path) -> None:
    text = (data / "train.csv").read_text()
    (data / "train.csv").write_text(
        "\n".join(
            line if line.split(",")[2] in ("patient", "p0", "p3") else line.replace("yes", "no")
            for line in text.split()
        )
    )
    refusal = _refused(lambda: train(card, data), "data.fold-label", "yes has samples of 2 groups", "3 folds")
    assert "folds = 2" in str(refusal.remedy)
    assert _ran(card) == []


def test_a_subgroup_that_nobody_has_is_said_before_anything_is_trained(card: Path, data: Path) -> None:
    _change(card, "seed = 4", 'seed = 4\nbalanced = "sex"')
    refusal = _refused(lambda: train(card, data), "build.balanced", "'sex'")
    assert "subgroups of [dataset.train]" in str(refusal.remedy)
    assert _ran(card) == []


def test_a_script_that_keeps_no_answers_is_told(card: Path, data: Path) -> None:
    (card / "train.py").write_text('print("result: fine")\n')
    _refused(lambda: train(card, data), "data.fold-samples", "left no answers")


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ('{ threshold = "sensitivity@specificity=0.99" }', "data.fold-few"),  # needs a hundred, has forty
        ('{ threshold = "best" }', "config.card-choice"),
        ('{ threshold = "sensitivity@specificity=2" }', "config.card-choice"),
        ('{ threshold = "sensitivity@sensitivity=0.9" }', "config.card-choice"),
        ("{ temperature = 1.5 }", "config.card-choice"),
        ("{ temprature = true }", "config.card-choice"),
        ("{}", "config.card-invalid"),
    ],
)
def test_what_cannot_be_chosen_is_refused_before_the_long_training(
    card: Path, data: Path, wish: str, code: str
) -> None:
    _change(card, '{ temperature = true, threshold = "sensitivity@specificity=0.9" }', wish)
    _refused(lambda: train(card, data), code)
    assert not (card / "tiny.keras").exists()
    assert code == "data.fold-few" or _ran(card) == []  # what no samples could choose is said before the folds


@pytest.mark.parametrize("ships", [True, False])
def test_a_word_that_is_nearly_one_is_answered_with_it_before_anything_is_trained(
    card: Path, data: Path, ships: bool
) -> None:
    """Whether train chooses itself, or a variant is to choose when it is built."""
    _change(card, "temperature = true, ", "temprature = true, ")
    if not ships:
        _change(card, "folds = 3", 'on = "validation"')
        _change(card, 'recipes = [{ converter = "tflite", precision = "fp32" }]', VARIANT)
    refusal = _refused(lambda: train(card, data), "config.card-choice", 'temprature; did you mean "temperature"?')
    assert "choose temperature, threshold or both" in str(refusal.remedy)
    assert _ran(card) == []


@pytest.mark.slow
@pytest.mark.parametrize("change", ["never", "model", "asked", "folds", "options", "garbage"])
def test_nothing_is_built_or_packed_by_options_that_nobody_chose(card: Path, data: Path, change: str) -> None:
    train(card, data)
    if change == "never":
        (card / CHOICE).unlink()
    elif change == "garbage":
        (card / CHOICE).write_text("{")
    elif change == "model":
        kept = json.loads((card / CHOICE).read_text())
        (card / CHOICE).write_text(json.dumps(kept | {"model": "sha256:" + "1" * 64}))
    elif change == "asked":
        _change(card, "specificity=0.9", "specificity=0.8")
    elif change == "folds":
        _change(card, "folds = 3", "folds = 4")
    else:
        temperature = read_card(card).task.options["temperature"]
        _change(card, f"temperature = {temperature}", "temperature = 1.0")
    for made in (lambda: build_card(card, data, out=card / "dist"), lambda: pack_card(card, out=card / "dist")):
        refusal = _refused(made, "build.choice")
        assert "--choose" in str(refusal.remedy)


def test_answers_come_back_in_the_tables_order(tmp_path: Path) -> None:
    file = tmp_path / "answers.npz"
    write(file, [([2, 0], {"x": np.array([[2.0], [0.0]])}), ([1, 3], {"x": np.array([[1.0], [3.0]])})])  # type: ignore[list-item]
    answers = gathered(file, list("abcd"), ["all"] * 4, 2)
    assert [float(answer["x"][0, 0]) for answer in answers] == [0.0, 1.0, 2.0, 3.0]
    assert answers[0]["x"].shape == (1, 1)


def test_strata_fill_folds_by_group_and_not_by_sample() -> None:
    strata, groups = ["a"] * 6 + ["b"] * 6, list("uuvvww") + list("xxxxyy")
    check_strata(strata, groups, 2)
    with pytest.raises(DataRejected, match="b has samples of 2 groups"):
        check_strata(strata, groups, 3)


def test_folds_of_a_classifier_each_have_both_labels(card: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model_selection = pytest.importorskip("sklearn.model_selection")
    monkeypatch.setattr("sys.argv", ["train.py", "--data", str(data), "--cross-validate", str(FOLDS)])
    whole = begin(str(card / "train.py"), "Trains.").whole()
    splitter = model_selection.StratifiedGroupKFold(n_splits=FOLDS)
    for _, held_out in splitter.split(np.zeros(COUNT), whole["strata"], whole["groups"]):
        assert {_label(place) for place in held_out} == {"yes", "no"}
    assert whole["shown"] is None


def test_folds_are_balanced_as_the_model_that_ships(card: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what folds choose is for a model that saw other shares than the one that ships."""
    _change(card, "seed = 4", "seed = 4\nbalanced = true")
    monkeypatch.setattr("sys.argv", ["train.py", "--data", str(data), "--cross-validate", str(FOLDS)])
    whole = begin(str(card / "train.py"), "Trains.").whole()
    by_label = {label: [place for place in range(COUNT) if _label(place) == label] for label in ("yes", "no")}
    places = np.array([*by_label["yes"], *by_label["no"][:2]])
    drawn = places[whole["shown"](places)(np.random.default_rng(1))]
    assert len(drawn) == 2 * len(by_label["yes"])
    assert set(drawn) == set(places)
    assert sum(_label(place) == "no" for place in drawn) == len(by_label["yes"])
