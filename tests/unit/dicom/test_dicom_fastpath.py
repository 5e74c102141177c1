"""Shortcuts: each only by name, each within a stated distance of the exact path, each with its geometry."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit

from edgeai.api import ConfigError, Frame, PixelsRejected
from edgeai.dicom.codestream import read_codestream
from edgeai.dicom.header import read_header
from edgeai.dicom.pixels import DecodeOptions, read_frames, read_stored

Build = Callable[..., Path]
LUMA, REDUCED, BOTH = frozenset({"luma"}), frozenset({"reduced"}), frozenset({"luma", "reduced"})
SMALLEST = frozenset({"smallest"})


def smooth(rows: int, columns: int, low: float, high: float) -> np.ndarray:
    """A plane without edges, so that a low-pass sample is close to the pixel it is centred on."""
    y, x = np.mgrid[0:rows, 0:columns]
    wave = 0.25 * (2 + np.sin(x / 25) + np.cos(y / 31))
    return low + (high - low) * wave


def only(path: Path, **options: object) -> Frame:
    (frame,) = read_frames(path, DecodeOptions(**options))  # type: ignore[arg-type]
    return frame


def jpeg(pixels: np.ndarray, **options: object) -> bytes:
    out = BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95, **options)
    return out.getvalue()


@pytest.fixture
def j2k(build: Build) -> Callable[[np.ndarray, int], Path]:
    """(pixels, bits stored) -> a JPEG 2000 lossless file."""

    def make(pixels: np.ndarray, bits: int) -> Path:
        path = build(pixels, BitsStored=bits, HighBit=bits - 1)
        dataset = pydicom.dcmread(path)
        dataset.compress(JPEG2000Lossless)
        dataset.save_as(path)
        return path

    return make


def source_of(frame: Frame, exact: np.ndarray) -> np.ndarray:
    """The exact pixels where the geometry says that the frame's pixel centres lie, between pixels if need be."""
    y, x = np.mgrid[0 : frame.rows, 0 : frame.columns]
    points = frame.geometry.to_source(np.stack([x.ravel() + 0.5, y.ravel() + 0.5], axis=1)) - 0.5
    column = points[:, 0].clip(0, exact.shape[1] - 1)
    row = points[:, 1].clip(0, exact.shape[0] - 1)
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    right, bottom = np.minimum(left + 1, exact.shape[1] - 1), np.minimum(top + 1, exact.shape[0] - 1)
    u, v = column - left, row - top
    upper = exact[top, left] * (1 - u) + exact[top, right] * u
    lower = exact[bottom, left] * (1 - u) + exact[bottom, right] * u
    return (upper * (1 - v) + lower * v).reshape(frame.rows, frame.columns)


@pytest.mark.parametrize(
    ("dtype", "bits", "low", "high"),
    [("u2", 12, 0, 4095), ("u2", 16, 0, 65535), ("u1", 8, 0, 255), ("i2", 12, -2048, 2047), ("i2", 16, -32768, 32767)],
)
@pytest.mark.parametrize("size", [(256, 320), (251, 333), (257, 301)])
def test_reduced_jpeg_2000_keeps_values_and_places(
    j2k: Callable[[np.ndarray, int], Path], dtype: str, bits: int, low: int, high: int, size: tuple[int, int]
) -> None:
    exact = smooth(*size, low + 0.1 * (high - low), high - 0.1 * (high - low)).astype(dtype)
    frame = only(j2k(exact, bits), fast=REDUCED, min_rows=16, min_columns=20)
    assert frame.pixels.dtype == np.dtype(dtype)
    assert frame.pixels.shape == (-(-size[0] // 4), -(-size[1] // 4)) or frame.pixels.shape == tuple(
        -(-side // 8) for side in size
    )
    away = np.abs(frame.pixels - source_of(frame, exact.astype(float)))[1:-1, 1:-1]
    assert away.max() <= max(3, 0.01 * (high - low))


def test_a_reduced_pixel_lies_where_its_low_pass_sample_is_centred(j2k: Callable[[np.ndarray, int], Path]) -> None:
    """A ramp tells places apart: half a step off would be seven grey levels at four pixels a step."""
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint16) * 14, (128, 256))
    frame = only(j2k(np.ascontiguousarray(ramp), 12), fast=REDUCED, min_rows=32, min_columns=32)
    assert frame.pixels.shape == (64, 128)
    frame = only(j2k(np.ascontiguousarray(ramp), 12), fast=REDUCED, min_rows=16, min_columns=16)
    assert frame.pixels.shape == (32, 64)
    assert frame.geometry.affine == (4.0, 0.0, -1.5, 0.0, 4.0, -1.5)
    inner = frame.pixels[2:-2, 2:-2].astype(float)
    assert np.abs(inner - source_of(frame, ramp.astype(float))[2:-2, 2:-2]).max() <= 2


def test_never_under_twice_what_the_model_takes_in(j2k: Callable[[np.ndarray, int], Path]) -> None:
    path = j2k(smooth(256, 256, 0, 4095).astype(np.uint16), 12)
    for minimum, side in ((129, 256), (128, 256), (65, 256), (64, 128), (33, 128), (32, 64), (1, 8)):
        frame = only(path, fast=REDUCED, min_rows=minimum, min_columns=minimum)
        assert frame.rows == side, minimum
    assert only(path, fast=REDUCED, min_rows=1, min_columns=64).pixels.shape == (128, 128)
    assert only(path, fast=REDUCED).pixels.shape == (256, 256), "without a minimum nothing is reduced"
    assert only(path, min_rows=8, min_columns=8).pixels.shape == (256, 256), "without the name nothing is reduced"


def test_smallest_is_never_under_what_the_model_takes_in(j2k: Callable[[np.ndarray, int], Path]) -> None:
    exact = smooth(256, 256, 400, 3600).astype(np.uint16)
    path = j2k(exact, 12)
    for minimum, side in ((256, 256), (129, 256), (128, 128), (65, 128), (64, 64), (33, 64), (32, 32), (1, 8)):
        frame = only(path, fast=SMALLEST, min_rows=minimum, min_columns=minimum)
        assert frame.rows == side, minimum
        if side >= 32:
            assert np.abs(frame.pixels - source_of(frame, exact.astype(float)))[1:-1, 1:-1].max() <= 41
        both = only(path, fast=SMALLEST | REDUCED, min_rows=minimum, min_columns=minimum)
        assert np.array_equal(both.pixels, frame.pixels), "of two names the closer counts"
    assert only(path, fast=SMALLEST, min_rows=1, min_columns=128).pixels.shape == (128, 128)
    assert only(path, fast=SMALLEST).pixels.shape == (256, 256), "without a minimum nothing is reduced"


def test_smallest_of_a_jpeg_is_a_scaled_transform(build: Build) -> None:
    exact = smooth(200, 300, 30, 220).astype(np.uint8)
    path = build(exact, syntax=JPEGBaseline8Bit, frames=[jpeg(exact)])
    for minimum, shape in ((101, (200, 300)), (100, (100, 150)), (50, (50, 75)), (25, (25, 38)), (1, (25, 38))):
        frame = only(path, fast=SMALLEST, min_rows=minimum, min_columns=minimum)
        assert frame.pixels.shape == shape, minimum
        assert np.abs(frame.pixels - source_of(frame, exact.astype(float)))[1:-1, 1:-1].max() <= 4


def test_indices_of_a_palette_are_never_averaged(j2k: Callable[[np.ndarray, int], Path]) -> None:
    """Between two of them there may be any colour."""
    path = j2k(np.random.default_rng(1).integers(0, 255, (256, 256)).astype(np.uint8), 8)
    dataset = pydicom.dcmread(path)
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    for colour in range(3):
        dataset.add_new(0x00281101 + colour, "US", [256, 0, 8])
        dataset.add_new(0x00281201 + colour, "OW", bytes(range(256)))
    dataset.save_as(path)
    exact = only(path)
    assert np.array_equal(only(path, fast=REDUCED, min_rows=16, min_columns=16).pixels, exact.pixels)


def test_few_bits_are_never_averaged(j2k: Callable[[np.ndarray, int], Path]) -> None:
    path = j2k(np.random.default_rng(1).integers(0, 3, (256, 256)).astype(np.uint8), 2)
    assert only(path, fast=REDUCED, min_rows=16, min_columns=16).pixels.shape == (256, 256)


def test_reduced_colour_jpeg_2000(build: Build) -> None:
    plane = smooth(200, 300, 20, 230)
    rgb = np.stack([plane, 255 - plane, plane / 2], axis=-1).astype(np.uint8)
    path = build(rgb, "RGB")
    dataset = pydicom.dcmread(path)
    dataset.compress(JPEG2000Lossless)
    dataset.save_as(path)
    frame = only(path, fast=REDUCED, min_rows=25, min_columns=25)
    assert frame.pixels.shape == (50, 75, 3)
    for channel in range(3):
        one = source_of(frame, rgb[..., channel].astype(float))
        assert np.abs(frame.pixels[1:-1, 1:-1, channel] - one[1:-1, 1:-1]).max() <= 4


def test_signs_that_disagree_are_decoded_exactly(pydicom_files: list[Path]) -> None:
    """Two's complement coded as unsigned wraps at zero; its low-pass band means nothing."""
    (path,) = (path for path in pydicom_files if path.name == "J2K_pixelrep_mismatch.dcm")
    assert only(path, fast=REDUCED, min_rows=8, min_columns=8).pixels.shape == (512, 512)


def test_luma_is_the_y_plane(build: Build) -> None:
    plane = smooth(120, 160, 0, 255)
    rgb = np.stack([plane, 255 - plane, plane / 3], axis=-1).astype(np.uint8)
    path = build(rgb, "YBR_FULL_422", JPEGBaseline8Bit, frames=[jpeg(rgb, subsampling="4:2:2")])
    frame = only(path, fast=LUMA)
    assert (frame.photometric_interpretation, frame.bits_stored) == ("MONOCHROME2", 8)
    assert np.array_equal(frame.pixels, next(read_stored(path))[..., 0])
    assert frame.geometry.affine == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    assert only(path).photometric_interpretation == "RGB", "only by name"


def test_luma_leaves_components_alone_that_are_not_ycbcr(build: Build) -> None:
    rgb = np.stack([smooth(64, 64, 0, 255)] * 3, axis=-1).astype(np.uint8)
    path = build(rgb, "RGB", JPEGBaseline8Bit, frames=[jpeg(rgb, keep_rgb=True, subsampling=0)])
    frame = only(path, fast=LUMA)
    assert frame.photometric_interpretation == "RGB"
    assert np.abs(frame.pixels.astype(int) - rgb).max() <= 4


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "YBR_FULL_422"])
@pytest.mark.parametrize("fast", [REDUCED, BOTH])
def test_scaled_jpeg(build: Build, photometric: str, fast: frozenset[str]) -> None:
    plane = smooth(243, 325, 10, 240)
    grey = photometric == "MONOCHROME1"
    pixels = (plane if grey else np.stack([plane] * 3, axis=-1)).astype(np.uint8)
    path = build(pixels, photometric, JPEGBaseline8Bit, frames=[jpeg(pixels)])
    frame = only(path, fast=fast, min_rows=25, min_columns=25)
    assert frame.pixels.shape[:2] == (61, 82)
    expected = "MONOCHROME1" if grey else "MONOCHROME2" if "luma" in fast else "RGB"
    assert frame.photometric_interpretation == expected
    assert frame.geometry.affine == (4.0, 0.0, 0.0, 0.0, 4.0, 0.0)
    shown = frame.pixels if frame.pixels.ndim == 2 else frame.pixels[..., 1]
    assert np.abs(shown - source_of(frame, plane))[1:-1, 1:-1].max() <= 4


def test_what_has_no_shortcut_is_exact(build: Build) -> None:
    pixels = smooth(64, 64, 0, 255).astype(np.uint8)
    frame = only(build(pixels), fast=BOTH, min_rows=8, min_columns=8)
    assert np.array_equal(frame.pixels, pixels)


def test_an_unknown_shortcut_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        read_frames(tmp_path / "absent.dcm", DecodeOptions(fast=frozenset({"fast"})))
    assert refused.value.code == "config.unknown-fast-path"
    assert "luma" in (refused.value.remedy or "")


def test_damage_is_refused_on_the_shortcut_too(build: Build, j2k: Callable[[np.ndarray, int], Path]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (128, 128), dtype=np.uint8)
    whole = next(generate_frames(pydicom.dcmread(j2k(pixels, 8)).PixelData, number_of_frames=1))
    colour = np.stack([pixels] * 3, axis=-1)
    for path in (
        build(pixels, syntax=JPEG2000Lossless, frames=[whole[: len(whole) // 5]]),
        build(colour, "YBR_FULL_422", JPEGBaseline8Bit, frames=[jpeg(colour)[:2000]]),
    ):
        with pytest.raises(PixelsRejected) as refused:
            only(path, fast=BOTH, min_rows=16, min_columns=16)
        assert refused.value.code == "pixels.codec"


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "YBR_FULL_422", "RGB"])
@pytest.mark.parametrize("halvings", [1, 2, 3])
@pytest.mark.parametrize(("rows", "columns"), [(91, 117), (65, 57), (17, 300)])
def test_a_scaled_jpeg_is_what_pillow_gives_for_the_file(
    build: Build, photometric: str, halvings: int, progressive: bool, rows: int, columns: int
) -> None:
    """Odd extents, thin planes, noise and every kind of colour: to the last bit, whoever has decoded it."""
    pixels = np.random.default_rng(4).integers(0, 255, (rows, columns, 3), dtype=np.uint8)
    grey, rgb = photometric == "MONOCHROME2", photometric == "RGB"
    data = jpeg(pixels[..., 0] if grey else pixels, progressive=progressive, keep_rgb=rgb, subsampling=0 if rgb else 2)
    path = build(pixels[..., 0] if grey else pixels, photometric, JPEGBaseline8Bit, frames=[data])
    step = 1 << halvings
    image = Image.open(BytesIO(data))
    image.draft("L" if photometric == "YBR_FULL_422" else None, (columns // step, rows // step))
    frame = only(path, fast=SMALLEST | LUMA, min_rows=rows // step, min_columns=columns // step)
    assert frame.pixels.shape[:2] == (-(-rows // step), -(-columns // step))
    assert np.array_equal(frame.pixels, np.asarray(image))


@pytest.mark.parametrize("marker", [b"\xff\x01", b"\xff\xd0", b"\xff\x00"])
def test_a_frame_header_that_only_libjpeg_would_come_to_is_none(build: Build, marker: bytes) -> None:
    """Markers without a length, read as if they had one, hide an image that is wider than its buffer would be."""
    wide = jpeg(np.zeros((1024, 2048), np.uint8))
    small = jpeg(np.zeros((64, 64), np.uint8))
    frame_header = wide.index(b"\xff\xc0")
    hidden = wide[frame_header:]
    hidden += bytes(0xFFC0 - len(hidden))
    data = wide[:frame_header] + marker + hidden + small[2:]
    path = build(np.zeros((64, 64), np.uint8), syntax=JPEGBaseline8Bit, frames=[data])
    layout = read_header(path).pixels
    assert layout is not None
    stream, plain = read_codestream(data, layout), read_codestream(small, layout)
    assert stream is not None
    assert plain is not None
    for fast in (REDUCED, SMALLEST, BOTH):
        with pytest.raises(PixelsRejected):
            only(path, fast=fast, min_rows=8, min_columns=8)


def test_a_jpeg_of_another_size_than_its_header_says_is_refused(build: Build) -> None:
    """Larger or smaller: what is decoded has no room that the header did not promise."""
    for side in (96, 40):
        data = jpeg(np.zeros((side, side), np.uint8))
        path = build(np.zeros((64, 64), np.uint8), syntax=JPEGBaseline8Bit, frames=[data])
        with pytest.raises(PixelsRejected):
            only(path, fast=SMALLEST, min_rows=8, min_columns=8)


def test_what_libjpeg_only_warns_of_is_decoded_as_before(build: Build) -> None:
    """Bytes between scan and end marker, which some writers leave: a warning of libjpeg, and no damage."""
    pixels = smooth(128, 128, 0, 255).astype(np.uint8)
    data = jpeg(pixels)
    stuffed = data[:-2] + bytes(4) + data[-2:]
    plain, odd = (
        only(build(pixels, syntax=JPEGBaseline8Bit, frames=[frame]), fast=SMALLEST, min_rows=16, min_columns=16)
        for frame in (data, stuffed)
    )
    assert np.array_equal(plain.pixels, odd.pixels)
