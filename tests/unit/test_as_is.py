"""A model that is taken as it comes is known by what an installed backend says of its format, whoever made that."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeai.api import ConfigError, ModelFiles
from edgeai.testing.distributions import write_fake_distribution
from edgeai_workbench.as_is import (
    copied,
    files_of,
    format_of,
    is_folder_of_a_model,
    plugin_for,
    refuse_to_build,
)

SOURCE = """
from dataclasses import replace
from edgeai.api import ModelFiles, hookimpl
from edgeai.testing import fakes
EDGEAI_API = (1, 3)
FROM = {".pt": "acmec {name} {stem}.acme"}
PAIR = ModelFiles(called="an Acme .acme", suffix=".acme", beside=(".weights",), made_from=FROM)
FOLDER = ModelFiles(called="an Acme folder", folder=("acme.graph", "weights", "notes.txt"))
@hookimpl
def edgeai_backends():
    return (
        replace(fakes.backend("acme-pair"), artifact_format="acme-pair-format", files=PAIR, rank=40),
        replace(fakes.backend("acme-folder"), artifact_format="acme-folder-format", files=FOLDER, rank=41),
    )
"""


@pytest.fixture(autouse=True)
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    write_fake_distribution(tmp_path / "site", name="acme-forms", module_source=SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield
    sys.modules.pop("acme_forms", None)


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    (tmp_path / "net.weights").write_bytes(b"w")
    (tmp_path / "net.acme").write_bytes(b"a")
    (tmp_path / "net.txt").write_bytes(b"not its own")
    return tmp_path / "net.acme"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tmp_path / "exported"
    (model / "weights").mkdir(parents=True)
    (model / "acme.graph").write_bytes(b"g")
    (model / "weights" / "0.bin").write_bytes(b"w")
    (model / "secret.key").write_bytes(b"not its own")
    return model


def test_a_file_with_another_beside_it_is_known_and_copied_whole(pair: Path, tmp_path: Path) -> None:
    assert format_of(pair) == "acme-pair-format"
    assert plugin_for(format_of(pair)) == "acme-forms"
    assert [path.name for path in files_of(pair)] == ["net.acme", "net.weights"]
    (tmp_path / "copy").mkdir()
    assert copied(pair, tmp_path / "copy", "theirs").name == "theirs.acme"
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["theirs.acme", "theirs.weights"]


def test_a_folder_is_known_and_copied_without_what_is_not_its_own(folder: Path, tmp_path: Path) -> None:
    assert format_of(folder) == "acme-folder-format"
    assert is_folder_of_a_model(folder)
    assert files_of(folder) == [folder]
    copy = copied(folder, tmp_path / "copy")
    assert sorted(str(path.relative_to(copy)) for path in copy.rglob("*")) == ["acme.graph", "weights", "weights/0.bin"]


def test_half_a_model_is_refused_with_what_it_lacks(pair: Path) -> None:
    pair.with_suffix(".weights").unlink()
    with pytest.raises(ConfigError, match=r"an Acme \.acme needs its \.weights beside it"):
        format_of(pair)


def test_what_nobody_knows_is_refused_with_all_that_there_is(tmp_path: Path) -> None:
    (tmp_path / "x.unknown").write_bytes(b"?")
    with pytest.raises(ConfigError) as caught:
        format_of(tmp_path / "x.unknown")
    assert caught.value.code == "build.foreign-model"
    for known in ("a .tflite file", "an OpenVINO .xml", "a SavedModel folder", "an Acme .acme", "an Acme folder"):
        assert known in str(caught.value)
        assert known in (caught.value.remedy or "")
    assert not is_folder_of_a_model(tmp_path)
    with pytest.raises(ConfigError) as caught:
        format_of(tmp_path / "missing.acme")
    assert caught.value.code == "build.no-model"


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("net.pt", "acmec net.pt net.acme"),
        ("net.onnx", "ovc net.onnx"),
        ("net.h5", "edgeai_keras.importing net.h5 net.keras"),
    ],
)
def test_of_another_kind_the_way_to_one_is_said(tmp_path: Path, name: str, way: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    for refused in (format_of, refuse_to_build):
        with pytest.raises(ConfigError) as caught:
            refused(tmp_path / name)
        assert way in (caught.value.remedy or "")


def test_the_parent_is_never_taken_as_it_comes(tmp_path: Path) -> None:
    (tmp_path / "my.keras").write_bytes(b"anything")
    with pytest.raises(ConfigError) as caught:
        format_of(tmp_path / "my.keras")
    assert "edgeai build my.keras" in (caught.value.remedy or "")


def test_what_has_no_parent_is_packed_and_not_built(pair: Path, folder: Path) -> None:
    for model in (pair, folder):
        with pytest.raises(ConfigError) as caught:
            refuse_to_build(model)
        assert f"edgeai pack {model}" in (caught.value.remedy or "")


def test_a_format_that_nobody_opens_is_refused() -> None:
    with pytest.raises(ConfigError, match="no installed plugin opens artifacts of the format 'nonesuch'"):
        plugin_for("nonesuch")


def test_the_parts_of_a_model_are_asked_of_what_is_there(tmp_path: Path) -> None:
    files = ModelFiles(called="it", suffix=".acme")
    assert files.parts(tmp_path / "none.acme") == ()
    assert files.parts(tmp_path) == ()
    (tmp_path / "one.acme").mkdir()
    assert files.parts(tmp_path / "one.acme") == (), "a folder is no file"
