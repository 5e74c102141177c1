"""How PS3.5 section 7 writes data elements: value representations, delimiters, and where one element lies."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple

UNDEFINED: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD
PIXEL_DATA_TAGS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})

_LONG: Final = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
_TEXT: Final = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI")
_SHORT: Final = (*_TEXT, "AT", "FD", "FL", "SL", "SS", "UL", "US")
LONG_VRS: Final = {vr.encode(): vr for vr in _LONG}
"""Value representations whose length has 32 bits, after two that are reserved."""
SHORT_VRS: Final = {vr.encode(): vr for vr in _SHORT}
"""Those whose length has 16 bits."""
TEXT_VRS: Final = frozenset((*_TEXT, "UC", "UR", "UT"))
FRAGMENT_VRS: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW"))


class Order:
    """How numbers are packed in one byte order."""

    def __init__(self, sign: str) -> None:
        self.tag = Struct(f"{sign}HH")
        self.tag_length = Struct(f"{sign}HHL")
        self.tag_vr_length = Struct(f"{sign}HH2sH")
        self.long = Struct(f"{sign}L")


LITTLE: Final = Order("<")
BIG: Final = Order(">")


class Element(NamedTuple):
    """Where one element's value lies. ``vr`` is empty in implicit VR; ``length`` may be ``UNDEFINED``."""

    tag: int
    vr: str
    start: int
    length: int
    implicit: bool


@dataclass(slots=True)
class Level:
    """One open data set, sequence or run of fragments.

    Attributes:
        kind: ``dataset``, ``sequence`` or ``fragments``.
        end: where it ends, if its length is stated.
        bound: what nothing inside may pass: its own end, or that of what it lies in.
        tag: of the sequence that it is or lies in; 0 for the data set itself.
        start: of a sequence's first item.
        reopened: whether more items followed than the sequence's length says, so that they end where none follows.
    """

    kind: str
    end: int | None
    implicit: bool
    bound: int | None = None
    tag: int = 0
    start: int = 0
    reopened: bool = False


def name(tag: int) -> str:
    """``(gggg,eeee)`` as the Standard writes it."""
    return f"({tag >> 16:04x},{tag & 0xFFFF:04x})"


def is_sequence(element: Element) -> bool:
    """Whether an element in implicit VR is a sequence, as the Standard's dictionary has it."""
    if element.length < 8 or element.tag >> 16 & 1:
        return False
    from pydicom.datadict import dictionary_VR  # heavy, and only implicit VR needs it

    try:
        return dictionary_VR(element.tag) == "SQ"
    except KeyError:
        return False
