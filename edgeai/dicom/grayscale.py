"""Grey levels: Grayscale from header attributes, and the look-up tables that palettes share.

Nothing here refuses an instance. What is stated and cannot be used is noted, and named in ``Grayscale.unusable``, where
a step that uses it fails. What can be used and looks like a mistake is noted as doubtful.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import numpy as np

from edgeai.api.errors import DicomRejected
from edgeai.api.imaging import Grayscale, Lut, Window
from edgeai.api.results import Note
from edgeai.api.tensors import Array
from edgeai.dicom.attributes import TAGS, Attributes, bad, label
from edgeai.dicom.notes import DOUBTFUL, IGNORED

_FUNCTIONS: Final = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
_NEGATIVE: Final = 0x8000
_WRAP: Final = 0x10000
_BYTE_BITS: Final = 8
T = TypeVar("T")


def grayscale(dataset: Attributes, *, stored: tuple[int, int], group: Attributes | None = None) -> Grayscale:
    """Modality LUT, VOI LUT and padding (PS3.3 C.11.1, C.11.2, C.7.5.1.1.2).

    A functional group's Pixel Value Transformation and Frame VOI LUT (C.7.6.16.2.9-10) win over the
    data set's own.

    Args:
        dataset: the data set.
        stored: least and greatest value that a stored pixel can have; a negative one where they are signed.
        group: the functional groups of the frame, if there are any.
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
    modality_lut = part("modality_lut", lambda: next(_luts(dataset, "ModalityLUTSequence", stored), None), None)
    shown = _after_modality(stored, slope, intercept, modality_lut)
    return Grayscale(
        rescale_slope=slope,
        rescale_intercept=intercept,
        modality_lut=modality_lut,
        windows=windows,
        voi_luts=part("voi_luts", lambda: tuple(_luts(dataset, "VOILUTSequence", shown)), ()),
        voi_lut_function=function,
        pixel_padding=part("pixel_padding", lambda: _padding(dataset, stored[0] < 0), None),
        unusable=unusable,
    )


def _after_modality(stored: tuple[int, int], slope: float, intercept: float, lut: Lut | None) -> tuple[float, float]:
    """Least and greatest value that can leave the Modality step. A LUT's output is never signed (C.11.1.1.2)."""
    if lut is not None:
        return float(lut.data.min()), float(lut.data.max())
    ends = [slope * end + intercept for end in stored]
    return min(ends), max(ends)


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


def _first(group: Attributes | None, keyword: str) -> Attributes | None:
    return None if group is None else next(iter(group.items(keyword)), None)


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
        function = "LINEAR"
    if function == "LINEAR" and any(window.width < 1 for window in windows):
        where = label(TAGS["WindowWidth"][0])
        dataset.notes.add(DOUBTFUL, f"{where} is below 1, which LINEAR does not allow; it was taken as LINEAR_EXACT")
    return tuple(windows), function


def _luts(dataset: Attributes, keyword: str, mapped: tuple[float, float]) -> Iterator[Lut]:
    for item in dataset.items(keyword):
        entries, first, bits = descriptor(item, "LUTDescriptor", mapped)
        data = table(item, "LUTData", entries, bits)
        if keyword == "VOILUTSequence":
            _check_bits(item, data, bits)
        yield Lut(first=first, data=data, bits=bits)


def _check_bits(item: Attributes, data: Array, bits: int) -> None:
    """The output range of a VOI LUT is that of its bits, whatever its values are (C.11.2.1.1)."""
    most = int(data.max())
    if most >= 1 << bits:
        item.notes.add(DOUBTFUL, f"{label(TAGS['LUTData'][0])} has values of more bits than its descriptor says")
    elif most < 1 << bits - 1:
        where = label(TAGS["LUTDescriptor"][0])
        item.notes.add(DOUBTFUL, f"{where} of a VOI LUT states more bits than its values have, so that all is dark")


def descriptor(item: Attributes, keyword: str, mapped: tuple[float, float]) -> tuple[int, int, int]:
    """(entries, first value mapped, bits an entry) of a LUT (PS3.3 C.11.1.1, C.11.2.1.1).

    The first value mapped is US or SS as the values that are looked up are, ``mapped`` being the least and the greatest
    that they can be. What an explicit VR says of all three values is not to be trusted. Only where that reading lies
    beyond all of them, and the other one does not, it is the other.

    Raises:
        DicomRejected: ``dicom.bad-value``.
    """
    values = item.words(keyword, "u2")
    if values.size != 3:
        raise bad(keyword, "does not have three values")
    entries, first, bits = (int(value) for value in values)
    if not 1 <= bits <= 16:
        raise bad(keyword, f"asks for {bits} bits an entry")
    entries = entries or _WRAP
    if first < _NEGATIVE:
        return entries, first, bits
    readings = (first - _WRAP, first) if mapped[0] < 0 else (first, first - _WRAP)
    used = [reading for reading in readings if reading <= mapped[1] and reading + entries > mapped[0]]
    return entries, used[0] if used else readings[0], bits


def table(item: Attributes, keyword: str, entries: int, bits: int) -> Array:
    """LUT data as uint16, whether words or (8-bit entries) bytes were stored.

    Raises:
        DicomRejected: ``dicom.bad-value``, the number of entries is not that of the descriptor.
    """
    raw = item.raw(keyword)
    if len(raw) in (entries, entries + entries % 2) and bits <= _BYTE_BITS:
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
