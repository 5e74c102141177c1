"""What a model says of samples whose truth is known: asked through the same transforms and task as on a device."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgeai.api import Array, EdgeaiError, EvaluationFailed, Findings, FrameContext, Infer, MaskTask, Task, Tensors
from edgeai.build.metrics.segmentation import overlap
from edgeai.build.prepared import Prepared

SAME_MASK = 0.95
"""Dice from which two masks count as the same decision."""
CLASSES, MASKS = "class", "segment"
_SAID_EVERY = 100


@dataclass(frozen=True, slots=True)
class PackedMask:
    """A bool array, kept small: hundreds of masks of a detector's size do not fit into memory otherwise."""

    shape: tuple[int, int]
    bits: bytes

    @classmethod
    def of(cls, mask: Array) -> PackedMask:
        """Pack (rows, columns) bool."""
        rows, columns = mask.shape
        return cls((rows, columns), zlib.compress(np.packbits(mask).tobytes(), level=1))

    def unpack(self) -> npt.NDArray[np.bool_]:
        """The mask, (rows, columns)."""
        bits = np.frombuffer(zlib.decompress(self.bits), np.uint8)
        return np.unpackbits(bits, count=self.shape[0] * self.shape[1]).astype(bool).reshape(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """What one model says of n samples.

    Attributes:
        ids: of the samples.
        kind: of the findings: ``class`` or ``segment``.
        labels: the words that the findings use, in the task's order.
        present: (n, labels) bool: which are stated.
        probabilities: (n, labels); of a ``segment`` the mean inside, 0 where nothing was found.
        masks: of a ``segment``, for each sample one mask a label, in the source image.
    """

    ids: tuple[str, ...]
    kind: str
    labels: tuple[str, ...]
    present: npt.NDArray[np.bool_]
    probabilities: npt.NDArray[np.float64]
    masks: tuple[tuple[PackedMask, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def mask(self, place: int, label: str) -> npt.NDArray[np.bool_]:
        """Where a sample has a label, (rows, columns) of its source image."""
        return self.masks[place][self.labels.index(label)].unpack()

    def at(self, places: Array | Sequence[int]) -> Answers:
        """Those at these places, in this order."""
        chosen = np.asarray(places, int)
        return replace(
            self,
            ids=tuple(self.ids[place] for place in chosen),
            present=self.present[chosen],
            probabilities=self.probabilities[chosen],
            masks=tuple(self.masks[place] for place in chosen) if self.masks else (),
        )


def answer(
    prepared: Prepared, infer: Infer, task: Task, *, progress: Callable[[str], None] = lambda step: None
) -> Answers:
    """Ask a model of every sample, one at a time, as a device does.

    Args:
        prepared: the samples, transformed.
        infer: ``Session.run``, or whatever else computes the outputs.
        task: makes findings, and masks where it can, of them.
        progress: told how far it is, now and then.

    Raises:
        EvaluationFailed: ``evaluate.no-findings``: a task whose findings are neither classes nor masks.
        EdgeaiError: the model or the task failed on a sample; the message begins with it.
    """
    said, masks = [], []
    for place, context in enumerate(prepared.contexts):
        name = prepared.samples[place].id
        try:
            outputs = infer({name: values[place : place + 1] for name, values in prepared.inputs.items()})
            said.append(_stated(task.interpret(outputs, context)))
            if isinstance(task, MaskTask):
                masks.append(_packed(task, outputs, context))
        except EdgeaiError as error:
            raise type(error)(f"{name}: {error}", code=error.code, remedy=error.remedy) from error
        if (place + 1) % _SAID_EVERY == 0:
            progress(f"asked {place + 1} of {len(prepared)} samples")
    return _gathered(prepared, said, masks)


def agreement(one: Answers, other: Answers) -> float:
    """The share of samples that both decide alike: the same labels, and masks that overlap by ``SAME_MASK`` Dice.

    Raises:
        EvaluationFailed: as ``check_same``.
    """
    check_same(one, other)
    other = ordered_as(other, one.labels)
    alike = (one.present == other.present).all(axis=1)
    if one.masks:
        for place in np.flatnonzero(alike):
            pairs = zip(one.masks[place], other.masks[place], strict=True)
            alike[place] = all(overlap(a.unpack(), b.unpack())[0] >= SAME_MASK for a, b in pairs)
    return float(alike.mean())


def check_same(one: Answers, other: Answers) -> None:
    """Nothing, where both were asked of the same samples and speak of the same labels.

    Raises:
        EvaluationFailed: ``evaluate.other-samples``, ``evaluate.other-labels``.
    """
    if one.ids != other.ids:
        raise EvaluationFailed("the two were asked of different samples", code="evaluate.other-samples")
    if (one.kind, set(one.labels)) != (other.kind, set(other.labels)):
        raise EvaluationFailed(
            f"one speaks of {', '.join(one.labels)}, the other of {', '.join(other.labels)}",
            code="evaluate.other-labels",
            remedy="compare models of one task with the same labels",
        )


def ordered_as(answers: Answers, labels: Sequence[str]) -> Answers:
    """The same answers with their labels in this order."""
    if answers.labels == tuple(labels):
        return answers
    order = [answers.labels.index(label) for label in labels]
    return replace(
        answers,
        labels=tuple(labels),
        present=answers.present[:, order],
        probabilities=answers.probabilities[:, order],
        masks=tuple(tuple(each[place] for place in order) for each in answers.masks),
    )


_Said = tuple[str, Mapping[str, tuple[bool, float]]]


def _stated(findings: Findings) -> _Said:
    for kind in (CLASSES, MASKS):
        found = {f.label: (f.present, f.probability or 0.0) for f in findings if f.kind == kind}
        if found:
            return kind, found
    raise EvaluationFailed("the task's findings are neither classes nor masks", code="evaluate.no-findings")


def _packed(task: MaskTask, outputs: Tensors, context: FrameContext) -> dict[str, PackedMask]:
    return {label: PackedMask.of(mask) for label, mask in task.masks(outputs, context).items()}


def _gathered(prepared: Prepared, said: Sequence[_Said], masks: Sequence[Mapping[str, PackedMask]]) -> Answers:
    kind, first = said[0]
    # A classifier orders its findings by probability; the task's own order is the same for all samples.
    labels = tuple(label for label in prepared.labels if label in first)
    return Answers(
        ids=tuple(sample.id for sample in prepared.samples),
        kind=kind,
        labels=labels,
        present=np.array([[each[label][0] for label in labels] for _, each in said], bool),
        probabilities=np.array([[each[label][1] for label in labels] for _, each in said], np.float64),
        masks=tuple(tuple(each[label] for label in labels) for each in masks),
    )
