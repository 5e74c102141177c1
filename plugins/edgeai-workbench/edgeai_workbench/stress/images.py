"""The stress set: kinds of images, each made or read anew, evenly spread and the same each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgeai.api import Array, Frame
from edgeai.bundle.manifest import Eligibility
from edgeai_workbench.dataset import Sample, read_images
from edgeai_workbench.pictures import frame_of
from edgeai_workbench.robustness.asking import spread
from edgeai_workbench.robustness.frames import Distorted, random_of, spoilt
from edgeai_workbench.robustness.kinds import KINDS
from edgeai_workbench.stress.settings import CHANGED, DRAWN, PROPER, StressUse
from edgeai_workbench.wrong_images import WRONG

SIZES: Final = ((270, 400), (256, 256), (900, 700))
"""Rows and columns of drawings, in turn; no less than the model takes."""
SEED: Final = 92
Change = Callable[[Sample], Distorted]
_HEADER: Final = ("modality", "sop_class_uid", "body_part_examined", "view_position")
"""What eligibility may ask of an image's header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Images of one kind.

    Attributes:
        name: as the report calls it.
        says: what they are.
        samples: the images; of those that are changed, as they are.
        change: what becomes of its own; ``None``: they are shown as they are.
        min_withheld: the card's bound.
    """

    name: str
    says: str
    samples: tuple[Sample, ...]
    change: Change | None = None
    min_withheld: float | None = None


def kinds_of(use: StressUse, own: Sequence[Sample], root: Path, eligible: Eligibility) -> tuple[list[Kind], list[Kind]]:
    """Kinds that nothing is true of (drawings, other tables), and kinds of its own, the proper ones first.

    Args:
        use: what the card asks for.
        own: images that the model is for.
        root: the data's folder.
        eligible: which instances the model takes; all images get a header that it does.

    Raises:
        DataRejected: as ``read_images``.
    """
    own = spread(own, use.samples)
    like = _presented(own[0].load()[0], eligible)
    least = use.min_withheld
    wrong = [
        Kind(
            name=name,
            says=(WRONG[name].__doc__ or "").rstrip("."),
            samples=_drawn(name, use.samples, like, eligible),
            min_withheld=least.get(DRAWN),
        )
        for name in WRONG
    ]
    for table in use.wrong:
        images = spread(read_images(table.split, root), use.samples)
        wrong.append(
            Kind(
                name=table.called,
                says=f"images of {table.table}, under a header that the model takes",
                samples=tuple(
                    _under(sample, lambda frame: _presented(_like(frame, like), eligible)) for sample in images
                ),
                min_withheld=table.min_withheld,
            )
        )
    proper = tuple(_under(sample, lambda frame: _presented(frame, eligible)) for sample in own)
    kept = [Kind(name=PROPER, says="its own images of validation, as they are", samples=proper)]
    kept += [
        Kind(
            name=name,
            says=f"the same: {KINDS[name].says(strength)}",
            samples=proper,
            change=_changing(name, strength),
            min_withheld=least.get(name),
        )
        for name, strength in CHANGED.items()
    ]
    return wrong, kept


def _changing(name: str, strength: float | None) -> Change:
    return lambda sample: spoilt(sample.load()[0], name, strength, name=sample.id, seed=SEED)


def _drawn(name: str, count: int, like: Frame, eligible: Eligibility) -> tuple[Sample, ...]:
    """So many drawings of a kind."""

    def drawing(number: int) -> Frame:
        rows, columns = SIZES[number % len(SIZES)]
        rows, columns = max(rows, eligible.min_rows), max(columns, eligible.min_columns)
        pixels = WRONG[name](random_of(SEED, name, str(number)), rows, columns)
        return _presented(_like(frame_of(pixels, name=f"{name} {number}"), like), eligible)

    return tuple(
        Sample(id=f"{name} {number}", group=f"{name} {number}", frame=lambda number=number: drawing(number))  # type: ignore[misc]
        for number in range(count)
    )


def _under(sample: Sample, change: Callable[[Frame], Frame]) -> Sample:
    return replace(sample, frame=lambda: change(sample.frame()))


def _like(frame: Frame, own: Frame) -> Frame:
    """In colour where its own are, and with their spacing: it is to be withheld for what it shows."""
    pixels = frame.pixels
    if pixels.ndim == 2 and own.pixels.ndim == 3:
        coloured: Array = np.repeat(pixels[..., None], 3, axis=2)
        instance = replace(frame.instance, samples_per_pixel=3, photometric_interpretation="RGB")
        frame = replace(frame, pixels=coloured, photometric_interpretation="RGB", instance=instance)
    if frame.geometry.pixel_spacing_mm is not None:
        return frame
    spacing = own.geometry.pixel_spacing_mm
    return replace(frame, geometry=replace(frame.geometry, pixel_spacing_mm=spacing))


def _presented(frame: Frame, eligible: Eligibility) -> Frame:
    """Under a header that the model takes, where its own is another."""
    instance = frame.instance
    for keyword in _HEADER:
        wanted: tuple[str, ...] = getattr(eligible, keyword)
        if wanted and getattr(instance, keyword).strip().upper() not in {each.strip().upper() for each in wanted}:
            told: Any = {keyword: wanted[0]}
            instance = replace(instance, **told)
    return replace(frame, instance=instance)
