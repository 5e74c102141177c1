"""A table that is dealt into parts: whole groups, as alike as can be, and the same ones each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeai.api import DataRejected, TensorSpec
from edgeai.bundle.manifest import TaskUse
from edgeai_workbench.dataset import read_split, read_splits
from edgeai_workbench.judges import judge_by_plugins
from edgeai_workbench.splits import Dataset, Split

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


def _table(root: Path, values: list[str], *, patients: int = 0, turned: bool = False) -> None:
    """Pictures of patients in turn, each with a value of the column ``size``."""
    lines = []
    for n, value in enumerate(values):
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (9, 7), np.uint8)).save(root / f"{n:03}.png")
        lines.append(f"{n:03}.png,normal,p{n % (patients or len(values))},{value}")
    (root / "all.csv").write_text("\n".join(["file,finding,patient,size", *(reversed(lines) if turned else lines)]))


def _part(number: int, *, parts: int = 4, stratify: str = "size", group: str = "patient") -> Split:
    return Split(
        table="all.csv", image="file", label="finding", group=group, parts=parts, part=(number,), stratify=stratify
    )


def _dealt(root: Path, number: int) -> list[int]:
    return [int(sample.id.removesuffix(".png")) for sample in read_split(_part(number), root, LABELS)]


def test_numbers_of_a_column_are_dealt_by_their_size(tmp_path: Path) -> None:
    sizes = [7.5 * n for n in range(3, 27)]  # from 22.5 to 195: as text, 97.5 would come last
    _table(tmp_path, [f"{size:g}" for size in np.random.default_rng(2).permutation(sizes)])
    order = np.argsort(np.random.default_rng(2).permutation(sizes))
    parts = [_dealt(tmp_path, number) for number in (1, 2, 3, 4)]
    for begin in range(0, 24, 4):  # of each four that follow one another in size, each part has one
        assert [len(set(order[begin : begin + 4]) & set(part)) for part in parts] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("values", "alike"),
    [
        (["b", "a", "", "a"], ["", "a", "b"]),
        (["1", "1.0", "10", "9"], ["1", "9", "10"]),  # 1 and 1.0 are one value
        (["9", "10", "unknown", "nan"], ["9", "10", "unknown", "nan"]),
    ],
)
def test_each_part_has_as_many_of_each_value(values: list[str], alike: list[str], tmp_path: Path) -> None:
    _table(tmp_path, values * 8)
    for value in alike:
        is_it = [each in (value, f"{value}.0") for each in values]
        counts = {sum(is_it[n % 4] for n in _dealt(tmp_path, number)) for number in (1, 2, 3, 4)}
        assert counts == {8 * sum(is_it) // 4}


def test_a_patients_value_is_of_the_first_picture_by_name_whatever_the_tables_order(tmp_path: Path) -> None:
    values = [str(n * 37 % 101) for n in range(40)]
    dealt = []
    for turned in (False, True):
        _table(tmp_path, values, patients=10, turned=turned)
        dealt.append([sorted(_dealt(tmp_path, number)) for number in (1, 2, 3, 4)])
    assert dealt[0] == dealt[1]
    assert sorted(n for part in dealt[0] for n in part) == list(range(40))
    homes = [{n % 10 for n in part} for part in dealt[0]]
    assert sum(map(len, homes)) == 10  # whole patients
    by_size = sorted(range(10), key=lambda patient: int(values[patient]))
    assert homes[0] == {by_size[0], by_size[4], by_size[8]}


def test_a_column_that_the_table_does_not_have_is_refused_with_what_it_has(tmp_path: Path) -> None:
    _table(tmp_path, ["1"] * 8)
    with pytest.raises(DataRejected, match=r"no column 'sise'; did you mean \"size\"\?") as refused:
        read_split(_part(1, stratify="sise"), tmp_path, LABELS)
    assert refused.value.code == "data.column-missing"


def test_a_column_to_deal_by_is_refused_where_nothing_is_dealt() -> None:
    with pytest.raises(ValueError, match="stratify: is of no use without parts"):
        Split(table="all.csv", image="file", stratify="size")


@pytest.mark.parametrize("other", [{"stratify": ""}, {"parts": 3}, {"group": ""}])
def test_one_table_dealt_in_two_ways_is_refused_and_the_ways_are_told(other: dict[str, str], tmp_path: Path) -> None:
    _table(tmp_path, [str(n * 37 % 101) for n in range(40)], patients=20)
    train = _part(1).model_copy(update={"part": (2, 3, 4)})
    assert len(read_splits(Dataset(train=train, validation=_part(1)), tmp_path, LABELS)["train"]) == 30
    with pytest.raises(DataRejected, match=r"train and validation (overlap|share)") as refused:
        read_splits(Dataset(train=train, validation=_part(1, **other)), tmp_path, LABELS)  # type: ignore[arg-type]
    assert "deal all.csv in two ways" in str(refused.value.remedy)
    assert "stratify = 'size'" in str(refused.value.remedy)
