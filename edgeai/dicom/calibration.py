"""Millimetres and grey levels: Geometry and Grayscale from header attributes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgeai.api.errors import DicomRejected
from edgeai.api.imaging import Geometry, Grayscale, Lut, UltrasoundRegion, Window
from edgeai.api.tensors import Array
from edgeai.dicom.attributes import Attributes

_CENTIMETRES = 3
_MM_PER_CM = 10.0


def geometry(dataset: Attributes, rows: int, columns: int, group: Attributes | None = None) -> Geometry:
    """The identity geometry of the source plane, with what calibrates it.

    Pixel Spacing (0028,0030) comes first (PS3.3 10.7.1.3), in the Pixel Measures functional group
    (C.7.6.16.2.1) if there is one, then Imager Pixel Spacing (C.8.11.2), which is that of the detector
    and not of the anatomy, then Nominal Scanned Pixel Spacing.

    Raises:
        DicomRejected: ``dicom.bad-value``.
    """
    spacing = _spacing(group, "PixelMeasuresSequence") if group is not None else None
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        spacing = spacing or _pair(dataset, keyword)
    return Geometry(
        source_rows=rows,
        source_columns=columns,
        pixel_spacing_mm=spacing,
        regions=tuple(_regions(dataset, rows, columns)),
    )


def _spacing(group: Attributes, keyword: str) -> tuple[float, float] | None:
    item = next(group.items(keyword), None)
    return None if item is None else _pair(item, "PixelSpacing")


def _pair(dataset: Attributes, keyword: str) -> tuple[float, float] | None:
    values = dataset.numbers(keyword)
    if not values:
        return None
    if len(values) != 2 or min(values) < 0:
        raise DicomRejected(f"{keyword} is {values}, not two lengths in mm", code="dicom.bad-value")
    if min(values) == 0:
        return None  # the usual way of saying "not known"
    return (values[0], values[1])


def _regions(dataset: Attributes, rows: int, columns: int) -> Iterator[UltrasoundRegion]:
    """PS3.3 C.8.5.5, held to the image.

    Bounds that pass the far edge are common (a cropped export keeps the regions of the screen), so they
    are cut at the edge, and a region with nothing inside the image is left out.
    """
    for item in dataset.items("SequenceOfUltrasoundRegions"):
        x0, y0, x1, y1 = (item.integer(f"RegionLocation{corner}", 0) for corner in ("MinX0", "MinY0", "MaxX1", "MaxY1"))
        x1, y1 = min(x1, columns - 1), min(y1, rows - 1)
        if x1 < x0 or y1 < y0:
            continue
        yield UltrasoundRegion(
            min_x0=x0,
            min_y0=y0,
            max_x1=x1,
            max_y1=y1,
            spatial_format=item.integer("RegionSpatialFormat", 0),
            data_type=item.integer("RegionDataType", 0),
            delta_x_mm=_delta_mm(item, "X"),
            delta_y_mm=_delta_mm(item, "Y"),
        )


def _delta_mm(item: Attributes, axis: str) -> float | None:
    values = item.numbers(f"PhysicalDelta{axis}")
    if item.integer(f"PhysicalUnits{axis}Direction", 0) != _CENTIMETRES or not values or values[0] == 0:
        return None
    return values[0] * _MM_PER_CM


def grayscale(dataset: Attributes, *, signed: bool, group: Attributes | None = None) -> Grayscale:
    """Modality LUT, VOI LUT and padding (PS3.3 C.11.1, C.11.2, C.7.5.1.1.2).

    A functional group's Pixel Value Transformation and Frame VOI LUT (C.7.6.16.2.9-10) win over the
    data set's own. A window whose width is not positive says nothing, and is left out.

    Raises:
        DicomRejected: ``dicom.bad-value``.
    """
    modality = _first(group, "PixelValueTransformationSequence") or dataset
    voi = _first(group, "FrameVOILUTSequence") or dataset
    slope = modality.number("RescaleSlope", 1.0)
    if slope == 0:
        raise DicomRejected("Rescale Slope is 0: every pixel would mean the same", code="dicom.bad-value")
    luts = tuple(_luts(dataset, "ModalityLUTSequence", signed))
    return Grayscale(
        rescale_slope=slope,
        rescale_intercept=modality.number("RescaleIntercept", 0.0),
        modality_lut=luts[0] if luts else None,
        windows=tuple(_windows(voi)),
        voi_luts=tuple(_luts(dataset, "VOILUTSequence", signed)),
        voi_lut_function=voi.text("VOILUTFunction") or "LINEAR",
        pixel_padding=_padding(dataset, signed),
    )


def _first(group: Attributes | None, keyword: str) -> Attributes | None:
    return None if group is None else next(group.items(keyword), None)


def _windows(voi: Attributes) -> Iterator[Window]:
    centers, widths = voi.numbers("WindowCenter"), voi.numbers("WindowWidth")
    if len(centers) != len(widths):
        raise DicomRejected(f"{len(centers)} Window Centers but {len(widths)} Window Widths", code="dicom.bad-value")
    for center, width in zip(centers, widths, strict=True):
        if width > 0:
            yield Window(center=center, width=width)


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
        raise DicomRejected(f"{keyword} has {values.size} values, not 3", code="dicom.bad-value")
    entries, first, bits = (int(value) for value in values)
    # The second value is US or SS as the pixels are; an explicit VR of SS is not to be trusted alone.
    if signed and first >= 0x8000:
        first -= 0x10000
    if not 1 <= bits <= 16:
        raise DicomRejected(f"{keyword} asks for {bits} bits an entry", code="dicom.bad-value")
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
        raise DicomRejected(f"{keyword} has {words.size} entries, not {entries}", code="dicom.bad-value")
    return words


def _padding(dataset: Attributes, signed: bool) -> tuple[int, int] | None:
    code = "i2" if signed else "u2"
    values, limits = dataset.words("PixelPaddingValue", code), dataset.words("PixelPaddingRangeLimit", code)
    if values.size == 0:
        return None
    value = int(values[0])
    limit = int(limits[0]) if limits.size else value
    return (min(value, limit), max(value, limit))
