"""What a build host's command is given: of each kind of file the way is said, and no option is passed over."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeai.api import ConfigError
from edgeai.cli.given import meant_backends
from edgeai.cli.main import run


def _told(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.replace("│", " ").split())


def _card(folder: Path) -> Path:
    folder.mkdir()
    (folder / "model.toml").write_text("schema = 1\n")
    return folder


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("old.h5", "edgeai_keras.importing old.h5 old.keras"),
        ("old.hdf5", "edgeai_keras.importing old.hdf5 old.keras"),
        ("theirs.tflite", "edgeai pack"),
        ("theirs.xml", "edgeai pack"),
        ("theirs.onnx", "ovc theirs.onnx"),
        ("mine.edgeai", "edgeai evaluate"),
        ("picture.png", "a .keras file"),
        ("exported", "edgeai pack"),
    ],
)
@pytest.mark.parametrize("data", [True, False])
def test_build_says_the_way_of_what_is_neither_a_card_nor_a_keras_file(
    tmp_path: Path, name: str, remedy: str, data: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    if path.suffix:
        path.write_bytes(b"anything")
    else:
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"anything")
    assert run(["build", str(path), *(["--data", str(tmp_path)] if data else [])]) == 2
    told = _told(capsys)
    assert f"error[build.foreign-model]: {path}: neither a folder with a model.toml nor a .keras file" in told
    assert remedy in told


@pytest.mark.parametrize("option", [("--labels", "x"), ("--task", "classify"), ("--calibration", "x")])
def test_build_of_a_card_refuses_what_only_a_first_try_takes(
    tmp_path: Path, option: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["build", str(_card(tmp_path / "mine")), "--data", str(tmp_path), *option]) == 2
    assert f"Invalid value for {option[0]}: it is for a .keras file without a card" in _told(capsys)


def test_build_of_a_keras_file_refuses_the_data_of_a_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my.keras").write_bytes(b"anything")
    assert run(["build", str(tmp_path / "my.keras"), "--data", str(tmp_path)]) == 2
    told = _told(capsys)
    assert "Invalid value for --data" in told
    assert "--calibration" in told


@pytest.mark.parametrize(
    "option",
    [
        ("--name", "x"),
        ("--task", "segment"),
        ("--labels", "x"),
        ("--images", "x"),
        ("--inputs", "x"),
        ("--values", "0", "1"),
    ],
)
def test_pack_of_a_card_refuses_what_only_a_foreign_model_takes(
    tmp_path: Path, option: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["pack", str(_card(tmp_path / "mine")), *option]) == 2
    assert f"Invalid value for {option[0]}: it is for a model that someone else made" in _told(capsys)


@pytest.mark.parametrize("command", ["pack", "build"])
def test_a_card_without_such_options_is_read(tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--data", str(tmp_path)] if command == "build" else []
    assert run([command, str(_card(tmp_path / "mine")), "--out", str(tmp_path / "dist"), "--rebuild", *more]) == 2
    assert "error[config.card-invalid]" in _told(capsys)


def test_a_backend_that_is_not_installed_is_refused_with_those_that_are_backends() -> None:
    with pytest.raises(ConfigError) as caught:
        meant_backends(["no-such-backend"])
    assert caught.value.code == "config.backend-missing"
    assert "tflite" in str(caught.value.remedy)
    assert not re.search(r"classify|mqtt|transforms", str(caught.value.remedy)), "no engine is one of these"


@pytest.mark.parametrize("command", ["bench", "infer", "evaluate", "compare"])
def test_more_threads_than_any_engine_takes_are_refused(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """LiteRT ends by a signal of a hundred thousand."""
    files = ["a.edgeai", "b.edgeai"] if command in ("infer", "compare") else ["a.edgeai"]
    assert run([command, *files, "--threads", "257"]) == 2
    assert "256" in capsys.readouterr().err
