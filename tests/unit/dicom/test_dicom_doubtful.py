"""Headers that can be used and look like a mistake: the values stay, and the result says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, pixel_array
from pydicom.uid import JPEGLSLossless

from edgeai.api import PixelsRejected
from edgeai.dicom.header import read_header
from edgeai.dicom.pixels import read_frames
from edgeai.testing.phantoms import write_instance

Build = Callable[..., Path]
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOURS = ("Red", "Green", "Blue")


def notes_of(path: Path) -> list[str]:
    header = read_header(path)
    (frame,) = read_frames(path, header=header)
    return [note.code for note in (*header.notes, *frame.notes)]


# --- look-up tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bits", "most", "doubtful"),
    [
        (16, 255, True),
        (16, 4095, True),
        (12, 255, True),
        (16, 32767, True),
        (16, 32768, False),
        (16, 65535, False),
        (12, 4095, False),
        (12, 4096, True),
        (10, 65535, True),
        (8, 255, False),
        (8, 127, True),
    ],
)
def test_a_voi_lut_declared_wider_or_narrower_than_its_values(
    build: Build, bits: int, most: int, doubtful: bool
) -> None:
    item = Dataset()
    item.add_new(0x00283002, "US", [256, 0, bits])
    item.add_new(0x00283006, "OW", np.linspace(0, most, 256).round().astype("<u2").tobytes())
    path = build(RAMP, VOILUTSequence=[item])
    assert notes_of(path) == (["dicom.doubtful"] if doubtful else [])
    (lut,) = read_header(path).grayscale.voi_luts
    assert (lut.bits, int(lut.data.max())) == (bits, most)


def test_a_modality_lut_may_use_what_it_likes(build: Build) -> None:
    item = Dataset()
    item.add_new(0x00283002, "US", [256, 0, 16])
    item.add_new(0x00283006, "OW", np.arange(256).astype("<u2").tobytes())
    item.ModalityLUTType = "US"
    assert notes_of(build(RAMP, ModalityLUTSequence=[item])) == []


# --- palettes -----------------------------------------------------------------------------------------


def palette(bits: int, values: np.ndarray, dtype: str, descriptors: int = 3) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    for number, colour in enumerate(COLOURS):
        stated = bits if number < descriptors else 24 - bits
        attributes[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, stated]
        attributes[f"{colour}PaletteColorLookupTableData"] = np.roll(values, number).astype(dtype).tobytes()
    return attributes


@pytest.mark.parametrize(
    ("bits", "step", "dtype", "as_read", "doubtful"),
    [
        (16, 257, "<u2", "uint16", False),
        (8, 1, "<u2", "uint8", False),
        (8, 1, "u1", "uint8", False),
        (16, 1, "<u2", "uint16", True),  # 16 bits that hold 8: dark, as DCMTK and pydicom show it
        (16, 1, "u1", "uint8", True),  # a byte an entry
        (8, 257, "<u2", "uint16", True),  # 8 bits stated, 16 there
    ],
)
def test_palettes_are_read_as_pydicom_reads_them(
    build: Build, bits: int, step: int, dtype: str, as_read: str, doubtful: bool
) -> None:
    path = build(RAMP, "PALETTE COLOR", **palette(bits, np.arange(256) * step, dtype))
    (frame,) = read_frames(path)
    assert frame.pixels.dtype == as_read
    assert frame.bits_stored == (8 if as_read == "uint8" else 16)
    dataset = pydicom.dcmread(path)
    np.testing.assert_array_equal(frame.pixels, apply_color_lut(pixel_array(dataset), dataset))
    assert notes_of(path) == (["dicom.doubtful"] if doubtful else [])


def test_palettes_that_do_not_fit_one_another_are_refused(build: Build) -> None:
    path = build(RAMP, "PALETTE COLOR", **palette(16, np.arange(256) * 257, "<u2", descriptors=2))
    with pytest.raises(PixelsRejected) as refused:
        list(read_frames(path))
    assert refused.value.code == "pixels.palette"


# --- Bits Stored ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "dtype", "stored", "kept", "doubtful"),
    [
        ([0, 100, 255, 300], "uint16", 8, [0, 100, 255, 44], True),
        ([0, 100, 4095], "uint16", 12, [0, 100, 4095], False),
        ([0, 100, 4096], "uint16", 12, [0, 100, 0], True),
        ([-2048, 5, 2047], "int16", 12, [-2048, 5, 2047], False),
        ([0xFFF, 5, 0x800], "int16", 12, [-1, 5, -2048], False),  # the sign was not copied upwards: of the Standard
        ([-1, 5, 3000], "int16", 12, [-1, 5, -1096], True),  # it was, and 3000 is no value of 12 bits
        ([5, 5000], "int16", 12, [5, 904], True),
        ([-3000, 5], "int16", 12, [1096, 5], True),
    ],
)
def test_more_bits_than_bits_stored(
    build: Build, values: list[int], dtype: str, stored: int, kept: list[int], doubtful: bool
) -> None:
    pixels = np.array([values], dtype)
    path = build(pixels, BitsStored=stored, HighBit=stored - 1)
    (frame,) = read_frames(path)
    assert frame.pixels.tolist() == [kept]
    assert notes_of(path) == (["dicom.doubtful"] if doubtful else [])


def test_an_overlay_in_the_upper_bits_is_no_mistake(build: Build) -> None:
    pixels = np.array([[5, 0x1005, 4095]], np.uint16)
    path = build(pixels, BitsStored=12, HighBit=11)
    for position, codes in ((12, []), (0, ["dicom.doubtful"])):  # an overlay with data of its own has position 0
        dataset = pydicom.dcmread(path)
        dataset.add_new(0x60000102, "US", position)
        dataset.save_as(path)
        assert notes_of(path) == codes


def test_compressed_pixels_too(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 4096, (40, 40)).astype(np.uint16)
    path = write_instance(
        tmp_path / "a.dcm", pixels, transfer_syntax=JPEGLSLossless, attributes={"BitsStored": 10, "HighBit": 9}
    ).path
    (frame,) = read_frames(path)
    np.testing.assert_array_equal(frame.pixels, pixels & 0x3FF)
    assert notes_of(path) == ["dicom.doubtful"]
