"""Stand-ins for photographs: scenes whose statistics are those of natural images, so that few real ones go further.

Dead leaves (Lee, Mumford and Huang, Int. J. Comput. Vis. 41, 2001): things of every size, each hiding what lies behind
it. Spectrum: noise of a falling power spectrum, and of any orientation.
"""

from __future__ import annotations

import cv2
import numpy as np

from guard.fields import Plane, blur, rescale, smooth_field

SIZE = 256


def _outline(rng: np.random.Generator, at: tuple[float, float], size: float) -> Plane:
    """An ellipse or a polygon, 1 inside."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    if rng.random() < 0.33:
        centre, axes = (int(at[0]), int(at[1])), (max(1, int(size)), max(1, int(size * rng.uniform(0.3, 1))))
        cv2.ellipse(mask, centre, axes, rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA)
    else:
        count = int(rng.integers(3, 9))
        angles = np.sort(rng.uniform(0, 2 * np.pi, count))
        x = at[0] + size * np.cos(angles) * rng.uniform(0.5, 1.4, count)
        y = at[1] + size * np.sin(angles) * rng.uniform(0.5, 1.4, count)
        cv2.fillPoly(mask, [np.stack([x, y], 1).astype(np.int32)], 255, cv2.LINE_AA)
    return mask.astype(np.float32) / 255


def _leaf(rng: np.random.Generator, shape: tuple[int, int], tone: float) -> Plane:
    """Its surface: shaded, and perhaps striped or rough."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32) / SIZE
    leaf = tone + rng.normal() * 0.4 * x + rng.normal() * 0.4 * y
    if rng.random() < 0.5:
        turn = rng.uniform(0, np.pi)
        leaf = leaf + rng.uniform(0.02, 0.2) * np.sin(rng.uniform(10, 150) * (x * np.cos(turn) + y * np.sin(turn)))
    if rng.random() < 0.5:
        coarse = rng.standard_normal((max(2, shape[0] // 2), max(2, shape[1] // 2))).astype(np.float32)
        leaf = leaf + rng.uniform(0.01, 0.15) * cv2.resize(coarse, (shape[1], shape[0]))
    return np.clip(leaf, 0, 1).astype(np.float32)


def dead_leaves(rng: np.random.Generator) -> Plane:
    """Leaf over leaf; how many there are of each size follows a power law."""
    image = np.full((SIZE, SIZE), rng.random(), np.float32)
    least, most, power = np.exp(rng.uniform(np.log(2), np.log(12))), rng.uniform(30, 160), 1 - rng.uniform(1.5, 3)
    base, spread = rng.random(), rng.uniform(0.15, 0.6)
    for _ in range(int(np.exp(rng.uniform(np.log(20), np.log(400))))):
        size = (least**power + rng.random() * (most**power - least**power)) ** (1 / power)
        at = rng.uniform(-10, SIZE + 10, 2)
        (left, top), (right, bottom) = (np.clip(at + side * 2 * size, 0, SIZE).astype(int) for side in (-1, 1))
        if right <= left or bottom <= top:
            continue
        part = image[top:bottom, left:right]
        mask = _outline(rng, (at[0], at[1]), size)[top:bottom, left:right]
        leaf = _leaf(rng, part.shape, float(np.clip(base + spread * rng.standard_normal(), 0, 1)))
        part += mask * (leaf - part)
    if rng.random() < 0.4:
        image = image * (0.4 + 0.6 * smooth_field(rng, SIZE, rng.uniform(1, 4)))
    return rescale(blur(image, rng.uniform(0, 1.5)))


def spectrum(rng: np.random.Generator) -> Plane:
    """Noise of a falling power spectrum, folded, pressed or cut into steps."""
    fy, fx = np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None]
    turn, longer = rng.uniform(0, np.pi), rng.uniform(1, 4)
    frequency = np.hypot(fx * np.cos(turn) + fy * np.sin(turn), (fy * np.cos(turn) - fx * np.sin(turn)) * longer)
    fall = 1 / np.maximum(frequency, 1 / SIZE) ** rng.uniform(0.8, 2)
    phases = rng.standard_normal(fall.shape) + 1j * rng.standard_normal(fall.shape)
    image = np.fft.irfft2(fall * phases, (SIZE, SIZE))
    image = (image - image.mean()) / image.std()
    kind = rng.integers(4)
    if kind == 1:
        image = np.abs(image)
    elif kind == 2:
        image = np.tanh(image * rng.uniform(1, 5))
    elif kind == 3:
        image = np.floor(image * rng.uniform(1, 4))
    return rescale(image)


def scene(rng: np.random.Generator) -> Plane:
    """Dead leaves before a sky or a ground."""
    near, far = dead_leaves(rng), spectrum(rng)
    field = smooth_field(rng, SIZE, rng.uniform(1, 4))
    mask = np.clip((field - rng.uniform(0.3, 0.7)) / 0.02, 0, 1)
    return rescale(near * mask + (far * rng.uniform(0.3, 1) + rng.uniform(-0.3, 0.3)) * (1 - mask))
