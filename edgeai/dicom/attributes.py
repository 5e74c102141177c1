"""Values of the few attributes that edgeai reads, out of elements that ``walk`` has found sound.

Text is PS3.5 6.2 (value representations), several values are split at the backslash (6.4).
Empty counts as absent (7.4.4). A value that is there and makes no sense is refused, never guessed; whoever can do
without it catches ``DicomRejected`` and keeps a note. One of the right characters that is only longer than its value
representation allows is read, and noted.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from struct import unpack
from typing import Final

import numpy as np

from edgeai.api.errors import DicomRejected
from edgeai.api.tensors import Array
from edgeai.dicom import charsets
from edgeai.dicom.encoding import FRAGMENT_VRS, LONG_VRS, SHORT_VRS, TEXT_VRS, UNDEFINED, Element
from edgeai.dicom.notes import IGNORED, ODD_CHARACTERS, OTHER_VR, TOO_LONG, BadValue, Notes
from edgeai.dicom.prefix import Prefix
from edgeai.dicom.walk import Walker

_UID: Final = re.compile(r"[0-9.]+")
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_CODE: Final = re.compile(r"[A-Z0-9 _]*")
_MOST_CHARACTERS: Final = {"CS": 16, "DS": 16, "IS": 12, "LO": 64, "UI": 64}
_MOST_DIGITS: Final = 400
"""Of a number. Longer ones are not worth the time: Python's own limit is 4,300."""
_MOST_INTEGER: Final = 2**63
_BINARY: Final = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d", "OV": "Q", "UV": "Q", "SV": "q"}
_BYTES: Final = {"H": 2, "h": 2, "L": 4, "l": 4, "f": 4, "d": 8, "Q": 8, "q": 8}

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
    "PixelSpacingCalibrationType": (0x00280A02, "CS"),
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
    "OverlayBitPosition": (0x60000102, "US"),
    "ExtendedOffsetTable": (0x7FE00001, "OV"),
    "ExtendedOffsetTableLengths": (0x7FE00002, "OV"),
}
"""Keyword (PS3.6) -> tag and the value representation it has where the file does not say. No patient attribute."""

WANTED: Final = frozenset(tag for tag, _ in TAGS.values())
_KEYWORDS: Final = {tag: keyword for keyword, (tag, _) in TAGS.items()}
_BYTES_VRS: Final = FRAGMENT_VRS - {"OW"}
_ALIKE: Final = {"US": ("US", "SS"), "OW": ("OW", "OB", "US", "SS")}
"""Of these the Standard gives some attributes the one and some the other, or either."""
_FITTING: Final = frozenset(
    (tag, each)
    for tag, vr in TAGS.values()
    for each in (("", "UN", *_ALIKE.get(vr, (vr,))) if vr != "SQ" else ("", *LONG_VRS.values(), *SHORT_VRS.values()))
)
"""(tag, value representation) that is nothing to note. Of sequences, ``items`` tells."""


def label(tag: int) -> str:
    """``Keyword (gggg,eeee)`` of an attribute that stands in ``TAGS``."""
    return f"{_KEYWORDS[tag]} ({tag >> 16:04x},{tag & 0xFFFF:04x})"


def keyword_of(tag: int) -> str:
    """Keyword of an attribute that stands in ``TAGS``."""
    return _KEYWORDS[tag]


@dataclass(frozen=True, slots=True)
class Attributes:
    """The elements of one data set or sequence item, read on demand."""

    prefix: Prefix
    walker: Walker
    found: dict[int, Element]
    big_endian: bool
    notes: Notes

    def __contains__(self, keyword: str) -> bool:
        return TAGS[keyword][0] in self.found

    def note_vrs(self) -> Attributes:
        """Note what is encoded in a value representation that the Standard does not give it."""
        for tag, vr in [element[:2] for element in self.found.values() if element[:2] not in _FITTING]:
            if vr == "SQ":
                self.notes.ignored(_is_sequence(_KEYWORDS[tag]))
            else:
                self._note(OTHER_VR, _KEYWORDS[tag], "has another value representation than the Standard gives it")
        return self

    def note_character_set(self) -> None:
        """Note a Specific Character Set that nobody knows; its text is read as if none were named."""
        if "SpecificCharacterSet" in self and not charsets.are_known(self.texts("SpecificCharacterSet")):
            self.notes.ignored(bad("SpecificCharacterSet", "names a character set that is not of the Standard"))

    def has(self, keyword: str) -> bool:
        """Whether there is a value at all, sensible or not."""
        element = self.found.get(TAGS[keyword][0])
        if element is None or element.length == 0:
            return False
        is_text = element.vr in TEXT_VRS or (not element.vr and TAGS[keyword][1] in TEXT_VRS)
        return not is_text or bool(self.raw(keyword).strip(b"\0 "))

    def raw(self, keyword: str) -> bytes:
        """The value's bytes; empty when absent, and of a sequence."""
        element = self.found.get(TAGS[keyword][0])
        if element is None:
            return b""
        _, vr, start, length, _ = element
        return b"" if length == UNDEFINED or vr == "SQ" else bytes(self.prefix.data[start : start + length])

    def texts(self, keyword: str) -> tuple[str, ...]:
        """The values of a text attribute, without padding; none when absent or empty."""
        raw = self.raw(keyword).strip(b"\0 ")
        if not raw:
            return ()
        values = tuple([part.strip(" \0") for part in raw.decode("latin-1").split("\\")])
        most = _MOST_CHARACTERS.get(TAGS[keyword][1], len(raw))
        if len(raw) > most and max(map(len, values)) > most:
            self._note(TOO_LONG, keyword, f"is longer than the {most} characters of a value")
        return values

    def code(self, keyword: str) -> str:
        """The first value of a CS attribute (letters, digits, space, underscore), or an empty string.

        Other characters are kept and noted while they can be printed.
        """
        values = self.texts(keyword)
        if not values:
            return ""
        self._only_first(keyword, len(values))
        value = values[0]
        if _CODE.fullmatch(value) is None:
            if not (value.isascii() and value.isprintable()):
                self.notes.ignored(_bad(keyword, value, "a code string"))
                return ""
            self._note(ODD_CHARACTERS, keyword, "has characters that a code string may not have")
        return value

    def long_text(self, keyword: str) -> str:
        """An LO whose repertoire Specific Character Set (0008,0005) chooses (PS3.3 C.12.1.1.2)."""
        raw = self.raw(keyword).strip(b"\0 ")
        if raw.isascii():
            value, is_sound = raw.decode("ascii"), True
        else:
            value, is_sound = charsets.decoded(raw, self.texts("SpecificCharacterSet"))
        if not is_sound:
            self._note(ODD_CHARACTERS, keyword, "has characters that are not of its character set")
        if len(value) > _MOST_CHARACTERS["LO"]:
            self._note(TOO_LONG, keyword, "is longer than the 64 characters of a value")
        if value and not value.isprintable():
            self._note(ODD_CHARACTERS, keyword, "has characters that cannot be printed")
        return value

    def uid(self, keyword: str, *, identity: bool) -> str:
        """A UID (PS3.5 9.1), or an empty string.

        Args:
            keyword: which.
            identity: whether nothing goes without it. Any other is left out where it is no UID, and noted.

        Raises:
            DicomRejected: ``dicom.bad-value``.
        """
        raw = self.raw(keyword).strip(b"\0 ")
        value = raw.decode("latin-1")
        if not value:
            element = self.found.get(TAGS[keyword][0])
            if identity and element is not None and element.vr == "SQ":
                raise _is_sequence(keyword)
            return ""
        wrong = _UID.fullmatch(value) is None
        if identity and (wrong or len(value) > _MOST_CHARACTERS["UI"]):
            raise _bad(keyword, "", "a UID")
        if wrong:
            self.notes.ignored(_bad(keyword, "", "a UID"))
            return ""
        if len(value) > _MOST_CHARACTERS["UI"]:
            self._note(TOO_LONG, keyword, "is longer than the 64 characters of a UID")
        return value

    def numbers(self, keyword: str) -> tuple[float | None, ...]:
        """All values of a numeric attribute, whether text (DS, IS) or binary; ``None`` for one that is left empty.

        Raises:
            DicomRejected: ``dicom.bad-value``, not a number or not finite.
        """
        tag, vr = TAGS[keyword]
        element = self.found.get(tag)
        if element is None:
            return ()
        kind = element.vr
        if kind not in _BINARY and kind not in TEXT_VRS:
            if kind == "SQ":
                raise _is_sequence(keyword)
            if kind in _BYTES_VRS and vr in _BINARY and element.length not in (0, _BYTES[_BINARY[vr]]):
                raise _bad(keyword, "", "a number")
            kind = vr
        if element.length == 0:
            return ()
        if kind in _BINARY:
            values = self._binary(keyword, _BINARY[kind])
            if kind in ("FL", "FD") and not all(map(math.isfinite, values)):
                raise _bad(keyword, "NaN or infinity", "a finite number")
            return values
        decimal = vr in ("DS", "FL", "FD")
        return tuple([_number(keyword, text, decimal=decimal) for text in self.texts(keyword)])

    def number(self, keyword: str, default: float) -> float:
        """The first value of a numeric attribute. Raises as ``numbers``, and where only the first one is empty."""
        values = self.numbers(keyword)
        if not values:
            return default
        if len(values) > 1:
            self._only_first(keyword, len(values))
        if values[0] is None:
            raise _bad(keyword, "", "a number")
        return values[0]

    def integer(self, keyword: str, default: int) -> int:
        """The first value of a whole-numbered attribute.

        Raises:
            DicomRejected: ``dicom.bad-value``.
        """
        element = self.found.get(TAGS[keyword][0])
        if element is None:
            return default
        if element.vr == "US" and element.length == _BYTES["H"]:  # as nearly all are
            (whole,) = self._binary(keyword, "H")
            return int(whole)
        value = self.number(keyword, default)
        if value != int(value):
            raise _bad(keyword, str(value), "a whole number")
        return int(value)

    def words(self, keyword: str, code: str) -> Array:
        """The value as an array of numpy type ``code`` (``u2``), in native byte order.

        Raises:
            DicomRejected: ``dicom.bad-value``, text, or the length is no multiple of the size of one value.
        """
        element = self.found.get(TAGS[keyword][0])
        if element is not None and element.vr in TEXT_VRS:
            raise _bad(keyword, element.vr, "binary")
        raw = self.raw(keyword)
        stored = np.dtype(code).newbyteorder(">" if self.big_endian else "<")
        if len(raw) % stored.itemsize:
            raise _bad(keyword, f"{len(raw)} bytes", f"a multiple of {stored.itemsize} bytes")
        values: Array = np.frombuffer(raw, dtype=stored).astype(np.dtype(code))
        return values

    def items(self, keyword: str) -> list[Attributes]:
        """The items of a sequence; none when absent.

        Raises:
            DicomRejected: ``dicom.bad-value``, there is something else, or it does not hold together.
        """
        element = self.found.get(TAGS[keyword][0])
        if element is None or element.length == 0:
            return []
        if element.vr not in ("SQ", "UN", ""):
            raise _bad(keyword, element.vr, "a sequence")
        try:
            items = self.walker.items(element, WANTED)
        except DicomRejected as error:
            bad = _bad(keyword, "damaged", "a sequence that holds together")
            raise bad from error
        return [
            Attributes(self.prefix, self.walker, elements, self.big_endian, self.notes).note_vrs() for elements in items
        ]

    def _binary(self, keyword: str, code: str) -> tuple[float, ...]:
        raw, size = self.raw(keyword), _BYTES[code]
        if len(raw) % size:
            raise _bad(keyword, f"{len(raw)} bytes", f"a multiple of {size} bytes")
        return unpack(f"{'>' if self.big_endian else '<'}{len(raw) // size}{code}", raw)

    def _only_first(self, keyword: str, count: int) -> None:
        if count > 1:
            self._note(IGNORED, keyword, f"has {count} values; only the first was used")

    def _note(self, code: str, keyword: str, what: str) -> None:
        self.notes.add(code, f"{label(TAGS[keyword][0])} {what}")


def _number(keyword: str, text: str, *, decimal: bool) -> float | None:
    """PS3.5 6.2, DS or IS. Python's own grammar is wider: underscores, ``nan``, digits of other scripts."""
    if not text:
        return None
    if len(text) > _MOST_DIGITS or (_DECIMAL if decimal else _INTEGER).fullmatch(text) is None:
        raise _bad(keyword, text, "a number" if decimal else "a whole number")
    value = float(text) if decimal else int(text)
    if not abs(value) < (math.inf if decimal else _MOST_INTEGER):
        raise _bad(keyword, text, "a number of a size that is possible")
    return value


def bad(keyword: str, wanted: str) -> BadValue:
    """``dicom.bad-value`` about an attribute whose value need not be quoted."""
    error = BadValue(f"{label(TAGS[keyword][0])} {wanted}", code="dicom.bad-value")
    error.plain = str(error)
    return error


def _is_sequence(keyword: str) -> BadValue:
    return bad(keyword, "is a sequence, which it is not in the Standard")


def _bad(keyword: str, value: str, wanted: str) -> BadValue:
    where = label(TAGS[keyword][0])
    quoted = f"{value[:40]!r}, " if value else ""
    error = BadValue(f"{where} is {quoted}not {wanted}", code="dicom.bad-value")
    error.plain = f"{where} is not {wanted}"
    return error
