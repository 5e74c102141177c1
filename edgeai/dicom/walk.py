"""Walks the element boundaries of a header before anything looks at a value.

pydicom accepts an element that the end of the file cuts short, and recurses once for every nested
sequence. This walk does neither: it is iterative, bounded in bytes, depth and elements, and refuses
what does not fit (PS3.5 sections 7.1, 7.5 and A). It keeps only the elements that were asked for, so
that no patient attribute is ever decoded.

Where something does not fit and it is certain how the walk goes on, it goes on, and the oddity is kept: a delimiter of
the wrong kind, a value representation that does not exist, a sequence of known length with rubbish in it. It was
certain if, from there on, elements rise and the walk arrives at what it was looking for; else all is refused.
"""

from __future__ import annotations

from collections.abc import Container

from edgeai.api.errors import DicomRejected
from edgeai.dicom.encoding import (
    FRAGMENT_VRS,
    ITEM,
    ITEM_END,
    LONG_VRS,
    PIXEL_DATA_TAGS,
    SEQUENCE_END,
    SHORT_VRS,
    UNDEFINED,
    Element,
    Level,
    is_sequence,
    name,
)
from edgeai.dicom.lookahead import SURE
from edgeai.dicom.prefix import cut_short
from edgeai.dicom.walkstate import WalkState, structure
from edgeai.dicom.wayout import way_out


class _DoesNotFit(Exception):
    """The header does not hold together at this place. ``overrun``: where what stands there would end."""

    def __init__(self, fault: str, overrun: int | None = None) -> None:
        super().__init__(fault)
        self.overrun = overrun


class Walker(WalkState):
    """Steps through one encoded data set; ``elements`` does the work."""

    def elements(
        self, start: int, *, implicit: bool, wanted: Container[int], stop: Container[int]
    ) -> tuple[dict[int, Element], Element | None]:
        """The wanted elements of the data set at ``start``, and the first one whose tag is in ``stop``.

        Args:
            start: offset in the prefix.
            implicit: whether elements carry no VR.
            wanted: tags to keep. All others are stepped over.
            stop: tags that end the walk, before their value.

        Raises:
            DicomRejected: ``dicom.truncated``, ``dicom.too-deep``, ``dicom.too-many-elements``,
                ``dicom.structure``, ``dicom.header-too-large``.
        """
        self._stop, self._implicit = stop, implicit
        kept: list[dict[int, Element]] = [{}]
        try:
            stopped = self._walk(start, [Level("dataset", None, implicit)], kept, wanted)
        except DicomRejected as error:
            if self.oddities and error.code == "dicom.truncated":
                raise structure(self.oddities[0]) from error
            raise
        if self.oddities and stopped is None:
            raise structure(self.oddities[0])
        return kept[0], stopped

    def items(self, element: Element, wanted: Container[int]) -> list[dict[int, Element]]:
        """The wanted elements of every item of a sequence.

        Raises:
            DicomRejected: as ``elements``. Nothing in it is stepped over that does not fit.
        """
        self._stop = ()
        end = None if element.length == UNDEFINED else element.start + element.length
        kept: list[dict[int, Element]] = []
        implicit = element.implicit or element.vr == "UN"
        self._walk(element.start, [Level("sequence", end, implicit, end, element.tag, element.start)], kept, wanted)
        return kept

    def _walk(
        self, position: int, levels: list[Level], kept: list[dict[int, Element]], wanted: Container[int]
    ) -> Element | None:
        """Fill ``kept`` with elements of the data set, or of each item of the sequence, that ``levels`` begins with."""
        depth = 1 if levels[0].kind == "dataset" else 2
        self._kept, self._depth = kept, depth
        while levels:
            level = levels[-1]
            if position == level.end:
                self._closed = levels.pop()
                continue
            opened = len(levels)
            if level.kind == "dataset" and not level.implicit and self._rising_from is None:
                position = self._run(position, level, kept[-1] if opened == depth else None, wanted)
                if position == level.end:
                    continue
            if opened == 1 and depth == 1 and not self._prefix.has(position + 1):
                break
            self._count()
            try:
                if level.kind != "dataset":
                    position = self._item(position, levels)
                    if depth == 2 and opened == 1 and len(levels) == 2:
                        kept.append({})
                    continue
                element = self._element(position, level)
                if opened == depth:
                    tag = element.tag
                    if tag in self._stop:
                        return element
                    if depth == 1:
                        self._rise(tag)
                    if tag in wanted and kept[-1].setdefault(tag, element) is not element:
                        self._double(kept[-1], element)
                position = self._enter(element, levels)
            except _DoesNotFit as fault:
                if depth == 2:
                    raise structure(str(fault)) from None
                position = self._leave(levels, position, fault)
        return None

    def _run(self, position: int, level: Level, kept: dict[int, Element] | None, wanted: Container[int]) -> int:
        """Step over plain elements in explicit VR, as most are, in one tight loop; where the first other one begins."""
        data, unpack, stop = self._prefix.data, self._order.tag_vr_length.unpack_from, self._stop
        end = len(data) if level.bound is None else min(level.bound, len(data))
        latest = self._latest
        while position + 8 <= end and self._steps < self._limits.max_elements:
            group, number, vr, length = unpack(data, position)
            short = SHORT_VRS.get(vr)
            after = position + 8 + length
            if short is None or after > end or group == 0xFFFE:
                break
            tag = group << 16 | number
            if kept is not None:
                if tag in stop:
                    break
                if tag in wanted:
                    element = Element(tag, short, position + 8, length, False)
                    if kept.setdefault(tag, element) is not element:
                        self._double(kept, element)
                latest = tag
            self._steps += 1
            position = after
        self._latest = latest
        return position

    def _leave(self, levels: list[Level], position: int, fault: _DoesNotFit) -> int:
        """Leave what does not hold together by the one way out that there is; the next position."""
        level = levels[-1]
        if level.reopened and position == level.bound:
            self._mend(levels.pop(), levels, position)
            return position
        way = way_out(levels, position, fault.overrun, self._ahead)
        if way is None:
            raise structure(str(fault))
        self._odd(str(fault))
        left = levels[way.kept]
        del levels[way.kept :]
        if way.more:
            self._reopen(left, levels)
        elif left.kind == "sequence" and way.position != left.end:
            self._mend(left, levels, way.position)
        return way.position

    def _overrun(self, position: int, level: Level) -> int | None:
        """Where the element ends whose header does not fit into its item."""
        if self._ahead.tag(position) == ITEM_END:
            return position + 8
        try:
            element = self._element(position, Level("dataset", None, level.implicit))
        except (DicomRejected, _DoesNotFit):
            return None
        return None if element.length == UNDEFINED else element.start + element.length

    def _element(self, position: int, level: Level) -> Element:
        """The element header at ``position``, or a delimiter as an element without VR."""
        if level.bound is not None and position + 8 > level.bound:
            fault = f"an item or a sequence ends inside an element, at offset {position}"
            raise _DoesNotFit(fault, self._overrun(position, level))
        prefix = self._prefix
        if position + 12 > len(prefix.data):
            prefix.need(position + 8)
        group, number, vr, length = self._order.tag_vr_length.unpack_from(prefix.data, position)
        tag = group << 16 | number
        if level.implicit or group == 0xFFFE:
            return Element(tag, "", position + 8, self._order.long.unpack_from(prefix.data, position + 4)[0], True)
        short = SHORT_VRS.get(vr)
        if short is not None:
            return Element(tag, short, position + 8, length, False)
        long = LONG_VRS.get(vr)
        if long is not None and length == 0:
            prefix.need(position + 12)
            return Element(tag, long, position + 12, self._order.long.unpack_from(prefix.data, position + 8)[0], False)
        return self._odd_element(position, tag, long, level)

    def _odd_element(self, position: int, tag: int, long: str | None, level: Level) -> Element:
        """An element whose value representation does not exist, or has something where zeros belong."""
        if tag in self._stop and tag not in PIXEL_DATA_TAGS:  # File Meta has ended, and with it its encoding
            return Element(tag, "", position + 8, 0, True)
        if long is not None:
            self._prefix.need(position + 12)
        chosen = self._ahead.choose(position, level, long)
        if chosen is None:
            raise _DoesNotFit(f"{name(tag)} has no value representation of the Standard, and its length cannot be told")
        if long is None:
            self._odd(f"{name(tag)} has no value representation of the Standard")
        elif chosen.start == position + 8:
            self._odd(f"{name(tag)} is of {long} with a length of 16 bits")
        return chosen

    def _enter(self, element: Element, levels: list[Level]) -> int:
        """Step over a plain value, or into a sequence; the next position."""
        if element.tag >> 16 == 0xFFFE:
            return self._delimiter(element, levels)
        if element.length == UNDEFINED:
            return self._enter_undefined(element, levels)
        level = levels[-1]
        end = element.start + element.length
        if level.bound is not None and end > level.bound:
            raise _DoesNotFit(f"{name(element.tag)} runs past the end of its item or sequence", end)
        if end > len(self._prefix.data):
            self._need(element, end)
        if element.vr != "SQ" and not (element.implicit and is_sequence(element)):
            self._swallowed(element.tag, end, level)
            if element.length == 0:
                self._empty = element
            return end
        # PS3.5 6.2.2: a UN of undefined length holds implicit VR, whatever is around it.
        self._push(levels, Level("sequence", end, element.implicit, end, element.tag, element.start))
        return element.start

    def _swallowed(self, tag: int, end: int, level: Level) -> None:
        """Pixel Data that ends with the file are the image's, whatever they seem to lie in."""
        if end == self._size and level.tag and tag in PIXEL_DATA_TAGS:
            raise _DoesNotFit(f"an item of {name(level.tag)} does not end before Pixel Data")

    def _need(self, element: Element, end: int) -> None:
        beyond = end > self._size if self._size is not None else not self._prefix.has(end)
        if beyond and self._ahead.pixel_data_after(element.start):
            raise structure(f"{name(element.tag)} says that it is longer than all that follows")
        if beyond and self._size is not None:  # so that nothing more need be read
            raise cut_short(end, self._size)
        self._prefix.need(end)

    def _enter_undefined(self, element: Element, levels: list[Level]) -> int:
        """Step into what ends with a delimiter: a sequence, or the fragments of an icon's Pixel Data."""
        level = levels[-1]
        plain = element.vr not in FRAGMENT_VRS and element.vr not in ("SQ", "UN", "")
        if element.vr != "SQ" and self._ahead.tag(element.start, level.bound) not in (ITEM, ITEM_END, SEQUENCE_END):
            if not plain:
                self._tag(element.start, level)  # refuses what is cut short
            end = self._ahead.delimiter_after(element.start, level.bound)
            if end is None:
                raise _DoesNotFit(f"{name(element.tag)} has no length, and nothing ends it")
            self._odd(f"{name(element.tag)} has no length")
            return end + 8
        if plain:
            self._odd(f"{name(element.tag)} has no length")
        kind = "fragments" if element.vr in FRAGMENT_VRS else "sequence"
        implicit = element.implicit or element.vr == "UN"
        self._push(levels, Level(kind, None, implicit, level.bound, element.tag, element.start))
        return element.start

    def _delimiter(self, element: Element, levels: list[Level]) -> int:
        """An item or a delimiter where an element belongs; the next position."""
        tag, position, level = element.tag, element.start, levels[-1]
        in_open_item = len(levels) > 1 and level.end is None
        if tag == ITEM_END and in_open_item:
            levels.pop()
        elif tag == SEQUENCE_END and in_open_item:
            self._odd(f"an item is closed by a sequence delimiter, at offset {position - 8}")
            levels.pop()
            outer = levels[-1]
            if outer.end is None and self._ahead.tag(position, outer.bound) not in (ITEM, SEQUENCE_END):
                levels.pop()
        elif tag == ITEM and in_open_item:
            self._odd(f"an item begins before the one before it has ended, at offset {position - 8}")
            levels.pop()
            return position - 8
        elif element.length == 0:
            self._odd(f"an item delimiter where none belongs, at offset {position - 8}")
        elif tag == ITEM and (closed := self._closed_at(position - 8)) is not None:
            self._odd(f"the sequence {name(closed.tag)} has more items than its length says")
            self._reopen(closed, levels)
            return position - 8
        else:
            raise _DoesNotFit(f"an item delimiter where none belongs, at offset {position - 8}")
        return position

    def _tag(self, position: int, level: Level) -> tuple[int, int]:
        if level.bound is not None and position + 8 > level.bound:
            raise _DoesNotFit(f"a sequence ends inside an item, at offset {position}")
        self._prefix.need(position + 8)
        group, number, length = self._order.tag_length.unpack_from(self._prefix.data, position)
        return group << 16 | number, length

    def _item(self, position: int, levels: list[Level]) -> int:
        """The item or delimiter at ``position`` in a sequence or a run of fragments; the next position."""
        level = levels[-1]
        tag, length = self._tag(position, level)
        start = position + 8
        if tag == SEQUENCE_END and level.end is None:
            levels.pop()
            if level.reopened:
                self._mend(level, levels, position)
            if level.kind == "fragments":
                self._swallowed(level.tag, start, levels[-1])
            return start
        if tag != ITEM:
            return self._no_item(position, tag, length, levels)
        if length == UNDEFINED and level.kind == "fragments":
            raise _DoesNotFit("a fragment without a length")
        end = None if length == UNDEFINED else start + length
        if end is not None and level.bound is not None and end > level.bound:
            raise _DoesNotFit(f"an item runs past the end of its sequence, at offset {position}", end)
        if level.kind == "fragments":
            self._prefix.need(start + length)
            return start + length
        inner = Level("dataset", end, level.implicit, level.bound if end is None else end, level.tag)
        if inner.implicit and start != end and self._ahead.looks_explicit(start, inner):
            inner.implicit = False
            self._remark(level.tag)
        self._push(levels, inner)
        return start

    def _no_item(self, position: int, tag: int, length: int, levels: list[Level]) -> int:
        """Something else where an item belongs: a delimiter of the wrong kind, or the element after a sequence."""
        level = levels[-1]
        if level.kind == "sequence" and tag in (ITEM_END, SEQUENCE_END):
            self._odd(f"a delimiter of the wrong kind, at offset {position}")
            if level.end is None and self._ahead.tag(position + 8, level.bound) not in (ITEM, SEQUENCE_END):
                levels.pop()
            return position + 8
        if level.kind == "sequence" and tag == length == 0:
            self._odd(f"zeros where an item belongs, at offset {position}")
            return position + 8
        endless = level.kind == "sequence" and level.end is None and len(levels) > 1
        if endless and self._ahead.leads_on(position, level.tag, levels[-2]) == SURE:
            levels.pop()
            if level.reopened:
                self._mend(level, levels, position)
            else:
                self._odd(f"the sequence {name(level.tag)} has no end")
            return position
        raise _DoesNotFit(f"{name(tag)} where an item belongs, at offset {position}")
