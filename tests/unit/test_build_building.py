"""``edgeai build``, whole: a first try without a card, then variants, gates that hold and gates that do not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeai.api import Frame, Geometry, InstanceRef, Outcome
from edgeai.bundle.evidence import decode_evidence
from edgeai.bundle.reader import open_bundle
from edgeai.cli.main import run
from edgeai.model import open_model
from edgeai.testing.require import require
from edgeai_workbench.bright import NAME as BRIGHT
from edgeai_workbench.bright import NO_BRIGHT
from edgeai_workbench.card import file_digest, read_card
from edgeai_workbench.convert import ARTIFACTS
from edgeai_workbench.variants import VARIANTS
from edgeai_workbench.workshop import open_workshop

pytestmark = pytest.mark.slow

SIDE, EACH = 16, 24
RECIPES = """
[[recipes]]
converter = "tflite"
precision = "fp32"
ship = false

[[recipes]]
converter = "tflite"
precision = "int8"
variant = "small"

[[variants]]
name = "small"
steps = [{ compressor = "prune-channels", options = { parameters = 0.6, epochs = 2 } }]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained ``stripes.keras``, pictures of two labels, and what a first try built of them."""
    require("tensorflow", _has("tensorflow"), "TensorFlow is not installed")
    require("tflite", _has("ai_edge_litert"), "LiteRT is not installed")
    require("openvino", _has("openvino"), "OpenVINO is not installed")
    root = tmp_path_factory.mktemp("build")
    images, labels = _pictures(root / "pictures")
    _train(root / "stripes.keras", images, labels)
    (root / "labels.txt").write_text("lying\nstanding\n")
    command = ["build", str(root / "stripes.keras"), "--labels", str(root / "labels.txt")]
    assert run([*command, "--calibration", str(root / "pictures"), "--out", str(root / "dist")]) == 0
    return root


@pytest.fixture(autouse=True)
def _unillustrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test builds has no pictures, which are a third of a build: the first try has them."""
    monkeypatch.setattr("edgeai_workbench.telling.pictures_of", lambda *_: [])


def _has(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def _pictures(folder: Path, each: int = EACH) -> tuple[Any, Any]:
    """Lying and standing stripes of random phase and strength, with noise."""
    random = np.random.default_rng(3)
    images, labels = [], []
    for label in (0, 1):
        (folder / ("lying", "standing")[label]).mkdir(parents=True)
        for number in range(each):
            wave = np.sin(np.arange(SIDE) * random.uniform(0.6, 1.2) + random.uniform(0, 6))
            plane = np.tile(wave, (SIDE, 1)) if label else np.tile(wave[:, None], (1, SIDE))
            plane = plane * random.uniform(0.4, 1.0) + random.normal(0, 0.4, plane.shape)
            picture = np.clip((plane + 2) * 64, 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(folder / ("lying", "standing")[label] / f"{number:02}.png")
            images.append(picture)
            labels.append(label)
    return np.array(images), np.array(labels)


def test_what_its_native_libraries_print_is_not_told(
    made: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """TensorFlow greets, LiteRT says which delegate it made, and a converter dumps what it cannot convert."""
    import subprocess
    import sys

    command = [sys.executable, "-m", "edgeai", "compare", str(made / "dist" / "stripes-0.1.0.edgeai")]
    command += [str(made / "stripes.keras"), "--data", str(made / "pictures"), "--resamples", "100"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    assert "100.0% of the samples" in done.stdout
    lines = [line for line in done.stderr.splitlines() if not line.lstrip()[:1].isdigit()]
    assert lines == []


def _constant(path: Path) -> Path:
    """A network that answers the same to every picture."""
    import keras

    model = keras.saving.load_model(path)
    model.get_layer("logits").kernel.assign(np.zeros(model.get_layer("logits").kernel.shape))
    model.save(path.with_name("constant.keras"))
    return path.with_name("constant.keras")


def test_what_answers_the_same_to_everything_never_ships(
    made: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["build", str(_constant(made / "stripes.keras")), "--calibration", str(made / "pictures")]
    assert run([*command, "--out", str(tmp_path)]) == 3
    printed = capfd.readouterr().err
    assert "error[gate.constant]" in printed
    assert "--values" in printed
    assert not list(tmp_path.glob("*.edgeai"))
    assert run(["pack", str(tmp_path / "constant"), "--out", str(tmp_path)]) == 3
    assert not list(tmp_path.glob("*.edgeai"))


def _train(path: Path, images: Any, labels: Any) -> None:
    import keras

    keras.utils.set_random_seed(5)
    image = keras.Input((SIDE, SIDE, 1), name="image")
    x = keras.layers.Conv2D(8, 3, activation="relu")(image)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(2, name="logits")(x))
    model.compile(keras.optimizers.Adam(0.02), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    low, high = np.percentile(images, (1, 99), axis=(1, 2), keepdims=True)
    model.fit(np.clip((images - low) / (high - low), 0, 1)[..., None], labels, epochs=25, batch_size=8, verbose=0)
    model.save(path)


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """The card's folder of the first try, to be changed."""
    shutil.copytree(made / "dist" / "stripes", tmp_path / "stripes")
    return tmp_path / "stripes"


@pytest.fixture
def build(made: Path, tmp_path: Path) -> Callable[..., int]:
    def command(folder: Path, *more: str) -> int:
        return run(["build", str(folder), "--data", str(made / "pictures"), "--out", str(tmp_path / "dist"), *more])

    return command


@pytest.fixture(scope="module")
def of_pictures(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The card's folder with its variant and its artifacts, which these pictures calibrated."""
    root = tmp_path_factory.mktemp("of-pictures")
    shutil.copytree(made / "dist" / "stripes", root / "stripes")
    _recipes(root / "stripes")
    assert run(["build", str(root / "stripes"), "--data", str(made / "pictures"), "--out", str(root / "dist")]) == 0
    return root / "stripes"


@pytest.fixture(scope="module")
def of_splits(made: Path, of_pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, calibrated by the training samples of ``SPLITS``."""
    root = tmp_path_factory.mktemp("of-splits")
    shutil.copytree(made / "dist" / "stripes", root / "stripes")
    shutil.copytree(of_pictures / VARIANTS, root / "stripes" / VARIANTS)
    assert run(_split(made, root / "stripes", root / "data")) == 0
    return root / "stripes"


def _take_over(folder: Path, kept: Path) -> None:
    for part in (VARIANTS, ARTIFACTS):
        shutil.copytree(kept / part, folder / part, dirs_exist_ok=True)


@pytest.fixture
def small(folder: Path, of_pictures: Path) -> None:
    """What the recipes ask for is there, as an earlier build left it; each test measures, judges and packs anew."""
    _take_over(folder, of_pictures)


@pytest.fixture
def small_of_splits(folder: Path, of_splits: Path) -> None:
    """The same where the data are ``_split``."""
    _take_over(folder, of_splits)


def _recipes(folder: Path, *, gates: str = "") -> None:
    """Give the card other recipes, and gates."""
    path = folder / "model.toml"
    text = path.read_text()
    before, rest = text.split("[[recipes]]", 1)
    path.write_text(before + RECIPES + "\n[[data]]" + rest.split("[[data]]", 1)[1] + gates)


def test_a_first_try_ends_with_a_bundle_that_runs_and_a_card_to_go_on_from(made: Path, tmp_path: Path) -> None:
    card = read_card(made / "dist" / "stripes")
    assert [recipe.precision for recipe in card.shipped].count("int8") == 2
    with open_model(made / "dist" / "stripes-0.1.0.edgeai", cache_dir=tmp_path, backends=["tflite"]) as model:
        assert model.rehearse()
        assert model.bundle.manifest.task.options["labels"] == ["lying", "standing"]
    assert (made / "dist" / "stripes" / "report.html").stat().st_size > 50_000


def _abstaining(folder: Path, risk: float) -> None:
    path = folder / "model.toml"
    bounds = "\n[gates]\nceilings = { abstained = 1.0 }\n"
    path.write_text(path.read_text() + f"\n[guard.abstention]\nrisk = {risk}\n{bounds}")


def test_a_build_fits_by_what_it_abstains_and_holds_and_tells_it(
    folder: Path, build: Callable[..., int], made: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of sixteen pictures of validation, each a unit: the quantile is the 16th of 17 parts."""
    _abstaining(folder, 0.1)
    assert build(folder) == 0
    fitted = json.loads((folder / "abstention.json").read_text())
    assert (fitted["risk"], fitted["samples"], fitted["units"]) == (0.1, 16, 16)
    assert set(fitted["artifacts"]) == {recipe.id for recipe in read_card(folder).shipped}
    bundle = next((tmp_path / "dist").glob("*.edgeai"))
    with open_model(bundle, cache_dir=tmp_path / "cache", backends=["tflite"]) as model:
        guard = model.bundle.manifest.guard
        assert guard is not None
        assert guard.abstention is not None
        assert (guard.abstention.quantile, guard.abstention.method) == (fitted["quantile"], "split-conformal")
        assert "abstention.json" in model.bundle.manifest.files
    text = (folder / "REPORT.md").read_text()
    assert "only where one answer alone is left at a risk of 0.1" in text
    assert "among the answers that are left of" in text
    assert "ceilings.abstained" in text
    evidence = decode_evidence((folder / "evidence.json").read_bytes())
    shipped = [row for row in evidence.trials[0].models if row.ship]
    assert {"abstained", "set_coverage"} <= set(shipped[0].figures)
    assert shipped[0].figures["set_coverage"].value >= 0.875  # 15 of 16, but for another artifact's larger quantile
    assert "the quantiles by which what ships abstains" in evidence.trials[0].chosen
    capfd.readouterr()
    assert run(["evaluate", str(bundle), "--data", str(made / "pictures"), "--resamples", "100"]) == 0
    assert "abstained" in capfd.readouterr().out
    body = (folder / "abstention.json").read_bytes()
    (folder / "abstention.json").unlink()
    assert run(["pack", str(folder), "--out", str(tmp_path / "again")]) == 2
    assert "build.abstention" in capfd.readouterr().err
    (folder / "abstention.json").write_bytes(body)
    assert run(["pack", str(folder), "--out", str(tmp_path / "again")]) == 0
    assert next((tmp_path / "again").glob("*.edgeai")).read_bytes() == bundle.read_bytes()


def test_a_risk_that_takes_more_units_than_there_are_is_refused_with_how_many(
    folder: Path, build: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _abstaining(folder, 0.05)
    assert build(folder) == 2
    told = capfd.readouterr().err
    assert "error[data.abstention-few]" in told
    assert "validation has 16 units, and a risk of 0.05 takes 19 at least" in told
    assert not list(tmp_path.glob("dist/*.edgeai"))


def test_the_report_holds_every_artifact_with_its_interval(made: Path) -> None:
    text = (made / "dist" / "stripes" / "REPORT.md").read_text()
    for name in ("parent", "tflite-fp32", "tflite-dynamic", "tflite-int8", "openvino-fp16", "openvino-int8"):
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}`"))
        assert " to " in row
    assert "16 validation samples" in text


@pytest.mark.parametrize("content", [None, b"PK no model"])
def test_a_model_that_is_missing_or_damaged_is_said_before_what_else_is_missing(
    tmp_path: Path, content: bytes | None, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.keras"
    if content is not None:
        path.write_bytes(content)
    assert run(["build", str(path), "--out", str(tmp_path / "dist")]) in (1, 2)
    printed = capfd.readouterr().err
    assert ("error[build.no-model]" in printed) == (content is None)
    assert ("error[" in printed, "--calibration" in printed) == (True, False)


def test_a_first_try_after_the_card_was_changed_does_not_overwrite_it(
    made: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _recipes(folder)
    changed = (folder / "model.toml").read_text()
    command = ["build", str(made / "stripes.keras"), "--calibration", str(made / "pictures")]
    assert run([*command, "--out", str(folder.parent)]) == 2
    assert "build.first-try" in capfd.readouterr().err
    assert (folder / "model.toml").read_text() == changed


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "--calibration"),
        (["--calibration", "nowhere"], "data.file-missing"),
        (["--calibration", "PICTURES", "--mode", "binary"], "--mode multi-class"),
        (["--calibration", "PICTURES", "--labels", "THREE"], "has 3 labels, the output logits wants 2"),
    ],
)
def test_what_is_missing_for_a_first_try_is_said(
    made: Path, tmp_path: Path, options: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    three = tmp_path / "three.txt"
    three.write_text("a\nb\nc\n")
    words = {"PICTURES": str(made / "pictures"), "THREE": str(three)}
    given = [words.get(option, option) for option in options]
    assert run(["build", str(made / "stripes.keras"), "--out", str(tmp_path / "dist"), *given]) == 2
    assert says in capfd.readouterr().err
    assert not (tmp_path / "dist" / "stripes").exists()


def test_a_variant_is_smaller_is_kept_and_packs_to_the_same_bytes_without_data(
    folder: Path, build: Callable[..., int], tmp_path: Path
) -> None:
    _recipes(folder, gates="\n[gates]\nmax_size_ratio = 0.9\n")
    assert build(folder) == 0
    note = json.loads((folder / VARIANTS / "small" / "variant.json").read_text())
    assert note["facts"]["parameters"] < 0.6 * note["facts"]["parameters_before"] + 1
    first = (tmp_path / "dist" / "stripes-0.1.0.edgeai").read_bytes()
    assert b"small-tflite-int8" in first
    assert run(["pack", str(folder), "--out", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "stripes-0.1.0.edgeai").read_bytes() == first
    for more in ((), ("--rebuild",)):  # with what is there, and with everything made anew
        assert build(folder, *more) == 0
        assert (tmp_path / "dist" / "stripes-0.1.0.edgeai").read_bytes() == first


WATCHED = """
[[recipes]]
converter = "tflite"
precision = "int8"
variant = "watched"

[[variants]]
name = "watched"
steps = [{ compressor = "watch" }]

[guard]
content = false
distance = { true_accept = 0.9 }
"""


def test_a_card_with_a_distance_ships_what_withholds_what_is_unlike_its_training(
    folder: Path, made: Path, build: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = folder / "model.toml"
    text = path.read_text()
    before, rest = text.split("[[recipes]]", 1)
    path.write_text(before + WATCHED + "\n[[data]]" + rest.split("[[data]]", 1)[1] + "\n[gates]\nmax_withheld = 0.9\n")
    assert build(folder) == 0
    bundle = tmp_path / "dist" / "stripes-0.1.0.edgeai"
    with open_model(bundle, cache_dir=tmp_path / "cache", backends=["tflite"]) as model:
        assert [spec.name for spec in model.bundle.manifest.output_specs()] == ["logits", "features"]
        assert [spec.name for spec in model.bundle.manifest.task_outputs()] == ["logits"]
        assert model.rehearse()
        proper = [model.run(*_framed(image)) for image in _pictures(tmp_path / "more")[0]]
        noise = np.random.default_rng(2).integers(0, 256, (8, SIDE, SIDE)).astype(np.uint8)
        wrong = [model.run(*_framed(image)) for image in noise]
    passed = [sum(result.outcome is Outcome.COMPLETED for result in each) / len(each) for each in (proper, wrong)]
    assert passed[0] > 0.7
    assert passed[1] < passed[0]
    assert {result.reason.code for result in wrong if result.reason} == {"guard.distance"}
    report = (folder / "REPORT.md").read_text()
    assert "by a bound that lets 90% of proper ones pass" in report
    assert "max_withheld" in report
    evidence = tmp_path / "evidence.json"
    words = ["evaluate", str(bundle), "--data", str(made / "pictures"), "-b", "tflite", "--resamples", "0"]
    assert run([*words, "--evidence", str(evidence)]) == 0
    withheld = json.loads(evidence.read_text())["trials"][0]["withheld"]
    assert withheld is not None, "evaluate asks the bundle's distance"
    assert set(withheld) <= {"guard.distance"}
    # A converter that asks for the main metric, since it keeps layers in float (`max_drop`), has the features too.
    samples = open_workshop(read_card(folder), folder, made / "pictures").samples()
    assert samples is not None
    assert samples.score is not None
    features = np.zeros((1, 4), np.float32)
    assert samples.score(lambda _: {"logits": np.zeros((1, 2), np.float32), "features": features}) == pytest.approx(0.5)
    # The same without data; and nothing that was fitted to something else.
    first = bundle.read_bytes()
    assert run(["pack", str(folder), "--out", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "stripes-0.1.0.edgeai").read_bytes() == first
    (folder / "distance.npz").write_bytes(b"")
    assert run(["pack", str(folder), "--out", str(tmp_path / "again")]) == 2
    assert "build.distance-missing" in capfd.readouterr().err
    path.write_text(path.read_text().replace("max_withheld = 0.9", "max_withheld = 0.001"))
    assert build(folder) == 3
    assert "max_withheld" in capfd.readouterr().err
    path.write_text(path.read_text().replace("distance = { true_accept = 0.9 }", ""))
    assert build(folder) == 2
    assert "build.outputs" in capfd.readouterr().err


def _framed(pixels: Any) -> Any:
    instance = InstanceRef(
        sop_class_uid="1.2",
        sop_instance_uid="2.25.1",
        rows=SIDE,
        columns=SIDE,
        photometric_interpretation="MONOCHROME2",
        bits_stored=8,
    )
    geometry = Geometry(source_rows=SIDE, source_columns=SIDE)
    return [Frame(pixels=pixels, number=1, geometry=geometry, instance=instance)], instance


@pytest.mark.usefixtures("small")
def test_golden_answers_of_a_bundle_are_its_own_variants(
    folder: Path, build: Callable[..., int], tmp_path: Path
) -> None:
    _recipes(folder)
    assert build(folder) == 0
    bundle = open_bundle(tmp_path / "dist" / "stripes-0.1.0.edgeai", cache_dir=tmp_path / "cache")
    case = bundle.manifest.golden[0]
    shipped = np.load(bundle.path(case.outputs["logits"]))
    parents = np.load(folder / "golden" / case.id / "outputs" / "logits.npy")
    assert not np.array_equal(shipped, parents)


@pytest.mark.usefixtures("small")
def test_a_bright_golden_case_joins_those_that_the_card_and_its_variants_have(
    folder: Path, build: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _recipes(folder)
    assert build(folder) == 0
    made = folder / "variants" / "small"
    for part in (folder / "golden" / BRIGHT, made / "answers" / BRIGHT):  # as an edgeai without such a case left them
        shutil.rmtree(part)
    before = (made / "model.keras").stat().st_mtime_ns
    capfd.readouterr()
    assert run(["pack", str(folder), "--out", str(tmp_path / "as-it-was")]) == 0
    assert NO_BRIGHT in " ".join(capfd.readouterr().err.split())
    assert build(folder) == 0
    assert NO_BRIGHT not in " ".join(capfd.readouterr().err.split())
    assert (made / "model.keras").stat().st_mtime_ns == before
    bundle = open_bundle(tmp_path / "dist" / "stripes-0.1.0.edgeai", cache_dir=tmp_path / "cache")
    case = next(case for case in bundle.manifest.golden if case.id == BRIGHT)
    assert np.mean(np.load(bundle.path(case.inputs["image"])) > 0.98) > 0.5
    with open_model(bundle) as model:
        assert BRIGHT in [answer.case for answer in model.rehearse()]


@pytest.mark.usefixtures("small")
def test_a_gate_that_fails_leaves_a_report_and_no_bundle(
    folder: Path, build: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _recipes(folder, gates="\n[gates]\nfloors = { auc_roc = 1.01 }\n")
    assert build(folder) == 3
    printed = capfd.readouterr()
    assert "error[gate.failed]" in printed.err
    assert "small-tflite-int8: floors.auc_roc" in printed.err
    assert "FAIL floors.auc_roc" in printed.out
    assert "There is no bundle" in (folder / "REPORT.md").read_text()
    assert not list((tmp_path / "dist").glob("*.edgeai"))
    assert run(["pack", str(folder), "--out", str(tmp_path / "dist")]) == 3
    assert not list((tmp_path / "dist").glob("*.edgeai"))


def test_gates_that_nobody_judged_cannot_be_packed(folder: Path, tmp_path: Path) -> None:
    path = folder / "model.toml"
    path.write_text(path.read_text() + "\n[gates]\nmin_agreement = 0.5\n")
    assert run(["pack", str(folder), "--out", str(tmp_path / "dist")]) == 3


def test_a_variant_that_is_not_there_needs_data(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _recipes(folder)
    assert run(["pack", str(folder)]) == 2
    assert "build.variant-missing" in capfd.readouterr().err


@pytest.mark.usefixtures("small_of_splits")
def test_a_variant_that_was_changed_is_refused(
    folder: Path, build: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    _recipes(folder)
    assert build(folder) == 0
    shutil.copyfile(folder / "stripes.keras", folder / VARIANTS / "small" / "model.keras")
    assert build(folder) == 1
    assert "compress.changed" in capfd.readouterr().err


# --- a test ----------------------------------------------------------------------------------------

PASSING = """\
[gates]
min_agreement = 0.1
max_size_ratio = 0.9
max_drop_own = { auc_roc = 1.0 }
worst_floors = { auc_roc = 0.0 }
"""
DECIDING = """\
[gates]
floors = { "sensitivity@specificity=0.9" = 0.0 }
shown_floors = { specificity = 0.0 }
shown_ceilings = { ece = 1.0, brier = 2.0 }
[gates.decision]
margins = { sensitivity = MARGIN, specificity = 0.99 }
why = "The pictures are stripes, and nobody acts on what they are called."
"""
SPLITS = {"train": range(14), "validation": range(14, 19), "test": range(19, 24)}


def _split(made: Path, folder: Path, root: Path, *, turned: bool = False, gates: str = "") -> list[str]:
    """Give the card tables, with a test (whose labels are turned round, perhaps); the command that builds it."""
    labels = ("lying", "standing")
    shutil.copytree(made / "pictures", root)
    tables = []
    for name, numbers in SPLITS.items():
        swap = turned and name == "test"
        rows = [
            f"{a}/{n:02}.png,{b}"
            for a, b in zip(labels, labels[::-1] if swap else labels, strict=True)
            for n in numbers
        ]
        (root / f"{name}.csv").write_text("\n".join(["file,what", *rows]) + "\n")
        tables.append(f'[dataset.{name}]\ntable = "{name}.csv"\nimage = "file"\nlabel = "what"\n')
    _recipes(folder, gates="\n" + "\n".join([*tables, gates]))
    return ["build", str(folder), "--data", str(root), "--out", str(folder.parent / "dist")]


@pytest.mark.usefixtures("small_of_splits")
def test_the_test_confirms_what_validation_chose_and_the_look_is_in_the_bundle(
    made: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = _split(made, folder, tmp_path / "data", gates=PASSING)
    assert run(command) == 0
    # What times are held against does not ship, so the test does not ask it: they are those of validation.
    assert capfd.readouterr().out.count("times against tflite-fp32; * ships") == 2
    before, tested = decode_evidence((folder / "evidence.json").read_bytes()).trials
    times = {model.id: model.time for model in before.models}
    assert {model.id: model.time for model in tested.models}.items() <= times.items()
    assert tested.reference == "tflite-fp32"
    text = (folder / "REPORT.md").read_text()
    confirmed = text.partition("## Confirmed on the test")[2].partition("\n## ")[0]
    assert "10 samples, opened 20" in confirmed
    assert "`small-tflite-int8`" in confirmed
    assert "`tflite-fp32`" not in confirmed  # it does not ship: nothing is asked of it
    assert "opened for the first time" in text
    (opening,) = json.loads((folder / "openings.json").read_text())["openings"]
    assert opening["model"] == read_card(folder).model_digest
    assert set(opening["artifacts"]) == {"small-tflite-int8"}
    path = tmp_path / "dist" / "stripes-0.1.0.edgeai"
    bundle = open_bundle(path, cache_dir=tmp_path / "cache")
    assert (bundle.root / "openings.json").read_bytes() == (folder / "openings.json").read_bytes()
    evidence = decode_evidence((bundle.root / "evidence.json").read_bytes())
    assert [(trial.split, trial.role, trial.samples) for trial in evidence.trials] == [
        ("validation", "chose", 10),
        ("test", "confirmed", 10),
    ]
    assert [(look.data, look.artifacts) for look in evidence.openings] == [(opening["data"], opening["artifacts"])]
    shipped = evidence.trials[1].models[-1]
    assert {shipped.id: shipped.digest} == opening["artifacts"]
    operations = [step.operations for step in shipped.steps]
    assert [step.name for step in shipped.steps] == ["parent", "prune-channels", "to small-tflite-int8"]
    assert operations[1] is not None
    assert operations[0] > operations[1] == operations[2]
    parts = json.loads((bundle.root / "sbom.cdx.json").read_text())["components"]
    cards = {part["name"]: part["modelCard"] for part in parts if "modelCard" in part}
    figures = cards["stripes/small-tflite-int8"]["quantitativeAnalysis"]["performanceMetrics"]
    assert {figure["slice"] for figure in figures} == {"validation", "test"}
    capfd.readouterr()
    assert run(["inspect", str(path)]) == 0
    assert "test, which confirmed: 10 samples" in capfd.readouterr().out
    first = path.read_bytes()
    assert run(command) == 0  # a build that repeats another looks at nothing new
    assert path.read_bytes() == first
    verdicts = json.loads((folder / "verdicts.json").read_text())["verdicts"]["small-tflite-int8"]
    assert sorted(verdict["gate"] for verdict in verdicts) == [
        "max_drop_own.auc_roc",
        "max_size_ratio",
        "min_agreement",
        "worst_floors.auc_roc (all)",
    ]


@pytest.mark.usefixtures("small_of_splits")
def test_a_decision_that_so_few_can_show_is_judged_reported_and_packed(
    made: Path, folder: Path, tmp_path: Path
) -> None:
    assert run(_split(made, folder, tmp_path / "data", gates=DECIDING.replace("MARGIN", "0.9"))) == 0
    verdicts = json.loads((folder / "verdicts.json").read_text())["verdicts"]["small-tflite-int8"]
    assert {verdict["gate"] for verdict in verdicts} == {
        "floors.sensitivity@specificity=0.9",
        "shown_floors.specificity",
        "shown_ceilings.ece",
        "shown_ceilings.brier",
        "decision.sensitivity",
        "decision.specificity",
    }
    text = (folder / "REPORT.md").read_text()
    assert "nobody acts on what they are called" in text
    assert "sensitivity@specificity=0.9 |" in text
    assert run(["pack", str(folder), "--out", str(tmp_path / "dist")]) == 0


@pytest.mark.usefixtures("small_of_splits")
def test_a_decision_that_five_samples_cannot_show_says_how_many_could(
    made: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(_split(made, folder, tmp_path / "data", gates=DECIDING.replace("MARGIN", "0.02"))) == 3
    printed = " ".join(capfd.readouterr().err.split())
    assert "decision.sensitivity" in printed
    assert "of 5 samples: even where both decide all of them alike, at least 189 are needed" in printed
    assert not (folder / "openings.json").exists()
    assert not list((tmp_path / "dist").glob("*.edgeai"))


CHOICE = """\
[choice]
on = "validation"
options = { temperature = true }
"""


def _ship_the_parent(folder: Path) -> None:
    """The variant is compared alone, so that it is the parent's turn to choose."""
    card = (folder / "model.toml").read_text()
    card = card.replace('precision = "fp32"\nship = false', 'precision = "fp32"')
    (folder / "model.toml").write_text(card.replace('variant = "small"', 'variant = "small"\nship = false'))


@pytest.mark.usefixtures("small_of_splits")
def test_a_temperature_that_validation_chose_is_in_the_bundle_with_what_chose_it(
    made: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(SPLITS, "train", range(8))
    monkeypatch.setitem(SPLITS, "validation", range(8, 19))
    command = _split(made, folder, tmp_path / "data", gates=CHOICE)
    _ship_the_parent(folder)
    assert run(command) == 2
    assert "error[build.choice]" in capfd.readouterr().err
    chosen = ["train", str(folder), "--data", str(tmp_path / "data"), "--choose"]
    assert run(chosen) == 0
    assert "Chosen on validation (22 samples of 22 groups): temperature" in capfd.readouterr().out
    assert run(command) == 0
    bundle = open_bundle(tmp_path / "dist" / "stripes-0.1.0.edgeai", cache_dir=tmp_path / "cache")
    assert (bundle.root / "choice.json").read_bytes() == (folder / "choice.json").read_bytes()
    temperature = json.loads((bundle.root / "choice.json").read_text())["chosen"]["temperature"]
    assert bundle.manifest.task.options["temperature"] == temperature != 1.0
    table = tmp_path / "data" / "validation.csv"  # other samples than those that chose
    table.write_text(table.read_text().replace("lying/18.png,lying\n", ""))
    assert run(command) == 2
    assert "chosen on other samples" in " ".join(capfd.readouterr().err.split())


def test_few_validation_samples_choose_nothing(
    made: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _split(made, folder, tmp_path / "data", gates=CHOICE)
    _ship_the_parent(folder)
    before = (folder / "model.toml").read_text()
    assert run(["train", str(folder), "--data", str(tmp_path / "data"), "--choose"]) != 0
    assert "error[data.fold-few]" in capfd.readouterr().err
    assert (folder / "model.toml").read_text() == before
    assert not (folder / "choice.json").exists()


@pytest.mark.usefixtures("small_of_splits")
def test_what_holds_on_validation_and_not_on_the_test_does_not_ship(
    made: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gates = "[gates]\nfloors = { auc_roc = 0.55 }\n"
    assert run(_split(made, folder, tmp_path / "data", turned=True, gates=gates)) == 3
    assert "error[gate.failed]" in capfd.readouterr().err
    assert "There is no bundle" in (folder / "REPORT.md").read_text()
    assert len(json.loads((folder / "openings.json").read_text())["openings"]) == 1  # the look was taken
    assert run(["pack", str(folder), "--out", str(tmp_path / "dist")]) == 3
    assert not list((tmp_path / "dist").glob("*.edgeai"))


@pytest.mark.usefixtures("small")
def test_what_training_saw_is_counted_in_validation(
    made: Path, folder: Path, build: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made / "pictures", tmp_path / "pictures")
    lying = tmp_path / "pictures" / "lying"
    with Image.open(lying / "01.png") as image:  # of three, the third is for validation
        image.resize((2 * SIDE, 2 * SIDE), Image.Resampling.NEAREST).save(lying / "02.png")
    _recipes(folder)
    assert build(folder, "--data", str(tmp_path / "pictures")) == 0
    printed = capfd.readouterr().out
    assert "nearly images of train are 1 of the 16 samples of validation, and figures are better for it: " in printed
    assert "lying/01.png is lying/02.png" in printed
    assert "1 of the 16 samples of validation is an image of train" in (folder / "REPORT.md").read_text()
    bundle = open_bundle(next((tmp_path / "dist").glob("*.edgeai")), cache_dir=tmp_path / "cache")
    assert decode_evidence((bundle.root / "evidence.json").read_bytes()).trials[0].near == 1
    own = (made / "dist" / "stripes" / "evidence.json").read_bytes()
    assert decode_evidence(own).trials[0].near == 0


@pytest.mark.usefixtures("small_of_splits")
def test_what_validation_refuses_never_opens_the_test(made: Path, folder: Path, tmp_path: Path) -> None:
    assert run(_split(made, folder, tmp_path / "data", gates="[gates]\nfloors = { auc_roc = 1.01 }\n")) == 3
    assert not (folder / "openings.json").exists()


@pytest.mark.usefixtures("small_of_splits")
def test_a_model_that_had_its_looks_is_not_confirmed_again(
    made: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = _split(made, folder, tmp_path / "data", gates="[gates]\nmin_agreement = 0.1\n")
    assert run(command) == 0
    body = json.loads((folder / "openings.json").read_text())
    (opening,) = body["openings"]
    body["openings"] = [{**opening, "artifacts": {"small-tflite-int8": f"sha256:{n}"}, "before": n} for n in range(3)]
    (folder / "openings.json").write_text(json.dumps(body))
    shutil.rmtree(tmp_path / "dist")
    assert "There is a bundle" in (folder / "REPORT.md").read_text()
    assert run(command) == 3
    assert "error[gate.test-opened]" in capfd.readouterr().err
    assert not list((tmp_path / "dist").glob("*.edgeai"))
    for name in ("REPORT.md", "report.html", "bundle-report.md"):
        text = (folder / name).read_text()
        assert "There is no bundle: the test was opened 3 times for this model" in text
        assert "Confirmed on the test" not in text
    evidence = decode_evidence((folder / "evidence.json").read_bytes())
    assert [trial.split for trial in evidence.trials] == ["validation"]
    assert run(["pack", str(folder), "--out", str(tmp_path / "dist")]) == 3, "what was not confirmed does not ship"
    assert not list((tmp_path / "dist").glob("*.edgeai"))


@pytest.mark.usefixtures("small_of_splits")
def test_a_build_that_breaks_off_leaves_no_report_of_an_earlier_one(
    made: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = _split(made, folder, tmp_path / "data", gates="[gates]\nmin_agreement = 0.1\n")
    assert run(command) == 0
    card = folder / "model.toml"
    card.write_text(card.read_text() + "floors = { no_such_metric = 0.5 }\n")
    assert run(command) == 2
    assert "config.card-metric-unknown" in capfd.readouterr().err
    for name in ("REPORT.md", "report.html", "bundle-report.md", "evidence.json", "bundle-evidence.json"):
        assert not (folder / name).exists(), name


@pytest.mark.usefixtures("small_of_splits")
def test_a_bundle_that_is_too_large_is_none_in_the_report(
    made: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = _split(made, folder, tmp_path / "data", gates="[gates]\nmin_agreement = 0.1\nmax_bundle_bytes = 1000\n")
    assert run(command) == 3
    assert "gate.too-large" in capfd.readouterr().err
    text = (folder / "REPORT.md").read_text()
    assert "There is no bundle: stripes-0.1.0.edgeai has " in text
    assert "There is a bundle" not in text
    assert "## Confirmed on the test" in text


@pytest.mark.parametrize(
    ("gates", "says"),
    [
        (
            "floors = { auc_roc = 0.1 }\nmax_drop_own = { auc_roc = 1.0 }\nshown_floors = { specificity = 0.0 }",
            (
                " floors.auc_roc: all samples are of one class",
                " max_drop_own.auc_roc: all samples are of one class",
                " shown_floors.specificity: specificity: no sample is negative",
            ),
        ),
        ('floors = { "sensitivity@specificity=0.9" = 0.0 }', ("sensitivity@specificity=0.9: all samples are of one",)),
    ],
)
@pytest.mark.usefixtures("small_of_splits")
def test_a_test_of_one_class_is_said_before_it_is_opened(
    made: Path, folder: Path, tmp_path: Path, gates: str, says: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    command = _split(made, folder, tmp_path / "data", gates=f"[gates]\n{gates}\n")
    table = tmp_path / "data" / "test.csv"
    table.write_text("\n".join(line for line in table.read_text().splitlines() if "lying" not in line) + "\n")
    assert run(command) == 3
    printed = " ".join(capfd.readouterr().err.split())
    assert "error[gate.test-undetermined]" in printed
    assert [words for words in says if words not in printed] == []
    assert not (folder / "openings.json").exists()
    assert "There is no bundle: the test was not opened" in (folder / "REPORT.md").read_text()


@pytest.mark.usefixtures("small_of_splits")
def test_a_test_of_one_class_confirms_what_it_can(made: Path, folder: Path, tmp_path: Path) -> None:
    command = _split(made, folder, tmp_path / "data", gates="[gates]\nmin_agreement = 0.1\n")
    table = tmp_path / "data" / "test.csv"
    table.write_text("\n".join(line for line in table.read_text().splitlines() if "lying" not in line) + "\n")
    assert run(command) == 0
    assert len(json.loads((folder / "openings.json").read_text())["openings"]) == 1


# --- odd images -------------------------------------------------------------------------------------

ODD = """\
[robustness]
rows = ["inverted", "rotated-90"]
samples = 8
hospitals = 2
min_right = { rotated-90 = 0.0 }

[stress]
samples = 3
min_withheld = { drawn = 1.0 }

[guard]
content = false  # some of these stripes are noise to it
"""


@pytest.mark.usefixtures("small_of_splits")
def test_a_bound_on_odd_images_is_a_gate_held_on_the_test(
    made: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Stripes that are turned have another label: no model can be right, and what would ship does not."""
    command = _split(made, folder, tmp_path / "data", gates=PASSING + ODD.replace("= 0.0", "= 0.9"))
    assert run(command) == 3
    printed = capfd.readouterr().err
    assert "small-tflite-int8: min_right.rotated-90: " in printed
    assert "min_withheld.constant: 0, to be at least 1" in printed  # nothing looks at what reaches it
    assert not list((tmp_path / "dist").glob("*.edgeai"))
    assert run(["pack", str(folder), "--out", str(tmp_path / "dist")]) == 3
    card = folder / "model.toml"
    card.write_text(
        card.read_text().replace("rotated-90 = 0.9", "rotated-90 = 0.0").replace("drawn = 1.0", "inverted = 0.0")
    )
    capfd.readouterr()
    assert run(["pack", str(folder), "--out", str(tmp_path / "dist")]) == 3  # nobody judged by this bound
    assert "gate.not-judged" in capfd.readouterr().err
    assert run(command) == 0
    printed = capfd.readouterr().out
    assert "Odd images: 8 of 10 images of the test" in printed
    assert "What is withheld of wrong images, up to 3 of a kind" in printed
    rows = [line.split() for line in printed.splitlines() if line.startswith(("rotated-90 ", "inverted "))]
    assert [row[1] for row in rows if not row[1].isdigit()] == ["parent", "small-tflite-int8"] * 2
    assert [row[:2] for row in rows if row[1].isdigit()] == [["inverted", "3"]]
    assert "How far other data may differ" in printed
    report = (folder / "REPORT.md").read_text()
    assert "## Odd images" in report
    assert "## How far other data may differ" in report
    evidence = json.loads((folder / "evidence.json").read_text())
    assert [row["kind"] for row in evidence["robustness"]["rows"]][::2] == ["plain", "inverted", "rotated-90"]
    assert {row["model"] for row in evidence["stress"]["rows"]} == {"small-tflite-int8"}
    assert evidence["stress"] == json.loads((folder / "bundle-evidence.json").read_text())["stress"]
    assert "## Wrong images" in report
    assert list((tmp_path / "dist").glob("*.edgeai"))


@pytest.mark.usefixtures("small")
def test_what_ships_chooses_its_own_temperature(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _recipes(folder, gates='\n[choice]\non = "validation"\noptions = { temperature = true }\n')
    _pictures(tmp_path / "more", 36)
    build = ["build", str(folder), "--data", str(tmp_path / "more"), "--out", str(tmp_path / "dist")]
    assert run(["pack", str(folder), "--out", str(tmp_path / "dist")]) == 2
    assert "edgeai build" in capfd.readouterr().err  # nobody chose yet, and training could not
    assert run(build) == 0
    chosen = json.loads((folder / "choice.json").read_text())
    assert (chosen["variant"], chosen["model"]) == ("small", file_digest(folder / VARIANTS / "small" / "model.keras"))
    temperature = read_card(folder).task.options["temperature"]
    assert chosen["chosen"] == {"temperature": temperature}
    with open_model(tmp_path / "dist" / "stripes-0.1.0.edgeai", cache_dir=tmp_path, backends=["tflite"]) as model:
        assert model.bundle.manifest.task.options["temperature"] == temperature
    card = (folder / "model.toml").read_text()
    (folder / "model.toml").write_text(card.replace(f"temperature = {temperature}", "temperature = 3.0"))
    assert run(["pack", str(folder), "--out", str(tmp_path / "dist")]) == 2
    assert run(build) == 0  # which chooses again, and finds the same
    assert read_card(folder).task.options["temperature"] == temperature
    assert run(["train", str(folder), "--data", str(tmp_path / "more"), "--choose"]) == 2
    assert "small ships" in capfd.readouterr().err
