"""What a SavedModel says of its own tensors, for a bundle around a model that someone else made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeai.api import Described, ModelRejected, TensorMismatch, TensorSpec
from edgeai_gpu.engine import load
from edgeai_gpu.safety import read_safe

_SIGNATURE = "serving_default"


def describe_tensors(artifact: Path) -> Described:
    """The tensors of a SavedModel folder, by the keys of ``serving_default``, in the order of the alphabet.

    The graph is read as data; nothing of it is run.

    Raises:
        BackendUnavailable: TensorFlow is missing.
        ModelRejected: no SavedModel, without that signature, with a dtype or rank that no manifest has, with an
            operation that is not on the list, or with state or random numbers in what it runs.
    """
    tf = load()
    parsed = read_safe(artifact, _SIGNATURE)
    signatures = {name: one for meta in parsed.meta_graphs for name, one in meta.signature_def.items()}
    if _SIGNATURE not in signatures:
        known = ", ".join(sorted(signatures)) or "none"
        raise ModelRejected(
            f"{artifact.name} has no signature {_SIGNATURE!r}; it has {known}",
            code="backend.tensors-differ",
            remedy="export it again with a serving signature: model.export(folder)",
        )
    serving = signatures[_SIGNATURE]
    return Described(
        inputs=tuple(_spec(tf, artifact, name, serving.inputs[name]) for name in sorted(serving.inputs)),
        outputs=tuple(_spec(tf, artifact, name, serving.outputs[name]) for name in sorted(serving.outputs)),
    )


def _spec(tf: Any, artifact: Path, name: str, info: Any) -> TensorSpec:
    dtype, shape = str(tf.dtypes.as_dtype(info.dtype).name), tf.TensorShape(info.tensor_shape)
    if shape.rank is None:
        raise ModelRejected(f"{artifact.name}: tensor {name!r} has any rank", code="backend.tensors-differ")
    try:
        return TensorSpec(name=name, dtype=dtype, shape=tuple(shape.as_list()))
    except TensorMismatch as error:
        raise ModelRejected(f"{artifact.name}: {error}", code="backend.tensors-differ") from error
