"""Planes of grey levels or colours, spoilt: float32 from 0 (black) to 1 (white), (rows, columns) or (rows, columns, 3).

Each function gives a new plane; those that move points give an ``Affine`` with it, from the new plane to the old one,
in coordinates that start at the pixel's corner (ADR 0004).
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edgeai.api import Array
from edgeai_workbench.libraries import needed

Affine: TypeAlias = tuple[float, float, float, float, float, float]
Spoilt: TypeAlias = tuple[Array, Affine | None]
Random: TypeAlias = np.random.Generator
_TEXTS: Final = ("L  SUPINE 12:47", "R  PORTABLE 07:15", "AP ERECT  23:02", "MI 0.8 TIS 0.4", "ID 40713  3.5 MHz")


def _inverted(plane: Array, strength: float, random: Random) -> Spoilt:
    return 1.0 - plane, None


def _upside_down(plane: Array, strength: float, random: Random) -> Spoilt:
    rows, columns = plane.shape[:2]
    return plane[::-1, ::-1], (-1.0, 0.0, columns, 0.0, -1.0, rows)


def _flipped(plane: Array, strength: float, random: Random) -> Spoilt:
    return plane[::-1], (1.0, 0.0, 0.0, 0.0, -1.0, plane.shape[0])


def _mirrored(plane: Array, strength: float, random: Random) -> Spoilt:
    return plane[:, ::-1], (-1.0, 0.0, plane.shape[1], 0.0, 1.0, 0.0)


def _rotated_90(plane: Array, strength: float, random: Random) -> Spoilt:
    return np.rot90(plane), (0.0, -1.0, plane.shape[1], 1.0, 0.0, 0.0)


def _rotated(plane: Array, strength: float, random: Random) -> Spoilt:
    return turned(plane, strength if random.random() < 0.5 else -strength)


def _cropped(plane: Array, strength: float, random: Random) -> Spoilt:
    extent = np.array(plane.shape[:2])
    kept = np.maximum(1, np.round(extent * (1 - strength / 100))).astype(int)
    y, x = (int(random.integers(0, off + 1)) for off in extent - kept)
    return plane[y : y + kept[0], x : x + kept[1]], (1.0, 0.0, float(x), 0.0, 1.0, float(y))


def _saturated(plane: Array, strength: float, random: Random) -> Spoilt:
    return plane * np.float32(strength), None


def _noise(plane: Array, strength: float, random: Random) -> Spoilt:
    return noisy(plane, strength / 100, random), None


def _blur(plane: Array, strength: float, random: Random) -> Spoilt:
    return blurred(plane, strength / 100), None


def _jpeg(plane: Array, strength: float, random: Random) -> Spoilt:
    file = io.BytesIO()
    grey = np.round(np.clip(plane, 0, 1) * 255).astype(np.uint8)
    Image.fromarray(grey).save(file, "JPEG", quality=round(strength))
    return np.asarray(Image.open(file), np.float32) / 255, None


def _text(plane: Array, strength: float, random: Random) -> Spoilt:
    rows, columns = plane.shape[:2]
    height = max(6, round(min(rows, columns) * strength / 100))
    ink = Image.new("L", (columns, rows))
    draw, font = ImageDraw.Draw(ink), ImageFont.load_default(size=height)
    draw.fontmode = "1"  # as scanners write it, white or nothing
    words = _TEXTS[int(random.integers(len(_TEXTS)))]
    margin = max(1, min(rows, columns) // 40)
    right, low = (bool(random.integers(2)) for _ in range(2))
    at = (columns - margin if right else margin, rows - margin if low else margin)
    draw.text(at, words, fill=255, font=font, anchor=("r" if right else "l") + ("d" if low else "a"))
    shade = np.asarray(ink, np.float32) / 255
    if plane.ndim == 3:
        shade = shade[:, :, np.newaxis]
    return plane * (1 - shade) + shade, None


def _resized(plane: Array, strength: float, random: Random) -> Spoilt:
    return resized(plane, strength)


DONE: Final[dict[str, Callable[[Array, float, Random], Spoilt]]] = {
    "inverted": _inverted,
    "upside-down": _upside_down,
    "flipped": _flipped,
    "mirrored": _mirrored,
    "rotated-90": _rotated_90,
    "rotated": _rotated,
    "cropped": _cropped,
    "saturated": _saturated,
    "noise": _noise,
    "blur": _blur,
    "jpeg": _jpeg,
    "text": _text,
    "half-size": _resized,
    "double-size": _resized,
}
"""Name of a kind -> (plane, strength in the kind's unit, random) -> the spoilt plane."""


def turned(
    plane: Array, degrees: float, *, zoom: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)
) -> tuple[Array, Affine]:
    """About the middle, in the same extent; what comes in from outside is black. ``shift`` is (x, y) in extents."""
    rows, columns = plane.shape[:2]
    cos, sin = (f(math.radians(degrees)) / zoom for f in (math.cos, math.sin))
    x, y = columns / 2, rows / 2
    right, down = x + shift[0] * columns, y + shift[1] * rows
    affine = (cos, -sin, x - cos * right + sin * down, sin, cos, y - sin * right - cos * down)
    done = _by_channel(
        plane,
        lambda image: image.transform(
            (columns, rows), Image.Transform.AFFINE, affine, resample=Image.Resampling.BILINEAR, fillcolor=0
        ),
    )
    return done, affine


def resized(plane: Array, factor: float) -> tuple[Array, Affine]:
    """To ``factor`` times the extent, smoothed first where it gets smaller."""
    rows, columns = plane.shape[:2]
    fresh = (max(1, round(rows * factor)), max(1, round(columns * factor)))
    return to_extent(plane, fresh), (columns / fresh[1], 0.0, 0.0, 0.0, rows / fresh[0], 0.0)


def to_extent(plane: Array, extent: tuple[int, int]) -> Array:
    """To these rows and columns."""
    return _by_channel(plane, lambda image: image.resize(extent[::-1], Image.Resampling.BILINEAR))


def blurred(plane: Array, part: float) -> Array:
    """By a Gaussian whose standard deviation is this part of the shorter side."""
    sigma = part * min(plane.shape[:2])
    sigmas = (sigma, sigma, 0)[: plane.ndim]
    smooth: Array = needed("scipy.ndimage").gaussian_filter(plane, sigmas, mode="nearest", truncate=3.0)
    return smooth


def noisy(plane: Array, deviation: float, random: Random) -> Array:
    """With Gaussian noise of this standard deviation, of the range."""
    spoilt: Array = plane + np.float32(deviation) * random.standard_normal(plane.shape, np.float32)
    return spoilt


def _by_channel(plane: Array, done: Callable[[Any], Any]) -> Array:
    """Pillow knows floating point of one channel alone."""
    if plane.ndim == 2:
        changed: Array = np.asarray(done(Image.fromarray(np.ascontiguousarray(plane, np.float32))))
        return changed
    channels = [_by_channel(plane[:, :, n], done) for n in range(plane.shape[2])]
    return np.stack(channels, axis=2)
