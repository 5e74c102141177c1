"""What is missing or damaged on disk is said before an option that is missing, each with a code of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeai.cli.main import run

Make = Callable[..., Path]
CARD = Path(__file__).parents[2] / "models" / "xray-view" / "model.toml"


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def calling(*words: object) -> tuple[int, str]:
        status = run([str(word) for word in words])
        return status, capfd.readouterr().err

    return calling


@pytest.fixture
def cut(make_bundle: Make) -> Path:
    """A bundle of which the end is missing."""
    path = make_bundle()
    path.write_bytes(path.read_bytes()[:-100])
    return path


@pytest.fixture
def flipped(make_bundle: Make) -> Path:
    """A bundle with another byte in one of its files, whose archive holds together otherwise."""
    from edgeai.testing.bundles import change_member

    path = make_bundle()
    change_member(path, "model.json", lambda data: bytes([data[0] ^ 1]) + data[1:])
    return path


@pytest.mark.parametrize("command", [("sign",), ("evaluate",), ("compare", "same"), ("infer",)])
def test_a_bundle_comes_before_the_option(
    call: Any, command: tuple[str, ...], tmp_path: Path, make_bundle: Make, cut: Path, flipped: Path
) -> None:
    def words(path: Path) -> list[object]:
        return [command[0], *([path] * len(command))]

    status, printed = call(*words(tmp_path / "none.edgeai"))
    missing = "evaluate.no-file" if command[0] == "compare" else "bundle.missing"
    assert (status > 0, f"error[{missing}]" in printed, "--data" in printed or "--key" in printed) == (
        True,
        True,
        False,
    )
    for damaged in (cut, flipped):
        status, printed = call(*words(damaged))
        assert (status, "error[bundle." in printed, "bundle.missing" in printed) == (1, True, False)
        assert "--data" not in printed
        assert "--key" not in printed
        assert "PATHS" not in printed
    status, printed = call(*words(make_bundle()))
    assert (status, "it is missing" in printed) == (2, True)
    assert {"sign": "--key", "infer": "PATHS"}.get(command[0], "--data") in printed


@pytest.mark.parametrize("command", [("bench",), ("evaluate",), ("compare", "same")])
def test_a_backend_that_nobody_provides_is_a_mistake_of_the_command(
    call: Any, command: tuple[str, ...], tmp_path: Path, make_bundle: Make
) -> None:
    data = [] if command[0] == "bench" else ["--data", tmp_path]
    status, printed = call(command[0], *([make_bundle()] * len(command)), *data, "--backend", "tflight")
    told = "error[config.backend-missing]: no installed plugin provides a backend called 'tflight'"
    assert (status, told in printed) == (2, True)
    assert "did you mean 'tflite'" in printed
    assert "openvino" in printed, "what there is"


def test_a_bundle_comes_before_the_key_and_its_passphrase(call: Any, tmp_path: Path, cut: Path) -> None:
    for path, code in ((tmp_path / "none.edgeai", "bundle.missing"), (cut, "bundle.")):
        status, printed = call("sign", path, "--key", tmp_path / "none.key")
        assert (status, f"error[{code}" in printed) == (1, True)
        assert "keys." not in printed


@pytest.mark.parametrize("command", ["train", "build"])
def test_a_card_comes_before_the_option(call: Any, command: str, tmp_path: Path) -> None:
    folder = tmp_path / "card"
    cases: list[tuple[str | None, str]] = [
        (None, "config.card-missing"),
        ("name = = 1", "config.card-syntax"),
        ('name = "x"', "config.card-invalid"),
    ]
    for text, code in cases:
        if text is not None:
            folder.mkdir(exist_ok=True)
            (folder / "model.toml").write_text(text)
        status, printed = call(command, folder)
        assert (status, f"error[{code}]" in printed, "--data" in printed) == (2, True, False)
    (folder / "model.toml").write_text(CARD.read_text())
    if command == "train":
        status, printed = call(command, folder)
        assert (status, "error[build.no-script]" in printed) == (2, True)
        (folder / "train.py").write_text("")
    status, printed = call(command, folder)
    assert (status, "--data" in printed, "it is missing" in printed) == (2, True, True)
