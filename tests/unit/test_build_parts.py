"""A table that is dealt into parts: whole groups, as alike as can be, and the same ones each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeai.api import DataRejected, TensorSpec
from edgeai.bundle.manifest import TaskUse
from edgeai_workbench.dataset import read_split
from edgeai_workbench.judges import judge_by_plugins
from edgeai_workbench.splits import Split

LABELS = judge_by_plugins(
    ["classify"],
    TaskUse(name="classify", options={"labels": ["normal", "pneumonia"]}),
    (TensorSpec(name="out", dtype="float32", shape=(1, 2)),),
)


def _numbers(
    root: Path, rows: int, *, patients: int, parts: int, part: tuple[int, ...], turned: bool = False, same: int = 0
) -> list[int]:
    """Pictures of a split of so many, of which every fourth is of pneumonia; the last ``same`` are the first again."""
    for n in range(rows):
        pixels = np.random.default_rng(n % (rows - same)).integers(0, 256, (9, 7), np.uint8)
        Image.fromarray(pixels).save(root / f"{n}.png")
    lines = [f"{n}.png,{'pneumonia' if n % patients % 4 == 0 else 'normal'},p{n % patients}" for n in range(rows)]
    (root / "all.csv").write_text("\n".join(["file,finding,patient", *(reversed(lines) if turned else lines)]))
    split = Split(table="all.csv", image="file", label="finding", group="patient", parts=parts, part=part)
    return [int(sample.id.removesuffix(".png")) for sample in read_split(split, root, LABELS)]


def test_parts_are_of_whole_groups_with_as_many_of_each_label(tmp_path: Path) -> None:
    parts = [_numbers(tmp_path, 48, patients=24, parts=3, part=(number,)) for number in (1, 2, 3)]
    assert sorted(n for part in parts for n in part) == list(range(48))
    patients = [{n % 24 for n in part} for part in parts]
    assert [len(part) for part in patients] == [8, 8, 8]  # so no patient is in two
    assert [sum(patient % 4 == 0 for patient in part) for part in patients] == [2, 2, 2]
    two = _numbers(tmp_path, 48, patients=24, parts=3, part=(3, 1))
    assert sorted(two) == sorted(parts[0] + parts[2])


def test_who_is_in_which_part_does_not_depend_on_the_tables_order(tmp_path: Path) -> None:
    straight, turned = (
        _numbers(tmp_path, 20, patients=20, parts=4, part=(2,), turned=turned) for turned in (False, True)
    )
    assert len(straight) == 5
    assert straight == turned[::-1]


def test_one_picture_under_two_patients_names_is_dealt_once(tmp_path: Path) -> None:
    parts = [set(_numbers(tmp_path, 30, patients=30, same=10, parts=2, part=(number,))) for number in (1, 2)]
    assert len(parts[0]) + len(parts[1]) == 30
    for n in range(10):
        assert {n, n + 20} <= parts[0] or {n, n + 20} <= parts[1]


def test_fewer_patients_than_parts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataRejected, match=r"3 groups cannot be dealt into 4 parts") as refused:
        _numbers(tmp_path, 9, patients=3, parts=4, part=(1,))
    assert refused.value.code == "data.empty"


@pytest.mark.parametrize(
    ("parts", "part", "why"),
    [
        (3, (0,), "not numbers from 1 to parts"),
        (3, (4,), "not numbers from 1 to parts"),
        (1, (2,), "not numbers from 1 to parts"),
        (3, (2, 2), "each once"),
        (3, (), "nobody says which"),
        (0, (), "greater than or equal to 1"),
    ],
)
def test_parts_that_there_are_not_are_refused(parts: int, part: tuple[int, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Split(table="all.csv", image="file", parts=parts, part=part)
