"""From an ``OpenRequest`` to a compiled model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from edgeai.api import BackendUnavailable, ConfigError, ModelRejected, OpenRequest, TensorSpec
from edgeai_openvino.engine import AUTO, describe, load
from edgeai_openvino.session import ENGINE_ERRORS, Compiled, OpenvinoSession, Port, Ports
from edgeai_openvino.state import cannot_reset, kept_by, refuse_random

_MISSING_OP = (
    "doesn't contain the operation",
    "unsupported opset",
    "unsupported operation",
    "not supported",
    "cannot create",
)


def open_session(request: OpenRequest) -> OpenvinoSession:
    """Compile one IR for one device.

    Raises:
        BackendUnavailable: OpenVINO is missing, or lists no such device.
        ModelRejected: missing, damaged, with an operation that OpenVINO lacks, with other tensors than declared, with
            random numbers, or with state that the device cannot reset.
        ConfigError: a setting with a value that it cannot have.
    """
    settings = _settings(request)
    ov = load()
    core = ov.Core()
    _check_device(core, request.device)
    _check_files(request.artifact)
    try:
        model = core.read_model(request.artifact)
    except RuntimeError as error:
        raise _rejected(request.artifact, error) from error
    kept = kept_by(request.artifact)
    refuse_random(request.artifact, kept)
    inputs = _ports(model.inputs, request.inputs, request.artifact, "input")
    outputs = _ports(model.outputs, request.outputs, request.artifact, "output")

    def compiled(hint: str, *, spare: int) -> Compiled:
        made = core.compile_model(model, request.device, _properties(core, request, settings, hint))
        return Compiled(made, flight=settings["requests"] or max(2, spare * _optimal_requests(made)))

    try:
        _fix_shapes(ov, model, inputs)
        _check_outputs(model, outputs, request.artifact)
        for_runs = compiled("latency", spare=1)
    except (RuntimeError, TypeError) as error:
        raise _rejected(request.artifact, error) from error
    if kept.variables:
        try:
            for_runs.reset_state()
        except ENGINE_ERRORS as error:
            raise cannot_reset(request.artifact, request.device, error) from error
    # Twice what is at work at once: what is done need not wait until its turn to answer has come.
    is_worth_two = settings["hint"] == "auto" and _has_several_cores(request)
    return OpenvinoSession(
        ov,
        for_runs,
        Ports(inputs=inputs, outputs=outputs, keeps_state=kept.variables),
        for_streams=(lambda: compiled("throughput", spare=2)) if is_worth_two else None,
        device=request.device,
        engine=describe(),
    )


def _has_several_cores(request: OpenRequest) -> bool:
    """Whether one inference a core differs from one over all; on other devices the engine sees to that itself."""
    if request.device != "CPU":
        return False
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # not every system can say
        usable = os.cpu_count() or 1
    return (request.threads or usable) > 1


def _settings(request: OpenRequest) -> dict[str, Any]:
    from edgeai_openvino import BACKEND

    values = {option.name: request.settings.get(option.name, option.default) for option in BACKEND.settings}
    for option in BACKEND.settings:
        if option.choices and values[option.name] not in option.choices:
            raise _bad_setting(option.name, values[option.name], f"use one of {', '.join(option.choices)}")
    for name in set(request.settings) - set(values):
        raise _bad_setting(name, request.settings[name], f"it has {', '.join(values)}")
    for name in request.options:
        raise ModelRejected(f"{request.artifact.name}: openvino has no option {name!r}", code="backend.option-unknown")
    requests = values["requests"]
    if not isinstance(requests, int) or isinstance(requests, bool) or not 0 <= requests <= 64:
        raise _bad_setting("requests", requests, "use a whole number from 0 to 64")
    return values


def _bad_setting(name: str, value: object, remedy: str) -> ConfigError:
    return ConfigError(f"openvino: {name} = {value!r}", code="config.backend-setting", remedy=remedy)


def _check_device(core: Any, device: str) -> None:
    """OpenVINO calls its only GPU both ``GPU`` and ``GPU.0``; either is taken, whichever it lists."""
    names = [str(name) for name in core.available_devices]
    if device not in {*names, AUTO} and f"{device}.0" not in names and device.removesuffix(".0") not in names:
        raise BackendUnavailable(
            f"{describe()} has no device {device!r} here; it lists {', '.join(names) or 'none'}",
            code="backend.unknown-device",
            remedy=f"use one of {', '.join([*names, AUTO])}, or install the driver of {device}",
        )


def _check_files(artifact: Path) -> None:
    if not artifact.is_file():
        raise ModelRejected(f"{artifact.name}: no such file", code="backend.artifact-missing")
    # read_model guesses the format from the contents and would open a TensorFlow graph or an ONNX file too.
    with artifact.open("rb") as file:
        head = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"<?xml"):
        head = head.partition(b"?>")[2].lstrip()
    if artifact.suffix != ".xml" or not head.startswith(b"<net"):
        raise ModelRejected(
            f"{artifact.name} is not an OpenVINO IR: it does not begin with <net>",
            code="backend.artifact-damaged",
            remedy="convert the model again, or fetch the bundle again",
        )


def _rejected(artifact: Path, error: BaseException) -> ModelRejected:
    words = " ".join(str(error).split())
    if any(phrase in words.lower() for phrase in _MISSING_OP):
        code, remedy = "backend.op-unsupported", "update openvino, or convert the model without that operation"
    else:
        code, remedy = None, "convert the model again, or fetch the bundle again"
    return ModelRejected(f"{artifact.name}: {describe()} refuses it: {words}", code=code, remedy=remedy)


def _properties(core: Any, request: OpenRequest, settings: dict[str, Any], auto_hint: str) -> dict[str, Any]:
    device = request.device.partition(".")[0]
    hint = auto_hint if settings["hint"] == "auto" else settings["hint"]
    properties: dict[str, Any] = {"PERFORMANCE_HINT": hint.upper()}
    if request.cache_dir is not None:
        properties["CACHE_DIR"] = str(request.cache_dir)
    if settings["precision"] != "auto" and device in ("CPU", "GPU", AUTO):
        properties["INFERENCE_PRECISION_HINT"] = settings["precision"]
    if device == "CPU" and request.threads > 0:
        properties["INFERENCE_NUM_THREADS"] = request.threads
    if device == AUTO:
        # Named, AUTO may choose; but it may not begin on one device and go on with another.
        properties |= {"ENABLE_STARTUP_FALLBACK": False, "ENABLE_RUNTIME_FALLBACK": False}
        if request.threads > 0:
            core.set_property("CPU", {"INFERENCE_NUM_THREADS": request.threads})
    return properties


def _optimal_requests(compiled: Any) -> int:
    try:
        return int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
    except RuntimeError:  # a device need not know
        return 1


# --- the manifest's names onto the model's ports -------------------------------------------------


def _ports(ports: Any, specs: tuple[TensorSpec, ...], artifact: Path, what: str) -> tuple[Port, ...]:
    names = [set(port.get_names()) for port in ports]
    wanted = [spec.name for spec in specs]
    shown = ", ".join("/".join(sorted(own)) or "?" for own in names)
    if len(ports) != len(specs):
        raise _differ(artifact, f"it has {len(ports)} {what}s ({shown}), {len(specs)} are declared")
    places = [next((place for place, own in enumerate(names) if name in own), None) for name in wanted]
    if any(place is not None for place in places) and (None in places or len(set(places)) < len(places)):
        raise _differ(artifact, f"its {what}s are {shown}; declared are {', '.join(wanted)}")
    if None in places:  # wholly other names: the engine's order is the declared order
        places = list(range(len(specs)))
    return tuple(_port(ports[place], place, spec, artifact, what) for spec, place in zip(specs, places, strict=True))


def _port(port: Any, place: int | None, spec: TensorSpec, artifact: Path, what: str) -> Port:
    assert place is not None
    try:
        dtype = np.dtype(port.element_type.to_dtype())
    except (RuntimeError, TypeError, KeyError) as error:
        raise _differ(artifact, f"{what} {spec.name!r} is {port.element_type}") from error
    if dtype != np.dtype(spec.dtype):
        raise _differ(artifact, f"{what} {spec.name!r} is {dtype}, declared {spec.dtype}")
    if what == "input" and not _fits(port.partial_shape, spec.shape):
        raise _differ(artifact, f"{what} {spec.name!r} is {port.partial_shape}, declared {spec.shape}")
    return Port(spec=spec, place=place, dtype=dtype)


def _fits(partial: Any, shape: tuple[int | None, ...]) -> bool:
    """Whether a port takes (or gives) every shape that is declared."""
    if partial.rank.is_dynamic:
        return True
    if len(partial) != len(shape):
        return False
    return all(
        own.is_dynamic or (want is not None and own.get_length() == want)
        for own, want in zip(partial, shape, strict=True)
    )


def _fix_shapes(ov: Any, model: Any, inputs: tuple[Port, ...]) -> None:
    """A declared size is compiled in, which is faster than an open one."""
    if any(model.inputs[port.place].partial_shape.is_dynamic for port in inputs):
        model.reshape(
            {
                port.place: ov.PartialShape([-1 if extent is None else extent for extent in port.spec.shape])
                for port in inputs
            }
        )


def _check_outputs(model: Any, outputs: tuple[Port, ...], artifact: Path) -> None:
    for port in outputs:
        partial = model.outputs[port.place].partial_shape
        any_of = (
            tuple(
                own.get_length() if want is None and own.is_static else want
                for own, want in zip(partial, port.spec.shape, strict=True)
            )
            if not partial.rank.is_dynamic and len(partial) == len(port.spec.shape)
            else port.spec.shape
        )
        if not _fits(partial, any_of):
            raise _differ(artifact, f"output {port.spec.name!r} comes as {partial}, declared {port.spec.shape}")


def _differ(artifact: Path, why: str) -> ModelRejected:
    return ModelRejected(
        f"{artifact.name} is not what the manifest declares: {why}",
        code="backend.tensors-differ",
        remedy="declare the artifact's own tensors in the manifest, or convert it with the declared ones",
    )
