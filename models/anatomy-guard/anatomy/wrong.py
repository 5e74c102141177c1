"""Whatever is neither a chest nor a head: pictures, slices, limbs, breasts, patterns, drawn or out of wheels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from guard import natural, ordinary, pictures, radiograph, slices, ultrasound
from guard.fields import Plane, fractal, radius, rescale, warp

from edgeai_workbench.wrong_images import WRONG

Draw = Callable[[np.random.Generator], Plane]
SIZE = 256


def limb(rng: np.random.Generator) -> Plane:
    """Bones of an arm, a leg or a hand, as a radiograph shows them."""
    image = 1 - np.exp(-rng.uniform(0.8, 3) * rescale(radiograph.limb(rng, SIZE)))
    return radiograph.dress(rng, rescale(image.astype(np.float32)))


def mammogram(rng: np.random.Generator) -> Plane:
    """A breast against one edge: bright tissue on black, a muscle across a corner or not."""
    at = (0.0, rng.uniform(0.35, 0.65))
    r = warp(rng, radius(SIZE, at, (rng.uniform(0.35, 0.9), rng.uniform(0.3, 0.6)), rng.uniform(-0.25, 0.25)), 0.03, 3)
    breast = np.clip((1 - r) / rng.uniform(0.02, 0.15), 0, 1)
    tissue = fractal(rng, SIZE, rng.uniform(2, 5), 6, rng.uniform(0.5, 0.7)) ** rng.uniform(0.7, 3)
    image = breast * (rng.uniform(0.15, 0.5) + tissue * np.clip(1.1 - r, 0.2, 1))
    if rng.random() < 0.6:
        y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
        image = np.maximum(image, rng.uniform(0.6, 1) * (x / rng.uniform(0.2, 0.5) + y / rng.uniform(0.4, 0.9) < 1))
    image = rescale(image.astype(np.float32))
    return np.ascontiguousarray(image[:, ::-1] if rng.random() < 0.5 else image)


def nothing(rng: np.random.Generator) -> Plane:
    """One of the drawings that show nothing, as the stress set has them."""
    draw = WRONG[str(rng.choice(sorted(WRONG)))]
    return draw(rng, SIZE, int(rng.integers(200, 320))).astype(np.float32) / 255


def scan(rng: np.random.Generator) -> Plane:
    """Ultrasound of no organ in particular, fanned out or not, with a scanner's screen or without."""
    return ultrasound.scanner_screen(rng, ultrasound.speckle(rng)) if rng.random() < 0.6 else ultrasound.phantom(rng)


DRAWN: dict[str, tuple[float, Draw]] = {
    "scan": (0.2, scan),
    "ct": (0.16, slices.ct),
    "mr": (0.12, slices.mr),
    "nuclear": (0.05, slices.nuclear),
    "limb": (0.13, limb),
    "mammogram": (0.12, mammogram),
    "mask": (0.02, slices.mask),
    "document": (0.02, ordinary.document),
    "chart": (0.02, ordinary.chart),
    "pattern": (0.03, ordinary.pattern),
    "texture": (0.03, ordinary.texture),
    "empty": (0.02, ordinary.empty),
    "shapes": (0.03, ordinary.shapes),
    "nothing": (0.05, nothing),
    "leaves": (0.08, natural.dead_leaves),
    "spectrum": (0.05, natural.spectrum),
    "scene": (0.05, natural.scene),
}
"""Kind -> its share, and who draws it."""


def drawn(rng: np.random.Generator, count: int) -> list[pictures.Grey]:
    """So many drawings, of all kinds in their shares."""
    shares = np.array([share for share, _ in DRAWN.values()])
    kinds = rng.choice(list(DRAWN), count, p=shares / shares.sum())
    return [stored(DRAWN[kind][1](rng)) for kind in kinds]


def stored(image: Plane) -> pictures.Grey:
    """As a file holds it."""
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
