"""From an ``OpenRequest`` to a traced Keras model."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeai.api import (
    BackendError,
    BackendUnavailable,
    CompressionFailed,
    ConfigError,
    ConversionFailed,
    ConvertRequest,
    Described,
    ModelRejected,
    OpenRequest,
    TensorSpec,
)
from edgeai_keras.backend import CPU, describe, explain, missing
from edgeai_keras.backend.session import KerasSession
from edgeai_keras.backend.state import refuse_state
from edgeai_keras.model_file import Source, load, read, tensor_names
from edgeai_keras.outline import described, description
from edgeai_keras.unusable import never_built

_CODES = {
    "convert.model-unreadable": "backend.artifact-damaged",
    "convert.layer-unsafe": "backend.artifact-unsafe",
    "convert.model-too-large": "backend.artifact-unsafe",
    "convert.weights-elsewhere": "backend.artifact-unsafe",
    "convert.not-a-number": "backend.artifact-damaged",
    "convert.tensors-differ": "backend.tensors-differ",
}


def open_session(request: OpenRequest) -> KerasSession:
    """Load a ``.keras`` file without running code out of it, and trace it.

    Raises:
        BackendUnavailable: Keras is missing, or another device than ``CPU`` is asked for.
        ModelRejected: missing, damaged, with a Lambda layer, with other tensors than declared, or with layers that keep
            state or draw random numbers.
        ConfigError: a setting; there is none.
    """
    _check(request)
    import tensorflow as tf

    if request.threads > 0:
        with suppress(RuntimeError):  # only before TensorFlow's first run; the first wish holds for the process
            tf.config.threading.set_intra_op_parallelism_threads(request.threads)
    with tf.device(f"/{CPU}:0"):
        source = _read(request)
        _check_dtypes(source.model, request)
        refuse_state(request.artifact.name, source.function)
        session = KerasSession(tf, source, request.inputs, request.outputs, engine=describe())
        try:
            session.warm_up()
        except Exception as error:
            words = " ".join(str(error).split())[:1500]
            raise ModelRejected(f"{request.artifact.name}: {describe()} cannot run it: {words}") from error
    return session


def describe_tensors(artifact: Path) -> Described:
    """The tensors of a ``.keras`` file, by the model's own names and in its order.

    Raises:
        BackendUnavailable: Keras is missing.
        ModelRejected: missing, damaged, with a Lambda layer, or a model that was never built.
    """
    if missing():
        raise BackendUnavailable(explain(), code="backend.engine-missing", remedy="pip install edgeai-keras")
    if not artifact.is_file():
        raise ModelRejected(f"{artifact.name}: no such file", code="backend.artifact-missing")
    try:
        model = load(artifact)
    except ConversionFailed as error:
        raise rejected(error) from error
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise ModelRejected(
            never_built(artifact.name),
            code="backend.tensors-differ",
            remedy="give it a keras.Input, or call it once before it is saved",
        )
    outline = described(
        artifact,
        description(artifact).config,
        _specs(model, "input", model.inputs),
        _specs(model, "output", model.outputs),
    )
    return replace(outline, parameters=int(model.count_params()), operations=_operations(model))


def _operations(model: Any) -> int | None:
    """Of one inference; ``None`` where an extent is open or a layer's work is not known: half a sum would mislead."""
    from edgeai_keras.channels.counting import cost

    if any(extent is None for tensor in model.inputs for extent in tensor.shape[1:]):
        return None
    try:
        counted = cost(model)
    except CompressionFailed:
        return None
    return None if counted.uncounted else counted.flops


def _specs(model: Any, what: str, tensors: Any) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=name, dtype=str(tensor.dtype), shape=tuple(tensor.shape))
        for name, tensor in zip(tensor_names(model, what), tensors, strict=True)
    )


def rejected(error: ConversionFailed) -> BackendError:
    """What a reader of ``.keras`` files refuses, as a backend says it."""
    if error.code == "convert.engine-missing":
        return BackendUnavailable(str(error), code="backend.engine-missing", remedy=error.remedy)
    return ModelRejected(str(error), code=_CODES.get(error.code), remedy=error.remedy)


def _check(request: OpenRequest) -> None:
    if missing():
        raise BackendUnavailable(explain(), code="backend.engine-missing", remedy="pip install edgeai-keras")
    if request.device != CPU:
        raise BackendUnavailable(
            f"keras has no device {request.device!r}; it runs on {CPU}",
            code="backend.unknown-device",
            remedy=f"use {CPU}; on a GPU, convert the model for the backend gpu",
        )
    if request.settings:
        raise ConfigError(f"keras has no setting {', '.join(request.settings)}", code="config.backend-setting")
    if request.options:
        raise ModelRejected(f"keras has no option {', '.join(request.options)}", code="backend.option-unknown")
    if not request.artifact.is_file():
        raise ModelRejected(f"{request.artifact.name}: no such file", code="backend.artifact-missing")


def _read(request: OpenRequest) -> Source:
    try:
        return read(
            ConvertRequest(
                model=request.artifact,
                output=request.artifact.parent,
                precision="fp32",
                inputs=request.inputs,
                outputs=request.outputs,
            )
        )
    except ConversionFailed as error:
        raise rejected(error) from error


def _check_dtypes(model: Any, request: OpenRequest) -> None:
    """What a converter casts is here refused: the parent shows what the model itself says."""
    for what, specs, tensors in (("input", request.inputs, model.inputs), ("output", request.outputs, model.outputs)):
        names = tensor_names(model, what)
        order = [spec.name for spec in specs] if {spec.name for spec in specs} == set(names) else names
        own = {name: str(tensors[names.index(name)].dtype) for name in names}
        for spec, name in zip(specs, order, strict=True):
            if own[name] != spec.dtype:
                raise ModelRejected(
                    f"{request.artifact.name}: {what} {spec.name!r} is {own[name]}, declared {spec.dtype}",
                    code="backend.tensors-differ",
                    remedy="declare the model's own tensors; see model.summary()",
                )
