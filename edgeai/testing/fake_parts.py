"""Transforms, tasks, sinks, sources and converters without a library: some work, some must be caught."""

from __future__ import annotations

import json
import os
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeai.api import (
    Array,
    ConfigError,
    ConversionFailed,
    Converted,
    ConverterSpec,
    ConvertRequest,
    Finding,
    Findings,
    Frame,
    FrameContext,
    Geometry,
    InstanceRef,
    Message,
    Options,
    OptionSpec,
    Receipt,
    SinkFailed,
    SinkRequest,
    SinkSpec,
    SourceRequest,
    SourceSpec,
    TaskFailed,
    TaskRequest,
    TaskSpec,
    Tensors,
    TensorSpec,
    TransformFailed,
    TransformSpec,
    check_tensors,
)
from edgeai.testing.examples import instance_ref
from edgeai.testing.fakes import FORMAT, write_fake_artifact


def _print(how: str) -> None:
    if how == "prints":
        print("the fake was told to print")


# --- transform --------------------------------------------------------------------------------

_SIZE = (
    OptionSpec(name="rows", help="Rows of the output.", required=True),
    OptionSpec(name="columns", help="Columns of the output.", required=True),
)


class FakeSubsample:
    """The nearest pixels at another size, as grey float32 of 0 to 1 by the bits stored: enough to feed a fake model."""

    def __init__(self, options: Options, how: str = "") -> None:
        size = (options.get("rows"), options.get("columns"))
        if not all(type(extent) is int and 0 < extent <= 4096 for extent in size):
            raise TransformFailed(f"rows and columns are whole numbers of 1 to 4096, not {size}")
        self._rows, self._columns, self._how = int(options["rows"]), int(options["columns"]), how
        self._calls = 0

    def apply(self, frame: Frame) -> Frame:
        """The frame at the size that was asked for."""
        if self._how == "raises":
            raise KeyError("the fake was told to")
        _print(self._how)
        rows = (np.arange(self._rows) * frame.rows + frame.rows // 2) // self._rows
        columns = (np.arange(self._columns) * frame.columns + frame.columns // 2) // self._columns
        picked = frame.pixels[np.minimum(rows, frame.rows - 1)][:, np.minimum(columns, frame.columns - 1)]
        grey = picked if picked.ndim == 2 else picked.mean(axis=2)
        scale = 1.0 if frame.pixels.dtype.kind == "f" else float(2**frame.bits_stored - 1)
        if self._how == "writes-input":
            frame.pixels.reshape(-1)[0] += 1
        self._calls += 1
        drift = self._calls if self._how == "drifts" else 0
        geometry = frame.geometry.scaled(frame.columns / self._columns, frame.rows / self._rows)
        if self._how == "forgets-geometry":
            geometry = frame.geometry
        elif self._how == "starts-geometry-anew":
            fresh = Geometry(source_rows=frame.geometry.source_rows, source_columns=frame.geometry.source_columns)
            geometry = fresh.scaled(frame.columns / self._columns, frame.rows / self._rows)
        return replace(
            frame,
            pixels=np.clip(grey / scale + drift, 0.0, 1e6).astype(np.float32),
            geometry=geometry,
            photometric_interpretation="MONOCHROME2",
            stored_units=False,
        )


def transform(name: str, how: str = "") -> TransformSpec:
    """A fake transform: works, or ``raises``, ``writes-input``, ``drifts``, ``forgets-geometry``."""
    return TransformSpec(
        name=name,
        build=lambda options: FakeSubsample(options, how),
        options=_SIZE,
        help=f"Nearest pixels at another size; {how or 'works'}.",
        source="Nearest-neighbour sampling",
    )


# --- task -------------------------------------------------------------------------------------


class FakeClassify:
    """One finding a label: present where the probability reaches one half."""

    def __init__(self, request: TaskRequest, how: str = "") -> None:
        labels = request.options.get("labels")
        if not isinstance(labels, list | tuple) or not labels or not all(isinstance(item, str) for item in labels):
            raise TaskFailed(f"labels is a list of words, not {labels!r}")
        if len(request.outputs) != 1 or request.outputs[0].shape[-1] != len(labels):
            raise TaskFailed(f"{len(labels)} labels do not fit outputs {request.outputs}")
        self._labels, self._outputs, self._how = list(labels), request.outputs, how

    def interpret(self, outputs: Tensors, context: FrameContext) -> Findings:
        """A finding for each label."""
        _print(self._how)
        if self._how == "silent":
            return ()
        check_tensors(self._outputs, outputs, what="output")
        values = outputs[self._outputs[0].name].reshape(-1)
        if not np.isfinite(values).all():
            if self._how != "blind":
                raise TaskFailed("the outputs are not numbers")
            values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
        return tuple(self._finding(label, float(v), context.frame.number) for label, v in zip(self._labels, values))  # noqa: B905

    def _finding(self, label: str, value: float, frame_number: int | None) -> Finding:
        present = value >= 0.5
        return Finding(
            kind="class", label=label, present=present, probability=value, threshold=0.5, frame_number=frame_number
        )

    def summarise(self, frames: Sequence[Findings], instance: InstanceRef) -> Findings:
        """The highest probability of each label over the frames."""
        if not frames:
            raise TaskFailed("there are no frames to summarise")
        best = {
            label: max(f.probability or 0.0 for fs in frames for f in fs if f.label == label) for label in self._labels
        }
        return tuple(self._finding(label, value, None) for label, value in best.items())


def task(name: str, how: str = "") -> TaskSpec:
    """A fake task: works, or is ``silent`` (no findings), or ``blind`` to NaN."""
    return TaskSpec(
        name=name,
        build=lambda request: FakeClassify(request, how),
        options=(OptionSpec(name="labels", help="One word for each output value.", required=True),),
        help=f"Says for each label whether its value reaches one half; {how or 'works'}.",
    )


# --- sink -------------------------------------------------------------------------------------


class FakeFileSink:
    """Appends each message to a file, one JSON line ``[channel, body]``, and flushes it to the disk.

    Some ways give receipts; those refuse what holds ``REFUSED``.
    """

    REFUSED = b"refuse-me"

    def __init__(self, request: SinkRequest, how: str = "") -> None:
        path = request.settings.get("path")
        if not isinstance(path, str) or not path:
            raise ConfigError(f"path is the name of a file, not {path!r}")
        self._path, self._how, self._open = Path(path), how, True
        self._refuse_while = request.settings.get("refuse_while")
        self._sulking = False

    def put(self, messages: Sequence[Message]) -> Sequence[Receipt] | None:
        """Append all, or say why not."""
        if not self._open and self._how != "open-again":
            raise SinkFailed("the fake sink is closed")
        _print(self._how)
        if self._refuse_while and Path(self._refuse_while).exists():
            raise SinkFailed("the fake sink was told to refuse")
        if self._how in ("receipts", "boasts", "sulks"):
            return self._answer(messages)
        if self._how != "forgets":
            self._write(list(reversed(messages)) if self._how == "reorders" else messages)
        return None

    def _answer(self, messages: Sequence[Message]) -> Sequence[Receipt]:
        refused = [message for message in messages if self.REFUSED in message.body]
        taken = [message for message in messages if message not in refused]
        self._sulking |= bool(refused) and self._how == "sulks"
        if self._sulking:
            taken = []
        if self._how != "boasts":
            self._write(taken)
        no = [Receipt(sequence=m.sequence, verdict="refused", code="fake.refused", reason="told to") for m in refused]
        return [*no, *(Receipt(sequence=message.sequence, verdict="delivered") for message in taken)]

    def _write(self, messages: Sequence[Message]) -> None:
        lines = "".join(json.dumps([message.channel, message.body.decode()]) + "\n" for message in messages)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise SinkFailed(f"cannot write {self._path}: {error}") from error

    def close(self) -> None:
        """Nothing to free."""
        self._open = False


def sink(name: str, how: str = "") -> SinkSpec:
    """A fake sink: works, gives ``receipts``, or ``forgets``, ``reorders``, runs ``open-again`` after close.

    Of those that give receipts, one ``boasts`` of what it has not delivered, and one ``sulks`` over a refused message.
    """
    return SinkSpec(
        name=name,
        open=lambda request: FakeFileSink(request, how),
        settings=(
            OptionSpec(name="path", help="File to append to.", required=True),
            OptionSpec(name="refuse_while", help="Refuse all messages while this file exists."),
        ),
        help=f"Appends to a file; {how or 'works'}.",
    )


# --- source -----------------------------------------------------------------------------------


class FakeRamp:
    """A ramp that moves by one column each frame."""

    def __init__(self, request: SourceRequest, how: str = "") -> None:
        self._rows, self._columns = request.settings.get("rows", 48), request.settings.get("columns", 64)
        self._interval_s = request.settings.get("interval_s", 0.001)
        if not all(type(extent) is int and 0 < extent <= 4096 for extent in (self._rows, self._columns)):
            raise ConfigError("rows and columns are whole numbers of 1 to 4096")
        self._closed, self._how = threading.Event(), how

    def frames(self) -> Iterator[Frame]:
        """Frames until ``close``."""
        ramp = np.tile((np.arange(self._columns) * 255 // self._columns).astype(np.uint8), (self._rows, 1))
        _print(self._how)
        number = 0
        buffer = ramp.copy()
        while not self._closed.is_set() or self._how == "goes-on":
            number += 1
            pixels: Array = np.ascontiguousarray(np.roll(ramp, number, axis=1))
            if self._how == "reuses-buffer":
                buffer[...] = pixels
                pixels = buffer
            geometry = Geometry(source_rows=self._rows, source_columns=self._columns)
            yield Frame(pixels=pixels, number=number, geometry=geometry, instance=instance_ref())
            time.sleep(self._interval_s)

    def close(self) -> None:
        """Ends ``frames``."""
        self._closed.set()


def source(name: str, how: str = "") -> SourceSpec:
    """A fake source: works, or ``reuses-buffer``, or ``goes-on`` after close."""
    return SourceSpec(
        name=name,
        open=lambda request: FakeRamp(request, how),
        settings=(
            OptionSpec(name="rows", help="Rows of each frame.", default=48),
            OptionSpec(name="columns", help="Columns of each frame.", default=64),
            OptionSpec(name="interval_s", help="Seconds between frames.", default=0.001),
        ),
        help=f"A moving ramp; {how or 'works'}.",
    )


# --- converter --------------------------------------------------------------------------------


def write_fake_model(path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Path:
    """A zip that stands for a ``.keras`` file: it holds a fake artifact."""
    artifact = write_fake_artifact(path.with_suffix(".tmp"), inputs, outputs)
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(artifact, "model.json")
    artifact.unlink()
    return path


def _convert(request: ConvertRequest, how: str) -> Converted:
    try:
        with zipfile.ZipFile(request.model) as archive:
            content: dict[str, Any] = json.loads(archive.read("model.json"))
        declared = [[[spec.dtype, list(spec.shape)] for spec in specs] for specs in (request.inputs, request.outputs)]
        if declared != [content["inputs"], content["outputs"]]:
            raise ConversionFailed(f"the model has tensors {content['inputs']}, {declared} were asked for")
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ConversionFailed(f"{request.model.name} is not a fake model: {error}") from error
    _print(how)
    if how == "litters":
        Path("litter.txt").write_text("left in the working folder", encoding="utf-8")
    if how == "disagrees":
        content["bias"] = [value + 1.0 for value in reversed(content["bias"])]
    artifact = request.output / "model.fake.json"
    artifact.write_text(json.dumps(content), encoding="utf-8")
    return Converted(artifact=artifact)


def converter(name: str, how: str = "") -> ConverterSpec:
    """A fake converter: works, or ``litters``, or ``disagrees`` with the model."""
    convert: Callable[[ConvertRequest], Converted] = lambda request: _convert(request, how)  # noqa: E731
    return ConverterSpec(
        name=name, artifact_format=FORMAT, precisions=("fp32",), convert=convert, help=f"Unpacks; {how or 'works'}."
    )
