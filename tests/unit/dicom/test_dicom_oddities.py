"""Headers that do not hold together: read where it is certain how they go on, else refused with a true code."""

from __future__ import annotations

import subprocess
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from struct import pack

import numpy as np
import pydicom
import pytest

from edgeai.api import DicomRejected, EdgeaiError
from edgeai.dicom.header import read_header
from edgeai.dicom.pixels import read_stored
from edgeai.testing.raw_dicom import RAW_PIXELS, element, item, raw_bytes

Raw = Callable[..., Path]
ENDLESS = 0xFFFFFFFF
ITEM_END, SEQUENCE_END = pack("<HHL", 0xFFFE, 0xE00D, 0), pack("<HHL", 0xFFFE, 0xE0DD, 0)
CODE = element(0x00080100, "SH", "A ")
IMPLICIT_CODE = pack("<HHL", 8, 0x100, 2) + b"A "
NEXT = element(0x7FDF1010, "LO", "after ")


def head(vr: bytes, length: int, number: int = 0x1000) -> bytes:
    """A header with a length of 32 bits, in a group just below that of Pixel Data."""
    return pack("<HH2sHL", 0x7FDF, number, vr, 0, length)


def short_head(vr: bytes, length: int, number: int = 0x1000) -> bytes:
    return pack("<HH2sH", 0x7FDF, number, vr, length)


def endless(*parts: bytes, vr: bytes = b"SQ") -> bytes:
    return head(vr, ENDLESS) + b"".join(parts)


def sequence(body: bytes) -> bytes:
    return head(b"SQ", len(body)) + body


def open_item(body: bytes) -> bytes:
    return pack("<HHL", 0xFFFE, 0xE000, ENDLESS) + body


READ = {
    "item closed by a sequence delimiter": endless(open_item(CODE), SEQUENCE_END),
    "item closed by a sequence delimiter, its sequence by another": endless(
        open_item(CODE), SEQUENCE_END, SEQUENCE_END
    ),
    "two items, the first closed by a sequence delimiter": endless(
        open_item(CODE), SEQUENCE_END, open_item(CODE), ITEM_END, SEQUENCE_END
    ),
    "that deep inside": endless(
        open_item(element(0x00081140, "SQ", b"")[:8] + pack("<L", ENDLESS) + open_item(CODE) + SEQUENCE_END),
        ITEM_END,
        SEQUENCE_END,
    ),
    "that in a sequence of stated length": sequence(open_item(CODE) + SEQUENCE_END),
    "item that begins before the other has ended": endless(open_item(CODE), open_item(CODE), ITEM_END, SEQUENCE_END),
    "sequence closed by an item delimiter": endless(item(CODE), ITEM_END),
    "item delimiter twice": endless(open_item(CODE), ITEM_END, ITEM_END, item(CODE), SEQUENCE_END),
    "item delimiter after an item of stated length": endless(item(CODE), ITEM_END, SEQUENCE_END),
    "sequence delimiter inside a sequence of stated length": sequence(item(CODE) + SEQUENCE_END),
    "sequence delimiter after a sequence of stated length": sequence(item(CODE)) + SEQUENCE_END,
    "sequence without an end": endless(item(CODE)) + NEXT,
    "item delimiter between elements": NEXT + ITEM_END,
    "empty item between elements": NEXT + pack("<HHL", 0xFFFE, 0xE000, 0),
    "zeros between elements": NEXT + bytes(8),
    "zeros between items": endless(item(CODE), bytes(16), item(CODE), SEQUENCE_END),
    "rubbish in a sequence of stated length": sequence(b"\x01\x02\x03\x04rubbish and more of it"),
    "rubbish in an item of stated length": sequence(item(b"\xff\xee\x03\x04" * 5) + item(CODE)),
    "an item longer than its sequence": sequence(pack("<HHL", 0xFFFE, 0xE000, 5000) + CODE),
    "an item that ends inside an element": sequence(item(CODE + CODE[:5])),
    "a value longer than its item": sequence(item(pack("<HH2sH", 8, 0x100, b"SH", 900) + b"A ") + item(CODE)),
    "an endless item in a sequence that ends": sequence(open_item(CODE)),
    "?? with 16 bits of length": short_head(b"??", 4) + b"abcd",
    "?? with 32 bits of length": head(b"??", 4) + b"abcd",
    "?? with 32 bits of length, and a value like a header": head(b"??", 4) + b"CS\0\0",
    "?? twice": short_head(b"??", 4) + b"abcd" + short_head(b"??", 6, 0x1002) + b"abcdef",
    "?? and empty": short_head(b"??", 0),
    "lower case": head(b"ob", 4) + b"abcd",
    "no value representation, 32 bits of length": head(b"\0\0", 4) + b"abcd",
    "blanks": short_head(b"  ", 4) + b"abcd",
    "capitals of the future": head(b"QQ", 4) + b"abcd",
    "capitals with 16 bits of length": short_head(b"OX", 4) + b"abcd",
    "implicit VR in the middle": pack("<HHL", 0x7FDF, 0x1000, 4) + b"abcd" + NEXT,
    "UN with 16 bits of length": short_head(b"UN", 4) + b"abcd",
    "OB with 16 bits of length": short_head(b"OB", 12) + b"abcdefghijkl",
    "UT without a length": endless(b"some text", SEQUENCE_END, vr=b"UT"),
    "UT without a length, in items": endless(item(CODE), SEQUENCE_END, vr=b"UT"),
    "OB without a length or fragments": endless(b"some bytes", SEQUENCE_END, vr=b"OB"),
    "UN without a length or items": endless(b"some bytes", SEQUENCE_END, vr=b"UN"),
}
"""What is odd, as bytes before Pixel Data. All of it is read, and noted."""

SOUND = {
    "UN of explicit VR": endless(open_item(CODE), ITEM_END, SEQUENCE_END, vr=b"UN"),
    "UN of implicit VR": endless(open_item(IMPLICIT_CODE), ITEM_END, SEQUENCE_END, vr=b"UN"),
    "an icon's fragments": endless(item(b""), item(b"\xff\xd8"), SEQUENCE_END, vr=b"OB"),
    "something in the reserved bytes": pack("<HH2sHL", 0x7FDF, 0x1000, b"OB", 7, 4) + b"abcd",
    "a delimiter that states a length": endless(open_item(CODE), pack("<HHL", 0xFFFE, 0xE00D, 0), SEQUENCE_END),
    "an odd length": element(0x7FDF1000, "LO", "odd"),
    "a wrong group length": element(0x00080000, "UL", pack("<L", 99999)),
    "a retired attribute": element(0x00280005, "US", pack("<H", 2)),
}


@pytest.mark.parametrize("name", READ)
def test_what_is_odd_is_read_and_noted(raw: Raw, name: str) -> None:
    path = raw(READ[name])
    header = read_header(path)
    assert header.instance.sop_instance_uid == "1.2.3"
    assert [values.tobytes() for values in read_stored(path, header=header)] == [RAW_PIXELS]
    assert {note.code for note in header.notes} == {"dicom.repaired"}


@pytest.mark.parametrize("name", SOUND)
def test_what_only_looks_odd_is_read_without_a_note(raw: Raw, name: str) -> None:
    path = raw(SOUND[name])
    header = read_header(path)
    assert [values.tobytes() for values in read_stored(path, header=header)] == [RAW_PIXELS]
    assert header.notes == ()


def deflated(tmp_path: Path, odd: bytes) -> Path:
    whole = raw_bytes(odd, syntax="1.2.840.10008.1.2.1.99")
    start = whole.index(b"\x08\0\x16\0UI")
    engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    path = tmp_path / "deflated.dcm"
    path.write_bytes(whole[:start] + engine.compress(whole[start:]) + engine.flush())
    return path


@pytest.mark.parametrize("name", READ)
def test_what_is_odd_is_read_where_it_is_deflated(tmp_path: Path, name: str) -> None:
    """There the size of the data set is not known, so that less is certain."""
    path = deflated(tmp_path, READ[name])
    header = read_header(path)
    assert [values.tobytes() for values in read_stored(path, header=header)] == [RAW_PIXELS]
    assert {note.code for note in header.notes} == {"dicom.repaired"}


def test_a_length_that_is_wrong_where_it_is_deflated(tmp_path: Path) -> None:
    for name in ("a value longer than the whole file", "rubbish in a sequence that does not end in a sound place"):
        with pytest.raises(DicomRejected) as refused:
            read_header(deflated(tmp_path, REFUSED[name]))
        assert refused.value.code == "dicom.structure"


def test_where_pydicom_reads_an_oddity_it_reads_the_same(raw: Raw) -> None:
    read = 0
    for odd in (READ | SOUND).values():
        path = raw(odd)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                theirs = pydicom.dcmread(path).PixelData
            except (OSError, AttributeError, NotImplementedError, ValueError):
                continue
        (ours,) = read_stored(path)
        assert ours.tobytes() == theirs[: len(RAW_PIXELS)]
        read += 1
    assert read > 15


@pytest.mark.slow
def test_where_dcmtk_reads_an_oddity_it_reads_the_same(raw: Raw, dcm2pnm: str, tmp_path: Path) -> None:
    image, read = tmp_path / "out.pgm", 0
    for odd in (READ | SOUND).values():
        image.unlink(missing_ok=True)
        subprocess.run([dcm2pnm, "+op", raw(odd), image], capture_output=True, timeout=600, check=False)
        if image.is_file() and image.stat().st_size:
            assert image.read_bytes()[-len(RAW_PIXELS) :] == RAW_PIXELS
            read += 1
    assert read > 10


def test_padding_after_pixel_data_is_no_oddity(raw: Raw) -> None:
    padding = pack("<HH2sHL", 0xFFFC, 0xFFFC, b"OB", 0, 6) + bytes(6)
    path = raw(pixel_data=element(0x7FE00010, "OB", RAW_PIXELS) + padding)
    assert read_header(path).notes == ()
    assert len(list(read_stored(path))) == 1


@pytest.mark.parametrize("vr", [b"??", b"QQ", b"ob"])
@pytest.mark.parametrize("long", [True, False])
def test_pixel_data_of_no_value_representation(raw: Raw, vr: bytes, long: bool) -> None:
    header = pack("<HH2s", 0x7FE0, 0x0010, vr) + (pack("<HL", 0, 48) if long else pack("<H", 48))
    path = raw(pixel_data=header + RAW_PIXELS)
    assert [values.tobytes() for values in read_stored(path)] == [RAW_PIXELS]


# --- refused, and not as cut short ------------------------------------------------------------------


REFUSED = {
    "an oddity, and then elements that do not rise": READ["item closed by a sequence delimiter"]
    + element(0x00090010, "LO", "X"),
    "rubbish in a sequence that does not end in a sound place": head(b"SQ", 27) + b"\x01\x02\x03\x04rubbish" + NEXT,
    "a length that cannot be told": short_head(b"??", 4) + b"ab",
    "two readings, and both lead on": pack("<HH2sH", 8, 0x9000, b"QQ", 0)
    + element(0x00100000, "UL", bytes(4))
    + element(0x00100010, "PN", "")
    + element(0x00100020, "LO", "X "),
    "text without a length or an end": head(b"UT", ENDLESS) + b"no end",
    "fragments with something between": endless(item(b"\xff\xd8"), CODE, SEQUENCE_END, vr=b"OB"),
    "a fragment without a length": endless(open_item(b"\xff\xd8"), SEQUENCE_END, vr=b"OB"),
    "an item with content between elements": NEXT + item(CODE),
    "a value longer than the whole file": head(b"OB", 1 << 28) + b"abcd",
    "a value just longer than the file": head(b"LT"[:2], 0)[:6] + pack("<H", 60000) + b"abcd",
    "a sequence longer than the whole file": head(b"SQ", 1 << 28) + item(CODE),
    "an item that does not end": endless(open_item(CODE)),
    "an item in an item, and neither ends": endless(open_item(CODE + endless(open_item(CODE)))),
    "something else where an item belongs": endless(b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a", SEQUENCE_END),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_certain_is_refused_and_not_called_cut_short(raw: Raw, name: str) -> None:
    with pytest.raises(DicomRejected) as refused:
        read_header(raw(REFUSED[name]))
    assert refused.value.code == "dicom.structure"


def test_an_item_that_does_not_end_before_compressed_pixels(raw: Raw) -> None:
    fragments = endless(item(b""), item(b"\xff\xd8\xff\xd9"), SEQUENCE_END, vr=b"OB")
    compressed = pack("<HH", 0x7FE0, 0x0010) + fragments[4:]
    with pytest.raises(DicomRejected, match="does not end") as refused:
        read_header(raw(endless(open_item(CODE)), pixel_data=compressed, syntax="1.2.840.10008.1.2.4.50"))
    assert refused.value.code == "dicom.structure"


@pytest.mark.parametrize("name", READ)
def test_an_oddity_that_does_not_lead_to_pixels_is_refused(raw: Raw, name: str) -> None:
    with pytest.raises(DicomRejected) as refused:
        read_header(raw(READ[name], pixel_data=b""))
    # Of these two, what is there is too little to tell a wrong length from a missing end.
    short = name in ("UN with 16 bits of length", "OB with 16 bits of length")
    assert refused.value.code == ("dicom.truncated" if short else "dicom.structure")


@pytest.mark.parametrize("name", ["OB with 16 bits of length", "item closed by a sequence delimiter", "lower case"])
def test_an_odd_header_that_is_cut_short_gives_no_pixels(tmp_path: Path, name: str) -> None:
    whole = raw_bytes(READ[name])
    cut = tmp_path / "cut.dcm"
    for length in range(132, len(whole) - len(RAW_PIXELS) - 12):
        cut.write_bytes(whole[:length])
        with pytest.raises(EdgeaiError):
            list(read_stored(cut))


def test_a_sound_header_that_is_cut_short_is_called_so(raw: Raw) -> None:
    for last in (
        element(0x7FDF1000, "OB", bytes(40))[:-1],
        NEXT[:-1],
        NEXT[:6],
        endless(item(CODE)),
        sequence(CODE)[:14],
    ):
        with pytest.raises(DicomRejected) as refused:
            read_header(raw(last, pixel_data=b""))
        assert refused.value.code == "dicom.truncated", last


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"])
def test_bytes_in_the_other_order_are_no_cut(tmp_path: Path, syntax: str) -> None:
    """pydicom and DCMTK read nonsense; the pixels' own order could not be told."""
    sign = "<" if syntax.endswith(".2.2") else ">"
    meta = element(0x00020010, "UI", syntax + "\0" * (len(syntax) % 2))
    body = pack(f"{sign}HH2sH", 8, 0x16, b"UI", 4) + b"1.2\0" + pack(f"{sign}HH2sH", 8, 0x18, b"UI", 4) + b"1.3\0"
    path = tmp_path / "swapped.dcm"
    path.write_bytes(bytes(128) + b"DICM" + meta + body)
    with pytest.raises(DicomRejected, match="order") as refused:
        read_header(path)
    assert refused.value.code == "dicom.structure"


# --- twice ------------------------------------------------------------------------------------------


TWICE = {
    "TransferSyntaxUID": (0x00020010, "UI", b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4.50"),
    "SOPClassUID": (0x00080016, "UI", b"1.2\0", b"1.4\0"),
    "SOPInstanceUID": (0x00080018, "UI", b"1.2\0", b"1.4\0"),
    "SamplesPerPixel": (0x00280002, "US", b"\1\0", b"\3\0"),
    "PhotometricInterpretation": (0x00280004, "CS", b"MONOCHROME2 ", b"MONOCHROME1 "),
    "PlanarConfiguration": (0x00280006, "US", b"\0\0", b"\1\0"),
    "NumberOfFrames": (0x00280008, "IS", b"1 ", b"2 "),
    "Rows": (0x00280010, "US", b"\6\0", b"\7\0"),
    "Columns": (0x00280011, "US", b"\x08\0", b"\7\0"),
    "BitsAllocated": (0x00280100, "US", b"\x08\0", b"\x10\0"),
    "BitsStored": (0x00280101, "US", b"\x08\0", b"\7\0"),
    "HighBit": (0x00280102, "US", b"\7\0", b"\x08\0"),
    "PixelRepresentation": (0x00280103, "US", b"\0\0", b"\1\0"),
}


@pytest.mark.parametrize("keyword", TWICE)
def test_two_answers_to_what_locates_the_pixels_are_none(raw: Raw, tmp_path: Path, keyword: str) -> None:
    tag, vr, first, second = TWICE[keyword]

    def twice(other: bytes) -> Path:
        both = element(tag, vr, first) + element(tag, vr, other)
        if tag >> 16 != 2:
            return raw(both)
        path = tmp_path / "meta.dcm"
        whole = raw_bytes()
        path.write_bytes(whole[:132] + both + whole[132 + 12 + 28 :])
        return path

    with pytest.raises(DicomRejected, match=keyword) as refused:
        read_header(twice(second))
    assert refused.value.code == "dicom.structure"
    header = read_header(twice(first))
    assert [note.code for note in header.notes] == ["dicom.doubled"]
    assert keyword in header.notes[0].text


def test_after_an_oddity_what_follows_pixel_data_has_to_be_sound(raw: Raw) -> None:
    one, odd = element(0x7FE00010, "OB", RAW_PIXELS), READ["?? with 16 bits of length"]
    for after in (b"", bytes(500), element(0x7FE11001, "LO", "private "), element(0xFFFCFFFC, "OB", bytes(8)), b"end"):
        assert len(list(read_stored(raw(odd, pixel_data=one + after)))) == 1
    with pytest.raises(DicomRejected) as refused:
        read_header(raw(odd, pixel_data=one + b"not an element"))
    assert refused.value.code == "dicom.structure"
    assert len(list(read_stored(raw(pixel_data=one + b"not an element")))) == 1


@pytest.mark.parametrize(
    ("tag", "vr", "first", "second", "field"),
    [
        (0x00080070, "LO", "Acme", "Other ", "manufacturer"),
        (0x00081090, "LO", "One ", "Two ", "manufacturer_model_name"),
        (0x00180015, "CS", "CHEST ", "HEAD", "body_part_examined"),
        (0x0020000D, "UI", "1.5\0", "1.6\0", "study_instance_uid"),
    ],
)
def test_of_two_others_the_first_counts(raw: Raw, tag: int, vr: str, first: str, second: str, field: str) -> None:
    header = read_header(raw(element(tag, vr, first) + element(tag, vr, second)))
    assert getattr(header.instance, field) == first.strip(" \0")
    assert [note.code for note in header.notes] == ["dicom.doubled"]


def test_of_two_in_an_item_the_first_counts(raw: Raw) -> None:
    delta = element(0x0018602C, "FD", pack("<d", 0.01)) + element(0x0018602C, "FD", pack("<d", 0.02))
    corners = b"".join(element(0x00186018 + 2 * n, "UL", pack("<L", value)) for n, value in enumerate((0, 0, 7, 5)))
    kind = b"".join(element(tag, "US", pack("<H", 1)) for tag in (0x00186012, 0x00186014))
    units = b"".join(element(tag, "US", pack("<H", 3)) for tag in (0x00186024, 0x00186026))
    region = item(kind + corners + units + delta + element(0x0018602E, "FD", pack("<d", 0.01)))
    header = read_header(raw(element(0x00186011, "SQ", region)))
    assert header.geometry.spacing_mm() == pytest.approx((0.1, 0.1))
    assert [note.code for note in header.notes] == ["dicom.doubled"]


def test_a_hostile_header_says_only_so_much(raw: Raw) -> None:
    many = b"".join(short_head(b"??", 4, 0x1000 + number) + b"abcd" for number in range(3000))
    header = read_header(raw(many))
    assert len(header.notes) <= 5
    (values,) = read_stored(raw(many))
    assert np.array_equal(values.ravel(), np.frombuffer(RAW_PIXELS, np.uint8))
