"""What is said of a foreign model is held to what can be known first: nothing is loaded and nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeai.api import ConfigError
from edgeai_workbench.foreign import Foreign, foreign_card
from edgeai_workbench.foreign_known import arrays_in, check_known, refused
from edgeai_workbench.guessing import lines_of


def _refused(tmp_path: Path, **known: Any) -> str:
    """What is said; of the model itself, which is none, nothing is."""
    (tmp_path / "theirs.tflite").write_bytes(b"no model at all")
    with pytest.raises(ConfigError) as caught:
        foreign_card(tmp_path / "theirs.tflite", out=tmp_path / "out", known=Foreign(**known))
    assert caught.value.code == "build.foreign-model"
    assert caught.value.remedy
    assert not (tmp_path / "out").exists()
    return str(caught.value)


@pytest.mark.parametrize("name", ["My Model", "Upper", "../up", "a/b", "-x", "x" * 65, "ä"])
def test_a_name_that_no_bundle_has(tmp_path: Path, name: str) -> None:
    assert _refused(tmp_path, name=name) == f"--name {name!r} is no name of a bundle"


@pytest.mark.parametrize("values", [(1.0, 1.0), (1.0, 0.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_values_that_are_no_range(tmp_path: Path, values: tuple[float, float]) -> None:
    assert "--values" in _refused(tmp_path, values=values)


@pytest.mark.parametrize("content", [None, b"", b"\n  \n", b"\xff\xfe\x00x"])
def test_labels_that_are_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "labels.txt").write_bytes(content)
    assert "labels.txt" in _refused(tmp_path, labels=tmp_path / "labels.txt")


@pytest.mark.parametrize("kind", ["missing", "text", "npy", "a number", "cut"])
def test_inputs_that_are_no_cases(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "inputs.npz"
    if kind == "text":
        path.write_text("not an archive")
    elif kind == "npy":
        with path.open("wb") as file:
            np.save(file, np.zeros((1, 2)))
    elif kind == "a number":
        np.savez(path, x=np.float32(3))
    elif kind == "cut":
        np.savez(path, x=np.zeros((9, 9)))
        path.write_bytes(path.read_bytes()[:-30])
    words = _refused(tmp_path, inputs=path)
    assert "inputs.npz" in words
    assert "pickle" not in words


def test_images_that_are_nowhere(tmp_path: Path) -> None:
    assert "nowhere" in _refused(tmp_path, images=tmp_path / "nowhere")


def test_what_fits_is_taken(tmp_path: Path) -> None:
    np.savez(tmp_path / "inputs.npz", x=np.zeros((2, 3), np.float32))
    (tmp_path / "labels.txt").write_bytes("\ufeffab\n\ncä\n".encode())
    check_known(Foreign(name="my-model.2", values=(-1.0, 1.0), labels=tmp_path / "labels.txt", images=tmp_path))
    assert [line for line in lines_of(tmp_path / "labels.txt", refused) if line] == ["ab", "cä"]
    assert arrays_in(tmp_path / "inputs.npz")["x"].shape == (2, 3)
