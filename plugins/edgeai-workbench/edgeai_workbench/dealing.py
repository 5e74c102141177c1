"""A table that is dealt into parts: whole groups, in turn, so that each part is as alike as can be.

The order in which they are dealt is all that decides: by the values of the column that ``stratify`` names, else by what
the judge says is true; and then by a digest of the groups' names, so that nothing depends on the table's order.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, TypeAlias

from edgeai.api import DataRejected, Judge
from edgeai_workbench.separate import pixel_digest
from edgeai_workbench.splits import Split

if TYPE_CHECKING:
    from edgeai_workbench.dataset import Sample

Place: TypeAlias = tuple[int, float, str]


def dealt(split: Split, samples: tuple[Sample, ...], judge: Judge, values: Mapping[str, str]) -> tuple[Sample, ...]:
    """Those of the split's parts, in the table's order.

    Args:
        split: what the card says of the table.
        samples: all of it.
        judge: says what is true, where no column orders the groups.
        values: sample -> its value in the column ``stratify``, where the card names one.

    Raises:
        DataRejected: ``data.empty``: fewer groups than parts.
    """
    if split.parts == 1:
        return samples
    together = _joined(samples)
    first: dict[str, Sample] = {}
    # Without a column, the first is the table's: by name, models that were trained so would have other parts.
    for sample in sorted(samples, key=lambda sample: sample.id) if split.stratify else samples:
        first.setdefault(together[sample.group], sample)

    def place(group: str) -> tuple[Place | bytes, bytes]:
        sample = first[group]
        by_truth = b"" if sample.truth is None or split.stratify else judge.digest(sample.truth)
        return _place(values[sample.id]) if split.stratify else by_truth, hashlib.sha256(group.encode()).digest()

    if len(first) < split.parts:
        raise DataRejected(
            f"{split.table}: {len(first)} groups cannot be dealt into {split.parts} parts",
            code="data.empty",
            remedy="lower parts in [dataset]",
        )
    kept = {group for turn, group in enumerate(sorted(first, key=place)) if turn % split.parts + 1 in split.part}
    return tuple(sample for sample in samples if together[sample.group] in kept)


def dealt_otherwise(splits: Mapping[str, Split]) -> str | None:
    """Which two splits deal one table in two ways, so that a group may be in both; ``None`` where none do."""
    for (one, first), (other, second) in combinations(splits.items(), 2):
        ways = _way(first), _way(second)
        if first.table == second.table and ways[0] != ways[1]:
            return f"{one} ({ways[0]}) and {other} ({ways[1]}) deal {first.table} in two ways: give both the same"
    return None


def _way(split: Split) -> str:
    return f"parts = {split.parts}, stratify = {split.stratify!r}, group = {split.group!r}"


def _place(value: str) -> Place:
    """Where a value comes: numbers by their size, then what is no number, as text."""
    text = value.strip()
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    return (0, number, "") if math.isfinite(number) else (1, 0.0, text)


def _joined(samples: Sequence[Sample]) -> Mapping[str, str]:
    """Group -> the first by name of those that it shares pixels with: one image under two names is one group."""
    whose: dict[bytes, str] = {}
    joined = {sample.group: sample.group for sample in samples}

    def head(group: str) -> str:
        while joined[group] != group:
            group = joined[group]
        return group

    for sample in samples:
        pair = sorted((head(sample.group), head(whose.setdefault(pixel_digest(sample), sample.group))))
        joined[pair[1]] = pair[0]
    return {group: head(group) for group in joined}
