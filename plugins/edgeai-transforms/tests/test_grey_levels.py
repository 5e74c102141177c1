"""Modality LUT, windows, inversion and percentiles; pydicom's own implementation is the witness."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from edgeai.api import DicomRejected, Grayscale, Lut, TransformFailed, Window
from edgeai.api.results import Note
from edgeai_transforms.grey_levels import _counts

WINDOW = Window(center=700.5, width=900.0)


def _dataset(bits: int, signed: bool, function: str, slope: float, intercept: float) -> Dataset:
    ds = Dataset()
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.PixelRepresentation = 16, bits, int(signed)
    ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = WINDOW.center, WINDOW.width, function
    ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
    return ds


def _pydicom_window(pixels, bits, function, slope, intercept):  # type: ignore[no-untyped-def]
    signed = pixels.dtype.kind == "i"
    ds = _dataset(bits, signed, function, slope, intercept)
    shown = apply_voi_lut(apply_modality_lut(pixels, ds), ds, prefer_lut=False)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    low, high = low * slope + intercept, high * slope + intercept
    return (shown - low) / (high - low)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("dtype", "slope", "intercept"), [("uint16", 1.0, 0.0), ("int16", 2.0, -1024.0)])
@pytest.mark.parametrize("shape", [(40, 50), (300, 400)], ids=["direct", "through a table"])
def test_voi_window_is_what_the_standard_says(step, frame_of, function, dtype, slope, intercept, shape):  # type: ignore[no-untyped-def]
    random = np.random.default_rng(1)
    low, high = (-2048, 2048) if dtype == "int16" else (0, 4096)
    pixels = random.integers(low, high, shape).astype(dtype)
    grey = Grayscale(rescale_slope=slope, rescale_intercept=intercept, windows=(WINDOW,), voi_lut_function=function)
    after = step("window").apply(frame_of(pixels, bits_stored=12, grayscale=grey))
    assert after.pixels.dtype == np.float32
    assert not after.stored_units
    np.testing.assert_allclose(after.pixels, _pydicom_window(pixels, 12, function, slope, intercept), atol=2e-7)


def test_voi_lut_comes_before_the_window_unless_told_otherwise(step, frame_of):  # type: ignore[no-untyped-def]
    lut = Lut(first=100, data=np.linspace(1023, 0, 50).round().astype(np.uint16), bits=10)
    grey = Grayscale(voi_luts=(lut,), windows=(Window(center=124.5, width=50),))
    frame = frame_of(np.array([[0, 100, 120, 149, 4000]], np.uint16), bits_stored=12, grayscale=grey)
    by_lut = step("window").apply(frame).pixels
    np.testing.assert_allclose(by_lut[0], lut.data[[0, 0, 20, 49, 49]] / 1023, atol=1e-6)
    assert step("window", use="window").apply(frame).pixels[0, 0] == 0


def test_modality_lut_is_applied_before_the_window(step, frame_of):  # type: ignore[no-untyped-def]
    table = Lut(first=10, data=np.array([0, 500, 1000], np.uint16), bits=16)
    grey = Grayscale(modality_lut=table, windows=(Window(center=500, width=1000),), voi_lut_function="LINEAR_EXACT")
    frame = frame_of(np.array([[0, 10, 11, 12, 99]], np.uint16), bits_stored=12, grayscale=grey)
    np.testing.assert_allclose(step("window").apply(frame).pixels, [[0, 0, 0.5, 1, 1]])
    in_units = step("modality").apply(frame)
    np.testing.assert_array_equal(in_units.pixels, [[0, 0, 500, 1000, 1000]])
    np.testing.assert_allclose(step("window").apply(in_units).pixels, [[0, 0, 0.5, 1, 1]])
    assert step("modality").apply(in_units) is in_units


@pytest.mark.parametrize(
    ("output", "dtype", "white", "bits"),
    [
        ("unit", "float32", 1, 12),
        ("byte", "float32", 255, 8),
        ("uint8", "uint8", 255, 8),
        ("uint16", "uint16", 65535, 16),
    ],
)
def test_output_range(step, frame_of, output, dtype, white, bits):  # type: ignore[no-untyped-def]
    frame = frame_of(np.array([[0, 50, 100]], np.uint16), bits_stored=12)
    after = step("window", mode="fixed", center=50, width=100, function="LINEAR_EXACT", output=output).apply(frame)
    assert after.pixels.dtype == dtype
    assert after.bits_stored == bits
    np.testing.assert_allclose(after.pixels[0], np.array([0, 0.5, 1]) * white, atol=0.5 if white > 1 else 0)


def test_a_frame_is_windowed_by_its_header_once(step, frame_of):  # type: ignore[no-untyped-def]
    frame = frame_of(np.arange(100, dtype=np.uint16).reshape(10, 10), grayscale=Grayscale(windows=(WINDOW,)))
    with pytest.raises(TransformFailed, match="no usable window") as caught:
        step("window").apply(step("window").apply(frame))
    assert caught.value.code == "transform.not-applicable"


@pytest.mark.parametrize("window", [Window(center=5, width=0), Window(center=float("nan"), width=4)])
def test_an_absurd_window_is_no_window(step, frame_of, window):  # type: ignore[no-untyped-def]
    frame = frame_of(np.array([[0, 255]], np.uint8), grayscale=Grayscale(windows=(window,)))
    with pytest.raises(TransformFailed, match="no usable window"):
        step("window").apply(frame)
    np.testing.assert_array_equal(step("window", on_missing="full_range").apply(frame).pixels, [[0, 1]])


def test_full_range_follows_bits_stored_and_sign(step, frame_of):  # type: ignore[no-untyped-def]
    signed = frame_of(np.array([[-2048, 2047]], np.int16), bits_stored=12)
    np.testing.assert_array_equal(step("window", on_missing="full_range").apply(signed).pixels, [[0, 1]])
    np.testing.assert_array_equal(step("normalise", mode="full_range").apply(signed).pixels, [[0, 1]])
    unsigned = frame_of(np.array([[0, 4095]], np.uint16), bits_stored=12)
    np.testing.assert_array_equal(step("normalise", mode="full_range", to=[-1, 1]).apply(unsigned).pixels, [[-1, 1]])


def test_percentiles_leave_padding_out(step, frame_of):  # type: ignore[no-untyped-def]
    pixels = np.full((100, 100), -2000, np.int16)
    pixels[20:70, 20:70] = np.arange(2500, dtype=np.int16).reshape(50, 50)
    seen = step("window", mode="percentile", low=0, high=100)
    padded = frame_of(pixels, bits_stored=16, grayscale=Grayscale(pixel_padding=(-2000, -2000)))
    assert seen.apply(padded).pixels[20, 20] == 0
    assert seen.apply(replace(padded, grayscale=Grayscale())).pixels[20, 20] > 0.4


def test_percentiles_of_an_even_picture(step, frame_of):  # type: ignore[no-untyped-def]
    even = step("window", mode="percentile").apply(frame_of(np.full((9, 9), 7, np.uint8)))
    np.testing.assert_array_equal(even.pixels, np.zeros((9, 9)))
    with pytest.raises(TransformFailed, match="not finite"):
        step("window", mode="percentile").apply(frame_of(np.full((9, 9), np.nan, np.float32)))


def test_colour_has_no_window(step, frame_of):  # type: ignore[no-untyped-def]
    with pytest.raises(TransformFailed, match="grey frames"):
        step("window", mode="percentile").apply(frame_of(np.zeros((4, 4, 3), np.uint8)))


GREYS = {
    "window": Grayscale(windows=(WINDOW,), rescale_slope=1.5, rescale_intercept=-20),
    "exact": Grayscale(windows=(WINDOW,), voi_lut_function="LINEAR_EXACT"),
    "sigmoid": Grayscale(windows=(WINDOW,), voi_lut_function="SIGMOID", rescale_slope=0.5),
    "lut": Grayscale(voi_luts=(Lut(first=50, data=(np.arange(900) ** 1.01).astype(np.uint16), bits=10),)),
    "modality lut": Grayscale(
        windows=(WINDOW,), modality_lut=Lut(first=100, data=np.arange(0, 3000, 2).astype(np.uint16), bits=16)
    ),
}


@pytest.mark.parametrize("grey", GREYS.values(), ids=GREYS.keys())
@pytest.mark.parametrize("dtype", ["uint16", "int16"])
def test_a_window_after_invert_is_the_inverse_of_the_window(step, frame_of, grey, dtype):  # type: ignore[no-untyped-def]
    low = -2048 if dtype == "int16" else 0
    pixels = np.arange(low, low + 4096, dtype=dtype).reshape(64, 64)
    frame = frame_of(pixels, bits_stored=12, photometric_interpretation="MONOCHROME1", grayscale=grey)
    inverted = step("invert").apply(frame)
    assert inverted.photometric_interpretation == "MONOCHROME2"
    assert (inverted.pixels.min(), inverted.pixels.max()) == (pixels.min(), pixels.max())
    np.testing.assert_allclose(step("window").apply(inverted).pixels, 1 - step("window").apply(frame).pixels, atol=1e-6)


def test_invert_needs_a_white_level_for_floats(step, frame_of):  # type: ignore[no-untyped-def]
    frame = frame_of(np.array([[0, 0.25, 1]], np.float32), photometric_interpretation="MONOCHROME1", stored_units=False)
    with pytest.raises(TransformFailed, match="white level"):
        step("invert").apply(frame)
    np.testing.assert_array_equal(step("invert", top=1).apply(frame).pixels, [[1, 0.75, 0]])


def test_invert_cuts_what_lies_beyond_bits_stored(step, frame_of):  # type: ignore[no-untyped-def]
    frame = frame_of(np.array([[0, 5000]], np.uint16), bits_stored=12, photometric_interpretation="MONOCHROME1")
    np.testing.assert_array_equal(step("invert").apply(frame).pixels, [[4095, 0]])


def test_invert_leaves_other_frames_as_they_are(step, frame_of):  # type: ignore[no-untyped-def]
    frame = frame_of(np.zeros((4, 4), np.uint8))
    assert step("invert").apply(frame) is frame


def test_luma_is_that_of_bt601(step, frame_of):  # type: ignore[no-untyped-def]
    pixels = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]]], np.uint8)
    grey = step("grey").apply(frame_of(pixels))
    assert grey.photometric_interpretation == "MONOCHROME2"
    np.testing.assert_allclose(grey.pixels[0], pixels[0] @ [0.299, 0.587, 0.114], atol=0.51)


@pytest.mark.parametrize("photometric", ["YBR_FULL", "MONOCHROME1"])
def test_colour_steps_refuse_what_they_would_get_wrong(step, frame_of, photometric):  # type: ignore[no-untyped-def]
    samples = 3 if photometric == "YBR_FULL" else 1
    frame = frame_of(np.zeros((4, 4, 3)[: 2 + (samples == 3)], np.uint8), photometric_interpretation=photometric)
    with pytest.raises(TransformFailed) as caught:
        step("grey" if samples == 3 else "rgb").apply(frame)
    assert caught.value.code == "transform.not-applicable"


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
@pytest.mark.parametrize(("low", "high"), [(0.0, 100.0), (1.0, 99.0), (2.5, 50.1), (33.3, 66.7)])
def test_counted_percentiles_are_numpys_to_the_last_bit(step, frame_of, dtype, low, high):  # type: ignore[no-untyped-def]
    random = np.random.default_rng(7)
    for shape in ((50, 90), (101, 203)):
        least = int(random.integers(np.iinfo(dtype).min, np.iinfo(dtype).max - 60))
        pixels = random.integers(least, least + 60, shape).astype(dtype)
        after = step("window", mode="percentile", low=low, high=high).apply(frame_of(pixels)).pixels
        ends = np.percentile(pixels, (low, high))
        expected = np.clip((pixels.astype(np.float64) - ends[0]) / (ends[1] - ends[0]), 0, 1).astype(np.float32)
        np.testing.assert_array_equal(after, expected)


@pytest.mark.parametrize("dark", [0.3, 0.49, 0.51, 0.8, 0.999, 1.0])
def test_a_black_surround_is_counted_too(dark: float) -> None:
    """A sector of ultrasound has more black around it than picture; what is black is not counted pixel by pixel."""
    random = np.random.default_rng(8)
    pixels = random.integers(1, 256, (120, 160)).astype(np.uint8)
    pixels[random.random(pixels.shape) < dark] = 0
    for plane in (pixels, pixels[:, 3:90], pixels[pixels < 200]):
        assert np.array_equal(_counts(plane, 0, 255), np.bincount(plane.ravel(), minlength=256))


@pytest.mark.parametrize("ends", [(0, 65535), (0, 4095), (65000, 65535), (40000, 40001), (7, 7)])
def test_words_are_counted_exactly(ends: tuple[int, int]) -> None:
    random = np.random.default_rng(9)
    pixels = random.integers(ends[0], ends[1], (120, 160), endpoint=True).astype(np.uint16)
    pixels[3, 4], pixels[5, 6] = ends
    for plane in (pixels, pixels[:, 3:90], pixels[pixels < 50000], pixels[pixels >= 50000]):
        if plane.size:
            least, most = int(plane.min()), int(plane.max())
            assert np.array_equal(_counts(plane, least, most), np.bincount(plane.ravel())[least:])


# --- what the header states and cannot mean -----------------------------------------------------------

STEPS = {
    "voi": ("window", {}),
    "voi, full range where missing": ("window", {"on_missing": "full_range"}),
    "voi, percentiles where missing": ("window", {"on_missing": "percentile", "use": "window"}),
    "percentile": ("window", {"mode": "percentile"}),
    "fixed": ("window", {"mode": "fixed", "center": 50.0, "width": 100.0}),
    "modality": ("modality", {}),
    "full range": ("normalise", {"mode": "full_range", "to": [0.0, 1.0]}),
    "scale": ("normalise", {"mode": "scale", "scale": 0.5}),
}
_VOI = {name for name in STEPS if name.startswith("voi")}
_UNITS = {*_VOI, "percentile", "fixed", "modality"}
NEEDS = {
    "windows": _VOI,
    "voi_luts": _VOI,
    "pixel_padding": {"percentile", "voi, percentiles where missing"},
    "rescale_slope": _UNITS,
    "modality_lut": _UNITS,
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("field", NEEDS)
def test_a_step_fails_on_what_it_needs_and_on_nothing_else(step, frame_of, field, name):  # type: ignore[no-untyped-def]
    note = Note(code="dicom.ignored-value", text="TheKeyword (0028,0000) is not a number; it was not used")
    frame = frame_of(np.arange(120, dtype=np.uint16).reshape(10, 12), grayscale=Grayscale(unusable={field: note}))
    which, options = STEPS[name]
    if name in NEEDS[field]:
        with pytest.raises(DicomRejected, match=r"TheKeyword \(0028,0000\) is not a number") as refused:
            step(which, **options).apply(frame)
        assert refused.value.code == "dicom.bad-value"
    elif name == "voi":
        with pytest.raises(TransformFailed):  # nothing is missing but a window, which is another thing
            step(which, **options).apply(frame)
    else:
        assert step(which, **options).apply(frame).pixels.shape == (10, 12)


def test_a_lut_does_for_a_window_that_cannot_be_used_and_the_other_way_round(step, frame_of):  # type: ignore[no-untyped-def]
    note = Note(code="dicom.ignored-value", text="TheKeyword (0028,0000) is not a number; it was not used")
    lut = Lut(first=0, data=np.arange(100, dtype=np.uint16), bits=7)
    for grey, use in (
        (Grayscale(voi_luts=(lut,), unusable={"windows": note}), "window"),
        (Grayscale(windows=(WINDOW,), unusable={"voi_luts": note}), "lut"),
    ):
        frame = frame_of(np.zeros((4, 4), np.uint16), grayscale=grey)
        assert step("window", use=use).apply(frame).grayscale.unusable == {}


def test_an_inverted_frame_still_says_what_is_unusable(step, frame_of):  # type: ignore[no-untyped-def]
    note = Note(code="dicom.ignored-value", text="RescaleSlope (0028,1053) is 0; it was not used")
    frame = frame_of(np.zeros((4, 4), np.uint16), grayscale=Grayscale(unusable={"rescale_slope": note}))
    inverted = step("invert").apply(replace(frame, photometric_interpretation="MONOCHROME1"))
    with pytest.raises(DicomRejected, match="RescaleSlope"):
        step("modality").apply(inverted)
