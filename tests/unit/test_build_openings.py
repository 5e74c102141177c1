"""Looks at a test: written down before they are taken, counted, and refused when a model has had its chances."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from edgeai.api import ConfigError, GateFailed
from edgeai_workbench.openings import OPENINGS, open_test, read_openings

DATA, OTHER = "sha256:data", "sha256:other"


def _open(folder: Path, number: int, *, data: str = DATA, model: str = "sha256:one") -> int:
    return open_test(folder, data=data, model=model, artifacts={"tflite-int8": f"sha256:{number}"}).before


def test_each_look_is_written_down_with_what_and_when_and_how_often_before(tmp_path: Path) -> None:
    assert read_openings(tmp_path) == ()
    assert [_open(tmp_path, number) for number in range(3)] == [0, 1, 2]
    body = json.loads((tmp_path / OPENINGS).read_text())
    assert [one["before"] for one in body["openings"]] == [0, 1, 2]
    last = body["openings"][-1]
    assert (last["data"], last["model"], last["artifacts"]) == (DATA, "sha256:one", {"tflite-int8": "sha256:2"})
    assert datetime.fromisoformat(last["date"]).utcoffset() is not None


def test_the_fourth_look_of_a_model_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    for number in range(3):
        _open(tmp_path, number)
    before = (tmp_path / OPENINGS).read_bytes()
    with pytest.raises(GateFailed, match="opened 3 times for this model") as caught:
        _open(tmp_path, 3)
    assert caught.value.code == "gate.test-opened"
    assert caught.value.remedy
    assert (tmp_path / OPENINGS).read_bytes() == before


def test_what_was_looked_at_already_is_no_new_look(tmp_path: Path) -> None:
    for number in range(3):
        _open(tmp_path, number)
    before = (tmp_path / OPENINGS).read_bytes()
    assert _open(tmp_path, 1) == 1
    assert (tmp_path / OPENINGS).read_bytes() == before


def test_a_model_trained_anew_begins_again_and_the_data_keep_counting(tmp_path: Path) -> None:
    for number in range(3):
        _open(tmp_path, number)
    assert _open(tmp_path, 0, model="sha256:two") == 3
    assert _open(tmp_path, 4, data=OTHER) == 0


def test_some_of_what_was_looked_at_is_no_new_look_and_more_is(tmp_path: Path) -> None:
    both = {"a": "sha256:1", "b": "sha256:2"}
    first = open_test(tmp_path, data=DATA, model="sha256:one", artifacts=both)
    for some in ({"a": "sha256:1"}, {"b": "sha256:2"}, {}):
        assert open_test(tmp_path, data=DATA, model="sha256:one", artifacts=some) == first
    for other in ({**both, "c": "sha256:3"}, {"a": "sha256:2"}):
        assert open_test(tmp_path, data=DATA, model="sha256:one", artifacts=other) != first
    assert len(read_openings(tmp_path)) == 3


def test_looks_that_a_bundle_knows_of_count_where_the_file_beside_the_card_is_gone(tmp_path: Path) -> None:
    for number in range(3):
        _open(tmp_path, number)
    known = read_openings(tmp_path)
    (tmp_path / OPENINGS).unlink()
    more = {"data": DATA, "model": "sha256:one", "others": known}
    with pytest.raises(GateFailed):
        open_test(tmp_path, artifacts={"tflite-int8": "sha256:9"}, **more)  # type: ignore[arg-type]
    assert open_test(tmp_path, artifacts=known[1].artifacts, **more) == known[1]  # type: ignore[arg-type]
    fresh = open_test(tmp_path, data=OTHER, model="sha256:one", artifacts={}, others=known)
    assert read_openings(tmp_path) == (*known, fresh)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1, "openings": [{}]}', '{"opened": 0}'])
def test_a_memory_that_cannot_be_read_is_not_made_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / OPENINGS).write_text(text)
    with pytest.raises(ConfigError) as caught:
        _open(tmp_path, 0)
    assert caught.value.code == "build.openings"
    assert (tmp_path / OPENINGS).read_text() == text
