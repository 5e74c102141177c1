"""Headers: read as pydicom reads them where they are sound, refused with a code where they are not."""

from __future__ import annotations

import math
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from struct import pack

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from edgeai.api import DicomRejected, EdgeaiError
from edgeai.dicom.attributes import TAGS
from edgeai.dicom.header import read_header
from edgeai.dicom.limits import HeaderLimits
from edgeai.dicom.pixels import read_frames

Build = Callable[..., Path]
GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)
META = pack("<HH2sHL", 2, 0, b"UL", 4, 28) + pack("<HH2sH20s", 2, 0x10, b"UI", 20, b"1.2.840.10008.1.2.1\0")
UIDS = pack("<HH2sH4s", 8, 0x16, b"UI", 4, b"1.2\0") + pack("<HH2sH4s", 8, 0x18, b"UI", 4, b"1.3\0")


def code_of(path: Path, limits: HeaderLimits | None = None) -> str:
    with pytest.raises(DicomRejected) as refused:
        read_header(path, limits=limits or HeaderLimits())
    return refused.value.code


def write(path: Path, body: bytes, meta: bytes = META) -> Path:
    path.write_bytes(b"\0" * 128 + b"DICM" + meta + body)
    return path


# --- what is read ---------------------------------------------------------------------------------


def test_every_value_is_what_pydicom_reads(pydicom_files: list[Path]) -> None:
    compared = 0
    for path in pydicom_files:
        try:
            header = read_header(path)
        except DicomRejected:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = pydicom.dcmread(path)
        ours = header.instance
        for keyword, name in (
            ("SOPClassUID", "sop_class_uid"),
            ("SOPInstanceUID", "sop_instance_uid"),
            ("SeriesInstanceUID", "series_instance_uid"),
            ("StudyInstanceUID", "study_instance_uid"),
            ("Modality", "modality"),
            ("Rows", "rows"),
            ("Columns", "columns"),
            ("SamplesPerPixel", "samples_per_pixel"),
            ("PhotometricInterpretation", "photometric_interpretation"),
            ("BitsStored", "bits_stored"),
            ("BodyPartExamined", "body_part_examined"),
            ("Manufacturer", "manufacturer"),
            ("ManufacturerModelName", "manufacturer_model_name"),
        ):
            if theirs.get(keyword) not in (None, ""):
                assert getattr(ours, name) == theirs[keyword].value, (path.name, keyword)
        if spacing := theirs.get("PixelSpacing"):
            stated = tuple(float(value) for value in spacing)
            possible = all(0.005 <= value <= 10 for value in stated)
            assert header.geometry.pixel_spacing_mm == (stated if possible else None)
        if theirs.get("RescaleSlope") is not None:
            assert header.grayscale.rescale_slope == float(theirs.RescaleSlope)
            assert header.grayscale.rescale_intercept == float(theirs.RescaleIntercept)
        assert (header.pixels is not None) == ("PixelData" in theirs)
        compared += 1
    assert compared > 50


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_every_native_syntax_gives_the_same_header(build: Build, syntax: str) -> None:
    region = Dataset()
    region.RegionSpatialFormat = region.RegionDataType = 1
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 1, 2
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 6, 5
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, -0.03
    header = read_header(
        build(GREY, syntax=syntax, WindowCenter=[40, 50], WindowWidth=[400, 0], SequenceOfUltrasoundRegions=[region])
    )
    assert (header.instance.rows, header.instance.columns, header.instance.modality) == (6, 8, "DX")
    assert [(window.center, window.width) for window in header.grayscale.windows] == [(40, 400)]
    (ours,) = header.geometry.regions
    assert (ours.min_x0, ours.min_y0, ours.max_x1, ours.max_y1) == (1, 2, 6, 5)
    assert math.isclose(ours.delta_x_mm or 0, 0.2)
    assert math.isclose(ours.delta_y_mm or 0, -0.3)
    assert header.geometry.spacing_mm(3, 3) == pytest.approx((0.3, 0.2))


def test_no_patient_attribute_is_read(build: Build) -> None:
    assert not [keyword for keyword, (tag, _) in TAGS.items() if tag >> 16 == 0x0010]
    assert "SECRET" not in repr(read_header(build(GREY)))


@pytest.mark.parametrize("comment", [0, 16 * 1024, 100_000])
def test_file_meta_may_end_wherever_a_read_does(tmp_path: Path, comment: int) -> None:
    extent = pack("<HH2sHH", 0x28, 0x10, b"US", 2, 6) + pack("<HH2sHH", 0x28, 0x11, b"US", 2, 8)
    body = UIDS + pack(f"<HH2sHL{comment}s", 0x18, 0x9999, b"UT", 0, comment, b"") + extent
    for length in (*range(16 * 1024 - 260, 16 * 1024 + 40, 2), 40_000):
        meta = META + pack(f"<HH2sHL{length}s", 2, 0x102, b"OB", 0, length, b"")
        header = read_header(write(tmp_path / "a.dcm", body, meta))
        instance = header.instance
        assert (instance.sop_class_uid, instance.sop_instance_uid) == ("1.2", "1.3")
        assert (instance.rows, instance.columns, header.notes) == (6, 8, ())


def test_manufacturer_in_its_character_set(build: Build) -> None:
    path = build(GREY, SpecificCharacterSet="ISO_IR 192", Manufacturer="Gerät 日本")
    assert read_header(path).instance.manufacturer == "Gerät 日本"


def test_regions_are_held_to_the_image(build: Build) -> None:
    def region(x0: int, y0: int, x1: int, y1: int, units: int) -> Dataset:
        made = Dataset()
        made.RegionLocationMinX0, made.RegionLocationMinY0 = x0, y0
        made.RegionLocationMaxX1, made.RegionLocationMaxY1 = x1, y1
        made.PhysicalUnitsXDirection = made.PhysicalUnitsYDirection = units
        made.PhysicalDeltaX = made.PhysicalDeltaY = 0.1
        return made

    path = build(GREY, SequenceOfUltrasoundRegions=[region(0, 0, 8, 6, 4), region(0, 10, 7, 12, 3)])
    (only,) = read_header(path).geometry.regions
    assert (only.max_x1, only.max_y1) == (7, 5)
    assert only.delta_x_mm is None, "seconds are not millimetres"


def test_pixel_spacing_comes_before_the_detectors(build: Build) -> None:
    both = build(GREY, PixelSpacing=[0.1, 0.2], ImagerPixelSpacing=[0.3, 0.4])
    assert read_header(both).geometry.pixel_spacing_mm == (0.1, 0.2)
    assert read_header(build(GREY, ImagerPixelSpacing=[0.3, 0.4])).geometry.pixel_spacing_mm == (0.3, 0.4)
    assert read_header(build(GREY, PixelSpacing=[0, 0])).geometry.pixel_spacing_mm is None
    assert read_header(both).geometry.spacing_from == "pixel-spacing"
    assert read_header(build(GREY, ImagerPixelSpacing=[0.3, 0.4])).geometry.spacing_from == "imager-pixel-spacing"
    assert read_header(build(GREY)).geometry.pixel_spacing_mm is None


def group(spacing: float, slope: float) -> Dataset:
    made, measures, values = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [spacing, spacing]
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = slope, -1, "US"
    made.PixelMeasuresSequence, made.PixelValueTransformationSequence = [measures], [values]
    return made


def test_shared_functional_groups_calibrate_all_frames(build: Build) -> None:
    header = read_header(build(np.stack([GREY, GREY]), SharedFunctionalGroupsSequence=[group(0.5, 2)]))
    assert header.geometry.pixel_spacing_mm == (0.5, 0.5)
    assert header.of_frame(2)[1].rescale_slope == 2


def test_per_frame_functional_groups_calibrate_their_own(build: Build) -> None:
    path = build(np.stack([GREY, GREY]), PerFrameFunctionalGroupsSequence=[group(0.5, 2), group(0.6, 3)])
    assert [frame.grayscale.rescale_slope for frame in read_frames(path)] == [2, 3]
    assert [frame.geometry.pixel_spacing_mm for frame in read_frames(path)] == [(0.5, 0.5), (0.6, 0.6)]


def test_look_up_tables_and_padding(build: Build) -> None:
    lut = Dataset()
    lut.add_new(0x00283002, "SS", [4, -2, 12])
    lut.add_new(0x00283006, "US", [0, 100, 200, 4095])
    path = build(GREY.astype(np.int16), ModalityLUTSequence=[lut], VOILUTSequence=[lut], VOILUTFunction="SIGMOID")
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x00280120, "SS", -5)
    dataset.add_new(0x00280121, "SS", -9)
    dataset.save_as(path)
    grayscale = read_header(path).grayscale
    assert grayscale.modality_lut is not None
    assert (grayscale.modality_lut.first, grayscale.modality_lut.bits) == (-2, 12)
    assert grayscale.modality_lut.data.tolist() == [0, 100, 200, 4095]
    assert len(grayscale.voi_luts) == 1
    assert grayscale.voi_lut_function == "SIGMOID"
    assert grayscale.pixel_padding == (-9, -5)


def test_a_syntax_named_wrongly_is_read_by_its_bytes(tmp_path: Path, build: Build) -> None:
    implicit = build(GREY, syntax=ImplicitVRLittleEndian).read_bytes()
    at = implicit.index(b"\x02\0\x10\0UI") + 8
    path = tmp_path / "lying.dcm"
    path.write_bytes(implicit[: at - 2] + pack("<H", 20) + b"1.2.840.10008.1.2.1\0" + implicit[at + 18 :])
    assert read_header(path).instance.rows == 6


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "dicom.not-dicom"),
        (b"\x89PNG\r\n\x1a\n" * 40, "dicom.not-dicom"),
        (b"Dear colleague, " * 40, "dicom.not-dicom"),
        (b"\0" * 128 + b"DICM", "dicom.truncated"),
        (b"\0" * 128 + b"DICM" + META, "dicom.truncated"),
        (b"\0" * 128 + b"DIC", "dicom.not-dicom"),
        (b"\x08\0\x05\0CS\x0a\0ISO_IR 100" * 12, "dicom.no-file-meta"),
        (b"\0" * 128 + b"DICM" + UIDS, "dicom.no-transfer-syntax"),
        (b"\0" * 128 + b"DICM" + META.replace(b"1.2.840.10008.1.2.1", b"1.2.840.99999.1.2.1") + UIDS, None),
    ],
)
def test_what_is_not_a_dicom_file(tmp_path: Path, content: bytes, code: str | None) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(content)
    assert code_of(path) == (code or "dicom.unknown-transfer-syntax")


@pytest.mark.parametrize(
    ("keyword", "code"),
    [("SOPInstanceUID", "dicom.no-sop-instance-uid"), ("SOPClassUID", "dicom.no-sop-class-uid")],
)
def test_an_instance_without_identity(build: Build, keyword: str, code: str) -> None:
    assert code_of(build(GREY, **{keyword: ""})) == code


@pytest.mark.parametrize(
    ("element", "code"),
    [
        (pack("<HH2sH4s", 0x28, 0x08, b"IS", 4, b"1A  "), "dicom.bad-value"),
        (pack("<HH2sH4s", 0x28, 0x08, b"IS", 4, b"1.5 "), "dicom.bad-value"),
        (pack("<HH2sH3s", 0x28, 0x10, b"US", 3, b"123"), "dicom.bad-value"),
        (
            pack("<HH2sH2s", 0x28, 0x10, b"US", 2, b"11") + pack("<HH2sH2s", 0x28, 0x10, b"US", 2, b"12"),
            "dicom.structure",
        ),
        (pack("<HH2sHL", 0x28, 0x9999, b"OB", 0, 1 << 30), "dicom.truncated"),
        (pack("<HH2sHL", 0x28, 0x9999, b"UT", 0, 0xFFFFFFFF), "dicom.structure"),
        (pack("<HHL", 0xFFFE, 0xE00D, 0), "dicom.structure"),
        (pack("<HH2sHL", 8, 0x1140, b"SQ", 0, 8) + pack("<HHL", 0xFFFE, 0xE000, 100) + b"\0" * 100, "dicom.structure"),
        (pack("<HH2sHL", 8, 0x1140, b"SQ", 0, 8) + pack("<HHL", 8, 8, 0), "dicom.structure"),
        (pack("<HH2sHL", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF), "dicom.truncated"),
    ],
)
def test_values_that_make_no_sense(tmp_path: Path, element: bytes, code: str) -> None:
    assert code_of(write(tmp_path / "x.dcm", UIDS + element)) == code


def nested(depth: int, *, undefined: bool, implicit: bool) -> bytes:
    body = b""
    for _ in range(depth):
        item_length = 0xFFFFFFFF if undefined else len(body)
        item = (
            pack("<HHL", 0xFFFE, 0xE000, item_length) + body + (pack("<HHL", 0xFFFE, 0xE00D, 0) if undefined else b"")
        )
        length = 0xFFFFFFFF if undefined else len(item)
        head = pack("<HHL", 8, 0x1140, length) if implicit else pack("<HH2sHL", 8, 0x1140, b"SQ", 0, length)
        body = head + item + (pack("<HHL", 0xFFFE, 0xE0DD, 0) if undefined else b"")
    return body


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("depth", [20, 300, 5000])
def test_nesting_is_bounded(tmp_path: Path, depth: int, undefined: bool, implicit: bool) -> None:
    meta = META
    uids = UIDS
    if implicit:
        meta = pack("<HH2sH18s", 2, 0x10, b"UI", 18, b"1.2.840.10008.1.2\0")
        uids = pack("<HHL4s", 8, 0x16, 4, b"1.2\0") + pack("<HHL4s", 8, 0x18, 4, b"1.3\0")
    path = write(tmp_path / "deep.dcm", uids + nested(depth, undefined=undefined, implicit=implicit), meta)
    if depth == 20:
        assert read_header(path).instance.sop_instance_uid == "1.3"
    else:
        assert code_of(path) == "dicom.too-deep"


def test_a_header_cut_anywhere_never_gives_a_frame(build: Build, tmp_path: Path) -> None:
    region = Dataset()
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 6, 5
    whole = build(GREY, SequenceOfUltrasoundRegions=[region]).read_bytes()
    cut = tmp_path / "cut.dcm"
    codes = set()
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        with pytest.raises(EdgeaiError) as refused:
            list(read_frames(cut))
        codes.add(refused.value.code)
    assert {"dicom.not-dicom", "dicom.truncated", "pixels.none", "pixels.short"} <= codes


def test_the_header_is_read_no_further_than_the_limit(tmp_path: Path) -> None:
    private = pack("<HH2sHL", 9, 0x1001, b"OB", 0, 3 << 20) + b"\0" * (3 << 20)
    path = write(tmp_path / "big.dcm", UIDS + private)
    assert read_header(path).instance.sop_instance_uid == "1.3"
    assert code_of(path, HeaderLimits(max_header_bytes=1 << 20)) == "dicom.header-too-large"


def test_elements_are_counted(tmp_path: Path) -> None:
    many = b"".join(pack("<HH2sH", 9, number, b"LO", 0) for number in range(5000))
    path = write(tmp_path / "many.dcm", UIDS + many)
    assert code_of(path, HeaderLimits(max_elements=4000)) == "dicom.too-many-elements"


@pytest.mark.slow
def test_a_deflated_bomb_is_inflated_no_further_than_the_limit(tmp_path: Path) -> None:
    size = 400 << 20
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = [engine.compress(UIDS + pack("<HH2sHL", 9, 0x1001, b"OB", 0, size))]
    body += [engine.compress(b"\0" * (1 << 20)) for _ in range(size >> 20)]
    body.append(engine.flush())
    meta = META.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99", 1).replace(b"UI\x14\0", b"UI\x16\0", 1)
    path = write(tmp_path / "bomb.dcm", b"".join(body), meta)
    tracemalloc.start()
    try:
        assert code_of(path) == "dicom.header-too-large"
        assert tracemalloc.get_traced_memory()[1] < 80 << 20
    finally:
        tracemalloc.stop()


def test_a_damaged_deflate_stream(build: Build, tmp_path: Path) -> None:
    whole = build(GREY, syntax=DeflatedExplicitVRLittleEndian).read_bytes()
    path = tmp_path / "cut.dcm"
    path.write_bytes(whole[:-40])
    with pytest.raises(DicomRejected) as refused:
        read_header(path)
    assert refused.value.code == "dicom.deflate"
