"""Local structure: what a cell's samples say, that a mirror changes nothing, and what has no cells."""

from __future__ import annotations

import numpy as np
import pytest

from edgeai.api import TransformFailed

FLOOR = np.log(0.02)


def test_an_even_plane_has_a_brightness_and_no_change(step, frame_of):  # type: ignore[no-untyped-def]
    after = step("structure").apply(frame_of(np.full((32, 64), 0.25, np.float32)))
    assert after.pixels.shape == (4, 8, 7)
    assert after.pixels.dtype == np.float32
    np.testing.assert_allclose(after.pixels[..., 0], 0.25, rtol=1e-6)
    np.testing.assert_allclose(after.pixels[..., 1:], FLOOR, rtol=1e-5)
    assert not after.stored_units
    np.testing.assert_allclose(after.geometry.to_source([[1.0, 2.0]]), [[8.0, 16.0]])


def test_stripes_change_along_one_axis_at_their_own_scale(step, frame_of):  # type: ignore[no-untyped-def]
    stripes = np.tile(np.array([0.0, 0.4], np.float32), (64, 32))
    inner = step("structure", scales=2).apply(frame_of(stripes)).pixels[2:-2, 2:-2]
    mean, fine_x, fine_y, coarse_x, coarse_y = (inner[..., place] for place in range(5))
    np.testing.assert_allclose(mean, 0.2, rtol=1e-5)
    np.testing.assert_allclose(fine_x, np.log(0.4 + 0.02), rtol=1e-4)  # each pixel differs by 0.4 from both neighbours
    for nothing in (fine_y, coarse_x, coarse_y):
        np.testing.assert_allclose(nothing, FLOOR, rtol=1e-4)


def test_a_slope_is_twice_as_steep_at_half_the_scale(step, frame_of):  # type: ignore[no-untyped-def]
    slope = np.tile(np.linspace(0, 1, 64, dtype=np.float32)[:, np.newaxis], (1, 64))
    inner = step("structure", floor=1e-9).apply(frame_of(slope)).pixels[2:-2, 2:-2]
    steps = np.exp(inner[..., [2, 4, 6]].astype(np.float64)).mean(axis=(0, 1))
    np.testing.assert_allclose(steps, np.array([1, 2, 4]) / 63, rtol=1e-3)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_mirrored_plane_has_the_same_structure_mirrored(step, frame_of, axis):  # type: ignore[no-untyped-def]
    plane = np.random.default_rng(3).random((64, 48)).astype(np.float32)
    one = step("structure").apply(frame_of(plane)).pixels
    other = step("structure").apply(frame_of(np.flip(plane, axis).copy())).pixels
    np.testing.assert_allclose(np.flip(other, axis), one, atol=1e-5)


def test_two_grains_that_no_pixel_tells_apart_have_one_structure(step, frame_of):  # type: ignore[no-untyped-def]
    random = np.random.default_rng(5)
    one, other, coarser = (random.random((128, 128)).astype(np.float32) for _ in range(3))
    coarser = coarser[::4, ::4].repeat(4, axis=0).repeat(4, axis=1)
    first, again, differs = (step("structure").apply(frame_of(plane)).pixels for plane in (one, other, coarser))
    assert np.abs(first - again).mean() < 0.1
    assert np.abs(first - differs)[..., 1].mean() > 0.5


def test_what_has_no_cells_is_refused(step, frame_of):  # type: ignore[no-untyped-def]
    structure = step("structure")
    with pytest.raises(TransformFailed, match="do not fill") as caught:
        structure.apply(frame_of(np.zeros((32, 36), np.float32)))
    assert caught.value.code == "transform.not-applicable"
    with pytest.raises(TransformFailed, match="grey plane"):
        structure.apply(frame_of(np.zeros((32, 32, 3), np.uint8)))
    with pytest.raises(TransformFailed, match="not finite"):
        structure.apply(frame_of(np.full((32, 32), np.nan, np.float32)))
