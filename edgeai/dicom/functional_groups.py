"""Functional groups of multi-frame images (PS3.3 C.7.6.16): what calibrates all frames, and what each its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from edgeai.api.errors import DicomRejected
from edgeai.api.imaging import Geometry, Grayscale
from edgeai.api.results import Note
from edgeai.dicom.attributes import Attributes, bad
from edgeai.dicom.grayscale import grayscale
from edgeai.dicom.spacing import geometry

_SHARED: Final = "SharedFunctionalGroupsSequence"
_PER_FRAME: Final = "PerFrameFunctionalGroupsSequence"
_FIELDS: Final = {"PixelValueTransformationSequence": "rescale_slope", "FrameVOILUTSequence": "windows"}
_MACROS: Final = ("PixelMeasuresSequence", *_FIELDS)

Calibration = tuple[Geometry, Grayscale]


def calibrations(
    dataset: Attributes, rows: int, columns: int, frames: int, *, stored: tuple[int, int]
) -> tuple[Calibration, tuple[Calibration, ...]]:
    """Geometry and Grayscale of all frames, and of each where Per-Frame Functional Groups say anything of use here.

    Groups that are damaged, or not as many as frames, calibrate nothing: whatever they would have said is unusable,
    and what the data set says elsewhere does not stand in for it.
    """
    lost: dict[str, Note] = {}
    shared = _shared(dataset, lost)
    groups = _per_frame(dataset, frames, lost)

    def one(group: Attributes | None) -> Calibration:
        places = geometry(dataset, rows, columns, group)
        grey = grayscale(dataset, stored=stored, group=group)
        if not lost:
            return places, grey
        if "PixelMeasuresSequence" in lost:
            places = replace(places, pixel_spacing_mm=None)
        fields = {_FIELDS[macro]: note for macro, note in lost.items() if macro in _FIELDS}
        windows = () if "windows" in fields else grey.windows
        return places, replace(grey, windows=windows, unusable={**grey.unusable, **fields})

    return one(shared), tuple([one(_merged(shared, group)) for group in groups])


def _shared(dataset: Attributes, lost: dict[str, Note]) -> Attributes | None:
    try:
        return next(iter(dataset.items(_SHARED)), None)
    except DicomRejected as error:
        lost.update(dict.fromkeys(_MACROS, dataset.notes.ignored(error)))
        return None


def _per_frame(dataset: Attributes, frames: int, lost: dict[str, Note]) -> list[Attributes]:
    try:
        groups = dataset.items(_PER_FRAME)
    except DicomRejected as error:
        lost.update(dict.fromkeys(_MACROS, dataset.notes.ignored(error)))
        return []
    stated = [macro for macro in _MACROS if any(macro in group for group in groups)]
    if not stated:
        return []
    if len(groups) != frames:
        too_few = bad(_PER_FRAME, "has not as many items as there are frames")
        lost.update(dict.fromkeys(stated, dataset.notes.ignored(too_few)))
        return []
    return groups


def _merged(shared: Attributes | None, group: Attributes) -> Attributes:
    """A frame's own macros, and for the others those of all frames."""
    return group if shared is None else replace(group, found={**shared.found, **group.found})
