"""What an IR says of its own tensors, for a bundle around a model that someone else made."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from edgeai.api import Described, ModelRejected, TensorMismatch, TensorSpec
from edgeai_openvino.engine import describe, load
from edgeai_openvino.state import kept_by, refuse_random

_END: Final = {
    "Softmax": "softmax",
    "SoftMax": "softmax",
    "Sigmoid": "sigmoid",
    "MatMul": "none",
    "Convolution": "none",
}
_SAME: Final = ("Result", "Reshape", "Squeeze", "Unsqueeze", "Convert")


def describe_tensors(artifact: Path) -> Described:
    """The tensors of an IR (``.xml`` with its ``.bin``), by the first of their names, in its order.

    Raises:
        BackendUnavailable: OpenVINO is missing.
        ModelRejected: missing, damaged, with a dtype that no manifest has, or with random numbers.
    """
    ov = load()
    for part in (artifact, artifact.with_suffix(".bin")):
        if not part.is_file():
            raise ModelRejected(f"{part.name}: no such file", code="backend.artifact-missing")
    try:
        model = ov.Core().read_model(artifact)
    except RuntimeError as error:
        words = " ".join(str(error).split())[:1500]
        raise ModelRejected(f"{artifact.name}: {describe()} refuses it: {words}") from error
    refuse_random(artifact, kept_by(artifact))
    return Described(
        activations=_activations(model),
        inputs=tuple(_spec(artifact, port) for port in model.inputs),
        outputs=tuple(_spec(artifact, port) for port in model.outputs),
    )


def _name(port: Any) -> str:
    # The engine keeps names in a set: the shortest, then the first by the alphabet, is the same in every process.
    return str(min(port.get_names(), key=lambda one: (len(one), one), default=port.get_node().get_friendly_name()))


def _spec(artifact: Path, port: Any) -> TensorSpec:
    name = _name(port)
    dtype = np.dtype(port.get_element_type().to_dtype()).name
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        raise ModelRejected(f"{artifact.name}: tensor {name!r} has any rank", code="backend.tensors-differ")
    extents = tuple(None if extent.is_dynamic else int(extent.get_length()) for extent in shape)
    try:
        return TensorSpec(name=name, dtype=dtype, shape=extents)
    except TensorMismatch as error:
        raise ModelRejected(f"{artifact.name}: {error}", code="backend.tensors-differ") from error


def _activations(model: Any) -> dict[str, str]:
    """Output -> what gives its values last."""
    activations = {}
    for port in model.outputs:
        node = port.get_node()
        while node.get_type_name() in _SAME:
            node = node.input_value(0).get_node()
        if how := _END.get(node.get_type_name()):
            activations[_name(port)] = how
    return activations
