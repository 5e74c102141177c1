"""Local structure: how bright a place is, and how much grey levels change there along each axis at several scales."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np

from edgeai.api import Array, Frame, Transform
from edgeai_transforms.options import OptionReader, not_applicable

_WEIGHTS: Final = np.array([0.25, 0.5, 0.25])
"""Of a cell and its neighbours, along each axis: cells overlap, so that a thing on an edge between two is in both."""


@dataclass(frozen=True, slots=True)
class Structure:
    """A grey plane to 1 + 2 scales samples a cell: the mean, then the logarithms of mean changes along x and y."""

    cell: int
    scales: int
    floor: float

    @classmethod
    def of(cls, read: OptionReader) -> Transform:
        """Build from options."""
        cell, scales = read.whole("cell_px", 2, 64), read.whole("scales", 1, 6)
        if cell % 2 ** (scales - 1):
            read.refuse("scales", f"is {scales}, and {2 ** (scales - 1)} does not divide the {cell} pixels of a cell")
        return cls(cell=cell, scales=scales, floor=read.number("floor", above=0.0))

    def apply(self, frame: Frame) -> Frame:
        """See ``Transform.apply``."""
        plane = self._plane(frame)
        rows, columns = frame.rows // self.cell, frame.columns // self.cell
        maps = [_means(plane, rows, columns)]
        for scale in range(self.scales):
            coarse = _means(plane, frame.rows >> scale, frame.columns >> scale)
            maps += [_means(_changes(coarse, axis), rows, columns) for axis in (1, 0)]
        pixels: Array = cv2.sepFilter2D(np.dstack(maps), -1, _WEIGHTS, _WEIGHTS, borderType=cv2.BORDER_REPLICATE)
        pixels[..., 1:] = np.log(pixels[..., 1:] + np.float32(self.floor))
        return replace(
            frame,
            pixels=pixels,
            geometry=frame.geometry.scaled(self.cell, self.cell),
            stored_units=False,
            whole_range=None,
        )

    def _plane(self, frame: Frame) -> Array:
        if frame.pixels.ndim != 2:
            raise not_applicable("structure", frame, "needs a grey plane", "put `grey` before it")
        if not frame.rows or not frame.columns or frame.rows % self.cell or frame.columns % self.cell:
            raise not_applicable(
                "structure",
                frame,
                f"cells of {self.cell} pixels do not fill the plane",
                "put a `resize` to a multiple of cell_px before it",
            )
        plane = np.ascontiguousarray(frame.pixels, np.float32)
        if not np.isfinite(plane).all():
            raise not_applicable("structure", frame, "the frame has values that are not finite")
        return plane


def _means(plane: Array, rows: int, columns: int) -> Array:
    """Of the rectangles into which (rows, columns) divide the plane; the plane itself where it has this extent."""
    means: Array = cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_AREA).reshape(rows, columns)
    return means


def _changes(plane: Array, axis: int) -> Array:
    """Half of what a pixel differs from both neighbours along an axis: a mirrored plane has the same, mirrored."""
    between = np.abs(np.diff(plane, axis=axis))
    ends = [(0, 0), (0, 0)]
    ends[axis] = (1, 1)
    between = np.pad(between, ends)
    before, after = (between[:-1], between[1:]) if axis == 0 else (between[:, :-1], between[:, 1:])
    halves: Array = 0.5 * (before + after)
    return halves
