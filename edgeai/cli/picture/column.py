"""A column of text and bars, laid out from the top before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from PIL import Image, ImageDraw

from edgeai.cli.picture.style import AMBER, TRACK, WHITE, Colour
from edgeai.cli.picture.text import Placed, height, shortened, width, wrapped, write

Box = tuple[int, int, int, int]

_GAP: Final = 3
_BAR: Final = 8
_HATCH: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A rectangle: filled, or hatched where it stands for something doubtful."""

    kind: Literal["fill", "hatch"]
    box: Box
    colour: Colour


class Column:
    """Places line under line; ``texts``, ``shapes`` and ``pictures`` are what it holds, ``top`` is where the next goes.

    Args:
        left, top, width: where, in pixels of the picture.
        unit: how many times larger than their nominal size everything is.
    """

    def __init__(self, left: int, top: int, width: int, unit: float) -> None:
        self.left, self.top, self.width, self.unit = left, top, width, unit
        self.texts: list[Placed] = []
        self.shapes: list[Shape] = []
        self.pictures: list[tuple[Image.Image, int, int]] = []

    def size(self, nominal: int) -> int:
        """Pixels for a nominal size."""
        return round(nominal * self.unit)

    def text(self, text: str, size: int, colour: Colour, role: str, *, indent: int = 0) -> None:
        """A paragraph, broken into lines where it is too wide."""
        left, points = self.left + self.size(indent), self.size(size)
        for line in wrapped(text, points, self.left + self.width - left):
            self._place(line, left, points, colour, role)
            self.top += height(points) + self.size(_GAP)

    def line(self, text: str, size: int, colour: Colour, role: str) -> None:
        """One line, shortened in its middle where it is too wide: for names."""
        points = self.size(size)
        self._place(shortened(text, points, self.width), self.left, points, colour, role)
        self.top += height(points) + self.size(_GAP)

    def pair(
        self, name: str, value: str, size: int, colours: tuple[Colour, Colour], role: str, *, indent: int = 0
    ) -> None:
        """A name at the left and its value at the right; below one another where both do not fit."""
        points, left = self.size(size), self.left + self.size(indent)
        room = self.left + self.width - left
        names, values = wrapped(name, points, room), wrapped(value, points, room)
        beside = len(names) == len(values) == 1 and width(names[0], points) + width(values[0], points) + points <= room
        for line in names:
            self._place(line, left, points, colours[0], role)
            self.top += 0 if beside else height(points)
        for line in values:
            self._place(line, self.left + self.width - width(line, points), points, colours[1], f"{role}-value")
            self.top += height(points)
        self.top += self.size(_GAP)

    def named(self, name: str, value: str, size: int, colours: tuple[Colour, Colour], role: str, column: int) -> None:
        """A name, and beside it from ``column`` on a value of as many lines as it needs."""
        points, start = self.size(size), self.left + self.size(column)
        self._place(shortened(name, points, self.size(column)), self.left, points, colours[0], role)
        for line in wrapped(value, points, self.left + self.width - start) or [""]:
            self._place(line, start, points, colours[1], f"{role}-value")
            self.top += height(points) + self.size(_GAP)

    def bar(self, share: float, threshold: float | None, colour: Colour, *, doubtful: bool) -> None:
        """How large a share is, with a mark where it begins to count."""
        tall, right = self.size(_BAR), self.left + self.width
        self.top += self.size(1)
        self._fill((self.left, self.top, right, self.top + tall), TRACK)
        end = self.left + round(self.width * min(1.0, max(0.0, share)))
        if end > self.left:
            box = (self.left, self.top, end, self.top + tall)
            self.shapes.append(Shape(kind="hatch" if doubtful else "fill", box=box, colour=colour))
        if threshold is not None and 0.0 < threshold < 1.0:
            mark, over = self.left + round(self.width * threshold), self.size(3)
            self._fill((mark - 1, self.top - over, mark + 1, self.top + tall + over), AMBER)
        self.top += tall + self.size(10)

    def picture(self, image: Image.Image) -> None:
        """A small picture, amid the column where it is narrower."""
        self.pictures.append((image, self.left + (self.width - image.width) // 2, self.top))
        self.top += image.height + self.size(_GAP)

    def scale(self, colours: Image.Image, mark: float | None) -> None:
        """The colours of a scale, as wide as the column, with a mark at a share of it."""
        self.pictures.append((colours, self.left, self.top))
        if mark is not None and 0.0 < mark < 1.0:
            at, over = self.left + round(self.width * mark), self.size(3)
            self._fill((at - 1, self.top - over, at + 2, self.top + colours.height + over), WHITE)
        self.top += colours.height + self.size(2 * _GAP)

    def swatch(self, letter: str, label: str, size: int, colours: tuple[Colour, Colour], role: str) -> None:
        """A letter on its colour, and what it stands for."""
        points = self.size(size)
        side = height(points)
        self._fill((self.left, self.top, self.left + side, self.top + side), colours[0])
        at = self.left + (side - width(letter, points)) // 2
        self._place(letter, at, points, (10, 12, 16), "swatch")
        start = self.left + side + self.size(8)
        for line in wrapped(label, points, self.left + self.width - start):
            self._place(line, start, points, colours[1], role)
            self.top += height(points) + self.size(_GAP)

    def rule(self) -> None:
        """A thin line across."""
        self._fill((self.left, self.top, self.left + self.width, self.top + 1), TRACK)
        self.top += self.size(10)

    def gap(self, nominal: int) -> None:
        """Nothing, so high."""
        self.top += self.size(nominal)

    def moved(self, down: int) -> None:
        """Move all that it holds."""
        self.texts = [replace(text, box=_lower(text.box, down)) for text in self.texts]
        self.shapes = [replace(shape, box=_lower(shape.box, down)) for shape in self.shapes]
        self.pictures = [(image, left, top + down) for image, left, top in self.pictures]
        self.top += down

    def draw(self, canvas: Image.Image) -> None:
        """Draw all that it holds."""
        for image, left, top in self.pictures:
            canvas.paste(image, (left, top))
        draw = ImageDraw.Draw(canvas)
        for shape in self.shapes:
            _shape(draw, shape)
        for text in self.texts:
            write(draw, text)

    def _place(self, text: str, left: int, points: int, colour: Colour, role: str) -> None:
        if text:
            box = (left, self.top, left + width(text, points), self.top + height(points))
            self.texts.append(Placed(text=text, box=box, role=role, size=points, colour=colour))

    def _fill(self, box: Box, colour: Colour) -> None:
        self.shapes.append(Shape(kind="fill", box=box, colour=colour))


def _lower(box: Box, down: int) -> Box:
    left, top, right, bottom = box
    return left, top + down, right, bottom + down


def _shape(draw: ImageDraw.ImageDraw, shape: Shape) -> None:
    left, top, right, bottom = shape.box
    if shape.kind == "fill":
        draw.rectangle((left, top, right - 1, bottom - 1), fill=shape.colour)
        return
    draw.rectangle((left, top, right - 1, bottom - 1), outline=shape.colour)
    for start in range(left - (bottom - top), right, _HATCH):
        from_x, from_y = max(left, start), bottom - 1 - (max(left, start) - start)
        to_x = min(right - 1, start + bottom - top)
        draw.line((from_x, from_y, to_x, bottom - 1 - (to_x - start)), fill=shape.colour)
