"""Pictures for golden cases: drawn, so that no patient's image ships in a bundle, and alike on every machine.

Only their look is aimed at; what a model says of them means nothing beyond that every engine must say the same.
"""

from __future__ import annotations

import numpy as np

from edgeai.api import Array


def chest(number: int, *, rows: int = 262, columns: int = 320) -> Array:
    """A frontal chest projection: body, lungs, spine, ribs, heart, haze; uint8, another for each number."""
    random = np.random.default_rng([number, 0xC4E57])
    y, x = _grid(rows, columns)
    thick = 1.2 * _ellipsoid(x, y, (0.5, 0.55), (0.48 + 0.1 * random.random(), 0.7))
    for side in (-1, 1):
        at = (0.5 + side * random.uniform(0.17, 0.21), random.uniform(0.42, 0.5))
        lung = np.sqrt(_ellipsoid(x, y, at, (random.uniform(0.11, 0.15), random.uniform(0.25, 0.33))))
        haze = random.uniform(0.3, 0.9) * random.random() * _ellipsoid(x, y, (at[0], 0.62), (0.12, 0.2))
        thick -= (random.uniform(0.6, 0.8) - haze) * lung
    thick += 0.5 * _ellipsoid(x, y, (random.uniform(0.52, 0.58), 0.62), (random.uniform(0.1, 0.16), 0.17))
    thick += 0.4 * np.exp(-(((x - 0.5) / 0.04) ** 2)) * (1 + 0.2 * np.cos(60 * y))
    thick += 0.1 * np.clip(np.cos(70 * (y + 0.8 * (x - 0.5) ** 2)), 0.3, 1) * (thick > 0.05)
    return _stored(1 - np.exp(-1.5 * np.clip(thick, 0, None)) + 0.01 * random.standard_normal(x.shape))


def head(number: int, *, rows: int = 270, columns: int = 400) -> Array:
    """A head in ultrasound: speckle, a bright ring around a dark inside, tissue, shadow; uint8, another for each."""
    random = np.random.default_rng([number, 0x4EAD])
    y, x = _grid(rows, columns)
    at, angle = (random.uniform(0.4, 0.6), random.uniform(0.45, 0.55)), random.uniform(-0.6, 0.6)
    across = (x - at[0]) * columns / rows
    along, beside = across * np.cos(angle) + (y - at[1]) * np.sin(angle), (y - at[1]) * np.cos(angle)
    beside = beside - across * np.sin(angle)
    size = random.uniform(0.22, 0.36)
    radius = np.hypot(along / size, beside / (size * random.uniform(0.7, 0.85)))
    echo = 0.25 + 0.2 * np.cos(9 * y + random.uniform(0, 6)) * (radius > 1)
    echo = np.where(radius < 1, 0.12 + 0.1 * np.exp(-((beside / 0.01) ** 2)), echo)
    ring = np.exp(-(((radius - 1) / 0.05) ** 2)) * (0.35 + 0.65 * np.abs(np.sin(np.arctan2(beside, along) + angle)))
    echo = (echo + 1.5 * ring) * np.exp(-0.8 * y) * (np.hypot(x - 0.5, y + 0.3) < 1.25)
    return _stored(np.clip(echo * _speckle(random, rows, columns), 0, 1.4), top=1.4)


def bright(*, rows: int, columns: int) -> Array:
    """Nearly all white, with a dark disc, and grey levels at the left from black on; uint8."""
    y, x = _grid(rows, columns)
    disc = np.hypot(x - 0.6, y - 0.5) < 0.15
    return _stored(np.where(disc, 0.0, np.clip(4 * x, 0, 1)))


def _grid(rows: int, columns: int) -> tuple[Array, Array]:
    """(y, x) of the pixels' centres, each from 0 to 1."""
    y, x = np.mgrid[0:rows, 0:columns] + 0.5
    return y / rows, x / columns


def _ellipsoid(x: Array, y: Array, centre: tuple[float, float], axes: tuple[float, float]) -> Array:
    """How thick an ellipsoid is along the beam, 1 at its centre."""
    square = ((x - centre[0]) / axes[0]) ** 2 + ((y - centre[1]) / axes[1]) ** 2
    thickness: Array = np.sqrt(np.clip(1 - square, 0, None))
    return thickness


def _speckle(random: np.random.Generator, rows: int, columns: int) -> Array:
    """Rayleigh amplitudes with a grain of about two by four pixels, mean near 1."""
    parts = random.standard_normal((2, rows, columns))
    for _ in range(2):
        parts = parts + np.roll(parts, 1, axis=1) + np.roll(parts, 1, axis=2) + np.roll(parts, 2, axis=2)
    amplitude = np.hypot(parts[0], parts[1])
    grain: Array = amplitude / amplitude.mean()
    return grain


def _stored(levels: Array, top: float = 1.0) -> Array:
    return np.asarray(np.round(255 * np.clip(levels / top, 0, 1)), np.uint8)
