"""A source frame spoilt or shifted, as if it had arrived so: its own extent, spacing and regions, and where truth went.

Grey levels are read from 0 (black) to 1 (white): whole numbers of 8 bits or fewer by their full range, others between
the least and the greatest of the picture itself. Where white is low (MONOCHROME1) they are read the other way round.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from edgeai.api import Array, Frame, Geometry, InstanceRef
from edgeai_workbench.arriving import arrived
from edgeai_workbench.robustness.kinds import KINDS
from edgeai_workbench.robustness.planes import DONE, Random, Spoilt

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
    geometry = arrived(frame.geometry, moved, rows, columns)
    return Distorted(frame=replace(frame, pixels=pixels, instance=instance, geometry=geometry), moved=moved)


def _range(frame: Frame) -> tuple[float, float]:
    """What black and white are among the pixels, or white and black."""
    pixels = frame.pixels
    if pixels.dtype.kind == "u" and frame.bits_stored <= _FULL_RANGE_BITS and frame.stored_units:
        return 0.0, float(2**frame.bits_stored - 1)
    low, high = float(pixels.min()), float(pixels.max())
    return (low, high) if high > low else (low, low + 1.0)
