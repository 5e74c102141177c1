"""What is true of an image: a mask of its extent, and the same in a model's own grid."""

from __future__ import annotations

import numpy as np

from edgeai.api import Case, DataRejected, Flags, Frame, PictureFile


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
    y, x = np.mgrid[0:rows, 0:columns] + 0.5
    points = np.stack((x * (frame.columns / columns), y * (frame.rows / rows)), axis=-1).reshape(-1, 2)
    places = np.floor(frame.geometry.to_source(points)).astype(np.int64)
    inside = ((places >= 0) & (places < mask.shape[::-1])).all(axis=1)
    cells = np.zeros(rows * columns, bool)
    cells[inside] = mask[places[inside, 1], places[inside, 0]]
    return cells.reshape(rows, columns)
