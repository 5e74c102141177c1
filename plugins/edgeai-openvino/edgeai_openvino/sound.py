"""Whether OpenVINO's int8 arithmetic gives what the quantised model says.

Measured with OpenVINO 2026.4 on a CPU with AVX-512 VNNI: of several fully connected layers in a row, all in int8, the
later ones give constants or numbers of 1e9, for some shapes, with one thread and not with two, and without a word. With
those in float, all is well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from edgeai.api import Array
from edgeai_openvino.naming import kind_of, name_of

_PLAIN: Final[Mapping[str, Any]] = {"INFERENCE_PRECISION_HINT": "f32"}
_SIMULATED: Final[Mapping[str, Any]] = {**_PLAIN, "LP_TRANSFORMS_MODE": "NO"}
"""Quantised values, computed in float."""
_THREADS: Final = (1, 2)
_FAR: Final = 0.1
"""Root mean square difference, as a part of the answers' own; kernels that are right stay below a twentieth of it."""


def is_sound(ov: Any, made: Any, samples: Sequence[Mapping[str, Array]]) -> bool:
    """Whether int8 kernels answer these samples as the same model does whose rounded values are computed in float."""
    simulated = _answers(ov, made, _SIMULATED, samples)
    for threads in _THREADS:
        own = _answers(ov, made, {**_PLAIN, "INFERENCE_NUM_THREADS": threads}, samples)
        for wanted, given in zip(simulated, own, strict=True):
            if not (np.isfinite(given).all() and np.sqrt(np.mean((given - wanted) ** 2)) <= _FAR * _size(wanted)):
                return False
    return True


def suspects(model: Any) -> tuple[list[str], ...]:
    """The fully connected operations that follow another with no convolution in between; and all of them.

    Nothing where none does: of a single one nothing is known to go wrong.
    """
    connected = [node for node in model.get_ordered_ops() if kind_of(node) == "MatMul"]
    later = [node for node in connected if any(kind_of(source) == "MatMul" for source in _upstream(node))]
    return ([name_of(node) for node in later], [name_of(node) for node in connected]) if later else ()


def _upstream(node: Any) -> Iterable[Any]:
    """What an operation depends on, up to convolutions and fully connected operations."""
    seen: set[str] = set()
    waiting = [node.input_value(place).get_node() for place in range(node.get_input_size())]
    while waiting:
        source = waiting.pop()
        if name_of(source) in seen:
            continue
        seen.add(name_of(source))
        yield source
        if kind_of(source) not in ("MatMul", "Convolution", "GroupConvolution", "ConvolutionBackpropData"):
            waiting += [source.input_value(place).get_node() for place in range(source.get_input_size())]


def _answers(ov: Any, model: Any, properties: Mapping[str, Any], samples: Sequence[Mapping[str, Array]]) -> list[Array]:
    """Each output, of all samples."""
    compiled = ov.Core().compile_model(model, "CPU", dict(properties))
    rows = [[np.array(value, np.float64) for value in compiled(dict(sample)).values()] for sample in samples]
    return [np.stack(column) for column in zip(*rows, strict=True)]


def _size(values: Array) -> float:
    return max(float(np.sqrt(np.mean(values**2))), 1e-6)
