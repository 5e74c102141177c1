"""Values of the few attributes that edgeai reads, out of elements that ``walk`` has found sound.

Text is PS3.5 6.2 (value representations), several values are split at the backslash (6.4).
Empty counts as absent (7.4.4). A value that is there and makes no sense is refused, never guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgeai.api.errors import DicomRejected
from edgeai.api.tensors import Array
from edgeai.dicom.prefix import Prefix
from edgeai.dicom.walk import UNDEFINED, Element, Walker

_UID: Final = re.compile(r"[0-9.]{1,64}")
_BINARY: Final = {"US": "u2", "SS": "i2", "UL": "u4", "SL": "i4", "FL": "f4", "FD": "f8", "OV": "u8"}

TAGS: Final[dict[str, tuple[int, str]]] = {
    "TransferSyntaxUID": (0x00020010, "UI"),
    "SpecificCharacterSet": (0x00080005, "CS"),
    "SOPClassUID": (0x00080016, "UI"),
    "SOPInstanceUID": (0x00080018, "UI"),
    "Modality": (0x00080060, "CS"),
    "Manufacturer": (0x00080070, "LO"),
    "ManufacturerModelName": (0x00081090, "LO"),
    "BodyPartExamined": (0x00180015, "CS"),
    "ImagerPixelSpacing": (0x00181164, "DS"),
    "NominalScannedPixelSpacing": (0x00182010, "DS"),
    "ViewPosition": (0x00185101, "CS"),
    "SequenceOfUltrasoundRegions": (0x00186011, "SQ"),
    "RegionSpatialFormat": (0x00186012, "US"),
    "RegionDataType": (0x00186014, "US"),
    "RegionLocationMinX0": (0x00186018, "UL"),
    "RegionLocationMinY0": (0x0018601A, "UL"),
    "RegionLocationMaxX1": (0x0018601C, "UL"),
    "RegionLocationMaxY1": (0x0018601E, "UL"),
    "PhysicalUnitsXDirection": (0x00186024, "US"),
    "PhysicalUnitsYDirection": (0x00186026, "US"),
    "PhysicalDeltaX": (0x0018602C, "FD"),
    "PhysicalDeltaY": (0x0018602E, "FD"),
    "StudyInstanceUID": (0x0020000D, "UI"),
    "SeriesInstanceUID": (0x0020000E, "UI"),
    "SamplesPerPixel": (0x00280002, "US"),
    "PhotometricInterpretation": (0x00280004, "CS"),
    "PlanarConfiguration": (0x00280006, "US"),
    "NumberOfFrames": (0x00280008, "IS"),
    "Rows": (0x00280010, "US"),
    "Columns": (0x00280011, "US"),
    "PixelSpacing": (0x00280030, "DS"),
    "BitsAllocated": (0x00280100, "US"),
    "BitsStored": (0x00280101, "US"),
    "HighBit": (0x00280102, "US"),
    "PixelRepresentation": (0x00280103, "US"),
    "PixelPaddingValue": (0x00280120, "US"),
    "PixelPaddingRangeLimit": (0x00280121, "US"),
    "WindowCenter": (0x00281050, "DS"),
    "WindowWidth": (0x00281051, "DS"),
    "RescaleIntercept": (0x00281052, "DS"),
    "RescaleSlope": (0x00281053, "DS"),
    "VOILUTFunction": (0x00281056, "CS"),
    "RedPaletteColorLookupTableDescriptor": (0x00281101, "US"),
    "GreenPaletteColorLookupTableDescriptor": (0x00281102, "US"),
    "BluePaletteColorLookupTableDescriptor": (0x00281103, "US"),
    "RedPaletteColorLookupTableData": (0x00281201, "OW"),
    "GreenPaletteColorLookupTableData": (0x00281202, "OW"),
    "BluePaletteColorLookupTableData": (0x00281203, "OW"),
    "SegmentedRedPaletteColorLookupTableData": (0x00281221, "OW"),
    "SegmentedGreenPaletteColorLookupTableData": (0x00281222, "OW"),
    "SegmentedBluePaletteColorLookupTableData": (0x00281223, "OW"),
    "ModalityLUTSequence": (0x00283000, "SQ"),
    "LUTDescriptor": (0x00283002, "US"),
    "LUTData": (0x00283006, "OW"),
    "VOILUTSequence": (0x00283010, "SQ"),
    "PixelMeasuresSequence": (0x00289110, "SQ"),
    "FrameVOILUTSequence": (0x00289132, "SQ"),
    "PixelValueTransformationSequence": (0x00289145, "SQ"),
    "SharedFunctionalGroupsSequence": (0x52009229, "SQ"),
    "PerFrameFunctionalGroupsSequence": (0x52009230, "SQ"),
    "ExtendedOffsetTable": (0x7FE00001, "OV"),
    "ExtendedOffsetTableLengths": (0x7FE00002, "OV"),
}
"""Keyword (PS3.6) -> tag and the value representation it has where the file does not say. No patient attribute."""

WANTED: Final = frozenset(tag for tag, _ in TAGS.values())


@dataclass(frozen=True, slots=True)
class Attributes:
    """The elements of one data set or sequence item, read on demand."""

    prefix: Prefix
    walker: Walker
    found: dict[int, Element]
    big_endian: bool

    def __contains__(self, keyword: str) -> bool:
        return TAGS[keyword][0] in self.found

    def raw(self, keyword: str) -> bytes:
        """The value's bytes; empty when absent."""
        element = self.found.get(TAGS[keyword][0])
        if element is None or element.length == UNDEFINED:
            return b""
        return bytes(self.prefix.data[element.start : element.start + element.length])

    def texts(self, keyword: str) -> tuple[str, ...]:
        """The values of a text attribute, without padding; none when absent or empty."""
        raw = self.raw(keyword).rstrip(b"\0 ")
        if not raw:
            return ()
        return tuple(part.strip(" \0") for part in raw.decode("latin-1").split("\\"))

    def text(self, keyword: str) -> str:
        """The first value of a text attribute, or an empty string."""
        values = self.texts(keyword)
        return values[0] if values else ""

    def long_text(self, keyword: str) -> str:
        """A text whose repertoire Specific Character Set (0008,0005) chooses (PS3.3 C.12.1.1.2)."""
        raw = self.raw(keyword).strip(b"\0 ")
        if raw.isascii():
            return raw.decode("ascii")
        from pydicom.charset import python_encoding  # only for the few that are not ASCII

        known = python_encoding.get(self.text("SpecificCharacterSet"), "latin-1")
        return raw.decode(known, errors="replace")

    def uid(self, keyword: str) -> str:
        """A UID (PS3.5 9.1), or an empty string.

        Raises:
            DicomRejected: ``dicom.bad-value``.
        """
        value = self.text(keyword)
        if value and _UID.fullmatch(value) is None:
            raise _bad(keyword, value, "a UID")
        return value

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """All values of a numeric attribute, whether text (DS, IS) or binary.

        Raises:
            DicomRejected: ``dicom.bad-value``, not a number or not finite.
        """
        tag, vr = TAGS[keyword]
        element = self.found.get(tag)
        stated = element.vr if element is not None else ""
        code = _BINARY.get(stated if stated in _BINARY else vr)
        if code is not None and stated not in ("DS", "IS"):
            return tuple(float(value) for value in self.words(keyword, code))
        try:
            values = tuple(float(text) for text in self.texts(keyword) if text)
        except ValueError:
            raise _bad(keyword, self.text(keyword), "a number") from None
        if not all(math.isfinite(value) for value in values):
            raise _bad(keyword, self.text(keyword), "a finite number")
        return values

    def number(self, keyword: str, default: float) -> float:
        """The first value of a numeric attribute. Raises as ``numbers``."""
        values = self.numbers(keyword)
        return values[0] if values else default

    def integer(self, keyword: str, default: int) -> int:
        """The first value of a whole-numbered attribute.

        Raises:
            DicomRejected: ``dicom.bad-value``.
        """
        value = self.number(keyword, float(default))
        if not value.is_integer():
            raise _bad(keyword, str(value), "a whole number")
        return int(value)

    def words(self, keyword: str, code: str) -> Array:
        """The value as an array of numpy type ``code`` (``u2``), in native byte order.

        Raises:
            DicomRejected: ``dicom.bad-value``, the length is no multiple of the size of one value.
        """
        raw = self.raw(keyword)
        stored = np.dtype(code).newbyteorder(">" if self.big_endian else "<")
        if len(raw) % stored.itemsize:
            raise _bad(keyword, f"{len(raw)} bytes", f"a multiple of {stored.itemsize} bytes")
        values: Array = np.frombuffer(raw, dtype=stored).astype(np.dtype(code))
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise _bad(keyword, "NaN or infinity", "a finite number")
        return values

    def items(self, keyword: str) -> Iterator[Attributes]:
        """The items of a sequence; none when absent."""
        element = self.found.get(TAGS[keyword][0])
        if element is None or (element.vr not in ("SQ", "") and element.length != UNDEFINED):
            return
        implicit = element.implicit or element.vr == "UN"
        for start, end in self.walker.items(element._replace(implicit=implicit)):
            found, _ = self.walker.elements(start, end, implicit=implicit, wanted=WANTED)
            yield Attributes(self.prefix, self.walker, found, self.big_endian)


def _bad(keyword: str, value: str, wanted: str) -> DicomRejected:
    tag = TAGS[keyword][0]
    where = f"{keyword} ({tag >> 16:04x},{tag & 0xFFFF:04x})"
    return DicomRejected(f"{where} is {value[:40]!r}, not {wanted}", code="dicom.bad-value")
