"""The tray between what runs and its shadow: little room, a series once, and half a pair hurts nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeai.roles.tray import MOST, Tray


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(b"pixels")
    return path


def put(tray: Tray, image: Path, name: str) -> bool:
    is_lent = tray.lend(image, name, f"series {name}")
    if is_lent:
        tray.answer(name, f"series {name}", {"name": name})
    return is_lent


def test_what_is_put_there_is_taken_once(tmp_path: Path, image: Path) -> None:
    tray = Tray(tmp_path, "guard")
    assert tray.take() is None
    assert put(tray, image, "1")
    image.unlink()
    taken = Tray(tmp_path, "guard").take()
    assert taken is not None
    assert taken[0].read_bytes() == b"pixels"
    assert taken[1] == {"name": "1"}
    assert Tray(tmp_path, "guard").take() is None
    assert not taken[0].exists(), "an image at which a shadow died is not given again"


def test_there_is_room_for_a_few_and_a_series_comes_once(tmp_path: Path, image: Path) -> None:
    tray = Tray(tmp_path, "guard")
    assert [put(tray, image, str(number)) for number in range(MOST + 1)] == [True] * MOST + [False]
    assert tray.take() is not None
    assert not put(tray, image, "0")
    assert put(tray, image, "another")


def test_half_a_pair_is_passed_over(tmp_path: Path, image: Path) -> None:
    tray = Tray(tmp_path, "guard")
    assert put(tray, image, "1")
    assert put(tray, image, "2")
    (tmp_path / "shadow/guard/1.dcm").unlink()
    taken = tray.take()
    assert taken is not None
    assert taken[1] == {"name": "2"}
    assert tray.lend(image, "3", "unanswered")
    assert tray.take() is None
    tray.clear()
    assert list((tmp_path / "shadow/guard").iterdir()) == []


def test_without_a_disk_nothing_is_lent(tmp_path: Path, image: Path) -> None:
    (tmp_path / "shadow").write_text("no folder")
    assert not Tray(tmp_path, "guard").lend(image, "1", "series")
