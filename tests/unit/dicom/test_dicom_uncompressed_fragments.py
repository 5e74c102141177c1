"""Encapsulated Uncompressed Explicit VR Little Endian (PS3.5 A.4.11): a native frame a fragment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.encaps import encapsulate_extended

from edgeai.api import PixelsRejected
from edgeai.dicom.pixels import DecodeOptions, read_frames
from edgeai.dicom.syntaxes import SUPPORTED, transfer_syntax

Build = Callable[..., Path]
SYNTAX = "1.2.840.10008.1.2.1.98"
RNG = np.random.default_rng(5)


def planes(path: Path) -> list[Any]:
    return [frame.pixels for frame in read_frames(path)]


def refusal(path: Path) -> str:
    with pytest.raises(PixelsRejected) as refused:
        planes(path)
    return refused.value.code


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", "<i2", "<u4"])
@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("shape", [(6, 8), (5, 7)])
def test_grey_frames_are_what_the_native_syntax_has(
    build: Build, dtype: str, frames: int, shape: tuple[int, int]
) -> None:
    pixels = RNG.integers(0, 100, (frames, *shape)).astype(dtype)
    pixels = pixels[0] if frames == 1 else pixels
    each = [pixels.tobytes()] if frames == 1 else [frame.tobytes() for frame in pixels]
    native, encapsulated = planes(build(pixels)), planes(build(pixels, syntax=SYNTAX, frames=each))
    assert len(native) == frames
    for ours, theirs in zip(encapsulated, native, strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("planar", [0, 1])
def test_colour(build: Build, photometric: str, planar: int) -> None:
    pixels = RNG.integers(0, 256, (5, 7, 3)).astype(np.uint8)
    data = pixels.transpose(2, 0, 1).tobytes() if planar else pixels.tobytes()
    how = {"PlanarConfiguration": planar}
    native = planes(build(pixels, photometric, data=data, **how))
    encapsulated = planes(build(pixels, photometric, syntax=SYNTAX, frames=[data], **how))
    assert np.array_equal(encapsulated, native)


def test_subsampled_colour(build: Build) -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    data = RNG.integers(0, 256, 4 * 6 * 2).astype(np.uint8).tobytes()
    native = planes(build(pixels, "YBR_FULL_422", data=data))
    assert np.array_equal(planes(build(pixels, "YBR_FULL_422", syntax=SYNTAX, frames=[data])), native)


def test_single_bits_begin_anew_with_each_frame(build: Build) -> None:
    bits = RNG.integers(0, 2, (3, 5, 7)).astype(np.uint8)
    each = [np.packbits(frame.ravel(), bitorder="little").tobytes() for frame in bits]
    path = build(bits, syntax=SYNTAX, frames=each, BitsAllocated=1, BitsStored=1, HighBit=0)
    assert np.array_equal(planes(path), bits)


def test_bits_beyond_those_stored_are_left_out(build: Build) -> None:
    pixels = np.full((6, 8), 0xF123, dtype="<u2")
    path = build(pixels, syntax=SYNTAX, frames=[pixels.tobytes()], BitsStored=12, HighBit=11)
    assert planes(path)[0].max() == 0x123


def test_a_frame_by_its_number_and_by_an_extended_offset_table(build: Build) -> None:
    pixels = RNG.integers(0, 256, (3, 5, 7)).astype(np.uint8)
    value, offsets, lengths = encapsulate_extended([frame.tobytes() for frame in pixels])
    path = build(pixels, syntax=SYNTAX, frames=[frame.tobytes() for frame in pixels])
    (second,) = read_frames(path, DecodeOptions(frames=[2]))
    assert np.array_equal(second.pixels, pixels[1])
    extended = build(pixels, syntax=SYNTAX, data=value, ExtendedOffsetTable=offsets, ExtendedOffsetTableLengths=lengths)
    raw = extended.read_bytes()
    extended.write_bytes(
        raw.replace(b"\xe0\x7f\x10\0OB\0\0" + len(value).to_bytes(4, "little"), b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff")
        + b"\xfe\xff\xdd\xe0"
        + bytes(4)
    )
    assert np.array_equal(planes(extended), pixels)


def test_an_extended_offset_table_that_is_none_is_not_used(build: Build) -> None:
    pixels = RNG.integers(0, 256, (3, 6, 8)).astype(np.uint8)
    path = build(pixels, syntax=SYNTAX, frames=[frame.tobytes() for frame in pixels], ExtendedOffsetTable=b"\1\2\3\4")
    assert np.array_equal(planes(path), pixels)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (bytes(46), "pixels.short"),
        (bytes(50), "pixels.surplus"),
        (bytes(96), "pixels.surplus"),
    ],
)
def test_frames_of_another_size(build: Build, data: bytes, code: str) -> None:
    assert refusal(build(np.zeros((6, 8), np.uint8), syntax=SYNTAX, frames=[data])) == code


def test_an_odd_frame_is_padded_with_a_zero_and_nothing_else(build: Build) -> None:
    pixels = np.ones((5, 7), np.uint8)
    assert np.array_equal(planes(build(pixels, syntax=SYNTAX, frames=[pixels.tobytes() + b"\0"])), [pixels])
    assert refusal(build(pixels, syntax=SYNTAX, frames=[pixels.tobytes() + b"\1"])) == "pixels.surplus"


def test_native_pixels_are_none_of_it(build: Build) -> None:
    path = build(np.zeros((6, 8), np.uint8), syntax="1.2.840.10008.1.2.1")
    raw = path.read_bytes()
    assert raw.count(b"UI\x14\x001.2.840.10008.1.2.1\0") == 1
    path.write_bytes(raw.replace(b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x16\x00" + SYNTAX.encode()))
    assert refusal(path) == "pixels.encapsulation"


@pytest.mark.parametrize(
    "uid", ["1.2.840.10008.1.2.8.1", "1.2.840.10008.1.2.7.1", "1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.6.1"]
)
def test_the_standards_others_are_known_and_not_supported(build: Build, uid: str) -> None:
    syntax = transfer_syntax(uid)
    assert syntax is not None
    assert uid not in SUPPORTED
    path = build(np.zeros((6, 8), np.uint8), syntax=SYNTAX, frames=[bytes(48)])
    path.write_bytes(path.read_bytes().replace(SYNTAX.encode(), uid.encode().ljust(len(SYNTAX), b"\0"), 1))
    assert refusal(path) == "pixels.unsupported-syntax"


def test_jpip_that_is_deflated_is_known_for_what_it_is() -> None:
    assert [getattr(transfer_syntax(f"1.2.840.10008.1.2.4.{n}"), "deflated", None) for n in (94, 95, 204, 205)] == [
        False,
        True,
        False,
        True,
    ]
    assert transfer_syntax("1.2.840.99999.1") is None
