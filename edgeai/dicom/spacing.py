"""Millimetres: Geometry from header attributes, each value with where it comes from.

Nothing here refuses an instance. What is stated and cannot be used is noted, and left out of the Geometry, where a task
that needs millimetres misses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from edgeai.api.errors import DicomRejected
from edgeai.api.imaging import (
    IMAGER_PIXEL_SPACING,
    NOMINAL_SCANNED_PIXEL_SPACING,
    PIXEL_SPACING,
    Geometry,
    Spacing,
    UltrasoundRegion,
)
from edgeai.dicom.attributes import TAGS, Attributes, bad, label
from edgeai.dicom.notes import DOUBTFUL, IGNORED

LEAST_MM: Final = 0.005
MOST_MM: Final = 10.0
"""What a pixel can measure: from the finest detector to the coarsest scan, with room on either side."""
_SAME: Final = 0.01
"""Two statements of one length agree within this, since decimal strings are rounded."""
_EQUAL: Final = 0.001
_CALIBRATIONS: Final = ("GEOMETRY", "FIDUCIAL")
_CENTIMETRES: Final = 3
_MM_PER_CM: Final = 10.0
_2D, _TISSUE = 1, 1
_UNCALIBRATED: Final = {
    "ImagerPixelSpacing": IMAGER_PIXEL_SPACING,
    "NominalScannedPixelSpacing": NOMINAL_SCANNED_PIXEL_SPACING,
}
T = TypeVar("T")


def geometry(dataset: Attributes, rows: int, columns: int, group: Attributes | None = None) -> Geometry:
    """The identity geometry of the source plane, with what calibrates it.

    Pixel Spacing (0028,0030) comes first (PS3.3 10.7.1.1), in the Pixel Measures functional group (C.7.6.16.2.1) if
    there is one, then Imager Pixel Spacing (C.8.11.2), which is that of the detector and not of the anatomy, then
    Nominal Scanned Pixel Spacing, that of the film. One that is there and makes no sense hides those after it: they
    mean something else.
    """
    spacing = _noted(dataset, lambda: _spacing(dataset, group), None)
    none: tuple[UltrasoundRegion, ...] = ()
    regions = _noted(dataset, lambda: _all_regions(dataset, rows, columns), none)
    if spacing is None:
        return Geometry(source_rows=rows, source_columns=columns, regions=regions)
    if spacing.source == PIXEL_SPACING and not all(_agrees(spacing, region) for region in regions):
        dataset.notes.add(
            DOUBTFUL,
            f"{label(TAGS['PixelSpacing'][0])} and an ultrasound region disagree on the size of a pixel; inside the "
            "region the region's was taken",
        )
    return Geometry(
        source_rows=rows,
        source_columns=columns,
        pixel_spacing_mm=(spacing.between_rows_mm, spacing.between_columns_mm),
        spacing_from=spacing.source,
        regions=regions,
    )


def _noted(dataset: Attributes, read: Callable[[], T], otherwise: T) -> T:
    try:
        return read()
    except DicomRejected as error:
        dataset.notes.ignored(error)
        return otherwise


def _agrees(spacing: Spacing, region: UltrasoundRegion) -> bool:
    if region.delta_x_mm is None or region.delta_y_mm is None:
        return True
    sizes = (abs(region.delta_y_mm), abs(region.delta_x_mm))
    return all(abs(ours / theirs - 1.0) <= _SAME for ours, theirs in zip(sizes, spacing[:2], strict=True))


def _spacing(dataset: Attributes, group: Attributes | None) -> Spacing | None:
    measures = None if group is None else next(iter(group.items("PixelMeasuresSequence")), None)
    if measures is not None and (pair := _pair(measures, "PixelSpacing")):
        return Spacing(*pair, PIXEL_SPACING)
    if pair := _pair(dataset, "PixelSpacing"):
        return Spacing(*pair, _plane_of(dataset, pair))
    for keyword, source in _UNCALIBRATED.items():
        if pair := _pair(dataset, keyword):
            return Spacing(*pair, source)
    return None


def _plane_of(dataset: Attributes, pair: tuple[float, float]) -> str:
    """Whose millimetres Pixel Spacing gives.

    One that repeats Imager or Nominal Scanned Pixel Spacing was not corrected for magnification, unless Pixel Spacing
    Calibration Type says that it was (PS3.3 10.7.1.1 and 10.7.1.2).
    """
    if dataset.code("PixelSpacingCalibrationType").upper() in _CALIBRATIONS:
        return PIXEL_SPACING
    for keyword, source in _UNCALIBRATED.items():
        with suppress(DicomRejected):  # it is not used, so that nothing hangs on it
            other = dataset.numbers(keyword)
            if len(other) == 2 and all(b and abs(a / b - 1.0) <= _EQUAL for a, b in zip(pair, other, strict=True)):
                return source
    return PIXEL_SPACING


def _pair(dataset: Attributes, keyword: str) -> tuple[float, float] | None:
    values = dataset.numbers(keyword)
    if not values:
        return None
    known = [float(value) for value in values if value is not None]
    if len(values) != 2 or len(known) != 2 or min(known) < 0:
        raise bad(keyword, "is not two lengths in mm")
    if min(known) == 0:  # the usual way of saying "not known"
        dataset.notes.add(IGNORED, f"{label(TAGS[keyword][0])} is 0 and says nothing")
        return None
    if not (_is_plausible(known[0]) and _is_plausible(known[1])):
        raise bad(keyword, f"is no size that a pixel has ({LEAST_MM:g} to {MOST_MM:g} mm)")
    return (known[0], known[1])


def _is_plausible(size_mm: float) -> bool:
    return LEAST_MM <= abs(size_mm) <= MOST_MM


def _all_regions(dataset: Attributes, rows: int, columns: int) -> tuple[UltrasoundRegion, ...]:
    items = dataset.items("SequenceOfUltrasoundRegions")
    regions = tuple(_regions(items, rows, columns))
    if not any(region.calibrates for region in regions) and any(_claims_centimetres(item) for item in items):
        dataset.notes.ignored(bad("SequenceOfUltrasoundRegions", "has centimetres for something else than 2D tissue"))
    return regions


def _claims_centimetres(item: Attributes) -> bool:
    """Whether a region that is not 2D tissue gives a size of its pixels along both axes."""
    if _kind(item) == (_2D, _TISSUE):
        return False
    return _noted(item, lambda: _deltas_mm(item), None) is not None


def _kind(item: Attributes) -> tuple[int, int]:
    """Region Spatial Format and Region Data Type."""
    return (
        _noted(item, lambda: item.integer("RegionSpatialFormat", 0), 0),
        _noted(item, lambda: item.integer("RegionDataType", 0), 0),
    )


def _regions(items: Sequence[Attributes], rows: int, columns: int) -> Iterator[UltrasoundRegion]:
    """PS3.3 C.8.5.5, held to the image.

    Bounds that pass the far edge are common (a cropped export keeps the regions of the screen), so they
    are cut at the edge, and a region with nothing inside the image is left out, as is one that does not say
    where it is.
    """
    for item in items:
        region = _noted(item, partial(_region, item, rows, columns), None)
        if region is not None:
            yield region


def _region(item: Attributes, rows: int, columns: int) -> UltrasoundRegion | None:
    corners = []
    for corner in ("MinX0", "MinY0", "MaxX1", "MaxY1"):
        corners.append(item.integer(f"RegionLocation{corner}", -1))
        if corners[-1] < 0:
            raise bad(f"RegionLocation{corner}", "does not say where its region is")
    x0, y0, x1, y1 = corners
    x1, y1 = min(x1, columns - 1), min(y1, rows - 1)
    if x1 < x0 or y1 < y0:
        return None
    kind = _kind(item)
    deltas = _noted(item, lambda: _deltas_mm(item), None) if kind == (_2D, _TISSUE) else None
    return UltrasoundRegion(
        min_x0=x0,
        min_y0=y0,
        max_x1=x1,
        max_y1=y1,
        spatial_format=kind[0],
        data_type=kind[1],
        delta_x_mm=None if deltas is None else deltas[0],
        delta_y_mm=None if deltas is None else deltas[1],
    )


def _deltas_mm(item: Attributes) -> tuple[float, float] | None:
    """Along x and along y; a region with one of them alone calibrates nothing, as areas and lengths need both."""
    deltas = []
    for axis in ("X", "Y"):
        delta_mm = item.number(f"PhysicalDelta{axis}", 0.0) * _MM_PER_CM
        if item.integer(f"PhysicalUnits{axis}Direction", 0) != _CENTIMETRES or delta_mm == 0:
            return None
        if not _is_plausible(delta_mm):
            raise bad(f"PhysicalDelta{axis}", f"is no size that a pixel has ({LEAST_MM:g} to {MOST_MM:g} mm)")
        deltas.append(delta_mm)
    return deltas[0], deltas[1]
