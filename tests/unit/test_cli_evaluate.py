"""``edgeai evaluate`` and ``compare`` on fake engines: what an engineer reads, and what is refused."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from edgeai.bundle.archive import pack
from edgeai.bundle.evidence import decode_evidence
from edgeai.bundle.manifest import ArtifactDecl, Eligibility, TaskUse
from edgeai.bundle.reader import open_bundle
from edgeai.cli import main
from edgeai.testing.distributions import write_fakes
from edgeai.testing.fakes import Misbehaviour
from edgeai_workbench.commands.evaluate import in_order

pytestmark = pytest.mark.slow

Make = Callable[..., Path]
CARD = (Path(__file__).parents[2] / "models" / "xray-pneumonia" / "model.toml").read_text(encoding="utf-8")
TASK = TaskUse(name="classify", options={"mode": "multi-class", "labels": ["bright", "dark"]})
PLUGINS = ("fakes", "classify")


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in this process, which has imported what it needs, with the fakes installed."""
    write_fakes(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, value in {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)

    def running(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = [*map(str, arguments)]
        capfd.readouterr()
        status = main.run(words)
        printed = capfd.readouterr()
        return subprocess.CompletedProcess(words, status, printed.out, printed.err)

    return running


@pytest.fixture
def bundle(make_bundle: Make) -> Callable[..., Path]:
    """A bundle of two artifacts whose fake engine tells bright images from dark ones."""

    def make(**changes: Any) -> Path:
        artifacts = tuple(
            ArtifactDecl(id=name, format="fake", precision=name[-4:], path="model.json")
            for name in ("fake-fp32", "fake-int8")
        )
        return make_bundle(**{"task": TASK, "plugins": PLUGINS, "artifacts": artifacts, "golden": False, **changes})

    return make


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve bright and eight dark pictures, of which two bright ones are not."""
    rng = np.random.default_rng(0)
    for label, levels in (("bright", [30, 40, *rng.integers(170, 250, 10)]), ("dark", rng.integers(5, 80, 8))):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number, level in enumerate(levels):
            pixels = np.clip(rng.normal(int(level), 3, (16, 20)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / label / f"{number}.png")
    return tmp_path / "data"


def _rows(stdout: str) -> dict[str, list[str]]:
    """First column -> the others, of lines with two or more."""
    split = [re.split(r"\s{2,}", line.strip()) for line in stdout.splitlines()]
    return {cells[0]: cells[1:] for cells in split if len(cells) > 1}


# --- evaluate ---------------------------------------------------------------------------------


def test_odd_images_and_other_hospitals_are_asked_about(run: Any, bundle: Make, pictures: Path, tmp_path: Path) -> None:
    """The fake engine knows bright from dark and nothing else, which inverted pictures show."""
    out = tmp_path / "scores.json"
    command = ("evaluate", bundle(), "--data", pictures, "--backend", "fake-works", "--json", out)
    assert "Odd images" not in run(*command).stdout
    done = run(*command, "--robustness")
    assert done.returncode == 0, done.stderr
    assert "Odd images: all 20 images of the validation, spoilt before the card's transforms (seed 0)" in done.stdout
    rows = _rows(done.stdout)
    assert rows["plain"][:2] == ["fake-fp32", "90.0% (70% to 97%)"]
    assert rows["inverted"][1].startswith("10.0%")
    assert rows["mirrored"][1].startswith("90.0%")
    assert "noise: Gaussian noise, standard deviation 8 % of the range" in done.stdout
    assert "20 simulated hospitals" in done.stdout
    body = json.loads(out.read_text())["robustness"]
    assert (body["samples"], body["of"], body["shift"]["hospitals"]) == (20, 20, 20)
    assert body["rows"][1]["kind"] == "inverted"
    assert body["rows"][1]["fall"]["value"] == pytest.approx(0.8)


def test_wrong_images_are_asked_about(run: Any, bundle: Make, pictures: Path, tmp_path: Path) -> None:
    """As a file with [stress] wants it; nothing looks at what reaches this bundle's model."""
    (pictures / "dark" / "others.csv").write_text("file\n0.png\n1.png\n")
    wanted, out, page = tmp_path / "stress.toml", tmp_path / "scores.json", tmp_path / "STRESS.md"
    wanted.write_text(
        "[stress]\nsamples = 2\n"
        '[[stress.wrong]]\ntable = "dark/others.csv"\nname = "others"\nimage = "file"\nmin_withheld = 1\n'
    )
    command = ("evaluate", bundle(), "--data", pictures, "--backend", "fake-works", "--resamples", 0)
    assert "wrong images" not in run(*command).stdout
    done = run(*command, "--stress-set", wanted, "--json", out, "--stress-page", page)
    assert done.returncode == 0, done.stderr
    rows = _rows(done.stdout)
    assert rows["images"] == ["count", "fake-fp32", "to be at least"]
    assert rows["others"] == ["2", "0.0% (0% to 66%), FAILS", "1"]
    # Of a bright one that was called dark, the inverted one is called bright: right by mistake.
    assert rows["inverted"][1] == "0.0% (0% to 66%), with good statements 50.0% (9% to 91%)"
    stress = json.loads(out.read_text())["stress"]
    assert [row["model"] for row in stress["rows"] if row["kind"] == "others"] == ["fake-fp32"]
    assert "# tiny 1.0.0: wrong images" in page.read_text()
    assert "--data DIR --stress-set stress.toml`" in page.read_text()
    own = bundle(files={"model.toml": (CARD + "\n[stress]\nsamples = 1\n").encode()})
    alone = run("evaluate", own, *command[2:], "--stress", "--artifact", "fake-int8")
    assert _rows(alone.stdout)["images"] == ["count", "fake-int8", "to be at least"]
    assert _rows(alone.stdout)["text"][0] == "1"
    assert "others" not in _rows(alone.stdout)
    for text, word in (
        ("[stress]\nsample = 2\n", "config.card-invalid"),
        (wanted.read_text() + "x", "config.card-syntax"),
    ):
        wanted.write_text(text)
        refused = run(*command, "--stress-set", wanted)
        assert refused.returncode == 2
        assert word in refused.stderr
    wanted.write_text('[stress]\n[[stress.wrong]]\ntable = "none/t.csv"\nimage = "file"\n')
    refused = run(*command, "--stress-set", wanted)
    assert refused.returncode == 2
    assert "data.file-missing" in refused.stderr


def test_a_folder_of_folders_is_judged(run: Any, bundle: Make, pictures: Path, tmp_path: Path) -> None:
    out, evidence = tmp_path / "scores.json", tmp_path / "evidence.json"
    options = ("--json", out, "--evidence", evidence)
    done = run("evaluate", bundle(), "--data", pictures, "--backend", "fake-works", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == [
        "tiny 1.0.0 on fake-works CPU, fp32 (fake-fp32)",
        "20 samples, one folder a label",
    ]
    rows = _rows(done.stdout)
    assert rows["accuracy"][0] == "0.9000"
    assert re.fullmatch(r"0\.\d{4} to \d\.\d{4}", rows["accuracy"][1])
    assert rows["bright"] == ["10", "2"]
    assert rows["dark"] == ["0", "8"]
    assert "auc_roc *" in rows
    body = json.loads(out.read_text())
    assert (body["samples"], body["main"], body["engine"]["artifact"]) == (20, "auc_roc", "fake-fp32")
    assert body["metrics"]["accuracy"]["value"] == 0.9
    assert body["metrics"]["accuracy"]["low"] < 0.9 < body["metrics"]["accuracy"]["high"]
    assert body["confusion"]["counts"] == [[10, 2], [0, 8]]
    assert body["digest"].startswith("sha256:")
    read = decode_evidence(evidence.read_bytes())
    (trial,) = read.trials
    (model,) = trial.models
    assert (read.digest, trial.split, trial.role, trial.samples) == (body["digest"], "folder", "judged", 20)
    assert model.figures["accuracy"].low == body["metrics"]["accuracy"]["low"]
    assert [each.name for each in model.reliability] == ["as stated"]
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", trial.data)


def test_the_artifact_that_is_asked_for(run: Any, bundle: Make, pictures: Path) -> None:
    path = bundle()
    done = run(
        "evaluate", path, "--data", pictures, "--backend", "fake-works", "--artifact", "fake-int8", "--resamples", 0
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tiny 1.0.0 on fake-works CPU, int8 (fake-int8)\n")
    done = run("evaluate", path, "--data", pictures, "--backend", "fake-works", "--artifact", "other")
    assert done.returncode == 2
    assert "error[evaluate.no-artifact]" in done.stderr
    assert "fake-fp32, fake-int8" in done.stderr


def test_all_of_few_is_no_certainty(run: Any, bundle: Make, pictures: Path) -> None:
    for name in ("0", "1"):
        (pictures / "bright" / f"{name}.png").unlink()
    done = run("evaluate", bundle(), "--data", pictures, "--backend", "fake-works")
    assert _rows(done.stdout)["accuracy"] == ["1.0000", "0.8241 to 1.0000", "Wilson"]
    assert _rows(done.stdout)["auc_roc *"][2] == "score, DeLong"


def test_a_metric_that_is_not_determined_has_its_reason(run: Any, bundle: Make, pictures: Path) -> None:
    for path in (pictures / "dark").iterdir():
        path.unlink()
    done = run("evaluate", bundle(), "--data", pictures, "--backend", "fake-works")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^auc_roc: not determined\. .*one class", done.stdout, re.MULTILINE)
    assert "accuracy *" in _rows(done.stdout)


@pytest.fixture
def with_card(bundle: Make, tmp_path: Path) -> Callable[[str], Path]:
    """A bundle whose card has this ``[dataset.validation]``."""

    def make(validation: str) -> Path:
        opened = open_bundle(bundle(), cache_dir=tmp_path / "unpacked")
        head, _, tail = CARD.partition("[dataset.validation]")
        card = f"{head}[dataset.validation]\n{validation}\n[training]{tail.partition('[training]')[2]}"
        folder = tmp_path / "with-card"
        folder.mkdir()
        for name in ("model.json",):
            (folder / name).write_bytes((opened.root / name).read_bytes())
        (folder / "model.toml").write_text(card, encoding="utf-8")
        out = tmp_path / "with-card.edgeai"
        pack(folder, opened.manifest, out)
        return out

    return make


def test_the_bundles_own_card_says_where_the_samples_are(run: Any, with_card: Any, pictures: Path) -> None:
    rows = ["picture,what,device,patient"]
    for label in ("bright", "dark"):
        for number, path in enumerate(sorted((pictures / label).iterdir())):
            rows.append(f"{label}/{path.name},{label[0]},{'old' if number % 2 else 'new'},{label}{number // 2}")
    (pictures / "val.csv").write_text("\n".join(rows) + "\n")
    path = with_card(
        'table = "val.csv"\nimage = "picture"\nlabel = "what"\nvalues = { b = "bright", d = "dark" }\n'
        'modality = "DX"\nsubgroups = ["device"]\ngroup = "patient"\n'
    )
    done = run("evaluate", path, "--data", pictures, "--backend", "fake-works")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1] == "20 samples of 10 groups, validation (val.csv)"
    assert _rows(done.stdout)["device=new"][:2] == ["10", "auc_roc"]


@pytest.mark.parametrize("split", ["test", "external"])
def test_a_table_that_the_card_does_not_have_is_said_to_be_none(
    run: Any, with_card: Any, pictures: Path, split: str
) -> None:
    path = with_card('table = "val.csv"\nimage = "picture"\nlabel = "what"\n')
    done = run("evaluate", path, "--data", pictures, "--backend", "fake-works", "--split", split)
    assert done.returncode == 2
    assert "error[evaluate.no-split]" in done.stderr
    assert "--split takes validation, train" in done.stderr
    assert run("compare", path, path, "--data", pictures, "--split", "no").returncode == 2


def test_a_table_that_no_build_reads_is_judged_where_it_is_asked_for(run: Any, with_card: Any, pictures: Path) -> None:
    rows = [f"{path.parent.name}/{path.name},{path.parent.name}" for path in sorted(pictures.rglob("*.png"))]
    (pictures / "else.csv").write_text("\n".join(["picture,what", *rows]) + "\n")
    columns = 'image = "picture"\nlabel = "what"\nmodality = "DX"\n'
    path = with_card(f'table = "val.csv"\n{columns}\n[dataset.external]\ntable = "else.csv"\n{columns}')
    done = run("evaluate", path, "--data", pictures, "--backend", "fake-works", "--split", "external")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1] == "20 samples, external (else.csv)"


@pytest.fixture
def tested(with_card: Any, pictures: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A bundle whose card has a test, and the folder of that card."""
    rows = [f"{path.parent.name}/{path.name},{path.parent.name}" for path in sorted(pictures.rglob("*.png"))]
    (pictures / "test.csv").write_text("\n".join(["picture,what", *rows]) + "\n")
    columns = 'image = "picture"\nlabel = "what"\nmodality = "DX"\n'
    path = with_card(f'table = "val.csv"\n{columns}\n[dataset.test]\ntable = "test.csv"\n{columns}')
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "model.toml").write_bytes((tmp_path / "with-card" / "model.toml").read_bytes())
    return path, tmp_path / "card"


def test_a_look_at_the_test_is_written_down_and_counted(
    run: Any, tested: tuple[Path, Path], pictures: Path, tmp_path: Path
) -> None:
    path, card = tested
    asked = ("evaluate", path, "--data", pictures, "--backend", "fake-works", "--split", "test", "--resamples", 0)
    refused = run(*asked)
    assert refused.returncode == 2
    assert "error[evaluate.test-card]" in refused.stderr
    assert "--card FOLDER" in refused.stderr
    assert "0.9000" not in refused.stdout
    evidence = tmp_path / "evidence.json"
    done = run(*asked, "--card", card, "--evidence", evidence)
    assert done.returncode == 0, done.stderr
    assert ": look 1 of 3 at these data for this model" in done.stdout
    (opening,) = json.loads((card / "openings.json").read_text())["openings"]
    assert opening["model"] == re.search(r'model_digest = "(.*)"', CARD)[1]  # type: ignore[index]
    assert (set(opening["artifacts"]), opening["before"]) == ({"fake-fp32"}, 0)
    read = decode_evidence(evidence.read_bytes())
    assert [look.data for look in read.openings] == [read.trials[0].data] == [opening["data"]]
    assert run(*asked, "--card", card).returncode == 0
    assert len(json.loads((card / "openings.json").read_text())["openings"]) == 1, "nothing new was looked at"
    sides = (f"{path}#fake-fp32", f"{path}#fake-int8")
    options = ("--data", pictures, "--backend", "fake-works", "--split", "test")
    assert run("compare", *sides, *options).returncode == 2
    done = run("compare", *sides, *options, "--card", card)
    assert done.returncode == 0, done.stderr
    assert [line.split(": ")[1][:6] for line in done.stdout.splitlines() if line.startswith("test opened")] == [
        "look 1",
        "look 2",
    ]
    assert len(json.loads((card / "openings.json").read_text())["openings"]) == 2


def test_a_model_that_had_its_looks_shows_no_figure_of_the_test(
    run: Any, tested: tuple[Path, Path], pictures: Path
) -> None:
    path, card = tested
    asked = ("evaluate", path, "--data", pictures, "--backend", "fake-works", "--split", "test", "--card", card)
    assert run(*asked).returncode == 0
    body = json.loads((card / "openings.json").read_text())
    (opening,) = body["openings"]
    body["openings"] = [{**opening, "artifacts": {"fake-fp32": f"sha256:{n}"}, "before": n} for n in range(3)]
    (card / "openings.json").write_text(json.dumps(body))
    done = run(*asked)
    assert done.returncode == 3
    assert "error[gate.test-opened]" in done.stderr
    assert done.stdout == ""
    (card / "model.toml").write_text(CARD.replace('name = "xray-pneumonia"', 'name = "other"'))
    assert "error[evaluate.test-card]" in run(*asked).stderr
    done = run(*asked[:6], "--card", card)
    assert done.returncode == 2
    assert "no look at validation is written down" in done.stderr


def test_samples_that_it_is_not_meant_for_are_left_out_and_counted(
    run: Any, with_card: Any, pictures: Path, make_dicom: Make
) -> None:
    for number in range(3):
        make_dicom(f"data/us{number}.dcm", level=200, Modality="US")
        make_dicom(f"data/dx{number}.dcm", level=20 + 90 * number, Modality="DX")
    lines = [f"{kind}{n}.dcm,{'dark' if n == 0 else 'bright'}" for kind in ("us", "dx") for n in range(3)]
    (pictures / "val.csv").write_text("\n".join(["file,what", *lines]) + "\n")
    path = with_card('table = "val.csv"\nimage = "file"\nlabel = "what"\n')
    done = run("evaluate", path, "--data", pictures, "--backend", "fake-works")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].startswith("3 samples, ")
    assert done.stdout.splitlines()[2].startswith("3 left out: ")
    lines = [line for line in lines if line.startswith("us")]
    (pictures / "val.csv").write_text("\n".join(["file,what", *lines]) + "\n")
    done = run("evaluate", path, "--data", pictures, "--backend", "fake-works")
    assert done.returncode == 1
    assert "error[evaluate.none-eligible]" in done.stderr


def test_a_folder_that_has_nothing_to_do_with_it(run: Any, bundle: Make, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run("evaluate", bundle(), "--data", tmp_path / "empty", "--backend", "fake-works")
    assert "error[data.no-dataset]" in done.stderr
    assert "bright, dark" in done.stderr
    done = run("evaluate", bundle(), "--data", tmp_path / "empty", "--split", "test")
    assert done.returncode == 2


def test_a_sample_that_the_model_fails_on_is_named(run: Any, bundle: Make, pictures: Path) -> None:
    path = bundle(misbehave=Misbehaviour(how="raise", mean_above=0.6))
    done = run("evaluate", path, "--data", pictures, "--backend", "fake-works")
    assert done.returncode == 1
    assert re.match(r"(?s).*error\[[a-z.-]+\]: bright/\d+\.png: ", done.stderr)
    assert "Traceback" not in done.stderr


def test_nothing_is_written_where_nothing_can_be(run: Any, bundle: Make, pictures: Path, tmp_path: Path) -> None:
    done = run(
        "evaluate", bundle(), "--data", pictures, "--backend", "fake-works", "--json", tmp_path / "no" / "x.json"
    )
    assert done.returncode == 2
    assert "error[config.unwritable]" in done.stderr
    assert done.stdout == ""  # it is said before anything is judged
    assert "reading" not in done.stderr


def test_a_file_that_is_there_is_untouched_until_there_is_something_to_write(
    run: Any, bundle: Make, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores.json"
    out.write_text("of yesterday")
    path = bundle()
    assert run("evaluate", path, "--data", tmp_path / "nowhere", "--json", out).returncode == 2
    assert out.read_text() == "of yesterday"
    assert run("evaluate", path, "--data", tmp_path / "nowhere", "--json", tmp_path / "new.json").returncode == 2
    assert not (tmp_path / "new.json").exists()
    sides = (f"{path}#fake-fp32", f"{path}#fake-int8")
    done = run("compare", *sides, "--data", pictures, "--backend", "fake-works", "--json", pictures)
    assert done.returncode == 2
    assert "error[config.unwritable]" in done.stderr
    assert done.stdout == ""


def test_intervals_that_nobody_asked_for_are_not_called_undetermined(run: Any, bundle: Make, pictures: Path) -> None:
    done = run("evaluate", bundle(), "--data", pictures, "--backend", "fake-works", "--resamples", 0)
    assert done.returncode == 0, done.stderr
    rows = _rows(done.stdout)
    assert rows["accuracy"] == ["0.9000"]
    assert rows["metric"] == ["value"]
    assert "determined" not in done.stdout


def test_of_one_sample_the_table_speaks_as_of_one(run: Any, bundle: Make, pictures: Path) -> None:
    for path in [*(pictures / "dark").iterdir(), *sorted((pictures / "bright").iterdir())[1:]]:
        path.unlink()
    done = run("evaluate", bundle(), "--data", pictures, "--backend", "fake-works")
    assert done.stdout.splitlines()[1] == "1 sample, one folder a label"
    assert "sensitivity: not determined. no sample is" in done.stdout


def test_columns_by_label_stand_as_the_metrics_do_whichever_label_has_which() -> None:
    given = [{"specificity", "f1"}, {"sensitivity", "specificity", "other"}]
    assert in_order(given, ["accuracy", "sensitivity", "specificity", "f1"]) == [
        "sensitivity",
        "specificity",
        "f1",
        "other",
    ]


# --- compare ----------------------------------------------------------------------------------


def test_two_artifacts_of_a_bundle(run: Any, bundle: Make, pictures: Path, tmp_path: Path) -> None:
    path, out = bundle(), tmp_path / "compared.json"
    sides = (f"{path}#fake-fp32", f"{path}#fake-int8")
    evidence = tmp_path / "evidence.json"
    options = ("--json", out, "--evidence", evidence)
    done = run("compare", *sides, "--data", pictures, "--backend", "fake-works", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "A: tiny 1.0.0 on fake-works CPU, fp32 (fake-fp32)"
    rows = _rows(done.stdout)
    assert rows["auc_roc *"][5:] == ["DeLong", "no difference shown"]
    assert rows["accuracy"][5] == "McNemar, exact"
    assert "decided alike: 100.0% of the samples" in done.stdout
    assert done.stdout.splitlines()[-1] == "auc_roc: no difference shown; no spread in these samples."
    body = json.loads(out.read_text())
    assert [body[side]["engine"]["artifact"] for side in "ab"] == ["fake-fp32", "fake-int8"]
    assert body["metrics"]["accuracy"]["p"] == 1.0
    (trial,) = decode_evidence(evidence.read_bytes()).trials
    one, other = trial.models
    assert (one.id, other.id, other.agreement) == ("fake-fp32", "fake-int8", 1.0)
    assert one.figures["accuracy"].value == other.figures["accuracy"].value == 0.9
    assert (other.drops["accuracy"].value, other.drops["accuracy"].better, one.drops) == (0.0, "lower", {})


def test_a_better_model_is_said_to_be_better(run: Any, bundle: Make, pictures: Path, tmp_path: Path) -> None:
    good = open_bundle(bundle(), cache_dir=tmp_path / "unpacked")
    folder = tmp_path / "worse"
    folder.mkdir()
    body = json.loads((good.root / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**body, "weights": [-w for w in body["weights"]], "bias": [2, -2]}))
    worse = tmp_path / "worse.edgeai"
    pack(folder, msgspec.structs.replace(good.manifest, name="worse"), worse)
    done = run("compare", worse, good.root, "--data", pictures, "--backend", "fake-works")
    assert done.returncode == 0, done.stderr
    rows = _rows(done.stdout)
    assert rows["auc_roc *"][-1] == rows["accuracy"][-1] == "B is better"
    assert done.stdout.splitlines()[-1].startswith("auc_roc: B is better, by 0.")
    evidence = tmp_path / "evidence.json"
    options = ("--backend", "fake-works", "--evidence", evidence)
    done = run("compare", good.root, worse, "--data", pictures, *options)
    assert _rows(done.stdout)["auc_roc *"][-1] == "A is better"
    drops = decode_evidence(evidence.read_bytes()).trials[0].models[1].drops
    for name in ("auc_roc", "brier"):  # better high, and better low: a drop is a loss
        assert 0 < (drops[name].low or 0) <= (drops[name].value or 0) <= (drops[name].high or 0)


def test_bundles_of_other_labels_are_not_compared(run: Any, bundle: Make, pictures: Path) -> None:
    other = bundle(task=TaskUse(name="classify", options={"mode": "multi-class", "labels": ["light", "night"]}))
    done = run("compare", bundle(), other, "--data", pictures, "--backend", "fake-works")
    assert done.returncode != 0
    assert "error[data." in done.stderr or "error[evaluate.other-labels]" in done.stderr


def test_only_samples_that_both_are_meant_for(run: Any, bundle: Make, pictures: Path) -> None:
    strict = bundle(eligibility=Eligibility(min_rows=100))
    done = run("compare", bundle(), strict, "--data", pictures, "--backend", "fake-works")
    assert done.returncode == 1
    assert "error[evaluate.none-eligible]" in done.stderr


@pytest.mark.parametrize(
    ("sides", "code"),
    [(("a.keras", "b.keras"), "evaluate.no-bundle"), (("none.edgeai", "b.keras"), "evaluate.no-file")],
)
def test_what_cannot_be_compared(run: Any, pictures: Path, sides: tuple[str, str], code: str) -> None:
    done = run("compare", *sides, "--data", pictures)
    assert done.returncode == 2
    assert f"error[{code}]" in done.stderr
