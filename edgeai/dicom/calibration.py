"""Millimetres and grey levels: Geometry and Grayscale from header attributes.

Nothing here refuses an instance. What is stated and cannot be used is noted, and left out of the Geometry, where a task
that needs millimetres misses it, or named in ``Grayscale.unusable``, where a step that uses it fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, TypeVar

import numpy as np

from edgeai.api.errors import DicomRejected
from edgeai.api.imaging import Geometry, Grayscale, Lut, UltrasoundRegion, Window
from edgeai.api.results import Note
from edgeai.api.tensors import Array
from edgeai.dicom.attributes import TAGS, Attributes, label
from edgeai.dicom.notes import IGNORED, BadValue

_CENTIMETRES = 3
_MM_PER_CM = 10.0
_FUNCTIONS: Final = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
_SPACINGS: Final = {
    "PixelSpacing": "pixel-spacing",
    "ImagerPixelSpacing": "imager-pixel-spacing",
    "NominalScannedPixelSpacing": "nominal-scanned-pixel-spacing",
}
"""Attributes that calibrate, in the order in which they are asked -> what ``Geometry.spacing_from`` calls them."""
T = TypeVar("T")


def bad(keyword: str, wanted: str) -> BadValue:
    """``dicom.bad-value`` about an attribute whose value need not be quoted."""
    error = BadValue(f"{label(TAGS[keyword][0])} {wanted}", code="dicom.bad-value")
    error.plain = str(error)
    return error


def geometry(dataset: Attributes, rows: int, columns: int, group: Attributes | None = None) -> Geometry:
    """The identity geometry of the source plane, with what calibrates it.

    Pixel Spacing (0028,0030) comes first (PS3.3 10.7.1.3), in the Pixel Measures functional group
    (C.7.6.16.2.1) if there is one, then Imager Pixel Spacing (C.8.11.2), which is that of the detector
    and not of the anatomy, then Nominal Scanned Pixel Spacing. One that is there and makes no sense hides
    those after it: they mean something else.
    """
    nothing: tuple[tuple[float, float] | None, str] = (None, _SPACINGS["PixelSpacing"])
    spacing, source = _noted(dataset, lambda: _spacing(dataset, group), nothing)
    return Geometry(
        source_rows=rows,
        source_columns=columns,
        pixel_spacing_mm=spacing,
        spacing_from=source,
        regions=_noted(dataset, lambda: tuple(_regions(dataset, rows, columns)), ()),
    )


def _noted(dataset: Attributes, read: Callable[[], T], otherwise: T) -> T:
    try:
        return read()
    except DicomRejected as error:
        dataset.notes.ignored(error)
        return otherwise


def _spacing(dataset: Attributes, group: Attributes | None) -> tuple[tuple[float, float] | None, str]:
    """The spacing, and which attribute it is."""
    measures = _first(group, "PixelMeasuresSequence")
    if measures is not None and (spacing := _pair(measures, "PixelSpacing")):
        return spacing, _SPACINGS["PixelSpacing"]
    for keyword, source in _SPACINGS.items():
        if spacing := _pair(dataset, keyword):
            return spacing, source
    return None, _SPACINGS["PixelSpacing"]


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
    return (known[0], known[1])


def _regions(dataset: Attributes, rows: int, columns: int) -> Iterator[UltrasoundRegion]:
    """PS3.3 C.8.5.5, held to the image.

    Bounds that pass the far edge are common (a cropped export keeps the regions of the screen), so they
    are cut at the edge, and a region with nothing inside the image is left out, as is one that does not say
    where it is.
    """
    for item in dataset.items("SequenceOfUltrasoundRegions"):
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
    return UltrasoundRegion(
        min_x0=x0,
        min_y0=y0,
        max_x1=x1,
        max_y1=y1,
        spatial_format=_noted(item, lambda: item.integer("RegionSpatialFormat", 0), 0),
        data_type=_noted(item, lambda: item.integer("RegionDataType", 0), 0),
        delta_x_mm=_noted(item, lambda: _delta_mm(item, "X"), None),
        delta_y_mm=_noted(item, lambda: _delta_mm(item, "Y"), None),
    )


def _delta_mm(item: Attributes, axis: str) -> float | None:
    delta = item.number(f"PhysicalDelta{axis}", 0.0)
    if item.integer(f"PhysicalUnits{axis}Direction", 0) != _CENTIMETRES or delta == 0:
        return None
    return delta * _MM_PER_CM


def grayscale(dataset: Attributes, *, signed: bool, group: Attributes | None = None) -> Grayscale:
    """Modality LUT, VOI LUT and padding (PS3.3 C.11.1, C.11.2, C.7.5.1.1.2).

    A functional group's Pixel Value Transformation and Frame VOI LUT (C.7.6.16.2.9-10) win over the
    data set's own.
    """
    unusable: dict[str, Note] = {}
    none: tuple[Window, ...] = ()

    def part(field: str, read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except DicomRejected as error:
            unusable[field] = dataset.notes.ignored(error)
            return otherwise

    slope, intercept = part("rescale_slope", lambda: _rescale(dataset, group), (1.0, 0.0))
    windows, function = part("windows", lambda: _windows(dataset, group), (none, "LINEAR"))
    return Grayscale(
        rescale_slope=slope,
        rescale_intercept=intercept,
        modality_lut=part("modality_lut", lambda: next(_luts(dataset, "ModalityLUTSequence", signed), None), None),
        windows=windows,
        voi_luts=part("voi_luts", lambda: tuple(_luts(dataset, "VOILUTSequence", signed)), ()),
        voi_lut_function=function,
        pixel_padding=part("pixel_padding", lambda: _padding(dataset, signed), None),
        unusable=unusable,
    )


def _first(group: Attributes | None, keyword: str) -> Attributes | None:
    return None if group is None else next(iter(group.items(keyword)), None)


def _rescale(dataset: Attributes, group: Attributes | None) -> tuple[float, float]:
    """Slope and intercept. One without the other means nothing, unless it is the one that changes nothing."""
    source = _first(group, "PixelValueTransformationSequence") or dataset
    slopes, intercepts = source.numbers("RescaleSlope"), source.numbers("RescaleIntercept")
    slope, intercept = source.number("RescaleSlope", 1.0), source.number("RescaleIntercept", 0.0)
    if slope == 0:
        raise bad("RescaleSlope", "is 0, so that every pixel would mean the same")
    if bool(slopes) != bool(intercepts):
        alone, other = ("RescaleSlope", "RescaleIntercept") if slopes else ("RescaleIntercept", "RescaleSlope")
        error = bad(alone, f"comes without {other}")
        if (slope, intercept) != (1.0, 0.0):
            raise error
        dataset.notes.ignored(error)
    return slope, intercept


def _windows(dataset: Attributes, group: Attributes | None) -> tuple[tuple[Window, ...], str]:
    """Windows in their order, without those that say nothing (a width of 0, a value left empty), and their function."""
    source = _first(group, "FrameVOILUTSequence") or dataset
    centers, widths = source.numbers("WindowCenter"), source.numbers("WindowWidth")
    if len(centers) != len(widths):
        raise bad("WindowCenter", "and WindowWidth (0028,1051) have not as many values")
    windows = []
    for center, width in zip(centers, widths, strict=True):
        if center is not None and width is not None and width > 0:
            windows.append(Window(center=float(center), width=float(width)))
    if len(windows) < len(centers):
        dataset.notes.add(IGNORED, f"{label(TAGS['WindowCenter'][0])} has values without a width; they were not used")
    function = source.code("VOILUTFunction").upper() or "LINEAR"
    if function not in _FUNCTIONS:
        where = label(TAGS["VOILUTFunction"][0])
        dataset.notes.add(IGNORED, f"{where} is none of the Standard's; LINEAR was taken")
    return tuple(windows), function


def _luts(dataset: Attributes, keyword: str, signed: bool) -> Iterator[Lut]:
    for item in dataset.items(keyword):
        entries, first, bits = descriptor(item, "LUTDescriptor", signed)
        data = table(item, "LUTData", entries, bits)
        yield Lut(first=first, data=data, bits=bits)


def descriptor(item: Attributes, keyword: str, signed: bool) -> tuple[int, int, int]:
    """(entries, first stored value mapped, bits an entry) of a LUT (PS3.3 C.11.1.1).

    Raises:
        DicomRejected: ``dicom.bad-value``.
    """
    values = item.words(keyword, "u2")
    if values.size != 3:
        raise bad(keyword, "does not have three values")
    entries, first, bits = (int(value) for value in values)
    # The second value is US or SS as the pixels are; an explicit VR of SS is not to be trusted alone.
    if signed and first >= 0x8000:
        first -= 0x10000
    if not 1 <= bits <= 16:
        raise bad(keyword, f"asks for {bits} bits an entry")
    return entries or 0x10000, first, bits


def table(item: Attributes, keyword: str, entries: int, bits: int) -> Array:
    """LUT data as uint16, whether words or (8-bit entries) bytes were stored.

    Raises:
        DicomRejected: ``dicom.bad-value``, the number of entries is not that of the descriptor.
    """
    raw = item.raw(keyword)
    if len(raw) in (entries, entries + entries % 2) and bits <= 8:
        data = np.frombuffer(raw[:entries], dtype=np.uint8)
        if item.big_endian and len(raw) % 2 == 0 and item.found and entries > 1:
            data = np.frombuffer(raw, dtype=np.uint8).reshape(-1, 2)[:, ::-1].ravel()[:entries]
        return data.astype(np.uint16)
    words = item.words(keyword, "u2")
    if words.size != entries:
        raise bad(keyword, f"has {words.size} entries, not the {entries} of its descriptor")
    return words


def _padding(dataset: Attributes, signed: bool) -> tuple[int, int] | None:
    if "PixelPaddingValue" not in dataset and "PixelPaddingRangeLimit" not in dataset:
        return None
    code = "i2" if signed else "u2"
    values, limits = dataset.words("PixelPaddingValue", code), dataset.words("PixelPaddingRangeLimit", code)
    if values.size == 0:
        if limits.size:
            dataset.notes.ignored(bad("PixelPaddingRangeLimit", "comes without PixelPaddingValue (0028,0120)"))
        return None
    value = int(values[0])
    limit = int(limits[0]) if limits.size else value
    return (min(value, limit), max(value, limit))
