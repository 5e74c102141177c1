"""The walk over a header alone: what it keeps, where it ends, and what it refuses, byte by byte."""

from __future__ import annotations

import io
from struct import pack

import pytest

from edgeai.api import DicomRejected
from edgeai.dicom.encoding import Element
from edgeai.dicom.limits import HeaderLimits
from edgeai.dicom.prefix import Prefix
from edgeai.dicom.walk import Walker
from edgeai.testing.raw_dicom import element, item

ENDLESS = 0xFFFFFFFF
ITEM_END, SEQUENCE_END = pack("<HHL", 0xFFFE, 0xE00D, 0), pack("<HHL", 0xFFFE, 0xE0DD, 0)
STOP = 0x7FE00010
PIXELS = element(STOP, "OB", b"\1\2\3\4")
CODE = element(0x00080100, "SH", "A ")
ROWS = element(0x00280010, "US", pack("<H", 6))
REGIONS = 0x00186011


def sq(body: bytes, tag: int = REGIONS, length: int | None = None) -> bytes:
    return pack("<HH2sHL", tag >> 16, tag & 0xFFFF, b"SQ", 0, len(body) if length is None else length) + body


def value(length: int, body: bytes = b"", tag: int = 0x00080102, vr: bytes = b"SH") -> bytes:
    """An element that states this length, whatever follows it."""
    return pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, length) + body


def walker(data: bytes, **limits: int) -> Walker:
    bounds = HeaderLimits(**limits)
    return Walker(Prefix(io.BytesIO(data), bounds.max_header_bytes), big_endian=False, limits=bounds, size=len(data))


def walked(data: bytes, *wanted: int, **limits: int) -> tuple[Walker, dict[int, Element], Element | None]:
    one = walker(data, **limits)
    kept, stopped = one.elements(0, implicit=False, wanted=wanted, stop={STOP})
    return one, kept, stopped


def refusal(data: bytes, **limits: int) -> DicomRejected:
    with pytest.raises(DicomRejected) as caught:
        walked(data, 0x00280010, **limits)
    return caught.value


def items_of(data: bytes, tag: int = REGIONS, *wanted: int) -> list[dict[int, Element]]:
    one, kept, _ = walked(data, tag)
    return one.items(kept[tag], wanted or (0x00080100, 0x00080102))


# --- a value longer than what it lies in --------------------------------------------------------------

LONGER = {
    "by one byte": 3,
    "up to the end of its sequence": 2 + len(item(CODE)),
    "into what follows": 2 + len(item(CODE)) + 6,
    "past the end of the file": 60_000,
}


@pytest.mark.parametrize("what", [what for what in LONGER if what != "up to the end of its sequence"])
def test_a_value_that_runs_past_the_end_of_its_item_is_left_where_the_item_ends(what: str) -> None:
    """Else it swallows what comes after it, or the file is called cut short."""
    data = sq(item(value(LONGER[what], b"A ")) + item(CODE)) + ROWS + PIXELS
    one, kept, stopped = walked(data, 0x00280010)
    assert one.oddities == ["(0008,0102) runs past the end of its item or sequence"]
    assert 0x00280010 in kept
    assert stopped is not None
    assert stopped.start == len(data) - 4


def test_where_item_and_value_could_both_be_right_neither_is_believed() -> None:
    data = sq(item(value(LONGER["up to the end of its sequence"], b"A ")) + item(CODE)) + ROWS + PIXELS
    error = refusal(data)
    assert error.code == "dicom.structure"
    assert "(0008,0102) runs past the end of its item or sequence" in str(error)


@pytest.mark.parametrize("what", LONGER)
def test_of_a_sequence_that_is_read_it_is_refused_by_its_name(what: str) -> None:
    data = sq(item(value(LONGER[what], b"A ")) + item(CODE)) + ROWS + PIXELS
    with pytest.raises(DicomRejected) as caught:
        items_of(data)
    assert caught.value.code == "dicom.structure"
    assert "(0008,0102) runs past the end of its item or sequence" in str(caught.value)


@pytest.mark.parametrize("inner", [value(9, b"A "), sq(b"", 0x00081140, 400), value(2, b"A ")[:-2] + b"A"])
def test_so_does_one_that_is_nested_in_an_endless_item(inner: bytes) -> None:
    """What an endless item lies in has an end all the same."""
    open_item = pack("<HHL", 0xFFFE, 0xE000, ENDLESS) + inner
    data = sq(open_item) + ROWS + PIXELS
    one, kept, stopped = walked(data, 0x00280010)
    assert "runs past the end" in one.oddities[0]
    assert 0x00280010 in kept
    assert stopped is not None


def test_a_value_that_ends_with_its_item_is_sound() -> None:
    data = sq(item(value(2, b"A ")) + item(CODE)) + ROWS + PIXELS
    one, kept, stopped = walked(data, REGIONS)
    assert (one.oddities, stopped is not None) == ([], True)
    items = one.items(kept[REGIONS], (0x00080100, 0x00080102))
    assert [list(each) for each in items] == [[0x00080102], [0x00080100]]


def test_an_empty_value_may_be_the_last_of_its_item() -> None:
    """In implicit VR, where each element is looked at by itself."""
    empty = pack("<HHL", 0x0008, 0x0102, 0)
    code = pack("<HHL", 0x0008, 0x0100, 2) + b"A "
    items = pack("<HHL", 0xFFFE, 0xE000, len(code + empty)) + code + empty
    data = pack("<HHL", REGIONS >> 16, REGIONS & 0xFFFF, len(items)) + items + pack("<HHL", 0x7FE0, 0x0010, 4) + b"abcd"
    one = walker(data)
    kept, stopped = one.elements(0, implicit=True, wanted={REGIONS}, stop={STOP})
    assert (one.oddities, stopped is not None) == ([], True)
    assert [sorted(each) for each in one.items(kept[REGIONS], (0x00080100, 0x00080102))] == [[0x00080100, 0x00080102]]


def test_zeros_where_zeros_belong_are_not_the_length() -> None:
    """Its length and its value read as elements too, were the length thought to be in the zeros."""
    name = b"UL\4\0" + bytes(4) + pack("<HH2sH", 0x0010, 0x0010, b"PN", 0)
    data = pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, len(name)) + name + ROWS + PIXELS
    one, kept, stopped = walked(data, 0x00091001, 0x00100010)
    assert (list(kept), one.oddities, stopped is not None) == ([0x00091001], [], True)
    assert kept[0x00091001].length == len(name) == 0x10


@pytest.mark.parametrize("length", [1, 2, 3, 256])
def test_a_length_where_zeros_belong_is_believed_when_it_leads_on(length: int) -> None:
    one, kept, _ = walked(value(length, bytes(length), 0x00091001, b"OB") + ROWS + PIXELS, 0x00091001, 0x00280010)
    assert one.oddities == ["(0009,1001) is of OB with a length of 16 bits"]
    assert [each.length for each in kept.values()] == [length, 2]


# --- what is kept -------------------------------------------------------------------------------------


def test_elements_are_kept_with_their_place_and_no_other_is() -> None:
    data = CODE + ROWS + PIXELS
    one, kept, stopped = walked(data, 0x00280010)
    assert kept == {0x00280010: Element(0x00280010, "US", len(CODE) + 8, 2, False)}
    assert stopped == Element(STOP, "OB", len(data) - 4, 4, False)
    assert (one.oddities, len(one.doubled)) == ([], 0)


def test_a_walk_that_meets_no_stop_ends_with_the_data() -> None:
    one, kept, stopped = walked(CODE + ROWS, 0x00280010)
    assert (list(kept), stopped, one.oddities) == ([0x00280010], None, [])


def test_of_two_the_first_counts_and_both_are_told() -> None:
    one, kept, _ = walked(ROWS + ROWS + PIXELS, 0x00280010)
    assert kept[0x00280010].start == 8
    assert len(one.doubled) == 1
    one, _, _ = walked(ROWS * 2 + PIXELS, 0x00080100)
    assert not one.doubled, "of what nobody wants nothing is told"


@pytest.mark.parametrize("length", [None, ENDLESS])
def test_elements_inside_a_sequence_are_not_the_data_sets_own(length: int | None) -> None:
    body = item(ROWS) if length is None else item(ROWS) + SEQUENCE_END
    data = sq(body, length=length) + PIXELS
    one, kept, stopped = walked(data, 0x00280010, REGIONS)
    assert list(kept) == [REGIONS]
    assert stopped is not None
    assert [list(each) for each in one.items(kept[REGIONS], (0x00280010,))] == [[0x00280010]]


def test_an_item_ends_where_it_says_and_the_next_is_another() -> None:
    open_item = pack("<HHL", 0xFFFE, 0xE000, ENDLESS) + CODE + ITEM_END
    data = sq(item(CODE) + open_item + item(b"") + item(CODE + ROWS)) + PIXELS
    assert [sorted(each) for each in items_of(data, REGIONS, 0x00080100, 0x00280010)] == [
        [0x00080100],
        [0x00080100],
        [],
        [0x00080100, 0x00280010],
    ]


def test_un_without_a_length_holds_implicit_vr_inside_explicit() -> None:
    implicit = pack("<HHL", 8, 0x100, 2) + b"A "
    body = item(implicit) + SEQUENCE_END
    data = pack("<HH2sHL", 0x0018, 0x6011, b"UN", 0, ENDLESS) + body + PIXELS
    [only] = items_of(data)
    assert only[0x00080100] == Element(0x00080100, "", 28, 2, True)


# --- bounds -------------------------------------------------------------------------------------------


def test_elements_are_counted_to_the_last() -> None:
    data = CODE * 5 + PIXELS
    assert walked(data, max_elements=6)[2] is not None
    assert refusal(data, max_elements=5).code == "dicom.too-many-elements"
    assert refusal(sq(item(CODE) * 3) + PIXELS, max_elements=6).code == "dicom.too-many-elements"


@pytest.mark.parametrize("length", [None, ENDLESS])
def test_depth_is_counted_in_sequences(length: int | None) -> None:
    def nested(depth: int) -> bytes:
        body = CODE
        for _ in range(depth):
            body = sq(item(body) + (SEQUENCE_END if length else b""), length=length)
        return body + PIXELS

    assert walked(nested(3), max_depth=3)[2] is not None
    assert refusal(nested(4), max_depth=3).code == "dicom.too-deep"


@pytest.mark.parametrize("kept_bytes", range(1, len(CODE + ROWS)))
def test_a_header_that_is_cut_inside_an_element_is_cut_short(kept_bytes: int) -> None:
    data = (CODE + ROWS)[:kept_bytes]
    if kept_bytes == len(CODE):
        assert walked(data)[2] is None
    else:
        assert refusal(data).code == "dicom.truncated"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (value(900, b"A ") + ROWS + PIXELS, "longer than all that follows"),
        (sq(pack("<HHL", 0xFFFE, 0xE000, 5000) + CODE), "an item runs past the end of its sequence"),
        (sq(CODE), "(0008,0100) where an item belongs"),
        (pack("<HHL", 0xFFFE, 0xE00D, 4) + b"abcd" + PIXELS, "an item delimiter where none belongs"),
    ],
)
def test_what_does_not_hold_together_says_where(data: bytes, why: str) -> None:
    error = refusal(data)
    assert error.code == "dicom.structure"
    assert why in str(error)


def test_after_an_oddity_elements_have_to_rise() -> None:
    odd = value(2, b"A ", vr=b"??")
    one, kept, stopped = walked(odd + ROWS + PIXELS, 0x00280010)
    assert (len(one.oddities), list(kept), stopped is not None) == (1, [0x00280010], True)
    error = refusal(odd + ROWS + CODE + PIXELS)
    assert error.code == "dicom.structure"
    assert "(0008,0100) comes after (0028,0010)" in str(error)
    again = refusal(odd + ROWS + ROWS + PIXELS)
    assert "(0028,0010) comes after (0028,0010)" in str(again)


def test_an_oddity_that_leads_to_no_pixels_is_none_to_go_by() -> None:
    assert refusal(value(2, b"A ", vr=b"??") + ROWS).code == "dicom.structure"
