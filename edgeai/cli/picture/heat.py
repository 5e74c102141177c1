"""A finding's heat beside the image: a small picture of it beneath colours, and what they mean."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

from edgeai.api.heat import Heat
from edgeai.api.imaging import Frame
from edgeai.api.tensors import Array
from edgeai.cli.picture.column import Column
from edgeai.cli.picture.style import AMBER, DIM, SMALL

_DIMMED: Final = 0.6
"""What is left of the brightness of the image beneath."""
_OPAQUE: Final = 0.8
"""How much of the image the hottest cell covers."""
_BAR: Final = 10
_ABOVE: Final = 4.0
"""The scale reaches at least so many times the bound: what stays below it is not to look hot."""


def write_heat(column: Column, heat: Heat, frame: Frame | None, rendered: Image.Image | None) -> None:
    """Where how much of it lies, and the scale of its colours with its bound; or that its frame is not shown."""
    column.gap(4)
    if frame is None or rendered is None or heat.frame_number != frame.number:
        column.text(f"{heat.name} by place: of frame {heat.frame_number}, not shown", SMALL, AMBER, "elsewhere")
        return
    column.text(f"{heat.name} by place", SMALL, DIM, "label")
    column.picture(heat_map(heat, frame, rendered, column.width))
    column.gap(4)
    top = top_of(heat)
    column.scale(heat_scale(column.width, column.size(_BAR)), None if heat.bound is None else heat.bound / top)
    column.pair("0", f"{top:.3g}", SMALL, (DIM, DIM), "explained")
    if heat.bound is not None:
        column.text(f"the mark: {heat.bound:.3g}, the threshold of the whole", SMALL, DIM, "explained")


def top_of(heat: Heat) -> float:
    """The value that is drawn in full."""
    return max(max(map(max, heat.values)), _ABOVE * (heat.bound or 0.0)) or 1.0


def heat_map(heat: Heat, frame: Frame, rendered: Image.Image, room: int) -> Image.Image:
    """The whole image, at most ``room`` pixels a side, and over it each cell from nothing over red to yellow.

    Args:
        heat: of this frame.
        frame: in whose source pixels it lies.
        rendered: the frame as a reader sees it.
        room: pixels.
    """
    scale = room / max(rendered.size)
    size = (max(1, round(rendered.width * scale)), max(1, round(rendered.height * scale)))
    across, down = size[0] / frame.geometry.source_columns, size[1] / frame.geometry.source_rows
    x0, y0, x1, y1 = heat.box
    left, top = round(x0 * across), round(y0 * down)
    extent = (max(1, round(x1 * across) - left), max(1, round(y1 * down) - top))
    shares = np.clip(np.array(heat.values, np.float64) / top_of(heat), 0.0, 1.0)
    cells = Image.fromarray(np.rint(shares * 255).astype(np.uint8)).resize(extent, Image.Resampling.NEAREST)
    over = Image.new("L", size)
    over.paste(cells, (left, top))
    beneath = rendered.convert("L").resize(size, Image.Resampling.BICUBIC).point(lambda level: round(level * _DIMMED))
    return _coloured(np.asarray(beneath), np.asarray(over), _OPAQUE)


def heat_scale(width: int, height: int) -> Image.Image:
    """The colours from nothing at the left to ``top_of`` at the right, over black."""
    over = np.tile(np.linspace(0, 255, width).round().astype(np.uint8), (height, 1))
    return _coloured(np.zeros_like(over), over, 1.0)


def _coloured(beneath: Array, over: Array, opaque: float) -> Image.Image:
    """Grey levels beneath colours, both from 0 to 255; of the hottest so much is seen."""
    share = over[..., np.newaxis] / 255.0
    colour = np.concatenate((np.ones_like(share), share, np.zeros_like(share)), axis=2) * 255.0
    mixed = beneath[..., np.newaxis] * (1.0 - opaque * share) + colour * opaque * share
    return Image.fromarray(np.rint(mixed).astype(np.uint8))
