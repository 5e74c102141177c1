"""What a walk through a header knows of where it is and what it met: its levels, its bounds, and what was amiss."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from edgeai.api.errors import DicomRejected
from edgeai.dicom.encoding import BIG, LITTLE, Element, Level, is_sequence, name
from edgeai.dicom.limits import HeaderLimits
from edgeai.dicom.lookahead import Lookahead
from edgeai.dicom.prefix import Prefix

_MOST_TOLD: Final = 5
"""Oddities that are kept; a hostile header has as many as it likes."""
_MOST_DOUBLED: Final = 1000


class WalkState:
    """Of one encoded data set.

    Attributes:
        oddities: what did not fit, the first few.
        remarks: what is odd and fits.
        doubled: (the one that counts, a later one) of wanted elements that stand twice in one data set or item.
    """

    def __init__(self, prefix: Prefix, *, big_endian: bool, limits: HeaderLimits, size: int | None = None) -> None:
        self._prefix = prefix
        self._limits = limits
        self._size = size
        self._order = BIG if big_endian else LITTLE
        self._lookahead: Lookahead | None = None
        self._steps = 0
        self._stop: Container[int] = ()
        self._latest = 0
        self._rising_from: int | None = None
        self._kept: list[dict[int, Element]] = []
        self._depth = 1
        self._implicit = False
        self._closed: Level | None = None
        self._empty: Element | None = None
        self.oddities: list[str] = []
        self.remarks: list[str] = []
        self.doubled: dict[tuple[Element, Element], None] = {}

    @property
    def _ahead(self) -> Lookahead:
        """Only a header that does not fit, or one in implicit VR, needs it."""
        if self._lookahead is None:
            self._lookahead = Lookahead(self._prefix, self._order, size=self._size, count=self._count)
        return self._lookahead

    def _rise(self, tag: int) -> None:
        """After something that did not fit, the data set's own elements have to rise."""
        if tag == 0 or tag >> 16 == 0xFFFE:  # zeros between elements, or a delimiter
            return
        self._latest = tag
        if self._rising_from is not None:
            if tag <= self._rising_from:
                raise structure(f"{self.oddities[0]}, and {name(tag)} comes after {name(self._rising_from)}")
            self._rising_from = tag

    def _double(self, kept: dict[int, Element], second: Element) -> None:
        """The first counts, unless it is empty: then it has no value (PS3.5 7.4.4)."""
        first = kept[second.tag]
        self.doubled[first, second] = None
        if len(self.doubled) > _MOST_DOUBLED:
            raise structure(f"more than {_MOST_DOUBLED} elements appear twice")
        if first.length == 0:
            kept[second.tag] = second

    def _count(self) -> None:
        self._steps += 1
        if self._steps > self._limits.max_elements:
            raise DicomRejected(
                f"the header has more than {self._limits.max_elements} elements", code="dicom.too-many-elements"
            )

    def _push(self, levels: list[Level], level: Level) -> None:
        if len(levels) > 2 * self._limits.max_depth:  # a sequence and its item are two levels
            raise DicomRejected(f"sequences are nested deeper than {self._limits.max_depth}", code="dicom.too-deep")
        levels.append(level)

    def _odd(self, what: str) -> None:
        """Something does not fit, and the walk goes on: from here on elements have to rise."""
        if len(self.oddities) < _MOST_TOLD and what not in self.oddities:
            self.oddities.append(what)
        if self._rising_from is None:
            self._rising_from = self._latest

    def _reopen(self, left: Level, levels: list[Level]) -> None:
        """More items of a sequence whose stated length is over."""
        implicit, bound = left.implicit, levels[-1].bound
        levels.append(Level("sequence", None, implicit, bound, left.tag, left.start, reopened=True))

    def _mend(self, left: Level, levels: list[Level], end: int) -> None:
        """Give a sequence that was kept the length that it turned out to have."""
        if len(levels) == self._depth:
            element = self._kept[-1].get(left.tag)
            if element is not None and element.start == left.start:
                self._kept[-1][left.tag] = element._replace(length=end - left.start)

    def _closed_at(self, position: int) -> Level | None:
        """The sequence whose stated length ended here."""
        if self._closed is not None and self._closed.kind == "sequence" and self._closed.end == position:
            return self._closed
        empty = self._empty
        if empty is None or empty.start != position or not is_sequence(empty._replace(length=8)):
            return None
        return Level("sequence", position, empty.implicit, None, empty.tag, position)

    def _remark(self, tag: int) -> None:
        """Explicit VR in what some take for UN, and write in it what they like, is no news; elsewhere it is."""
        remark = f"an item of {name(tag)} is in explicit VR, and what is around it in implicit VR"
        if self._implicit and len(self.remarks) < _MOST_TOLD and remark not in self.remarks:
            self.remarks.append(remark)


def structure(what: str) -> DicomRejected:
    """``dicom.structure``, and what it is that does not hold together."""
    return DicomRejected(f"the header does not hold together: {what}", code="dicom.structure")
