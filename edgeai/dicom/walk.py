"""Walks the element boundaries of a header before anything looks at a value.

pydicom accepts an element that the end of the file cuts short, and recurses once for every nested
sequence. This walk does neither: it is iterative, bounded in bytes, depth and elements, and refuses
what does not fit (PS3.5 sections 7.1, 7.5 and A). It keeps only the elements that were asked for, so
that no patient attribute is ever decoded.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple, NoReturn

from edgeai.api.errors import DicomRejected
from edgeai.dicom.limits import HeaderLimits
from edgeai.dicom.prefix import Prefix

UNDEFINED: Final = 0xFFFFFFFF
PIXEL_DATA_TAGS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_LONG_VRS: Final = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)


class Element(NamedTuple):
    """Where one element's value lies. ``vr`` is empty in implicit VR; ``length`` may be ``UNDEFINED``."""

    tag: int
    vr: str
    start: int
    length: int
    implicit: bool


@dataclass(slots=True)
class _Level:
    """One open data set, sequence or run of fragments."""

    kind: str  # "dataset", "sequence" or "fragments"
    end: int | None
    implicit: bool


class Walker:
    """Steps through one encoded data set; ``elements`` does the work."""

    def __init__(self, prefix: Prefix, *, big_endian: bool, limits: HeaderLimits) -> None:
        order = ">" if big_endian else "<"
        self._prefix = prefix
        self._limits = limits
        self._tag_length = Struct(f"{order}HHL")
        self._tag_vr_length = Struct(f"{order}HH2sH")
        self._long = Struct(f"{order}L")
        self._steps = 0

    def elements(
        self, start: int, end: int | None, *, implicit: bool, wanted: Container[int], stop: Container[int] = ()
    ) -> tuple[dict[int, Element], Element | None]:
        """The wanted elements of the data set at ``start``, and the first one whose tag is in ``stop``.

        Args:
            start: offset in the prefix.
            end: likewise, or ``None`` up to the end of the file.
            implicit: whether elements carry no VR.
            wanted: tags to keep. All others are stepped over.
            stop: tags that end the walk, before their value.

        Raises:
            DicomRejected: ``dicom.truncated``, ``dicom.too-deep``, ``dicom.too-many-elements``,
                ``dicom.structure``, ``dicom.header-too-large``.
        """
        found: dict[int, Element] = {}
        levels = [_Level("dataset", end, implicit)]
        position = start
        while levels:
            level = levels[-1]
            if level.end is not None and position >= level.end:
                if position > level.end:
                    _refuse(f"a value runs past the end of its sequence or item at offset {position}")
                levels.pop()
                continue
            if len(levels) == 1 and level.end is None and not self._prefix.has(position + 1):
                break
            self._count(levels)
            if level.kind != "dataset":
                position = self._item(position, levels)
                continue
            element = self._element(position, level.implicit)
            if len(levels) == 1:
                if element.tag in stop:
                    return found, element
                if element.tag in wanted:
                    if element.tag in found:
                        _refuse(f"{name(element.tag)} appears twice")
                    found[element.tag] = element
            position = self._enter(element, levels)
        return found, None

    def items(self, element: Element) -> list[tuple[int, int | None]]:
        """(start, end) of every item of a sequence that ``elements`` has walked already."""
        spans: list[tuple[int, int | None]] = []
        position = element.start
        end = None if element.length == UNDEFINED else element.start + element.length
        while end is None or position < end:
            tag, length = self._tag(position)
            position += 8
            if tag == _SEQUENCE_END:
                break
            if length == UNDEFINED:
                stopped = self.elements(position, None, implicit=element.implicit, wanted=(), stop=(_ITEM_END,))[1]
                if stopped is None:
                    _refuse("an item has no end")
                spans.append((position, stopped.start - 8))
                position = stopped.start
            else:
                spans.append((position, position + length))
                position += length
        return spans

    def _count(self, levels: list[_Level]) -> None:
        self._steps += 1
        if self._steps > self._limits.max_elements:
            raise DicomRejected(
                f"the header has more than {self._limits.max_elements} elements", code="dicom.too-many-elements"
            )
        if len(levels) > 2 * self._limits.max_depth + 1:  # a sequence and its item are two levels
            raise DicomRejected(f"sequences are nested deeper than {self._limits.max_depth}", code="dicom.too-deep")

    def _tag(self, position: int) -> tuple[int, int]:
        self._prefix.need(position + 8)
        group, number, length = self._tag_length.unpack_from(self._prefix.data, position)
        return group << 16 | number, length

    def _element(self, position: int, implicit: bool) -> Element:
        """The element header at ``position``, or a delimiter as an element without VR."""
        self._prefix.need(position + 8)
        data = self._prefix.data
        group, number, vr, length = self._tag_vr_length.unpack_from(data, position)
        tag = group << 16 | number
        if implicit or group == 0xFFFE:
            return Element(tag, "", position + 8, self._tag_length.unpack_from(data, position)[2], True)
        if vr in _LONG_VRS:
            self._prefix.need(position + 12)
            return Element(
                tag, vr.decode(), position + 12, self._long.unpack_from(self._prefix.data, position + 8)[0], False
            )
        if not (b"AA" <= vr <= b"ZZ" and vr.isalpha()):
            # Some writers switch to implicit VR in the middle; pydicom reads those in the same way.
            return Element(tag, "", position + 8, self._tag_length.unpack_from(data, position)[2], True)
        return Element(tag, vr.decode(), position + 8, length, False)

    def _enter(self, element: Element, levels: list[_Level]) -> int:
        """Step over a plain value, or into a sequence; the next position."""
        if element.tag >> 16 == 0xFFFE:
            if element.tag != _ITEM_END or len(levels) == 1 or levels[-1].end is not None:
                _refuse(f"an item delimiter where none belongs, at offset {element.start - 8}")
            levels.pop()
            return element.start
        kind = _kind(element)
        end = None if element.length == UNDEFINED else element.start + element.length
        if kind == "value":
            if end is None:
                _refuse(f"{name(element.tag)} has no length")
            self._prefix.need(end)
            return end
        if end is not None:
            self._prefix.need(end)
            outer = levels[-1].end
            if outer is not None and end > outer:
                _refuse(f"{name(element.tag)} runs past the end of its item")
        # PS3.5 6.2.2: a UN of undefined length holds implicit VR, whatever is around it.
        levels.append(_Level(kind, end, element.implicit or element.vr == "UN"))
        return element.start

    def _item(self, position: int, levels: list[_Level]) -> int:
        """The item or delimiter at ``position`` in a sequence or a run of fragments; the next position."""
        level = levels[-1]
        tag, length = self._tag(position)
        if tag == _SEQUENCE_END and level.end is None:
            levels.pop()
        elif tag != _ITEM:
            _refuse(f"{name(tag)} where an item belongs, at offset {position}")
        elif level.kind == "fragments":
            if length == UNDEFINED:
                _refuse("a fragment without a length")
            self._prefix.need(position + 8 + length)
            return position + 8 + length
        else:
            end = None if length == UNDEFINED else position + 8 + length
            if end is not None and level.end is not None and end > level.end:
                _refuse("an item runs past the end of its sequence")
            levels.append(_Level("dataset", end, level.implicit))
        return position + 8


def _kind(element: Element) -> str:
    """Whether a value is plain, a sequence, or encapsulated fragments (an icon's Pixel Data)."""
    if element.vr == "SQ":
        return "sequence"
    if element.length == UNDEFINED:
        return {"OB": "fragments", "OW": "fragments", "UN": "sequence", "": "sequence"}.get(element.vr, "value")
    if element.vr == "" and element.length >= 8 and not element.tag >> 16 & 1:
        from pydicom.datadict import dictionary_VR  # heavy, and only implicit VR needs it

        try:
            return "sequence" if dictionary_VR(element.tag) == "SQ" else "value"
        except KeyError:
            return "value"
    return "value"


def name(tag: int) -> str:
    """``(gggg,eeee)`` as the Standard writes it."""
    return f"({tag >> 16:04x},{tag & 0xFFFF:04x})"


def _refuse(what: str) -> NoReturn:
    raise DicomRejected(f"the header does not hold together: {what}", code="dicom.structure")
