"""From an ``OpenRequest`` to a session: checks first, so that a bad file is an error and not a crash."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgeai.api import BackendUnavailable, ConfigError, InferenceFailed, ModelRejected, OpenRequest, TensorSpec
from edgeai_tflite.engine import MOST_UNASKED, Runtime, available_cores, load
from edgeai_tflite.flatbuffer import verify
from edgeai_tflite.session import ENGINE_ERRORS, Fleet, Lane, LiteSession, Port, Ports, closed, words
from edgeai_tflite.state import Kept, kept_by, refuse_random

_MISSING_OP = (
    "didn't find op for builtin opcode",
    "unresolved custom op",
    "unsupported custom op",
    "select tensorflow op",
)


def open_session(request: OpenRequest) -> LiteSession:
    """Open one artifact on the CPU.

    Raises:
        BackendUnavailable: no runtime, or a device other than ``CPU``.
        ModelRejected: missing, damaged, with an operator that the runtime lacks, with other tensors than declared, or
            with random numbers.
        ConfigError: a setting with a value that it cannot have.
    """
    wish, xnnpack = _settings(request)
    if request.device != "CPU":
        raise BackendUnavailable(
            f"tflite has no device {request.device!r}", code="backend.unknown-device", remedy="use CPU"
        )
    runtime, module = load(wish)
    _check_file(request.artifact, runtime)
    source = _Source(module, request.artifact, xnnpack=xnnpack)
    try:
        return _session(request, runtime, source)
    except BaseException:
        source.close()
        raise


def _session(request: OpenRequest, runtime: Runtime, source: _Source) -> LiteSession:
    try:
        interpreter = source.interpreter(request.threads)
    except ENGINE_ERRORS as error:
        raise _rejected(request.artifact, runtime, error) from error
    kept = source.kept()
    refuse_random(request.artifact, kept)
    inputs, outputs = _ports(interpreter, request)
    ports = Ports(inputs=inputs, outputs=outputs, kept=kept, engine=runtime.described)
    lane = Lane(lambda: source.interpreter(request.threads), ports, interpreter=interpreter)
    try:
        lane.prepare()
    except ENGINE_ERRORS as error:
        raise _rejected(request.artifact, runtime, error) from error
    fleet = Fleet(
        [lane] if request.threads < 2 else [],
        most=request.threads or min(available_cores(), MOST_UNASKED),
        another=lambda: _another(source, ports),
        release=source.close,
    )
    return LiteSession(lane, fleet, device=request.device, engine=runtime.described)


class _Source:
    """Interpreters of the artifact as it was when it was first opened, whatever becomes of its name since.

    An update may take the file away, or put another in its place, while the session runs on.
    """

    def __init__(self, module: Any, artifact: Path, *, xnnpack: bool) -> None:
        self._module = module
        self._artifact = artifact
        self._file = artifact.open("rb")
        self._turn = threading.Lock()
        self._arguments: dict[str, Any] = {}
        if not xnnpack:
            resolver = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            self._arguments["experimental_op_resolver_type"] = resolver

    def interpreter(self, threads: int) -> Any:
        """One more; 0 threads for the engine's own number, which is one.

        Raises:
            SessionClosed: after ``close``.
        """
        some = {"num_threads": threads} if threads > 0 else {}
        with self._held() as path:
            return self._module.Interpreter(model_path=str(path), **self._arguments, **some)

    def kept(self) -> Kept:
        """What the model keeps from run to run."""
        with self._held() as path:
            return kept_by(path, name=self._artifact.name)

    def close(self) -> None:
        """No more of them. Twice is fine."""
        with self._turn:
            self._file.close()

    @contextmanager
    def _held(self) -> Iterator[Path]:
        """The file under a name that stays its own until the block ends, whoever closes this meanwhile."""
        with self._turn:
            if self._file.closed:
                raise closed()
            number = os.dup(self._file.fileno())
        try:
            held = Path(f"/proc/self/fd/{number}")
            yield held if held.exists() else self._artifact
        finally:
            os.close(number)


def _another(source: _Source, ports: Ports) -> Lane:
    """An interpreter of one thread, ready to run."""
    try:
        lane = Lane(lambda: source.interpreter(1), ports)
        lane.prepare()
    except ENGINE_ERRORS as error:
        raise InferenceFailed(f"{ports.engine}: no further interpreter: {words(error)}") from error
    return lane


def _settings(request: OpenRequest) -> tuple[str, bool]:
    from edgeai_tflite import BACKEND

    values = {option.name: request.settings.get(option.name, option.default) for option in BACKEND.settings}
    for option in BACKEND.settings:
        value = values[option.name]
        if not any(value is choice or (isinstance(choice, str) and value == choice) for choice in option.choices):
            raise _bad_setting(option.name, value, f"use one of {', '.join(map(str, option.choices))}")
    for name in set(request.settings) - set(values):
        raise _bad_setting(name, request.settings[name], f"it has {', '.join(values)}")
    for name in set(request.options) - {option.name for option in BACKEND.options}:
        raise ModelRejected(f"{request.artifact.name}: tflite has no option {name!r}", code="backend.option-unknown")
    return values["engine"], values["xnnpack"]


def _bad_setting(name: str, value: object, remedy: str) -> ConfigError:
    return ConfigError(f"tflite: {name} = {value!r}", code="config.backend-setting", remedy=remedy)


def _check_file(artifact: Path, runtime: Runtime) -> None:
    if not artifact.is_file():
        raise ModelRejected(f"{artifact.name}: no such file", code="backend.artifact-missing")
    # litert verifies every table itself, and faster; only its header is looked at here, for a clearer message.
    fault = verify(artifact, deep=not runtime.verifies)
    if fault:
        raise ModelRejected(
            f"{artifact.name} is not a whole TensorFlow Lite model: {fault}",
            code="backend.artifact-damaged",
            remedy="convert the model again, or fetch the bundle again",
        )


def _rejected(artifact: Path, runtime: Runtime, error: BaseException) -> ModelRejected:
    reason = words(error) or type(error).__name__
    if any(phrase in reason.lower() for phrase in _MISSING_OP):
        older = runtime.name == "tflite-runtime"
        return ModelRejected(
            f"{artifact.name} uses an operator that {runtime.described} lacks: {reason}",
            code="backend.op-unsupported",
            remedy="use ai-edge-litert (pip install 'edgeai-tflite[litert]')"
            if older
            else "update ai-edge-litert, or convert the model without that operator",
        )
    return ModelRejected(f"{artifact.name}: {runtime.described} refuses it: {reason}")


# --- the manifest's names onto the engine's tensors ---------------------------------------------


def _ports(interpreter: Any, request: OpenRequest) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    keys = _signature(interpreter, request)
    return tuple(
        _matched(interpreter, request.artifact, specs, details, named, what)
        for specs, details, named, what in (
            (request.inputs, interpreter.get_input_details(), keys[0], "input"),
            (request.outputs, interpreter.get_output_details(), keys[1], "output"),
        )
    )  # type: ignore[return-value]


def _signature(interpreter: Any, request: OpenRequest) -> tuple[dict[str, int], dict[str, int]]:
    """Signature key -> tensor index, for inputs and outputs; empty when the artifact has no signature."""
    present = interpreter.get_signature_list()
    wish = str(request.options.get("signature") or "")
    if wish and wish not in present:
        raise ModelRejected(
            f"{request.artifact.name} has no signature {wish!r}; it has {', '.join(present) or 'none'}",
            code="backend.tensors-differ",
        )
    name = wish or ("serving_default" if "serving_default" in present else next(iter(present), ""))
    if not name:
        return {}, {}
    try:
        runner = interpreter.get_signature_runner(name)
        inputs = {key: int(detail["index"]) for key, detail in runner.get_input_details().items()}
        outputs = {key: int(detail["index"]) for key, detail in runner.get_output_details().items()}
    except ENGINE_ERRORS as error:
        raise ModelRejected(f"{request.artifact.name}: signature {name!r} cannot be read: {error}") from error
    return inputs, outputs


def _matched(
    interpreter: Any,
    artifact: Path,
    specs: tuple[TensorSpec, ...],
    details: list[dict[str, Any]],
    keys: dict[str, int],
    what: str,
) -> tuple[Port, ...]:
    by_index = {int(detail["index"]): detail for detail in details}
    wanted = [spec.name for spec in specs]
    own = keys or {str(detail["name"]): int(detail["index"]) for detail in details}
    if len(by_index) != len(specs):
        raise _differ(artifact, f"it has {len(by_index)} {what}s ({', '.join(own)}), {len(specs)} are declared")
    if set(wanted) == set(own):
        order = [own[name] for name in wanted]
    elif len(specs) > 1 and set(wanted) & set(own):
        raise _differ(artifact, f"its {what}s are {', '.join(own)}; declared are {', '.join(wanted)}")
    else:  # wholly other names: the engine's order is the declared order
        order = list(by_index)
    ports = []
    for spec, index in zip(specs, order, strict=True):
        if index not in by_index:
            raise _differ(artifact, f"{what} {spec.name!r} belongs to another subgraph than the one that runs")
        ports.append(_port(spec, by_index[index], artifact, what))
    return tuple(ports)


def _port(spec: TensorSpec, detail: dict[str, Any], artifact: Path, what: str) -> Port:
    dtype = np.dtype(detail["dtype"])
    signature = detail.get("shape_signature", ())
    engine_shape = tuple(int(n) for n in (signature if len(signature) else detail["shape"]))
    if dtype != np.dtype(spec.dtype):
        raise _differ(artifact, f"{what} {spec.name!r} is {dtype}, declared {spec.dtype}")
    fits = len(engine_shape) == len(spec.shape) and all(
        own in (-1, want) or (want is None and what == "output")
        for own, want in zip(engine_shape, spec.shape, strict=True)
    )
    if not fits and (what == "input" or len(engine_shape)):
        raise _differ(artifact, f"{what} {spec.name!r} is {engine_shape}, declared {spec.shape}")
    only_a_run_tells = not len(engine_shape) or -1 in engine_shape
    return Port(spec=spec, index=int(detail["index"]), dtype=dtype, any_size=only_a_run_tells)


def _differ(artifact: Path, why: str) -> ModelRejected:
    return ModelRejected(
        f"{artifact.name} is not what the manifest declares: {why}",
        code="backend.tensors-differ",
        remedy="declare the artifact's own tensors in the manifest, or convert it with the declared ones",
    )
