"""Tables of samples -> ``Sample``: what a card's ``[dataset]`` says is below ``--data DIR``, checked before any work.

A mistake in a table is found here and named with its row, and not after an hour of training; so is a sample, or a
patient, that is on both sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from edgeai.api import Array, DataRejected, Frame, InstanceRef
from edgeai.build import pictures
from edgeai.build.rows import Row, read_table
from edgeai.build.splits import Dataset, Split


@dataclass(frozen=True, slots=True)
class Labels:
    """Which of the task's labels apply."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A picture of the source image's extent; what is not 0 is the label."""

    path: Path

    def load(self) -> Array:
        """(rows, columns), bool.

        Raises:
            DataRejected: ``data.file-unreadable``.
        """
        try:
            pixels = pictures.pixels_of(self.path)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataRejected(f"{self.path}: cannot be read: {error}", code="data.file-unreadable") from error
        mask: Array = np.asarray(pixels.reshape(*pixels.shape[:2], -1).any(axis=2))
        return mask


Target: TypeAlias = Labels | MaskFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One row of a table, or one file of a folder.

    Attributes:
        id: unique in its data: the file below the data's folder, or ``data.npz:key[3]``.
        group: the patient or examination; the sample's own id where nothing says.
        subgroups: column -> value, for the columns that the report breaks metrics down by.
        target: what is true of it; ``None`` where nobody says.
        frame: reads the pixels; nothing is kept.
    """

    id: str
    group: str
    frame: Callable[[], Frame]
    subgroups: Mapping[str, str] = field(default_factory=dict)
    target: Target | None = None

    def load(self) -> tuple[Frame, InstanceRef]:
        """Its one frame, and the instance that it is of.

        Raises:
            DataRejected: ``data.file-unreadable`` or ``data.several-frames``.
        """
        frame = self.frame()
        return frame, frame.instance


class TaskLike(Protocol):
    """The task of a card or a manifest."""

    @property
    def name(self) -> str:
        """Name of the task."""
        ...

    @property
    def options(self) -> Mapping[str, Any]:
        """Its options; ``labels`` is a list of words or of tables with a ``label``."""
        ...


def labels_of(task: TaskLike) -> tuple[str, ...]:
    """The words of a task's option ``labels``; none where it has no such option."""
    given = task.options.get("labels", ())
    return tuple(item["label"] if isinstance(item, Mapping) else str(item) for item in given)


def read_splits(dataset: Dataset, root: Path, task: TaskLike) -> dict[str, tuple[Sample, ...]]:
    """``train`` and ``validation`` of a card's data, which share no image and no group.

    Raises:
        DataRejected: as ``read_split`` and ``check_apart``.
    """
    labels = labels_of(task)
    found = {name: read_split(getattr(dataset, name), root, labels) for name in ("train", "validation")}
    check_apart(found["train"], found["validation"])
    return found


def read_split(split: Split, root: Path, labels: Sequence[str]) -> tuple[Sample, ...]:
    """The samples of one table, in its order.

    Args:
        split: what the card says of the table.
        root: the data's folder.
        labels: of the task, in its order.

    Raises:
        DataRejected: ``data.file-missing``, ``data.table-invalid``, ``data.empty``, ``data.column-missing``,
            ``data.label-unknown``, ``data.value-invalid``, ``data.outside``, ``data.duplicate``; the message has the
            table and the line.
    """
    if not root.is_dir():
        raise DataRejected(f"{root}: no such folder", code="data.file-missing", remedy="give the data's folder")
    rows = read_table(root, split.table, _columns(split))
    source = _array_source(split, root) if split.array else None
    samples = []
    seen: dict[str, int] = {}
    for number, row in enumerate(rows):
        frame, name = _pixels(split, row, source, number)
        if name in seen:
            raise row.wrong(f"{name} is on line {seen[name]} already", code="data.duplicate")
        seen[name] = row.line
        samples.append(
            Sample(
                id=name,
                group=row[split.group] if split.group else name,
                frame=frame,
                subgroups={column: row[column] for column in split.subgroups},
                target=_target(split, row, labels),
            )
        )
    return tuple(samples)


def read_folder(root: Path, labels: Sequence[str] = (), *, modality: str = "") -> tuple[Sample, ...]:
    """Pictures and DICOM files in one sub-folder for each label, or, without labels, anywhere below ``root``.

    Raises:
        DataRejected: ``data.file-missing``, ``data.label-unknown``, ``data.empty``.
    """
    if not root.is_dir():
        raise DataRejected(f"{root}: no such folder", code="data.file-missing", remedy="give the data's folder")
    if labels:
        below = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        if strange := [name for name in below if name not in labels]:
            raise DataRejected(
                f"{root}: folder {strange[0]} is no label of the task, which are {', '.join(labels)}",
                code="data.label-unknown",
                remedy="one sub-folder for each label, named like it",
            )
    samples = tuple(_in_folder(root, labels, modality))
    if not samples:
        raise DataRejected(f"{root}: no PNG, JPEG or DICOM file below it", code="data.empty")
    return samples


def check_apart(train: Collection[Sample], validation: Collection[Sample]) -> None:
    """Nothing, when no file, no image and no group is on both sides.

    Images are compared by their pixels: the same one under two names would be judged by what it was trained on.

    Raises:
        DataRejected: ``data.split-overlap``, ``data.split-group``.
    """
    both = sorted({sample.id for sample in train} & {sample.id for sample in validation})
    if both:
        raise _overlap(f"{_some(both)} in both")
    groups = sorted({sample.group for sample in train} & {sample.group for sample in validation})
    if groups:
        raise DataRejected(
            f"train and validation share {_some(groups)}",
            code="data.split-group",
            remedy="put all samples of a patient or examination on one side",
        )
    known = {_pixel_digest(sample): sample.id for sample in train}
    same = [(known[key], sample.id) for sample in validation if (key := _pixel_digest(sample)) in known]
    if same:
        raise _overlap(f"{_some([f'{one} is {other}' for one, other in same])}: the same pixels")


def digest(samples: Sequence[Sample]) -> str:
    """``sha256:<hex>`` of the decoded pixels and the targets, in order: not of how a file packs them."""
    found = hashlib.sha256()
    for sample in samples:
        found.update(_pixel_digest(sample))
        found.update(b"\n")
        if isinstance(sample.target, Labels):
            found.update("|".join(sample.target.names).encode())
        elif sample.target is not None:
            found.update(_array_digest(sample.target.load()))
    return f"sha256:{found.hexdigest()}"


def _columns(split: Split) -> list[str]:
    """Every column that the card names."""
    single = (split.image, split.index, split.label, split.mask, split.group)
    return [name for name in (*single, *split.labels, *split.spacing_mm, *split.subgroups) if name]


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


def _spacing(split: Split, row: Row) -> tuple[float, float] | None:
    if not split.spacing_mm:
        return None
    found = [row.measure(column) for column in split.spacing_mm]
    return (found[0], found[-1])


def _target(split: Split, row: Row, labels: Sequence[str]) -> Target | None:
    if split.mask:
        return MaskFile(row.file(split.mask))
    if split.labels:
        if len(split.labels) != len(labels):
            raise row.wrong(f"{len(split.labels)} columns for {len(labels)} labels", code="data.label-unknown")
        return Labels(tuple(name for name, column in zip(labels, split.labels, strict=True) if row.flag(column)))
    if not split.label:
        return None
    value = row[split.label]
    name = split.values.get(value, "" if split.values else value)
    if name not in labels:
        known = ", ".join(split.values or labels)
        raise row.wrong(f"{split.label} is {value!r}, not one of {known}", code="data.label-unknown")
    return Labels((name,))


def _in_folder(root: Path, labels: Sequence[str], modality: str) -> Iterator[Sample]:
    folders = [(label, root / label) for label in labels] or [("", root)]
    for label, folder in folders:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if path.is_file() and not path.name.startswith(".") and pictures.kind_of(path):
                name = path.relative_to(root).as_posix()
                yield Sample(
                    id=name,
                    group=name,
                    frame=lambda path=path: pictures.load(path, modality=modality),  # type: ignore[misc]
                    target=Labels((label,)) if label else None,
                )


def _pixel_digest(sample: Sample) -> bytes:
    return _array_digest(sample.frame().pixels)


def _array_digest(array: Array) -> bytes:
    found = hashlib.sha256(f"{array.shape}{array.dtype.str}".encode())
    found.update(np.ascontiguousarray(array).tobytes())
    return found.digest()


def _overlap(what: str) -> DataRejected:
    return DataRejected(
        f"train and validation overlap: {what}",
        code="data.split-overlap",
        remedy="take it out of one of the tables",
    )


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
