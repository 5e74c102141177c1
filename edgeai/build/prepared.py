"""Samples as the model sees them: through the card's own transforms once, then as many times as anyone asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgeai.api import Array, Batch, DataRejected, EdgeaiError, Frame, FrameContext, Tensors, TensorSpec
from edgeai.build.dataset import Labels, Sample, TaskLike, labels_of
from edgeai.build.targets import encoder_of, source_mask
from edgeai.pipeline import Pipeline

_SAID = 10
"""Times that progress is told."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """What every step of a build asks of its samples.

    Attributes:
        samples: n of them.
        labels: of the task, in its order.
        inputs: input name -> (n, ...), stacked.
        contexts: for each, the frame as the model saw it, and its instance.
        targets: output name -> (n, ...) float32, as ``edgeai.build.targets`` encodes; ``None`` where nobody says.
    """

    samples: tuple[Sample, ...]
    labels: tuple[str, ...]
    inputs: Tensors
    contexts: tuple[FrameContext, ...]
    targets: Tensors | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def truth(self) -> Array:
        """What is true, (n, labels) bool, from the tables; rows with several true only for multi-label.

        Raises:
            DataRejected: ``data.target-missing``: samples without labels.
        """
        rows = []
        for sample in self.samples:
            if not isinstance(sample.target, Labels):
                raise DataRejected(f"{sample.id}: has no label", code="data.target-missing")
            rows.append([label in sample.target.names for label in self.labels])
        return np.array(rows, bool)

    def mask(self, place: int) -> Array:
        """The mask of one sample in its source image, (rows, columns) bool; read anew each time.

        Raises:
            DataRejected: as ``edgeai.build.targets.source_mask``.
        """
        return source_mask(self.samples[place], self.contexts[place].frame)

    def take(self, count: int) -> Prepared:
        """At most ``count`` of them, evenly spread."""
        if count >= len(self):
            return self
        return self.at(np.unique(np.linspace(0, len(self) - 1, count).round().astype(int)))

    def at(self, places: Array | Sequence[int]) -> Prepared:
        """Those at these places, in this order."""
        chosen = np.asarray(places, int)
        return replace(
            self,
            samples=tuple(self.samples[place] for place in chosen),
            contexts=tuple(self.contexts[place] for place in chosen),
            inputs={name: value[chosen] for name, value in self.inputs.items()},
            targets=None if self.targets is None else {name: value[chosen] for name, value in self.targets.items()},
        )


def prepare(
    samples: Sequence[Sample],
    pipeline: Pipeline,
    *,
    input: TensorSpec,
    output: TensorSpec,
    task: TaskLike,
    progress: Callable[[str], None] = lambda step: None,
) -> Prepared:
    """Read and transform every sample, and encode its target where it has one.

    Args:
        samples: all with a target, or none.
        pipeline: the card's transforms.
        input: the model's image input.
        output: the output that targets are compared with.
        task: whose labels and mode say how targets are encoded.
        progress: told how far it is, now and then.

    Raises:
        DataRejected: a file or a mask that cannot be used; ``data.not-transformed`` names the sample that the
            transforms refuse; ``data.empty`` without samples.
        ConfigError: ``build.no-target``, when samples have targets and the task or the output does not fit them.
    """
    if not samples:
        raise DataRejected("there are no samples", code="data.empty")
    encode = encoder_of(task, output) if any(sample.target is not None for sample in samples) else None
    arrays, contexts, targets = [], [], []
    for number, sample in enumerate(samples, start=1):
        array, context = _seen(sample, pipeline)
        arrays.append(array[0])
        contexts.append(context)
        if encode is not None:
            targets.append(encode(sample, context.frame))
        if number % max(1, len(samples) // _SAID) == 0 or number == len(samples):
            progress(f"{number} of {len(samples)} samples")
    stacked = np.stack(arrays)
    return Prepared(
        samples=tuple(samples),
        labels=labels_of(task),
        inputs={input.name: stacked},
        contexts=tuple(_sharing(context, array) for context, array in zip(contexts, stacked, strict=True)),
        targets=None if encode is None else {output.name: np.stack(targets)},
    )


def batches(
    prepared: Prepared, size: int = 16, *, seed: int = 0, shuffle: bool = True
) -> Callable[[], Iterable[Batch]]:
    """What training asks for once an epoch: another order each time, the same orders for the same seed.

    Raises:
        DataRejected: ``data.target-missing``: samples without targets.
    """
    if prepared.targets is None:
        raise DataRejected("the samples have no targets", code="data.target-missing")
    random = np.random.default_rng([seed, 0xDA7A])

    def epoch() -> _Epoch:
        order = random.permutation(len(prepared)) if shuffle else np.arange(len(prepared))
        return _Epoch(prepared, order, size)

    return epoch


class _Epoch:
    """The batches of one epoch, each cut out when it is asked for."""

    def __init__(self, prepared: Prepared, order: Array, size: int) -> None:
        self._prepared = prepared
        self._order = order
        self._size = size

    def __len__(self) -> int:
        return -(-len(self._order) // self._size)

    def __iter__(self) -> Iterator[Batch]:
        for begin in range(0, len(self._order), self._size):
            places = self._order[begin : begin + self._size]
            yield _part(self._prepared.inputs, places), _part(self._prepared.targets or {}, places)


def _part(tensors: Tensors, places: Array) -> dict[str, Array]:
    return {name: value[places].astype(np.float32, copy=False) for name, value in tensors.items()}


def _seen(sample: Sample, pipeline: Pipeline) -> tuple[Array, FrameContext]:
    frame, instance = sample.load()
    try:
        array, seen = pipeline.prepare(frame)
    except EdgeaiError as error:
        raise DataRejected(
            f"{sample.id}: the card's transforms refuse it: {error}", code="data.not-transformed", remedy=error.remedy
        ) from error
    return array, FrameContext(frame=seen, instance=instance)


def _sharing(context: FrameContext, array: Array) -> FrameContext:
    """The context with the stacked tensor's memory as its pixels, where they are the same: half the memory."""
    frame: Frame = context.frame
    if (
        frame.pixels.size != array.size
        or frame.pixels.dtype != array.dtype
        or array.shape[:2] != frame.pixels.shape[:2]
    ):
        return context
    return replace(context, frame=replace(frame, pixels=array.reshape(frame.pixels.shape)))
