"""Lengths that are stated wrongly: read where the pixels are certain all the same, else refused with a true text."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from struct import pack

import numpy as np
import pydicom
import pytest

from edgeai.api import DicomRejected, PixelsRejected
from edgeai.dicom.header import read_header
from edgeai.dicom.pixels import read_stored
from edgeai.testing.raw_dicom import RAW_PIXELS, element, item

Raw = Callable[..., Path]
ENDLESS = 0xFFFFFFFF
ITEM_END, SEQUENCE_END = pack("<HHL", 0xFFFE, 0xE00D, 0), pack("<HHL", 0xFFFE, 0xE0DD, 0)
CODE = element(0x00080100, "SH", "A ")
ONE = item(CODE)
OPEN = pack("<HHL", 0xFFFE, 0xE000, ENDLESS) + CODE + ITEM_END
DECOY = item(element(0x00080018, "UI", "1.9\0") + element(0x00280010, "US", pack("<H", 99)))
REFERENCES = 0x00081140


def sequence(length: int, body: bytes, tag: int = REFERENCES) -> bytes:
    return pack("<HH2sHL", tag >> 16, tag & 0xFFFF, b"SQ", 0, length) + body


def stated(length: int, body: bytes) -> bytes:
    """An item that says it has so many bytes."""
    return pack("<HHL", 0xFFFE, 0xE000, length) + body


READ = {
    "4 too short": sequence(len(ONE) - 4, ONE),
    "2 too short": sequence(len(ONE) - 2, ONE),
    "a whole element too short": sequence(len(ONE) - len(CODE), ONE),
    "4 too short, two items": sequence(2 * len(ONE) - 4, ONE * 2),
    "one item too short": sequence(len(ONE), ONE * 2),
    "4 too short, both": sequence(len(ONE) - 4, stated(len(CODE) - 4, CODE)),
    "4 too short, the item": sequence(len(ONE), stated(len(CODE) - 4, CODE)),
    "4 too short, deep inside": sequence(len(ONE) + 20, item(sequence(len(ONE) - 4, ONE))),
    "4 too long": sequence(len(ONE) + 4, ONE),
    "8 too long": sequence(len(ONE) + 8, ONE),
    "0 with an item": sequence(0, ONE),
    "0 with two items": sequence(0, ONE * 2),
    "0 with an item of undefined length": sequence(0, OPEN),
    "0 with an item of undefined length and a delimiter": sequence(0, OPEN + SEQUENCE_END),
    "0 with an item that looks like the image": sequence(0, DECOY),
    "4 too short, an item that looks like the image": sequence(len(DECOY) - 4, DECOY),
    "0 deep inside": sequence(len(ONE) + 20, item(sequence(0, ONE))),
    "an item of 0 with content": sequence(len(ONE), stated(0, CODE)),
}
"""What pydicom or DCMTK, or both, read; and what is as certain."""


@pytest.mark.parametrize("name", READ)
def test_a_sequence_of_another_length_than_stated_is_read_and_noted(raw: Raw, name: str) -> None:
    path = raw(READ[name])
    header = read_header(path)
    assert (header.instance.sop_instance_uid, header.instance.rows) == ("1.2.3", 6)
    assert [values.tobytes() for values in read_stored(path, header=header)] == [RAW_PIXELS]
    assert {note.code for note in header.notes} == {"dicom.repaired"}


def test_what_a_peer_reads_of_them_is_the_same(raw: Raw, dcm2pnm: str, tmp_path: Path) -> None:
    image, theirs = tmp_path / "out.pgm", 0
    for odd in READ.values():
        path = raw(odd)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = pydicom.dcmread(path)
        if "PixelData" in data:
            assert data.PixelData == RAW_PIXELS
            theirs += 1
        image.unlink(missing_ok=True)
        subprocess.run([dcm2pnm, "+op", path, image], capture_output=True, timeout=600, check=False)
        if image.is_file() and image.stat().st_size:
            assert image.read_bytes().endswith(RAW_PIXELS)
            theirs += 1
    assert theirs > 12


@pytest.mark.parametrize("implicit_length", [0, 14])
def test_in_implicit_vr(build: Callable[..., Path], implicit_length: int) -> None:
    code = pack("<HHL", 8, 0x100, 2) + b"A "
    odd = pack("<HHL", 8, 0x1140, implicit_length) + item(code)
    path = build(np.frombuffer(RAW_PIXELS, np.uint8).reshape(6, 8), syntax="1.2.840.10008.1.2")
    whole = path.read_bytes()
    place = whole.index(pack("<HHL", 0x10, 0x10, 12))
    path.write_bytes(whole[:place] + odd + whole[place:])
    header = read_header(path)
    assert [values.tobytes() for values in read_stored(path, header=header)] == [RAW_PIXELS]
    assert {note.code for note in header.notes} == {"dicom.repaired"}


@pytest.mark.parametrize("length", [0, -4, -2])
def test_what_is_in_such_a_sequence_counts(raw: Raw, length: int) -> None:
    """Its look-up table is not lost with its length."""
    lut = item(element(0x00283002, "US", pack("<HHH", 2, 0, 8)) + element(0x00283006, "OW", pack("<HH", 0, 255)))
    header = read_header(raw(sequence(length if length == 0 else len(lut) + length, lut, 0x00283010)))
    (table,) = header.grayscale.voi_luts
    assert table.data.tolist() == [0, 255]
    assert {note.code for note in header.notes} == {"dicom.repaired"}


REFUSED = {
    "two readings, and both lead on": sequence(8, item(element(0x00283006, "OW", b"")), 0x00283000),
    "0, and what follows is no item": sequence(0, b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a"),
    "4 too short, and rubbish follows": sequence(len(ONE) - 4, ONE + b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a"),
    "an item after something that is no sequence": element(0x00081155, "UI", "1.2\0") + ONE,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_be_read_in_two_ways_or_none_is_refused(raw: Raw, name: str) -> None:
    with pytest.raises(DicomRejected) as refused:
        read_header(raw(REFUSED[name]))
    assert refused.value.code == "dicom.structure"


# --- Pixel Data -----------------------------------------------------------------------------------------


def image(rows: int, columns: int, stated_bytes: int, there: bytes, vr: bytes = b"OB") -> dict[str, object]:
    """What ``raw`` takes for an image whose Pixel Data states and has what one likes."""
    return {
        "elements": (
            element(0x00280010, "US", pack("<H", rows)),
            element(0x00280011, "US", pack("<H", columns)),
        ),
        "pixel_data": pack("<HH2sHL", 0x7FE0, 0x10, vr, 0, stated_bytes) + there,
    }


def made(raw: Raw, rows: int, columns: int, stated_bytes: int, there: bytes, vr: bytes = b"OB") -> Path:
    facts = image(rows, columns, stated_bytes, there, vr)
    return raw(*facts["elements"], pixel_data=facts["pixel_data"])  # type: ignore[misc]


NOISE = np.random.default_rng(5).integers(1, 255, 4096).astype(np.uint8).tobytes()


@pytest.mark.filterwarnings("ignore:The pixel data")
@pytest.mark.parametrize(
    ("rows", "columns", "stated_bytes", "there"),
    [(31, 31, 962, 961), (32, 32, 2000, 1024), (32, 32, 1026, 1025), (31, 31, 963, 962), (6, 8, 95, 48)],
)
def test_padding_that_was_left_out_is_noted_and_the_image_read(
    raw: Raw, rows: int, columns: int, stated_bytes: int, there: int
) -> None:
    content = NOISE[: rows * columns] + bytes(there - rows * columns)
    path = made(raw, rows, columns, stated_bytes, content)
    header = read_header(path)
    assert [values.tobytes() for values in read_stored(path, header=header)] == [content[: rows * columns]]
    assert [note.code for note in header.notes] == ["dicom.repaired"]
    assert pydicom.dcmread(path).pixel_array.tobytes() == content[: rows * columns]


def test_an_odd_length_that_is_stated_truly_is_no_oddity(raw: Raw) -> None:
    path = made(raw, 31, 31, 961, NOISE[:961])
    header = read_header(path)
    assert [len(values.tobytes()) for values in read_stored(path, header=header)] == [961]
    assert header.notes == ()


@pytest.mark.parametrize("stated_bytes", [2048, 0x7FFFFFFF, 0xFFFFFFFE])
def test_whole_frames_that_are_stated_and_not_there_make_the_file_short(raw: Raw, stated_bytes: int) -> None:
    """Either the length is wrong, or frames are missing."""
    path = made(raw, 32, 32, stated_bytes, NOISE[:1024])
    with pytest.raises(PixelsRejected) as refused:
        list(read_stored(path))
    assert refused.value.code == "pixels.short"
    assert f"states {stated_bytes} bytes" in str(refused.value)
    assert "1024 are there" in str(refused.value)
    assert read_header(path).notes == ()


@pytest.mark.parametrize(
    ("stated_bytes", "there"), [(1024, 1000), (1024, 0), (1026, 1023), (2000, 1023), (0xFFFFFFFE, 5)]
)
def test_a_refusal_counts_what_is_there_and_what_the_dimensions_need(raw: Raw, stated_bytes: int, there: int) -> None:
    with pytest.raises(PixelsRejected) as refused:
        list(read_stored(made(raw, 32, 32, stated_bytes, NOISE[:there])))
    assert refused.value.code == "pixels.short"
    assert f"has {there} bytes" in str(refused.value)
    assert "need 1024" in str(refused.value)


def test_what_stands_where_padding_belongs_is_not_cut_off_in_silence(raw: Raw) -> None:
    with pytest.raises(PixelsRejected) as refused:
        list(read_stored(made(raw, 32, 32, 2000, NOISE[:1100])))
    assert refused.value.code == "pixels.surplus"
    assert "1100 bytes" in str(refused.value)


@pytest.mark.parametrize("tag", [0x00080070, 0x00091070])
def test_a_length_beyond_the_file_in_implicit_vr_is_not_called_a_cut(build: Callable[..., Path], tag: int) -> None:
    odd = pack("<HHL", tag >> 16, tag & 0xFFFF, 0xFFFFFFFE) + b"ACME"
    path = build(np.zeros((6, 8), np.uint8), syntax="1.2.840.10008.1.2")
    whole = path.read_bytes()
    place = whole.index(pack("<HHL", 0x10, 0x10, 12))
    path.write_bytes(whole[:place] + odd + whole[place:])
    with pytest.raises(DicomRejected) as refused:
        read_header(path)
    assert refused.value.code == "dicom.structure"
