"""What stands twice: read where both say the same or only one says anything, refused where nobody can tell."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from pathlib import Path
from struct import pack

import pydicom
import pytest

from edgeai.api import DicomRejected, PixelsRejected
from edgeai.dicom.header import read_header
from edgeai.dicom.pixels import DecodeOptions, read_frames, read_stored
from edgeai.testing.raw_dicom import RAW_PIXELS, element, item, raw_bytes

Raw = Callable[..., Path]
ONE = element(0x7FE00010, "OB", RAW_PIXELS)
OTHER = element(0x7FE00010, "OB", RAW_PIXELS[::-1])
PRIVATE = element(0x7FE10010, "LO", "MAKER ")
SEQUENCE_END = pack("<HHL", 0xFFFE, 0xE0DD, 0)


def number(value: int) -> bytes:
    return pack("<H", value)


def seen(path: Path) -> tuple[list[bytes], list[str]]:
    header = read_header(path)
    return [values.tobytes() for values in read_stored(path, header=header)], [note.code for note in header.notes]


@pytest.mark.parametrize(
    "twice",
    {
        "at once": ONE + ONE,
        "three times": ONE + ONE + ONE,
        "with something between": ONE + PRIVATE + ONE,
        "with padding between": ONE + element(0xFFFCFFFC, "OB", bytes(2)) + ONE,
        "as words": ONE + element(0x7FE00010, "OW", RAW_PIXELS),
    }.items(),
    ids=lambda case: case[0],
)
def test_the_same_pixel_data_again_are_read_and_noted(raw: Raw, twice: tuple[str, bytes]) -> None:
    path = raw(pixel_data=twice[1])
    assert seen(path) == ([RAW_PIXELS], ["dicom.doubled"])
    assert pydicom.dcmread(path).PixelData == RAW_PIXELS


@pytest.mark.parametrize(
    "twice",
    {
        "at once": ONE + OTHER,
        "with something between": ONE + PRIVATE + OTHER,
        "with padding between": ONE + element(0xFFFCFFFC, "OB", bytes(2)) + OTHER,
        "the third": ONE + ONE + OTHER,
        "one byte": ONE + ONE[:-1] + b"\0",
        "shorter": ONE + element(0x7FE00010, "OB", RAW_PIXELS[:-2]),
        "cut short": ONE + ONE[:-10],
    }.items(),
    ids=lambda case: case[0],
)
def test_of_other_pixel_data_none_are_taken(raw: Raw, twice: tuple[str, bytes]) -> None:
    """DCMTK takes the first, pydicom the last."""
    with pytest.raises(DicomRejected, match=r"Pixel Data .* appears twice") as refused:
        read_header(raw(pixel_data=twice[1]))
    assert refused.value.code == "dicom.structure"


DEFLATED = "1.2.840.10008.1.2.1.99"


def deflate(tmp_path: Path, *elements: bytes, pixel_data: bytes) -> Path:
    """A deflated image with these elements in it, and these instead of its Pixel Data."""
    whole = raw_bytes(*elements, pixel_data=pixel_data, syntax=DEFLATED)
    start = whole.index(b"\x08\0\x16\0UI")
    engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    path = tmp_path / "deflated.dcm"
    path.write_bytes(whole[:start] + engine.compress(whole[start:]) + engine.flush())
    return path


def decoded(path: Path) -> tuple[list[bytes], list[str]]:
    frames = list(read_frames(path))
    return [frame.pixels.tobytes() for frame in frames], [note.code for frame in frames for note in frame.notes]


@pytest.mark.parametrize(
    ("behind", "codes"),
    [
        (b"", []),
        (PRIVATE, []),
        (bytes(64), []),
        (b"\0", []),
        (b"rubbish that nobody reads", []),
        (ONE, ["dicom.doubled"]),
        (ONE + ONE, ["dicom.doubled"]),
        (PRIVATE + ONE, ["dicom.doubled"]),
        (element(0xFFFCFFFC, "OB", bytes(2)) + ONE, ["dicom.doubled"]),
        (element(0x7FE00010, "OW", RAW_PIXELS), ["dicom.doubled"]),
        (element(0x7FE10010, "OB", bytes(200_000)) + ONE, ["dicom.doubled"]),
        (element(0x00280010, "US", number(6)), ["dicom.doubled"]),
    ],
)
def test_what_is_behind_deflated_pixels_is_noted_as_in_a_plain_file(
    tmp_path: Path, behind: bytes, codes: list[str]
) -> None:
    path = deflate(tmp_path, pixel_data=ONE + behind)
    assert decoded(path) == ([RAW_PIXELS], codes)
    assert [values.tobytes() for values in read_stored(path)] == [RAW_PIXELS]


@pytest.mark.parametrize(
    ("behind", "words"),
    [
        (OTHER, "appears twice"),
        (PRIVATE + OTHER, "appears twice"),
        (ONE + OTHER, "appears twice"),
        (ONE[:-1] + b"\0", "appears twice"),
        (element(0x7FE00010, "OB", RAW_PIXELS[:-2]), "appears twice"),
        (ONE[:-10], "appears twice"),
        (ONE * 20, "appears twice"),
        (element(0x7FE00008, "OF", RAW_PIXELS), "two kinds"),
        (element(0x00280010, "US", number(3)), "different values"),
        (element(0x00080018, "UI", "1.2.4\0"), "different values"),
    ],
)
def test_of_two_answers_in_a_deflated_file_none_is_taken(tmp_path: Path, behind: bytes, words: str) -> None:
    path = deflate(tmp_path, pixel_data=ONE + behind)
    for read in (read_frames, read_stored):
        with pytest.raises(DicomRejected, match=words) as refused:
            list(read(path))
        assert refused.value.code == "dicom.structure"


def test_a_large_deflated_image_is_compared_to_its_last_byte(tmp_path: Path) -> None:
    """Larger than anything that is read ahead, and of several frames of which one is asked for."""
    size = 600
    values = bytes(range(256)) * (2 * size * size // 256 + 1)
    pixels = values[: 2 * size * size]
    shape = [element(0x00280010, "US", number(size)), element(0x00280011, "US", number(size))]
    shape += [element(0x00280008, "IS", "2 ")]
    one, other = (element(0x7FE00010, "OB", each) for each in (pixels, pixels[:-1] + b"\x01"))
    assert pixels[-1] != 1
    path = deflate(tmp_path, *shape, pixel_data=one + one)
    (frame,) = read_frames(path, DecodeOptions(frames=[1]))
    assert frame.pixels.tobytes() == pixels[: size * size]
    assert [note.code for note in frame.notes] == ["dicom.doubled"]
    path = deflate(tmp_path, *shape, pixel_data=one + other)
    with pytest.raises(DicomRejected, match="appears twice"):
        list(read_frames(path, DecodeOptions(frames=[1])))


def test_what_a_damaged_stream_hides_behind_whole_pixels_says_nothing(tmp_path: Path) -> None:
    path = deflate(tmp_path, pixel_data=ONE + element(0x7FE10010, "OB", random.Random(7).randbytes(300_000)))
    path.write_bytes(path.read_bytes()[:-40])
    assert decoded(path) == ([RAW_PIXELS], [])


def test_pixel_data_of_two_kinds_are_not_said_to_be_one_twice(raw: Raw) -> None:
    with pytest.raises(DicomRejected, match="two kinds") as refused:
        read_header(raw(pixel_data=element(0x7FE00008, "OF", RAW_PIXELS) + ONE))
    assert refused.value.code == "dicom.structure"


def test_compressed_pixel_data_twice(raw: Raw) -> None:
    syntax = "1.2.840.10008.1.2.1.98"  # encapsulated, and uncompressed

    def fragments(data: bytes) -> bytes:
        return pack("<HH2sHL", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + item(b"") + item(data) + SEQUENCE_END

    one, other = fragments(RAW_PIXELS), fragments(RAW_PIXELS[::-1])
    for once in (one, one + PRIVATE, one + bytes(64)):
        (frame,) = read_frames(raw(pixel_data=once, syntax=syntax))
        assert (frame.pixels.tobytes(), frame.notes) == (RAW_PIXELS, ())
    for same in (one + one, one + PRIVATE + one):
        (frame,) = read_frames(raw(pixel_data=same, syntax=syntax))
        assert frame.pixels.tobytes() == RAW_PIXELS
        assert [note.code for note in frame.notes] == ["dicom.doubled"]
    for different in (one + other, one + PRIVATE + other, one + one + other, one + one[:-1]):
        with pytest.raises(PixelsRejected, match="appears twice") as refused:
            list(read_frames(raw(pixel_data=different, syntax=syntax)))
        assert refused.value.code == "pixels.twice"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (element(0x00280008, "IS", "1 "), element(0x00280008, "IS", "01")),
        (element(0x00280008, "IS", "1 "), element(0x00280008, "IS", " 1")),
        (element(0x00280010, "US", number(6)), element(0x00280010, "UL", pack("<L", 6))),
        (element(0x00080018, "UI", "1.2.3\0"), element(0x00080018, "UI", "1.2.3 ")),
    ],
)
def test_one_value_in_two_writings_is_one(raw: Raw, first: bytes, second: bytes) -> None:
    pixels, codes = seen(raw(first, second))
    assert pixels == [RAW_PIXELS]
    assert "dicom.doubled" in codes


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (0x00280010, "US", number(6)),
        (0x00080018, "UI", b"1.2.3\0"),
        (0x00280004, "CS", b"MONOCHROME2 "),
        (0x00280008, "IS", b"1 "),
        (0x00280101, "US", number(8)),
    ],
)
def test_an_empty_one_is_no_second_value(raw: Raw, tag: int, vr: str, value: bytes, reverse: bool) -> None:
    """An empty element has no value (PS3.5 7.4.4), so that there is only one answer. One of the two peers fails."""
    pair = [element(tag, vr, b""), element(tag, vr, value)]
    pixels, codes = seen(raw(*reversed(pair) if reverse else pair))
    assert (pixels, codes) == ([RAW_PIXELS], ["dicom.doubled"])


def test_of_an_empty_one_and_another_that_one_counts(raw: Raw) -> None:
    header = read_header(raw(element(0x00080070, "LO", ""), element(0x00080070, "LO", "ACME")))
    assert header.instance.manufacturer == "ACME"
    assert [note.code for note in header.notes] == ["dicom.doubled"]


@pytest.mark.parametrize(("one", "other"), [(6, 0x2006), (8, 0x0008 | 0x2000)])
def test_binary_values_are_not_compared_as_text(raw: Raw, one: int, other: int) -> None:
    """0x2006 has a blank for its upper byte."""
    tag = 0x00280010 if one == 6 else 0x00280011
    with pytest.raises(DicomRejected, match="different values"):
        read_header(raw(element(tag, "US", number(one)), element(tag, "US", number(other))))


def test_many_that_are_twice_hide_none_that_differs(raw: Raw) -> None:
    """Only the first few are told; all are compared."""
    harmless = [element(0x00080070, "LO", "ACME")] * 20
    rows = [element(0x00280010, "US", number(6)), element(0x00280010, "US", number(7))]
    with pytest.raises(DicomRejected, match=r"Rows .* different values"):
        read_header(raw(*harmless, *rows))


@pytest.mark.parametrize(
    ("again", "refused"),
    [
        (element(0x00280010, "US", number(6)), False),
        (element(0x00280010, "US", number(3)), True),
        (element(0x00080018, "UI", "1.2.3\0"), False),
        (element(0x00080018, "UI", "1.2.4\0"), True),
    ],
)
def test_what_comes_again_after_the_pixels_counts_too(raw: Raw, again: bytes, refused: bool) -> None:
    """DCMTK takes the first and pydicom the last, wherever that stands."""
    path = raw(pixel_data=ONE + again)
    if refused:
        with pytest.raises(DicomRejected, match="different values") as error:
            read_header(path)
        assert error.value.code == "dicom.structure"
    else:
        assert seen(path) == ([RAW_PIXELS], ["dicom.doubled"])
