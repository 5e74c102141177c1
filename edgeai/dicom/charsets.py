"""Text by Specific Character Set (0008,0005): the defined terms of PS3.3 C.12.1.1.2, and what they decode to."""

from __future__ import annotations

from typing import Final

_SINGLE: Final = ("13", "100", "101", "109", "110", "126", "127", "138", "144", "148", "166", "192", "203")
_EXTENDED: Final = ("6", "13", "58", "87", "100", "101", "109", "110", "126", "127", "138", "144", "148", "149", "159")
_KNOWN: Final = frozenset(
    (
        "",
        "GB18030",
        "GBK",
        "ISO_IR 6",  # of no edition, and plain what is meant: the default repertoire
        *(f"ISO_IR {number}" for number in _SINGLE),
        *(f"ISO 2022 IR {number}" for number in (*_EXTENDED, "166", "203")),
    )
)
_DEFAULT: Final = frozenset(("", "ISO_IR 6", "ISO 2022 IR 6"))


def are_known(terms: tuple[str, ...]) -> bool:
    """Whether all of them are of the Standard."""
    return _KNOWN.issuperset(terms)


def decoded(raw: bytes, terms: tuple[str, ...]) -> tuple[str, bool]:
    """Text that is not ASCII, by the first of its character sets; and whether its bytes are of that.

    What cannot be told is read as Latin-1, and what is of no character as U+FFFD.
    """
    from pydicom.charset import python_encoding  # only for the few that are not ASCII

    term = next(iter(terms), "")
    encoding = "latin-1" if term in _DEFAULT else python_encoding.get(term, "latin-1")
    text = raw.decode(encoding, errors="replace")
    return text, term not in _DEFAULT and "\ufffd" not in text
