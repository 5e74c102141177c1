"""Burnt-in text, as captures and scanners leave it in pixels."""

from __future__ import annotations

import string

import cv2
import numpy as np

from guard.fields import Plane

LETTERS = list(string.ascii_letters + string.digits + "    .:/-%")
FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_PLAIN, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX)


def write(
    canvas: Plane, words: str, at: tuple[int, int], font: int, scale: float, shade: float, width: int = 1
) -> None:
    """One line of text into ``canvas``, in place; OpenCV 5 writes into 8 bit alone."""
    ink = cv2.putText(np.zeros(canvas.shape, np.uint8), words, at, font, scale, 255, width, cv2.LINE_AA)
    canvas += (shade - canvas) * (ink.astype(np.float32) / 255)


def text_block(
    rng: np.random.Generator, canvas: Plane, lines: int, shade: float | None = None, scale: float | None = None
) -> None:
    """Write random lines at a random place of ``canvas``, in place."""
    rows, columns = canvas.shape
    scale = rng.uniform(0.25, 0.6) if scale is None else scale
    shade = rng.uniform(0.5, 1.0) if shade is None else shade
    font = FONTS[rng.integers(len(FONTS))]
    x, y = int(rng.uniform(0, 0.8) * columns), int(rng.uniform(0.04, 0.95) * rows)
    for line in range(lines):
        words = "".join(rng.choice(LETTERS, int(rng.integers(2, 16))))
        write(canvas, words, (x, y + int(line * 30 * scale)), font, scale, shade)
