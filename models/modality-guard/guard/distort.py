"""What happens to any image on its way: the same for every class, so that none of it tells a class."""

from __future__ import annotations

import cv2
import numpy as np

from guard.fields import Plane, blur, rescale
from guard.screen import text_block


def _shape(rng: np.random.Generator, image: Plane) -> Plane:
    """Crop, turn, flip, stretch."""
    rows, columns = image.shape
    if rng.random() < 0.6:
        part = rng.uniform(0.55, 1.0, 2)
        y, x = (rng.random(2) * (1 - part) * (rows, columns)).astype(int)
        image = image[y : y + max(8, int(part[0] * rows)), x : x + max(8, int(part[1] * columns))]
    if rng.random() < 0.5:
        image = image[:, ::-1]
    if rng.random() < 0.35:
        rows, columns = image.shape
        turn = cv2.getRotationMatrix2D((columns / 2, rows / 2), rng.normal(0, 12), 1.0)
        border = cv2.BORDER_REFLECT if rng.random() < 0.5 else cv2.BORDER_CONSTANT
        image = cv2.warpAffine(np.ascontiguousarray(image), turn, (columns, rows), borderMode=border)
    return np.ascontiguousarray(image)


def _frame(rng: np.random.Generator, image: Plane) -> Plane:
    """Bars at two sides, or a place on a larger screen with words: a secondary capture."""
    rows, columns = image.shape
    if rng.random() < 0.2:
        pad = (rng.uniform(0, 0.3, 4) * (rows, rows, columns, columns) * (rng.random(4) < 0.5)).astype(int)
        top, bottom, left, right = (int(value) for value in pad)
        shade = float(rng.choice([0.0, 0.0, 1.0, rng.random()]))
        image = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=shade)
    if rng.random() < 0.25:
        for _ in range(rng.integers(1, 4)):
            text_block(rng, image, int(rng.integers(1, 5)))
    return image


def _tone(rng: np.random.Generator, image: Plane) -> Plane:
    """Gamma, contrast, a tight window, the other polarity."""
    if rng.random() < 0.7:
        image = np.clip(image, 0, 1) ** np.exp(rng.normal(0, 0.35))
    if rng.random() < 0.3:
        low, high = np.quantile(image, [rng.uniform(0, 0.15), rng.uniform(0.85, 1)])
        image = np.clip((image - low) / max(high - low, 1e-3), 0, 1)
    if rng.random() < 0.06:
        image = 1 - image
    return image.astype(np.float32)


def _grain(rng: np.random.Generator, image: Plane) -> Plane:
    """Coarse sampling, blur, noise, JPEG."""
    if rng.random() < 0.45:
        high = int(np.exp(rng.uniform(np.log(24), np.log(128))))
        wide = high if rng.random() < 0.6 else int(np.exp(rng.uniform(np.log(24), np.log(128))))
        small = cv2.resize(image, (wide, high), interpolation=cv2.INTER_AREA)
        way = cv2.INTER_LINEAR if rng.random() < 0.5 else cv2.INTER_NEAREST if rng.random() < 0.2 else cv2.INTER_CUBIC
        image = cv2.resize(small, (128, 128), interpolation=way)
    if rng.random() < 0.25:
        image = blur(image, rng.uniform(0.3, 1.5))
    if rng.random() < 0.3:
        image = image + rng.uniform(0.003, 0.06) * rng.standard_normal(image.shape).astype(np.float32)
    if rng.random() < 0.3:
        grey = (np.clip(image, 0, 1) * 255).astype(np.uint8)
        _, coded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 95))])
        image = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
    return np.clip(image, 0, 1).astype(np.float32)


def distort(rng: np.random.Generator, image: Plane) -> Plane:
    """A random chain of the above; every third image is only cut, as most that arrive are clean."""
    if rng.random() < 0.33:
        return np.clip(_shape(rng, image), 0, 1)
    image = _tone(rng, _shape(rng, image))
    return np.clip(_grain(rng, _frame(rng, image)), 0, 1)


def stored(rng: np.random.Generator, image: Plane) -> np.ndarray:
    """As a file holds it: 8 bit, or 10 to 16 bit with an offset, signed or not."""
    if rng.random() < 0.6:
        return (image * 255).round().astype(np.uint8)
    scale = 2 ** rng.uniform(9, 14)
    if rng.random() < 0.5:
        return (rescale(image) * scale - rng.uniform(0, scale)).round().astype(np.int16)
    return (image * scale).round().astype(np.uint16)
