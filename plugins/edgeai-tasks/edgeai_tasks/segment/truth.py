"""What is true of an image: a mask of its extent, and the same in a model's own grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeai.api import Array, Case, DataRejected, Flags, Frame, Geometry, PictureFile


@dataclass(frozen=True, slots=True)
class MovedMask:
    """A ``PictureFile``: the mask ``of`` a picture after that was turned, cut or resized.

    ``geometry`` takes points of the new picture, rows x columns of ``extent``, to the old one.
    """

    of: PictureFile
    geometry: Geometry
    extent: tuple[int, int]

    @property
    def path(self) -> Path:
        """Of the mask as it was drawn."""
        return self.of.path

    def load(self) -> Array:
        """(rows, columns) bool. Raises as the picture's own, and ``data.mask-extent``."""
        mask = flags_of(self.of)
        drawn = (self.geometry.source_rows, self.geometry.source_columns)
        if mask.shape != drawn:
            raise DataRejected(
                f"mask {self.path.name} has {mask.shape[0]} x {mask.shape[1]} pixels, the image "
                f"{drawn[0]} x {drawn[1]}",
                code="data.mask-extent",
                remedy="draw masks on the image as it is stored",
            )
        return _nearest(mask, self.geometry, self.extent)


def source_mask(case: Case) -> Flags:
    """The sample's mask, (rows, columns) of the source image; read anew each time.

    Raises:
        DataRejected: ``data.file-unreadable``, or ``data.mask-extent``.
    """
    mask = flags_of(case.truth)
    geometry = case.context.frame.geometry
    extent = (geometry.source_rows, geometry.source_columns)
    if mask.shape != extent:
        raise DataRejected(
            f"{case.id}: mask {case.truth.path.name} has {mask.shape[0]} x {mask.shape[1]} pixels, the image "
            f"{extent[0]} x {extent[1]}",
            code="data.mask-extent",
            remedy="draw masks on the image as it is stored",
        )
    return mask


def flags_of(picture: PictureFile) -> Flags:
    """A mask's picture as (rows, columns) bool: what is not 0."""
    pixels = picture.load()
    mask: Flags = np.asarray(pixels.reshape(*pixels.shape[:2], -1).any(axis=2))
    return mask


def sampled(mask: Flags, frame: Frame, rows: int, columns: int) -> Flags:
    """The nearest pixel of the source's mask at the centre of each cell of a grid over ``frame``; outside: nothing."""
    return _nearest(mask, frame.geometry.scaled(frame.columns / columns, frame.rows / rows), (rows, columns))


def _nearest(mask: Flags, geometry: Geometry, extent: tuple[int, int]) -> Flags:
    """A mask of the geometry's source as it lies in its plane, of ``extent``."""
    rows, columns = extent
    y, x = np.mgrid[0:rows, 0:columns] + 0.5
    places = np.floor(geometry.to_source(np.stack((x, y), axis=-1))).astype(np.int64)
    inside = ((places >= 0) & (places < mask.shape[::-1])).all(axis=1)
    cells = np.zeros(rows * columns, bool)
    cells[inside] = mask[places[inside, 1], places[inside, 0]]
    return cells.reshape(rows, columns)
