"""Pixels: decoded as the reference decoded them, refused with a code where they are not what the header says."""

from __future__ import annotations

import base64
import contextlib
import csv
import gc
import hashlib
import mmap
import shutil
import subprocess
import tracemalloc
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from struct import pack

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate_extended
from pydicom.pixels import apply_color_lut, pixel_array
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from edgeai.api import DicomRejected, EdgeaiError, PixelsRejected
from edgeai.dicom.header import read_header
from edgeai.dicom.limits import PixelLimits
from edgeai.dicom.pixels import DecodeOptions, read_frames, read_stored
from edgeai.testing.require import require

Build = Callable[..., Path]
RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8)
NOISE = np.random.default_rng(7).integers(0, 4096, (3, 40, 48), dtype=np.uint16)
LOSSY_JPEG = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51))


def refusal(path: Path, limits: PixelLimits | None = None) -> str:
    with pytest.raises(PixelsRejected) as refused:
        list(read_frames(path, limits=limits or PixelLimits()))
    return refused.value.code


def jpeg(pixels: np.ndarray, **options: object) -> bytes:
    out = BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95, **options)
    return out.getvalue()


def only(path: Path, **options: object) -> np.ndarray:
    (frame,) = read_frames(path, DecodeOptions(**options))
    return frame.pixels


# --- against the references -----------------------------------------------------------------------


def rows(kit: Path) -> list[dict[str, str]]:
    with (kit / "dicom_reference.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_lossless_rows_equal_the_reference_bit_for_bit(data_kit: Path) -> None:
    wrong, right = [], 0
    for row in rows(data_kit):
        if row["decode"] != "ok" or row["ts"] in LOSSY_JPEG or "bitflip" in row["file"]:
            continue
        stored = np.squeeze(np.stack(list(read_stored(data_kit / row["file"]))))
        as_listed = np.ascontiguousarray(stored.astype(row["dtype"]))
        same = hashlib.sha256(as_listed.tobytes()).hexdigest() == row["px_sha256"]
        if not same or "x".join(map(str, as_listed.shape)) != row["shape"]:
            wrong.append(row["file"])
        right += same
    assert not wrong
    assert right >= 46


def test_lossy_jpeg_rows_are_within_a_grey_level_of_the_reference(data_kit: Path) -> None:
    """Decoders differ in their inverse DCT: means within 0.05, extremes within 2 of the reference's."""
    compared = 0
    for row in rows(data_kit):
        if row["decode"] != "ok" or row["ts"] not in LOSSY_JPEG:
            continue
        stored = np.squeeze(np.stack(list(read_stored(data_kit / row["file"]))))
        assert "x".join(map(str, stored.shape)) == row["shape"]
        assert str(stored.dtype) == row["dtype"]
        assert abs(stored.mean() - float(row["mean"])) < 0.05, row["file"]
        assert abs(int(stored.min()) - float(row["min"])) <= 2, row["file"]
        assert abs(int(stored.max()) - float(row["max"])) <= 2, row["file"]
        compared += 1
    assert compared >= 8


def test_what_the_reference_cannot_decode_is_refused_or_decoded_whole(data_kit: Path) -> None:
    codes = {}
    for row in rows(data_kit):
        if row["decode"] == "ok":
            continue
        try:
            frames = list(read_frames(data_kit / row["file"]))
        except (DicomRejected, PixelsRejected) as error:
            codes[Path(row["file"]).name] = error.code
        else:
            assert frames[0].pixels.shape[:2] == (int(row["Rows"]), int(row["Columns"]))
            codes[Path(row["file"]).name] = "decoded"
    assert codes["JPEG-lossy.dcm"] == "decoded"  # JPEG Extended of 12 bits, by GDCM
    assert codes["MR_truncated.dcm"] == "pixels.short"
    assert codes["badVR.dcm"] == "dicom.bad-value"
    assert codes["rtplan.dcm"] == "pixels.none"
    assert list(codes.values()).count("decoded") == 1


def test_malformed_files_as_expected(data_kit: Path) -> None:
    folder = data_kit / "dicom_malformed"
    with (folder / "expected.csv").open(encoding="utf-8", newline="") as file:
        expected = {row["file"]: row["expected"] for row in csv.DictReader(file)}
    assert len(expected) >= 13
    for name, verdict in expected.items():
        tracemalloc.start()
        try:
            (frame,) = read_frames(folder / name)
            outcome = f"accept {frame.pixels.shape}"
        except EdgeaiError as error:
            outcome = error.code
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 32 << 20, name
        if verdict == "accept":
            assert outcome == "accept (64, 64)", name
        elif verdict.startswith("reject"):
            assert not outcome.startswith("accept"), name


@pytest.mark.slow
def test_every_file_that_pydicom_decodes_gives_the_same_pixels(pydicom_files: list[Path]) -> None:
    compared = 0
    for path in pydicom_files:
        try:
            stored = np.squeeze(np.stack(list(read_stored(path))))
            shown = np.squeeze(np.stack([frame.pixels for frame in read_frames(path)]))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                raw, rgb = pixel_array(path, raw=True), pixel_array(path)
                dataset = pydicom.dcmread(path)
        except (EdgeaiError, RuntimeError, AttributeError, ValueError):
            continue
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            rgb = apply_color_lut(raw, dataset)
        assert np.array_equal(stored, raw), path.name
        assert np.array_equal(shown, rgb), path.name
        compared += 1
    assert compared >= 45


# --- native -------------------------------------------------------------------------------------


def test_grey_is_a_view_of_the_mapped_file(build: Build) -> None:
    frame = next(iter(read_frames(build(RAMP.astype(np.uint16), BitsStored=12, HighBit=11))))
    assert np.array_equal(frame.pixels, RAMP)
    assert not frame.pixels.flags.writeable
    base = frame.pixels
    while isinstance(base, np.ndarray):
        base = base.base  # type: ignore[assignment]
    assert isinstance(base, (mmap.mmap, memoryview))
    assert frame.bits_stored == 12
    assert frame.stored_units


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
def test_every_native_syntax_and_depth(build: Build, syntax: str, dtype: str) -> None:
    info = np.iinfo(dtype)
    pixels = np.random.default_rng(3).integers(info.min, info.max, (2, 5, 4), dtype=dtype, endpoint=True)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    path = build(pixels, syntax=syntax, data=pixels.astype(f"{order}{dtype}").tobytes())
    if syntax == ExplicitVRBigEndian and dtype in ("u1", "i1"):
        dataset = pydicom.dcmread(path)
        dataset["PixelData"].VR = "OB"
        dataset.save_as(path)
    frames = list(read_frames(path))
    assert np.array_equal(np.stack([frame.pixels for frame in frames]), pixels)
    assert frames[0].pixels.dtype == np.dtype(dtype)
    (second,) = read_frames(path, DecodeOptions(frames=[2, 2]))
    assert second.number == 2
    assert np.array_equal(second.pixels, pixels[1])


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_single_bits_run_on_across_frames(build: Build, syntax: str) -> None:
    bits = np.random.default_rng(5).integers(0, 2, (4, 3, 7), dtype=np.uint8)
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    path = build(bits, syntax=syntax, data=packed, BitsAllocated=1, BitsStored=1, HighBit=0)
    assert np.array_equal(np.stack(list(read_stored(path))), bits)
    assert np.array_equal(np.stack(list(read_stored(path, frames=[2, 4]))), bits[[1, 3]])


def test_bits_beyond_bits_stored_are_masked(build: Build) -> None:
    """An overlay in bit 15 and rubbish in bits 12 to 14, as PS3.5 8.1.1 allows, must not reach a model."""
    clean = NOISE[0]
    dirty = clean | (np.indices((40, 48)).sum(axis=0).astype(np.uint16) % 2 << 15) | 0x3000
    assert np.array_equal(only(build(dirty, BitsStored=12, HighBit=11)), clean)


def test_signed_values_are_extended_from_bits_stored(build: Build) -> None:
    values = (NOISE[0].astype(np.int16) - 2048).astype(np.int16)
    unextended = (values.view(np.uint16) & 0x0FFF).view(np.int16)
    assert np.array_equal(only(build(unextended, BitsStored=12, HighBit=11)), values)
    assert np.array_equal(only(build(values, BitsStored=12, HighBit=11)), values)


def test_values_in_the_upper_bits_are_shifted_down(build: Build) -> None:
    assert np.array_equal(only(build(NOISE[0] << 4, BitsStored=12, HighBit=15)), NOISE[0])


def test_planes_are_interleaved(build: Build) -> None:
    rgb = np.random.default_rng(1).integers(0, 255, (2, 5, 4, 3), dtype=np.uint8)
    planar = np.ascontiguousarray(rgb.transpose(0, 3, 1, 2))
    path = build(rgb, "RGB", data=planar.tobytes(), PlanarConfiguration=1)
    for frame, expected in zip(read_frames(path), rgb, strict=True):
        assert np.array_equal(frame.pixels, expected)
        assert frame.pixels.flags.c_contiguous
        assert frame.photometric_interpretation == "RGB"


def test_ybr_is_converted_as_pydicom_converts_it(build: Build) -> None:
    ybr = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = build(ybr, "YBR_FULL")
    assert np.array_equal(only(path), pixel_array(path))


def test_every_chroma_pair_is_converted_as_pydicom_converts_it(build: Build) -> None:
    cb, cr = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    path = build(np.stack([np.full_like(cb, 128), cb, cr], axis=-1), "YBR_FULL")
    assert np.array_equal(only(path), pixel_array(path))


@pytest.mark.parametrize(("bits", "dtype"), [(8, "u1"), (16, "u2")])
def test_palettes(build: Build, bits: int, dtype: str) -> None:
    table = np.random.default_rng(4).integers(0, 1 << bits, (3, 16), dtype=np.uint16)
    attributes = {}
    for colour, data in zip(("Red", "Green", "Blue"), table, strict=True):
        attributes[f"{colour}PaletteColorLookupTableDescriptor"] = [16, 10, bits]
        attributes[f"{colour}PaletteColorLookupTableData"] = data.astype(dtype).tobytes()
    pixels = only(build(RAMP, "PALETTE COLOR", **attributes))
    assert pixels.dtype == np.dtype(dtype)
    assert np.array_equal(pixels, table.T[np.clip(RAMP.astype(int) - 10, 0, 15)])
    broken = {**attributes, "RedPaletteColorLookupTableData": b"\1\2"}
    assert refusal(build(RAMP, "PALETTE COLOR", **broken)) == "pixels.palette"
    assert refusal(build(RAMP, "PALETTE COLOR")) == "pixels.palette"


def test_segmented_palettes_are_expanded_as_pydicom_expands_them(build: Build) -> None:
    segments = np.array([0, 2, 10, 500, 1, 6, 60000, 2, 1, 0, 0, 1, 6, 0], dtype="<u2").tobytes()
    attributes = {f"{colour}PaletteColorLookupTableDescriptor": [16, 0, 16] for colour in ("Red", "Green", "Blue")}
    attributes |= {f"Segmented{colour}PaletteColorLookupTableData": segments for colour in ("Red", "Green", "Blue")}
    path = build(RAMP % 16, "PALETTE COLOR", **attributes)
    ours, theirs = only(path), apply_color_lut(RAMP % 16, pydicom.dcmread(path))
    assert np.abs(ours.astype(int) - theirs).max() <= 1  # the Standard does not say how a line is rounded
    for damaged in (segments[:-2], segments[:4], b"\x09\0" + segments[2:], segments * 9):
        keyword = "SegmentedRedPaletteColorLookupTableData"
        assert refusal(build(RAMP % 16, "PALETTE COLOR", **{**attributes, keyword: damaged})) == "pixels.palette"


def test_float_pixel_data(build: Build, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(build(RAMP, BitsAllocated=32, BitsStored=None, HighBit=None, PixelRepresentation=None))
    del dataset.PixelData
    dataset.FloatPixelData = (RAMP / 3).astype("<f4").tobytes()
    path = tmp_path / "float.dcm"
    dataset.save_as(path)
    pixels = only(path)
    assert pixels.dtype == np.float32
    assert np.array_equal(pixels, (RAMP / 3).astype("f4"))


# --- compressed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2"])
def test_lossless_codecs(build: Build, syntax: str, dtype: str) -> None:
    pixels = (NOISE % 200).astype(dtype) * (1 if dtype == "u1" else 100) - (0 if dtype[0] == "u" else 9000)
    if syntax == JPEGLSLossless and dtype == "i2":
        pixels = np.abs(pixels)
    path = build(pixels.astype(dtype))
    dataset = pydicom.dcmread(path)
    dataset.compress(syntax, encoding_plugin="pylibjpeg" if syntax != JPEGLSLossless else "pyjpegls")
    dataset.save_as(path)
    frames = list(read_frames(path))
    assert np.array_equal(np.stack([frame.pixels for frame in frames]), pixels)
    assert frames[0].pixels.dtype == np.dtype(dtype)


@pytest.mark.parametrize("option", ["+e1", "+el"])
@pytest.mark.parametrize(("dtype", "bits"), [("u1", 8), ("u2", 12), ("u2", 16), ("i2", 16)])
def test_lossless_jpeg(build: Build, tmp_path: Path, option: str, dtype: str, bits: int) -> None:
    encoder = shutil.which("dcmcjpeg")
    require("dcmtk", encoder is not None, "dcmcjpeg is not installed; apt-get install dcmtk")
    assert encoder is not None
    pixels = np.random.default_rng(9).integers(0, 1 << bits - (dtype[0] == "i"), (2, 16, 24)).astype(dtype)
    source, out = build(pixels, BitsStored=bits, HighBit=bits - 1), tmp_path / "out.dcm"
    subprocess.run([encoder, option, source, out], check=True, capture_output=True)
    assert read_header(out).instance.transfer_syntax_uid in ("1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.57")
    assert np.array_equal(np.stack(list(read_stored(out))), pixels)


@pytest.fixture
def aborting(pydicom_files: list[Path], tmp_path: Path) -> Path:
    """A lossless JPEG on which GDCM ends its process: the marker of its Huffman table is gone."""
    (source,) = (path for path in pydicom_files if path.name == "SC_rgb_jpeg_gdcm.dcm")
    raw = bytearray(source.read_bytes())
    raw[raw.index(b"\xff\xc4")] = 0
    path = tmp_path / "aborting.dcm"
    path.write_bytes(raw)
    return path


def test_a_decoder_that_ends_its_process_does_not_end_ours(aborting: Path, pydicom_files: list[Path]) -> None:
    (good,) = (path for path in pydicom_files if path.name == "SC_rgb_jpeg_gdcm.dcm")
    expected = only(good)
    with pytest.raises(PixelsRejected, match="ended its process") as refused:
        only(aborting)
    assert refused.value.code == "pixels.codec"
    assert np.array_equal(only(good), expected), "and the next frame decodes"


HTJ2K = (  # 24 x 40, 16 bits, reversible, 5 levels, encoded by OpenJPH 0.26.3: pixel (y, x) is 90 x + 13 y
    "/0//UQApQAAAAAAoAAAAGAAAAAAAAAAAAAAAKAAAABgAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQkJCQkJCQ"
    "iIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAALwAAf+TwAAqAFn/PdABQjQAwAASwAATAOcAh3QAvHkAYjQAwAATQAATAGX5AIJ0AN3+"
    "A/Y0AMAAFVAABWA006T50g/iC3YAdDqdTuAI/hCBvrgAwAAVsAAFppSUlJSUlO/KenGCdwA4xhhjjDH+/IA9gAB79gAB7LwAwAAtaAAFuDKZTCaTyWQy"
    "mUz2/H8Kenp6enECewAYERERERERERER/3aBye/fJ798nv3ye/fJ7LIB/9k="
)


@pytest.mark.parametrize("number", [201, 202, 203])
def test_high_throughput_jpeg_2000(build: Build, number: int) -> None:
    y, x = np.mgrid[0:24, 0:40]
    expected = (90 * x + 13 * y).astype(np.uint16)
    path = build(expected, syntax=f"1.2.840.10008.1.2.4.{number}", frames=[base64.b64decode(HTJ2K)])
    assert np.array_equal(only(path), expected)


def colour(shift: int = 0) -> np.ndarray:
    y, x = np.mgrid[0:64, 0:96]
    return np.stack([(x * 2 + shift) % 256, (y * 3) % 256, (x + y) % 256], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL", "RGB"])
def test_colour_jpeg_is_rgb_whatever_the_attribute_says(build: Build, photometric: str) -> None:
    """A JFIF file is YCbCr (ITU T.871), also when Photometric Interpretation says RGB."""
    source = np.asarray(Image.fromarray(colour()).resize((96, 64)))
    path = build(source, photometric, JPEGBaseline8Bit, frames=[jpeg(source, subsampling="4:2:2")])
    (frame,) = read_frames(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pixel_array(path)
    assert frame.photometric_interpretation == "RGB"
    assert np.abs(frame.pixels.astype(int) - theirs).max() <= 1


def test_jpeg_without_colour_transform_is_left_alone(build: Build) -> None:
    """Adobe transform 0, and components without any mark under RGB."""
    smooth = np.asarray(Image.fromarray(RAMP).resize((32, 32), Image.Resampling.BICUBIC))
    source = np.stack([smooth, 255 - smooth, smooth // 2], axis=-1)
    marked = jpeg(source, keep_rgb=True, subsampling=0)
    path = build(source, "RGB", JPEGBaseline8Bit, frames=[marked])
    assert np.abs(only(path).astype(int) - source).max() <= 6


def test_frames_are_decoded_when_asked_for(build: Build) -> None:
    good = jpeg(RAMP)
    path = build(np.stack([RAMP] * 3), syntax=JPEGBaseline8Bit, frames=[good, good[:40], good])
    frames = read_frames(path)
    assert next(frames).number == 1
    with pytest.raises(PixelsRejected):
        next(frames)
    assert [frame.number for frame in read_frames(path, DecodeOptions(frames=[3, 1]))] == [1, 3]


def test_frames_are_not_held(build: Build) -> None:
    source = np.random.default_rng(0).integers(0, 255, (400, 500), dtype=np.uint8)
    path = build(np.broadcast_to(source, (30, 400, 500)), syntax=JPEGBaseline8Bit, frames=[jpeg(source)] * 30)
    tracemalloc.start()
    try:
        for frame in read_frames(path):
            del frame
        gc.collect()
        assert tracemalloc.get_traced_memory()[1] < 3 << 20
    finally:
        tracemalloc.stop()


# --- fragments ------------------------------------------------------------------------------------


def encapsulated(path: Path, value: bytes) -> Path:
    """The file with everything after the Pixel Data header replaced."""
    raw = path.read_bytes()
    head = raw.index(b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff") + 12
    path.write_bytes(raw[:head] + value)
    return path


def item(data: bytes) -> bytes:
    return pack("<HHL", 0xFFFE, 0xE000, len(data)) + data


END = pack("<HHL", 0xFFFE, 0xE0DD, 0)


def halves(data: bytes) -> tuple[bytes, bytes]:
    data += b"\0" * (len(data) % 2)
    middle = len(data) // 4 * 2
    return data[:middle], data[middle:]


@pytest.fixture
def two(build: Build) -> tuple[Path, tuple[bytes, bytes], tuple[bytes, bytes]]:
    """A file of two JPEG frames, and each frame's bytes in two fragments."""
    first, second = jpeg(RAMP), jpeg(255 - RAMP)
    path = build(np.stack([RAMP, RAMP]), syntax=JPEGBaseline8Bit, frames=[first, second])
    return path, halves(first), halves(second)


def test_fragments_are_shared_out_by_the_offset_table(two: tuple) -> None:
    path, first, second = two
    offset = sum(len(item(part)) for part in first)
    expected = [frame.pixels for frame in read_frames(path)]
    for table in (b"", pack("<LL", 0, offset)):  # without one, by where codestreams begin
        encapsulated(path, item(table) + b"".join(item(part) for part in (*first, *second)) + END)
        assert all(map(np.array_equal, (frame.pixels for frame in read_frames(path)), expected))


@pytest.mark.parametrize("offsets", [(0, 2), (0, 0), (2, 4), (0, 1 << 30)])
def test_an_offset_table_that_points_nowhere(two: tuple, offsets: tuple[int, int]) -> None:
    path, first, second = two
    encapsulated(path, item(pack("<LL", *offsets)) + b"".join(item(part) for part in (*first, *second)) + END)
    assert refusal(path) == "pixels.fragments"


def test_extended_offset_tables(two: tuple, tmp_path: Path) -> None:
    path, first, second = two
    expected = [frame.pixels for frame in read_frames(path)]
    dataset = pydicom.dcmread(path)
    data, offsets, lengths = encapsulate_extended([b"".join(first), b"".join(second)])
    dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = data, offsets, lengths
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    assert all(map(np.array_equal, (frame.pixels for frame in read_frames(path)), expected))
    dataset.ExtendedOffsetTableLengths = pack("<QQ", 1 << 40, 1)
    dataset.save_as(path)
    assert refusal(path) == "pixels.fragments"


def test_fragments_that_do_not_add_up(two: tuple) -> None:
    path, first, _ = two
    whole = item(b"".join(first))
    for value, code in (
        (item(b"") + whole + END, "pixels.fragments"),
        (item(b"") + whole * 3 + END, "pixels.fragments"),
        (item(b"") + whole + item(b"") + END, "pixels.empty"),
        (item(b"") + END, "pixels.fragments"),
        (END, "pixels.fragments"),
        (b"", "pixels.short"),
        (item(b"") + whole * 2, "pixels.short"),
        (item(b"") + whole + whole[:-10], "pixels.short"),
        (item(b"") + pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFE), "pixels.short"),
        (item(b"") + pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF), "pixels.fragments"),
        (item(b"") + b"nonsense" * 9, "pixels.fragments"),
    ):
        assert refusal(encapsulated(path, value)) == code, value[:40]


# --- refusals -------------------------------------------------------------------------------------


def test_surplus_that_could_be_a_frame_is_refused(build: Build) -> None:
    """pydicom alone reads 64x64 pixels and 4,096 surplus bytes as two frames."""
    square = np.zeros((64, 64), dtype=np.uint8)
    assert refusal(build(square, data=bytes(4096 * 2))) == "pixels.surplus"
    assert refusal(build(square, data=bytes(4096) + b"\1" * 100)) == "pixels.surplus"
    assert refusal(build(square, syntax=DeflatedExplicitVRLittleEndian, data=bytes(4096 + 100))) == "pixels.surplus"
    assert len(list(read_frames(build(square, data=bytes(4096 + 100))))) == 1, "zeros short of a frame are padding"
    assert len(list(read_frames(build(square[:63, :63], data=bytes(63 * 63 + 1))))) == 1


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_missing_bytes_are_refused(build: Build, syntax: str) -> None:
    assert refusal(build(np.stack([RAMP, RAMP]), syntax=syntax, data=bytes(94))) == "pixels.short"
    assert refusal(build(RAMP, syntax=syntax, data=b"")) == "pixels.empty"


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"Rows": 65535, "Columns": 65535}, "pixels.too-large"),
        ({"Rows": 30000, "Columns": 30000}, "pixels.short"),
        ({"NumberOfFrames": 2**31 - 1}, "pixels.too-large"),
        ({"NumberOfFrames": 0}, "pixels.dimensions"),
        ({"NumberOfFrames": -1}, "pixels.dimensions"),
        ({"Rows": 0}, "pixels.dimensions"),
        ({"Rows": None}, "pixels.dimensions"),
        ({"BitsAllocated": 12}, "pixels.bits"),
        ({"BitsAllocated": 64, "BitsStored": 64, "HighBit": 63}, "pixels.bits"),
        ({"BitsStored": 9}, "pixels.bits"),
        ({"BitsStored": 0}, "pixels.bits"),
        ({"BitsStored": 4, "HighBit": 2}, "pixels.bits"),
        ({"PhotometricInterpretation": "CMYK"}, "pixels.photometric"),
        ({"PhotometricInterpretation": ""}, "pixels.photometric"),
        ({"SamplesPerPixel": 3}, "pixels.photometric"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 2}, "pixels.photometric"),
    ],
)
def test_layouts_that_cannot_be(build: Build, attributes: dict[str, object], code: str) -> None:
    path = build(RAMP, **attributes)
    tracemalloc.start()
    try:
        assert refusal(path) == code
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_limits_are_the_callers(build: Build) -> None:
    path = build(np.stack([RAMP, RAMP]))
    for limits in (
        PixelLimits(max_rows=5),
        PixelLimits(max_columns=7),
        PixelLimits(max_frames=1),
        PixelLimits(max_frame_bytes=47),
        PixelLimits(max_total_bytes=95),
    ):
        assert refusal(path, limits) == "pixels.too-large"
    exact = PixelLimits(max_rows=6, max_columns=8, max_frames=2, max_frame_bytes=48, max_total_bytes=96)
    assert len(list(read_frames(path, limits=exact))) == 2


def test_no_such_frame(build: Build) -> None:
    path = build(np.stack([RAMP, RAMP]))
    for wanted in ([0], [3], [1, 99]):
        with pytest.raises(PixelsRejected) as refused:
            read_frames(path, DecodeOptions(frames=wanted))
        assert refused.value.code == "pixels.no-such-frame"


def test_video_is_refused(build: Build) -> None:
    path = build(RAMP, syntax="1.2.840.10008.1.2.4.102", frames=[b"\0" * 64])
    assert refusal(path) == "pixels.unsupported-syntax"


def test_encapsulation_must_be_that_of_the_syntax(build: Build) -> None:
    encapsulated = build(RAMP, syntax=JPEGBaseline8Bit, frames=[jpeg(RAMP)])
    raw = encapsulated.read_bytes().replace(b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.1\0\0\0")
    encapsulated.write_bytes(raw)
    assert refusal(encapsulated) == "pixels.encapsulation"
    native = build(RAMP, syntax=JPEGBaseline8Bit, frames=[jpeg(RAMP)])
    raw = native.read_bytes().replace(b"OB\0\0\xff\xff\xff\xff", b"OB\0\0" + pack("<L", 8))
    native.write_bytes(raw)
    assert refusal(native) == "pixels.encapsulation"


def compressed(build: Build, syntax: str, pixels: np.ndarray) -> bytes:
    path = build(pixels)
    dataset = pydicom.dcmread(path)
    dataset.compress(syntax)
    from pydicom.encaps import generate_frames

    return next(generate_frames(dataset.PixelData, number_of_frames=1))


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLSLossless, JPEG2000Lossless])
def test_a_codestream_of_another_size_never_reaches_its_decoder(build: Build, syntax: str) -> None:
    large = np.zeros((2000, 3000), dtype=np.uint8)
    data = jpeg(large) if syntax == JPEGBaseline8Bit else compressed(build, syntax, large)
    gc.collect()
    path = build(RAMP, syntax=syntax, frames=[data])
    tracemalloc.start()
    try:
        assert refusal(path) == "pixels.mismatch"
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_codestreams_of_another_depth_or_number_of_components(build: Build) -> None:
    assert refusal(build(RAMP, syntax=JPEGBaseline8Bit, frames=[jpeg(np.stack([RAMP] * 3, -1))])) == "pixels.mismatch"
    deep = compressed(build, JPEG2000Lossless, NOISE[0])
    assert refusal(build(RAMP, syntax=JPEG2000Lossless, frames=[deep])) == "pixels.mismatch"


def test_codestreams_of_another_kind(build: Build) -> None:
    for syntax in (JPEGLSLossless, JPEG2000Lossless, "1.2.840.10008.1.2.4.70"):
        assert refusal(build(RAMP, syntax=syntax, frames=[jpeg(RAMP)])) == "pixels.codestream"
    assert refusal(build(RAMP, syntax=JPEGBaseline8Bit, frames=[b"\xff\xd8\xff\xd9" * 4])) == "pixels.codestream"
    assert refusal(build(RAMP, syntax=JPEG2000Lossless, frames=[b"\xff\x4f\xff\x51\0\x29"])) == "pixels.codestream"


@pytest.mark.parametrize("syntax", [RLELossless, JPEGBaseline8Bit, JPEGLSLossless, JPEG2000Lossless])
def test_a_codestream_cut_short(build: Build, syntax: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (64, 64), dtype=np.uint8)
    data = jpeg(pixels) if syntax == JPEGBaseline8Bit else compressed(build, syntax, pixels)
    assert refusal(build(pixels, syntax=syntax, frames=[data[: len(data) // 2]])) == "pixels.codec"


def test_nothing_warns(pydicom_files: list[Path]) -> None:
    read: list[int] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in pydicom_files:
            with contextlib.suppress(EdgeaiError):
                read.append(len(list(read_frames(path))))
    assert len(read) > len(pydicom_files) // 2
    assert all(read)
