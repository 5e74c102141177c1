"""Normalise, clip, CLAHE and denoising: what they do to values, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from edgeai.api import TransformFailed


def test_quantise_is_what_the_scale_of_an_input_says(step, frame_of):  # type: ignore[no-untyped-def]
    after = step("quantise", dtype="int8", scale=1 / 255, zero_point=-128).apply(
        frame_of(np.array([[0, 0.5, 1, 2, -1]], np.float32))
    )
    assert after.pixels.dtype == np.int8
    assert after.pixels.tolist() == [[-128, 0, 127, 127, -128]]
    with pytest.raises(TransformFailed, match="finite"):
        step("quantise", dtype="int8", scale=1.0).apply(frame_of(np.full((2, 2), np.nan, np.float32)))


def test_scale_and_mean_std(step, frame_of):  # type: ignore[no-untyped-def]
    frame = frame_of(np.array([[0, 255]], np.uint8))
    np.testing.assert_allclose(
        step("normalise", mode="scale", scale=2 / 255, offset=-1).apply(frame).pixels, [[-1, 1]], atol=1e-6
    )
    colour = frame_of(np.array([[[10, 20, 30]]], np.uint8))
    after = step("normalise", mode="mean_std", mean=[10, 10, 10], std=[1, 2, 4]).apply(colour)
    np.testing.assert_allclose(after.pixels, [[[0, 5, 5]]], atol=1e-6)
    assert after.pixels.dtype == np.float32
    with pytest.raises(TransformFailed, match="3 means for 1 samples"):
        step("normalise", mode="mean_std", mean=[1, 2, 3], std=[1, 2, 3]).apply(frame)


def test_zscore_and_range(step, frame_of):  # type: ignore[no-untyped-def]
    frame = frame_of(np.random.default_rng(0).integers(100, 4000, (50, 60)).astype(np.uint16))
    scored = step("normalise", mode="zscore").apply(frame).pixels
    assert abs(scored.mean()) < 1e-5
    assert abs(scored.std() - 1) < 1e-5
    ranged = step("normalise", mode="range", to=[-1, 3]).apply(frame).pixels
    assert (ranged.min(), ranged.max()) == (-1, 3)


@pytest.mark.parametrize("mode", ["zscore", "range"])
def test_an_even_picture_is_no_division_by_zero(step, frame_of, mode):  # type: ignore[no-untyped-def]
    after = step("normalise", mode=mode).apply(frame_of(np.full((5, 5), 9, np.uint8)))
    np.testing.assert_allclose(after.pixels, 0, atol=1e-6)


@pytest.mark.parametrize("mode", ["zscore", "range"])
def test_not_a_number_is_refused(step, frame_of, mode):  # type: ignore[no-untyped-def]
    with pytest.raises(TransformFailed, match="not finite"):
        step("normalise", mode=mode).apply(frame_of(np.array([[1, np.nan]], np.float32)))


def test_full_range_is_refused_for_floats(step, frame_of):  # type: ignore[no-untyped-def]
    with pytest.raises(TransformFailed, match="whole numbers"):
        step("normalise", mode="full_range").apply(frame_of(np.ones((2, 2), np.float32)))


def test_clip_keeps_the_dtype(step, frame_of):  # type: ignore[no-untyped-def]
    after = step("clip", low=-5, high=10).apply(frame_of(np.array([[0, 9, 200]], np.uint8)))
    np.testing.assert_array_equal(after.pixels, np.array([[0, 9, 10]], np.uint8))
    with pytest.raises(TransformFailed, match="cannot hold"):
        step("clip", low=0.5, high=10).apply(frame_of(np.zeros((2, 2), np.uint8)))
    with pytest.raises(TransformFailed, match="cannot hold"):
        step("clip", low=300, high=400).apply(frame_of(np.zeros((2, 2), np.uint8)))


@pytest.mark.parametrize(("dtype", "stored", "top"), [("uint8", 8, 255), ("uint16", 12, 65535)])
def test_clahe_spreads_a_narrow_histogram(step, frame_of, dtype, stored, top):  # type: ignore[no-untyped-def]
    flat = np.random.default_rng(0).normal(100, 5, (128, 128)).clip(0, 255).astype(dtype)
    after = step("clahe", limit=40).apply(frame_of(flat, bits_stored=stored))
    assert after.pixels.std() / top > 5 * flat.std() / (2**stored - 1)
    assert after.bits_stored == after.pixels.dtype.itemsize * 8


def test_clahe_takes_twelve_bits_as_it_takes_eight(step, frame_of):  # type: ignore[no-untyped-def]
    y, x = np.mgrid[0:256, 0:256] / 256
    picture = 0.3 + 0.1 * np.sin(9 * x) * np.cos(7 * y)
    eight, twelve = (
        step("clahe", limit=3).apply(frame_of((picture * top).round().astype(dtype), bits_stored=bits)).pixels / white
        for top, dtype, bits, white in ((255, np.uint8, 8, 255), (4095, np.uint16, 12, 65535))
    )
    assert np.abs(eight - twelve).mean() < 0.02


def test_clahe_refuses_signed_and_colour(step, frame_of):  # type: ignore[no-untyped-def]
    for pixels in (np.zeros((9, 9), np.int16), np.zeros((9, 9, 3), np.uint8)):
        with pytest.raises(TransformFailed, match="grey plane"):
            step("clahe").apply(frame_of(pixels))


NOISE = {
    "median": {},
    "gaussian": {"sigma_px": 1.5},
    "bilateral": {"sigma_grey": 40, "diameter_px": 9},
    "nl_means": {"strength_grey": 25},
}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
@pytest.mark.parametrize("name", NOISE)
def test_denoising_brings_an_edge_nearer_to_what_it_was(step, frame_of, name, dtype):  # type: ignore[no-untyped-def]
    clean = np.full((64, 64), 60.0)
    clean[:, 32:] = 180
    noisy = (clean + np.random.default_rng(0).normal(0, 12, clean.shape)).astype(dtype)
    after = step(name, **NOISE[name]).apply(frame_of(noisy)).pixels
    assert after.dtype == dtype
    inner = np.s_[8:-8, 8:24]
    assert np.abs(after[inner] - clean[inner]).mean() < 0.6 * np.abs(noisy[inner] - clean[inner]).mean()


def test_signed_values_are_denoised_across_zero(step, frame_of):  # type: ignore[no-untyped-def]
    pixels = np.array([[-3, -2, -1], [0, 9000, 1], [2, 3, 4]], np.int16)
    assert step("median").apply(frame_of(pixels)).pixels[1, 1] == 1
    even = np.full((20, 20), -700, np.int16)
    np.testing.assert_array_equal(step("nl_means", strength_grey=5).apply(frame_of(even)).pixels, even)


def test_what_opencv_cannot_denoise_is_refused(step, frame_of):  # type: ignore[no-untyped-def]
    wide, floats = np.zeros((40, 40), np.uint16), np.zeros((40, 40), np.float64)
    for name, options, pixels in (
        ("median", {"size_px": 7}, wide),
        ("median", {}, floats),
        ("bilateral", {"sigma_grey": 1}, floats),
        ("bilateral", {"sigma_grey": 1}, np.full((9, 9), np.nan, np.float32)),
        ("nl_means", {"strength_grey": 1}, floats),
        ("nl_means", {"strength_grey": 1}, np.zeros((9, 9, 3), np.uint8)),
    ):
        with pytest.raises(TransformFailed) as caught:
            step(name, **options).apply(frame_of(pixels))
        assert caught.value.code == "transform.not-applicable"


def test_opencv_threads_are_left_alone(step, frame_of):  # type: ignore[no-untyped-def]
    import cv2

    before = cv2.getNumThreads()
    step("resize", rows=5, columns=5).apply(frame_of(np.zeros((50, 50), np.uint8)))
    assert cv2.getNumThreads() == before
