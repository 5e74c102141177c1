"""Means of few levels stay fractions: what a model sees of them is right whatever comes before and after."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeai.api import Frame, Grayscale, Lut, TransformFailed, Window

THIRD = (np.indices((60, 60)).sum(axis=0) % 3 == 0).astype(np.uint8)
"""A third of ones, in every block of three."""


def shrink(step, frame, **options):  # type: ignore[no-untyped-def]
    return step("resize", rows=20, columns=20, **options).apply(frame)


def bright(step, frame, *more):  # type: ignore[no-untyped-def]
    for name, options in (*more, ("normalise", {"mode": "full_range"})):
        frame = step(name, **options).apply(frame)
    return float(frame.pixels.mean())


@pytest.mark.parametrize("method", ["area", "linear", "cubic", "lanczos"])
@pytest.mark.parametrize(("bits", "dtype"), [(1, "uint8"), (2, "uint8"), (6, "uint8"), (2, "uint16"), (1, "uint16")])
def test_a_third_of_white_is_a_third(step, frame_of, method, bits, dtype):  # type: ignore[no-untyped-def]
    white = 2**bits - 1
    frame = frame_of((THIRD * white).astype(dtype), bits_stored=bits)
    after = shrink(step, frame, method=method)
    assert after.whole_range == (0, white)
    assert bright(step, after) == pytest.approx(1 / 3, abs=6e-3)
    assert bright(step, after, ("invert", {})) == pytest.approx(1 / 3, abs=6e-3), "MONOCHROME2 stays"
    dark = replace(after, photometric_interpretation="MONOCHROME1")
    assert bright(step, dark, ("invert", {})) == pytest.approx(2 / 3, abs=6e-3)
    shown = step("window", on_missing="full_range").apply(after)
    assert float(shown.pixels.mean()) == pytest.approx(1 / 3, abs=6e-3)
    assert shown.whole_range is None


@pytest.mark.parametrize(
    "name", [("resize", {"two_pass": True, "margin": 1}), ("letterbox", {}), ("letterbox", {"two_pass": True})]
)
def test_by_every_way_of_shrinking(step, frame_of, name):  # type: ignore[no-untyped-def]
    frame = frame_of(np.tile(THIRD, (4, 4)), bits_stored=1)
    after = step(name[0], rows=20, columns=20, **name[1]).apply(frame)
    assert float(after.pixels.mean()) == pytest.approx(1 / 3, abs=6e-3)


def test_signed_levels(step, frame_of):  # type: ignore[no-untyped-def]
    frame = frame_of((THIRD.astype(np.int16) * 3 - 2).astype(np.int16), bits_stored=2)
    after = shrink(step, frame)
    assert after.whole_range == (-2, 1)
    assert bright(step, after) == pytest.approx(1 / 3, abs=1e-6)
    dark = replace(after, photometric_interpretation="MONOCHROME1")
    assert bright(step, dark, ("invert", {})) == pytest.approx(2 / 3, abs=1e-6)


def test_few_of_many_levels(step, frame_of):  # type: ignore[no-untyped-def]
    """What is there decides, not only what Bits Stored allow: a window over two of 65,536 values shows those."""
    grey = Grayscale(windows=(Window(center=7000.5, width=1),), voi_lut_function="LINEAR_EXACT")
    frame = frame_of((THIRD + np.uint16(7000)).astype(np.uint16), bits_stored=16, grayscale=grey)
    assert float(step("window").apply(shrink(step, frame)).pixels.mean()) == pytest.approx(1 / 3, abs=5e-4)


def test_few_levels_that_the_header_shows_of_many(step, frame_of):  # type: ignore[no-untyped-def]
    """A letter in white, and a window that spreads the two lowest levels."""
    pixels = np.pad(THIRD, ((0, 60), (0, 0)))
    pixels[100:, :] = 255
    grey = Grayscale(windows=(Window(center=0.5, width=1),), voi_lut_function="LINEAR_EXACT")
    frame = frame_of(pixels, bits_stored=8, grayscale=grey)
    after = step("window").apply(step("resize", rows=40, columns=20).apply(frame))
    assert float(after.pixels[:20].mean()) == pytest.approx(1 / 3, abs=1e-4)
    steep = replace(grey, windows=(Window(center=500, width=1000),), rescale_slope=1000.0)
    after = step("window").apply(step("resize", rows=40, columns=20).apply(replace(frame, grayscale=steep)))
    assert float(after.pixels[:20].mean()) == pytest.approx(1 / 3, abs=1e-4)


@pytest.mark.parametrize("field", ["voi_luts", "modality_lut"])
def test_tables_of_few_entries(step, frame_of, field):  # type: ignore[no-untyped-def]
    """Between two entries of a table lies what lies between them."""
    table = Lut(first=0, data=np.array([4095, 0], np.uint16), bits=12)
    if field == "voi_luts":
        grey = Grayscale(voi_luts=(table,))
    else:
        window = Window(center=2047.5, width=4095)
        grey = Grayscale(modality_lut=table, windows=(window,), voi_lut_function="LINEAR_EXACT")
    frame = frame_of(THIRD, bits_stored=8, grayscale=grey)
    assert float(step("window").apply(shrink(step, frame)).pixels.mean()) == pytest.approx(2 / 3, abs=1e-4)


def test_colour_of_few_levels(step, frame_of):  # type: ignore[no-untyped-def]
    pixels = np.stack((THIRD, np.zeros_like(THIRD), THIRD), axis=-1)
    frame = frame_of(pixels, bits_stored=8)
    grey_first = shrink(step, step("grey").apply(frame))
    shrunk_first = step("grey").apply(shrink(step, frame))
    assert float(grey_first.pixels.mean()) == pytest.approx((0.299 + 0.114) / 3, abs=1e-4)
    np.testing.assert_allclose(grey_first.pixels, shrunk_first.pixels, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clahe", {}),
        ("nl_means", {"strength_grey": 1.0}),
        ("median", {"size_px": 7}),
        ("median", {"size_px": 3}),
        ("gaussian", {}),
        ("bilateral", {"sigma_grey": 1.0}),
        ("clip", {"low": 0, "high": 1}),
        ("crop_ultrasound", {"on_missing": "content", "black": 0.1}),
    ],
)
def test_every_step_takes_them(step, frame_of, name, options):  # type: ignore[no-untyped-def]
    frame = frame_of(THIRD * 3, bits_stored=2)
    after = step(name, **options).apply(step("resize", rows=40, columns=40).apply(frame))
    assert np.isfinite(after.pixels).all()
    if name in ("gaussian", "bilateral"):
        assert bright(step, after) == pytest.approx(1 / 3, abs=5e-3)
    step("normalise", mode="full_range").apply(after)


def test_smoothing_rounds_no_few_levels_either(step, frame_of):  # type: ignore[no-untyped-def]
    after = step("gaussian", sigma_px=4.0).apply(frame_of(THIRD, bits_stored=1))
    assert bright(step, after) == pytest.approx(1 / 3, abs=1e-2)


@pytest.mark.parametrize(("bits", "dtype"), [(8, "uint8"), (12, "uint16"), (16, "int16")])
def test_planes_of_many_levels_keep_their_dtype_and_their_numbers(step, frame_of, bits, dtype):  # type: ignore[no-untyped-def]
    pixels = np.random.default_rng(1).integers(0, 2 ** (bits - 1) - 1, (300, 200)).astype(dtype)
    after = shrink(step, frame_of(pixels, bits_stored=bits))
    assert after.pixels.dtype == dtype
    assert after.whole_range is None
    blocks = pixels.reshape(20, 15, 20, 10).astype(np.float64).mean(axis=(1, 3))
    assert np.abs(after.pixels - blocks).max() <= 0.5 + 1e-4


def test_after_a_window_a_plane_keeps_its_dtype(step, frame_of):  # type: ignore[no-untyped-def]
    """Its white is white already, and the header's levels no longer count."""
    frame = step("window", on_missing="full_range", output="uint8").apply(frame_of(THIRD, bits_stored=1))
    after = shrink(step, frame)
    assert after.pixels.dtype == np.uint8
    assert bright(step, after) == pytest.approx(1 / 3, abs=6e-3)


def test_float_pixel_data_has_no_full_range(step, frame_of):  # type: ignore[no-untyped-def]
    frame: Frame = frame_of(THIRD.astype(np.float32), bits_stored=32)
    assert shrink(step, frame).whole_range is None
    with pytest.raises(TransformFailed, match="full_range"):
        step("normalise", mode="full_range").apply(shrink(step, frame))
