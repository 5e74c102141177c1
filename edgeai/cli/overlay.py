"""A picture an instance: the image as a reader would see it, beside what the model says of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from edgeai.api.errors import EdgeaiError
from edgeai.api.imaging import Frame
from edgeai.api.results import Outcome, Result
from edgeai.cli.picture.column import Column
from edgeai.cli.picture.plate import LEAST_WIDTH, plate_of
from edgeai.cli.picture.scale import caption, scale_of
from edgeai.cli.picture.sheet import Shown, shown_findings, write_origin, write_statement
from edgeai.cli.picture.style import BACK, MARGIN, PANEL
from edgeai.cli.picture.text import Placed
from edgeai.cli.rendering import render
from edgeai.cli.terminal import printable
from edgeai.dicom.header import Header, read_header
from edgeai.dicom.pixels import DecodeOptions, read_frames

_NOMINAL_SIDE: Final = 680
"""Sides of an image from which on the words grow with it, to be read when the whole picture is on a screen."""
_LARGEST_UNIT: Final = 1.4
_COMPRESSION: Final = 3
"""Of 9: half the time of PNG's usual 6 for files a tenth larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture, and every line of text in it with its place."""

    image: Image.Image
    texts: tuple[Placed, ...]


class Overlays:
    """Writes ``<file name>.png`` into a folder, numbered where two files have one name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken: set[str] = set()

    def draw(self, path: Path, result: Result, header: Header | None = None) -> Path:
        """The picture of one result. Of an image that cannot be shown it has the words alone.

        Args:
            path: of the image.
            result: what is said of it.
            header: the image's, where whoever made the result has read it; else it is read here.

        Raises:
            OSError: the picture cannot be written.
        """
        target = self._folder / self._name(path)
        compose(_frame(path, result, header), printable(path.name), result).image.save(
            target, compress_level=_COMPRESSION
        )
        return target

    def _name(self, path: Path) -> str:
        stem = re.sub(r"[^\w.+-]", "_", path.stem) or "image"
        name, number = stem, 1
        while name.lower() in self._taken:
            number += 1
            name = f"{stem}-{number}"
        self._taken.add(name.lower())
        return name + ".png"


def compose(frame: Frame | None, name: str, result: Result) -> Picture:
    """The image on the left, words on the right: what was found first, what it is traced by last.

    Args:
        frame: the one that is shown; ``None`` where there is none to show.
        name: of the file.
        result: what is said of it.
    """
    rendered = None if frame is None else render(frame)
    wide, high = rendered.size if rendered else (LEAST_WIDTH, 0)
    unit = min(_LARGEST_UNIT, max(1.0, max(wide, high) / _NOMINAL_SIDE))
    plate_width = max(wide, round(LEAST_WIDTH * unit))
    scale = None if frame is None or rendered is None else scale_of(frame, rendered.size)
    shown = Shown(name=name)
    if frame is not None:
        shown = Shown(name=name, frame=frame, rendered=rendered, scale=caption(frame, scale))
    margin = round(MARGIN * unit)
    columns = [Column(plate_width + margin, margin, round(PANEL * unit) - 2 * margin, unit) for _ in range(2)]
    write_statement(columns[0], result, shown)
    write_origin(columns[1], result, shown)
    tall = max(high, columns[0].top + columns[1].top)
    columns[1].moved(tall - columns[1].top - margin // 2)
    plate = plate_of(rendered, frame, result, scale=scale, tall=tall, unit=unit)
    canvas = Image.new("RGB", (plate_width + round(PANEL * unit), tall), BACK)
    canvas.paste(plate.image, (0, 0))
    for column in columns:
        column.draw(canvas)
    return Picture(image=canvas, texts=(*plate.texts, *columns[0].texts, *columns[1].texts))


def _frame(path: Path, result: Result, header: Header | None) -> Frame | None:
    """The frame that the findings lie in, else the middle one, decoded exactly; ``None`` when it cannot be shown."""
    if result.outcome is Outcome.FAILED and "transform" not in result.timings_ms:
        return None  # nothing was decoded; what a decoder broke on is not given to it again
    try:
        header = header or read_header(path)
        middle = (max(1, header.instance.number_of_frames) + 1) // 2
        listed = shown_findings(result)
        places = [f.region.frame_number for f in listed if f.region and f.present]
        places += [f.heat.frame_number for f in listed if f.heat]
        number = next((place for place in places if place is not None), middle)
        return next(iter(read_frames(path, DecodeOptions(frames=(number,)), header=header)), None)
    except (EdgeaiError, OSError, ValueError):
        return None
