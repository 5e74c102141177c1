"""What an artifact says of its own tensors, for a bundle around a model that someone else made."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from edgeai.api import Described, ModelRejected, TensorMismatch, TensorSpec
from edgeai_tflite.engine import load
from edgeai_tflite.flatbuffer import verify
from edgeai_tflite.session import ENGINE_ERRORS
from edgeai_tflite.state import kept_by, refuse_random

_END: Final = {
    "SOFTMAX": "softmax",
    "LOGISTIC": "sigmoid",
    "FULLY_CONNECTED": "none",
    "CONV_2D": "none",
}
_SAME: Final = ("QUANTIZE", "DEQUANTIZE", "RESHAPE", "CAST", "SQUEEZE")


def describe_tensors(artifact: Path) -> Described:
    """The tensors of a ``.tflite`` file: by the keys of its signature, else by their own names, in the engine's order.

    Raises:
        BackendUnavailable: no runtime is installed.
        ModelRejected: missing, damaged, with a dtype that no manifest has, with an operator that is lacking, or
            with random numbers.
    """
    runtime, module = load()
    fault = verify(artifact, deep=True) if artifact.is_file() else ""
    if fault or not artifact.is_file():
        raise ModelRejected(
            f"{artifact.name}: {f'not a whole TensorFlow Lite model: {fault}' if fault else 'no such file'}",
            code="backend.artifact-damaged" if fault else "backend.artifact-missing",
        )
    try:
        interpreter = module.Interpreter(model_path=str(artifact))
        interpreter.allocate_tensors()
    except ENGINE_ERRORS as error:
        words = " ".join(str(error).split())
        raise ModelRejected(f"{artifact.name}: {runtime.described} refuses it: {words}") from error
    refuse_random(artifact, kept_by(artifact))
    keys = _keys(interpreter)
    details = (*interpreter.get_input_details(), *interpreter.get_output_details())
    return Described(
        inputs=tuple(_spec(artifact, detail, keys) for detail in interpreter.get_input_details()),
        outputs=tuple(_spec(artifact, detail, keys) for detail in interpreter.get_output_details()),
        scales={
            _name(detail, keys): (float(detail["quantization"][0]), int(detail["quantization"][1]))
            for detail in details
            if detail["quantization"][0]
        },
        activations=_activations(interpreter, keys),
    )


def _activations(interpreter: Any, keys: dict[int, str]) -> dict[str, str]:
    """Output -> what gives its values last, where the runtime lists its operations."""
    try:
        operations = [
            (str(one["op_name"]), [int(n) for n in one["inputs"]], {int(n) for n in one["outputs"]})
            for one in interpreter._get_ops_details()  # offered nowhere else; what it lacks is left out
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}
    activations = {}
    for detail in interpreter.get_output_details():
        if how := _END.get(_giver(operations, int(detail["index"]))):
            activations[_name(detail, keys)] = how
    return activations


def _giver(operations: list[tuple[str, list[int], set[int]]], tensor: int) -> str:
    """The operation that computes a tensor, behind those that only write its values otherwise."""
    for kind, inputs, outputs in reversed(operations):
        if tensor in outputs and kind != "DELEGATE":  # it stands for operations that are listed too
            return _giver(operations, inputs[0]) if kind in _SAME and inputs and inputs[0] != tensor else kind
    return ""


def _keys(interpreter: Any) -> dict[int, str]:
    """Tensor index -> key of the signature that a session takes by itself; empty when there is none."""
    present = interpreter.get_signature_list()
    name = "serving_default" if "serving_default" in present else next(iter(present), "")
    if not name:
        return {}
    runner = interpreter.get_signature_runner(name)
    details = {**runner.get_input_details(), **runner.get_output_details()}
    return {int(detail["index"]): key for key, detail in details.items()}


def _name(detail: dict[str, Any], keys: dict[int, str]) -> str:
    return keys.get(int(detail["index"]), str(detail["name"]))


def _spec(artifact: Path, detail: dict[str, Any], keys: dict[int, str]) -> TensorSpec:
    name, dtype = _name(detail, keys), np.dtype(detail["dtype"]).name
    signature = detail.get("shape_signature", ())
    shape = signature if len(signature) else detail["shape"]
    try:
        return TensorSpec(name=name, dtype=dtype, shape=tuple(None if extent < 0 else int(extent) for extent in shape))
    except TensorMismatch as error:
        raise ModelRejected(f"{artifact.name}: {error}", code="backend.tensors-differ") from error
