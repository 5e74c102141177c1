"""Attributes of the pixels that are missing or of no use: read where the pixels are certain, else named truly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from struct import pack

import numpy as np
import pydicom
import pytest

from edgeai.api import DicomRejected, EdgeaiError
from edgeai.dicom.header import read_header
from edgeai.dicom.pixels import read_frames, read_stored
from edgeai.testing.raw_dicom import RAW_PIXELS, element, item

Raw = Callable[..., Path]
Build = Callable[..., Path]
HIGH_BIT = 0x00280102
RAMP = np.arange(48, dtype=np.uint16).reshape(6, 8)


def number(value: int) -> bytes:
    return pack("<H", value)


@pytest.mark.parametrize(
    ("high_bit", "code"),
    [
        (element(HIGH_BIT, "US", number(0)), "dicom.ignored-value"),
        (element(HIGH_BIT, "US", number(6)), "dicom.ignored-value"),
        (element(HIGH_BIT, "US", number(8)), "dicom.ignored-value"),
        (element(HIGH_BIT, "US", number(15)), "dicom.ignored-value"),
        (element(HIGH_BIT, "US", number(0xFFFF)), "dicom.ignored-value"),
        (element(HIGH_BIT, "US", b"\7"), "dicom.ignored-value"),
        (element(HIGH_BIT, "LO", "seven "), "dicom.ignored-value"),
        (element(HIGH_BIT, "SQ", item(b"")), "dicom.ignored-value"),
        (element(HIGH_BIT, "US", b""), "dicom.missing"),
    ],
)
def test_high_bit_says_nothing_where_all_bits_are_stored(raw: Raw, high_bit: bytes, code: str) -> None:
    path = raw(high_bit)
    header = read_header(path)
    assert [values.tobytes() for values in read_stored(path, header=header)] == [RAW_PIXELS]
    assert [note.code for note in header.notes if note.code != "dicom.other-vr"] == [code]
    assert all("HighBit (0028,0102)" in note.text for note in header.notes)
    assert pydicom.dcmread(path).pixel_array.tobytes() == RAW_PIXELS


@pytest.mark.parametrize("bits", [8, 16])
def test_a_missing_high_bit_is_noted(build: Build, bits: int) -> None:
    pixels = RAMP.astype(f"u{bits // 8}")
    path = build(pixels, HighBit=None)
    header = read_header(path)
    assert [note.code for note in header.notes] == ["dicom.missing"]
    (frame,) = read_frames(path, header=header)
    assert np.array_equal(frame.pixels, pixels)


def test_a_missing_high_bit_is_one_less_than_bits_stored(build: Build) -> None:
    """PS3.3 C.7.6.3.1; DCMTK takes the same."""
    path = build(RAMP, BitsStored=12, HighBit=None)
    header = read_header(path)
    assert [note.code for note in header.notes] == ["dicom.missing"]
    (frame,) = read_frames(path, header=header)
    assert np.array_equal(frame.pixels, RAMP)


@pytest.mark.parametrize("high_bit", [0, 5, 16, 99])
def test_a_wrong_high_bit_is_refused_where_it_tells_which_bits(build: Build, high_bit: int) -> None:
    with pytest.raises(EdgeaiError) as refused:
        list(read_frames(build(RAMP, BitsStored=12, HighBit=high_bit)))
    assert refused.value.code == "pixels.bits"


def test_signed_and_colour_pixels_with_a_wrong_high_bit(build: Build) -> None:
    signed = RAMP.astype(np.int16) - 20
    assert np.array_equal(next(read_frames(build(signed, HighBit=3))).pixels, signed)
    colour = np.stack([RAMP.astype(np.uint8)] * 3, axis=-1)
    assert np.array_equal(next(read_frames(build(colour, "RGB", HighBit=9))).pixels, colour)


@pytest.mark.parametrize(
    ("keyword", "present", "code"),
    [
        ("BitsStored (0028,0101)", element(0x00280101, "US", number(8)), "pixels.bits"),
        ("BitsAllocated (0028,0100)", element(0x00280100, "US", number(8)), "pixels.bits"),
        ("PixelRepresentation (0028,0103)", element(0x00280103, "US", number(0)), "pixels.bits"),
        ("Rows (0028,0010)", element(0x00280010, "US", number(6)), "pixels.dimensions"),
        ("Columns (0028,0011)", element(0x00280011, "US", number(8)), "pixels.dimensions"),
        (
            "PhotometricInterpretation (0028,0004)",
            element(0x00280004, "CS", "MONOCHROME2 "),
            "pixels.photometric",
        ),
    ],
)
@pytest.mark.parametrize("how", ["absent", "empty"])
def test_what_is_missing_is_called_missing_and_no_value_is_made_up(
    raw: Raw, keyword: str, present: bytes, code: str, how: str
) -> None:
    path = raw()
    whole = path.read_bytes()
    assert whole.count(present) == 1
    path.write_bytes(whole.replace(present, b"" if how == "absent" else present[:6] + bytes(2)))
    with pytest.raises(EdgeaiError) as refused:
        list(read_frames(path))
    assert refused.value.code == code
    assert f"{keyword} is missing" in str(refused.value)
    assert " 0" not in str(refused.value).replace(keyword, "")


def test_a_value_that_is_there_is_quoted_and_not_called_missing(build: Build) -> None:
    with pytest.raises(EdgeaiError, match="Bits Stored 0") as refused:
        list(read_frames(build(RAMP, BitsStored=0)))
    assert "missing" not in str(refused.value)


def test_samples_per_pixel(build: Build) -> None:
    path = build(RAMP, SamplesPerPixel=None)
    header = read_header(path)
    assert [note.code for note in header.notes] == ["dicom.missing"]
    assert np.array_equal(next(read_frames(path, header=header)).pixels, RAMP)
    colour = np.stack([RAMP.astype(np.uint8)] * 3, axis=-1)
    with pytest.raises(EdgeaiError, match=r"SamplesPerPixel .* is missing") as refused:
        list(read_frames(build(colour, "RGB", SamplesPerPixel=None)))
    assert refused.value.code == "pixels.photometric"


def test_planar_configuration(build: Build) -> None:
    colour = np.arange(144, dtype=np.uint8).reshape(6, 8, 3)
    path = build(colour, "RGB", PlanarConfiguration=None)
    header = read_header(path)
    assert [note.code for note in header.notes] == ["dicom.missing"]
    assert np.array_equal(next(read_frames(path, header=header)).pixels, colour)
    assert read_header(build(RAMP)).notes == ()


def test_a_plan_or_report_lacks_nothing(build: Build) -> None:
    assert read_header(build()).notes == ()


@pytest.mark.parametrize("vr", ["SQ", "OB", "LO"])
@pytest.mark.parametrize("tag", [0x00280010, 0x00280100, 0x00280101])
def test_what_locates_the_pixels_is_not_read_out_of_something_else(raw: Raw, tag: int, vr: str) -> None:
    value = item(element(0x00080100, "SH", "A ")) if vr == "SQ" else b"seven "
    with pytest.raises(DicomRejected) as refused:
        read_header(raw(element(tag, vr, value)))
    assert refused.value.code == "dicom.bad-value"
