"""What follows, where a header can be read in more than one way: the reading that leads on to sound elements is meant.

Elements rise in their data set (PS3.5 7.1), know their value representation and end inside what they lie in.
A reading after which the next header does all that is hardly ever a wrong one. Every look is counted by the
walker, as a step of its own, so that a hostile header cannot make it look for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from edgeai.api.errors import DicomRejected
from edgeai.dicom.encoding import (
    ITEM,
    ITEM_END,
    LONG_VRS,
    PIXEL_DATA_TAGS,
    SEQUENCE_END,
    SHORT_VRS,
    UNDEFINED,
    Element,
    Level,
    Order,
)
from edgeai.dicom.prefix import Prefix

NO: Final = 0
MAYBE: Final = 1
SURE: Final = 2
_FAR: Final = 4
"""Headers of unknown value representation looked at, one after the other, before that is enough."""
_TRAILING_PADDING: Final = 0xFFFCFFFC
_SEARCHED_BYTES: Final = 1024 * 1024


class Lookahead:
    """Looks ahead in one encoded data set; nothing here moves the walk.

    Args:
        prefix: the data set's bytes.
        order: of their bytes.
        size: of the data set where that is known, which it is not while it is deflated.
        count: called for each look; raises when there were too many.
    """

    def __init__(self, prefix: Prefix, order: Order, *, size: int | None, count: Callable[[], None]) -> None:
        self._prefix = prefix
        self._size = size
        self._count = count
        self._order = order
        self._sequence_end = order.tag.pack(SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF) + bytes(4)
        self._pixel_data = order.tag.pack(0x7FE0, 0x0010)

    def tag(self, position: int, bound: int | None = None) -> int | None:
        """The tag at ``position``, if a whole element header can stand there."""
        if not self._has(position + 8, bound):
            return None
        group, number = self._order.tag.unpack_from(self._prefix.data, position)
        return int(group << 16 | number)

    def item_end(self, position: int) -> int | None:
        """Where the item at ``position`` ends, if one begins there and states a length."""
        if self.tag(position) != ITEM:
            return None
        (length,) = self._order.long.unpack_from(self._prefix.data, position + 4)
        return None if length == UNDEFINED else int(position + 8 + length)

    def choose(self, position: int, level: Level, long: str | None) -> Element | None:
        """The element at ``position``, whose value representation is none of the Standard's; ``None``: cannot be told.

        pydicom takes two capital letters for a new value representation with a length of 16 bits, DCMTK for one
        of 32; and anything else for implicit VR, or (DCMTK) for a length of 16 bits. Where no reading leads on
        (elements out of order, say), it is pydicom's. Neither looks at the two reserved bytes of a length of 32 bits,
        but some writers give such a value representation (``long``) one of 16.
        """
        if long is not None:
            return self._long_or_short(position, level, long)
        readings = {(reading.start, reading.length): reading for reading in self._readings(position)}
        ranked: dict[int, list[Element]] = {NO: [], MAYBE: [], SURE: []}
        for reading in readings.values():
            ranked[self._rank(reading, level)].append(reading)
        best = ranked[SURE] or ranked[MAYBE]
        if not best and ranked[NO] and ranked[NO][0].tag not in PIXEL_DATA_TAGS:
            capitals = bytes(self._prefix.data[position + 4 : position + 6]).isupper()
            best = [reading for reading in ranked[NO] if reading.implicit is not capitals]
            best = [reading for reading in best[:1] if self._fits(reading, level.bound)]
        return best[0] if len(best) == 1 else None

    def _long_or_short(self, position: int, level: Level, vr: str) -> Element | None:
        group, number, _, length = self._order.tag_vr_length.unpack_from(self._prefix.data, position)
        short = Element(group << 16 | number, "UN", position + 8, length, False)
        long = self._extended(position, short.tag)
        if (long is None or self._rank(long, level) == NO) and self._rank(short, level) == SURE:
            return short
        return None if long is None else long._replace(vr=vr)

    def leads_on(self, position: int, after: int, level: Level, far: int = 0) -> int:
        """How sure it is that, after an element ``after`` of ``level``, the next one begins at ``position``."""
        self._count()
        if position == level.end:
            return SURE
        if position == self._size:
            return MAYBE if level.tag == 0 else NO
        tag = self.tag(position, level.bound)
        if tag is None:
            return NO
        if tag in (ITEM_END, SEQUENCE_END):
            return SURE if level.tag else NO
        if tag <= after or tag >> 16 == 0xFFFE:
            return NO
        if level.implicit:
            return SURE if self._fits(self._implicit(position, tag), level.bound) else NO
        _, _, vr, short = self._order.tag_vr_length.unpack_from(self._prefix.data, position)
        if vr in SHORT_VRS:
            return SURE if self._fits(Element(tag, "", position + 8, short, False), level.bound) else NO
        if vr in LONG_VRS:
            extended = self._extended(position, tag)
            return SURE if extended is not None and self._fits(extended, level.bound) else NO
        if far == _FAR:
            return MAYBE
        ranks = [self._rank(reading, level, far + 1) for reading in self._readings(position)]
        return min(MAYBE, max(ranks, default=NO))

    def looks_explicit(self, position: int, level: Level) -> bool:
        """Whether an item that should be in implicit VR is in explicit VR all the same."""
        tag = self.tag(position, level.bound)
        if tag is None or tag >> 16 == 0xFFFE:
            return False
        vr = bytes(self._prefix.data[position + 4 : position + 6])
        if vr not in SHORT_VRS and vr not in LONG_VRS:
            return False
        implicit = self._implicit(position, tag)
        return not (self._fits(implicit, level.bound) and self._rank(implicit, level))

    def delimiter_after(self, start: int, bound: int | None) -> int | None:
        """Where the next Sequence Delimitation Item begins, whatever stands before it."""
        position = start
        while True:
            data = self._prefix.data
            place = data.find(self._sequence_end, position, len(data) if bound is None else bound)
            if place >= 0:
                return place
            position = max(start, len(data) - len(self._sequence_end) + 1)
            if not self._has(len(data) + 1, bound):
                return None

    def pixel_data_after(self, start: int) -> bool:
        """Whether what looks like the header of Pixel Data comes soon: then nothing was cut off."""
        end = start + _SEARCHED_BYTES
        self._has(end if self._size is None else min(end, self._size), None)
        place = self._prefix.data.find(self._pixel_data, start, end)
        if place < 0 or not self._has(place + 8, None):
            return False
        if bytes(self._prefix.data[place + 4 : place + 6]) in (b"OB", b"OW"):
            return True
        implicit = self._implicit(place, min(PIXEL_DATA_TAGS))
        return self._size is not None and implicit.start < implicit.start + implicit.length == self._size

    def _has(self, end: int, bound: int | None) -> bool:
        if bound is not None and end > bound:
            return False
        if self._size is not None and end > self._size:
            return False
        try:
            return self._prefix.has(end)
        except DicomRejected:  # further than a header may reach
            return False

    def _fits(self, element: Element, bound: int | None) -> bool:
        end = element.start + element.length
        if element.length == UNDEFINED:
            return self.tag(element.start, bound) in (ITEM, SEQUENCE_END)
        if element.tag in PIXEL_DATA_TAGS:
            return self._size is None or end <= self._size
        return self._has(end, bound)

    def _rank(self, reading: Element, level: Level, far: int = 0) -> int:
        """How sure it is that the file means this reading of a header."""
        if not self._fits(reading, level.bound):
            return NO
        if reading.length == UNDEFINED:
            return SURE
        end = reading.start + reading.length
        if level.tag == 0 and reading.tag in PIXEL_DATA_TAGS:
            if self._size is None:
                return MAYBE
            return SURE if end == self._size or self.tag(end) == _TRAILING_PADDING else NO
        return self.leads_on(end, reading.tag, level, far)

    def _readings(self, position: int) -> Iterator[Element]:
        if not self._has(position + 8, None):
            return
        group, number, _, short = self._order.tag_vr_length.unpack_from(self._prefix.data, position)
        tag = group << 16 | number
        yield Element(tag, "UN", position + 8, short, False)
        extended = self._extended(position, tag)
        if extended is not None and short == 0:
            yield extended
        yield self._implicit(position, tag)

    def _extended(self, position: int, tag: int) -> Element | None:
        if not self._has(position + 12, None):
            return None
        (length,) = self._order.long.unpack_from(self._prefix.data, position + 8)
        return Element(tag, "UN", position + 12, length, False)

    def _implicit(self, position: int, tag: int) -> Element:
        return Element(tag, "", position + 8, self._order.long.unpack_from(self._prefix.data, position + 4)[0], True)
