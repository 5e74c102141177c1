"""Ultrasound: synthetic speckle, scan conversion to a sector, colour Doppler, and a scanner's screen around it.

Speckle is the envelope of complex Gaussian scatterers seen through the probe's point spread function, then log
compressed (Wagner et al., IEEE Trans. Sonics Ultrason. 30(3), 1983); nothing is measured, only the look is aimed at.
"""

from __future__ import annotations

import cv2
import numpy as np

from guard.fields import Plane, blur, fractal, radius, rescale, smooth_field, warp
from guard.screen import text_block


def _anatomy(rng: np.random.Generator, size: int) -> Plane:
    """Echogenicity along depth (rows): layers, cysts with what lies behind them, shadows."""
    echo = 0.2 + 0.8 * fractal(rng, size, rng.uniform(2, 5), 4)
    for _ in range(rng.integers(0, 7)):
        row = rng.uniform(0.03, 0.95) * size + size * 0.2 * (smooth_field(rng, size, 3)[0] - 0.5)
        depth = np.arange(size, dtype=np.float32)[:, None] - row[None, :].astype(np.float32)
        echo += rng.uniform(0.5, 5) * np.exp(-((depth / rng.uniform(1, size * 0.015)) ** 2))
    for _ in range(rng.integers(0, 4)):
        centre, axes = (rng.random(), rng.uniform(0.2, 0.9)), (rng.uniform(0.04, 0.3), rng.uniform(0.04, 0.25))
        r = warp(rng, radius(size, centre, axes, rng.uniform(0, 3)), 0.03)
        echo[r < 1] *= rng.uniform(0.0, 0.15)
        if rng.random() < 0.5:
            echo += rng.uniform(0.5, 4) * np.exp(-(((r - 1) / 0.05) ** 2))
    for _ in range(rng.integers(0, 3)):
        left, width, top = rng.random(), rng.uniform(0.03, 0.15), rng.uniform(0.1, 0.7)
        echo[int(top * size) :, int(left * size) : int((left + width) * size)] *= rng.uniform(0.02, 0.3)
    return np.clip(echo, 0, None).astype(np.float32)


def _air(rng: np.random.Generator, size: int) -> Plane:
    """A probe that touches nothing: reverberation bands near it, then darkness."""
    depth = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    bands = 1 + 0.6 * np.cos(depth * rng.uniform(40, 160)) * np.ones((1, size), np.float32)
    return (bands * np.exp(-depth * rng.uniform(5, 25)) * (0.7 + 0.3 * smooth_field(rng, size, 12)[:1])).astype(
        np.float32
    )


def speckle(rng: np.random.Generator, size: int = 256) -> Plane:
    """A B-mode image before scan conversion: depth downwards, beams side by side."""
    air = rng.random() < 0.1
    echo = _air(rng, size) if air else _anatomy(rng, size)
    scatter = rng.standard_normal((2, size, size)).astype(np.float32)
    axial, lateral = rng.uniform(0.5, 1.8), rng.uniform(1.0, 4.5)
    field = [cv2.GaussianBlur(part * np.sqrt(echo), (0, 0), lateral, sigmaY=axial) for part in scatter]
    envelope = np.hypot(field[0], field[1])
    decibel = 20 * np.log10(envelope / np.percentile(envelope, 99.5) + 1e-5)
    image = np.clip(1 + decibel / rng.uniform(30, 65), 0, 1)
    depth = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    fade = np.exp(-np.clip(depth - rng.uniform(0.1, 0.9), 0, None) * rng.uniform(0, 3))
    return blur((image * fade).astype(np.float32), rng.uniform(0, 0.8))


def sector(rng: np.random.Generator, image: Plane, size: int = 256) -> Plane:
    """Scan conversion: beams of a phased, curved or trapezoid array fanned out on black."""
    half = rng.uniform(0.3, 0.85)
    near = rng.choice([rng.uniform(0.0, 0.06), rng.uniform(0.15, 0.6), rng.uniform(0.8, 2.0)])
    far = near + 1.0
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    height = far - near * np.cos(half)
    across = (x - rng.uniform(0.45, 0.55)) * max(height, 2 * far * np.sin(half)) * rng.uniform(0.9, 1.2)
    down = (y - rng.uniform(0, 0.08)) * height * rng.uniform(1.0, 1.15) + near * np.cos(half)
    rho, theta = np.hypot(across, down), np.arctan2(across, down)
    rows, columns = image.shape
    map_x = ((theta / half + 1) / 2 * columns).astype(np.float32)
    map_y = ((rho - near) * rows).astype(np.float32)
    return np.asarray(cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR, borderValue=0), np.float32)


def doppler(rng: np.random.Generator, image: Plane) -> Plane:
    """The luminance that colour flow leaves: a box or fan with vessels, mosaic, or a gain so high that all is flow."""
    size = image.shape[0]
    x0, y0 = rng.uniform(-0.3, 0.5, 2)
    x1, y1 = x0 + rng.uniform(0.3, 1.4), y0 + rng.uniform(0.3, 1.4)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    slant = rng.choice([0.0, rng.uniform(-0.4, 0.4)])
    left, right = x - x0 + slant * (y - 0.5), x1 - x + slant * (y - 0.5) * rng.choice([-1, 1])
    curve = rng.choice([0.0, rng.uniform(0.05, 0.4)])
    lid = y - y0 - curve * (0.25 - (x - 0.5) ** 2)
    box = (left > 0) & (right > 0) & (lid > 0) & (y < y1)
    filling = rng.choice([rng.uniform(0.05, 0.6), rng.uniform(0.85, 1.0)], p=[0.7, 0.3])
    vessels = fractal(rng, size, rng.uniform(3, 10), 4)
    if rng.random() < 0.5:  # branches rather than lakes
        vessels = rescale(np.abs(warp(rng, fractal(rng, size, rng.uniform(4, 12), 3), 0.03) - 0.5) + 0.2 * vessels)
    flow = box & (vessels <= np.quantile(vessels, filling))
    if rng.random() < 0.4:  # aliasing or a power map: shades; else one saturated colour
        shade = rng.uniform(0.3, 0.9) + rng.uniform(0, 0.4) * (fractal(rng, size, 8, 4) - 0.5)
    else:
        shade = np.full_like(image, rng.uniform(0.25, 0.93)) - 0.4 * np.clip(vessels - 0.7, 0, 1)
    result = np.where(flow, shade, image)
    if rng.random() < 0.6:
        edge = cv2.morphologyEx(box.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
        result = np.where(edge > 0, rng.uniform(0.7, 1.0), result)
    return np.clip(result, 0, 1).astype(np.float32)


def flooded(rng: np.random.Generator, image: Plane) -> Plane:
    """Colour gain turned up too far: one saturated fan of flow from edge to edge, B-mode left in the corners."""
    size = image.shape[0]
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    spread, top = rng.uniform(0.05, 0.5), rng.uniform(-0.1, 0.15)
    lid = y - top - rng.uniform(0, 0.4) * (0.25 - (x - 0.5) ** 2)
    side = rng.uniform(0.3, 0.55) + spread * (y - top) - np.abs(x - rng.uniform(0.4, 0.6))
    fan = (lid > 0) & (side > 0)
    shade = rng.uniform(0.6, 0.95) - rng.uniform(0, 0.6) * np.clip(fractal(rng, size, 8, 4) - 0.6, 0, 1) * (
        y > rng.random()
    )
    result = np.where(fan, shade, rescale(image) * rng.uniform(0.4, 1))
    width = int(rng.integers(2, 9))
    edge = cv2.morphologyEx(fan.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((width, width), np.uint8))
    result = np.where(edge > 0, 1.0, result)
    return np.clip(result, 0, 1).astype(np.float32)


def _furniture(rng: np.random.Generator, canvas: Plane) -> None:
    """Depth ticks, a grey bar, calipers, a header strip and lines of text, drawn in place."""
    rows, columns = canvas.shape
    if rng.random() < 0.5:
        x = int(rng.choice([rng.uniform(0.01, 0.1), rng.uniform(0.9, 0.98)]) * columns)
        for y in np.arange(rng.uniform(0, 0.2), 1, rng.uniform(0.04, 0.15)):
            canvas[int(y * rows) : int(y * rows) + 2, x : x + rng.integers(2, 6)] = rng.uniform(0.5, 1)
    if rng.random() < 0.5:
        left, top = int(rng.uniform(0.02, 0.95) * columns), int(rng.uniform(0.05, 0.5) * rows)
        bar = np.linspace(1, 0, max(2, int(rng.uniform(0.15, 0.45) * rows)), dtype=np.float32)[:, None]
        target = canvas[top : top + len(bar), left : left + rng.integers(4, 9)]
        target[:] = bar[: len(target)]
    if rng.random() < 0.25:
        high = int(rng.uniform(0.05, 0.16) * rows)
        canvas[:high] = rng.uniform(0.1, 0.5)
        text_block(rng, canvas[:high], lines=2)
    for _ in range(rng.integers(0, 5)):
        text_block(rng, canvas, lines=int(rng.integers(1, 7)))
    for _ in range(rng.integers(0, 3)):
        at = (int(rng.integers(columns)), int(rng.integers(rows)))
        cv2.drawMarker(canvas, at, rng.uniform(0.6, 1.0), cv2.MARKER_CROSS, int(rng.integers(4, 10)))


def scanner_screen(rng: np.random.Generator, image: Plane) -> Plane:
    """An ultrasound image as a scanner exports it: fanned out or not, with flow, on a screen with text."""
    if rng.random() < 0.07:
        return flooded(rng, image)
    if rng.random() < 0.5:
        image = sector(rng, image)
    if rng.random() < 0.35:
        image = doppler(rng, image)
    if rng.random() < 0.2:
        image = np.hstack([image, image[:, ::-1] if rng.random() < 0.5 else image])
    if rng.random() < 0.3:
        return np.ascontiguousarray(image)
    return on_screen(rng, image, strip=rng.random() < 0.3)


def on_screen(rng: np.random.Generator, image: Plane, *, strip: bool = False) -> Plane:
    """Any image as part of a dark screen with text: a scanner's export or a secondary capture.

    ``strip``: low and wide, as a linear probe's image (or two side by side) is shown.
    """
    rows, columns = int(rng.integers(240, 520)), int(rng.integers(300, 800))
    canvas = np.full((rows, columns), rng.choice([0.0, rng.uniform(0, 0.1)]), np.float32)
    high, wide = int(rng.uniform(0.3, 0.95) * rows), int(rng.uniform(0.35, 1.0) * columns)
    if strip:
        high, wide = int(rng.uniform(0.22, 0.5) * rows), int(rng.uniform(0.75, 1.0) * columns)
    y, x = int(rng.uniform(0, rows - high)), int(rng.uniform(0, columns - wide))
    canvas[y : y + high, x : x + wide] = cv2.resize(image, (wide, high), interpolation=cv2.INTER_AREA)
    _furniture(rng, canvas)
    return canvas


def phantom(rng: np.random.Generator) -> Plane:
    """A wholly synthetic ultrasound image."""
    image = speckle(rng)
    return rescale(sector(rng, image) if rng.random() < 0.3 else image)
