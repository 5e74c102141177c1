"""Cross-sections and emission images: CT, MR and nuclear medicine phantoms.

Tissue maps follow the idea of SynthSeg (Billot et al., Med. Image Anal. 86, 2023): random organic label maps with
random intensities, a bias field and noise, so that contrast carries no class.
"""

from __future__ import annotations

import cv2
import numpy as np

from guard.fields import Plane, blend, blur, fractal, inside, radius, rescale, smooth_field, warp

SIZE = 256


def _outline(rng: np.random.Generator) -> tuple[Plane, Plane]:
    """(normalised radius, mask) of a body or a head, a little irregular."""
    zoom = rng.choice([1.0, 1.0, rng.uniform(1.1, 2.5)])
    axes = (rng.uniform(0.26, 0.48) * zoom, rng.uniform(0.22, 0.46) * zoom)
    centre = (rng.uniform(0.42, 0.58), rng.uniform(0.42, 0.58))
    r = radius(SIZE, centre, axes, rng.uniform(-0.4, 0.4))
    r = r * (1 + 0.25 * (smooth_field(rng, SIZE, 4) - 0.5))
    return r, inside(r, 0.03)


def _tissues(rng: np.random.Generator, cells: float, levels: int) -> Plane:
    """Piecewise smooth regions with random grey levels."""
    fields = np.stack([warp(rng, fractal(rng, SIZE, cells, 3), 0.04, 6) for _ in range(levels)])
    labels = fields.argmax(axis=0)
    return rng.uniform(0.1, 1.0, levels).astype(np.float32)[labels]


def ct(rng: np.random.Generator) -> Plane:
    """A CT slice: air, table, skin, fat, organs, bone; a round field of view whose outside is padding."""
    r, body = _outline(rng)
    soft = rng.uniform(0.4, 0.65)
    image = np.full((SIZE, SIZE), rng.uniform(0.0, 0.25), np.float32)
    image = blend(image, soft - rng.uniform(0.02, 0.1), body)
    image = blend(image, soft + 0.06 * (_tissues(rng, 3, 4) - 0.5), inside(r / rng.uniform(0.75, 0.95)))
    if rng.random() < 0.4:  # a skull
        wall = np.exp(-(((r - rng.uniform(0.75, 0.92)) / rng.uniform(0.02, 0.07)) ** 2))
        image = blend(image, 1.0, wall.astype(np.float32))
    for _ in range(rng.integers(1, 9)):
        at = (rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8))
        organ = radius(SIZE, at, (rng.uniform(0.02, 0.18), rng.uniform(0.02, 0.18)), rng.uniform(0, 3))
        organ = warp(rng, organ, 0.04)
        level = rng.choice([soft + rng.uniform(-0.08, 0.12), rng.uniform(0, 0.25), rng.uniform(0.8, 1.0)])
        image = blend(image, float(level), inside(organ, 0.05) * body)
        if level > 0.75 and rng.random() < 0.6:
            image = blend(image, soft + 0.1, inside(organ / rng.uniform(0.5, 0.8), 0.1) * body)
    if rng.random() < 0.3:  # air or lung behind an irregular wall, as in a target reconstruction
        field = fractal(rng, SIZE, rng.uniform(1, 3), 2, 0.2)
        air = np.clip((field - np.quantile(field, rng.uniform(0.6, 0.95))) / 0.03, 0, 1)
        image = blend(image, rng.uniform(0, 0.15), air.astype(np.float32))
    if rng.random() < 0.5:
        table = np.abs(radius(SIZE, (0.5, rng.uniform(-0.2, 0.3)), (0.75, 0.62)) - 1)
        image = np.maximum(image, rng.uniform(0.2, 0.6) * (table < 0.01))
    image = blur(image.astype(np.float32), rng.uniform(0.4, 1.4))
    image += rng.uniform(0.0, 0.04) * blur(rng.standard_normal((SIZE, SIZE)).astype(np.float32), rng.uniform(0, 1))
    if rng.random() < 0.5:  # reconstruction circle
        circle = radius(SIZE, (0.5, 0.5), (0.5, 0.5)) < 1
        image = np.where(circle, image, rng.choice([0.0, image.min() - rng.uniform(0, 0.5)]))
    return _target(rng, rescale(image))


def joint(rng: np.random.Generator) -> Plane:
    """A small field of view in soft tissue: marrow with a dark rim, muscle with strands, one coil's falling light."""
    muscle = rng.uniform(0.1, 0.5)
    strands = fractal(rng, SIZE, rng.uniform(3, 12), 4)
    bundles = _tissues(rng, rng.uniform(1.5, 6), int(rng.integers(3, 8)))
    image = muscle * (0.6 + 0.4 * strands + rng.uniform(0, 0.5) * bundles)
    septa = blur((cv2.Laplacian(bundles, cv2.CV_32F) != 0).astype(np.float32), rng.uniform(0.5, 2))
    image = blend(image.astype(np.float32), rng.choice([0.05, rng.uniform(0.3, 0.9)]), np.clip(septa, 0, 0.8))
    if rng.random() < 0.6:  # fat
        field = warp(rng, fractal(rng, SIZE, rng.uniform(1, 4), 2, 0.3), 0.05)
        fat = np.clip((field - np.quantile(field, rng.uniform(0.5, 0.95))) / 0.02, 0, 1).astype(np.float32)
        image = blend(image, rng.uniform(0.6, 1.0) * (0.85 + 0.15 * strands), fat)
    for _ in range(rng.integers(1, 6)):
        at, axes = (rng.uniform(0, 1), rng.uniform(0, 1)), (rng.uniform(0.05, 0.35), rng.uniform(0.04, 0.3))
        r = warp(rng, radius(SIZE, at, axes, rng.uniform(0, 3)), 0.06)
        image = blend(image, rng.uniform(0, 0.15), inside(r / rng.uniform(1.05, 1.3), 0.05))
        image = blend(image, rng.choice([rng.uniform(0.5, 1), muscle]) * (0.8 + 0.2 * strands), inside(r, 0.08))
    if rng.random() < 0.5:  # the edge of the body
        edge = warp(rng, smooth_field(rng, SIZE, 1), 0.05)
        image = image * np.clip((edge - rng.uniform(0.05, 0.3)) / 0.05, 0, 1)
    light = np.exp(-rng.uniform(0.5, 3) * radius(SIZE, (rng.random(), rng.random()), (0.8, 0.8)))
    image = blur((image * light).astype(np.float32), rng.uniform(0.5, 4))
    noise = rng.uniform(0.002, 0.05) * float(image.max()) * rng.standard_normal((2, SIZE, SIZE))
    return rescale(np.hypot(image + noise[0], noise[1]))


def mr(rng: np.random.Generator) -> Plane:
    """An MR slice: dark air, bright and dark tissue in any order, folds, coil shading, ghosts."""
    if rng.random() < 0.45:
        return joint(rng)
    r, body = _outline(rng)
    image = _tissues(rng, rng.uniform(2, 6), int(rng.integers(3, 7)))
    if rng.random() < 0.5:  # head: scalp, dark skull, folded cortex
        folds = np.abs(warp(rng, fractal(rng, SIZE, rng.uniform(8, 14), 2), 0.03) - 0.5) * 2
        image = blend(image, (folds > rng.uniform(0.1, 0.25)) * rng.uniform(0.4, 1), inside(r / 0.8, 0.02))
        image = blend(image, rng.uniform(0, 0.1), inside(np.abs(r - 0.86) / 0.05, 0.3))
    else:
        image = blend(image, rng.uniform(0.5, 1.0), inside(np.abs(r - 0.95) / rng.uniform(0.02, 0.12), 0.2))
        for _ in range(rng.integers(0, 7)):
            at = (rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8))
            organ = warp(rng, radius(SIZE, at, tuple(rng.uniform(0.02, 0.15, 2)), rng.uniform(0, 3)), 0.03)
            image = blend(image, rng.choice([0.0, rng.uniform(0.1, 1)]), inside(organ, 0.05))
    image = image * (0.85 + 0.15 * fractal(rng, SIZE, 8, 4)) * body
    shading = smooth_field(rng, SIZE, 1.5) * rng.uniform(0, 0.9) + 0.3
    if rng.random() < 0.3:  # surface coil
        shading = np.exp(-rng.uniform(1, 4) * radius(SIZE, (rng.random(), rng.random()), (1.0, 1.0)))
    image = blur((image * shading).astype(np.float32), rng.uniform(0.5, 1.6))
    if rng.random() < 0.3:
        image = image + rng.uniform(0.02, 0.1) * np.roll(image, SIZE // 2, axis=int(rng.integers(2)))
    noise = rng.uniform(0.002, 0.04) * rng.standard_normal((2, SIZE, SIZE))
    image = np.hypot(image + noise[0], noise[1])
    return _target(rng, rescale(image))


def _spots(rng: np.random.Generator) -> Plane:
    """Uptake in a few places of an organ or two."""
    image = np.zeros((SIZE, SIZE), np.float32)
    for _ in range(rng.integers(1, 12)):
        at = (0.5 + rng.normal() * 0.2, rng.uniform(0.05, 0.95))
        axes = (rng.uniform(0.01, 0.15), rng.uniform(0.01, 0.15))
        image += rng.uniform(0.1, 1) * inside(radius(SIZE, at, axes, rng.uniform(-0.5, 0.5)), 0.5)
    return image


def _skeleton(rng: np.random.Generator) -> Plane:
    """A bone scan from head to toe, drawn in a tall plane and squeezed to a square as any tall plane is."""
    tall = int(rng.uniform(1, 4.5) * SIZE)
    image = np.zeros((tall, SIZE), np.float32)
    wide = min(rng.uniform(0.3, 0.55) * tall, rng.uniform(0.6, 1.3) * SIZE)
    scale = np.array([wide, tall * rng.uniform(0.8, 1.1)])

    def bone(level: float, thick: float, *points: tuple[float, float]) -> None:
        drawn = np.zeros(image.shape, np.uint8)
        for mirrored in (1, -1):
            xy = np.array([(x * mirrored, y) for x, y in points]) * scale + (SIZE / 2, 0)
            cv2.polylines(drawn, [xy.astype(np.int32)], False, 255, max(1, round(thick * wide)))
        np.maximum(image, level * (drawn > 0), out=image)

    level = rng.uniform(0.3, 0.8)
    bone(level, 0.15, (0, 0.05), (0, 0.08))
    bone(rng.uniform(0.6, 1), 0.05, (0, 0.1), (0, 0.46))
    for rib in range(rng.integers(6, 11)):
        y = 0.16 + 0.018 * rib
        bone(level * rng.uniform(0.5, 0.9), 0.015, (0, y), (0.12, y - 0.01), (0.17, y + 0.03))
    arm = rng.uniform(0.22, 0.4)
    bone(level, 0.04, (0.03, 0.15), (0.2, 0.16), (arm, 0.32), (arm + 0.02, 0.5))
    bone(level, 0.06, (0, 0.44), (0.13, 0.42), (0.12, 0.48), (0.02, 0.5))
    bone(level, 0.05, (0.14, 0.48), (0.12, 0.72), (0.11, 0.96), (0.15, 0.98))
    small = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    body = cv2.GaussianBlur((image > 0).astype(np.float32), (0, 0), wide * 0.05)
    body = cv2.resize(body, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    small = small + rng.uniform(0.05, 0.4) * np.clip(3 * body, 0, 1)
    for _ in range(rng.integers(0, 8)):
        at = (0.5 + rng.normal() * 0.12, rng.uniform(0.05, 0.7))
        small += rng.uniform(0.2, 1) * inside(radius(SIZE, at, (0.02, 0.02 * SIZE / tall)), 0.5)
    top = int(rng.uniform(0, 0.1) * SIZE)
    part = small[top : top + int(rng.uniform(0.4, 0.9) * SIZE)]
    return np.asarray(cv2.resize(part, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR), np.float32)


def nuclear(rng: np.random.Generator) -> Plane:
    """Counts in Poisson noise: hot spots, or a whole-body bone scan."""
    image = _skeleton(rng) if rng.random() < 0.5 else _spots(rng)
    image = blur(image, rng.uniform(0.5, 5))
    image = rng.poisson(image * rng.uniform(3, 200) + rng.uniform(0, 0.3)).astype(np.float32)
    image = rescale(blur(image, rng.uniform(0, 2)))
    if rng.random() < 0.4:  # counts that are stored above 0
        image = image + rng.uniform(0, 0.15)
    return np.clip(image * rng.uniform(1, 2), 0, 1)


def mask(rng: np.random.Generator) -> Plane:
    """A segmentation: one or a few flat shapes on nothing."""
    image = np.zeros((SIZE, SIZE), np.float32)
    for _ in range(rng.integers(1, 5)):
        at, axes = (rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9)), (rng.uniform(0.03, 0.3), rng.uniform(0.03, 0.3))
        shape = warp(rng, radius(SIZE, at, axes, rng.uniform(0, 3)), 0.08)
        image[shape < 1] = rng.choice([1.0, rng.uniform(0.2, 1)])
    return image


def _target(rng: np.random.Generator, image: Plane) -> Plane:
    """Now and then a target reconstruction: a part of the slice fills the picture."""
    if rng.random() < 0.35:
        part = int(rng.uniform(0.25, 0.7) * SIZE)
        y, x = rng.integers(0, SIZE - part, 2)
        image = rescale(image[y : y + part, x : x + part])
    return image
