"""Crop to what was imaged: the ultrasound region that the header names, or the content itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeAlias

import cv2
import numpy as np

from edgeai.api import Array, Frame, Transform, UltrasoundRegion
from edgeai_transforms.few_levels import is_whole, stored_range
from edgeai_transforms.options import OptionReader, not_applicable

SPATIAL_FORMAT_2D = 1
DATA_TYPE_TISSUE = 1
Box: TypeAlias = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels of the frame, the ends exclusive."""


@dataclass(frozen=True, slots=True)
class CropUltrasound:
    """The largest 2D tissue region of Sequence of Ultrasound Regions (PS3.3 C.8.5.5)."""

    on_missing: str
    black: float
    least_area: float

    @classmethod
    def of(cls, read: OptionReader) -> Transform:
        """Build from options."""
        return cls(
            on_missing=read.choice("on_missing"),
            black=read.number("black", 0.0, 0.9),
            least_area=read.number("least_area", 0.0, 1.0),
        )

    def apply(self, frame: Frame) -> Frame:
        """See ``Transform.apply``."""
        box = self._region_box(frame)
        if box is None:
            if self.on_missing == "keep":
                return frame
            if self.on_missing == "fail":
                raise not_applicable(
                    "crop_ultrasound",
                    frame,
                    "the header has no 2D tissue region inside the frame",
                    "set on_missing to keep or content",
                )
            box = self._content_box(frame)
        x0, y0, x1, y1 = box
        return replace(frame, pixels=frame.pixels[y0:y1, x0:x1], geometry=frame.geometry.cropped(x0, y0))

    def _region_box(self, frame: Frame) -> Box | None:
        tissue = [
            region
            for region in frame.geometry.regions
            if region.spatial_format == SPATIAL_FORMAT_2D and region.data_type == DATA_TYPE_TISSUE
        ]
        boxes = [box for box in (_box(frame, region) for region in tissue) if box is not None]
        return max(boxes, key=_area, default=None)

    def _content_box(self, frame: Frame) -> Box:
        """The bounds of the largest connected set of pixels above black, thin joins cut."""
        lit = _lit(frame, self.black)
        # Opening parts text, scales and rulers from the sector; closing fills its dark speckle first.
        side = 2 * max(1, round(min(frame.rows, frame.columns) / 200)) + 1
        kernel = np.ones((side, side), np.uint8)
        lit = cv2.morphologyEx(cv2.morphologyEx(lit, cv2.MORPH_CLOSE, kernel), cv2.MORPH_OPEN, kernel)
        count, _, stats, _ = cv2.connectedComponentsWithStats(lit, connectivity=8)
        if count > 1:
            largest = stats[1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))]
            x0, y0 = int(largest[cv2.CC_STAT_LEFT]), int(largest[cv2.CC_STAT_TOP])
            box = (x0, y0, x0 + int(largest[cv2.CC_STAT_WIDTH]), y0 + int(largest[cv2.CC_STAT_HEIGHT]))
            if _area(box) >= self.least_area * frame.rows * frame.columns:
                return box
        raise not_applicable("crop_ultrasound", frame, f"no content covers {self.least_area:.0%} of the frame")


def _box(frame: Frame, region: UltrasoundRegion) -> Box | None:
    """The region in this frame's pixels, cut to the frame; ``None`` where nothing of it is left."""
    corners = frame.geometry.from_source(
        [(region.min_x0, region.min_y0), (region.max_x1 + 1, region.max_y1 + 1)],
    )
    # A resized frame has regions that end within a pixel; a hair of rounding must not take in the next one.
    x0, y0 = (math.floor(value + 1e-6) for value in corners.min(axis=0))
    x1, y1 = (math.ceil(value - 1e-6) for value in corners.max(axis=0))
    box = (max(0, x0), max(0, y0), min(frame.columns, x1), min(frame.rows, y1))
    return box if box[0] < box[2] and box[1] < box[3] else None


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _lit(frame: Frame, black: float) -> Array:
    """1 where the brightest sample is above the fraction ``black`` of the white level."""
    pixels = frame.pixels if frame.pixels.ndim == 2 else frame.pixels.max(axis=2)
    if frame.photometric_interpretation == "MONOCHROME1":
        raise not_applicable("crop_ultrasound", frame, "black is not low in MONOCHROME1", "put `invert` before it")
    low, high = stored_range(frame) if is_whole(frame) else (0.0, float(pixels.max()))
    return (pixels > low + black * (high - low)).astype(np.uint8)
