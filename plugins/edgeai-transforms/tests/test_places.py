"""Crop, resize and letterbox: pixels are where the geometry says, and values are what the method says."""

from __future__ import annotations

import numpy as np
import pytest

from edgeai.api import Geometry, TransformFailed, UltrasoundRegion


def _centre(pixels):  # type: ignore[no-untyped-def]
    weight = pixels.astype(np.float64)
    weight[weight < weight.max() / 4] = 0
    rows, columns = np.indices(weight.shape)
    return np.array([((columns + 0.5) * weight).sum(), ((rows + 0.5) * weight).sum()]) / weight.sum()


REGIONS = (
    UltrasoundRegion(min_x0=0, min_y0=0, max_x1=999, max_y1=799, spatial_format=5, data_type=2),
    UltrasoundRegion(min_x0=101, min_y0=53, max_x1=300, max_y1=250, spatial_format=1, data_type=1),
    UltrasoundRegion(min_x0=137, min_y0=41, max_x1=846, max_y1=760, spatial_format=1, data_type=1),
)


@pytest.mark.parametrize(
    ("method", "two_pass"), [("area", False), ("area", True), ("linear", False), ("cubic", False), ("lanczos", False)]
)
@pytest.mark.parametrize(("x", "y"), [(150, 60), (500, 400), (830, 741), (333, 719)])
def test_a_dot_is_found_where_the_geometry_says(step, frame_of, x, y, method, two_pass):  # type: ignore[no-untyped-def]
    pixels = np.zeros((801, 1003), np.uint16)
    pixels[y - 3 : y + 4, x - 3 : x + 4] = 4000
    frame = frame_of(pixels, bits_stored=12, geometry=Geometry(source_rows=801, source_columns=1003, regions=REGIONS))
    for each in (
        step("crop_ultrasound"),
        step("letterbox", rows=222, columns=250, method=method, two_pass=two_pass),
        step("resize", rows=97, columns=111, method=method, two_pass=two_pass),
    ):
        frame = each.apply(frame)
        told = frame.geometry.from_source([[x + 0.5, y + 0.5]])[0]
        assert np.abs(_centre(frame.pixels) - told).max() < 0.5, f"{each}: {_centre(frame.pixels)} is not {told}"


def test_the_largest_tissue_region_is_cut_out(step, frame_of):  # type: ignore[no-untyped-def]
    pixels = np.arange(800 * 1000, dtype=np.float32).reshape(800, 1000)
    frame = frame_of(pixels, geometry=Geometry(source_rows=800, source_columns=1000, regions=REGIONS))
    after = step("crop_ultrasound").apply(frame)
    np.testing.assert_array_equal(after.pixels, pixels[41:761, 137:847])
    np.testing.assert_array_equal(after.geometry.to_source([[0, 0]]), [[137, 41]])


def test_a_region_beyond_the_frame_is_cut_to_it(step, frame_of):  # type: ignore[no-untyped-def]
    over = UltrasoundRegion(min_x0=50, min_y0=60, max_x1=500, max_y1=500, spatial_format=1, data_type=1)
    away = UltrasoundRegion(min_x0=200, min_y0=0, max_x1=4000, max_y1=4000, spatial_format=1, data_type=1)
    geometry = Geometry(source_rows=80, source_columns=100, regions=(away, over))
    after = step("crop_ultrasound").apply(frame_of(np.zeros((80, 100), np.uint8), geometry=geometry))
    assert after.pixels.shape == (20, 50)


def test_the_region_is_found_after_a_resize(step, frame_of):  # type: ignore[no-untyped-def]
    frame = frame_of(
        np.zeros((800, 1000), np.uint8), geometry=Geometry(source_rows=800, source_columns=1000, regions=REGIONS)
    )
    after = step("crop_ultrasound").apply(step("resize", rows=400, columns=500).apply(frame))
    assert after.pixels.shape == (361, 356)  # whole pixels that hold 20.5 to 380.5, 68.5 to 423.5
    np.testing.assert_allclose(after.geometry.to_source([[0, 0]]), [[136, 40]])


def test_without_a_region_the_manifest_decides(step, frame_of):  # type: ignore[no-untyped-def]
    pixels = np.zeros((200, 300), np.uint8)
    pixels[50:150, 80:220] = 90
    pixels[5:12, 5:60:3] = 255  # text
    frame = frame_of(pixels)
    assert step("crop_ultrasound").apply(frame) is frame
    with pytest.raises(TransformFailed, match="no 2D tissue region"):
        step("crop_ultrasound", on_missing="fail").apply(frame)
    cropped = step("crop_ultrasound", on_missing="content").apply(frame)
    np.testing.assert_array_equal(cropped.pixels, pixels[50:150, 80:220])
    with pytest.raises(TransformFailed, match="no content"):
        step("crop_ultrasound", on_missing="content").apply(frame_of(np.zeros((200, 300), np.uint8)))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64", "int32"])
def test_area_is_the_mean_of_the_source_area(step, frame_of, dtype):  # type: ignore[no-untyped-def]
    pixels = np.random.default_rng(3).integers(0, 120, (60, 80)).astype(dtype)
    after = step("resize", rows=20, columns=20).apply(frame_of(pixels)).pixels
    means = pixels.reshape(20, 3, 20, 4).astype(np.float64).mean(axis=(1, 3))
    np.testing.assert_allclose(after, means, atol=0.51 if pixels.dtype.kind != "f" else 1e-4)


def test_one_axis_may_grow_while_the_other_shrinks(step, frame_of):  # type: ignore[no-untyped-def]
    stripes = np.zeros((100, 20), np.float32)
    stripes[::2] = 1
    after = step("resize", rows=10, columns=40).apply(frame_of(stripes)).pixels
    np.testing.assert_allclose(after, 0.5, atol=1e-6)  # aliased, it would be all 0 or 1


@pytest.mark.parametrize("method", ["linear", "cubic", "lanczos"])
def test_shrinking_does_not_alias(step, frame_of, method):  # type: ignore[no-untyped-def]
    chess = np.indices((240, 240)).sum(axis=0) % 2
    after = step("resize", rows=50, columns=43, method=method).apply(frame_of(chess.astype(np.float32))).pixels
    np.testing.assert_allclose(after, 0.5, atol=0.02)


@pytest.mark.parametrize("shape", [(3000, 2500), (1501, 1999), (450, 450), (90, 4000)])
def test_two_pass_is_close_to_the_exact_pass(step, frame_of, shape):  # type: ignore[no-untyped-def]
    noise = np.random.default_rng(4).integers(0, 4096, shape).astype(np.uint16)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    smooth = (2000 + 1500 * np.sin(9 * x / shape[1]) * np.cos(7 * y / shape[0])).astype(np.uint16)
    for pixels, bound in ((noise, 0.4), (smooth, 0.01)):  # of the exact plane's own deviation
        frame = frame_of(pixels, bits_stored=12)
        exact = step("resize", rows=112, columns=112).apply(frame)
        fast = step("resize", rows=112, columns=112, two_pass=True).apply(frame)
        assert fast.pixels.dtype == exact.pixels.dtype
        assert np.abs(fast.pixels.astype(float) - exact.pixels).mean() <= bound * exact.pixels.std()
        corners = [[0, 0], [112, 112]]
        assert np.abs(fast.geometry.to_source(corners) - exact.geometry.to_source(corners)).max() <= 8


@pytest.mark.parametrize(
    ("options", "within"),
    # The second pass of two takes a halved pixel that it splits to be even: an eighth of its extent, here 8, at most.
    [({}, 0.01), ({"two_pass": True}, 1.0), ({"method": "linear"}, 0.05)],
    ids=str,
)
@pytest.mark.parametrize("shape", [(1007, 1003), (1000, 1024)])
def test_a_ramp_tells_where_each_pixel_came_from(step, frame_of, options, within, shape):  # type: ignore[no-untyped-def]
    y, x = (axis.astype(np.float32) + 0.5 for axis in np.indices(shape))
    inner = np.s_[4:-4, 4:-4]  # a blur at the edge has nothing beyond it to average with
    for axis, plane in enumerate((x, y)):
        after = step("resize", rows=61, columns=57, **options).apply(frame_of(plane))
        rows, columns = np.indices((61, 57)) + 0.5
        told = after.geometry.to_source(np.stack((columns, rows), axis=-1).reshape(-1, 2))[:, axis].reshape(61, 57)
        np.testing.assert_allclose(after.pixels[inner], told[inner], atol=within)


def test_two_pass_is_the_exact_pass_below_four_to_one(step, frame_of):  # type: ignore[no-untyped-def]
    frame = frame_of(np.random.default_rng(4).integers(0, 255, (447, 440)).astype(np.uint8))
    fast, exact = (step("resize", rows=112, columns=112, two_pass=on).apply(frame) for on in (True, False))
    np.testing.assert_array_equal(fast.pixels, exact.pixels)
    assert fast.geometry == exact.geometry


@pytest.mark.parametrize(("margin", "mean", "greatest"), [(2, 0.0, 0.0), (1, 4.0, 25.0)])
def test_a_smaller_margin_halves_once_more(step, frame_of, margin, mean, greatest):  # type: ignore[no-untyped-def]
    y, x = np.indices((401, 330))
    frame = frame_of((128 + 100 * np.sin(x / 9) * np.cos(y / 7)).astype(np.uint8))
    exact = step("resize", rows=112, columns=112).apply(frame)
    fast = step("resize", rows=112, columns=112, two_pass=True, margin=margin).apply(frame)
    off = np.abs(fast.pixels.astype(float) - exact.pixels)
    assert off.mean() <= mean
    assert off.max() <= greatest
    assert (off.max() > 0) == (margin == 1)
    # The odd row and column that no block of 2x2 holds are left out, and the geometry says so.
    corner = fast.geometry.to_source([[112, 112]])[0]
    np.testing.assert_allclose(corner, [330, 401] if margin == 2 else [330, 400])


def test_a_read_only_memory_map_is_read_in_place(step, frame_of, tmp_path):  # type: ignore[no-untyped-def]
    pixels = np.random.default_rng(5).integers(0, 4096, (900, 700)).astype(np.uint16)
    (tmp_path / "frame").write_bytes(pixels.tobytes())
    mapped = np.memmap(tmp_path / "frame", np.uint16, "r", shape=pixels.shape)
    for two_pass in (False, True):
        resize = step("resize", rows=64, columns=64, two_pass=two_pass)
        np.testing.assert_array_equal(resize.apply(frame_of(mapped)).pixels, resize.apply(frame_of(pixels)).pixels)


def test_letterbox_keeps_the_aspect_and_pads_evenly(step, frame_of):  # type: ignore[no-untyped-def]
    after = step("letterbox", rows=100, columns=100, pad=7).apply(frame_of(np.full((200, 100), 50, np.uint8)))
    assert (after.pixels[:, 25:75] == 50).all()
    assert (after.pixels[:, :25] == 7).all()
    assert (after.pixels[:, 75:] == 7).all()
    np.testing.assert_allclose(after.geometry.to_source([[25, 0], [75, 100]]), [[0, 0], [100, 200]])


@pytest.mark.parametrize("samples", [(), (1,), (2,), (3,), (4,)])
@pytest.mark.parametrize(
    ("dtype", "pad"),
    [("uint8", 255), ("uint16", 65535), ("int16", -32768), ("int8", -129), ("float32", 0.1), ("float64", 0.1)],
)
def test_letterbox_pads_every_sample_to_the_last_bit(step, frame_of, dtype, pad, samples):  # type: ignore[no-untyped-def]
    pixels = np.full((12, 8, *samples), 3, dtype)
    after = step("letterbox", rows=12, columns=19, pad=pad).apply(frame_of(pixels, stored_units=False)).pixels
    around = np.full((12, 19, *samples), pad, "int16" if dtype == "int8" else dtype)
    around[:, 5:13] = 3
    np.testing.assert_array_equal(after, around, strict=True)


@pytest.mark.parametrize("pad", [-1, 300, 0.5])
def test_letterbox_refuses_a_pad_that_the_dtype_lacks(step, frame_of, pad):  # type: ignore[no-untyped-def]
    with pytest.raises(TransformFailed, match="cannot hold pad"):
        step("letterbox", rows=9, columns=9, pad=pad).apply(frame_of(np.zeros((5, 4), np.uint8)))


def test_resize_inside_then_letterbox_is_letterbox(step, frame_of):  # type: ignore[no-untyped-def]
    frame = frame_of(np.random.default_rng(6).integers(0, 255, (301, 217)).astype(np.uint8))
    inside = step("resize", rows=64, columns=64, keep_aspect=True).apply(frame)
    assert inside.pixels.shape == (64, 46)
    both, once = (step("letterbox", rows=64, columns=64).apply(each) for each in (inside, frame))
    np.testing.assert_array_equal(both.pixels, once.pixels)
    np.testing.assert_allclose(both.geometry.affine, once.geometry.affine)


def test_an_empty_or_five_sample_plane_is_refused(step, frame_of):  # type: ignore[no-untyped-def]
    for pixels in (np.zeros((0, 5), np.uint8), np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4), np.complex64)):
        with pytest.raises(TransformFailed) as caught:
            step("resize", rows=2, columns=2).apply(frame_of(pixels))
        assert caught.value.code == "transform.not-applicable"
