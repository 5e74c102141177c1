"""What is no patient at all: documents, charts, test patterns, gradients, textures, empty frames."""

from __future__ import annotations

import cv2
import numpy as np

from guard.fields import Plane, blur, fractal, radius, rescale, smooth_field
from guard.screen import text_block

SIZE = 256


def document(rng: np.random.Generator) -> Plane:
    """A page of text, dark on light or light on dark, perhaps with a heading, rules and a stamp."""
    canvas = np.full((SIZE, SIZE), rng.uniform(0.75, 1.0), np.float32)
    ink = rng.uniform(0.0, 0.4)
    size = rng.uniform(0.25, 1.5)
    for _ in range(rng.integers(1, 7)):
        text_block(rng, canvas, int(rng.integers(1, 12)), shade=ink, scale=size * rng.uniform(0.6, 1.4))
    for _ in range(rng.integers(0, 5)):
        y = int(rng.integers(SIZE))
        cv2.line(canvas, (int(rng.integers(SIZE)), y), (int(rng.integers(SIZE)), y), ink, int(rng.integers(1, 4)))
    return (1 - canvas if rng.random() < 0.35 else canvas).astype(np.float32)


def chart(rng: np.random.Generator) -> Plane:
    """Axes with curves, bars or dots."""
    canvas = np.full((SIZE, SIZE), rng.uniform(0.8, 1.0), np.float32)
    left, bottom = int(rng.uniform(10, 60)), int(rng.uniform(190, 245))
    cv2.line(canvas, (left, 10), (left, bottom), 0.0, 1)
    cv2.line(canvas, (left, bottom), (245, bottom), 0.0, 1)
    x = np.linspace(left, 245, int(rng.integers(5, 60)))
    kind = rng.integers(3)
    for _ in range(rng.integers(1, 5)):
        y = bottom - rescale(np.cumsum(rng.standard_normal(len(x)))) * rng.uniform(50, 170)
        shade = rng.uniform(0, 0.7)
        if kind == 0:
            cv2.polylines(
                canvas, [np.stack([x, y], 1).astype(np.int32)], False, shade, int(rng.integers(1, 3)), cv2.LINE_AA
            )
        for px, py in zip(x.astype(int), y.astype(int), strict=True):
            if kind == 1:
                cv2.rectangle(canvas, (int(px), int(py)), (int(px) + int(rng.integers(2, 12)), bottom), shade, -1)
            elif kind == 2:
                cv2.circle(canvas, (int(px), int(py)), int(rng.integers(1, 5)), shade, -1)
    text_block(rng, canvas, 2, shade=0.1)
    return (1 - canvas if rng.random() < 0.25 else canvas).astype(np.float32)


def pattern(rng: np.random.Generator) -> Plane:
    """Test patterns: bars, steps, checks, gratings, nested squares, rings."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE
    if rng.random() < 0.5:
        x, y = y, x
    kind = rng.integers(6)
    count = int(rng.integers(2, 20))
    if kind == 0:
        image = rng.random(count, dtype=np.float32)[np.minimum((y * count).astype(int), count - 1)]
    elif kind == 1:
        image = ((x * count).astype(int) + (y * count).astype(int)) % 2 * rng.uniform(0.3, 1)
    elif kind == 2:
        image = np.floor(x * count) / count
    elif kind == 3:
        image = np.sin((x * np.cos(count) + y * np.sin(count)) * rng.uniform(10, 120))
    elif kind == 4:
        image = np.sin(radius(SIZE, (rng.random(), rng.random()), (0.3, 0.3)) ** rng.choice([1, 2]) * count * 2)
    else:
        image = _squares(rng)
    return rescale(np.asarray(image, np.float32))


def _squares(rng: np.random.Generator) -> Plane:
    """A contrast and detail phantom: blocks of grey with smaller squares in them."""
    image = np.kron(rng.random((4, 4)), np.ones((SIZE // 4, SIZE // 4))).astype(np.float32)
    for _ in range(rng.integers(10, 80)):
        side = int(rng.integers(4, 40))
        row, column = rng.integers(0, SIZE - side, 2)
        image[row : row + side, column : column + side] += rng.uniform(-0.3, 0.3)
    return image


def texture(rng: np.random.Generator) -> Plane:
    """Noise of every colour and grain, clouds, and a blank sheet with specks."""
    kind = rng.choice(["coloured", "clouds", "white", "specks"], p=[0.25, 0.2, 0.2, 0.35])
    if kind == "coloured":
        return rescale(blur(rng.standard_normal((SIZE, SIZE)).astype(np.float32), rng.choice([0, 0.5, 1, 2, 4])))
    if kind == "clouds":
        return fractal(rng, SIZE, rng.uniform(1, 12), int(rng.integers(2, 7)), rng.uniform(0.3, 0.8))
    if kind == "white":
        return rng.random((SIZE, SIZE), dtype=np.float32)
    dots = (rng.random((SIZE, SIZE)) < 10 ** rng.uniform(-4, -1.5)).astype(np.float32)
    blocky = cv2.resize(dots[:64, :64], (SIZE, SIZE), interpolation=cv2.INTER_NEAREST)
    image = (blocky if rng.random() < 0.5 else dots) * rng.uniform(0.1, 1)
    return (1 - image if rng.random() < 0.7 else image).astype(np.float32)


def empty(rng: np.random.Generator) -> Plane:
    """Nothing, a gradient, or a spot: a lost cable, a flat field, a beam."""
    kind = rng.integers(4)
    if kind == 0:
        return np.full((SIZE, SIZE), rng.random(), np.float32)
    if kind == 1:
        y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
        return rescale(x * rng.normal() + y * rng.normal())
    if kind == 2:
        spot = radius(SIZE, (rng.random(), rng.random()), tuple(rng.uniform(0.02, 0.6, 2)))
        image = np.exp(-(spot ** rng.choice([1, 2, 8])))
        return rescale(1 - image if rng.random() < 0.5 else image)
    image = np.zeros((SIZE, SIZE), np.float32)
    text_block(rng, image, int(rng.integers(1, 8)))
    return image


def shapes(rng: np.random.Generator) -> Plane:
    """Flat polygons, discs and lines: drawings and icons."""
    image = np.full((SIZE, SIZE), rng.random(), np.float32)
    for _ in range(rng.integers(2, 14)):
        points = rng.integers(0, SIZE, (int(rng.integers(3, 6)), 2)).astype(np.int32)
        if rng.random() < 0.5:
            cv2.fillPoly(image, [points], rng.random())
        else:
            cv2.circle(
                image,
                tuple(int(v) for v in points[0]),
                int(rng.integers(3, 70)),
                rng.random(),
                int(rng.choice([-1, 2])),
            )
    return image * (1 + 0.2 * smooth_field(rng, SIZE, 2) * (rng.random() < 0.3))
