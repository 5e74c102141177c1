"""What stands between the host and a plugin's callables: faults get a name, options are held to what is declared.

Callables are wrapped once: a spec's when the plugin is loaded, a session's when it is opened. Per call that leaves one
Python frame and a ``try``, which costs nothing until something is raised.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
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
    Finding,
    Frame,
    ModelRejected,
    OpenRequest,
    Options,
    OptionSpec,
    PluginFault,
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
    Tensors,
    Transform,
    TransformFailed,
    TransformSpec,
)

_HOSTS_OWN = (EdgeaiError, KeyboardInterrupt, GeneratorExit)
"""What passes a guard as it is: our own tree, the user's Ctrl-C, and Python's own way of closing a generator."""

_S = TypeVar("_S")


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """A plugin as its metadata names it. ``str`` of it is how messages call it."""

    name: str
    module: str
    distribution: str
    version: str

    def __str__(self) -> str:
        origin = f"{self.distribution} {self.version}".strip() or f"module {self.module}"
        return f"plugin {self.name!r} ({origin})"


# --- faults -----------------------------------------------------------------------------------


class _Guard:
    __slots__ = ("_code", "_info", "_step")

    def __init__(self, info: PluginInfo, step: str, code: str) -> None:
        self._info, self._step, self._code = info, step, code

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, _HOSTS_OWN):
            raise _fault(self._info, self._step, error, self._code) from error


def guard(info: PluginInfo, step: str, *, code: str = "plugin.fault") -> _Guard:
    """A context in which whatever is not an ``EdgeaiError`` becomes ``PluginFault`` naming plugin and step.

    ``SystemExit`` too: a plugin does not end its host. ``KeyboardInterrupt`` passes.
    """
    return _Guard(info, step, code)


def _fault(info: PluginInfo, step: str, error: BaseException, code: str = "plugin.fault") -> PluginFault:
    said = " ".join(str(error).split())
    return PluginFault(f"{info}, {step}: {type(error).__name__}: {said}".removesuffix(": "), code=code)


def _broken(info: PluginInfo, step: str, what: str) -> PluginFault:
    return PluginFault(f"{info}, {step}: {what}", code="plugin.contract")


def _call(info: PluginInfo, step: str, function: Callable[..., _S]) -> Callable[..., _S]:
    """``function``, guarded. Only for calls that answer with a value, not with an iterator."""

    def guarded(*args: Any) -> _S:
        try:
            return function(*args)
        except _HOSTS_OWN:
            raise
        except BaseException as error:
            raise _fault(info, step, error) from error

    return guarded


class _Feed:
    """The host's own iterable on its way through a plugin, so that its errors are not laid on the plugin."""

    __slots__ = ("_iterator", "error")

    def __init__(self, items: Iterable[Tensors]) -> None:
        self._iterator = iter(items)
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[Tensors]:
        return self

    def __next__(self) -> Tensors:
        try:
            return next(self._iterator)
        except StopIteration:
            raise
        except BaseException as error:
            self.error = error
            raise


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


# --- what is opened or built ------------------------------------------------------------------


class _GuardedSession:
    __slots__ = ("_info", "_session", "_step", "close", "run")

    def __init__(self, info: PluginInfo, step: str, session: Session) -> None:
        self._info, self._step, self._session = info, step, session
        self.run: Callable[[Tensors], Tensors] = _call(info, f"{step}: run", session.run)
        self.close: Callable[[], None] = _call(info, f"{step}: close", session.close)

    @property
    def device(self) -> str:
        with guard(self._info, f"{self._step}: device"):
            return self._session.device

    @property
    def engine(self) -> str:
        with guard(self._info, f"{self._step}: engine"):
            return str(getattr(self._session, "engine", ""))

    def stream(self, inputs: Iterable[Tensors]) -> Iterator[Tensors]:
        feed = _Feed(inputs)
        try:
            yield from self._session.stream(feed)
        except _HOSTS_OWN:
            raise
        except BaseException as error:
            if feed.error is not None and not isinstance(feed.error, StopIteration):
                raise feed.error from None
            raise _fault(self._info, f"{self._step}: stream", error) from error


class _GuardedTransform:
    __slots__ = ("apply",)

    def __init__(self, info: PluginInfo, step: str, transform: Transform) -> None:
        apply = _call(info, f"{step}: apply", transform.apply)

        def checked(frame: Frame) -> Frame:
            answer: object = apply(frame)
            if not isinstance(answer, Frame):
                raise _broken(info, f"{step}: apply", f"returned {type(answer).__name__}, not a Frame")
            return answer

        self.apply: Callable[[Frame], Frame] = checked


class _GuardedTask:
    __slots__ = ("interpret", "summarise")

    def __init__(self, info: PluginInfo, step: str, task: Task) -> None:
        self.interpret = _findings(info, f"{step}: interpret", task.interpret)
        self.summarise = _findings(info, f"{step}: summarise", task.summarise)


def _findings(info: PluginInfo, step: str, function: Callable[..., Any]) -> Callable[..., tuple[Finding, ...]]:
    call = _call(info, step, function)

    def checked(*args: Any) -> tuple[Finding, ...]:
        answer = call(*args)
        # An empty tuple would read as "nothing found"; a task that cannot say raises TaskFailed.
        if not isinstance(answer, tuple) or not answer or not all(isinstance(f, Finding) for f in answer):
            raise _broken(info, step, "returned no findings; TaskFailed says why there are none")
        return answer

    return checked


class _GuardedSink:
    __slots__ = ("close", "put")

    def __init__(self, info: PluginInfo, step: str, sink: Sink) -> None:
        self.put = _call(info, f"{step}: put", sink.put)
        self.close = _call(info, f"{step}: close", sink.close)


class _GuardedSource:
    __slots__ = ("_info", "_source", "_step", "close")

    def __init__(self, info: PluginInfo, step: str, source: Source) -> None:
        self._info, self._step, self._source = info, step, source
        self.close = _call(info, f"{step}: close", source.close)

    def frames(self) -> Iterator[Frame]:
        with guard(self._info, f"{self._step}: frames"):
            yield from self._source.frames()


# --- specs ------------------------------------------------------------------------------------


def _opened(info: PluginInfo, step: str, thing: Any, methods: Sequence[str]) -> None:
    if lacking := [name for name in methods if not callable(getattr(thing, name, None))]:
        raise _broken(info, step, f"returned {type(thing).__name__}, which has no {', '.join(lacking)}")


def _backend(info: PluginInfo, spec: BackendSpec) -> BackendSpec:
    what = f"backend {spec.name!r}"
    probe = _call(info, f"{what}: probe", spec.probe)
    open_raw = _call(info, f"{what}: open", spec.open)

    def probe_checked() -> Sequence[Device]:
        devices: Any = probe()
        if not isinstance(devices, Sequence) or not all(isinstance(device, Device) for device in devices):
            raise _broken(info, f"{what}: probe", "did not return a sequence of Device")
        return tuple(devices)

    def open_checked(request: OpenRequest) -> Session:
        _check_options(spec.options, request.options, what, ModelRejected, "backend.options")
        _check_options(spec.settings, request.settings, what, ConfigError, "config.options")
        session = open_raw(request)
        _opened(info, f"{what}: open", session, ("run", "stream", "close"))
        guarded = _GuardedSession(info, what, session)
        if guarded.device != request.device:
            device = guarded.device
            guarded.close()
            raise _broken(info, f"{what}: open", f"asked for device {request.device!r}, opened {device!r}")
        return guarded

    return replace(
        spec,
        probe=probe_checked,
        open=open_checked,
        engine=_call(info, f"{what}: engine", spec.engine),
        explain=_call(info, f"{what}: explain", spec.explain),
        describe=spec.describe and _call(info, f"{what}: describe", spec.describe),
    )


def _transform(info: PluginInfo, spec: TransformSpec) -> TransformSpec:
    what = f"transform {spec.name!r}"
    build = _call(info, f"{what}: build", spec.build)

    def build_checked(options: Options) -> Transform:
        _check_options(spec.options, options, what, TransformFailed, "transform.options")
        transform = build(options)
        _opened(info, f"{what}: build", transform, ("apply",))
        return _GuardedTransform(info, what, transform)

    return replace(spec, build=build_checked)


def _task(info: PluginInfo, spec: TaskSpec) -> TaskSpec:
    what = f"task {spec.name!r}"
    build = _call(info, f"{what}: build", spec.build)

    def build_checked(request: TaskRequest) -> Task:
        _check_options(spec.options, request.options, what, TaskFailed, "task.options")
        task = build(request)
        _opened(info, f"{what}: build", task, ("interpret", "summarise"))
        return _GuardedTask(info, what, task)

    return replace(spec, build=build_checked)


def _sink(info: PluginInfo, spec: SinkSpec) -> SinkSpec:
    what = f"sink {spec.name!r}"
    open_raw = _call(info, f"{what}: open", spec.open)

    def open_checked(request: SinkRequest) -> Sink:
        _check_options(spec.settings, request.settings, what, ConfigError, "config.options")
        sink = open_raw(request)
        _opened(info, f"{what}: open", sink, ("put", "close"))
        return _GuardedSink(info, what, sink)

    return replace(spec, open=open_checked)


def _source(info: PluginInfo, spec: SourceSpec) -> SourceSpec:
    what = f"source {spec.name!r}"
    open_raw = _call(info, f"{what}: open", spec.open)

    def open_checked(request: SourceRequest) -> Source:
        _check_options(spec.settings, request.settings, what, ConfigError, "config.options")
        source = open_raw(request)
        _opened(info, f"{what}: open", source, ("frames", "close"))
        return _GuardedSource(info, what, source)

    return replace(spec, open=open_checked)


def _converter(info: PluginInfo, spec: ConverterSpec) -> ConverterSpec:
    what = f"converter {spec.name!r}"
    convert = _call(info, f"{what}: convert", spec.convert)

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
            raise _broken(info, f"{what}: convert", "returned no artifact that exists")
        if not converted.artifact.resolve().is_relative_to(request.output.resolve()):
            raise _broken(info, f"{what}: convert", f"wrote {converted.artifact}, outside {request.output}")
        return converted

    return replace(spec, convert=convert_checked)


def _compressor(info: PluginInfo, spec: CompressorSpec) -> CompressorSpec:
    what = f"compressor {spec.name!r}"
    compress = _call(info, f"{what}: compress", spec.compress)

    def compress_checked(request: CompressRequest) -> Compressed:
        _check_options(spec.options, request.options, what, CompressionFailed, "compress.options")
        compressed: Any = compress(request)
        if not isinstance(compressed, Compressed) or not compressed.model.is_file():
            raise _broken(info, f"{what}: compress", "returned no model that exists")
        if compressed.model.resolve() != request.output.resolve():
            raise _broken(info, f"{what}: compress", f"wrote {compressed.model}, not {request.output}")
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
