"""Named arrays at the border of a model, and the check that they are what was declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgeai.api.errors import TensorMismatch

Array: TypeAlias = npt.NDArray[Any]
Tensors: TypeAlias = Mapping[str, Array]
"""Tensor name -> array. The names are the model's own, the same on every backend."""

DTYPES = ("float32", "float16", "float64", "uint8", "int8", "uint16", "int16", "int32", "int64", "bool")
_DTYPES = {name: np.dtype(name) for name in DTYPES}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """What one input or output of a model is.

    Attributes:
        name: the model's own name for it.
        dtype: a numpy dtype name out of ``DTYPES``.
        shape: batch first; ``None`` where the model takes any size.
        layout: one letter an axis (``NHWC``, ``NC``; N batch, H rows, W columns, C channels,
            T time), or empty when it has no meaning as an image.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    layout: str = ""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise TensorMismatch(
                f"tensor {self.name!r}: unknown dtype {self.dtype!r}",
                remedy=f"use one of {', '.join(DTYPES)}",
            )
        if self.layout and len(self.layout) != len(self.shape):
            raise TensorMismatch(f"tensor {self.name!r}: layout {self.layout!r} does not fit shape {self.shape}")

    def accepts(self, array: Array) -> bool:
        """Whether dtype, rank and every fixed extent agree."""
        if array.dtype != _DTYPES[self.dtype]:
            return False
        shape = array.shape
        return shape == self.shape or (
            len(shape) == len(self.shape)
            and all(want is None or want == got for want, got in zip(self.shape, shape, strict=True))
        )


def check_tensors(specs: Sequence[TensorSpec], tensors: Tensors, *, what: str = "input") -> None:
    """Hold ``tensors`` against ``specs``: same names, dtypes, ranks and fixed extents.

    Raises:
        TensorMismatch: naming every tensor that is missing, surplus or of another kind.
    """
    if len(tensors) == len(specs) and all(_accepted(spec, tensors.get(spec.name)) for spec in specs):
        return  # no two specs have one name, so none is missing and none surplus
    declared = {spec.name: spec for spec in specs}
    faults = [f"missing {name!r}" for name in declared if name not in tensors]
    faults += [f"surplus {name!r}" for name in tensors if name not in declared]
    for name, spec in declared.items():
        array: object = tensors.get(name)  # a plugin may hand over anything
        if array is None:
            continue
        if not isinstance(array, np.ndarray):
            faults.append(f"{name!r} is {type(array).__name__}, not a numpy array")
        elif not spec.accepts(array):
            faults.append(f"{name!r} is {array.dtype}{array.shape}, declared {spec.dtype}{spec.shape}")
    if faults:
        raise TensorMismatch(f"{what} tensors do not match: " + "; ".join(faults))


def _accepted(spec: TensorSpec, array: object) -> bool:
    return isinstance(array, np.ndarray) and spec.accepts(array)
