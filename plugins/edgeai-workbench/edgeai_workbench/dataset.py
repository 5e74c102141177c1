"""Tables of samples -> ``Sample``: what a card's ``[dataset]`` says is below ``--data DIR``, checked before any work.

A mistake in a table is found here and named with its row, and not after an hour of training; so is a sample, or a
patient, that is on both sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from edgeai.api import Array, DataRejected, Frame, InstanceRef, Judge, Truth
from edgeai_workbench import pictures
from edgeai_workbench.cells import RowCells, truth_columns
from edgeai_workbench.dealing import dealt, dealt_otherwise
from edgeai_workbench.rows import Row, read_table
from edgeai_workbench.separate import check_all_apart, pixel_digest
from edgeai_workbench.splits import Dataset, Split

_NO_FOLDERS: Mapping[str, Truth] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One row of a table, or one file of a folder.

    Attributes:
        id: unique in its data: the file below the data's folder, or ``data.npz:key[3]``.
        group: the patient or examination; the sample's own id where nothing says.
        subgroups: column -> value, for the columns that the report breaks metrics down by.
        truth: what is true of it, as the task's judge read it; ``None`` where nobody says.
        frame: reads the pixels; nothing is kept.
        row: where it stands, ``chest/train.csv:12``; empty where no table says.
    """

    id: str
    group: str
    frame: Callable[[], Frame]
    subgroups: Mapping[str, str] = field(default_factory=dict)
    truth: Truth | None = None
    row: str = ""

    def load(self) -> tuple[Frame, InstanceRef]:
        """Its one frame, and the instance that it is of.

        Raises:
            DataRejected: ``data.file-unreadable`` or ``data.several-frames``.
        """
        frame = self.frame()
        return frame, frame.instance


def read_splits(dataset: Dataset, root: Path, judge: Judge) -> dict[str, tuple[Sample, ...]]:
    """``train``, ``validation`` and, where the card has one, ``test``, which share no image and no group.

    Raises:
        DataRejected: as ``read_split`` and ``check_all_apart``.
    """
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    samples = {name: read_split(split, root, judge) for name, split in splits.items() if split is not None}
    try:
        check_all_apart(samples)
    except DataRejected as error:
        given = {name: split for name, split in splits.items() if split is not None}
        error.remedy = dealt_otherwise(given) or error.remedy
        raise
    return samples


def read_split(split: Split, root: Path, judge: Judge) -> tuple[Sample, ...]:
    """The samples of one table, in its order.

    Args:
        split: what the card says of the table.
        root: the data's folder.
        judge: of the task; reads what is true.

    Raises:
        ConfigError: ``config.card-column-unknown``: the card names what the task's judge does not read.
        DataRejected: ``data.file-missing``, ``data.table-invalid``, ``data.empty``, ``data.column-missing``,
            ``data.label-unknown``, ``data.value-invalid``, ``data.outside``, ``data.duplicate``; the message has the
            table and the line.
    """
    truth = truth_columns(split, judge)
    if not root.is_dir():
        raise DataRejected(f"{root}: no such folder", code="data.file-missing", remedy="give the data's folder")
    rows = read_table(root, split.table, _columns(split, truth))
    source = _array_source(split, root) if split.array else None
    samples = []
    given = split.given()
    seen: dict[str, int] = {}
    values: dict[str, str] = {}
    for number, row in enumerate(rows):
        frame, name = _pixels(split, row, source, number)
        if name in seen:
            raise row.wrong(f"{name} is on line {seen[name]} already", code="data.duplicate")
        seen[name] = row.line
        values[name] = row[split.stratify] if split.stratify else ""
        samples.append(
            Sample(
                id=name,
                group=_group(split, row, name),
                frame=frame,
                subgroups={column: row[column] for column in split.subgroups},
                truth=judge.read(RowCells(row, given)),
                row=f"{split.table}:{row.line}",
            )
        )
    return dealt(split, tuple(samples), judge, values)


def read_images(split: Split, root: Path) -> tuple[Sample, ...]:
    """The images of one table, of which nobody asks what is true. Raises ``DataRejected`` as ``read_split``."""
    rows = read_table(root, split.table, _columns(split, ()))
    source = _array_source(split, root) if split.array else None
    each = (_pixels(split, row, source, number) for number, row in enumerate(rows))
    places = (f"{split.table}:{row.line}" for row in rows)
    return tuple(
        Sample(id=name, group=name, frame=frame, row=place) for (frame, name), place in zip(each, places, strict=True)
    )


def read_folder(root: Path, folders: Mapping[str, Truth] = _NO_FOLDERS, *, modality: str = "") -> tuple[Sample, ...]:
    """Pictures and DICOM files in one sub-folder for each truth, or, without ``folders``, anywhere below ``root``.

    Raises:
        DataRejected: ``data.file-missing``, ``data.label-unknown``, ``data.empty``.
    """
    if not root.is_dir():
        raise DataRejected(f"{root}: no such folder", code="data.file-missing", remedy="give the data's folder")
    if folders:
        below = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        if strange := [name for name in below if name not in folders]:
            raise DataRejected(
                f"{root}: folder {strange[0]} is no label of the task, which are {', '.join(folders)}",
                code="data.label-unknown",
                remedy="one sub-folder for each label, named like it",
            )
    samples = tuple(_in_folder(root, folders, modality))
    if not samples:
        raise DataRejected(f"{root}: no PNG, JPEG or DICOM file below it", code="data.empty")
    return samples


def digest(samples: Sequence[Sample], judge: Judge) -> str:
    """``sha256:<hex>`` of the decoded pixels and of what is true, in order: not of how a file packs them."""
    sha = hashlib.sha256()
    for sample in samples:
        sha.update(pixel_digest(sample))
        sha.update(b"\n")
        if sample.truth is not None:
            sha.update(judge.digest(sample.truth))
    return f"sha256:{sha.hexdigest()}"


def _columns(split: Split, truth: Sequence[str]) -> list[str]:
    """Every column that the card names."""
    named = (split.image, split.index, *truth, split.group, split.stratify, *split.spacing_mm, *split.subgroups)
    return [name for name in named if name]


def _pixels(split: Split, row: Row, source: tuple[str, Array] | None, number: int) -> tuple[Callable[[], Frame], str]:
    spacing = _spacing(split, row)
    if source is None:
        path = row.file(split.image)
        name = row.below(path)
        return lambda: pictures.load(path, modality=split.modality, spacing_mm=spacing), name
    file, images = source
    index = row.whole(split.index, len(images)) if split.index else number
    if index >= len(images):
        raise row.wrong(f"{file} has {len(images)} images, this is row {index}", code="data.value-invalid")
    name = f"{file}[{index}]"
    return lambda: pictures.frame_of(images[index], name=name, modality=split.modality, spacing_mm=spacing), name


def _array_source(split: Split, root: Path) -> tuple[str, Array]:
    """(``folder/data.npz:key``, its array)."""
    name, _, key = split.array.partition(":")
    path = (root / split.table).parent / name
    shown = f"{path.relative_to(root)}:{key}"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if key not in arrays:
                raise DataRejected(f"{path}: has no array {key!r}, but {', '.join(arrays)}", code="data.column-missing")
            images = arrays[key]
    except FileNotFoundError as error:
        raise DataRejected(f"{path}: no such file", code="data.file-missing") from error
    except (OSError, ValueError, EOFError) as error:
        raise DataRejected(f"{path}: cannot be read: {error}", code="data.file-unreadable") from error
    if images.ndim not in (3, 4) or images.dtype.name not in ("uint8", "uint16"):
        raise DataRejected(
            f"{shown} has shape {images.shape} and dtype {images.dtype}, and is no row of images",
            code="data.value-invalid",
            remedy="(n, rows, columns) or (n, rows, columns, 3), uint8 or uint16",
        )
    return shown, images


def _group(split: Split, row: Row, name: str) -> str:
    """The patient or examination; an empty cell would put all that nobody named into one."""
    if not split.group:
        return name
    group = row[split.group].strip()
    if not group:
        raise row.wrong(
            f"{split.group} is empty",
            code="data.value-invalid",
            remedy="name each sample's patient or examination; one that is of nobody else has a name of its own",
        )
    return group


def _spacing(split: Split, row: Row) -> tuple[float, float] | None:
    if not split.spacing_mm:
        return None
    sizes = [row.measure(column) for column in split.spacing_mm]
    return (sizes[0], sizes[-1])


def _in_folder(root: Path, folders: Mapping[str, Truth], modality: str) -> Iterator[Sample]:
    for folder, truth in [(root / name, truth) for name, truth in folders.items()] or [(root, None)]:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if path.is_file() and not path.name.startswith(".") and pictures.kind_of(path):
                name = path.relative_to(root).as_posix()
                yield Sample(
                    id=name,
                    group=name,
                    frame=lambda path=path: pictures.load(path, modality=modality),  # type: ignore[misc]
                    truth=truth,
                )
