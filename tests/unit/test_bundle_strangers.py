"""What people give in place of a bundle: a card, a model, something else. They are told which, and what comes next."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeai.api import BundleRejected
from edgeai.bundle.archive import Archive
from edgeai.bundle.reader import open_bundle
from edgeai.bundle.strangers import REMEDY


def keras_file(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            archive.writestr(name, b"{}")
    return path


def folder_with(path: Path, name: str) -> Path:
    path.mkdir()
    (path / name).write_text("x")
    return path


def written(path: Path) -> Path:
    path.write_bytes(b"some bytes of another kind of file")
    return path


@pytest.mark.parametrize(
    ("make", "says", "remedy"),
    [
        (lambda tmp: folder_with(tmp / "mine", "model.toml"), "the folder of a card", "edgeai pack {path}"),
        (lambda tmp: written(folder_with(tmp / "mine", "x") / "model.toml"), "a TOML file", "edgeai pack"),
        (lambda tmp: folder_with(tmp / "exported", "saved_model.pb"), "a SavedModel", "edgeai pack {path}"),
        (lambda tmp: keras_file(tmp / "my.keras"), "a Keras model", "edgeai build my.keras"),
        (lambda tmp: written(tmp / "theirs.tflite"), "a model without a bundle", "edgeai pack theirs.tflite"),
        (lambda tmp: written(tmp / "theirs.xml"), "a model without a bundle", "edgeai pack theirs.xml"),
        (lambda tmp: written(tmp / "old.h5"), "a model of Keras 2", "edgeai_keras.importing old.h5"),
    ],
)
def test_what_a_bundle_is_made_of_is_no_bundle_and_how_one_is_made_is_said(
    tmp_path: Path, make: Callable[[Path], Path], says: str, remedy: str
) -> None:
    path = make(tmp_path)
    with pytest.raises(BundleRejected, match=says) as caught:
        open_bundle(path, cache_dir=tmp_path / "cache")
    assert caught.value.code == "bundle.not-a-bundle"
    assert path.name in str(caught.value)
    assert remedy.format(path=path) in (caught.value.remedy or "")


@pytest.mark.parametrize("suffix", [".edgeai", ".png", ""])
def test_of_what_is_something_else_altogether_nothing_is_guessed(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"thing{suffix}")
    with pytest.raises(BundleRejected, match="does not begin as a zip file") as caught:
        open_bundle(path, cache_dir=tmp_path / "cache")
    assert caught.value.remedy == REMEDY
    with pytest.raises(BundleRejected, match=r"empty is not a bundle: it has no manifest\.json") as caught:
        open_bundle(folder_with(tmp_path / "empty", "readme.txt"), cache_dir=tmp_path / "cache")
    assert caught.value.remedy == REMEDY


def test_whoever_signs_a_card_is_told_what_it_is(tmp_path: Path) -> None:
    path = folder_with(tmp_path / "mine", "model.toml")
    with pytest.raises(BundleRejected, match="the folder of a card") as caught:
        Archive(path)
    assert f"edgeai pack {path}" in (caught.value.remedy or "")
