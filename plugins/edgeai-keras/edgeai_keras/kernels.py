"""The weights that compressors work on, kernels by layer, and what is to be known of them."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeai.api import Array, CompressionFailed
from edgeai_keras.frameworks import keras

_KERNELS = ("kernel", "pointwise_kernel", "depthwise_kernel", "recurrent_kernel", "embeddings")
"""Names that Keras's layers give the weights they multiply with; biases and normalisation are left alone."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel: ``layer`` is its layer's name, with those of nested models before it (``stem/conv``)."""

    layer: str
    variable: Any

    @property
    def value(self) -> Array:
        """A copy of the weights."""
        return np.array(keras.ops.convert_to_numpy(self.variable))

    def assign(self, value: Array) -> None:
        """Set the weights."""
        self.variable.assign(value)


def kernels(model: Any, *, layers: Sequence[str] = (), keep: Sequence[str] = ()) -> tuple[Kernel, ...]:
    """The kernels of ``layers`` (all, when empty) but those of ``keep``, in the model's order.

    Raises:
        CompressionFailed: ``compress.layer-unknown``: a name that no layer with a kernel has, or nothing is left.
    """
    every = tuple(
        Kernel(layer, variable)
        for layer, own in _layers(model, "")
        for variable in own.weights
        if variable.name in _KERNELS and len(variable.shape) > 1
    )
    for name in (*layers, *keep):
        if not any(_is(kernel, name) for kernel in every):
            known = ", ".join(dict.fromkeys(kernel.layer for kernel in every))
            raise CompressionFailed(
                f"{model.name} has no layer {name!r} with a kernel",
                code="compress.layer-unknown",
                remedy=f"it has {known or 'none'}",
            )
    chosen = tuple(
        kernel
        for kernel in every
        if (not layers or any(_is(kernel, name) for name in layers)) and not any(_is(kernel, name) for name in keep)
    )
    if not chosen:
        raise CompressionFailed(
            f"{model.name} has no kernel that is to be changed", code="compress.layer-unknown", remedy="see keep"
        )
    return chosen


def _layers(model: Any, within: str) -> Iterator[tuple[str, Any]]:
    """(name, layer) of every layer that is no model itself, each once."""
    for layer in model.layers:
        name = f"{within}{layer.name}"
        if isinstance(layer, keras.Model):
            yield from _layers(layer, f"{name}/")
        else:
            yield name, layer


def _is(kernel: Kernel, name: str) -> bool:
    return kernel.layer == name or kernel.layer.startswith(f"{name}/") or kernel.layer.endswith(f"/{name}")


class Zeros(keras.callbacks.Callback):  # type: ignore[misc]
    """Holds every weight at zero that is zero when this is made."""

    def __init__(self, chosen: Sequence[Kernel]) -> None:
        super().__init__()
        masks = ((kernel, kernel.value != 0) for kernel in chosen)
        self._masks = [(kernel, mask) for kernel, mask in masks if not mask.all()]

    @property
    def any(self) -> bool:
        """Whether there is any zero to hold."""
        return bool(self._masks)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Put the zeros back that the optimizer moved."""
        for kernel, mask in self._masks:
            kernel.assign(kernel.value * mask)


def facts(model: Any, path: Path) -> dict[str, float]:
    """Figures of a saved model.

    ``parameters``: all weights. ``sparsity``: share of zeros among kernels' weights. ``distinct_weights``: most
    distinct values in one kernel. ``file_bytes``, and ``gzip_bytes``: what the file comes to when it is compressed.
    """
    values = [v.value for v in kernels(model)]
    count = sum(value.size for value in values)
    data = path.read_bytes()
    return {
        "parameters": float(model.count_params()),
        "sparsity": sum(int(value.size - np.count_nonzero(value)) for value in values) / count,
        "distinct_weights": float(max(len(np.unique(value)) for value in values)),
        "file_bytes": float(len(data)),
        "gzip_bytes": float(len(gzip.compress(data, compresslevel=9, mtime=0))),
    }


def compared(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Both, the former with ``_before`` at the end of each name."""
    return {**{f"{name}_before": value for name, value in before.items()}, **after}


def pristine(model: Any) -> dict[str, float]:
    """``facts`` of a model as ``save`` would write it."""
    import tempfile

    from edgeai_keras.saving import save

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        save(model, path)
        return facts(model, path)
