"""The ways in which models say where things are; each is a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from edgeai.api import Array, TaskFailed, TensorSpec
from edgeai_tasks.detect.candidates import Candidates


class Form(Protocol):
    """One way, built of the options and of the outputs in the order in which it reads them."""

    def decode(self, values: Sequence[Array], extent: tuple[int, int]) -> Candidates:
        """Candidates of one frame.

        Args:
            values: float64, finite, one an output, as the model gave them.
            extent: (rows, columns) of the plane that the model saw.

        Raises:
            TaskFailed: ``task.output``, ``task.not-probabilities``, ``task.count``, ``task.class``.
        """
        ...


def rows_of(values: Array, width: int, what: str) -> Array:
    """(n, width) of an output that is (1, n, width), or that without its batch.

    Raises:
        TaskFailed: ``task.output``.
    """
    if values.shape[-1:] != (width,) or values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[0] != 1):
        raise failed(f"{what} have shape {values.shape}, not (1, n, {width})", "task.output")
    return values.reshape(-1, width)


def is_rows(spec: TensorSpec, widths: Sequence[int]) -> bool:
    """Whether an output is declared as (1, n, one of ``widths``), or that without its batch; open extents may be."""
    shape = spec.shape
    batch = shape[:-2]
    return len(shape) in (2, 3) and shape[-1] in (None, *widths) and all(extent in (None, 1) for extent in batch)


def same_length(what: Sequence[str], *each: Array) -> None:
    """Nothing, where all have as many rows. Raises ``TaskFailed``, ``task.output``."""
    counts = [len(one) for one in each]
    if len(set(counts)) > 1:
        told = ", ".join(f"{count} {name}" for count, name in zip(counts, what, strict=True))
        raise failed(f"the model gave {told}", "task.output")


def sized(boxes: Array, extent: tuple[int, int]) -> Array:
    """Boxes in shares of the plane -> in its pixels."""
    rows, columns = extent
    return boxes * np.array([columns, rows, columns, rows], np.float64)


def failed(why: str, code: str, remedy: str | None = None) -> TaskFailed:
    """The error for outputs that say nothing."""
    return TaskFailed(f"detect: {why}", code=code, remedy=remedy)
