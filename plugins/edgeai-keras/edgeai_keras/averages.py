"""Batch normalisation's running averages, when an epoch has few batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgeai_keras.frameworks import keras


@contextmanager
def averages_within(model: Any, steps: int) -> Iterator[None]:
    """For a while, no running average of batch normalisation looks back further than half of ``steps`` batches.

    With Keras's momentum of 0.99, the averages that a model is validated and shipped with trail its weights by some
    hundred batches: more than a small data set has in many epochs, and what was trained looks worse than it is.
    """
    most = max(0.0, 1.0 - 2.0 / steps)
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    own = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = min(norm.momentum, most)
        yield
    finally:
        for norm, momentum in zip(norms, own, strict=True):
            norm.momentum = momentum
