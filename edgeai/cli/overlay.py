"""A picture an instance: the image as a reader would see it, beside what the model says of it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Final, TypeAlias

from PIL import Image, ImageDraw, ImageFont

from edgeai.api.errors import EdgeaiError
from edgeai.api.imaging import Frame
from edgeai.api.results import Finding, Outcome, Result
from edgeai.cli.rendering import render
from edgeai.cli.wording import agreement_says, agreements, classes, disagrees, percent, printable, size_says
from edgeai.dicom.header import read_header
from edgeai.dicom.pixels import DecodeOptions, read_frames

Colour: TypeAlias = tuple[int, int, int]
Line: TypeAlias = tuple[str, Colour, int]

PANEL: Final = 400
MARGIN: Final = 20
SMALL, NORMAL, LARGE = 14, 18, 26
DARK: Final[Colour] = (24, 26, 30)
TRACK: Final[Colour] = (58, 62, 70)
WHITE: Final[Colour] = (235, 237, 240)
DIM: Final[Colour] = (150, 155, 165)
GREEN: Final[Colour] = (95, 200, 120)
RED: Final[Colour] = (240, 90, 80)
AMBER: Final[Colour] = (240, 180, 70)
OUTLINES: Final[tuple[Colour, ...]] = (GREEN, AMBER, (90, 170, 255), RED, (220, 120, 230))
OUTLINE_WIDTH: Final = 3
_OUTCOME_COLOURS: Final = {Outcome.COMPLETED: GREEN, Outcome.NOT_APPLICABLE: AMBER, Outcome.FAILED: RED}
_MOST_FINDINGS: Final = 8


class Overlays:
    """Writes ``<file name>.png`` into a folder, numbered where two files have one name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken: set[str] = set()

    def draw(self, path: Path, result: Result) -> Path:
        """The picture of one result. An image that cannot be shown becomes a card that says why.

        Raises:
            OSError: the picture cannot be written.
        """
        target = self._folder / self._name(path)
        frame = _frame(path, result)
        image = None if frame is None else _outlined(frame, result)
        compose(image, printable(path.name), result).save(target)
        return target

    def _name(self, path: Path) -> str:
        stem = re.sub(r"[^\w.+-]", "_", path.stem) or "image"
        name, number = stem, 1
        while name.lower() in self._taken:
            number += 1
            name = f"{stem}-{number}"
        self._taken.add(name.lower())
        return name + ".png"


def compose(image: Image.Image | None, name: str, result: Result) -> Image.Image:
    """Image on the left, words on the right; a card of words alone when there is no image."""
    width, height = image.size if image else (0, 0)
    lines = _lines(name, result)
    wanted = MARGIN * 2 + sum(size + 10 for _, _, size in lines) + _bars(result)
    canvas = Image.new("RGB", (width + PANEL, max(height, wanted)), DARK)
    if image is not None:
        canvas.paste(image.convert("RGB"), (0, (canvas.height - height) // 2))
    draw = ImageDraw.Draw(canvas)
    at = _write(draw, lines, width + MARGIN)
    for outline, finding in zip(cycle(OUTLINES), _shown(result)):
        at = _bar(draw, finding, width + MARGIN, at, outline)
    return canvas


def _frame(path: Path, result: Result) -> Frame | None:
    """The frame that the findings lie in, else the middle one, decoded exactly; ``None`` when it cannot be decoded."""
    if result.outcome is Outcome.FAILED:
        return None
    try:
        header = read_header(path)
        middle = (max(1, header.instance.number_of_frames) + 1) // 2
        places = [f.region.frame_number for f in _shown(result) if f.region and f.present]
        number = next((place for place in places if place is not None), middle)
        return next(iter(read_frames(path, DecodeOptions(frames=(number,)), header=header)), None)
    except (EdgeaiError, OSError, ValueError):
        return None


def _outlined(frame: Frame, result: Result) -> Image.Image:
    """The frame with the contours that lie in it, each label in a colour of its own."""
    image = render(frame).convert("RGB")
    draw = ImageDraw.Draw(image)
    scale = (image.width / frame.geometry.source_columns, image.height / frame.geometry.source_rows)
    for colour, finding in zip(cycle(OUTLINES), _shown(result)):
        region = finding.region
        if region is None or region.frame_number not in (None, frame.number):
            continue
        for contour in region.contours:
            points = [(x * scale[0], y * scale[1]) for x, y in contour]
            draw.line([*points, *points[:2]], fill=colour, width=OUTLINE_WIDTH, joint="curve")
    return image


def _lines(name: str, result: Result) -> list[Line]:
    lines: list[Line] = [(part, WHITE, NORMAL) for part in textwrap.wrap(name, 36)]
    described = " ".join(filter(None, [result.instance.modality, result.model.name, result.model.version]))
    lines += [(described, DIM, SMALL), ("", DIM, SMALL)]
    lines.append((str(result.outcome).upper(), _OUTCOME_COLOURS[result.outcome], LARGE))
    if result.reason is not None:
        lines.append((result.reason.code, AMBER, NORMAL))
        lines += [(part, WHITE, SMALL) for part in textwrap.wrap(result.reason.message, 48)]
        lines += [(part, DIM, SMALL) for part in textwrap.wrap(result.reason.remedy or "", 48)]
    for finding in agreements(result):
        colour = RED if disagrees(finding) else GREEN if finding.present else DIM
        lines.append((agreement_says(finding), colour, NORMAL))
    if result.engine is not None:
        engine = result.engine
        lines.append((f"{engine.backend} on {engine.device}, {engine.precision}", DIM, SMALL))
        lines.append((f"{result.timings_ms.get('total', 0.0):.1f} ms", DIM, SMALL))
    if result.degraded is not None:
        lines.append((f"degraded: wished for {result.degraded.wished}", AMBER, SMALL))
    return lines


def _shown(result: Result) -> Sequence[Finding]:
    return classes(result)[:_MOST_FINDINGS]


def _bars(result: Result) -> int:
    return 46 * len(_shown(result)) + MARGIN


def _write(draw: ImageDraw.ImageDraw, lines: Sequence[Line], left: int) -> int:
    top = MARGIN
    for text, colour, size in lines:
        draw.text((left, top), text, fill=colour, font=ImageFont.load_default(size))
        top += size + 10
    return top + MARGIN // 2


def _bar(draw: ImageDraw.ImageDraw, finding: Finding, left: int, top: int, outline: Colour) -> int:
    """Label, size or probability, and a bar with a mark at the threshold; of an outlined label in its own colour."""
    right = left + PANEL - 2 * MARGIN
    colour = DIM if not finding.present else WHITE if finding.region is None else outline
    said = finding.label if finding.present else f"{finding.label} (not present)"
    draw.text((left, top), said, fill=colour, font=ImageFont.load_default(NORMAL))
    number = size_says(finding) if finding.present else ""
    number = number or percent(finding.probability)
    font = ImageFont.load_default(NORMAL)
    draw.text((right - draw.textlength(number, font=font), top), number, fill=colour, font=font)
    at = top + NORMAL + 8
    draw.rectangle((left, at, right, at + 8), fill=TRACK)
    if finding.probability is not None:
        filled = left + round((right - left) * min(1.0, max(0.0, finding.probability)))
        draw.rectangle((left, at, filled, at + 8), fill=GREEN if finding.present else DIM)
    if finding.threshold is not None and 0.0 < finding.threshold < 1.0:
        mark = left + round((right - left) * finding.threshold)
        draw.line((mark, at - 3, mark, at + 11), fill=AMBER, width=2)
    return top + 46
