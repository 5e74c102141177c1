"""What is tolerated is noted: another value representation, an unknown character set, another encoding."""

from __future__ import annotations

import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from struct import pack

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from edgeai.api import DicomRejected
from edgeai.dicom.content import ContentDigest
from edgeai.dicom.header import read_header
from edgeai.dicom.pixels import read_stored
from edgeai.testing.raw_dicom import RAW_PIXELS, element, item, raw_bytes

Raw = Callable[..., Path]
Build = Callable[..., Path]
ENDLESS = 0xFFFFFFFF
SEQUENCE_END = pack("<HHL", 0xFFFE, 0xE0DD, 0)
CODE = element(0x00080100, "SH", "A ")
PIXELS = np.frombuffer(RAW_PIXELS, np.uint8).reshape(6, 8)


def sequence(tag: int, length: int, body: bytes) -> bytes:
    return pack("<HH2sHL", tag >> 16, tag & 0xFFFF, b"SQ", 0, length) + body


AS_SEQUENCE = {
    "empty": (0, b""),
    "with an item": (len(item(CODE)), item(CODE)),
    "with an empty item": (8, item(b"")),
    "without a length": (ENDLESS, item(CODE) + SEQUENCE_END),
}


def seen(path: Path) -> tuple[list[bytes], list[str], list[str]]:
    header = read_header(path)
    values = [each.tobytes() for each in read_stored(path, header=header)]
    return values, [note.code for note in header.notes], [note.text for note in header.notes]


# --- value representations ------------------------------------------------------------------------------


@pytest.mark.parametrize("how", AS_SEQUENCE)
@pytest.mark.parametrize(
    ("tag", "keyword"),
    [
        (0x00080005, "SpecificCharacterSet"),
        (0x00080060, "Modality"),
        (0x00080070, "Manufacturer"),
        (0x0020000D, "StudyInstanceUID"),
        (0x0020000E, "SeriesInstanceUID"),
        (0x00180015, "BodyPartExamined"),
        (0x00280030, "PixelSpacing"),
        (0x00281050, "WindowCenter"),
        (0x00280008, "NumberOfFrames"),
    ],
)
def test_what_is_encoded_as_a_sequence_is_not_used_and_noted(raw: Raw, tag: int, keyword: str, how: str) -> None:
    path = raw(sequence(tag, *AS_SEQUENCE[how]))
    pixels, codes, texts = seen(path)
    assert pixels == [RAW_PIXELS]
    assert (codes, keyword in texts[0], "sequence" in texts[0]) == (["dicom.ignored-value"], True, True)
    instance = read_header(path).instance
    assert (instance.study_instance_uid, instance.manufacturer, instance.number_of_frames) == ("", "", 1)


@pytest.mark.parametrize("how", AS_SEQUENCE)
@pytest.mark.parametrize("tag", [0x00080016, 0x00080018, 0x00280010])
def test_the_identity_and_the_extent_are_no_sequence(raw: Raw, tag: int, how: str) -> None:
    with pytest.raises(DicomRejected, match="is a sequence") as refused:
        read_header(raw(sequence(tag, *AS_SEQUENCE[how])))
    assert refused.value.code == "dicom.bad-value"


@pytest.mark.parametrize(
    ("other", "keyword"),
    [
        (element(0x00080060, "US", b"DX"), "Modality"),
        (element(0x00080060, "LO", b"DX"), "Modality"),
        (element(0x0020000D, "OB", b"1.2.3\0"), "StudyInstanceUID"),
        (element(0x00280010, "UL", pack("<L", 6)), "Rows"),
        (element(0x00280010, "IS", "6 "), "Rows"),
        (element(0x00280008, "US", pack("<H", 1)), "NumberOfFrames"),
    ],
)
def test_another_value_representation_is_read_and_noted(raw: Raw, other: bytes, keyword: str) -> None:
    pixels, codes, texts = seen(raw(other))
    assert (pixels, codes) == ([RAW_PIXELS], ["dicom.other-vr"])
    assert keyword in texts[0]


@pytest.mark.parametrize(
    "sound",
    [
        element(0x00080060, "UN", b"DX"),
        element(0x00280120, "SS", pack("<h", -1)),
        element(0x00280120, "US", pack("<H", 1)),
        element(0x00280010, "UN", pack("<H", 6)),
    ],
)
def test_what_the_standard_lets_choose_is_not_noted(raw: Raw, sound: bytes) -> None:
    assert seen(raw(sound)) == ([RAW_PIXELS], [], [])


def test_another_value_representation_inside_items(raw: Raw) -> None:
    lut = item(element(0x00283002, "SS", pack("<HHH", 2, 0, 8)) + element(0x00283006, "OW", pack("<HH", 0, 255)))
    assert read_header(raw(element(0x00283010, "SQ", lut))).notes == ()
    lut = item(element(0x00283002, "SQ", item(b"")) + element(0x00283006, "OW", pack("<HH", 0, 255)))
    texts = [note.text for note in read_header(raw(element(0x00283010, "SQ", lut))).notes]
    assert any("LUTDescriptor" in text and "sequence" in text for text in texts)


# --- character sets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("character_set", "noted"),
    [
        ("ISO_IR 999", True),
        ("UTF-8 ", True),
        ("ISO_IR 192\\ISO 2022 IR 999", True),
        ("iso_ir 192", True),
        ("ISO_IR 100", False),
        ("ISO_IR 192", False),
        ("GB18030 ", False),
        ("ISO_IR 203", False),
        ("\\ISO 2022 IR 87", False),
        ("ISO 2022 IR 6\\ISO 2022 IR 149", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("manufacturer", ["ACME", "ACM\xc9"])
def test_an_unknown_character_set_is_noted(raw: Raw, character_set: str, noted: bool, manufacturer: str) -> None:
    path = raw(element(0x00080005, "CS", character_set), element(0x00080070, "LO", manufacturer))
    notes = read_header(path).notes
    texts = [note.text for note in notes if "SpecificCharacterSet" in note.text]
    assert bool(texts) is noted
    assert not [text for text in texts if "999" in text or "UTF" in text]


@pytest.mark.parametrize(
    ("character_set", "value", "noted"),
    [
        ("ISO_IR 192", b"ACM\xc3\x89 ", False),
        ("ISO_IR 192", b"ACM\xc9", True),
        ("ISO_IR 100", b"ACM\xc9", False),
        ("ISO 2022 IR 6", b"ACM\xc9", True),
        ("", b"ACM\xc9", True),
    ],
)
def test_bytes_that_are_not_of_their_character_set_are_noted(
    raw: Raw, character_set: str, value: bytes, noted: bool
) -> None:
    header = read_header(raw(element(0x00080005, "CS", character_set), element(0x00080070, "LO", value)))
    assert header.instance.manufacturer.startswith("ACM")
    assert [note.code for note in header.notes] == (["dicom.odd-characters"] if noted else [])


# --- encodings ------------------------------------------------------------------------------------------


def body_of(path: Path) -> bytes:
    raw_file = path.read_bytes()
    start = 132 + 12 + int.from_bytes(raw_file[140:144], "little")
    return raw_file[start:]


def with_syntax(path: Path, syntax: str, *, deflated: bool = False) -> Path:
    """The same data set, named otherwise."""
    body = body_of(path)
    if deflated:
        engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = engine.compress(body) + engine.flush()
    meta = element(0x00020010, "UI", syntax + "\0" * (len(syntax) % 2))
    head = element(0x00020000, "UL", pack("<L", len(meta)))
    other = path.with_name(f"as-{syntax}-{path.name}")
    other.write_bytes(bytes(128) + b"DICM" + head + meta + body)
    return other


@pytest.mark.parametrize(
    ("written", "named", "deflated", "word"),
    [
        (ExplicitVRLittleEndian, ImplicitVRLittleEndian, False, "explicit"),
        (ImplicitVRLittleEndian, ExplicitVRLittleEndian, False, "implicit"),
        (ImplicitVRLittleEndian, "1.2.840.10008.1.2.1.99", True, "implicit"),
    ],
)
def test_the_other_kind_of_vr_is_read_and_noted(
    build: Build, written: str, named: str, deflated: bool, word: str
) -> None:
    made = build(PIXELS, syntax=written)
    pixels, codes, texts = seen(with_syntax(made, named, deflated=deflated))
    assert (pixels, codes) == ([RAW_PIXELS], ["dicom.repaired"])
    assert word in texts[0]
    again = with_syntax(made, written)
    assert seen(again) == ([RAW_PIXELS], [], [])


def test_items_in_explicit_vr_within_implicit_vr_are_noted(build: Build) -> None:
    odd = pack("<HHL", 8, 0x1140, len(item(CODE))) + item(CODE)
    path = build(PIXELS, syntax=ImplicitVRLittleEndian)
    whole = path.read_bytes()
    place = whole.index(pack("<HHL", 0x10, 0x10, 12))
    path.write_bytes(whole[:place] + odd + whole[place:])
    pixels, codes, texts = seen(path)
    assert (pixels, codes) == ([RAW_PIXELS], ["dicom.repaired"])
    assert "explicit" in texts[0]


def implicit_meta(syntax: str, body: bytes, *, group_length: bool = True, more: bytes = b"") -> bytes:
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = pack("<HHL", 2, 0x10, len(uid)) + uid + more
    if group_length:
        meta = pack("<HHLL", 2, 0, 4, len(meta)) + meta
    return bytes(128) + b"DICM" + meta + body


@pytest.mark.filterwarnings("ignore:Expected explicit VR")
@pytest.mark.parametrize("group_length", [True, False])
@pytest.mark.parametrize("more", [b"", pack("<HHL", 2, 0x12, 8) + b"1.2.3.4\0" + pack("<HHL", 2, 0x13, 4) + b"ACME"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_file_meta_in_implicit_vr(build: Build, tmp_path: Path, syntax: str, more: bytes, group_length: bool) -> None:
    path = build(PIXELS, syntax=syntax)
    body = body_of(path)
    odd = tmp_path / "odd.dcm"
    odd.write_bytes(implicit_meta(syntax, body, group_length=group_length, more=more))
    pixels, codes, _ = seen(odd)
    assert (pixels, set(codes)) == ([RAW_PIXELS], {"dicom.repaired"})
    header = read_header(odd)
    assert header.instance.transfer_syntax_uid == syntax
    assert ContentDigest.of_file(odd).result() == ContentDigest.of_file(path).result()
    if syntax != ExplicitVRBigEndian:
        assert pydicom.dcmread(odd).PixelData == RAW_PIXELS


def test_dcmtk_reads_file_meta_in_implicit_vr_too(tmp_path: Path, dcm2pnm: str) -> None:
    whole = raw_bytes()
    odd, image = tmp_path / "odd.dcm", tmp_path / "out.pgm"
    odd.write_bytes(implicit_meta(ExplicitVRLittleEndian, whole[whole.index(b"\x08\0\x16\0UI") :]))
    subprocess.run([dcm2pnm, "+op", odd, image], capture_output=True, timeout=600, check=True)
    assert image.read_bytes().endswith(RAW_PIXELS)
    assert seen(odd)[0] == [RAW_PIXELS]


def test_file_meta_in_implicit_vr_without_a_transfer_syntax(tmp_path: Path) -> None:
    path = tmp_path / "none.dcm"
    maker = pack("<HHL", 2, 0x12, 8) + b"1.2.3.4\0"
    body = raw_bytes()[132 + 12 + 28 :]
    path.write_bytes(bytes(128) + b"DICM" + pack("<HHLL", 2, 0, 4, len(maker)) + maker + body)
    with pytest.raises(DicomRejected) as refused:
        read_header(path)
    assert refused.value.code == "dicom.no-transfer-syntax"
