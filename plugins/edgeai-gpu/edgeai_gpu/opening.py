"""From an ``OpenRequest`` to a compiled function on a device."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from edgeai.api import BackendUnavailable, ConfigError, ModelRejected, OpenRequest, TensorSpec
from edgeai_gpu.engine import CPU, cuda_devices, describe, explain, load
from edgeai_gpu.safety import read_safe
from edgeai_gpu.session import TensorflowSession

_AGAIN = "convert the model again, or fetch the bundle again"


def open_session(request: OpenRequest) -> TensorflowSession:
    """Load one SavedModel onto one device and compile it.

    Raises:
        BackendUnavailable: TensorFlow is missing, or lists no such device.
        ModelRejected: missing, damaged, unsafe, not compilable, with other tensors than declared, or with state or
            random numbers in what it runs.
        ConfigError: a setting with a value that it cannot have.
    """
    xla, tf32 = _settings(request)
    tf = load()
    _check_device(tf, request.device)
    _check_files(request.artifact, _signature(request))
    _set_process(tf, threads=request.threads, tf32=tf32)
    with tf.device(f"/{request.device}"):
        loaded, signature = _loaded(tf, request)
        keys = _keys(signature, request)
        function = _function(tf, signature, keys, request, xla=xla)
        session = TensorflowSession(
            tf, function, loaded, request.inputs, request.outputs, device=request.device, engine=describe()
        )
        try:
            session.warm_up()
        except Exception as error:
            raise _rejected(request.artifact, error) from error
    return session


def _settings(request: OpenRequest) -> tuple[bool, bool]:
    from edgeai_gpu import BACKEND

    values = {option.name: request.settings.get(option.name, option.default) for option in BACKEND.settings}
    for name, value in {**values, **request.settings}.items():
        if name not in values or not isinstance(value, bool):
            remedy = "use true or false" if name in values else f"it has {', '.join(values)}"
            raise ConfigError(f"gpu: {name} = {value!r}", code="config.backend-setting", remedy=remedy)
    for name in set(request.options) - {option.name for option in BACKEND.options}:
        raise ModelRejected(f"{request.artifact.name}: gpu has no option {name!r}", code="backend.option-unknown")
    return values["xla"], values["tf32"]


def _check_device(tf: Any, device: str) -> None:
    """``CPU`` is never offered by ``probe``, and taken when it is named."""
    names = [known.name for known in cuda_devices(tf)]
    if device == CPU or device in names:
        return
    why = "" if names else f" ({explain()})"
    raise BackendUnavailable(
        f"{describe()} has no device {device!r} here; it lists {', '.join(names) or 'no CUDA device'}{why}",
        code="backend.unknown-device",
        remedy=f"use one of {', '.join([*names, CPU])}, or install the NVIDIA driver and tensorflow[and-cuda]",
    )


def _set_process(tf: Any, *, threads: int, tf32: bool) -> None:
    """What TensorFlow has but once a process. Threads can be set only before its first run; the first wish holds."""
    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    if threads > 0:
        with suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(threads)


def _signature(request: OpenRequest) -> str:
    return str(request.options.get("signature") or "serving_default")


def _check_files(artifact: Path, signature: str) -> None:
    """Read the graph as data first: a damaged or unsafe one never reaches TensorFlow's loader."""
    read_safe(artifact, signature)
    for name in ("variables.index", "variables.data-00000-of-00001"):
        if not (artifact / "variables" / name).is_file():
            raise _damaged(artifact, f"variables/{name} is missing")


def _loaded(tf: Any, request: OpenRequest) -> tuple[Any, Any]:
    name = _signature(request)
    try:
        loaded = tf.saved_model.load(str(request.artifact))
        signatures = dict(loaded.signatures)
    except Exception as error:  # the loader raises many kinds, none documented
        raise _damaged(request.artifact, " ".join(str(error).split())) from error
    if name not in signatures:
        raise ModelRejected(
            f"{request.artifact.name} has no signature {name!r}; it has {', '.join(signatures) or 'none'}",
            code="backend.tensors-differ",
        )
    return loaded, signatures[name]


def _keys(signature: Any, request: OpenRequest) -> tuple[dict[str, str], dict[str, str]]:
    """Declared name -> the signature's key, for inputs and outputs."""
    inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
    return (
        _matched(inputs, request.inputs, request.artifact, "input"),
        _matched(outputs, request.outputs, request.artifact, "output"),
    )


def _matched(own: dict[str, Any], specs: tuple[TensorSpec, ...], artifact: Path, what: str) -> dict[str, str]:
    wanted = [spec.name for spec in specs]
    if set(own) == set(wanted):
        keys = {name: name for name in wanted}
    elif len(own) == len(wanted) == 1:
        keys = {wanted[0]: next(iter(own))}
    else:  # a signature has no order to fall back on
        raise _differ(artifact, f"its {what}s are {', '.join(sorted(own))}; declared are {', '.join(wanted)}")
    for spec in specs:
        tensor = own[keys[spec.name]]
        dtype = np.dtype(tensor.dtype.as_numpy_dtype)
        if dtype != np.dtype(spec.dtype):
            raise _differ(artifact, f"{what} {spec.name!r} is {dtype}, declared {spec.dtype}")
        if not _fits(tensor.shape, spec.shape, what):
            raise _differ(artifact, f"{what} {spec.name!r} is {tensor.shape}, declared {spec.shape}")
    return keys


def _fits(own: Any, shape: tuple[int | None, ...], what: str) -> bool:
    if own.rank is None:
        return True
    if own.rank != len(shape):
        return False
    any_size_declared = what == "output"  # an output may be declared looser than it is, an input may not
    return all(
        extent is None or extent == want or (want is None and any_size_declared)
        for extent, want in zip(own.as_list(), shape, strict=True)
    )


def _function(
    tf: Any, signature: Any, keys: tuple[dict[str, str], dict[str, str]], request: OpenRequest, *, xla: bool
) -> Any:
    input_keys = [keys[0][spec.name] for spec in request.inputs]
    output_keys = [keys[1][spec.name] for spec in request.outputs]

    def call(*arrays: Any) -> list[Any]:
        outputs = signature(**dict(zip(input_keys, arrays, strict=True)))
        return [outputs[key] for key in output_keys]

    return tf.function(
        call,
        input_signature=[tf.TensorSpec(spec.shape, spec.dtype) for spec in request.inputs],
        autograph=False,
        jit_compile=xla,
    )


def _rejected(artifact: Path, error: BaseException) -> ModelRejected:
    words = " ".join(str(error).split())
    unsupported = "unsupported" in words.lower() or "not compilable" in words.lower()
    return ModelRejected(
        f"{artifact.name}: {describe()} cannot run it: {words[:1500]}",
        code="backend.op-unsupported" if unsupported else None,
        remedy="set xla = false for this backend, or convert the model without that operation" if unsupported else None,
    )


def _damaged(artifact: Path, why: str) -> ModelRejected:
    return ModelRejected(
        f"{artifact.name} is not a whole SavedModel: {why}", code="backend.artifact-damaged", remedy=_AGAIN
    )


def _differ(artifact: Path, why: str) -> ModelRejected:
    return ModelRejected(
        f"{artifact.name} is not what the manifest declares: {why}",
        code="backend.tensors-differ",
        remedy="declare the artifact's own tensors in the manifest, or convert it with the declared ones",
    )
