"""What the build host asks of segment: which pixels are true, what training compares with, how good masks are."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeai.api import (
    HIGHER,
    LOWER,
    Array,
    Assessed,
    Case,
    Cells,
    Column,
    ConfigError,
    Drawing,
    EvaluationFailed,
    Figure,
    Findings,
    Flags,
    FrameContext,
    Geometry,
    Judge,
    Judged,
    Objective,
    PictureFile,
    Reals,
    Tensors,
    TensorSpec,
    Values,
    Weights,
)
from edgeai_tasks.segment.choosing import check_wish, chosen
from edgeai_tasks.segment.circumferences import Circumferences, measures
from edgeai_tasks.segment.ellipse import of_source
from edgeai_tasks.segment.figures import DISTANCES, NAMES, OVERLAPS, figures_of, overlap
from edgeai_tasks.segment.options import SegmentOptions
from edgeai_tasks.segment.pictures import Outlined, worst_cases
from edgeai_tasks.segment.truth import MovedMask, flags_of, sampled, source_mask
from edgeai_tasks.sizes import size_of

if TYPE_CHECKING:
    from edgeai_tasks.segment.task import Segment

SAME_MASK = 0.95
"""Dice from which two masks count as the same decision."""
RIGHT_MASK = 0.9
"""Dice with what is true from which a mask counts as right, where single answers are counted."""


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

    def unpack(self) -> Flags:
        """The mask, (rows, columns)."""
        bits = np.frombuffer(zlib.decompress(self.bits), np.uint8)
        return np.unpackbits(bits, count=self.shape[0] * self.shape[1]).astype(bool).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Masks:
    """What a model said of one image: label -> whether it is there, where in the source image, and how probable.

    A probability is the mean inside, ``None`` where nothing is stated to be there.
    """

    present: Mapping[str, bool]
    masks: Mapping[str, PackedMask]
    probabilities: Mapping[str, float | None] = field(default_factory=dict)

    def mask(self, label: str) -> Flags:
        """Where a label is, (rows, columns) of the source image."""
        return self.masks[label].unpack()


class SegmentJudge(Judge):
    """See ``Judge``. What is true is a picture of the source image's extent; what is not 0 is the label."""

    columns = (
        Column(name="mask", help="column of the mask's file, relative to the table; what is not 0 is the label"),
    )
    main = ("dice",)

    def __init__(self, options: SegmentOptions, output: TensorSpec, task: Segment) -> None:
        self._output = output
        self._task = task
        self._ellipse, self._sizes = options.ellipse, options.sizes
        self.labels = tuple(label.label for label in options.labels)
        self._wanted = tuple(options.labels[index].label for index in options.found)
        self.objective = Objective(loss="dice-binary-crossentropy", from_logits=options.activation != "none")

    def read(self, cells: Cells) -> PictureFile | None:
        """The mask's picture, which is loaded when it is wanted."""
        return cells.picture("mask") if cells.has("mask") else None

    def digest(self, truth: PictureFile) -> bytes:
        """Of the mask's pixels, not of how a file packs them."""
        mask = flags_of(truth)
        return hashlib.sha256(f"{mask.shape}{mask.dtype.str}".encode() + mask.tobytes()).digest()

    def targets(self, case: Case) -> Tensors:
        """The mask in the output's own grid: one plane a label, and the rest for the background."""
        axes, rows, columns = self._grid()
        inside = sampled(source_mask(case), case.context.frame, rows, columns)
        planes = [inside if label == self._wanted[0] else ~inside for label in self.labels]
        stacked = np.stack(planes).astype(np.float32)
        if "C" not in axes:
            return {self._output.name: stacked[0]}
        turned = stacked.transpose(["CHW".index(axis) for axis in axes])
        return {self._output.name: np.ascontiguousarray(turned)}

    def stratum(self, case: Case) -> Hashable:
        """Whether there is anything to find: a flag a label, of the one that masks are of and of its background."""
        there = bool(source_mask(case).any())
        return tuple((label == self._wanted[0]) == there for label in self.labels)

    def subgroups(self, case: Case) -> Mapping[str, str]:
        """By how large it is: the true ellipse's circumference, in mm, between the options' bounds."""
        spacing = case.context.frame.geometry.spacing_mm()
        if not self._sizes or spacing is None:
            return {}
        ellipse = of_source(source_mask(case), spacing)
        return {"size": size_of(ellipse.circumference, self._sizes, "mm")} if ellipse else {}

    def answer(self, findings: Findings, outputs: Tensors, context: FrameContext) -> Masks:
        """The masks that the findings measure."""
        present = {f.label: f.present for f in findings if f.kind == "segment"}
        if not present:
            raise EvaluationFailed("the task's findings are no segments", code="evaluate.no-findings")
        masks = self._task.masks(outputs, context)
        probabilities = {f.label: f.probability for f in findings if f.kind == "segment"}
        return Masks(present, {label: PackedMask.of(mask) for label, mask in masks.items()}, probabilities)

    def choose(self, cases: Sequence[Case], outputs: Sequence[Tensors], wish: Mapping[str, Any]) -> Mapping[str, Any]:
        """``thresholds``; see the README."""
        check_wish(wish, ellipse=self._ellipse)
        return chosen(self._task, self._only(()), cases, outputs, wish)

    def assessed(self, case: Case, answer: Masks) -> Assessed:
        """Right where the mask overlaps what is true by ``RIGHT_MASK`` Dice; where nothing is true, if it is empty."""
        label = self._only([answer])
        dice = overlap(source_mask(case), answer.mask(label))[0]
        return Assessed(right=dice >= RIGHT_MASK, confidence=answer.probabilities.get(label))

    def moved(self, truth: PictureFile, geometry: Geometry, extent: tuple[int, int]) -> PictureFile:
        """The mask as it lies in the picture that was moved."""
        return MovedMask(truth, geometry, extent)

    def alike(self, one: Masks, other: Masks) -> bool:
        """The same labels are there, and their masks overlap by ``SAME_MASK`` Dice."""
        _same(one.present, other.present)
        if one.present != other.present:
            return False
        return all(overlap(one.mask(name), other.mask(name))[0] >= SAME_MASK for name in one.masks)

    def judged(self, cases: Sequence[Case], answers: Sequence[Masks]) -> Judged:
        """Overlap and distance of outlines; in millimetres where every image says how large its pixels are."""
        measured = _Measured(cases, answers, self._only(answers))
        around = measured.circumferences().figures() if self._ellipse else ()
        return Judged(figures=(*(measured.figure(name) for name in NAMES), *around))

    def pictures(
        self, cases: Sequence[Case], answers: Mapping[str, Sequence[Masks]], ships: Collection[str]
    ) -> Sequence[Drawing]:
        """The worst cases of each artifact that ships."""
        return [self._worst(name, cases, answers[name]) for name in answers if name in ships]

    def _worst(self, name: str, cases: Sequence[Case], answers: Sequence[Masks]) -> Drawing:
        label = self._only(answers)
        pairs = zip(cases, answers, strict=True)
        return worst_cases(name, [Outlined(case, lambda one=one: one.mask(label)) for case, one in pairs])  # type: ignore[misc]

    def _only(self, answers: Sequence[Masks]) -> str:
        """The one label that masks can be scored for."""
        if len(self._wanted) != 1:
            raise EvaluationFailed(
                f"the data has one mask a sample, the model {len(self._wanted)} labels",
                code="evaluate.no-truth",
                remedy="masks of one label, beside a background where there is one, can be scored",
            )
        for answer in answers:
            _same(self._wanted, answer.present)
        return self._wanted[0]

    def _grid(self) -> tuple[str, int, int]:
        """(axes, rows, columns) of the output, without the batch."""
        shape = self._output.shape
        axes = self._output.layout[1:] or {4: "HWC", 3: "HW"}.get(len(shape), "")
        extents = dict(zip(axes, shape[1:], strict=False))
        rows, columns = extents.get("H"), extents.get("W")
        if rows is None or columns is None or len(self._wanted) != 1 or extents.get("C", 1) != len(self.labels):
            raise ConfigError(
                f"output {self._output.name!r} has shape {shape}; the task's targets are rows x columns for one label, "
                "beside a background where there is one",
                code="build.no-target",
                remedy="correct [[outputs]] or the task's labels",
            )
        return axes, rows, columns


def _same(one: Collection[str], other: Collection[str]) -> None:
    if set(one) != set(other):
        raise EvaluationFailed(
            f"one speaks of {', '.join(one)}, the other of {', '.join(other)}",
            code="evaluate.other-labels",
            remedy="compare models of one task with the same labels",
        )


class _Measured:
    """Per-sample figures of masks, computed when they are first asked for."""

    def __init__(self, cases: Sequence[Case], answers: Sequence[Masks], label: str) -> None:
        self._cases = cases
        self._answers = answers
        self._label = label
        self._spacings, self._unit = measures(cases)
        self._values: dict[str, Reals] = {}

    def figure(self, name: str) -> Figure:
        """The mean over the samples of one figure."""
        distance = name in DISTANCES

        def over(weights: Weights) -> Values:
            mean: Values = weights @ self._of(name) / weights.sum(axis=-1)
            return mean

        return Figure(
            name=name,
            value=lambda: float(self._of(name).mean()),
            over=over,
            better=LOWER if distance else HIGHER,
            unit=self._unit if distance else "",
        )

    def circumferences(self) -> Circumferences:
        """How far the ellipses are from the true ones."""
        masks = [lambda one=answer: one.mask(self._label) for answer in self._answers]
        return Circumferences(self._cases, masks, self._spacings, self._unit)

    def _of(self, name: str) -> Reals:
        if name not in self._values:
            names = DISTANCES if name in DISTANCES else OVERLAPS
            each = [
                figures_of(source_mask(case), answer.mask(self._label), spacing, names)
                for case, answer, spacing in zip(self._cases, self._answers, self._spacings, strict=True)
            ]
            for one in names:
                self._values[one] = np.array([measured[one] for measured in each])
        return self._values[name]
