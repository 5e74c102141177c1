"""The task segment itself; see ``segment`` for its registration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgeai.api import (
    Array,
    Finding,
    Findings,
    FrameContext,
    InstanceRef,
    Measurement,
    Region,
    Spacing,
    TaskFailed,
    Tensors,
    TensorSpec,
    check_tensors,
)
from edgeai_tasks.segment.agreeing import difference
from edgeai_tasks.segment.ellipse import Ellipse
from edgeai_tasks.segment.options import SegmentOptions
from edgeai_tasks.segment.plane import Field, Mask, Plane
from edgeai_tasks.segment.shapes import Outline, filled, pieces, ranked, sigmoid, softmax
from edgeai_tasks.sizes import PIXELS, common_spacing

# As for classify: an int8 softmax has steps of 1/256, and more channels round more.
SUM_TOLERANCE = 0.03
_SUM_A_CHANNEL = 1 / 256
RANGE_TOLERANCE = 0.005


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spread:
    """What a model gave of one frame, before anything is decided: on ``plane`` a probability a channel."""

    plane: Plane
    probabilities: Sequence[Field]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Shape:
    """One label in one frame: on ``plane`` its probability, by how much it is decided, and the cleaned mask."""

    plane: Plane
    probability: Field
    margin: Field
    mask: Mask
    parts: int

    def rounded(self) -> _Shape:
        """The ellipse of the same second moments, as far as the model saw; nothing stays nothing."""
        if not self.mask.any():
            return self
        cells = self.plane.cells
        x, y = cells.x.astype(np.float64), cells.y.astype(np.float64)
        ellipse = Ellipse.of(self.mask, x, y)
        margin = ellipse.margin((x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2).astype(np.float32)
        mask = (margin >= 0) & cells.inside
        if not mask.any():  # a ring about nothing that the model saw, or a speck between the cells' centres
            return self
        return replace(self, margin=margin, mask=mask, parts=1)


class Segment:
    """See ``MaskTask`` and ``ComparingTask``. One finding of kind ``segment`` a label, in the order of the labels."""

    def __init__(self, options: SegmentOptions, outputs: tuple[TensorSpec, ...], *, output: str, layout: str) -> None:
        self._options = options
        self._outputs = outputs
        self._output = output
        self._layout = layout

    def interpret(self, outputs: Tensors, context: FrameContext) -> Findings:
        """Where each label is in this frame; a label that is nowhere is not present, with area 0.

        Raises:
            TensorMismatch: the outputs are not those declared.
            TaskFailed: the output is of the wrong size, not finite, or no probabilities; ``task.no-spacing``: the
                image has no pixel spacing, and the options ask for it.
        """
        number = context.frame.number
        shapes = self._shapes(self.spread(outputs, context))
        return tuple(self._finding(index, shape, number) for index, shape in shapes)

    def masks(self, outputs: Tensors, context: FrameContext) -> Mapping[str, Array]:
        """Label -> bool array of the source image: what ``interpret`` measures. Raises as ``interpret``."""
        return self.masks_of(self.spread(outputs, context))

    def spread(self, outputs: Tensors, context: FrameContext) -> Spread:
        """All that does not depend on a threshold. Raises as ``interpret``."""
        maps = self._probabilities(outputs)
        plane = Plane.of(context.frame, *maps.shape[1:])
        return Spread(plane=plane, probabilities=[plane.resample(values) for values in maps])

    def masks_of(self, spread: Spread) -> Mapping[str, Array]:
        """As ``masks``, of what another threshold of the same task may have been asked of before."""
        labels = self._options.labels
        return {labels[index].label: spread.plane.full(shape.mask) for index, shape in self._shapes(spread)}

    def at(self, threshold: float) -> Segment:
        """The same task, but that every label has this threshold."""
        labels = tuple(replace(label, threshold=threshold) for label in self._options.labels)
        options = replace(self._options, labels=labels)
        return Segment(options, self._outputs, output=self._output, layout=self._layout)

    difference = staticmethod(difference)

    def summarise(self, frames: Sequence[Findings], instance: InstanceRef) -> Findings:
        """One statement a label about the instance, from the frame where it is largest; then those of each frame.

        Raises:
            TaskFailed: there are no frames, or one does not speak of every label.
        """
        if not frames:
            raise TaskFailed("segment: no frame was interpreted", code="task.no-frames")
        by_label = [self._of_frame(findings) for findings in frames]
        summary = tuple(
            replace(max((each[name] for each in by_label), key=_area), frame_number=None) for name in by_label[0]
        )
        return summary + tuple(f for findings in frames for f in findings) if self._options.per_frame else summary

    def _of_frame(self, findings: Findings) -> dict[str, Finding]:
        wanted = [self._options.labels[index].label for index in self._options.found]
        by_label = {f.label: f for f in findings if f.kind == "segment" and f.region is not None}
        if list(by_label) != wanted:
            raise TaskFailed("segment: a frame's findings do not speak of every label", code="task.no-frames")
        return by_label

    def _shapes(self, spread: Spread) -> Iterator[tuple[int, _Shape]]:
        plane, inside = spread.plane, spread.plane.cells.inside
        decided = self._decided(spread.probabilities, inside)
        for index, (margin, mask) in decided.items():
            if self._options.fill_holes:
                # What another label has is no hole.
                others = [other for label, (_, other) in decided.items() if label != index]
                free = ~np.logical_or.reduce(others) if others and self._options.exclusive else inside
                mask = mask | (filled(mask) & free)
            mask, parts = pieces(mask, plane.cells, least=self._least(plane), largest=self._options.largest_component)
            shape = _Shape(plane=plane, probability=spread.probabilities[index], margin=margin, mask=mask, parts=parts)
            yield index, shape.rounded() if self._options.shape == "ellipse" else shape

    def _probabilities(self, outputs: Tensors) -> Field:
        """(channels, rows, columns) of the model's map."""
        check_tensors(self._outputs, outputs, what="output")
        values = outputs[self._output]
        if values.shape[0] != 1 or 0 in values.shape:
            raise self._failed(f"has shape {values.shape}, not one map", "task.output")
        plane = np.asarray(values[0], dtype=np.float32)
        maps = plane[np.newaxis] if self._layout == "NHW" else plane
        maps = np.ascontiguousarray(np.moveaxis(maps, -1, 0) if self._layout == "NHWC" else maps)
        if len(maps) != len(self._options.labels):
            raise self._failed(f"has {len(maps)} channels for {len(self._options.labels)} labels", "task.output")
        if not np.isfinite(maps).all():
            raise self._failed("holds values that are not finite", "task.not-finite")
        if self._options.activation != "none":
            return softmax(maps) if self._options.exclusive else sigmoid(maps)
        self._check(maps)
        return np.clip(maps, 0.0, 1.0)

    def _check(self, maps: Field) -> None:
        low, high = float(maps.min()), float(maps.max())
        if low < -RANGE_TOLERANCE or high > 1.0 + RANGE_TOLERANCE:
            what = f"holds values from {low:.4g} to {high:.4g}"
        elif self._options.exclusive and (off := float(np.abs(maps.sum(axis=0) - 1.0).max())) > max(
            SUM_TOLERANCE, _SUM_A_CHANNEL * len(maps)
        ):
            what = f"has pixels whose labels sum to 1 give or take {off:.4g}"
        else:
            return
        error = self._failed(f"{what}: no probabilities", "task.not-probabilities")
        error.remedy = "set activation to sigmoid or softmax where the model gives logits"
        raise error

    def _decided(self, spread: Sequence[Field], inside: Mask) -> Mapping[int, tuple[Field, Mask]]:
        """Label -> by how much each cell is decided for it, 0 or more where it has the label; and where that is."""
        decided = {}
        top, best, next_best = ranked(spread) if self._options.exclusive else (None, None, None)
        for index in self._options.found:
            margin = spread[index] - np.float32(self._options.labels[index].threshold or 0.0)
            mask = inside
            if best is not None and next_best is not None:
                first = top == index
                margin = np.minimum(margin, spread[index] - np.where(first, next_best, best))
                mask = first & inside
            decided[index] = margin, (margin >= 0) & mask
        return decided

    def _least(self, plane: Plane) -> float:
        """Source pixels of the smallest piece that counts."""
        least = self._options.min_area_px
        if self._options.min_area_mm2:
            spacing = plane.geometry.spacing(sources=self._options.millimetres_from)
            if spacing is not None:
                least = self._options.min_area_mm2 / (spacing.between_rows_mm * spacing.between_columns_mm)
            elif not least:
                raise TaskFailed(
                    "segment: min_area_mm2 needs the pixel spacing, which the image does not have",
                    code="task.no-spacing",
                    remedy="give min_area_px too, for images without",
                )
        return least

    def _finding(self, index: int, shape: _Shape, number: int) -> Finding:
        label = self._options.labels[index]
        present = bool(shape.mask.any())
        mean = float(shape.probability[shape.mask].mean(dtype=np.float64)) if present else None
        return Finding(
            kind="segment",
            label=label.label,
            present=present,
            probability=mean,
            threshold=label.threshold,
            concept=label.concept,
            frame_number=number,
            region=self._region(shape, number) if present else self._nothing(shape.plane, number),
            measurements=self._measured(shape) if present and self._options.ellipse else (),
        )

    def _measured(self, shape: _Shape) -> tuple[Measurement, ...]:
        """Of its ellipse, in millimetres where there are any."""
        cells = shape.plane.cells
        _, centroid, box = cells.measured(shape.mask)
        spacing = self._spacing(shape.plane, centroid, box)
        scale = (spacing.between_columns_mm, spacing.between_rows_mm) if spacing else (1.0, 1.0)
        edges = cells.x.astype(np.float64), cells.y.astype(np.float64)
        return Ellipse.of(shape.mask, *edges, scale=scale).measurements("mm" if spacing else PIXELS)

    def _spacing(
        self, plane: Plane, centroid: tuple[float, float], box: tuple[float, float, float, float]
    ) -> Spacing | None:
        """That of all of a shape; ``None`` where its ends are of other scales."""
        x0, y0, x1, y1 = box
        last = (max(x0, x1 - 1), max(y0, y1 - 1))
        ends = [(x0, y0), (last[0], y0), (x0, last[1]), last]
        return common_spacing(plane.geometry, [centroid, *ends], self._options.millimetres_from)

    def _region(self, shape: _Shape, number: int) -> Region:
        area, centroid, box = shape.plane.cells.measured(shape.mask)
        spacing = self._spacing(shape.plane, centroid, box)
        down, across = (spacing.between_rows_mm, spacing.between_columns_mm) if spacing else (0.0, 0.0)
        outline = Outline.around(shape.mask, shape.margin, shape.plane)
        rings = outline.simplified(self._options.max_points, finest=shape.plane.finest)
        return Region(
            area_px=area,
            area_mm2=round(area * down * across, 4) if spacing else None,
            perimeter_px=round(outline.length(), 3),
            perimeter_mm=round(outline.length((across, down)), 4) if spacing else None,
            box=box,
            centroid=(round(centroid[0], 2), round(centroid[1], 2)),
            parts=shape.parts,
            contours=tuple(tuple((x, y) for x, y in np.round(ring, 1).tolist()) for ring in rings),
            frame_number=number,
            spacing_from=spacing.source if spacing else None,
        )

    def _nothing(self, plane: Plane, number: int) -> Region:
        spacing = plane.geometry.spacing(sources=self._options.millimetres_from)
        zero = 0.0 if spacing else None
        source = spacing.source if spacing else None
        return Region(area_px=0.0, area_mm2=zero, perimeter_mm=zero, frame_number=number, spacing_from=source)

    def _failed(self, why: str, code: str) -> TaskFailed:
        return TaskFailed(f"segment: output {self._output!r} {why}", code=code)


def _area(finding: Finding) -> float:
    return finding.region.area_px if finding.region else 0.0
