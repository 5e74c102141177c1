"""Folds of a cross-validation: which samples each learns from, and in which batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from edgeai.api import Array, Batch, CompressionFailed, MovableTargets, Tensors

Batches: TypeAlias = Callable[[], Iterable[Batch]]
"""Called once an epoch; gives that epoch's batches."""
Shown: TypeAlias = Callable[[Array], Callable[[np.random.Generator], Array]]
"""Places of what is learnt from -> what draws an epoch of them: places in these, some of them more than once."""


def inner(
    train: Array, groups: Sequence[Any] | None, strata: Sequence[Any] | None, folds: int, seed: int
) -> tuple[Array, Array]:
    """A fold's training places, parted: those that weights are learnt from, and those that choose the epoch."""
    own = train if groups is None else np.asarray(groups)[train]
    kinds = None if strata is None else np.asarray(strata)[train]
    parts = min(folds, len(np.unique(own)))
    if parts < 2:
        return train, train[:0]
    if kinds is not None and np.unique(kinds, return_counts=True)[1].max() < parts:
        kinds = None  # no stratum has a sample for each part
    words = None if kinds is None else list(kinds)
    learnt, chooses = splits(len(train), list(own), words, parts, seed)[0]
    return train[learnt], train[chooses]


def splits(
    count: int, groups: Sequence[Any] | None, strata: Sequence[Any] | None, folds: int, seed: int
) -> list[tuple[Array, Array]]:
    """For each fold the places that are trained on, and those that are held out; no group is on both sides.

    Raises:
        CompressionFailed: ``compress.no-data``: fewer groups than folds.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    own = np.arange(count) if groups is None else np.asarray(groups)
    if folds < 2 or len(np.unique(own)) < folds:
        raise CompressionFailed(
            f"{len(np.unique(own))} groups cannot be split into {folds} folds",
            code="compress.no-data",
            remedy="use at least 2 folds, and no more than there are groups",
        )
    kind = GroupKFold if strata is None else StratifiedGroupKFold
    splitter = kind(n_splits=folds, shuffle=True, random_state=seed)
    places = np.arange(count)
    return [(train, held_out) for train, held_out in splitter.split(places, strata, own)]


def part(tensors: Tensors, places: Array) -> Tensors:
    """The samples at these places, in their order."""
    if isinstance(tensors, MovableTargets):
        return tensors.at(places)
    return {name: value[places] for name, value in tensors.items()}


def shuffled(
    inputs: Tensors,
    targets: Tensors,
    size: int,
    seed: int | None,
    drawn: Callable[[np.random.Generator], Array] | None = None,
) -> Batches:
    """Batches in another order each time, of what is drawn anew if ``drawn``; in their own order without a seed."""
    count = len(next(iter(inputs.values())))
    random = None if seed is None else np.random.default_rng([seed, 0xBA7])

    def batches() -> list[Batch]:
        places = np.arange(count) if random is None or drawn is None else drawn(random)
        order = places if random is None else random.permutation(places)
        few = [order[begin : begin + size] for begin in range(0, len(order), size)]
        return [(part(inputs, these), part(targets, these)) for these in few]

    return batches
