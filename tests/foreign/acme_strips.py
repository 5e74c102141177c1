"""A third party's engine: a format of its own, a backend that runs it with plain numpy, and a converter from Keras.

It imports the header, numpy and, inside the converter, Keras, and nothing else: what a plugin's author would write.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeai.api import (
    BackendSpec,
    BackendUnavailable,
    ConversionFailed,
    Converted,
    ConverterSpec,
    ConvertRequest,
    Described,
    Device,
    ModelFiles,
    ModelRejected,
    OpenRequest,
    SessionClosed,
    Tensors,
    TensorSpec,
    check_tensors,
    hookimpl,
)

EDGEAI_API = (1, 3)
FORMAT = "acme-strip"
SUFFIX = ".strip"
DEVICE = "ABACUS"
ENGINE = "acme-abacus 3.1"


class Strip:
    """Layers one after the other: what an artifact holds."""

    def __init__(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as file:
                self.layers: list[dict[str, Any]] = json.loads(str(file["plan"]))
                self.weights = {name: file[name] for name in file.files if name != "plan"}
        except (OSError, ValueError, KeyError) as error:
            raise ModelRejected(f"{path.name} is no strip: {error}") from error
        if not self.layers or self.layers[0].get("kind") != "input":
            raise ModelRejected(f"{path.name} does not begin with an input")

    def run(self, x: Any) -> Any:
        for number, layer in enumerate(self.layers):
            x = getattr(self, f"_{layer['kind']}")(x, layer, number)
            x = np.maximum(x, 0) if layer.get("relu") else x
        return x

    def _input(self, x: Any, layer: dict[str, Any], number: int) -> Any:
        top = layer.get("top")
        return x if top is None else np.round(x * (255 / top)).astype(np.float32) * np.float32(top / 255)

    def _conv(self, x: Any, layer: dict[str, Any], number: int) -> Any:
        kernel = self._weight(number, "kernel")
        windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
        step = layer["stride"]
        return np.einsum("nyxchw,hwco->nyxo", windows[:, ::step, ::step], kernel) + self._weight(number, "bias")

    def _flatten(self, x: Any, layer: dict[str, Any], number: int) -> Any:
        return x.reshape(len(x), -1)

    def _dense(self, x: Any, layer: dict[str, Any], number: int) -> Any:
        return x @ self._weight(number, "kernel") + self._weight(number, "bias")

    def _weight(self, number: int, name: str) -> Any:
        stored = self.weights[f"{number}.{name}"]
        return stored if stored.dtype == np.float32 else stored * self.weights[f"{number}.{name}.step"]


class Abacus:
    """A strip on the only device that there is."""

    device = DEVICE

    def __init__(self, request: OpenRequest) -> None:
        if request.device != DEVICE:
            raise BackendUnavailable(f"there is no {request.device}, but {DEVICE}")
        if not request.artifact.is_file():
            raise ModelRejected(f"{request.artifact} is not there")
        self._strip: Strip | None = Strip(request.artifact)
        self._inputs, self._outputs = request.inputs, request.outputs
        shapes = (self._strip.layers[0]["shape"], self._strip.layers[-1]["units"])
        wanted = (list(request.inputs[0].shape[1:]), request.outputs[0].shape[-1])
        if len(request.inputs) != 1 or len(request.outputs) != 1 or shapes != wanted:
            raise ModelRejected(f"{request.artifact.name} takes and gives {shapes}, the bundle says {wanted}")

    def run(self, inputs: Tensors) -> Tensors:
        if self._strip is None:
            raise SessionClosed("this session was closed")
        check_tensors(self._inputs, inputs, what="input")
        answer = self._strip.run(inputs[self._inputs[0].name])
        return {self._outputs[0].name: np.ascontiguousarray(answer, np.float32)}

    def stream(self, inputs: Iterable[Tensors]) -> Iterator[Tensors]:
        return map(self.run, inputs)

    def close(self) -> None:
        self._strip = None


def describe(artifact: Path) -> Described:
    first, *_, last = Strip(artifact).layers
    source = TensorSpec(name="picture", dtype="float32", shape=(1, *first["shape"]))
    target = TensorSpec(name="answer", dtype="float32", shape=(1, last["units"]))
    return Described(inputs=(source,), outputs=(target,), activations={"answer": "none"})


def convert(request: ConvertRequest) -> Converted:
    import keras

    plan, weights = [], {}
    for layer in keras.models.load_model(request.model, compile=False).layers:
        fields, arrays = _translated(layer)
        weights |= {f"{len(plan)}.{name}": array for name, array in arrays.items()}
        plan.append(fields)
    notes: tuple[str, ...] = ()
    if request.precision == "q8":
        assert request.calibration is not None
        plan[0]["top"] = max(float(np.max(next(iter(tensors.values())))) for tensors in request.calibration())
        weights = _rounded(weights)
        notes = (f"an input's largest value is {plan[0]['top']:.3f}",)
    path = request.output / f"model{SUFFIX}"
    with path.open("wb") as file:
        np.savez(file, plan=np.array(json.dumps(plan)), **weights)
    return Converted(artifact=path, notes=notes)


def _translated(layer: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    kind, config = type(layer).__name__, layer.get_config()
    if kind == "InputLayer":
        return {"kind": "input", "shape": list(layer.batch_shape[1:])}, {}
    if kind == "Flatten":
        return {"kind": "flatten"}, {}
    fits = kind == "Dense" or (kind == "Conv2D" and config["padding"] == "valid" and len(set(config["strides"])) == 1)
    if not fits or config["activation"] not in ("relu", "linear"):
        raise ConversionFailed(f"layer {layer.name}: an abacus has no {kind} of this kind")
    arrays = dict(zip(("kernel", "bias"), map(np.float32, layer.get_weights()), strict=True))
    more = {"units": config["units"]} if kind == "Dense" else {"stride": config["strides"][0]}
    fields = {"kind": "dense" if kind == "Dense" else "conv", "relu": config["activation"] == "relu", **more}
    return fields, arrays


def _rounded(weights: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, array in weights.items():
        step = np.float32(abs(array).max() / 127 or 1)
        is_kernel = name.endswith(".kernel")
        kept |= {name: np.round(array / step).astype(np.int8), f"{name}.step": step} if is_kernel else {name: array}
    return kept


def _probe() -> Sequence[Device]:
    return (Device(name=DEVICE, description="beads"),)


@hookimpl
def edgeai_backends() -> tuple[BackendSpec, ...]:
    return (
        BackendSpec(
            name="acme-abacus",
            artifact_format=FORMAT,
            probe=_probe,
            open=Abacus,
            engine=lambda: ENGINE,
            describe=describe,
            help="Runs strips.",
            files=ModelFiles(called=f"a {SUFFIX} file", suffix=SUFFIX),
            install="pip install acme-strips",
            libraries=("acme-strips",),
        ),
    )


@hookimpl
def edgeai_converters() -> tuple[ConverterSpec, ...]:
    return (
        ConverterSpec(
            name="acme-cutter",
            artifact_format=FORMAT,
            precisions=("fp32", "q8"),
            calibrated=("q8",),
            convert=convert,
            help="Makes strips.",
            libraries=("acme-strips",),
        ),
    )
