"""A source frame spoilt or shifted, as if it had arrived so: its own extent, spacing and regions, and where truth went.

Grey levels are read from 0 (black) to 1 (white): whole numbers of 8 bits or fewer by their full range, others between
the least and the greatest of the picture itself. Where white is low (MONOCHROME1) they are read the other way round.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from edgeai.api import Array, Frame, Geometry, InstanceRef, UltrasoundRegion
from edgeai_workbench.robustness.kinds import KINDS
from edgeai_workbench.robustness.planes import DONE, Affine, Random, Spoilt

_FULL_RANGE_BITS = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Distorted:
    """A frame after something was done to it.

    Attributes:
        frame: as a device would decode it; its geometry is that of a source image.
        moved: takes points of it to the frame as it was; ``None`` where nothing moved.
    """

    frame: Frame
    moved: Geometry | None = None

    @property
    def instance(self) -> InstanceRef:
        """What it is of."""
        return self.frame.instance

    @property
    def extent(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.frame.rows, self.frame.columns


def spoilt(frame: Frame, kind: str, strength: float | None, *, name: str, seed: int) -> Distorted:
    """A frame spoilt in one way; the same sample, kind and seed give the same pixels.

    Args:
        frame: a source frame.
        kind: one of ``KINDS``.
        strength: in the kind's unit; ``None`` where it has none.
        name: of the sample.
        seed: of the random choices, with the kind and the name.
    """
    value = strength if strength is not None else KINDS[kind].strength
    random = random_of(seed, kind, name)
    return done(frame, lambda plane: DONE[kind](plane, value or 0.0, random))


def random_of(seed: int, *names: str) -> Random:
    """A generator that depends on nothing else."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def done(frame: Frame, change: Callable[[Array], Spoilt]) -> Distorted:
    """``change`` of the frame's plane, from 0 (black) to 1 (white), as a frame of the same kind of pixels."""
    low, high = _range(frame)
    bright_is_low = frame.photometric_interpretation == "MONOCHROME1"
    plane = ((frame.pixels.astype(np.float32) - low) / (high - low)).astype(np.float32)
    plane, affine = change(1 - plane if bright_is_low else plane)
    plane = np.clip(plane, 0.0, 1.0)
    levels = low + (1 - plane if bright_is_low else plane).astype(np.float64) * (high - low)
    dtype = frame.pixels.dtype
    pixels = np.ascontiguousarray((np.round(levels) if dtype.kind in "iu" else levels).astype(dtype))
    rows, columns = int(pixels.shape[0]), int(pixels.shape[1])
    instance = replace(frame.instance, rows=rows, columns=columns)
    if affine is None:
        return Distorted(frame=replace(frame, pixels=pixels, instance=instance))
    moved = Geometry(source_rows=frame.rows, source_columns=frame.columns, affine=affine)
    geometry = _arrived(frame.geometry, moved, rows, columns)
    return Distorted(frame=replace(frame, pixels=pixels, instance=instance, geometry=geometry), moved=moved)


def _range(frame: Frame) -> tuple[float, float]:
    """What black and white are among the pixels, or white and black."""
    pixels = frame.pixels
    if pixels.dtype.kind == "u" and frame.bits_stored <= _FULL_RANGE_BITS and frame.stored_units:
        return 0.0, float(2**frame.bits_stored - 1)
    low, high = float(pixels.min()), float(pixels.max())
    return (low, high) if high > low else (low, low + 1.0)


def _arrived(was: Geometry, moved: Geometry, rows: int, columns: int) -> Geometry:
    """The geometry of a source image that is the old one, moved."""
    spacing = None if was.pixel_spacing_mm is None else _spacing(was.pixel_spacing_mm, moved.affine)
    regions = tuple(_region(region, moved, rows, columns) for region in was.regions)
    return Geometry(
        source_rows=rows,
        source_columns=columns,
        pixel_spacing_mm=spacing,
        regions=tuple(region for region in regions if region is not None),
        spacing_from=was.spacing_from,
    )


def _spacing(was: tuple[float, float], affine: Affine) -> tuple[float, float]:
    """(between rows, between columns): how far a step down, and one to the right, is in the old picture."""
    a, b, _, d, e, _ = affine
    down, across = was
    return math.hypot(b * across, e * down), math.hypot(a * across, d * down)


def _region(region: UltrasoundRegion, moved: Geometry, rows: int, columns: int) -> UltrasoundRegion | None:
    """The least box around what the region became; ``None`` where nothing of it is left."""
    x0, y0, x1, y1 = region.min_x0, region.min_y0, region.max_x1 + 1, region.max_y1 + 1
    corners = moved.from_source([(x0, y0), (x1, y0), (x0, y1), (x1, y1)])
    low = np.maximum(0, np.round(corners.min(axis=0))).astype(int)
    high = np.minimum((columns, rows), np.round(corners.max(axis=0))).astype(int)
    if (high <= low).any():
        return None
    across, down = region.delta_x_mm, region.delta_y_mm
    if across is not None and down is not None:
        down, across = _spacing((abs(down), abs(across)), moved.affine)
    return replace(
        region,
        min_x0=int(low[0]),
        min_y0=int(low[1]),
        max_x1=int(high[0]) - 1,
        max_y1=int(high[1]) - 1,
        delta_x_mm=across,
        delta_y_mm=down,
    )
