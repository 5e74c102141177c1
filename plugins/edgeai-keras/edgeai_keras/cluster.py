"""``cluster``: each kernel's weights share a few values, which are fine-tuned together.

Han et al. 2016, Deep Compression (arXiv 1510.00149), section 3.

The file is no smaller by itself; compressed (a bundle's download, a package) it is, since an index says as much as a
weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgeai.api import Array, Compressed, CompressRequest
from edgeai_keras.frameworks import keras
from edgeai_keras.kernels import Kernel, Zeros, compared, facts, kernels, pristine
from edgeai_keras.loading import load
from edgeai_keras.options import Given
from edgeai_keras.saving import save
from edgeai_keras.specs import CLUSTER_OPTIONS
from edgeai_keras.training import set_seed
from edgeai_keras.tuning import Tuning, tuned, tuned_note

_ROUNDS = 50
_SAMPLE = 20_000
"""As many weights are looked at to begin from; all of them are in what follows."""


def compress(request: CompressRequest) -> Compressed:
    """Cluster and fine-tune the shared values; without training batches, cluster once.

    Raises:
        CompressionFailed: ``compress.options``, ``compress.layer-unknown``, and what ``loading.load`` and
            ``training.fit`` raise.
    """
    given = Given("cluster", CLUSTER_OPTIONS, request.options)
    count, init, zeros = given.count("clusters", 2), given.word("init"), given.flag("preserve_sparsity")
    tuning = Tuning.of(given)
    set_seed(request.seed)
    model = load(request.model)
    before = pristine(model)
    chosen = kernels(model, layers=given.names("layers"), keep=given.names("keep"))
    random = np.random.default_rng([request.seed, 0xC1])
    ties = [_tie(kernel, count, init, random, zeros=zeros) for kernel in chosen]
    shared = Shared(ties)
    shared.apply()
    callbacks = (shared, Zeros(kernels(model))) if zeros else (shared,)
    history = tuning.run(model, request, callbacks)
    save(model, request.output)
    after = facts(model, request.output)
    notes = (
        f"at most {count} values in each of {len(chosen)} kernels; compressed, the file is"
        f" {after['gzip_bytes'] / before['gzip_bytes']:.0%} of what it was",
        tuned_note(history),
    )
    return Compressed(model=request.output, notes=notes, facts={**compared(before, after), **tuned(history)})


class Tie:
    """Which weights of a kernel share a value. Value number 0 is zero itself where ``zero``."""

    def __init__(self, kernel: Kernel, places: Array, *, zero: bool) -> None:
        self._kernel, self._places, self._zero = kernel, places, zero
        self._counts = np.maximum(np.bincount(places), 1)

    def apply(self) -> None:
        """Give those that share a value their mean.

        The optimizer moves each by its own gradient; the mean is the step of steepest descent for the shared value.
        """
        value = self._kernel.value
        means = np.bincount(self._places, weights=value.ravel(), minlength=len(self._counts)) / self._counts
        if self._zero:
            means[0] = 0.0
        self._kernel.assign(means.astype(value.dtype)[self._places].reshape(value.shape))


class Shared(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the ties of all kernels while they are trained."""

    def __init__(self, ties: Sequence[Tie]) -> None:
        super().__init__()
        self._ties = ties

    def apply(self) -> None:
        """Tie them."""
        for tie in self._ties:
            tie.apply()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Tie what the optimizer parted."""
        self.apply()


def _tie(kernel: Kernel, count: int, init: str, random: np.random.Generator, *, zeros: bool) -> Tie:
    flat = kernel.value.ravel().astype(np.float64)
    own_zero = zeros and bool((flat == 0).any()) and bool(flat.any())
    weights = flat[flat != 0] if own_zero else flat
    centres = centroids(weights, count - own_zero, init, random)
    places = nearest(flat, centres)
    if own_zero:
        places = np.where(flat == 0, 0, places + 1)
    return Tie(kernel, places, zero=own_zero)


def centroids(weights: Array, count: int, init: str, random: np.random.Generator) -> Array:
    """At most ``count`` centres of one-dimensional k-means, rising (Lloyd's algorithm, exact for sorted weights)."""
    values = np.sort(weights)
    distinct = np.unique(values)
    if len(distinct) <= count:
        return distinct
    centres = np.linspace(values[0], values[-1], count) if init == "linear" else _spread(values, count, random)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    for _ in range(_ROUNDS):
        ends = np.concatenate([[0], np.searchsorted(values, (centres[:-1] + centres[1:]) / 2), [len(values)]])
        members = np.diff(ends)
        moved = np.where(members > 0, np.diff(sums[ends]) / np.maximum(members, 1), centres)
        if np.array_equal(moved, centres):
            break
        centres = np.sort(moved)
    return centres


def nearest(weights: Array, centres: Array) -> Array:
    """For each weight, which of the rising ``centres`` it is nearest to."""
    places: Array = np.searchsorted((centres[:-1] + centres[1:]) / 2, weights)
    return places


def _spread(values: Array, count: int, random: np.random.Generator) -> Array:
    """k-means++ (Arthur and Vassilvitskii 2007): each next centre likely where the others are far."""
    sample = random.choice(values, _SAMPLE, replace=False) if len(values) > _SAMPLE else values
    centres = [float(random.choice(sample))]
    distance = (sample - centres[0]) ** 2
    while len(centres) < count and distance.any():
        centres.append(float(random.choice(sample, p=distance / distance.sum())))
        distance = np.minimum(distance, (sample - centres[-1]) ** 2)
    return np.sort(centres)
