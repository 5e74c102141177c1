"""Images that show nothing, drawn: what no model should be asked about. Another for each state of ``random``.

Each takes a generator, rows and columns, and gives uint8; ``WRONG`` has all of them by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from edgeai.api.tensors import Array

Draw: TypeAlias = Callable[[np.random.Generator, int, int], Array]


def _grid(rows: int, columns: int) -> tuple[Array, Array]:
    y, x = np.mgrid[0:rows, 0:columns] / max(rows, columns)
    return y, x


def _byte(levels: Array) -> Array:
    return np.asarray(255 * np.clip(levels, 0, 1), np.uint8)


def ramp(random: np.random.Generator, rows: int, columns: int) -> Array:
    """From black to white, in any direction."""
    y, x = _grid(rows, columns)
    turn = random.uniform(0, 2 * np.pi)
    way = np.cos(turn) * x + np.sin(turn) * y
    return _byte((way - way.min()) / np.ptp(way))


def radial(random: np.random.Generator, rows: int, columns: int) -> Array:
    """Brighter from a point outwards."""
    y, x = _grid(rows, columns)
    return _byte(np.hypot(x - random.uniform(0.3, 0.7), y - 0.5) / 0.7)


def checkers(random: np.random.Generator, rows: int, columns: int) -> Array:
    """Two levels, in squares."""
    (y, x), count = _grid(rows, columns), int(random.integers(2, 32))
    one, other = random.choice(256, 2, replace=False)
    odd = ((x * count).astype(int) + (y * count).astype(int)) % 2
    return np.asarray(np.where(odd, one, other), np.uint8)


def blobs(random: np.random.Generator, rows: int, columns: int) -> Array:
    """A few Gaussian bumps on black."""
    (y, x), whole = _grid(rows, columns), np.zeros((rows, columns))
    for _ in range(int(random.integers(1, 8))):
        at, size = random.uniform(0, 1, 2), random.uniform(0.03, 0.3)
        whole += random.uniform(0.3, 1) * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * size * size))
    return _byte(whole / whole.max())


def discs(random: np.random.Generator, rows: int, columns: int) -> Array:
    """White discs on black."""
    (y, x), whole = _grid(rows, columns), np.zeros((rows, columns), bool)
    for _ in range(int(random.integers(1, 8))):
        at, size = random.uniform(0.2, 0.6, 2), random.uniform(0.08, 0.3)
        whole |= np.hypot(x - at[0], y - at[1]) < size
    return _byte(whole.astype(float))


def noise(random: np.random.Generator, rows: int, columns: int) -> Array:
    """Noise, all levels alike."""
    return random.integers(0, 256, (rows, columns)).astype(np.uint8)


def grey_noise(random: np.random.Generator, rows: int, columns: int) -> Array:
    """Noise around grey."""
    return np.clip(random.normal(128, random.uniform(10, 60), (rows, columns)), 0, 255).astype(np.uint8)


def text(random: np.random.Generator, rows: int, columns: int) -> Array:
    """A few lines of writing on paper of one level."""
    paper, ink = random.choice([(0, 255), (255, 0), (40, 200)])
    image = Image.new("L", (columns, rows), int(paper))
    draw, words = ImageDraw.Draw(image), "PATIENT NAME 2024-01-01 LEFT"
    for _ in range(int(random.integers(1, 6))):
        at = (random.uniform(0, 0.6) * columns, random.uniform(0, 0.9) * rows)
        size = max(8, int(rows * random.uniform(0.03, 0.08)))
        draw.text(at, words[: int(random.integers(4, 28))], fill=int(ink), font_size=size)
    return np.asarray(image)


def constant(random: np.random.Generator, rows: int, columns: int) -> Array:
    """One level."""
    level = int(random.choice([0, 255, int(random.integers(1, 255))]))
    return np.asarray(np.full((rows, columns), level), np.uint8)


WRONG: Final[dict[str, Draw]] = {
    draw.__name__.replace("_", "-"): draw
    for draw in (constant, ramp, radial, checkers, blobs, discs, noise, grey_noise, text)
}
