"""Which pixels an ultrasound region calibrates: its own, to the last column, and only with both axes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeai.api import Geometry, UltrasoundRegion

LEFT = UltrasoundRegion(min_x0=10, min_y0=20, max_x1=19, max_y1=29, delta_x_mm=0.5, delta_y_mm=-0.4)
RIGHT = UltrasoundRegion(min_x0=20, min_y0=20, max_x1=29, max_y1=29, delta_x_mm=0.1, delta_y_mm=0.2)


def of(*regions: UltrasoundRegion, **more: object) -> Geometry:
    return Geometry(source_rows=60, source_columns=60, regions=regions, **more)  # type: ignore[arg-type]


def test_a_crop_and_a_resize_change_the_affine_alone() -> None:
    geometry = of(LEFT, pixel_spacing_mm=(0.2, 0.3), spacing_from="imager-pixel-spacing")
    changed = geometry.cropped(3.0, -2.0).scaled(2.0, 4.0)
    assert changed == replace(geometry, affine=(2.0, 0.0, 3.0, 0.0, 4.0, -2.0))


@pytest.mark.parametrize(
    ("x", "y", "inside"),
    [
        (10.0, 20.0, True),
        (9.999, 25.0, False),
        (15.0, 19.999, False),
        (19.5, 29.5, True),
        (19.999, 29.999, True),
        (20.0, 25.0, False),
        (15.0, 30.0, False),
    ],
)
def test_bounds_are_pixels_and_both_ends_belong_to_the_region(x: float, y: float, inside: bool) -> None:
    assert LEFT.contains(x, y) == inside
    assert (of(LEFT).spacing_mm(x, y) is not None) == inside


def test_two_regions_side_by_side_share_no_column() -> None:
    geometry = of(LEFT, RIGHT)
    assert geometry.spacing_mm(19.999, 25.0) == (0.4, 0.5)
    assert geometry.spacing_mm(20.0, 25.0) == (0.2, 0.1)
    assert LEFT.area_px == RIGHT.area_px == 100


@pytest.mark.parametrize("axis", ["delta_x_mm", "delta_y_mm"])
def test_one_axis_alone_calibrates_nothing(axis: str) -> None:
    half = replace(LEFT, **{axis: None})
    assert not half.calibrates
    assert LEFT.calibrates
    assert of(half).spacing_mm(15.0, 25.0) is None
    known = of(half, pixel_spacing_mm=(0.7, 0.8)).spacing(15.0, 25.0)
    assert known == (0.7, 0.8, "pixel-spacing"), "and does not hide what does"


def test_a_region_of_one_pixel_and_one_turned_round_have_the_area_that_they_cover() -> None:
    assert replace(LEFT, max_x1=10, max_y1=20).area_px == 1
    assert replace(LEFT, max_x1=9).area_px == 0
    assert replace(LEFT, max_x1=5, max_y1=5).area_px == 0


def test_a_spectrum_hides_the_spacing_of_the_image_inside_itself_alone() -> None:
    spectrum = replace(LEFT, spatial_format=3, data_type=3, delta_x_mm=None, delta_y_mm=None)
    geometry = of(spectrum, pixel_spacing_mm=(0.7, 0.8))
    assert geometry.spacing_mm(19.5, 25.0) is None
    assert geometry.spacing_mm(20.0, 25.0) == (0.7, 0.8)
    assert geometry.spacing_mm() == (0.7, 0.8)


def test_a_crop_and_a_resize_lead_back() -> None:
    plane = of(LEFT).cropped(10, 20).scaled(2.0, 0.5)
    points = [(0.0, 0.0), (3.0, 8.0)]
    assert plane.to_source(points).tolist() == [[10.0, 20.0], [16.0, 24.0]]
    assert plane.from_source(plane.to_source(points)).tolist() == [list(point) for point in points]
