"""What a plugin registers for the build host: converters (Keras -> artifact) and compressors (Keras -> Keras)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from edgeai.api.options import Options, OptionSpec
from edgeai.api.tensors import Array, Tensors, TensorSpec


def _say_nothing(step: str) -> None:
    pass


Infer: TypeAlias = Callable[[Tensors], Tensors]
"""One inference: input tensors by name, batch first -> output tensors by name."""

Batch: TypeAlias = tuple[Tensors, Tensors]
"""(inputs, targets), each by tensor name, float32, batch first; a target has its output's shape."""


@runtime_checkable
class MovableTargets(Protocol):
    """Targets, a mapping as any, that are made anew where training moves their pictures. Since 1.4.

    Without these two functions a target of the extent of a plane moves as its picture does, and any other stays.
    """

    def at(self, places: Array) -> Tensors:
        """Those of the samples at these places, in this order; movable again."""
        ...

    def moved(self, affines: Array) -> tuple[Tensors, npt.NDArray[np.bool_]]:
        """Targets of the moved pictures, and (n,): of which of these anybody can say what is true.

        Args:
            affines: (n, 2, 3), each takes points (x, y) of the moved picture to the picture as it was: in pixels of
                what the model sees, from the outer corner of the first.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertRequest:
    """Turn a ``.keras`` file into one artifact.

    Attributes:
        model: path of the ``.keras`` file.
        output: folder that exists and is empty; the converter writes only below it.
        precision: one of the spec's ``precisions``.
        inputs, outputs: names, dtypes (float32), shapes and order the artifact must have.
        calibration: tensors as the model sees them, one sample at a time, for precisions that need them.
        score: how good an inference function is on held-out data (the task's main metric, higher is better), for
            converters that search which layers to keep in float; ``None`` when nobody can say.
        max_drop: by how much ``score`` may fall below the parent's before layers are kept in float; ``None``: they
            are not searched for.
        options: the recipe's, names out of ``ConverterSpec.options``.
        progress: told what is being done, one short sentence a step.
    """

    model: Path
    output: Path
    precision: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    calibration: Callable[[], Iterable[Tensors]] | None = None
    score: Callable[[Infer], float] | None = None
    max_drop: float | None = None
    options: Options = field(default_factory=dict)
    progress: Callable[[str], None] = _say_nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What was written.

    Attributes:
        artifact: the path that ``OpenRequest.artifact`` wants, below ``ConvertRequest.output``.
        options: what ``OpenRequest.options`` must hold for it.
        notes: what a reader of the report should know (``"kept in float: conv2d_3"``).
        layers: layer or operation -> its quantisation error (root mean square, as a part of the float tensor's
            standard deviation), where the converter measured it; the report shows the worst.
    """

    artifact: Path
    options: Options = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    layers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConverterSpec:
    """Keras -> artifact. ``convert`` raises ``ConversionFailed``, naming the layer where known.

    ``calibrated`` names those of ``precisions`` that cannot be made without ``ConvertRequest.calibration``;
    ``first_try`` those that the card of a first try asks for, which its user then chooses among; ``libraries`` are
    distributions whose versions decide what comes out, which reports name.
    """

    name: str
    artifact_format: str
    precisions: tuple[str, ...]
    convert: Callable[[ConvertRequest], Converted]
    calibrated: tuple[str, ...] = ()
    options: tuple[OptionSpec, ...] = ()
    help: str = ""
    first_try: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What training minimises.

    Attributes:
        loss: ``categorical-crossentropy``, ``binary-crossentropy``, ``dice-binary-crossentropy`` (the mean of soft
            Dice and cross-entropy, for masks), ``mean-squared-error`` or ``mean-absolute-error``; with ``formula`` any
            name.
        from_logits: whether the outputs are logits, to which the task applies softmax or sigmoid.
        formula: ``(ops, truth, answer)`` -> the loss of each sample, (batch,), for a loss that has no name above.
            ``truth`` and ``answer`` are the training framework's tensors, batch first; ``ops`` is its namespace of
            functions called as numpy calls them (``keras.ops``, or numpy itself): use functions that both have.
        together: ``(ops, truths, answers)`` -> the loss of each sample, (batch,), of all outputs together, each by its
            name; in place of ``loss`` and ``formula``, for a model whose outputs are to be judged by one another, as of
            two stages the second by what the first proposed. Training alone knows it. Since 1.4.
    """

    loss: str
    from_logits: bool = False
    formula: Callable[[Any, Any, Any], Any] | None = None
    together: Callable[[Any, Mapping[str, Any], Mapping[str, Any]], Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressRequest:
    """Turn a ``.keras`` file into a smaller one.

    Attributes:
        model: the file to start from.
        output: the ``.keras`` file to write, without optimizer state.
        objective: what fine-tuning minimises.
        train: called once an epoch, gives that epoch's batches in a new order; ``None``: no fine-tuning.
        validation: batches that early stopping looks at.
        teacher: the trained parent that the chain of steps began from.
        augment: augmentation of the training batches, names as the card's ``[training.augment]``.
        seed: of every random choice; the same request gives the same weights, on the same kind of processor.
        options: the step's, names out of ``CompressorSpec.options``.
        progress: told what is being done, one short sentence a step.
    """

    model: Path
    output: Path
    objective: Objective
    train: Callable[[], Iterable[Batch]] | None = None
    validation: Callable[[], Iterable[Batch]] | None = None
    teacher: Path | None = None
    augment: Options = field(default_factory=dict)
    seed: int = 0
    options: Options = field(default_factory=dict)
    progress: Callable[[str], None] = _say_nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Compressed:
    """What was written.

    Attributes:
        model: ``CompressRequest.output``.
        notes: what a reader of the report should know (``"pruned conv2d_3 from 64 to 31 channels"``).
        facts: figures by name, e.g. ``parameters``, ``flops``, ``sparsity``, each before and after (``flops_before``).
    """

    model: Path
    notes: tuple[str, ...] = ()
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressorSpec:
    """Keras -> Keras (prune, distil, cluster). ``compress`` raises ``CompressionFailed``, naming the layer."""

    name: str
    compress: Callable[[CompressRequest], Compressed]
    options: tuple[OptionSpec, ...] = ()
    help: str = ""
