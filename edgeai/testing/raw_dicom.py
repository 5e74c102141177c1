"""Small DICOM images byte by byte, so that they can be wrong in just one place. No DICOM library would write them."""

from __future__ import annotations

from struct import pack, unpack_from
from typing import Final

RAW_PIXELS: Final = bytes(range(100, 148))
"""Of the 6x8 image that ``raw_bytes`` makes."""
_EXPLICIT: Final = "1.2.840.10008.1.2.1"
_IMAGE: Final = {
    0x00280002: 1,  # Samples per Pixel
    0x00280010: 6,  # Rows
    0x00280011: 8,  # Columns
    0x00280100: 8,  # Bits Allocated
    0x00280101: 8,  # Bits Stored
    0x00280102: 7,  # High Bit
    0x00280103: 0,  # Pixel Representation
}


def element(tag: int, vr: str, value: bytes | str) -> bytes:
    """One element in explicit VR little endian, its value just as it is given."""
    raw = value.encode("latin-1") if isinstance(value, str) else value
    head = pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    long = vr in ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UC", "UN", "UR", "UT")
    return head + (pack("<HL", 0, len(raw)) if long else pack("<H", len(raw))) + raw


def item(body: bytes) -> bytes:
    """One item of stated length."""
    return pack("<HHL", 0xFFFE, 0xE000, len(body)) + body


def raw_bytes(*elements: bytes, pixel_data: bytes | None = None, syntax: str = _EXPLICIT) -> bytes:
    """A 6x8 image of ``RAW_PIXELS`` in explicit VR, byte by byte, with these elements where their tags belong.

    They replace those of the same tag; what comes twice here stands there twice.
    """
    meta = element(0x00020010, "UI", syntax + "\0" * (len(syntax) % 2))
    parts = {
        0x00080016: element(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.7\0"),
        0x00080018: element(0x00080018, "UI", "1.2.3\0"),
        0x00080060: element(0x00080060, "CS", "OT"),
        0x00280004: element(0x00280004, "CS", "MONOCHROME2 "),
        **{tag: element(tag, "US", pack("<H", value)) for tag, value in _IMAGE.items()},
    }
    given: dict[int, bytes] = {}
    for raw in elements:
        group, number = unpack_from("<HH", raw)
        given[group << 16 | number] = given.get(group << 16 | number, b"") + raw
    body = b"".join(raw for _, raw in sorted({**parts, **given}.items()))
    last = element(0x7FE00010, "OB", RAW_PIXELS) if pixel_data is None else pixel_data
    return b"\0" * 128 + b"DICM" + element(0x00020000, "UL", pack("<L", len(meta))) + meta + body + last
