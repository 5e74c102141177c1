"""How the same subject looks in other images, and what makes another of it: turned, inverted, a part of it."""

from __future__ import annotations

import cv2
import numpy as np
from guard.fields import Plane, blur
from guard.screen import text_block

LEAST = 112
"""Pixels along each axis before anything is moved: what has fewer is enlarged, so that moving does not blur it."""


def enlarged(image: Plane) -> Plane:
    """At least ``LEAST`` by ``LEAST``."""
    rows, columns = (max(LEAST, extent) for extent in image.shape)
    if image.shape == (rows, columns):
        return image
    return np.asarray(cv2.resize(image, (columns, rows), interpolation=cv2.INTER_CUBIC))


def moved(rng: np.random.Generator, image: Plane, degrees: tuple[float, float] = (-12, 12)) -> Plane:
    """Rotated by an angle between ``degrees``, zoomed, stretched and shifted a little."""
    rows, columns = image.shape
    turn, zoom = np.deg2rad(rng.uniform(*degrees)), np.exp(rng.normal(0, 0.08))
    wide, high = zoom * np.exp(rng.normal(0, 0.06, 2))
    linear = np.array([[wide * np.cos(turn), wide * np.sin(turn)], [-high * np.sin(turn), high * np.cos(turn)]])
    centre = np.array([columns, rows]) / 2
    shift = centre - linear @ centre + rng.normal(0, 0.035, 2) * (columns, rows)
    border = cv2.BORDER_REPLICATE if rng.random() < 0.6 else cv2.BORDER_CONSTANT
    matrix = np.column_stack([linear, shift])
    return np.asarray(cv2.warpAffine(image, matrix, (columns, rows), flags=cv2.INTER_LINEAR, borderMode=border))


def toned(rng: np.random.Generator, image: Plane) -> Plane:
    """Another gamma, a tight window, blur, grain, words or bars at the edges."""
    if rng.random() < 0.7:
        image = np.clip(image, 0, 1) ** np.exp(rng.normal(0, 0.3))
    if rng.random() < 0.3:
        low, high = np.quantile(image, [rng.uniform(0, 0.1), rng.uniform(0.88, 1)])
        image = np.clip((image - low) / max(high - low, 1e-3), 0, 1)
    if rng.random() < 0.3:
        image = blur(image.astype(np.float32), rng.uniform(0, 0.015) * max(image.shape))
    if rng.random() < 0.3:
        image = image + rng.uniform(0, 0.12) * rng.standard_normal(image.shape)
    image = np.array(np.clip(image, 0, 1), np.float32)
    if rng.random() < 0.1:
        text_block(rng, image, int(rng.integers(1, 4)))
    return barred(rng, image) if rng.random() < 0.15 else image


def barred(rng: np.random.Generator, image: Plane) -> Plane:
    """Bars of one level at some of the sides."""
    rows, columns = image.shape
    pad = (rng.uniform(0, 0.15, 4) * (rows, rows, columns, columns) * (rng.random(4) < 0.5)).astype(int)
    top, bottom, left, right = (int(value) for value in pad)
    return np.asarray(cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0.0))


def proper(rng: np.random.Generator, image: Plane, *, square: float = 0.3) -> Plane:
    """As another patient, device or technician would have it; every fourth as it is, some cut to their centre."""
    if rng.random() < 0.25:
        return image
    if rng.random() < square:
        side = min(image.shape)
        top, left = ((extent - side) // 2 for extent in image.shape)
        image = image[top : top + side, left : left + side]
    if rng.random() < 0.5:
        image = image[:, ::-1]
    return toned(rng, moved(rng, enlarged(np.ascontiguousarray(image))))


def turned(rng: np.random.Generator, image: Plane) -> Plane:
    """Upside down, on its side, or by any angle that nobody would call upright."""
    kind = rng.random()
    if kind < 0.35:
        return image[::-1]
    if kind < 0.8:
        return np.rot90(image, int(rng.integers(1, 4)))
    return moved(rng, enlarged(image), (50, 310))


def piece(rng: np.random.Generator, image: Plane, least: float = 0.2, most: float = 1.0) -> Plane:
    """A part of a picture."""
    part = rng.uniform(least, most, 2)
    rows, columns = image.shape
    y, x = (rng.random(2) * (1 - part) * (rows, columns)).astype(int)
    return image[y : y + max(8, int(part[0] * rows)), x : x + max(8, int(part[1] * columns))]


def shuffled(rng: np.random.Generator, image: Plane) -> Plane:
    """Its quarters, or its halves, in another order."""
    rows, columns = (extent // 2 for extent in image.shape)
    quarters = [image[y : y + rows, x : x + columns] for y in (0, rows) for x in (0, columns)]
    order = rng.permutation(4)
    while (order == np.arange(4)).all():
        order = rng.permutation(4)
    a, b, c, d = (quarters[number] for number in order)
    return np.vstack([np.hstack([a, b]), np.hstack([c, d])])


def anyhow(rng: np.random.Generator, image: Plane) -> Plane:
    """Cut, turned, mirrored, inverted: what is something else stays so."""
    image = piece(rng, image, 0.35) if rng.random() < 0.5 else image
    image = np.rot90(image, int(rng.integers(4))) if rng.random() < 0.5 else image
    image = image[:, ::-1] if rng.random() < 0.5 else image
    image = toned(rng, np.ascontiguousarray(image))
    return 1 - image if rng.random() < 0.15 else image
