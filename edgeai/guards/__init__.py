"""What stands between the host and a plugin's callables: faults get a name, options are held to what is declared.

Callables are wrapped once: a spec's when the plugin is loaded, a session's when it is opened. Per call that leaves one
Python frame and a ``try``, which costs nothing until something is raised.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from edgeai.api import (
    BackendSpec,
    Compressed,
    CompressionFailed,
    CompressorSpec,
    CompressRequest,
    ConfigError,
    ConversionFailed,
    Converted,
    ConverterSpec,
    ConvertRequest,
    Device,
    EdgeaiError,
    MaskTask,
    ModelRejected,
    OpenRequest,
    Options,
    OptionSpec,
    Session,
    Sink,
    SinkRequest,
    SinkSpec,
    Source,
    SourceRequest,
    SourceSpec,
    Task,
    TaskFailed,
    TaskRequest,
    TaskSpec,
    Transform,
    TransformFailed,
    TransformSpec,
)
from edgeai.guards.faults import PluginInfo, broken, guard, guarded_call
from edgeai.guards.proxies import (
    GuardedMaskTask,
    GuardedSession,
    GuardedSink,
    GuardedSource,
    GuardedTask,
    GuardedTransform,
)

__all__ = ["PluginInfo", "guard", "guarded_spec"]

_S = TypeVar("_S")


# --- options ----------------------------------------------------------------------------------


def _check_options(
    declared: Sequence[OptionSpec], given: Options, what: str, error: type[EdgeaiError], code: str
) -> None:
    """Unknown, missing and out-of-choice options, before the plugin sees any: none is ignored in silence."""
    by_name = {option.name: option for option in declared}
    faults = []
    for name, value in given.items():
        option = by_name.get(name)
        if option is None:
            near = difflib.get_close_matches(name, by_name, n=1)
            faults.append(f"unknown option {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        elif option.choices and value not in option.choices:
            faults.append(f"{name} = {value!r} is not one of {', '.join(map(repr, option.choices))}")
    faults += [f"option {name!r} is missing" for name, o in by_name.items() if o.required and name not in given]
    if faults:
        takes = ", ".join(by_name) or "none"
        raise error(f"{what}: " + "; ".join(faults), code=code, remedy=f"options that it takes: {takes}")


# --- specs ------------------------------------------------------------------------------------


def _opened(info: PluginInfo, step: str, thing: Any, methods: Sequence[str]) -> None:
    if lacking := [name for name in methods if not callable(getattr(thing, name, None))]:
        raise broken(info, step, f"returned {type(thing).__name__}, which has no {', '.join(lacking)}")


def _backend(info: PluginInfo, spec: BackendSpec) -> BackendSpec:
    what = f"backend {spec.name!r}"
    probe = guarded_call(info, f"{what}: probe", spec.probe)
    open_raw = guarded_call(info, f"{what}: open", spec.open)

    def probe_checked() -> Sequence[Device]:
        devices: Any = probe()
        if not isinstance(devices, Sequence) or not all(isinstance(device, Device) for device in devices):
            raise broken(info, f"{what}: probe", "did not return a sequence of Device")
        return tuple(devices)

    def open_checked(request: OpenRequest) -> Session:
        _check_options(spec.options, request.options, what, ModelRejected, "backend.options")
        _check_options(spec.settings, request.settings, what, ConfigError, "config.options")
        session = open_raw(request)
        _opened(info, f"{what}: open", session, ("run", "stream", "close"))
        guarded = GuardedSession(info, what, session)
        if guarded.device != request.device:
            device = guarded.device
            guarded.close()
            raise broken(info, f"{what}: open", f"asked for device {request.device!r}, opened {device!r}")
        return guarded

    return replace(
        spec,
        probe=probe_checked,
        open=open_checked,
        engine=guarded_call(info, f"{what}: engine", spec.engine),
        explain=guarded_call(info, f"{what}: explain", spec.explain),
        describe=spec.describe and guarded_call(info, f"{what}: describe", spec.describe),
    )


def _transform(info: PluginInfo, spec: TransformSpec) -> TransformSpec:
    what = f"transform {spec.name!r}"
    build = guarded_call(info, f"{what}: build", spec.build)

    def build_checked(options: Options) -> Transform:
        _check_options(spec.options, options, what, TransformFailed, "transform.options")
        transform = build(options)
        _opened(info, f"{what}: build", transform, ("apply",))
        return GuardedTransform(info, what, transform)

    return replace(spec, build=build_checked)


def _task(info: PluginInfo, spec: TaskSpec) -> TaskSpec:
    what = f"task {spec.name!r}"
    build = guarded_call(info, f"{what}: build", spec.build)

    def build_checked(request: TaskRequest) -> Task:
        _check_options(spec.options, request.options, what, TaskFailed, "task.options")
        task = build(request)
        _opened(info, f"{what}: build", task, ("interpret", "summarise"))
        return GuardedMaskTask(info, what, task) if isinstance(task, MaskTask) else GuardedTask(info, what, task)

    return replace(spec, build=build_checked)


def _sink(info: PluginInfo, spec: SinkSpec) -> SinkSpec:
    what = f"sink {spec.name!r}"
    open_raw = guarded_call(info, f"{what}: open", spec.open)

    def open_checked(request: SinkRequest) -> Sink:
        _check_options(spec.settings, request.settings, what, ConfigError, "config.options")
        sink = open_raw(request)
        _opened(info, f"{what}: open", sink, ("put", "close"))
        return GuardedSink(info, what, sink)

    return replace(spec, open=open_checked)


def _source(info: PluginInfo, spec: SourceSpec) -> SourceSpec:
    what = f"source {spec.name!r}"
    open_raw = guarded_call(info, f"{what}: open", spec.open)

    def open_checked(request: SourceRequest) -> Source:
        _check_options(spec.settings, request.settings, what, ConfigError, "config.options")
        source = open_raw(request)
        _opened(info, f"{what}: open", source, ("frames", "close"))
        return GuardedSource(info, what, source)

    return replace(spec, open=open_checked)


def _converter(info: PluginInfo, spec: ConverterSpec) -> ConverterSpec:
    what = f"converter {spec.name!r}"
    convert = guarded_call(info, f"{what}: convert", spec.convert)

    def convert_checked(request: ConvertRequest) -> Converted:
        _check_options(spec.options, request.options, what, ConversionFailed, "convert.options")
        if request.precision not in spec.precisions:
            raise ConversionFailed(
                f"{what} has no precision {request.precision!r}",
                code="convert.precision",
                remedy=f"use one of {', '.join(spec.precisions)}",
            )
        converted: Any = convert(request)
        if not isinstance(converted, Converted) or not converted.artifact.exists():
            raise broken(info, f"{what}: convert", "returned no artifact that exists")
        if not converted.artifact.resolve().is_relative_to(request.output.resolve()):
            raise broken(info, f"{what}: convert", f"wrote {converted.artifact}, outside {request.output}")
        return converted

    return replace(spec, convert=convert_checked)


def _compressor(info: PluginInfo, spec: CompressorSpec) -> CompressorSpec:
    what = f"compressor {spec.name!r}"
    compress = guarded_call(info, f"{what}: compress", spec.compress)

    def compress_checked(request: CompressRequest) -> Compressed:
        _check_options(spec.options, request.options, what, CompressionFailed, "compress.options")
        compressed: Any = compress(request)
        if not isinstance(compressed, Compressed) or not compressed.model.is_file():
            raise broken(info, f"{what}: compress", "returned no model that exists")
        if compressed.model.resolve() != request.output.resolve():
            raise broken(info, f"{what}: compress", f"wrote {compressed.model}, not {request.output}")
        return compressed

    return replace(spec, compress=compress_checked)


_GUARDS: dict[type[Any], Callable[[PluginInfo, Any], Any]] = {
    BackendSpec: _backend,
    TransformSpec: _transform,
    TaskSpec: _task,
    SinkSpec: _sink,
    SourceSpec: _source,
    ConverterSpec: _converter,
    CompressorSpec: _compressor,
}


def guarded_spec(info: PluginInfo, spec: _S) -> _S:
    """The same spec with every callable guarded, and what those open or build guarded too."""
    guarded: _S = _GUARDS[type(spec)](info, spec)
    return guarded
