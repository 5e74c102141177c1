"""``prune-magnitude``: the smallest weights become zero, more and more of them while the others are fine-tuned."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgeai.api import Array, Compressed, CompressionFailed, CompressRequest
from edgeai_keras.frameworks import keras
from edgeai_keras.kernels import Kernel, Zeros, compared, facts, kernels, pristine
from edgeai_keras.loading import load
from edgeai_keras.options import Given
from edgeai_keras.saving import save
from edgeai_keras.specs import PRUNE_OPTIONS
from edgeai_keras.training import set_seed
from edgeai_keras.tuning import Tuning, tuned, tuned_note

_UPDATES = 100
"""The masks are made anew at most so often: sorting all weights costs more than a step of a small model."""


def sparsity_at(done: float, *, initial: float, final: float, begin: float, end: float) -> float:
    """The cubic schedule of Zhu and Gupta 2017 (arXiv 1710.01878), equation 1; ``done`` of all steps, 0 to 1."""
    if done >= end:
        return final
    part = max(0.0, done - begin) / (end - begin)
    return final + (initial - final) * (1.0 - part) ** 3


def compress(request: CompressRequest) -> Compressed:
    """Prune and fine-tune; without training batches, prune once.

    Raises:
        CompressionFailed: ``compress.options``, ``compress.layer-unknown``, and what ``loading.load`` and
            ``training.fit`` raise.
    """
    given = Given("prune-magnitude", PRUNE_OPTIONS, request.options)
    final = given.number("sparsity", 0.0, 0.999)
    plan = {
        "initial": given.number("initial", 0.0, final),
        "final": final,
        "begin": given.number("begin", 0.0, 0.99),
        "end": given.number("end", 0.01, 1.0),
    }
    if plan["begin"] >= plan["end"]:
        raise given.wrong(f"begin is {plan['begin']:g} and end {plan['end']:g}", "begin must be before end")
    tuning, most = Tuning.of(given), max(final, given.number("most", 0.0, 1.0))
    set_seed(request.seed)
    model = load(request.model)
    before = pristine(model)
    chosen = kernels(model, layers=given.names("layers"), keep=given.names("keep"))
    prune = _globally if given.word("scope") == "global" else _by_layer
    pruning = Pruning(chosen, lambda done: prune(chosen, sparsity_at(done, **plan), most))
    kept = Zeros(kernels(model))  # of layers that are not pruned here, but were before
    first = max(1, math.ceil(plan["end"] * tuning.epochs))
    history = tuning.run(model, request, (pruning, kept), first_epoch=first)
    if history is None:
        pruning.apply(1.0)
    _check(model, chosen, final, most)
    save(model, request.output)
    after = facts(model, request.output)
    notes = (
        f"{after['sparsity']:.1%} of the kernels' weights are zero (asked for {final:.1%} of {len(chosen)} kernels)",
        *_by_name(chosen),
        tuned_note(history),
    )
    return Compressed(model=request.output, notes=notes, facts={**compared(before, after), **tuned(history)})


class Pruning(keras.callbacks.Callback):  # type: ignore[misc]
    """Applies the masks of a schedule; a weight that is zero stays so, as the smallest there is."""

    def __init__(self, chosen: Sequence[Kernel], masks: Callable[[float], list[Array]]) -> None:
        super().__init__()
        self._chosen, self._make = chosen, masks
        self._masks: list[Array] = []
        self._step = 0

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Begin at the schedule's initial sparsity."""
        self._total = self.params["epochs"] * self.params["steps"]
        self._every = max(1, self._total // _UPDATES)
        self.apply(0.0)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Zero what the optimizer moved, and more where the schedule says so."""
        self._step += 1
        if self._step % self._every == 0 or self._step % self.params["steps"] == 0:
            self.apply(self._step / self._total)
            return
        for kernel, mask in zip(self._chosen, self._masks, strict=True):
            kernel.assign(kernel.value * mask)

    def apply(self, done: float) -> None:
        """Prune as far as the schedule is at ``done``, from 0 to 1."""
        self._masks = self._make(done)
        for kernel, mask in zip(self._chosen, self._masks, strict=True):
            kernel.assign(kernel.value * mask)


def _by_layer(chosen: Sequence[Kernel], sparsity: float, most: float) -> list[Array]:
    return [_mask(np.abs(kernel.value), round(sparsity * kernel.value.size)) for kernel in chosen]


def _globally(chosen: Sequence[Kernel], sparsity: float, most: float) -> list[Array]:
    """One threshold for all kernels; of each, the largest are out of its reach, so that no layer goes dead."""
    sizes = [np.abs(kernel.value) for kernel in chosen]
    safe = [_out_of_reach(size, math.ceil((1.0 - most) * size.size)) for size in sizes]
    mask = _mask(np.concatenate([size.ravel() for size in safe]), round(sparsity * sum(size.size for size in sizes)))
    ends = np.cumsum([size.size for size in sizes])[:-1]
    return [part.reshape(size.shape) for part, size in zip(np.split(mask, ends), sizes, strict=True)]


def _mask(size: Array, zeros: int) -> Array:
    """``False`` for the ``zeros`` smallest."""
    mask = np.ones(size.size, bool)
    if zeros:
        mask[np.argpartition(size.ravel(), zeros - 1)[:zeros]] = False
    return mask.reshape(size.shape)


def _out_of_reach(size: Array, count: int) -> Array:
    flat: Array = size.ravel().copy()
    if count:
        flat[np.argpartition(flat, flat.size - count)[flat.size - count :]] = np.inf
    return flat


def _check(model: Any, chosen: Sequence[Kernel], final: float, most: float) -> None:
    zeros = sum(int((kernel.value == 0).sum()) for kernel in chosen)
    wanted = final * sum(kernel.value.size for kernel in chosen)
    if zeros < wanted - len(chosen) - 1:
        raise CompressionFailed(f"{model.name}: {zeros} weights are zero, {wanted:.0f} were to be")


def _by_name(chosen: Sequence[Kernel]) -> list[str]:
    """Layers by sparsity, the most pruned first; not more than a reader reads."""
    shares = {kernel.layer: float((kernel.value == 0).mean()) for kernel in chosen}
    named = sorted(shares.items(), key=lambda item: -item[1])[:8]
    return [", ".join(f"{layer} {share:.0%}" for layer, share in named)]
