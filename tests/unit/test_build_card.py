"""The card: what is read, and that every mistake is named with its line."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from edgeai.api import ConfigError
from edgeai.bundle.manifest import Tolerance
from edgeai.bundle.uses import GuardUse
from edgeai_workbench.card import Card, Recipe, check_model, read_card
from edgeai_workbench.card_reference import SECTIONS, written
from edgeai_workbench.tables import Table

CARD = """
schema = 1
name = "tiny"
version = "1.0.0"
release = 3
min_edgeai = "0.1"
intended_use = "a test"
limits = ["everything"]
licence = "Apache-2.0"
model = "tiny.keras"
model_digest = "sha256:{digest}"
plugins = ["transforms", "classify"]

[task]
name = "classify"
options = {{ labels = ["a", "b"] }}

[[transforms]]
transform = "grey"

[[inputs]]
name = "image"
shape = [1, 8, 8, 1]
layout = "NHWC"

[[outputs]]
name = "logits"
shape = [0, 2]

[[recipes]]
converter = "tflite"
precision = "fp32"
relative = 0

[[data]]
name = "none"
source = "nowhere"
licence = "none"
use = "train"

[training]
command = "true"
seed = 1
"""
MODEL = b"not really keras"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny.keras").write_bytes(MODEL)
    (tmp_path / "model.toml").write_text(CARD.format(digest=hashlib.sha256(MODEL).hexdigest()), encoding="utf-8")
    return tmp_path


def _edit(folder: Path, old: str, new: str) -> None:
    path = folder / "model.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_card_is_read_from_its_folder_or_its_file(folder: Path) -> None:
    card = read_card(folder)
    assert card == read_card(folder / "model.toml")
    assert card.recipes[0].id == "tflite-fp32"
    assert card.recipes[0].tolerance.absolute == 1e-4
    assert card.recipes[0].tolerance.relative == 0.0
    assert check_model(card, folder) == folder / "tiny.keras"


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        ('free = ["weights"]\nbounds = { threshold = [0.3, 0.7] }', ""),
        ('free = ["labels"]', "change_control.free"),
        ("bounds = { threshold = [0.7, 0.3] }", "bounds of threshold: 0.7 is above 0.3"),
        ("bounds = { threshold = [0.6, 0.7] }", "threshold is 0.5, which is not within 0.6 to 0.7"),
        ("bounds = { temperature = [0.5, 2] }", "the task has no such option here; it has labels.0, labels.1"),
        ('bounds = { "labels.*" = [0.0, 1.0] }', "labels.0 is a, which is not within 0.0 to 1.0"),
        ('bounds = { threshold = ["0.3", 0.7] }', "change_control.bounds.threshold[0]"),
        ("bounds = { threshold = [0.3] }", "change_control.bounds.threshold"),
        ("freed = true", "change_control.freed"),
    ],
)
def test_a_plan_of_change_control_speaks_of_what_the_task_has(folder: Path, plan: str, why: str) -> None:
    _edit(folder, 'options = { labels = ["a", "b"] }', 'options = { labels = ["a", "b"], threshold = 0.5 }')
    with (folder / "model.toml").open("a") as card:
        card.write(f"\n[change_control]\n{plan}\n")
    if not why:
        assert read_card(folder).change_control is not None
        return
    with pytest.raises(ConfigError) as caught:
        read_card(folder)
    assert why in str(caught.value)


def test_what_the_manifest_takes_keeps_order_options_and_open_extents(folder: Path) -> None:
    shared = read_card(folder).for_manifest()
    assert shared["task"].options == {"labels": ["a", "b"]}
    assert [step.transform for step in shared["transforms"]] == ["grey"]
    assert shared["inputs"][0].spec().shape == (1, 8, 8, 1)
    assert shared["outputs"][0].spec().shape == (None, 2)


def test_every_mistake_is_named_at_once_with_its_line(folder: Path) -> None:
    _edit(folder, 'licence = "Apache-2.0"\n', "")
    _edit(folder, "release = 3", 'release = "three"')
    _edit(folder, "precision =", "precison =")
    with pytest.raises(ConfigError) as caught:
        read_card(folder)
    assert caught.value.code == "config.card-invalid"
    lines = str(caught.value).splitlines()
    assert any(re.search(r"model\.toml:5: release: give a whole number", line) for line in lines)
    assert any(line.endswith("licence: missing: SPDX identifier of the weights") for line in lines)
    assert any('precison: unknown key; did you mean "precision"?' in line for line in lines)
    assert any(line.endswith("recipes[0].precision: missing: one that the converter offers") for line in lines)
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("schema = 1", "schema = 2", "schema"),
        ('name = "tiny"', 'name = "Tiny Model"', "name"),
        ('version = "1.0.0"', 'version = "1.0"', "version"),
        ('limits = ["everything"]', "limits = []", "limits"),
        ('model = "tiny.keras"', 'model = "../tiny.keras"', "model"),
        ("relative = 0", "relative = -1", "relative"),
        ('use = "train"', 'use = "look at"', "use"),
        ("[training]", "[eligibility]\nmin_rows = -1\n[training]", "min_rows"),
        ("[training]", '[pixels]\nfast = ["blur"]\n[training]', "fast"),
        ("[training]", "[frames]\nevery = 200_000\n[training]", "use at most 100_000"),
        ("[training]", '[frames]\nselect = "last"\n[training]', "select"),
        (
            "[training]",
            '[eligibility]\nmodality = ["C\\nR"]\n[training]',
            r"modality\[0\]: give a word or words, on one line",
        ),
        ("[training]", '[eligibility]\nmodality = [""]\n[training]', r"modality\[0\]"),
        ("[training]", f'[eligibility]\nmodality = ["{"x" * 201}"]\n[training]', r"modality\[0\]"),
        ("[training]", '[eligibility]\nmodalty = ["CR"]\n[training]', 'did you mean "modality"'),
        ("[training]", '[[recipes]]\nconverter = "tflite"\nprecision = "fp32"\n[training]', "tflite-fp32"),
        ("[training]", "[training]\nbalanced = 1", "training.balanced: neither true nor false, nor the name"),
        ("[training]", '[training]\nbalanced = ""', "training.balanced: neither true nor false, nor the name"),
    ],
)
def test_what_no_card_may_say_is_refused(folder: Path, old: str, new: str, says: str) -> None:
    _edit(folder, old, new)
    with pytest.raises(ConfigError, match=says) as caught:
        read_card(folder)
    assert caught.value.code == "config.card-invalid"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("schema = 1", "schema = 2", "schema: use 1 (here: 2)"),
        ("schema = 1", 'schema = "1"', "schema: write it without quotes: 1"),
        ('name = "tiny"', 'name = "Tiny Model"', "name: use a-z, 0-9, . _ and -, beginning with a letter or digit, at"),
        ('name = "tiny"', 'name = "Tiny Model"', "e.g. tiny-model"),
        ('name = "none"', 'name = "BUSI"', "data[0].name: use a-z, 0-9, . _ and -, "),
        ('version = "1.0.0"', 'version = "1.0"', "version: use three numbers, e.g. 1.0.0"),
        ('version = "1.0.0"', "version = 1.0", "version: give text in quotes"),
        ("release = 3", 'release = "3"', "release: write it without quotes: 3"),
        ('limits = ["everything"]', "limits = []", "limits: it is empty: name at least one"),
        ('limits = ["everything"]', 'limits = "everything"', 'limits: give a list: ["everything"]'),
        ('model = "tiny.keras"', 'model = "../tiny.keras"', "model: give a path below the card's folder"),
        ('model = "tiny.keras"', 'model = "/tmp/tiny.keras"', "model: give a path below the card's folder"),
        ('model = "tiny.keras"', 'model = "my model.keras"', "letters, digits and _ . + / -"),
        ('model_digest = "sha256:', 'model_digest = "', "model_digest: give sha256: and 64 digits"),
        ("relative = 0", "relative = -1", "relative: use at least 0"),
        ('use = "train"', 'use = "test"', 'data[0].use: use "train" or "evaluate" or'),
        ("[training]", '[eligibility]\nmodality = "US"\n[training]', 'eligibility.modality: give a list: ["US"]'),
        ("[training]", "[gates]\nmax_bundle_bytes = -5\n[training]", "gates.max_bundle_bytes: use more than 0"),
        ("[training]", '[gates]\nmax_keras_bytes = "2 MB"\n[training]', "give bytes as a number: 2_000_000"),
        ("seed =", "sed =", 'training.sed: unknown key; did you mean "seed"?'),
        (
            "[training]",
            "[gates]\nmodality = 1\n[training]",
            "gates.modality: unknown key here; modality belongs in [elig",
        ),
    ],
)
def test_a_mistake_says_what_to_write_instead_and_no_word_of_the_library(
    folder: Path, old: str, new: str, says: str
) -> None:
    _edit(folder, old, new)
    with pytest.raises(ConfigError) as caught:
        read_card(folder)
    assert says in str(caught.value)
    assert not re.search(r"Input should|String should|should match|Tuple|valid integer", str(caught.value))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("schema = 1", "schema = 1\nschema = 1", "write it once"),
        ('licence = "Apache-2.0"', "licence = Apache-2.0", "text needs quotes"),
    ],
)
def test_what_is_no_toml_is_told_with_its_line_as_in_a_profile(folder: Path, old: str, new: str, says: str) -> None:
    _edit(folder, old, new)
    with pytest.raises(ConfigError, match=rf"^model\.toml:\d+: not TOML: .*{says}") as caught:
        read_card(folder)
    assert caught.value.code == "config.card-syntax"


def test_content_is_looked_at_unless_the_card_says_that_it_is_not(folder: Path) -> None:
    """Manifests of either are of schema 2: a cart that cannot honour the one refuses it, the other is told."""
    assert read_card(folder).for_manifest()["guard"] == GuardUse()
    _edit(folder, "[training]", "[guard]\ncontent = false\n[training]")
    assert read_card(folder).for_manifest()["guard"] == GuardUse(content=False)
    _edit(folder, "content = false", "contents = false")
    with pytest.raises(ConfigError, match='did you mean "content"'):
        read_card(folder)


def test_a_card_that_is_not_there_or_not_toml_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_card(tmp_path / "nothing")
    assert caught.value.code == "config.card-missing"
    (tmp_path / "empty").mkdir()
    for absent in (tmp_path / "empty", folder / "model.toml" / "beside"):  # a folder without one, a file for a folder
        with pytest.raises(ConfigError) as caught:
            read_card(absent)
        assert caught.value.code == "config.card-missing"
        assert caught.value.remedy
    (tmp_path / "latin").mkdir()
    (tmp_path / "latin" / "model.toml").write_bytes("name = 'Köln'".encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        read_card(tmp_path / "latin")
    assert caught.value.code == "config.card-unreadable"
    _edit(folder, "schema = 1", "schema = = 1")
    with pytest.raises(ConfigError) as caught:
        read_card(folder)
    assert caught.value.code == "config.card-syntax"


def test_another_keras_file_than_the_cards_is_refused(folder: Path) -> None:
    card = read_card(folder)
    (folder / "tiny.keras").write_bytes(MODEL + b"!")
    with pytest.raises(ConfigError) as caught:
        check_model(card, folder)
    assert caught.value.code == "config.card-model-changed"
    (folder / "tiny.keras").unlink()
    with pytest.raises(ConfigError) as caught:
        check_model(card, folder)
    assert caught.value.code == "config.card-model-missing"
    assert (caught.value.remedy or "").endswith(f"as [training] of the card says: {card.training.command}")
    (folder / "train.py").write_text("")
    with pytest.raises(ConfigError) as caught:
        check_model(card, folder)
    assert caught.value.remedy == f"train it first: edgeai train {folder} --data DIR"


def test_the_reference_holds_every_table_and_key(repo_root: Path) -> None:
    text = (repo_root / "docs" / "reference" / "card.md").read_text(encoding="utf-8")
    assert text == written(text), "run: python -m edgeai_workbench.card_reference docs/reference/card.md"
    # A private one is of another file.
    of_cards = {table for table in Table.__subclasses__() if not table.__name__.startswith("_")}
    assert {table for _, table in SECTIONS} == {Card, *of_cards}


LINEAGE = """
[[variants]]
name = "small"
steps = [{ compressor = "prune-channels" }]

[[variants]]
name = "smaller"
from = "small"
steps = [{ compressor = "distil" }]

[[recipes]]"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('from = "small"', 'from = "larger"', "begins from larger, which is not above it"),
        ('name = "smaller"', 'name = "small"', "variants has twice: small"),
        ('name = "smaller"', 'name = "parent"', "variants has twice: parent"),
        ("relative = 0", 'relative = 0\nvariant = "tiny"', "there is no variant tiny"),
        ("relative = 0", "relative = 0\nship = false", "of one variant, here: none ships"),
        (
            "relative = 0",
            'relative = 0\n[[recipes]]\nconverter = "tflite"\nprecision = "int8"\nvariant = "small"',
            "must be of one variant, here: parent, small",
        ),
    ],
)
def test_variants_that_make_no_lineage_are_refused(folder: Path, old: str, new: str, says: str) -> None:
    _edit(folder, "\n[[recipes]]", LINEAGE)
    _edit(folder, old, new)
    with pytest.raises(ConfigError, match=re.escape(says)):
        read_card(folder)


def test_an_artifact_is_named_by_its_variant(folder: Path) -> None:
    _edit(folder, "\n[[recipes]]", LINEAGE)
    _edit(folder, "relative = 0", 'relative = 0\nvariant = "smaller"')
    assert [recipe.id for recipe in read_card(folder).shipped] == ["smaller-tflite-fp32"]


def test_what_is_quantised_has_the_tolerance_that_is_measured() -> None:
    assert Recipe(converter="tflite", precision="int8").tolerance is None
    exact = Tolerance(absolute=0.5, relative=1e-3)
    assert Recipe(converter="tflite", precision="int8", absolute=0.5).tolerance == exact
    assert Recipe(converter="tflite", precision="fp32").tolerance == Tolerance(absolute=1e-4, relative=1e-3)
