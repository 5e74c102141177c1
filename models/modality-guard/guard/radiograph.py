"""Projection phantoms: limbs and trunks as sums of thickness along the beam, with a detector's look."""

from __future__ import annotations

import cv2
import numpy as np

from guard.fields import Plane, blur, fractal, inside, radius, rescale, smooth_field, warp
from guard.screen import write


def _ellipsoid(size: int, centre: tuple[float, float], axes: tuple[float, float], angle: float) -> Plane:
    r = radius(size, centre, axes, angle)
    return np.sqrt(np.clip(1 - r * r, 0, None)).astype(np.float32)


def _tube(
    rng: np.random.Generator, size: int, start: tuple[float, float], end: tuple[float, float], width: float
) -> Plane:
    """A hollow long bone: a cylinder less its marrow, wider at both ends."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    ax, ay = end[0] - start[0], end[1] - start[1]
    length = max(np.hypot(ax, ay), 1e-3)
    along = ((x - start[0]) * ax + (y - start[1]) * ay) / length**2
    bend = rng.uniform(-0.1, 0.1) * np.sin(np.pi * np.clip(along, 0, 1))
    across = ((x - start[0]) * ay - (y - start[1]) * ax) / length + bend
    flare = width * (1 + rng.uniform(0.3, 1.0) * (2 * np.clip(along, 0, 1) - 1) ** 4)
    ends = inside(np.abs(along - 0.5) * 2, 0.06)
    outer = np.sqrt(np.clip(1 - (across / flare) ** 2, 0, None))
    marrow = np.sqrt(np.clip(1 - (across / (flare * rng.uniform(0.5, 0.75))) ** 2, 0, None))
    return ((outer - rng.uniform(0.3, 0.6) * marrow) * ends * flare / width).astype(np.float32)


def limb(rng: np.random.Generator, size: int) -> Plane:
    """One to five bones side by side or end to end, in soft tissue."""
    total = np.zeros((size, size), np.float32)
    angle = rng.uniform(-0.5, 0.5)
    for _ in range(rng.integers(1, 6)):
        x, width = rng.uniform(0.15, 0.85), rng.uniform(0.02, 0.09)
        tilt = angle + rng.uniform(-0.25, 0.25)
        top, bottom = rng.uniform(-0.3, 0.5), rng.uniform(0.5, 1.3)
        start, end = (x + tilt * (top - 0.5), top), (x + tilt * (bottom - 0.5), bottom)
        bone = _tube(rng, size, start, end, width)
        flesh = _tube(rng, size, start, end, width * rng.uniform(1.8, 4))
        total = total + rng.uniform(0.5, 1.2) * bone + rng.uniform(0.2, 0.6) * (flesh > 0) * np.sqrt(flesh.clip(0))
    return total


def _trunk(rng: np.random.Generator, size: int) -> Plane:
    """A chest or an abdomen: body, air, spine, ribs, a heart or gas, sometimes arms."""
    body = _ellipsoid(size, (0.5, rng.uniform(0.4, 0.7)), (rng.uniform(0.4, 0.8), rng.uniform(0.6, 1.2)), 0.0)
    total = body * rng.uniform(0.8, 1.5)
    if rng.random() < 0.7:
        for side in (-1, 1):
            at = (0.5 + side * rng.uniform(0.15, 0.25), rng.uniform(0.35, 0.55))
            axes = (rng.uniform(0.1, 0.2), rng.uniform(0.2, 0.38))
            total -= rng.uniform(0.4, 0.9) * np.sqrt(_ellipsoid(size, at, axes, side * rng.uniform(0, 0.2)))
        total += rng.uniform(0.3, 0.7) * _ellipsoid(size, (rng.uniform(0.45, 0.6), 0.6), (0.15, 0.17), 0.4)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    pitch, slope = rng.uniform(0.05, 0.11), rng.uniform(0.5, 2.0)
    wave = np.cos((y + slope * (x - 0.5) ** 2) / pitch * 2 * np.pi)
    total += rng.uniform(0.05, 0.3) * np.clip(wave, 0.3, 1) * body
    spine = np.exp(-(((x - 0.5) / rng.uniform(0.03, 0.07)) ** 2)) * (1 + 0.25 * np.cos(y / pitch * 2 * np.pi))
    total += rng.uniform(0.2, 0.6) * spine
    for _ in range(rng.integers(0, 4)):
        gas = _ellipsoid(size, (rng.random(), rng.random()), (rng.uniform(0.02, 0.1), rng.uniform(0.02, 0.08)), 1.0)
        total -= rng.uniform(0.1, 0.4) * gas
    return total


def phantom(rng: np.random.Generator, size: int = 256) -> Plane:
    """A synthetic radiograph: bright where the beam is stopped."""
    thickness = limb(rng, size) if rng.random() < 0.5 else _trunk(rng, size)
    thickness = warp(rng, rescale(thickness), rng.uniform(0, 0.08), 3)
    thickness += rng.uniform(0, 0.15) * fractal(rng, size, 4, 5) * (thickness > 0.02)
    image = 1 - np.exp(-rng.uniform(0.8, 3) * thickness)
    image = image + rng.uniform(0, 0.2) * smooth_field(rng, size, 1)  # scatter and heel effect
    image = blur(image.astype(np.float32), rng.uniform(0, 1.5))
    image = rescale(image + rng.uniform(0, 0.02) * rng.standard_normal(image.shape))
    return dress(rng, image)


def dress(rng: np.random.Generator, image: Plane) -> Plane:
    """Collimation, a side marker and a line or two, as on any radiograph."""
    image = image.copy()
    rows, columns = image.shape
    if rng.random() < 0.3:
        angle = rng.uniform(-8, 8)
        box = cv2.boxPoints(
            ((columns / 2, rows / 2), (columns * rng.uniform(0.6, 1), rows * rng.uniform(0.6, 1)), angle)
        )
        mask = cv2.fillPoly(np.zeros_like(image), [box.astype(np.int32)], 1.0)
        image = np.where(mask > 0, image, rng.choice([0.0, 0.0, rng.uniform(0, 0.15)])).astype(np.float32)
    if rng.random() < 0.3:
        at = (int(rng.uniform(0, 0.9) * columns), int(rng.uniform(0.1, 1) * rows))
        side = str(rng.choice(["L", "R", "LI", "RE"]))
        write(image, side, at, cv2.FONT_HERSHEY_DUPLEX, rng.uniform(0.5, 1.2), 1.0, 2)
    for _ in range(rng.integers(0, 3)):
        knots = np.cumsum(rng.uniform(-0.2, 0.25, (6, 2)), axis=0) + rng.random(2)
        line = (knots * (columns, rows)).astype(np.int32)
        cv2.polylines(image, [line], False, rng.uniform(0.7, 1.0), 1, cv2.LINE_AA)
    return image
