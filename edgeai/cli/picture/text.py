"""Text in Pillow's own font: how wide, broken where, and placed in boxes that can be asked about."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from PIL import ImageDraw, ImageFont

from edgeai.cli.picture.style import Colour

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_SQUARE: Final = "\u00b2"
"""Not in the font: written as a small 2 that stands higher."""
_SPACE: Final = 0.27
"""Between words, in parts of the size."""
_KNOWN: Final = frozenset(map(chr, range(0x20, 0x7F))) | frozenset(
    "\u00a9\u00ab\u00b0\u00b1\u00b4\u00b7\u00bb\u2018\u2019\u201c\u201d\u2026\u2039\u203a\u2122" + _SQUARE
)
_SPELT: Final = {
    "\u2013": "-",
    "\u2014": "-",
    "\u2212": "-",
    "\u00d7": "x",
    "\u00b5": "u",
    "\u03bc": "u",
    "\u2265": ">=",
    "\u2264": "<=",
    "\u2192": "->",
    "\u00df": "ss",
    "\u00e6": "ae",
    "\u00c6": "AE",
    "\u00f8": "o",
    "\u00d8": "O",
    "\u0142": "l",
    "\u0141": "L",
    "\u0111": "d",
    "\u0110": "D",
    "\u00a0": " ",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A line of text where it stands.

    Attributes:
        box: (left, top, right, bottom) in pixels of the picture.
        role: what it is (``finding``, ``state``, ``banner``, ``tag``, ``note``, ...).
        size: of the font.
    """

    text: str
    box: tuple[int, int, int, int]
    role: str
    size: int
    colour: Colour


@cache
def font(size: int) -> Font:
    """The font that ships inside Pillow: no machine lacks it."""
    return ImageFont.load_default(size)


def legible(text: str) -> str:
    """The text in characters that the font has: accents are left off, and what it lacks altogether becomes ``?``."""
    return "".join(_character(character) for character in text)


def _character(character: str) -> str:
    if character in _KNOWN:
        return character
    if character in _SPELT:
        return _SPELT[character]
    plain = "".join(part for part in unicodedata.normalize("NFKD", character) if not unicodedata.combining(part))
    return plain if plain and all(part in _KNOWN for part in plain) else "?"


def width(text: str, size: int) -> int:
    """Pixels that it takes."""
    end = 0.0
    for part, points, at in _runs(text, size):
        end = at + font(points).getlength(part)
    return int(end + 0.999)


def height(size: int) -> int:
    """Pixels from the top of a line to its end."""
    return round(size * 1.32)


def wrapped(text: str, size: int, most: int) -> list[str]:
    """Lines that are at most ``most`` pixels wide. A word that is wider is broken."""
    lines: list[str] = []
    line = ""
    for word in legible(text).split():
        for piece in _pieces(word, size, most):
            longer = f"{line} {piece}" if line else piece
            if width(longer, size) <= most:
                line = longer
            else:
                lines += [line] if line else []
                line = piece
    return [*lines, line] if line else lines


def shortened(text: str, size: int, most: int) -> str:
    """One line of at most ``most`` pixels, cut in its middle where it is longer: both ends of a name tell most."""
    text = legible(text)
    if width(text, size) <= most:
        return text
    kept = len(text)
    while kept > 1:
        kept -= 1
        front = (kept + 1) // 2
        shorter = text[:front].rstrip() + "\u2026" + text[len(text) - (kept - front) :].lstrip()
        if width(shorter, size) <= most:
            return shorter
    return "\u2026"


def write(draw: ImageDraw.ImageDraw, placed: Placed) -> None:
    """Draw it."""
    left, top, _, _ = placed.box
    for part, points, at in _runs(placed.text, placed.size):
        lift = placed.size * 0.04 if points < placed.size else 0.0
        draw.text((left + at, top - lift), part, fill=placed.colour, font=font(points))


def _runs(text: str, size: int) -> Iterator[tuple[str, int, float]]:
    """(words, size, offset) one after the other: the font's own kerning swallows the spaces beside digits."""
    at = 0.0
    for number, word in enumerate(text.split(" ")):
        at += size * _SPACE if number else 0.0
        for raised, part in enumerate(word.split(_SQUARE)):
            if raised:
                yield "2", _raised(size), at
                at += font(_raised(size)).getlength("2")
            yield part, size, at
            at += font(size).getlength(part)


def _raised(size: int) -> int:
    return max(6, round(size * 0.66))


def _pieces(word: str, size: int, most: int) -> list[str]:
    pieces, piece = [], ""
    for character in word:
        if piece and width(piece + character, size) > most:
            pieces.append(piece)
            piece = ""
        piece += character
    return [*pieces, piece]
