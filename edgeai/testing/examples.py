"""What an author gives to the kit: an artifact with its answers, a model to convert, a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgeai.api import (
    Array,
    Batch,
    Frame,
    Geometry,
    Grayscale,
    InstanceRef,
    Objective,
    OpenRequest,
    Options,
    Tensors,
    TensorSpec,
)

Golden = tuple[Tensors, Tensors]
"""Inputs, and the outputs that they must give."""


@dataclass(frozen=True, kw_only=True)
class ArtifactExample:
    """A small artifact and what is known of it.

    Attributes:
        path: what ``OpenRequest.artifact`` gets.
        inputs, outputs: the tensors as a manifest declares them, in order.
        golden: inputs with the outputs that they must give, from another implementation than the
            backend's own (Keras, or by hand). Two or more, and different ones.
        tolerance: largest absolute difference from the golden outputs.
        repeat_tolerance: largest difference between two runs of the same input; 0 unless the engine
            is known to add in a varying order.
        files: names, relative to the artifact's folder (or to the artifact where that is a folder), of
            each file that must be whole; by default the artifact's file, or each file below it.
        options, settings: for ``OpenRequest``.
        threads: for ``OpenRequest``.
    """

    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    golden: tuple[Golden, ...] = ()
    tolerance: float = 1e-4
    repeat_tolerance: float = 0.0
    files: tuple[str, ...] = ()
    options: Options = field(default_factory=dict)
    settings: Options = field(default_factory=dict)
    threads: int = 1

    @property
    def root(self) -> Path:
        """The folder that holds ``files``."""
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def whole(self) -> tuple[str, ...]:
        """``files``, or what they are by default."""
        if self.files:
            return self.files
        if not self.path.is_dir():
            return (self.path.name,)
        return tuple(str(p.relative_to(self.path)) for p in sorted(self.path.rglob("*")) if p.is_file())

    def request(self, device: str, **changes: Any) -> OpenRequest:
        """The request that opens it on a device; ``changes`` by the names of ``OpenRequest``."""
        facts: dict[str, Any] = {
            "artifact": self.path,
            "device": device,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "threads": self.threads,
            "options": self.options,
            "settings": self.settings,
        }
        return OpenRequest(**{**facts, **changes})

    def sample(self, number: int = 0) -> dict[str, Array]:
        """Inputs number 0, 1, ...: the golden ones first, random ones after. Fresh arrays each time."""
        if number < len(self.golden):
            return {name: np.array(value, order="C") for name, value in self.golden[number][0].items()}
        like = self.golden[0][0] if self.golden else {}
        return sample_tensors(self.inputs, seed=number, like=like)


@dataclass(frozen=True, kw_only=True)
class ModelExample:
    """A ``.keras`` file for a converter.

    Attributes:
        path: the ``.keras`` file.
        inputs, outputs: names, dtypes, shapes and order that the artifact must have.
        golden: inputs with the Keras model's own outputs.
        tolerance: largest absolute difference of an artifact's outputs, by precision; a precision
            that is not named is not compared.
        calibration: inputs for precisions that need them.
        options: for ``ConvertRequest``.
    """

    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    golden: tuple[Golden, ...] = ()
    tolerance: Options = field(default_factory=dict)
    calibration: Sequence[Tensors] = ()
    options: Options = field(default_factory=dict)

    def sample(self) -> dict[str, Array]:
        """Inputs as declared: the first golden ones, else random. Fresh arrays each time."""
        if self.golden:
            return {name: np.array(value, order="C") for name, value in self.golden[0][0].items()}
        return sample_tensors(self.inputs, seed=0)


@dataclass(frozen=True, kw_only=True)
class CompressionExample:
    """A ``.keras`` file for a compressor, in a folder of its own, with data to fine-tune it.

    Attributes:
        path: the ``.keras`` file; it is its own teacher.
        inputs, outputs: its tensors, the batch open (``None``).
        objective: what its training minimises.
        train, validation: batches; few and small ones, since most rules train.
        options: for ``CompressRequest``.
    """

    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    objective: Objective
    train: Sequence[Batch]
    validation: Sequence[Batch] = ()
    options: Options = field(default_factory=dict)


def sample_tensors(specs: Sequence[TensorSpec], *, seed: int, like: Tensors | None = None) -> dict[str, Array]:
    """Random tensors as declared; an open extent is that of ``like``, else 1 for the batch and 8 elsewhere."""
    random = np.random.default_rng(seed)
    tensors: dict[str, Array] = {}
    for spec in specs:
        known = (like or {}).get(spec.name)
        open_shape = known.shape if known is not None else (1, *(8,) * (len(spec.shape) - 1))
        shape = tuple(want or got for want, got in zip(spec.shape, open_shape, strict=True))
        dtype = np.dtype(spec.dtype)
        if dtype.kind == "f":
            tensors[spec.name] = random.random(shape).astype(dtype)
        elif dtype.kind == "b":
            tensors[spec.name] = random.integers(0, 2, shape).astype(dtype)
        else:
            tensors[spec.name] = random.integers(0, min(np.iinfo(dtype).max, 255), shape).astype(dtype)
    return tensors


def instance_ref(**changes: Any) -> InstanceRef:
    """An ultrasound instance that is nobody's; ``changes`` by the names of ``InstanceRef``."""
    facts: dict[str, Any] = {
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.6.1",
        "sop_instance_uid": "2.25.1001",
        "series_instance_uid": "2.25.1002",
        "study_instance_uid": "2.25.1003",
        "modality": "US",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "rows": 96,
        "columns": 128,
        "photometric_interpretation": "MONOCHROME2",
        "bits_stored": 8,
    }
    return InstanceRef(**{**facts, **changes})


def example_frame(
    dtype: str = "uint8", *, rows: int = 96, columns: int = 128, samples: int = 1, number: int = 1, **changes: Any
) -> Frame:
    """A frame with a smooth, asymmetric picture over the range of ``dtype``; ``changes`` by the names of ``Frame``.

    Integers of 16 bits use 12, as detectors do; signed ones reach below zero; floats are 0 to 1.
    """
    y, x = np.mgrid[0:rows, 0:columns]
    picture = 0.25 + 0.3 * x / columns + 0.2 * y / rows + 0.08 * np.sin(x / 7.0) * np.cos(y / 11.0)
    low, high = {"uint8": (0, 255), "uint16": (0, 4095), "int16": (-1024, 3071)}.get(dtype, (0, 1))
    scaled = low + picture * (high - low)
    pixels = np.ascontiguousarray((scaled if high == 1 else np.round(scaled)).astype(dtype))
    if samples > 1:
        pixels = np.ascontiguousarray(np.stack([pixels // (c + 1) if high > 1 else pixels for c in range(samples)], 2))
    bits = 8 if dtype == "uint8" else 12
    photometric = "MONOCHROME2" if samples == 1 else "RGB"
    facts: dict[str, Any] = {
        "pixels": pixels,
        "number": number,
        "geometry": Geometry(source_rows=rows, source_columns=columns, pixel_spacing_mm=(0.4, 0.4)),
        "instance": instance_ref(
            rows=rows,
            columns=columns,
            bits_stored=bits,
            samples_per_pixel=samples,
            photometric_interpretation=photometric,
        ),
        "photometric_interpretation": photometric,
        "bits_stored": bits,
        "stored_units": dtype != "float32",
        "grayscale": Grayscale(),
    }
    return Frame(**{**facts, **changes})
