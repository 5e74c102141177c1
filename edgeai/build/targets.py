"""What is true of a sample, in the shape of the model's output: what training compares the output with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from edgeai.api import Array, ConfigError, DataRejected, Frame, TensorSpec
from edgeai.build.dataset import Labels, MaskFile, Sample, TaskLike, labels_of

Encode = Callable[[Sample, Frame], Array]
"""(the sample, its frame as the model saw it) -> float32 in the output's shape, without the batch axis."""


def encoder_of(task: TaskLike, output: TensorSpec) -> Encode:
    """How targets of a task are encoded: one-hot (labels,) for multi-class, (1,) for binary, 0 and 1 for each of
    multi-label, a mask in the output's own grid for segment.

    Raises:
        ConfigError: ``build.no-target``: a task whose targets no table can hold, or another output than it takes.
    """
    labels = labels_of(task)
    if task.name == "classify":
        return _Classes(labels, task.options.get("mode", "multi-class"), output)
    if task.name == "segment":
        return _Masks(labels, task.options.get("background"), output)
    raise ConfigError(
        f"there are no targets for task {task.name}",
        code="build.no-target",
        remedy="classify and segment can be trained",
    )


class _Classes:
    def __init__(self, labels: Sequence[str], mode: str, output: TensorSpec) -> None:
        self._labels = tuple(labels)
        self._positive = self._labels[-1:] if mode == "binary" else self._labels
        self._single = mode == "multi-class" or (mode == "binary" and len(self._labels) == 2)
        if tuple(output.shape[1:]) != (len(self._positive),):
            raise _no_target(output, f"{len(self._positive)} values a sample")

    def __call__(self, sample: Sample, frame: Frame) -> Array:
        names = _wanted(sample, Labels).names
        if self._single and len(names) != 1:
            raise _target(sample, f"has {len(names)} labels, it needs one")
        return np.array([label in names for label in self._positive], np.float32)


class _Masks:
    def __init__(self, labels: Sequence[str], background: str | None, output: TensorSpec) -> None:
        axes = output.layout[1:] or {4: "HWC", 3: "HW"}.get(len(output.shape), "")
        extents = dict(zip(axes, output.shape[1:], strict=False))
        rows, columns = extents.get("H"), extents.get("W")
        found = [label for label in labels if label != background]
        if rows is None or columns is None or len(found) != 1 or extents.get("C", 1) != len(labels):
            raise _no_target(output, "rows x columns for one label, beside a background where there is one")
        self._rows, self._columns, self._axes = rows, columns, axes
        self._labels, self._found = tuple(labels), found[0]

    def __call__(self, sample: Sample, frame: Frame) -> Array:
        mask = source_mask(sample, frame)
        inside = _sampled(mask, frame, self._rows, self._columns)
        planes = np.stack([inside if label == self._found else ~inside for label in self._labels]).astype(np.float32)
        if "C" not in self._axes:
            plane: Array = planes[0]
            return plane
        return np.ascontiguousarray(planes.transpose(["CHW".index(axis) for axis in self._axes]))


def source_mask(sample: Sample, frame: Frame) -> Array:
    """The sample's mask, (rows, columns) of the source image, bool.

    Raises:
        DataRejected: ``data.target-missing``, ``data.file-unreadable``, or ``data.mask-extent``.
    """
    file = _wanted(sample, MaskFile)
    mask = file.load()
    extent = (frame.geometry.source_rows, frame.geometry.source_columns)
    if mask.shape != extent:
        raise DataRejected(
            f"{sample.id}: mask {file.path.name} has {mask.shape[0]} x {mask.shape[1]} pixels, the image "
            f"{extent[0]} x {extent[1]}",
            code="data.mask-extent",
            remedy="draw masks on the image as it is stored",
        )
    return mask


def _sampled(mask: Array, frame: Frame, rows: int, columns: int) -> Array:
    """The nearest pixel of the source's mask at the centre of each cell of a grid over ``frame``; outside: nothing."""
    y, x = np.mgrid[0:rows, 0:columns] + 0.5
    points = np.stack((x * (frame.columns / columns), y * (frame.rows / rows)), axis=-1).reshape(-1, 2)
    places = np.floor(frame.geometry.to_source(points)).astype(np.int64)
    inside = ((places >= 0) & (places < mask.shape[::-1])).all(axis=1)
    found = np.zeros(rows * columns, bool)
    found[inside] = mask[places[inside, 1], places[inside, 0]]
    return found.reshape(rows, columns)


_Kind = TypeVar("_Kind", Labels, MaskFile)


def _wanted(sample: Sample, kind: type[_Kind]) -> _Kind:
    if not isinstance(sample.target, kind):
        what = "label" if kind is Labels else "mask"
        raise _target(sample, f"has no {what}", remedy=f"name its column in [dataset]: {what}")
    return sample.target


def _target(sample: Sample, what: str, remedy: str | None = None) -> DataRejected:
    return DataRejected(f"{sample.id}: {what}", code="data.target-missing", remedy=remedy)


def _no_target(output: TensorSpec, wanted: str) -> ConfigError:
    return ConfigError(
        f"output {output.name!r} has shape {output.shape}; the task's targets are {wanted}",
        code="build.no-target",
        remedy="correct [[outputs]] or the task's labels",
    )
