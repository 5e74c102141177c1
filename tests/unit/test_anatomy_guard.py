"""The shipped guard before the radiographs' models: what it lets through, and what it does not, on both engines."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeai.api import Array, Outcome, Result
from edgeai.bundle.reader import read_manifest
from edgeai.model import Model, open_model
from edgeai.testing.require import require
from edgeai_workbench.card import check_model, read_card
from edgeai_workbench.pack import pack_card
from edgeai_workbench.pictures import frame_of, pixels_of

pytestmark = pytest.mark.slow

GUARDED = {"xray-view": "xray_view", "xray-pneumonia": "xray_pneumonia28"}
MOST = 20
ENGINES = {"tflite": "ai_edge_litert", "openvino": "openvino"}


def _bundle(folder: Path) -> Path:
    card = read_card(folder)
    return folder / f"{card.name}-{card.version}.edgeai"


@pytest.fixture(scope="module")
def folder(repo_root: Path) -> Path:
    return repo_root / "models" / "anatomy-guard"


@pytest.fixture(scope="module", params=[(name, engine) for name in GUARDED for engine in ENGINES])
def guarded(
    request: pytest.FixtureRequest, repo_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Model]:
    name, engine = request.param
    require(engine, importlib.util.find_spec(ENGINES[engine]) is not None, f"{ENGINES[engine]} is not installed")
    cache = tmp_path_factory.mktemp("cache")
    with open_model(_bundle(repo_root / "models" / name), backends=[engine], threads=1, cache_dir=cache) as model:
        yield model


def _kit(folder: Path) -> list[Array]:
    """Some images of the kit's training table, evenly spread."""
    rows = list(csv.DictReader((folder / "labels_train.csv").open(encoding="utf-8")))
    rows = rows[:: len(rows) // MOST][:MOST]
    if not (folder / "data.npz").is_file():
        return [pixels_of(folder / row["file"]) for row in rows]
    stored = np.load(folder / "data.npz")["train_images"]
    return [np.squeeze(stored[int(row["index"])]) for row in rows]


def _ask(model: Model, image: Array) -> Result:
    frame = frame_of(np.ascontiguousarray(image), name="image", modality="DX")
    return model.run([frame], frame.instance)


def _withheld(results: list[Result]) -> int:
    return sum(result.outcome is not Outcome.COMPLETED for result in results)


def _own(model: Model, data_kit: Path) -> list[Array]:
    return _kit(data_kit / GUARDED[model.bundle.manifest.name])


def test_proper_images_pass(guarded: Model, data_kit: Path) -> None:
    assert _withheld([_ask(guarded, image) for image in _own(guarded, data_kit)]) <= 1


@pytest.mark.parametrize("other", ["us_head", "us_breast"])
def test_another_organ_under_the_models_header_is_withheld(guarded: Model, data_kit: Path, other: str) -> None:
    results = [_ask(guarded, image) for image in _kit(data_kit / other)]
    assert _withheld(results) == len(results)
    assert "guard.not-admitted" in {result.reason.code for result in results if result.reason is not None}


@pytest.mark.parametrize(
    "change", [lambda image: 255 - image, lambda image: image[::-1]], ids=["inverted", "upside down"]
)
def test_a_chest_that_is_inverted_or_upside_down_is_withheld(
    guarded: Model, data_kit: Path, change: Callable[[Array], Array]
) -> None:
    results = [_ask(guarded, change(image)) for image in _own(guarded, data_kit)]
    assert _withheld(results) >= len(results) - 1


def test_the_committed_bundle_is_what_the_card_packs_to(folder: Path, tmp_path: Path) -> None:
    for module in ENGINES.values():
        require(module, importlib.util.find_spec(module) is not None, f"{module} is not installed")
    check_model(read_card(folder), folder)
    packed = pack_card(folder, out=tmp_path)
    assert packed.made == (), "an artifact in the repository is stale"
    assert packed.digest == read_manifest(_bundle(folder))[1]


def test_it_is_small_enough_to_stand_before_the_smallest_model(folder: Path) -> None:
    card = read_card(folder)
    for recipe in card.shipped:
        files = [path for path in (folder / "artifacts" / recipe.id).iterdir() if path.suffix != ".xml"]
        assert sum(path.stat().st_size for path in files) <= 20_000, recipe.id
