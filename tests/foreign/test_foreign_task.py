"""The proof that the build half knows no task: one of which it has never heard is trained, judged, gated, reported."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgeai.bundle.reader import open_bundle
from edgeai.cli.main import run
from edgeai.testing.distributions import write_fake_distribution
from edgeai.testing.require import require
from edgeai_workbench.card import read_card

HERE = Path(__file__).resolve().parent
pytestmark = pytest.mark.slow
PLUGIN = "acme-gauge"
MUTE = """
from edgeai.api import TaskSpec, hookimpl
from {module} import EDGEAI_API, OPTIONS, Gauge

@hookimpl
def edgeai_tasks():
    return (TaskSpec(name="acme-mute", build=Gauge, options=OPTIONS, help="Has no judge."),)
"""


def _has(module: str) -> bool:
    return find_spec(module) is not None


@pytest.fixture(scope="module", autouse=True)
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The foreign plugin, installed for this process and its children."""
    require("tensorflow", _has("tensorflow"), "TensorFlow is not installed")
    require("tflite", _has("ai_edge_litert"), "LiteRT is not installed")
    folder = tmp_path_factory.mktemp("site")
    source = (HERE / "acme_gauge.py").read_text(encoding="utf-8")
    write_fake_distribution(folder, name=PLUGIN, module="acme_gauge", module_source=source)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", ":".join([str(folder), *(path for path in sys.path if path)]))
        yield folder
    sys.modules.pop("acme_gauge", None)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discs of known radius, and tables of them, as the guide's script draws them."""
    folder = tmp_path_factory.mktemp("discs")
    shutil.copyfile(HERE / "draw.py.txt", folder / "draw.py")
    subprocess.run([sys.executable, str(folder / "draw.py")], check=True, timeout=600)
    return folder / "data"


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The card's folder after ``edgeai train``."""
    folder = tmp_path_factory.mktemp("cards") / "gauge"
    folder.mkdir()
    shutil.copyfile(HERE / "model.toml", folder / "model.toml")
    shutil.copyfile(HERE / "train.py.txt", folder / "train.py")
    assert run(["train", str(folder), "--data", str(data)]) == 0
    return folder


@pytest.fixture(scope="module")
def built(trained: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the bundle after ``edgeai build``; the card's beside it."""
    root = tmp_path_factory.mktemp("dist")
    shutil.copytree(trained, root / "gauge")
    assert run(["build", str(root / "gauge"), "--data", str(data), "--out", str(root)]) == 0
    return root


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    """The built card's folder, to be changed."""
    shutil.copytree(built / "gauge", tmp_path / "gauge")
    return tmp_path / "gauge"


def _changed(folder: Path, old: str, new: str) -> None:
    text = (folder / "model.toml").read_text(encoding="utf-8")
    assert old in text
    (folder / "model.toml").write_text(text.replace(old, new), encoding="utf-8")


def test_it_trains_on_a_loss_of_its_own_and_the_card_has_the_samples(
    trained: Path, data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    card = read_card(trained)
    assert card.data[0].digest is not None
    assert card.training.environment["keras"]
    assert run(["train", str(trained), "--data", str(data)]) == 0
    out = capfd.readouterr().out
    error = float(re.findall(r"validation: mae (\d+\.\d+), spread", out)[0])
    assert error < 1.0  # always saying the mean would be off by 1.8
    assert "The same weights as the card had, byte by byte." in out


def test_its_recipe_is_judged_by_folds_that_keep_its_strata(
    trained: Path, data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", str(trained), "--data", str(data), "--cross-validate", "2"]) == 0
    assert re.search(r"2 folds: mean \d+\.\d+, standard deviation", capfd.readouterr().out)


def test_the_bundle_held_its_gates_and_the_report_shows_its_figures_and_pictures(built: Path) -> None:
    verdicts = json.loads((built / "gauge" / "verdicts.json").read_text())
    gates = {verdict["gate"]: verdict for verdict in verdicts["verdicts"]["small-tflite-int8"]}
    assert gates.keys() == {"floors.within@2.5", "ceilings.mae", "max_drop.mae", "min_agreement"}
    assert all(verdict["holds"] for verdict in gates.values())
    assert "24 validation samples" in (built / "gauge" / "REPORT.md").read_text()
    report = (built / "gauge" / "REPORT.md").read_text()
    row = next(line for line in report.splitlines() if line.startswith("| `small-tflite-int8`"))
    assert re.search(r"\d\.\d{4} \(\d\.\d{4} to \d\.\d{4}\) px", row)
    assert "within@2.5" in report
    page = (built / "gauge" / "report.html").read_text()
    for title in ("Where each stands", "Found against true", "small-tflite-int8: its worst case"):
        assert f"<b>{title}.</b>" in page
    assert "On the line, radius is right." in page


def test_evaluate_judges_it_with_intervals_and_by_the_subgroups_that_its_judge_tells_apart(
    built: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores.json"
    bundle = built / "gauge-1.0.0.edgeai"
    assert run(["evaluate", str(bundle), "--data", str(data), "--json", str(out)]) == 0
    body = json.loads(out.read_text())
    assert (body["main"], body["samples"], body["confusion"], body["by_label"]) == ("mae", 24, None, {})
    mae = body["metrics"]["mae"]
    assert mae["low"] < mae["value"] < mae["high"] < 2.0
    assert (mae["unit"], mae["better"]) == ("px", "lower")
    assert set(body["subgroups"]) == {"size=small", "size=large", "side=left", "side=right"}
    printed = capfd.readouterr().out
    assert "mae *" in printed
    assert "size=small" in printed


def test_compare_says_which_of_two_is_closer(
    built: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle, parent = built / "gauge-1.0.0.edgeai", built / "gauge" / "gauge.keras"
    spoilt = tmp_path / "spoilt.keras"
    _spoil(parent, spoilt)
    assert run(["compare", f"{bundle}#small-tflite-int8", str(spoilt), "--data", str(data)]) == 0
    printed = capfd.readouterr().out
    assert re.search(r"^mae \*.* A is better$", printed, re.MULTILINE)
    assert "decided alike: 0.0% of the samples" in printed
    assert run(["compare", f"{bundle}#small-tflite-fp32", str(bundle), "--data", str(data)]) == 0
    assert "decided alike: 100.0%" in capfd.readouterr().out


def _spoil(parent: Path, path: Path) -> None:
    """The same model, 20 px too long."""
    import keras

    model = keras.models.load_model(parent)
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel, bias + 20])
    model.save(path)


def test_a_bound_of_what_is_better_low_is_held_from_above(
    folder: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _changed(folder, "ceilings = { mae = 2.0 }", "ceilings = { mae = 0.0001 }")
    assert run(["build", str(folder), "--data", str(data), "--out", str(tmp_path / "dist")]) == 3
    assert "ceilings.mae" in capfd.readouterr().err
    assert not list((tmp_path / "dist").glob("*.edgeai"))
    _changed(folder, "ceilings = { mae = 0.0001 }", "")
    _changed(folder, '"within@2.5" = 0.6', "mae = 0.0001")
    assert run(["build", str(folder), "--data", str(data), "--out", str(tmp_path / "dist")]) == 2
    printed = capfd.readouterr().err
    assert "error[config.card-gate-direction]" in printed
    assert "bound it in ceilings" in printed


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('length = "radius_px"', 'lenght = "radius_px"', "config.card-column-unknown"),
        ('length = "radius_px"', 'length = ["radius_px"]', "config.card-column-unknown"),
        ('truth = { length = "radius_px" }', 'label = "radius_px"', "config.card-column-unknown"),
        ('length = "radius_px"', 'length = "radius"', "data.column-missing"),
        ('length = "radius_px"', 'length = "side"', "data.value-invalid"),
        ('truth = { length = "radius_px" }', "", "data.target-missing"),
        ('"within@2.5" = 0.6', '"under@2.5" = 0.6', "config.card-metric-unknown"),
    ],
)
def test_what_its_card_gets_wrong_is_said(
    folder: Path, data: Path, tmp_path: Path, old: str, new: str, code: str, capfd: pytest.CaptureFixture[str]
) -> None:
    _changed(folder, old, new)
    if code == "data.target-missing":
        bundle = tmp_path / "gauge-1.0.0.edgeai"
        card = folder / "model.toml"  # without gates it is packed unjudged
        card.write_text(card.read_text().split("[gates]")[0])
        assert run(["pack", str(folder), "--out", str(tmp_path)]) == 0
        assert run(["evaluate", str(bundle), "--data", str(data)]) == 2
    else:
        assert run(["build", str(folder), "--data", str(data), "--out", str(tmp_path / "dist")]) in (1, 2)
    assert f"error[{code}]" in capfd.readouterr().err


def test_the_rest_of_the_command_line_takes_it_as_any_other(
    built: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = built / "gauge-1.0.0.edgeai"
    again = tmp_path / "again"
    assert run(["pack", str(built / "gauge"), "--out", str(again)]) == 0
    assert (again / bundle.name).read_bytes() == bundle.read_bytes()
    assert open_bundle(bundle).manifest.task.name == PLUGIN
    assert run(["plugins", "list"]) == 0
    assert PLUGIN in capfd.readouterr().out
    for command in (["inspect", str(bundle)], ["bench", str(bundle), "--backend", "tflite", "--threads", "1"]):
        assert run(command) == 0, command


def test_a_task_without_a_judge_is_packed_and_run_and_never_judged(
    built: Path, site: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = MUTE.format(module="acme_gauge")
    write_fake_distribution(site, name="acme-mute", module_source=source)
    shutil.copytree(built / "gauge", tmp_path / "gauge")
    _changed(tmp_path / "gauge", "acme-gauge", "acme-mute")
    text = (tmp_path / "gauge" / "model.toml").read_text()
    (tmp_path / "gauge" / "model.toml").write_text(text.split("[gates]")[0])
    assert run(["pack", str(tmp_path / "gauge"), "--out", str(tmp_path)]) == 0
    bundle = tmp_path / "gauge-1.0.0.edgeai"
    for command in (
        ["evaluate", str(bundle)],
        ["compare", str(bundle), f"{bundle}#small-tflite-fp32"],
        ["build", str(tmp_path / "gauge"), "--out", str(tmp_path / "dist")],
        ["train", str(tmp_path / "gauge")],
    ):
        capfd.readouterr()
        assert run([*command, "--data", str(data)]) == 2, command
        assert "error[build.no-judge]" in capfd.readouterr().err
    assert run(["bench", str(bundle), "--backend", "tflite", "--threads", "1"]) == 0
