"""The image itself: areas and tags, scale bar, what is burnt in; and dimmed where there is no result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from PIL import Image, ImageChops, ImageDraw

from edgeai.api.imaging import Frame
from edgeai.api.results import Finding, Outcome, Result
from edgeai.cli.picture.scale import Scale
from edgeai.cli.picture.sheet import lettered, shown_findings
from edgeai.cli.picture.style import AMBER, BODY, CORAL, DIM, DIMMED, FILLED, PLATE, SMALL, TITLE, WHITE, Colour
from edgeai.cli.picture.text import Placed, height, shortened, width, write
from edgeai.cli.statement import NO_RESULT, NOT_FOR_DIAGNOSIS, NOT_NEGATIVE, close_calls
from edgeai.cli.wording import is_boxed, percent

Box = tuple[int, int, int, int]

LEAST_WIDTH: Final = 380
"""So that what is written over an image fits, however narrow it is."""
_NOT_SHOWN: Final = "The image cannot be shown."
_PAD: Final = 8
_FINE: Final = 2
"""Areas are drawn so many times larger and made smaller, which smooths their edges."""
_LINE: Final = 3
_RIM: Final = 6
"""Pixels around an area that its edge reaches."""
_BOX: Final = Image.Resampling.BOX
_DASH: Final = 9
_INK: Final[Colour] = (10, 12, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plate:
    """The picture's left half: ``image`` with the words on it, and where they stand."""

    image: Image.Image
    texts: tuple[Placed, ...]


def plate_of(
    rendered: Image.Image | None, frame: Frame | None, result: Result, *, scale: Scale | None, tall: int, unit: float
) -> Plate:
    """The image of a frame, ``tall`` pixels high at least, with all that belongs on it.

    Args:
        rendered: the frame as a reader sees it; ``None`` where it cannot be shown.
        frame: what it was rendered from.
        result: what is said of it.
        scale: its scale bar.
        tall: height of the picture.
        unit: how many times larger than nominal the words are.
    """
    wide, high = rendered.size if rendered else (LEAST_WIDTH, 0)
    canvas = Image.new("RGB", (max(wide, round(LEAST_WIDTH * unit)), max(tall, high)), PLATE)
    corner = ((canvas.width - wide) // 2, (canvas.height - high) // 2)
    if rendered is not None and frame is not None:
        canvas.paste(_shown(rendered.convert("RGB"), frame, result), corner)
    board = _Board(canvas, (*corner, corner[0] + wide, corner[1] + high), unit)
    board.banner()
    if result.outcome is not Outcome.COMPLETED:
        board.no_result(CORAL if result.outcome is Outcome.FAILED else AMBER, shown=rendered is not None)
    elif frame is None:
        board.nothing()
    else:
        board.scale_bar(scale)
        for finding, (letter, colour) in lettered(result).items():
            box = _extent(finding, frame, (wide, high))
            if box is not None:
                score = f" {percent(finding.probability)}" if is_boxed(finding.region) else ""
                board.tag(f"{letter} {finding.label}{score}", box, colour)
    return Plate(image=canvas, texts=tuple(board.texts))


def _shown(image: Image.Image, frame: Frame, result: Result) -> Image.Image:
    """With its areas, or dimmed where there is no result."""
    if result.outcome is Outcome.COMPLETED:
        return _with_areas(image, frame, result)
    return image.point(lambda level: round(level * DIMMED))


class _Board:
    """Writes on the image, each word where no other is."""

    def __init__(self, canvas: Image.Image, image: Box, unit: float) -> None:
        self._canvas, self._image, self._unit = canvas, image, unit
        self._taken: list[Box] = []
        self.texts: list[Placed] = []

    def banner(self) -> None:
        """Burnt in at the top of the image, or of the plate where the image is too low for it."""
        points = round(BODY * self._unit)
        tall = height(points) + _PAD
        left, top, right, bottom = self._image
        if bottom - top < 4 * tall:
            top = 0
        if right - left < width(NOT_FOR_DIAGNOSIS, points) + 2 * _PAD:
            left, right = 0, self._canvas.width
        self._veil((left, top, right, top + tall), 0.7)
        self._write(NOT_FOR_DIAGNOSIS, (left + _PAD, top + _PAD // 2), points, AMBER, "banner")
        self._taken.append((0, top, self._canvas.width, top + tall))

    def no_result(self, tone: Colour, *, shown: bool) -> None:
        """A box in the middle, which no one takes for a finding."""
        title, body = round(TITLE * self._unit), round(SMALL * self._unit)
        lines = [(NO_RESULT.upper(), title, tone, "no-result-box"), (NOT_NEGATIVE, body, WHITE, "no-result-box")]
        if not shown:
            lines.append((_NOT_SHOWN, body, WHITE, "no-result-box"))
        tall = sum(height(points) + 4 for _, points, _, _ in lines) + 3 * _PAD
        wide = max(width(text, points) for text, points, _, _ in lines) + 6 * _PAD
        left, top = (self._canvas.width - wide) // 2, (self._canvas.height - tall) // 2
        box = (left, top, left + wide, top + tall)
        self._veil(box, 0.85)
        ImageDraw.Draw(self._canvas).rounded_rectangle(box, radius=8, outline=tone, width=2)
        at = top + 3 * _PAD // 2
        for text, points, colour, role in lines:
            self._write(text, (left + (wide - width(text, points)) // 2, at), points, colour, role)
            at += height(points) + 4

    def nothing(self) -> None:
        """That there is no image to look at."""
        points = round(SMALL * self._unit)
        left = (self._canvas.width - width(_NOT_SHOWN, points)) // 2
        self._write(_NOT_SHOWN, (left, self._canvas.height // 2), points, DIM, "not-shown")

    def scale_bar(self, scale: Scale | None) -> None:
        """At the lower left of what it holds for."""
        if scale is None:
            return
        points = round(SMALL * self._unit)
        left = self._image[0] + scale.within[0] + 2 * _PAD
        bottom = min(self._image[1] + scale.within[3], self._canvas.height) - 2 * _PAD
        words = max(0, left + (scale.length_px - width(scale.says, points)) // 2)
        top = bottom - height(points) - _PAD
        across = max(scale.length_px, width(scale.says, points))
        area = (min(left, words) - _PAD, top - 4, min(left, words) + across + _PAD, bottom + _PAD)
        self._veil(area, 0.55)
        ImageDraw.Draw(self._canvas).rectangle((left, bottom - 2, left + scale.length_px, bottom), fill=WHITE)
        self._write(scale.says, (words, top), points, WHITE, "scale")
        self._taken.append(area)

    def tag(self, text: str, near: Box, colour: Colour) -> None:
        """The area's letter and label in its colour, beside it and over no other word."""
        points = round(SMALL * self._unit)
        text = shortened(text, points, self._canvas.width // 2)
        size = (width(text, points) + _PAD, height(points) + 4)
        left, top, right, bottom = (
            near[0] + self._image[0],
            near[1] + self._image[1],
            near[2] + self._image[0],
            near[3] + self._image[1],
        )
        middle = (left + right - size[0]) // 2
        wished = [
            (middle, top - size[1] - 4),
            (middle, bottom + 4),
            (right + 4, top),
            (left - size[0] - 4, top),
            (middle, (top + bottom - size[1]) // 2),
        ]
        free = [(x, y) for y in range(0, self._canvas.height, size[1] + 2) for x in (0, self._canvas.width - size[0])]
        for at in [*wished, *free]:
            box = (at[0], at[1], at[0] + size[0], at[1] + size[1])
            if self._is_free(box):
                break
        ImageDraw.Draw(self._canvas).rounded_rectangle(box, radius=3, fill=colour)
        self._write(text, (box[0] + _PAD // 2, box[1] + 2), points, _INK, "tag")
        self._taken.append(box)

    def _is_free(self, box: Box) -> bool:
        inside = box[0] >= 0 and box[1] >= 0 and box[2] <= self._canvas.width and box[3] <= self._canvas.height
        return inside and not any(_overlap(box, other) for other in self._taken)

    def _veil(self, box: Box, share: float) -> None:
        """Darken what lies beneath words, and leave it to be seen."""
        inside = (max(0, box[0]), max(0, box[1]), min(self._canvas.width, box[2]), min(self._canvas.height, box[3]))
        beneath = self._canvas.crop(inside)
        self._canvas.paste(beneath.point(lambda level: round(level * (1.0 - share))), inside[:2])

    def _write(self, text: str, at: tuple[int, int], points: int, colour: Colour, role: str) -> None:
        box = (at[0], at[1], at[0] + width(text, points), at[1] + height(points))
        placed = Placed(text=text, box=box, role=role, size=points, colour=colour)
        write(ImageDraw.Draw(self._canvas), placed)
        self.texts.append(placed)


def _with_areas(image: Image.Image, frame: Frame, result: Result) -> Image.Image:
    """The areas in this frame: their colour thinly over the image, their edge in full; dashed where doubtful."""
    close = close_calls(shown_findings(result))
    for finding, (_, colour) in lettered(result).items():
        extent = _extent(finding, frame, image.size)
        if extent is None:
            continue
        left, top = max(0, extent[0] - _RIM), max(0, extent[1] - _RIM)
        right, bottom = min(image.width, extent[2] + _RIM), min(image.height, extent[3] + _RIM)
        if right <= left or bottom <= top:
            continue  # outside of the image
        part = image.crop((left, top, right, bottom))
        size = (part.width * _FINE, part.height * _FINE)
        outlines = [
            [((x - left) * _FINE, (y - top) * _FINE) for x, y in outline]
            for outline in _outlines(finding, frame, image.size)
        ]
        fill, edge, halo = (mask.resize(part.size, _BOX) for mask in _masks(outlines, size, dashed=finding in close))
        plain = Image.new("RGB", part.size, colour)
        if not is_boxed(finding.region):  # nothing is said of each pixel in a box, and it is to be seen
            part.paste(plain, mask=fill.point(lambda level: round(level * FILLED)))
        part.paste(_INK, mask=halo.point(lambda level: level // 2))
        part.paste(plain, mask=edge)
        image.paste(part, (left, top))
    return image


def _masks(
    outlines: Sequence[list[tuple[float, float]]], size: tuple[int, int], *, dashed: bool
) -> tuple[Image.Image, Image.Image, Image.Image]:
    """(inside by the even-odd rule, edge, a rim around the edge), each from 0 to 255."""
    fill = Image.new("1", size)
    edge, halo = Image.new("L", size), Image.new("L", size)
    for outline in outlines:
        one = Image.new("1", size)
        ImageDraw.Draw(one).polygon(outline, fill=1)
        fill = ImageChops.logical_xor(fill, one)
        closed = [*outline, *outline[:2]]
        ImageDraw.Draw(halo).line(closed, fill=255, width=(_LINE + 3) * _FINE, joint="curve")
        for piece in _dashes(closed) if dashed else [closed]:
            ImageDraw.Draw(edge).line(piece, fill=255, width=_LINE * _FINE, joint="curve")
    return fill.convert("L"), edge, halo


def _dashes(closed: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """Every other piece of a line, each as long as the gap after it."""
    step, pieces, walked = _DASH * _FINE, [], 0.0
    for (x0, y0), (x1, y1) in pairwise(closed):
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        at = 0.0
        while at < length:
            until = min(length, at + step - walked % step)
            if int(walked // step) % 2 == 0:
                ends = [(x0 + (x1 - x0) * part / length, y0 + (y1 - y0) * part / length) for part in (at, until)]
                pieces.append(ends)
            walked += until - at
            at = until
    return pieces


def _outlines(finding: Finding, frame: Frame, size: tuple[int, int]) -> list[list[tuple[float, float]]]:
    """The contours that lie in this frame, or the box where that is all, in pixels of the picture."""
    region = finding.region
    if region is None or region.frame_number not in (None, frame.number):
        return []
    contours = region.contours
    if region.box is not None and is_boxed(region):
        x0, y0, x1, y1 = region.box
        contours = (((x0, y0), (x1, y0), (x1, y1), (x0, y1)),)
    across, down = size[0] / frame.geometry.source_columns, size[1] / frame.geometry.source_rows
    return [[(x * across, y * down) for x, y in contour] for contour in contours if len(contour) > 1]


def _extent(finding: Finding, frame: Frame, size: tuple[int, int]) -> Box | None:
    points = [point for outline in _outlines(finding, frame, size) for point in outline]
    if not points:
        return None
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return round(min(xs)), round(min(ys)), round(max(xs)), round(max(ys))


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
