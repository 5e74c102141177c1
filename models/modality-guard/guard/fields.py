"""Random building blocks that the phantoms share: smooth fields, blobs, warps. All float32 in 0 to 1."""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Plane: TypeAlias = npt.NDArray[np.float32]
"""(rows, columns), 0 to 1."""


def rescale(plane: npt.NDArray[np.floating]) -> Plane:
    """Stretch to 0 to 1; a constant plane becomes zeros."""
    low, high = float(plane.min()), float(plane.max())
    return ((plane - low) / max(high - low, 1e-6)).astype(np.float32)


def smooth_field(rng: np.random.Generator, size: int, cells: float) -> Plane:
    """Noise of about ``cells`` bumps across, interpolated smoothly."""
    count = max(2, round(cells) + 1)
    coarse = rng.random((count, count), dtype=np.float32)
    return rescale(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC))


def fractal(rng: np.random.Generator, size: int, start: float = 2.0, octaves: int = 5, gain: float = 0.5) -> Plane:
    """Sum of smooth fields, each finer and fainter than the last."""
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        total += gain**octave * smooth_field(rng, size, min(start * 2**octave, size / 2))
    return rescale(total)


def warp(rng: np.random.Generator, plane: Plane, strength: float = 0.06, cells: float = 4) -> Plane:
    """Push pixels about by a smooth random displacement of up to ``strength`` of the size."""
    size = plane.shape[0]
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    dx = (smooth_field(rng, size, cells) - 0.5) * 2 * strength * size
    dy = (smooth_field(rng, size, cells) - 0.5) * 2 * strength * size
    return cv2.remap(plane, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT).astype(np.float32)


def radius(size: int, centre: tuple[float, float], axes: tuple[float, float], angle: float = 0.0) -> Plane:
    """Normalised elliptical radius (1 on the outline); centre and half axes as fractions of the size."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    c, s = np.cos(angle), np.sin(angle)
    u = (x - centre[0]) * c + (y - centre[1]) * s
    v = -(x - centre[0]) * s + (y - centre[1]) * c
    return np.sqrt((u / axes[0]) ** 2 + (v / axes[1]) ** 2).astype(np.float32)


def blend(plane: Plane, value: float | Plane, mask: Plane) -> Plane:
    """``value`` where the mask is 1, ``plane`` where it is 0."""
    return (plane * (1 - mask) + value * mask).astype(np.float32)


def inside(r: Plane, softness: float = 0.02) -> Plane:
    """1 where ``r`` < 1, falling smoothly to 0 at the outline."""
    return np.clip((1 - r) / softness, 0, 1).astype(np.float32)


def blur(plane: Plane, sigma: float) -> Plane:
    """Gaussian blur, sigma in pixels."""
    return cv2.GaussianBlur(plane, (0, 0), sigma) if sigma > 0.2 else plane
