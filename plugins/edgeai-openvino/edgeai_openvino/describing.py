"""What an IR says of its own tensors, for a bundle around a model that someone else made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeai.api import Described, ModelRejected, TensorMismatch, TensorSpec
from edgeai_openvino.engine import describe, load
from edgeai_openvino.state import kept_by, refuse_random


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
        inputs=tuple(_spec(artifact, port) for port in model.inputs),
        outputs=tuple(_spec(artifact, port) for port in model.outputs),
    )


def _spec(artifact: Path, port: Any) -> TensorSpec:
    # The engine keeps names in a set: the shortest, then the first by the alphabet, is the same in every process.
    name = min(port.get_names(), key=lambda one: (len(one), one), default=port.get_node().get_friendly_name())
    dtype = np.dtype(port.get_element_type().to_dtype()).name
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        raise ModelRejected(f"{artifact.name}: tensor {name!r} has any rank", code="backend.tensors-differ")
    extents = tuple(None if extent.is_dynamic else int(extent.get_length()) for extent in shape)
    try:
        return TensorSpec(name=name, dtype=dtype, shape=extents)
    except TensorMismatch as error:
        raise ModelRejected(f"{artifact.name}: {error}", code="backend.tensors-differ") from error
