"""A model that runs on LiteRT while it is being made, with a look at its inner tensors."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeai.api import Array
from edgeai_tflite.quantise import SIGNATURE


def interpreter(content: bytes, **more: Any) -> Any:
    """LiteRT's, of one thread; ``more`` are its own arguments."""
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_content=content, num_threads=1, **more)


class Tensors:
    """A model that is asked for its inner tensors; without XNNPACK, which would keep them to itself."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.interpreter import OpResolverType

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that this is for debugging: it is
            self._interpreter = interpreter(
                content,
                experimental_preserve_all_tensors=True,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
        self._runner = self._interpreter.get_signature_runner(SIGNATURE)
        self._details = {detail["name"]: detail for detail in self._interpreter.get_tensor_details()}

    def run(self, sample: Mapping[str, Array]) -> None:
        """One inference, whose tensors ``value`` gives until the next."""
        self._runner(**sample)

    def value(self, name: str) -> Array | None:
        """A tensor in float64, whatever it is held in; ``None`` when there is none of this name with a value."""
        detail = self._details.get(name)
        if detail is None:
            return None
        try:
            value = self._interpreter.get_tensor(detail["index"])
        except ValueError:
            return None
        if value.dtype.kind not in "iuf":
            return None
        scale, zero = detail["quantization"]
        wide: Array = value.astype(np.float64)
        return (wide - zero) * scale if scale else wide
