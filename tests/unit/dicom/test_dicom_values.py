"""Values that make no sense: refused where they locate the pixels or name the instance, else left out and noted."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from struct import pack

import numpy as np
import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian
from pydicom.valuerep import DSfloat

from edgeai.api import DicomRejected, PixelsRejected
from edgeai.dicom.attributes import TAGS
from edgeai.dicom.header import Header, read_header
from edgeai.dicom.pixels import read_frames, read_stored
from edgeai.testing.raw_dicom import RAW_PIXELS, element, item

Raw = Callable[..., Path]
Build = Callable[..., Path]

NEEDED = {
    "TransferSyntaxUID",
    "SOPClassUID",
    "SOPInstanceUID",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
}
"""Refused when they make no sense. Photometric Interpretation is, once its pixels are decoded."""
REGION = [keyword for keyword in TAGS if keyword.startswith(("Region", "Physical"))]
LUT = ["LUTDescriptor", "LUTData"]
OF_NO_USE = {keyword for keyword in TAGS if "Palette" in keyword} | {"PlanarConfiguration"}
OF_NO_USE |= {"ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelSpacingCalibrationType"}
"""Not looked at in a native grey image without Pixel Spacing."""
GARBAGE = {"text": ("LO", b"SECRET"), "bytes": ("OB", b"\xff\xfe\x01"), "numbers": ("US", b"\x07\0\x09\0\x0b\0")}
SOUND = {"CS", "LO", "UI"}


def corners(**other: bytes) -> bytes:
    """An item of Sequence of Ultrasound Regions over the whole image, 0.1 mm a pixel."""
    values = {
        "RegionSpatialFormat": ("US", pack("<H", 1)),
        "RegionDataType": ("US", pack("<H", 1)),
        "RegionLocationMinX0": ("UL", pack("<L", 0)),
        "RegionLocationMinY0": ("UL", pack("<L", 0)),
        "RegionLocationMaxX1": ("UL", pack("<L", 7)),
        "RegionLocationMaxY1": ("UL", pack("<L", 5)),
        "PhysicalUnitsXDirection": ("US", pack("<H", 3)),
        "PhysicalUnitsYDirection": ("US", pack("<H", 3)),
        "PhysicalDeltaX": ("FD", pack("<d", 0.01)),
        "PhysicalDeltaY": ("FD", pack("<d", 0.01)),
    }
    return item(
        b"".join(other.get(keyword, element(TAGS[keyword][0], vr, raw)) for keyword, (vr, raw) in values.items())
    )


def placed(keyword: str, vr: str, value: bytes) -> bytes:
    """The element, in the sequence that it belongs in."""
    made = element(TAGS[keyword][0], vr, value)
    if keyword in REGION:
        return element(0x00186011, "SQ", corners(**{keyword: made}))
    if keyword in LUT:
        sound = {"LUTDescriptor": pack("<HHH", 2, 0, 8), "LUTData": pack("<HH", 0, 255)}
        return element(
            0x00283010,
            "SQ",
            item(b"".join(made if k == keyword else element(TAGS[k][0], "US", v) for k, v in sound.items())),
        )
    if (keyword.startswith("Pixel") and keyword.endswith("Sequence")) or keyword == "FrameVOILUTSequence":
        return element(0x52009229, "SQ", item(made))
    return made


def pixels_of(path: Path, header: Header) -> bytes:
    (values,) = read_stored(path, header=header)
    return values.tobytes()


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("keyword", sorted(set(TAGS) - NEEDED))
def test_whatever_is_not_needed_stops_nothing(raw: Raw, keyword: str, garbage: str) -> None:
    """For every attribute that is read: an image is read whatever stands there, and says so without quoting it."""
    vr, value = GARBAGE[garbage]
    path = raw(placed(keyword, vr, value))
    if keyword == "NumberOfFrames" and garbage == "numbers":
        return  # 7 frames: numbers in binary make sense
    header = read_header(path)
    assert header.instance.sop_instance_uid == "1.2.3"
    if keyword == "PhotometricInterpretation":
        with pytest.raises(PixelsRejected):
            pixels_of(path, header)
        return
    assert pixels_of(path, header) == RAW_PIXELS
    texts = [note.text for note in header.notes]
    assert not [text for text in texts if "SECRET" in text or "xff" in text]
    understood = (garbage == "text" and TAGS[keyword][1] in SOUND - {"UI"}) or keyword == "SpecificCharacterSet"
    understood |= garbage == "numbers" and TAGS[keyword][1] in ("US", "OW") and keyword not in ("LUTData",)
    if keyword not in OF_NO_USE and not understood:
        assert any(f"{keyword} (" in text for text in texts) or keyword in ("RegionSpatialFormat",), texts


@pytest.mark.parametrize("garbage", ["text", "bytes"])
@pytest.mark.parametrize("keyword", sorted(NEEDED - {"TransferSyntaxUID"}))
def test_what_is_needed_is_refused_by_name(raw: Raw, keyword: str, garbage: str) -> None:
    vr, value = GARBAGE[garbage]
    with pytest.raises(DicomRejected, match=keyword) as refused:
        read_header(raw(element(TAGS[keyword][0], vr, value)))
    assert refused.value.code == "dicom.bad-value"
    if keyword.endswith("UID"):
        assert "SECRET" not in str(refused.value)


# --- numbers as text (PS3.5 6.2) --------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["1", "+1", "-1", "0", "1.", ".5", "-.5e-3", "1e5", "1E+05", "00012.50", " 1 ", "12\0"]
)
def test_decimal_strings_are_read_as_pydicom_reads_them(raw: Raw, text: str) -> None:
    header = read_header(raw(element(0x00281053, "DS", text), element(0x00281052, "DS", "3 ")))
    if float(text.strip(" \0")) == 0:
        assert "rescale_slope" in header.grayscale.unusable
        return
    assert header.grayscale.rescale_slope == DSfloat(text.strip(" \0"))
    assert header.notes == ()


@pytest.mark.parametrize(
    "text",
    [
        "1_0",
        "nan",
        "inf",
        "-Infinity",
        "0x10",
        "1,5",
        "1.5.2",
        "1e",
        "e5",
        "--1",
        "1 2",
        "\xb2",
        "\xb9\xb2",
        "1e999",
        "1d5",
        "9" * 401,
        "½",
        "n/a",
        "+",
        ".",
    ],
)
def test_what_is_no_decimal_string_is_not_used(raw: Raw, text: str) -> None:
    header = read_header(raw(element(0x00281053, "DS", text), element(0x00281052, "DS", "3 ")))
    assert header.grayscale.rescale_slope == 1.0
    assert "rescale_slope" in header.grayscale.unusable
    assert header.notes[-1].code == "dicom.ignored-value"
    with pytest.raises(DicomRejected, match="RescaleSlope") as refused:
        header.grayscale.require("rescale_slope", "windows")
    assert refused.value.code == "dicom.bad-value"
    header.grayscale.require("windows", "pixel_padding")


@pytest.mark.parametrize("text", ["1_0", "1.0", "1e1", "0x6", "six", "\xb3", "6.", "", "9" * 30])
def test_what_is_no_integer_string_locates_nothing(raw: Raw, text: str) -> None:
    path = raw(element(0x00280010, "IS", text))
    if not text:
        assert read_header(path).instance.rows == 0
        return
    with pytest.raises(DicomRejected, match="Rows") as refused:
        read_header(path)
    assert refused.value.code == "dicom.bad-value"


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("WindowCenter", "100.00000000000000000"),
        ("Modality", "A" * 17),
        ("Manufacturer", "A" * 65),
        ("ManufacturerModelName", "A" * 5000),
        ("StudyInstanceUID", "1." * 32 + "1"),
        ("SeriesInstanceUID", "1" * 100),
        ("BodyPartExamined", "CHEST OR SOMETHING LIKE IT"),
        ("NumberOfFrames", "0000000000001"),
        ("RescaleSlope", "1.0000000000000000"),
    ],
)
def test_right_characters_but_too_many_are_read_and_noted(raw: Raw, keyword: str, value: str) -> None:
    partner = {"WindowCenter": (0x00281051, "50"), "RescaleSlope": (0x00281052, "0 ")}.get(keyword)
    others = [element(partner[0], "DS", partner[1])] if partner else []
    path = raw(element(TAGS[keyword][0], TAGS[keyword][1], value), *others)
    header = read_header(path)
    assert pixels_of(path, header) == RAW_PIXELS
    assert [note.code for note in header.notes] == ["dicom.too-long"]
    assert f"{keyword} (" in header.notes[0].text
    read = {
        "WindowCenter": lambda: header.grayscale.windows[0].center == 100,
        "StudyInstanceUID": lambda: header.instance.study_instance_uid == value,
        "SeriesInstanceUID": lambda: header.instance.series_instance_uid == value,
        "Modality": lambda: header.instance.modality == value,
        "Manufacturer": lambda: header.instance.manufacturer == value,
        "BodyPartExamined": lambda: header.instance.body_part_examined == value,
        "NumberOfFrames": lambda: header.instance.number_of_frames == 1,
        "RescaleSlope": lambda: header.grayscale.rescale_slope == 1 and not header.grayscale.unusable,
        "ManufacturerModelName": lambda: header.instance.manufacturer_model_name == value,
    }
    assert read[keyword]()


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SOPClassUID"])
@pytest.mark.parametrize("value", ["1.2.LETTERS", "1.2\\1.3", "1" * 65, "../../etc", "1.2.3\n"])
def test_an_identity_that_is_none_is_refused(raw: Raw, keyword: str, value: str) -> None:
    with pytest.raises(DicomRejected, match=keyword) as refused:
        read_header(raw(element(TAGS[keyword][0], "UI", value)))
    assert refused.value.code == "dicom.bad-value"
    assert value not in str(refused.value)


@pytest.mark.parametrize("value", ["1.2.LETTERS", "../../", "1.2\\1.3", "{1}", "1.2 3"])
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_a_study_that_is_none_is_left_out(raw: Raw, keyword: str, value: str) -> None:
    header = read_header(raw(element(TAGS[keyword][0], "UI", value)))
    assert header.instance.study_instance_uid == header.instance.series_instance_uid == ""
    (note,) = header.notes
    assert (note.code, value in note.text) == ("dicom.ignored-value", False)


def test_empty_uids_are_absent(raw: Raw) -> None:
    header = read_header(raw(element(0x0020000D, "UI", ""), element(0x0020000E, "UI", "\0\0")))
    assert (header.instance.study_instance_uid, header.instance.series_instance_uid, header.notes) == ("", "", ())


@pytest.mark.parametrize(
    ("text", "kept", "code"),
    [
        ("us", "us", "dicom.odd-characters"),
        ("U-S", "U-S", "dicom.odd-characters"),
        ("\xff\xfe", "", "dicom.ignored-value"),
        ("U\1", "", "dicom.ignored-value"),
    ],
)
def test_code_strings_of_other_characters(raw: Raw, text: str, kept: str, code: str) -> None:
    header = read_header(raw(element(0x00080060, "CS", text)))
    assert header.instance.modality == kept
    assert [note.code for note in header.notes] == [code]


def test_a_photometric_interpretation_in_small_letters(raw: Raw) -> None:
    path = raw(element(0x00280004, "CS", "Monochrome2 "))
    (frame,) = read_frames(path)
    assert frame.photometric_interpretation == "MONOCHROME2"
    assert [note.code for note in read_header(path).notes] == ["dicom.odd-characters"]


@pytest.mark.parametrize("vr", ["US", "UL", "SS", "SL", "IS", "UN", "OB"])
def test_numbers_are_read_whatever_their_value_representation(raw: Raw, vr: str) -> None:
    value = {"US": pack("<H", 6), "UL": pack("<L", 6), "SS": pack("<h", 6), "SL": pack("<l", 6), "IS": b"6 "}
    path = raw(element(0x00280010, vr, value.get(vr, pack("<H", 6))))
    assert pixels_of(path, read_header(path)) == RAW_PIXELS


def test_numbers_of_several_values_count_by_their_first(raw: Raw) -> None:
    path = raw(element(0x00280010, "US", pack("<HH", 6, 0)))
    header = read_header(path)
    assert pixels_of(path, header) == RAW_PIXELS
    assert [note.code for note in header.notes] == ["dicom.ignored-value"]


# --- calibration ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "spacing", "codes"),
    [
        ([("PixelSpacing", "0.5\\0.25")], (0.5, 0.25), []),
        ([("PixelSpacing", "0,5\\0,5")], None, ["dicom.ignored-value"]),
        ([("PixelSpacing", "0_2.5\\0_25")], None, ["dicom.ignored-value"]),
        ([("PixelSpacing", "0.5 ")], None, ["dicom.ignored-value"]),
        ([("PixelSpacing", "0.5\\")], None, ["dicom.ignored-value"]),
        ([("PixelSpacing", "\\0.5")], None, ["dicom.ignored-value"]),
        ([("PixelSpacing", "0.5\\0.5\\0.5")], None, ["dicom.ignored-value"]),
        ([("PixelSpacing", "-0.5\\0.5")], None, ["dicom.ignored-value"]),
        ([("PixelSpacing", "0\\0 ")], None, ["dicom.ignored-value"]),
        ([("PixelSpacing", "")], None, []),
        ([("PixelSpacing", "0.5000000000000000000\\0.25")], (0.5, 0.25), ["dicom.too-long"]),
        ([("PixelSpacing", "n/a "), ("ImagerPixelSpacing", "0.5\\0.5")], None, ["dicom.ignored-value"]),
        ([("PixelSpacing", "0\\0 "), ("ImagerPixelSpacing", "0.5\\0.5")], (0.5, 0.5), ["dicom.ignored-value"]),
        ([("PixelSpacing", "1\\1 "), ("ImagerPixelSpacing", "n/a ")], (1.0, 1.0), []),
        ([("NominalScannedPixelSpacing", "1 ")], None, ["dicom.ignored-value"]),
    ],
)
def test_millimetres(raw: Raw, elements: list[tuple[str, str]], spacing: object, codes: list[str]) -> None:
    header = read_header(raw(*(element(TAGS[keyword][0], "DS", value) for keyword, value in elements)))
    assert header.geometry.pixel_spacing_mm == spacing
    assert [note.code for note in header.notes] == codes


def test_the_cases_numbers_are_none_to_pydicom_either(raw: Raw) -> None:
    """It keeps what it cannot convert as text; only float() would have made 25 of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert pydicom.dcmread(raw(element(0x00280030, "DS", "0,5\\0,5"))).PixelSpacing == ["0,5", "0,5"]


@pytest.mark.parametrize(
    ("keyword", "vr", "value", "left", "millimetres"),
    [
        ("RegionLocationMaxX1", "UL", b"\1\2\3", 0, None),
        ("RegionLocationMinX0", "SL", pack("<l", -1), 0, None),
        ("RegionLocationMinY0", "LO", b"top ", 0, None),
        ("PhysicalDeltaX", "FD", pack("<d", float("nan")), 1, None),
        ("PhysicalDeltaX", "FD", b"1234", 1, None),
        ("PhysicalDeltaY", "DS", b"0.02", 1, (0.2, 0.1)),
        ("PhysicalUnitsXDirection", "US", b"\3", 1, None),
        ("RegionDataType", "US", b"\3", 1, None),
        ("RegionSpatialFormat", "CS", b"2D", 1, None),
    ],
)
def test_a_region_that_makes_no_sense_spoils_no_other(
    raw: Raw, keyword: str, vr: str, value: bytes, left: int, millimetres: tuple[float, float] | None
) -> None:
    bad = corners(**{keyword: element(TAGS[keyword][0], vr, value)})
    alone = read_header(raw(element(0x00186011, "SQ", bad)))
    assert len(alone.geometry.regions) == left
    assert alone.geometry.spacing_mm() == (None if millimetres is None else pytest.approx(millimetres))
    assert any(keyword in note.text for note in alone.notes)
    both = read_header(raw(element(0x00186011, "SQ", bad + corners())))
    assert len(both.geometry.regions) == left + 1


def test_a_region_that_does_not_say_where_it_is(raw: Raw) -> None:
    header = read_header(raw(element(0x00186011, "SQ", corners(RegionLocationMaxX1=b""))))
    assert header.geometry.regions == ()
    assert "RegionLocationMaxX1 (0018,601c)" in header.notes[0].text


@pytest.mark.parametrize("vr", ["SQ", "UN"])
@pytest.mark.parametrize("explicit", [True, False])
def test_a_sequence_whose_value_representation_is_unknown(raw: Raw, vr: str, explicit: bool) -> None:
    """PS3.5 6.2.2 has implicit VR inside; some writers leave explicit VR there."""
    if vr == "SQ" and not explicit:
        return
    body = corners()
    if not explicit:
        body = item(
            b"".join(
                pack("<HHL", tag >> 16, tag & 0xFFFF, len(raw_value)) + raw_value for tag, raw_value in _values(body)
            )
        )
    header = read_header(raw(element(0x00186011, vr, body)))
    assert header.geometry.spacing_mm() == pytest.approx((0.1, 0.1))
    assert header.notes == ()


def _values(explicit_item: bytes) -> list[tuple[int, bytes]]:
    values, position = [], 8
    while position < len(explicit_item):
        group, number = (
            int.from_bytes(explicit_item[position : position + 2], "little"),
            int.from_bytes(explicit_item[position + 2 : position + 4], "little"),
        )
        length = int.from_bytes(explicit_item[position + 6 : position + 8], "little")
        values.append((group << 16 | number, explicit_item[position + 8 : position + 8 + length]))
        position += 8 + length
    return values


@pytest.mark.parametrize(
    ("center", "width", "windows", "unusable"),
    [
        ("100 ", "50", [(100, 50)], False),
        ("n/a ", "n/a ", [], True),
        ("100 ", None, [], True),
        (None, "50", [], True),
        ("100\\200 ", "50", [], True),
        ("100\\x ", "50\\60 ", [], True),
        ("\\100\\50", "20\\\\101", [(50, 101)], False),
        ("40\\50 ", "400\\0 ", [(40, 400)], False),
        ("40", "0 ", [], False),
        ("40", "-5", [], False),
        ("", "", [], False),
        ("1_0 ", "50", [], True),
    ],
)
def test_windows(raw: Raw, center: str | None, width: str | None, windows: list[object], unusable: bool) -> None:
    pairs = [(0x00281050, center), (0x00281051, width)]
    path = raw(*(element(tag, "DS", value) for tag, value in pairs if value is not None))
    header = read_header(path)
    assert [(window.center, window.width) for window in header.grayscale.windows] == windows
    assert ("windows" in header.grayscale.unusable) == unusable
    assert pixels_of(path, header) == RAW_PIXELS
    plain = not unusable and len(windows) == len((center or "").split("\\")) * bool(center)
    assert bool(header.notes) != plain
    if unusable:
        assert "Window" in header.grayscale.unusable["windows"].text


@pytest.mark.parametrize(
    ("slope", "intercept", "expected", "unusable"),
    [
        ("2 ", "3 ", (2, 3), False),
        ("2 ", None, (1, 0), True),
        (None, "-1024 ", (1, 0), True),
        ("1 ", None, (1, 0), False),
        (None, "0 ", (1, 0), False),
        ("0 ", "3 ", (1, 0), True),
        ("2 ", "x ", (1, 0), True),
        ("2\\3 ", "3 ", (2, 3), False),
        ("\\3", "3 ", (1, 0), True),
    ],
)
def test_rescale(raw: Raw, slope: str | None, intercept: str | None, expected: object, unusable: bool) -> None:
    """pydicom and DCMTK rescale by both or not at all."""
    pairs = [(0x00281053, slope), (0x00281052, intercept)]
    header = read_header(raw(*(element(tag, "DS", value) for tag, value in pairs if value is not None)))
    assert (header.grayscale.rescale_slope, header.grayscale.rescale_intercept) == expected
    assert ("rescale_slope" in header.grayscale.unusable) == unusable
    assert bool(header.notes) == ((slope, intercept) != ("2 ", "3 "))


def lut(descriptor: bytes | None, data: bytes | None) -> bytes:
    parts = [(0x00283002, descriptor), (0x00283006, data)]
    return item(b"".join(element(tag, "US", value) for tag, value in parts if value is not None))


@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize(
    "made",
    [
        lut(None, pack("<HH", 0, 1)),
        lut(pack("<HHH", 2, 0, 8), None),
        lut(pack("<HH", 2, 0), pack("<HH", 0, 1)),
        lut(pack("<HHH", 5, 0, 8), pack("<HH", 0, 1)),
        lut(pack("<HHH", 2, 0, 99), pack("<HH", 0, 1)),
        lut(b"\1\0\2", pack("<HH", 0, 1)),
        item(element(0x00283002, "LO", "2\\0\\16") + element(0x00283006, "US", pack("<HH", 0, 1))),
        b"\1\2\3\4\5\6\7\x08\x09",
    ],
)
def test_a_lut_that_is_none_is_missed_where_it_is_used(raw: Raw, keyword: str, made: bytes) -> None:
    path = raw(element(TAGS[keyword][0], "SQ", made))
    header = read_header(path)
    field = {"ModalityLUTSequence": "modality_lut", "VOILUTSequence": "voi_luts"}[keyword]
    assert set(header.grayscale.unusable) == {field}
    assert pixels_of(path, header) == RAW_PIXELS
    with pytest.raises(DicomRejected):
        header.grayscale.require(field)


def test_padding_that_is_none(raw: Raw) -> None:
    bad = read_header(raw(element(0x00280120, "OB", b"\1")))
    assert set(bad.grayscale.unusable) == {"pixel_padding"}
    alone = read_header(raw(element(0x00280121, "US", pack("<H", 5))))
    assert (alone.grayscale.pixel_padding, dict(alone.grayscale.unusable)) == (None, {})
    assert "PixelPaddingRangeLimit" in alone.notes[0].text


def test_a_voi_lut_function_of_the_future(raw: Raw) -> None:
    header = read_header(raw(element(0x00281056, "CS", "CUBIC ")))
    assert [note.code for note in header.notes] == ["dicom.ignored-value"]
    assert read_header(raw(element(0x00281056, "CS", "sigmoid "))).grayscale.voi_lut_function == "SIGMOID"


def frame_group(spacing: str = "0.5\\0.5", slope: str = "2 ", center: str = "100 ") -> bytes:
    measures = element(0x00289110, "SQ", item(element(0x00280030, "DS", spacing)))
    window = item(element(0x00281050, "DS", center) + element(0x00281051, "DS", "50"))
    rescale = item(element(0x00281052, "DS", "0 ") + element(0x00281053, "DS", slope))
    return item(measures + element(0x00289132, "SQ", window) + element(0x00289145, "SQ", rescale))


FRAMES = (element(0x00280008, "IS", "2 "), element(0x00280010, "US", pack("<H", 3)))


@pytest.mark.parametrize("groups", [frame_group(), frame_group() * 3, frame_group() + b"\1\2\3\4rubbish "])
def test_functional_groups_that_do_not_fit_the_frames_calibrate_nothing(raw: Raw, groups: bytes) -> None:
    elsewhere = [element(0x00280030, "DS", "9\\9 "), element(0x00281050, "DS", "1 "), element(0x00281051, "DS", "2 ")]
    path = raw(*FRAMES, *elsewhere, element(0x52009230, "SQ", groups))
    header = read_header(path)
    assert len(list(read_frames(path, header=header))) == 2
    for number in (1, 2):
        geometry, grayscale = header.of_frame(number)
        assert geometry.pixel_spacing_mm is None
        assert set(grayscale.unusable) == {"windows", "rescale_slope"}
        assert grayscale.windows == ()
    assert len(header.notes) in (1, 2)
    assert any("PerFrameFunctionalGroupsSequence" in note.text for note in header.notes)


def test_functional_groups_whose_values_make_no_sense_spoil_their_own_frame_alone(raw: Raw) -> None:
    path = raw(*FRAMES, element(0x52009230, "SQ", frame_group("x ", "y ", "z ") + frame_group()))
    first, second = (read_header(path).of_frame(number) for number in (1, 2))
    assert first[0].pixel_spacing_mm is None
    assert set(first[1].unusable) == {"windows", "rescale_slope"}
    assert (second[0].pixel_spacing_mm, second[1].rescale_slope, dict(second[1].unusable)) == ((0.5, 0.5), 2, {})


def test_what_many_frames_say_is_noted_once(raw: Raw) -> None:
    frames = (element(0x00280008, "IS", "6 "), element(0x00280010, "US", pack("<H", 1)))
    header = read_header(raw(*frames, element(0x52009230, "SQ", frame_group("x ") * 6)))
    assert [note.text for note in header.notes] == ["PixelSpacing (0028,0030) is not a number; it was not used"]


def test_shared_functional_groups_that_are_damaged_calibrate_nothing(raw: Raw) -> None:
    header = read_header(raw(element(0x52009229, "SQ", b"\1\2\3\4rubbish ")))
    assert set(header.grayscale.unusable) == {"windows", "rescale_slope"}
    assert header.geometry.pixel_spacing_mm is None


def test_notes_have_one_order(raw: Raw) -> None:
    elements = [
        element(0x00281050, "DS", "x "),
        element(0x00281051, "DS", "y "),
        element(0x00280030, "DS", "z "),
        element(0x0020000D, "UI", "A "),
        element(0x00080070, "LO", "A ") * 2,
    ]
    codes = [note.text.partition(" ")[0] for note in read_header(raw(*elements)).notes]
    assert codes == ["Manufacturer", "StudyInstanceUID", "PixelSpacing", "WindowCenter"]
    assert [note.text.partition(" ")[0] for note in read_header(raw(*reversed(elements))).notes] == codes


# --- what this image does not use, and what it does ---------------------------------------------------


def palette(entries: int, data: bytes) -> list[bytes]:
    descriptors = [element(0x00281101 + n, "US", pack("<HHH", entries, 0, 16)) for n in range(3)]
    return descriptors + [element(0x00281201 + n, "OW", data) for n in range(3)]


def test_a_damaged_palette_matters_to_a_palette_image_alone(raw: Raw) -> None:
    damaged = palette(256, b"\1\2\3")
    grey = raw(*damaged)
    assert pixels_of(grey, read_header(grey)) == RAW_PIXELS
    assert read_header(grey).notes == ()
    coloured = raw(element(0x00280004, "CS", "PALETTE COLOR "), *damaged)
    assert read_header(coloured).instance.photometric_interpretation == "PALETTE COLOR"
    with pytest.raises(PixelsRejected, match="RedPalette") as refused:
        list(read_frames(coloured))
    assert refused.value.code == "pixels.palette"
    sound = raw(element(0x00280004, "CS", "PALETTE COLOR "), *palette(256, np.arange(256, dtype="<u2").tobytes()))
    (frame,) = read_frames(sound)
    assert frame.pixels[0, 0].tolist() == [100, 100, 100]


@pytest.mark.parametrize("value", [b"\7\0", b"\7", b"abc"])
def test_planes_matter_to_colour_alone(raw: Raw, value: bytes) -> None:
    planar = element(0x00280006, "US", value)
    grey = raw(planar)
    assert pixels_of(grey, read_header(grey)) == RAW_PIXELS
    colour = [element(0x00280004, "CS", "RGB "), element(0x00280002, "US", b"\3\0"), element(0x00280010, "US", b"\2\0")]
    with pytest.raises((DicomRejected, PixelsRejected)):
        list(read_frames(raw(planar, *colour)))


def test_a_sign_is_0_or_1(raw: Raw) -> None:
    with pytest.raises(DicomRejected, match="PixelRepresentation") as refused:
        read_header(raw(element(0x00280103, "US", b"\2\0")))
    assert refused.value.code == "dicom.bad-value"


def test_float_pixels_need_no_bits(raw: Raw) -> None:
    garbage = [element(tag, "US", b"abc") for tag in (0x00280101, 0x00280102, 0x00280103)]
    data = element(0x7FE00008, "OF", np.arange(48, dtype="<f4").tobytes())
    path = raw(*garbage, element(0x00280100, "US", pack("<H", 32)), pixel_data=data)
    (frame,) = read_frames(path)
    assert frame.pixels.ravel().tolist() == list(range(48))


@pytest.mark.parametrize("frames", ["1A", "1.5 ", "one ", "1.0 "])
def test_a_number_of_frames_that_is_none(raw: Raw, frames: str) -> None:
    """Where the pixels are just those of one frame, there is one. Where they are not, nothing tells what they are."""
    one = raw(element(0x00280008, "IS", frames))
    header = read_header(one)
    assert pixels_of(one, header) == RAW_PIXELS
    assert [note.code for note in header.notes] == ["dicom.ignored-value"]
    two = raw(element(0x00280008, "IS", frames), element(0x00280010, "US", pack("<H", 3)))
    with pytest.raises(DicomRejected, match="NumberOfFrames") as refused:
        read_header(two)
    assert refused.value.code == "dicom.bad-value"


def test_no_rows_are_no_image(raw: Raw) -> None:
    path = raw(element(0x00280010, "US", pack("<H", 0)))
    assert read_header(path).instance.rows == 0
    with pytest.raises(PixelsRejected) as refused:
        list(read_frames(path))
    assert refused.value.code == "pixels.dimensions"


def test_implicit_vr_is_held_to_the_same(build: Build) -> None:
    path = build(np.zeros((6, 8), np.uint8), syntax=ImplicitVRLittleEndian, PixelSpacing=[0.5, 0.5])
    path.write_bytes(path.read_bytes().replace(b"0.5\\0.5", b"0,5\\0,5").replace(b"1.2.3\0", b"1.2.A\0"))
    header = read_header(path)
    assert (header.geometry.pixel_spacing_mm, header.instance.study_instance_uid) == (None, "")
    assert [note.code for note in header.notes] == ["dicom.ignored-value"] * 2
