"""What stands twice, which PS3.5 7.1 does not allow: of two answers to one question nobody can tell which is meant.

DCMTK takes the first and pydicom the last, wherever in the data set that stands. So what identifies the instance or
locates its pixels may stand twice only where both are the same value, or one is empty.
"""

from __future__ import annotations

from typing import BinaryIO, Final

from edgeai.api.errors import DicomRejected
from edgeai.dicom.attributes import TAGS, Attributes, keyword_of, label
from edgeai.dicom.encoding import PIXEL_DATA_TAGS, TEXT_VRS, Element, name
from edgeai.dicom.limits import HeaderLimits
from edgeai.dicom.notes import DOUBLED, Notes
from edgeai.dicom.prefix import Prefix
from edgeai.dicom.walk import Walker
from edgeai.dicom.walkstate import structure

PIXEL_DATA_TWICE: Final = "Pixel Data (7fe0,0010) appears twice"
_COMPARED_BYTES: Final = 1024 * 1024
MOST_PIXEL_DATA: Final = 16
ONE_OF_A_KIND: Final = frozenset(
    TAGS[keyword][0]
    for keyword in (
        "TransferSyntaxUID",
        "SOPClassUID",
        "SOPInstanceUID",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "PlanarConfiguration",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "ExtendedOffsetTable",
        "ExtendedOffsetTableLengths",
    )
)
"""Of two different ones nobody can tell which instance it is, or where its pixels lie."""


def settle(attributes: Attributes) -> None:
    """Refuse two answers to what there may be one of.

    Raises:
        DicomRejected: ``dicom.structure``.
    """
    for first, second in attributes.walker.doubled:
        if first.tag not in ONE_OF_A_KIND or _bytes(attributes, first) == _bytes(attributes, second):
            continue
        values = [_meaning(attributes, one) for one in (first, second)]
        if all(values) and values[0] != values[1]:
            raise _differs(first.tag)
        if not values[0]:
            attributes.found[first.tag] = second


def note(attributes: Attributes) -> None:
    """What stands twice, and which of the two was used."""
    for first, second in attributes.walker.doubled:
        values = [_bytes(attributes, one) for one in (first, second)]
        used = "; the first was used"
        if values[0] == values[1]:
            used = ", with the same value"
        elif not all(value for _, value in values):
            used = ", once empty; the other was used"
        attributes.notes.add(DOUBLED, f"{label(first.tag)} appears twice{used}")


def _differs(tag: int) -> DicomRejected:
    return structure(f"{label(tag)} appears twice, with different values")


def _bytes(attributes: Attributes, element: Element) -> tuple[str, bytes]:
    value = bytes(attributes.prefix.data[element.start : element.start + element.length])
    return element.vr, value.rstrip(b"\0 ") if element.vr in TEXT_VRS else value


def _meaning(attributes: Attributes, element: Element) -> tuple[object, ...]:
    """What an element says, however it is written; empty where it says nothing."""
    keyword = keyword_of(element.tag)
    one = Attributes(attributes.prefix, attributes.walker, {element.tag: element}, attributes.big_endian, Notes())
    try:
        return one.texts(keyword) if TAGS[keyword][1] in ("CS", "UI") else one.numbers(keyword)
    except DicomRejected:
        return _bytes(attributes, element)


def check_after(
    file: BinaryIO, end: int, size: int, dataset: Attributes, pixels: Element, *, implicit: bool, limits: HeaderLimits
) -> None:
    """Look at the elements after native Pixel Data, which end at ``end`` of the file.

    Whatever does not hold together there was read by nobody, and says nothing.

    Raises:
        DicomRejected: ``dicom.structure``: there are other Pixel Data, or another value of what there may be one of.
    """
    first = end - pixels.length
    for _ in range(MOST_PIXEL_DATA):
        behind, again, start = elements_after(file, end, size, dataset.big_endian, implicit, limits)
        compare(dataset, behind)
        if again is None:
            return
        if again.tag != pixels.tag:
            raise two_kinds(pixels, again)
        # In big endian the order of bytes hangs on the value representation.
        same_vr = not dataset.big_endian or again.vr == pixels.vr
        if not same_vr or again.length != pixels.length or not same_bytes(file, first, start, pixels.length):
            raise structure(f"{PIXEL_DATA_TWICE}, and they are not the same")
        dataset.notes.add(DOUBLED, f"{PIXEL_DATA_TWICE}, with the same value")
        end = start + again.length
        if end + 8 > size:
            return
    raise structure(f"{PIXEL_DATA_TWICE}, and more often than {MOST_PIXEL_DATA} times")


def elements_after(
    file: BinaryIO, position: int, size: int, big_endian: bool, implicit: bool, limits: HeaderLimits
) -> tuple[Attributes | None, Element | None, int]:
    """What there may be one of, the next Pixel Data, and where in the file its value begins; nothing of rubbish."""
    file.seek(position)
    prefix = Prefix(file, limits.max_header_bytes)
    walker = Walker(prefix, big_endian=big_endian, limits=limits, size=size - position)
    try:
        elements, again = walker.elements(0, implicit=implicit, wanted=ONE_OF_A_KIND, stop=PIXEL_DATA_TAGS)
    except DicomRejected:
        return None, None, 0
    attributes = Attributes(prefix, walker, elements, big_endian, Notes())
    return attributes, again, 0 if again is None else position + again.start


def two_kinds(first: Element, second: Element) -> DicomRejected:
    """What an image with two sorts of pixels is."""
    return structure(f"there are two kinds of pixel data, {name(first.tag)} and {name(second.tag)}")


def compare(dataset: Attributes, after: Attributes | None) -> None:
    """Hold what stands behind the pixels against what stands before them, and note what is the same.

    Raises:
        DicomRejected: ``dicom.structure``, another value of what there may be one of.
    """
    for tag, element in () if after is None else after.found.items():
        if tag not in dataset.found:
            continue
        assert after is not None
        values = (_meaning(dataset, dataset.found[tag]), _meaning(after, element))
        if all(values) and values[0] != values[1]:
            raise _differs(tag)
        dataset.notes.add(DOUBLED, f"{label(tag)} appears twice, again after Pixel Data; the first was used")


def same_bytes(file: BinaryIO, one: int, other: int, length: int) -> bool:
    """Whether so many bytes at both places of the file are the same; not, where it ends before."""
    for done in range(0, length, _COMPARED_BYTES):
        size = min(_COMPARED_BYTES, length - done)
        parts = []
        for place in (one, other):
            file.seek(place + done)
            parts.append(file.read(size))
        if parts[0] != parts[1] or len(parts[0]) != size:
            return False
    return True
