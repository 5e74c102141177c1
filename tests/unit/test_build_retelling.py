"""Another release of what was built: told under its own number, with the figures and looks that there are."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from edgeai.bundle.evidence import EVIDENCE_NAME, Evidence, decode_evidence
from edgeai_workbench.card import read_card
from edgeai_workbench.convert import ARTIFACTS
from edgeai_workbench.gates import digest_of_folder
from edgeai_workbench.judgement import BUNDLED_EVIDENCE, BUNDLED_REPORT, JUDGEMENT, hold_judgement
from edgeai_workbench.openings import OPENINGS
from edgeai_workbench.pack import REPORT, evidence_for
from edgeai_workbench.retelling import retell

TOLD = (EVIDENCE_NAME, REPORT, BUNDLED_EVIDENCE, BUNDLED_REPORT, JUDGEMENT)
NEXT = "77.0.0"


@pytest.fixture
def folder(repo_root: Path, tmp_path: Path) -> Path:
    """A model that was built, with its card at another version."""
    copy = tmp_path / "xray-view"
    skipped = shutil.ignore_patterns("*.keras", "*.edgeai", "variants", "golden")
    shutil.copytree(repo_root / "models" / "xray-view", copy, ignore=skipped)
    _edit(copy / "model.toml", r'^version = ".*"$', f'version = "{NEXT}"')
    return copy


def _edit(path: Path, old: str, new: str) -> None:
    text, count = re.subn(old, new, path.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE)
    assert count == 1, old
    path.write_text(text, encoding="utf-8")


def _evidence(folder: Path, name: str = EVIDENCE_NAME) -> Evidence:
    return decode_evidence((folder / name).read_bytes())


def _tables(folder: Path) -> list[str]:
    lines = [line for name in (REPORT, BUNDLED_REPORT) for line in (folder / name).read_text("utf-8").splitlines()]
    return [line for line in lines if line.startswith("|")]


def _files(folder: Path, *names: str) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names}


def test_a_release_of_the_same_artifacts_is_told_under_its_number(folder: Path) -> None:
    was, looks, tables = _evidence(folder), _files(folder, OPENINGS), _tables(folder)
    judged = json.loads((folder / JUDGEMENT).read_text())
    assert f"of {was.version} are told as {NEXT}'s" in retell(folder)
    assert _evidence(folder) == msgspec.structs.replace(was, version=NEXT), "no figure, look or time is another"
    assert _files(folder, OPENINGS) == looks
    assert _tables(folder) == tables, "in the order in which the task shows its figures"
    assert json.loads((folder / JUDGEMENT).read_text()) | {"told": {}} == judged | {"told": {}}
    for name in (REPORT, BUNDLED_REPORT):
        text = (folder / name).read_text(encoding="utf-8")
        assert text.startswith(f"# xray-view {NEXT}: ")
        assert "is withheld before the model" in text
    card = read_card(folder)
    shipped = [recipe.id for recipe in card.shipped]
    hold_judgement(card, folder, {name: digest_of_folder(folder / ARTIFACTS / name) for name in shipped})
    assert evidence_for(card, folder, shipped) == _evidence(folder, BUNDLED_EVIDENCE)
    before = _files(folder, *TOLD)
    assert retell(folder) == ""
    assert _files(folder, *TOLD) == before


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: _edit(folder / "model.toml", "low = 1.0", "low = 2.0"),
        lambda folder: _edit(folder / "model.toml", 'label = "ap", concept', 'label = "pa", concept'),
        lambda folder: (folder / ARTIFACTS / "watched-tflite-int8" / "model.tflite").write_bytes(b"other weights"),
        lambda folder: _edit(folder / EVIDENCE_NAME, '"agreement": 0.95', '"agreement": 0.99'),
        lambda folder: _edit(folder / BUNDLED_EVIDENCE, '"agreement": 0.95', '"agreement": 0.99'),
        lambda folder: _edit(folder / BUNDLED_REPORT, "95.24 %", "99.24 %"),
        lambda folder: (folder / EVIDENCE_NAME).unlink(),
        lambda folder: (folder / EVIDENCE_NAME).write_text("{"),
    ],
)
def test_what_was_not_judged_so_is_told_of_nothing(folder: Path, spoil: Callable[[Path], object]) -> None:
    spoil(folder)
    kept = [name for name in TOLD if (folder / name).exists()]
    before = _files(folder, *kept)
    assert retell(folder) == ""
    assert _files(folder, *kept) == before
