"""A first try of a task of which edgeai has never heard, and of a copy of one of ours under a foreign name."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edgeai_tasks
from edgeai.api import ConfigError, PluginConflict, PluginFault, TensorSpec
from edgeai.bundle.reader import open_bundle
from edgeai.cli.main import run
from edgeai.testing.distributions import write_fake_distribution
from edgeai.testing.require import require
from edgeai_workbench.card import read_card
from edgeai_workbench.guessing import Refusal
from edgeai_workbench.tries import Asked, Reading, Told, reading_of, settled

HERE = Path(__file__).resolve().parent
OURS = Path(edgeai_tasks.__file__).parent
SIDE = 24
refused = Refusal("build.first-try")
ROW = TensorSpec(name="kind", dtype="float32", shape=(1, 2))
NUMBER = TensorSpec(name="length", dtype="float32", shape=(1, 1))
MAP = TensorSpec(name="mask", dtype="float32", shape=(1, 8, 8, 3))
CUBE = TensorSpec(name="cube", dtype="float32", shape=(1, 4, 4, 4, 2))
OTHER = """
from edgeai.api import Guess, TaskMisfit, TaskSpec, hookimpl
EDGEAI_API = (1, 3)

def guess(request):
    {body}

@hookimpl
def edgeai_tasks():
    return (TaskSpec(name={name!r}, build=print, guess=guess),)
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of distributions, whose modules are forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", ":".join([str(folder), *(path for path in sys.path if path)]))
    yield folder
    for module in [name for name in sys.modules if name.startswith("acme_")]:
        del sys.modules[module]


@pytest.fixture
def gauge(site: Path) -> None:
    """The task that measures a length, in a distribution that is called otherwise, as its plugin is."""
    source = (HERE / "acme_gauge.py").read_text(encoding="utf-8")
    write_fake_distribution(
        site, name="acme-lengths", module="acme_gauge", module_source=source, entry_points={"acme-length": "acme_gauge"}
    )


@pytest.fixture
def grade(site: Path) -> None:
    """A copy of classify, under another maker's name."""
    for path in (*OURS.glob("*.py"), *(OURS / "classify").glob("*.py")):
        target = site / "acme_tasks" / str(path.relative_to(OURS)).replace("classify", "grade")
        target.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8").replace("edgeai_tasks.", "acme_tasks.")
        text = text.replace("acme_tasks.classify", "acme_tasks.grade").replace('"classify"', '"acme-grade"')
        target.write_text(text, encoding="utf-8")
    write_fake_distribution(site, name="acme-tasks", entry_points={"acme-grade": "acme_tasks.grade"})


def _other(site: Path, name: str, body: str, distribution: str = "") -> None:
    called = distribution or name
    write_fake_distribution(
        site,
        name=called,
        module_source=OTHER.format(name=name, body=body),
        entry_points={called: called.replace("-", "_")},
    )


def _read(output: TensorSpec, activation: str = "none", answers: Any = (), **told: Any) -> Reading:
    return reading_of(Asked(output=output, activation=activation, answers=answers), Told(**told), refused)


def _refused(output: TensorSpec, activation: str = "none", **told: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        _read(output, activation, **told)
    assert caught.value.code == "build.first-try"
    return f"{caught.value} | {caught.value.remedy}"


# --- which task reads it ------------------------------------------------------------------------


@pytest.mark.parametrize(("output", "task"), [(ROW, "classify"), (NUMBER, "classify"), (MAP, "segment")])
def test_the_one_that_reads_such_an_output_is_taken(output: TensorSpec, task: str) -> None:
    reading = _read(output, "softmax" if output is MAP else "none")
    assert (reading.spec.name, reading.plugin.name) == (task, task)


@pytest.mark.usefixtures("grade")
def test_a_copy_of_ours_is_asked_for_by_name_and_never_guessed_beside_it() -> None:
    told = _refused(ROW)
    assert "output kind (2) can be read by " in told
    assert "--task acme-grade" in told
    assert "--task classify" in told
    theirs, ours = _read(ROW, task="acme-grade"), _read(ROW, task="classify")
    assert (theirs.spec.name, theirs.plugin.name) == ("acme-grade", "acme-grade")
    assert theirs.guess == ours.guess
    assert _read(MAP, "softmax").spec.name == "segment", "a map is none of theirs"


@pytest.mark.usefixtures("gauge")
def test_two_that_could_read_a_number_are_both_named_and_an_activation_tells_them_apart() -> None:
    told = _refused(NUMBER)
    assert "acme-gauge" in told
    assert "classify" in told
    assert _read(NUMBER, "sigmoid").spec.name == "classify"
    assert _read(ROW).spec.name == "classify"


@pytest.mark.usefixtures("gauge")
@pytest.mark.parametrize("word", ["acme-gauge", "acme-length", "acme-lengths"])
def test_a_foreign_task_goes_by_its_name_its_plugins_and_its_distributions(word: str) -> None:
    reading = _read(NUMBER, task=word)
    assert (reading.spec.name, reading.plugin.name) == ("acme-gauge", "acme-length")
    assert reading.guess.options == {"what": "length"}


@pytest.mark.usefixtures("gauge")
def test_a_foreign_task_has_labels_modes_and_misfits_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("femur\n")
    reading = _read(NUMBER, task="acme-gauge", labels=tmp_path / "labels.txt")
    assert reading.guess.options == {"what": "femur"}
    (tmp_path / "two.txt").write_text("femur\nhead\n")
    assert "has 2 labels, the output length wants 1" in _refused(NUMBER, task="acme-gauge", labels=tmp_path / "two.txt")
    assert "task acme-gauge has no such mode" in _refused(NUMBER, task="acme-gauge", mode="binary")
    assert _refused(ROW, task="acme-gauge").endswith("| --task classify")
    assert _refused(MAP, "softmax", task="acme-gauge").endswith("| --task segment")


@pytest.mark.usefixtures("gauge")
def test_a_mode_that_one_task_alone_has_says_which_is_meant() -> None:
    assert _read(NUMBER, mode="binary").spec.name == "classify"
    told = _refused(NUMBER, mode="binry")
    assert "there is no such mode; did you mean 'binary'?" in told


@pytest.mark.usefixtures("gauge")
def test_what_the_model_has_to_show_is_asked_again_once_it_did() -> None:
    asked = Asked(output=NUMBER)
    reading = reading_of(asked, told := Told(task="acme-gauge"), refused)
    assert not reading.guess.settled
    asked = Asked(output=NUMBER, answers=[np.full((1, 1), 3.0)])
    assert "the length of length" in settled(reading, asked, told, refused).guess.says


def test_labels_that_a_task_does_not_ask_for_are_refused(site: Path, tmp_path: Path) -> None:
    _other(site, "acme-mute", "return Guess(says='it says nothing')")
    (tmp_path / "labels.txt").write_text("femur\n")
    assert _read(CUBE, task="acme-mute").guess.says == "it says nothing"
    told = _refused(CUBE, task="acme-mute", labels=tmp_path / "labels.txt")
    assert "--labels: task acme-mute takes none" in told


def test_an_output_that_nobody_reads_is_said_with_what_each_reads(site: Path) -> None:
    for name in ("one", "two"):
        _other(site, f"acme-{name}", f"raise TaskMisfit('{name} reads something else')")
    told = _refused(TensorSpec(name="late", dtype="float32", shape=(1, 2)), task="acme-one")
    assert told == "one reads something else | --task classify"
    assert "no installed plugin provides a task called 'acme-on'; did you mean 'acme-one'?" in _refused(
        ROW, task="acme-on"
    )


def test_a_task_that_says_nothing_of_it_needs_a_card(site: Path) -> None:
    source = OTHER.format(name="acme-old", body="pass").replace(", guess=guess", "")
    write_fake_distribution(site, name="acme-old", module_source=source)
    assert "task acme-old says not how it reads a model" in _refused(ROW, task="acme-old")
    assert _read(ROW).spec.name == "classify"


@pytest.mark.parametrize(
    ("body", "code"), [("return {'labels': []}", "plugin.contract"), ("raise KeyError('labels')", "plugin.fault")]
)
def test_one_that_breaks_is_named_and_stops_no_other(site: Path, body: str, code: str) -> None:
    _other(site, "acme-broken", body)
    with pytest.raises(PluginFault, match="acme-broken") as caught:
        _read(ROW, task="acme-broken")
    assert caught.value.code == code
    reading = _read(ROW)
    assert reading.spec.name == "classify"
    assert any("acme-broken" in note for note in reading.notes)


def test_one_name_of_two_makers_is_nobodys(site: Path) -> None:
    for maker in ("acme-a", "acme-b"):
        _other(site, "acme-cube", "return Guess()", distribution=maker)
    for told in ({}, {"task": "acme-cube"}):
        with pytest.raises((PluginConflict, ConfigError), match=r"acme-a .*acme-b ") as caught:
            _read(TensorSpec(name="kind", dtype="float32", shape=(1, 9, 2)) if told else CUBE, **told)
        assert "acme-cube" in str(caught.value)


# --- from the file to the bundle ----------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Dark and bright ones, in a folder for each."""
    random = np.random.default_rng(1)
    for label, level in (("dark", 40), ("bright", 200)):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for number in range(6):
            plane = np.clip(random.normal(level, 15, (SIDE, SIDE)), 0, 255).astype(np.uint8)
            Image.fromarray(plane).save(tmp_path / "pictures" / label / f"{number}.png")
    return tmp_path / "pictures"


@pytest.fixture
def model(tmp_path: Path) -> Any:
    """``model(units, activation)`` -> a ``.keras`` file that tells dark from bright."""
    require("tensorflow", find_spec("tensorflow") is not None, "TensorFlow is not installed")
    import keras

    def saved(units: int, activation: str | None) -> Path:
        image = keras.Input((SIDE, SIDE, 1), name="image")
        x = keras.layers.GlobalAveragePooling2D()(image)
        end = keras.layers.Dense(units, activation=activation, name="out")
        made = keras.Model(image, end(x))
        end.set_weights([np.array([[-8.0, 8.0]])[:, -units:], np.array([4.0, -4.0])[-units:]])
        made.save(tmp_path / "my.keras")
        return tmp_path / "my.keras"

    return saved


@pytest.mark.slow
@pytest.mark.usefixtures("grade")
def test_a_copy_of_classify_is_built_at_the_first_try_and_judged_by_folders(
    model: Any, pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels.txt").write_text("dark\nbright\n")
    words = ["build", str(model(2, "softmax")), "--calibration", str(pictures), "--out", str(tmp_path / "out")]
    words += ["--labels", str(tmp_path / "labels.txt")]
    assert run(words) == 2
    assert "error[build.first-try]" in (told := capfd.readouterr().err)
    assert "--task acme-grade" in told
    assert not (tmp_path / "out").exists()
    assert run([*words, "--task", "acme-tasks"]) == 0, capfd.readouterr().err
    manifest = open_bundle(tmp_path / "out" / "my-0.1.0.edgeai").manifest
    assert manifest.task.name == "acme-grade"
    assert manifest.plugins == ("transforms", "acme-grade")
    assert re.search(r"accuracy|auc_roc", capfd.readouterr().out), "sub-folders said what is true"


@pytest.mark.slow
@pytest.mark.usefixtures("gauge")
def test_a_foreign_task_is_built_at_the_first_try(
    model: Any, pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["build", str(model(1, None)), "--calibration", str(pictures), "--out", str(tmp_path / "out")]
    assert run([*words, "--task", "acme-length"]) == 0, capfd.readouterr().err
    card = read_card(tmp_path / "out" / "my")
    assert (card.task.name, card.task.options) == ("acme-gauge", {"what": "out"})
    assert card.plugins == ("transforms", "acme-length")
    assert "output out: the length of out, in pixels" in card.limits
