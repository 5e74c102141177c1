"""Millimetres: plausible, of the anatomy, and marked with where they come from; else none, and said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from edgeai.api import SPACINGS, Geometry, UltrasoundRegion
from edgeai.dicom.header import Header, read_header

Build = Callable[..., Path]
GREY = np.arange(4800, dtype=np.uint16).reshape(60, 80)


def codes(header: Header) -> list[str]:
    return [note.code for note in header.notes]


def region(
    bounds: tuple[int, int, int, int] = (0, 0, 79, 59),
    kind: tuple[int, int] = (1, 1),
    units: tuple[int, int] = (3, 3),
    deltas_cm: tuple[float, float] = (0.02, 0.03),
) -> Dataset:
    """Bounds x0, y0, x1, y1; Region Spatial Format and Data Type; units along x and y; deltas along x and y."""
    made = Dataset()
    made.RegionSpatialFormat, made.RegionDataType = kind
    made.RegionLocationMinX0, made.RegionLocationMinY0, made.RegionLocationMaxX1, made.RegionLocationMaxY1 = bounds
    made.PhysicalUnitsXDirection, made.PhysicalUnitsYDirection = units
    made.PhysicalDeltaX, made.PhysicalDeltaY = deltas_cm
    return made


# --- Pixel Spacing and its relatives ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "spacing", "source"),
    [
        ({"PixelSpacing": [0.2, 0.3]}, (0.2, 0.3), "pixel-spacing"),
        ({"ImagerPixelSpacing": [0.2, 0.3]}, (0.2, 0.3), "imager-pixel-spacing"),
        ({"NominalScannedPixelSpacing": [0.2, 0.3]}, (0.2, 0.3), "nominal-scanned-pixel-spacing"),
        ({"PixelSpacing": [0.2, 0.3], "ImagerPixelSpacing": [0.22, 0.33]}, (0.2, 0.3), "pixel-spacing"),
        ({"PixelSpacing": [0.2, 0.3], "ImagerPixelSpacing": [0.2, 0.3]}, (0.2, 0.3), "imager-pixel-spacing"),
        ({"PixelSpacing": ["0.143", "0.143"], "ImagerPixelSpacing": ["0.1430", ".143"]}, None, "imager-pixel-spacing"),
        (
            {"PixelSpacing": [0.2, 0.3], "NominalScannedPixelSpacing": [0.2, 0.3]},
            (0.2, 0.3),
            "nominal-scanned-pixel-spacing",
        ),
        (
            {
                "PixelSpacing": [0.2, 0.3],
                "ImagerPixelSpacing": [0.2, 0.3],
                "PixelSpacingCalibrationType": "GEOMETRY",
            },
            (0.2, 0.3),
            "pixel-spacing",
        ),
        (
            {
                "PixelSpacing": [0.2, 0.3],
                "ImagerPixelSpacing": [0.2, 0.3],
                "PixelSpacingCalibrationType": "FIDUCIAL",
            },
            (0.2, 0.3),
            "pixel-spacing",
        ),
        (
            {"PixelSpacing": [0.2, 0.3], "ImagerPixelSpacing": [0.2, 0.3], "PixelSpacingCalibrationType": ""},
            (0.2, 0.3),
            "imager-pixel-spacing",
        ),
    ],
)
def test_where_millimetres_come_from(build: Build, attributes: dict[str, Any], spacing: Any, source: str) -> None:
    """Pixel Spacing that repeats that of the detector was not corrected for magnification (PS3.3 10.7.1.1)."""
    header = read_header(build(GREY, **attributes))
    geometry = header.geometry
    assert geometry.spacing_from == source
    assert geometry.pixel_spacing_mm == (spacing or (0.143, 0.143))
    in_the_patient = source == "pixel-spacing"
    assert geometry.spacing_mm() == (geometry.pixel_spacing_mm if in_the_patient else None)
    known = geometry.spacing(sources=SPACINGS)
    assert known is not None
    assert known == (*(geometry.pixel_spacing_mm or ()), source)
    assert geometry.spacing(sources=[]) is None
    assert codes(header) == []


@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"])
@pytest.mark.parametrize(
    ("pair", "possible"),
    [
        (["0.005", "0.005"], True),
        (["10", "10"], True),
        (["0.0049", "0.0049"], False),
        (["10.1", "10.1"], False),
        (["0.5", "500"], False),
        (["0.0001", "0.5"], False),
        (["1e-30", "1e-30"], False),
        (["1e30", "1"], False),
    ],
)
def test_a_pixel_has_a_plausible_size(build: Build, keyword: str, pair: list[str], possible: bool) -> None:
    header = read_header(build(GREY, **{keyword: pair}))
    assert (header.geometry.pixel_spacing_mm is not None) == possible
    assert codes(header) == ([] if possible else ["dicom.ignored-value"])
    if not possible:
        assert header.notes[0].text.startswith(f"{keyword} (")
        assert "0.005 to 10 mm" in header.notes[0].text


def test_an_absurd_pixel_spacing_hides_the_detectors(build: Build) -> None:
    header = read_header(build(GREY, PixelSpacing=[1000, 1000], ImagerPixelSpacing=[0.2, 0.2]))
    assert header.geometry.pixel_spacing_mm is None


def test_functional_groups_are_held_to_it_too(build: Build) -> None:
    groups = []
    for size in (0.5, 300):
        group, measures = Dataset(), Dataset()
        measures.PixelSpacing = [size, size]
        group.PixelMeasuresSequence = [measures]
        groups.append(group)
    header = read_header(build(np.stack([GREY, GREY]), PerFrameFunctionalGroupsSequence=groups))
    assert [header.of_frame(number)[0].pixel_spacing_mm for number in (1, 2)] == [(0.5, 0.5), None]
    assert codes(header) == ["dicom.ignored-value"]


# --- ultrasound regions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "millimetres", "is_noted"),
    [
        ({}, (0.3, 0.2), False),
        ({"deltas_cm": (-0.02, -0.03)}, (0.3, 0.2), False),
        ({"kind": (1, 2)}, None, True),
        ({"kind": (1, 3)}, None, True),
        ({"kind": (2, 1)}, None, True),
        ({"kind": (3, 3)}, None, True),
        ({"kind": (5, 1)}, None, True),
        ({"kind": (0, 1)}, None, True),
        ({"kind": (1, 0)}, None, True),
        ({"kind": (3, 3), "units": (4, 7)}, None, False),
        ({"kind": (2, 1), "units": (4, 3)}, None, False),
        ({"units": (3, 4)}, None, False),
        ({"units": (0, 0)}, None, False),
        ({"units": (4, 4)}, None, False),
        ({"deltas_cm": (1000, 1000)}, None, True),
        ({"deltas_cm": (0.02, 1.01)}, None, True),
        ({"deltas_cm": (0.0004, 0.02)}, None, True),
        ({"deltas_cm": (0.0005, 1.0)}, (10.0, 0.005), False),
        ({"deltas_cm": (0, 0.02)}, None, False),
    ],
)
def test_a_region_calibrates_as_2d_tissue_in_centimetres(
    build: Build, changes: dict[str, Any], millimetres: Any, is_noted: bool
) -> None:
    header = read_header(build(GREY, SequenceOfUltrasoundRegions=[region(**changes)]))
    expected = None if millimetres is None else pytest.approx(millimetres)
    assert header.geometry.spacing_mm() == expected
    assert header.geometry.spacing_mm(40, 30) == expected
    (only,) = header.geometry.regions
    assert only.calibrates == (millimetres is not None)
    assert codes(header) == (["dicom.ignored-value"] if is_noted else [])
    known = header.geometry.spacing()
    assert (known is not None and known.source == "region") == (millimetres is not None)


def test_a_colour_region_within_a_tissue_region_takes_nothing_away(build: Build) -> None:
    regions = [region((20, 20, 40, 40), (1, 2)), region()]
    header = read_header(build(GREY, SequenceOfUltrasoundRegions=regions))
    assert header.geometry.spacing_mm(30, 30) == pytest.approx((0.3, 0.2))
    assert codes(header) == []


def test_pixel_spacing_does_not_reach_into_a_spectrum(build: Build) -> None:
    """Half of the screen is a plane of the patient, the other half a curve over time."""
    regions = [region((0, 0, 39, 59)), region((40, 0, 79, 29), (3, 3), (4, 7)), region((40, 30, 79, 59), (2, 1))]
    header = read_header(build(GREY, PixelSpacing=[0.3, 0.2], SequenceOfUltrasoundRegions=regions))
    assert header.geometry.spacing_mm(10, 10) == pytest.approx((0.3, 0.2))
    assert header.geometry.spacing_mm(60, 10) is None
    assert header.geometry.spacing_mm(60, 40) is None
    only_curves = read_header(build(GREY, PixelSpacing=[0.3, 0.2], SequenceOfUltrasoundRegions=regions[1:]))
    assert only_curves.geometry.spacing_mm(10, 10) == (0.3, 0.2)
    assert only_curves.geometry.spacing_mm(60, 10) is None
    colour = read_header(build(GREY, PixelSpacing=[0.3, 0.2], SequenceOfUltrasoundRegions=[region(kind=(1, 2))]))
    assert colour.geometry.spacing_mm(10, 10) == (0.3, 0.2)


@pytest.mark.parametrize(
    ("spacing", "agrees"),
    [([0.3, 0.2], True), ([0.3015, 0.199], True), ([0.2, 0.3], False), ([0.31, 0.2], False), ([0.25, 0.25], False)],
)
def test_pixel_spacing_and_regions_that_disagree(build: Build, spacing: list[float], agrees: bool) -> None:
    header = read_header(build(GREY, PixelSpacing=spacing, SequenceOfUltrasoundRegions=[region()]))
    assert header.geometry.spacing_mm(10, 10) == pytest.approx((0.3, 0.2)), "the region counts inside it"
    assert codes(header) == ([] if agrees else ["dicom.doubtful"])
    if not agrees:
        assert "PixelSpacing (0028,0030)" in header.notes[0].text


def test_regions_of_two_scales_disagree_with_one_spacing(build: Build) -> None:
    regions = [region((0, 0, 39, 59)), region((40, 0, 79, 59), deltas_cm=(0.05, 0.05))]
    header = read_header(build(GREY, PixelSpacing=[0.3, 0.2], SequenceOfUltrasoundRegions=regions))
    assert codes(header) == ["dicom.doubtful"]
    assert header.geometry.spacing_mm(60, 10) == pytest.approx((0.5, 0.5))


# --- the geometry itself ----------------------------------------------------------------------------


def test_the_geometry_says_who_calibrates_a_point() -> None:
    tissue = UltrasoundRegion(
        min_x0=0, min_y0=0, max_x1=9, max_y1=9, spatial_format=1, data_type=1, delta_x_mm=0.1, delta_y_mm=-0.2
    )
    geometry = Geometry(source_rows=20, source_columns=20, pixel_spacing_mm=(0.5, 0.6), regions=(tissue,))
    assert geometry.spacing(5, 5) == (0.2, 0.1, "region")
    assert geometry.spacing(15, 5) == (0.5, 0.6, "pixel-spacing")
    assert geometry.spacing(5, 5, sources=["pixel-spacing"]) == (0.5, 0.6, "pixel-spacing")
    assert geometry.spacing(15, 5, sources=["region"]) is None
    assert geometry.spacing() == (0.2, 0.1, "region")
