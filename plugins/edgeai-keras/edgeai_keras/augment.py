"""Augmentation of training batches: one affine movement a sample for pictures and masks alike, then grey levels.

Every amount is relative to the sample itself (its extent, its range of grey levels), so that the same card holds
for inputs scaled to 0..1, to -1..1 or standardised.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from edgeai.api import Array, Batch, ConfigError, MovableTargets, Options, Tensors
from edgeai_keras.frameworks import keras

Random: TypeAlias = np.random.Generator

AMOUNTS = {
    "rotate_degrees": ("largest turn to either side, degrees", 180.0),
    "zoom": ("largest enlargement or reduction, as a part of the size", 0.9),
    "stretch": ("largest widening against the height, or narrowing, as a part of the size", 0.9),
    "shift": ("largest displacement along each axis, as a part of the extent", 0.9),
    "brightness": ("largest change of all grey levels, as a part of their range", 1.0),
    "contrast": ("largest change of the spread about the mean, as a part of it", 1.0),
    "noise": ("standard deviation of added Gaussian noise, as a part of the range of grey levels", 1.0),
    "gamma": ("largest change of gamma: the exponent is between 1 / (1 + gamma) and 1 + gamma", 4.0),
    "erase": ("largest sides of a rectangle that is made grey, as parts of the extent", 0.9),
}
"""Name -> (what it is, its largest sensible value); 0 or absent: not done."""
FLIPS = ("flip_horizontal", "flip_vertical")
"""``True``: half of the samples are mirrored."""


class Augmentation:
    """A function from batch to batch, of one seed.

    Inputs of rank 4 (batch, rows, columns, channels) and 5 (batch, frames, rows, columns, channels) are changed,
    others are left alone. Targets of rank 4 and 5 move with them, and keep their values: those of zeros and ones by
    nearest neighbour, so that masks stay masks, others bilinearly. What comes in from outside is mirrored.

    ``MovableTargets`` are made anew instead. Then what comes in from outside is as dark as the picture gets, since half
    a thing in a mirror would be one more thing; and a sample of which nobody could say what is true is moved otherwise,
    or in the end not at all.
    """

    def __init__(self, options: Options, seed: int) -> None:
        """Take the card's ``[training.augment]``.

        Raises:
            ConfigError: a name that is not known, or an amount out of its range.
        """
        check(options)
        self._options = dict(options)
        self._random = np.random.default_rng([seed, 0xA06])
        self.still = 0
        """How many pictures were not moved so far, since nobody could say what would be true of them."""
        self._moves = any(options.get(name) for name in (*FLIPS, "rotate_degrees", "zoom", "stretch", "shift"))
        self._shades = any(options.get(name) for name in ("brightness", "contrast", "noise", "gamma", "erase"))

    @property
    def state(self) -> Any:
        """Where its random numbers are, as JSON has it."""
        return self._random.bit_generator.state

    @state.setter
    def state(self, state: Any) -> None:
        self._random.bit_generator.state = state

    def __call__(self, batch: Batch) -> Batch:
        """The batch in new arrays; the one given is left as it was."""
        inputs, targets = batch
        first = next((value for value in inputs.values() if value.ndim in (4, 5)), None)
        if self._moves and first is not None:
            rows, columns = first.shape[-3], first.shape[-2]
            if isinstance(targets, MovableTargets):
                matrices, targets = self._told(targets, len(first), rows, columns)
                inputs = _moved(inputs, matrices, masks=False, mirrored=False)
            else:
                matrices = self._matrices(len(first), rows, columns)
                inputs, targets = _moved(inputs, matrices, masks=False), _moved(targets, matrices, masks=True)
        if self._shades:
            inputs = {name: self._shaded(value) if value.ndim in (4, 5) else value for name, value in inputs.items()}
        return inputs, targets

    def _matrices(self, count: int, rows: int, columns: int) -> Array:
        """(count, 2, 3): where each point of the result comes from, in units of half the extent about the centre.

        A turn is one in pixels of ``rows`` x ``columns``; a mask on another grid moves with it all the same.
        """
        random, options = self._random, self._options
        angle = np.radians(_either_side(random, float(options.get("rotate_degrees", 0.0)), count))
        scale = 1.0 / (1.0 + _either_side(random, float(options.get("zoom", 0.0)), count))
        mirror = [
            np.where(random.random(count) < 0.5, -1.0, 1.0) if options.get(name) else np.ones(count) for name in FLIPS
        ]
        wide = np.exp(_either_side(random, 0.5 * math.log1p(float(options.get("stretch", 0.0))), count))
        shift = 2.0 * _either_side(random, float(options.get("shift", 0.0)), (2, count))
        cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
        along_x = [cosine * mirror[0] * wide, -sine * mirror[1] / wide * rows / columns, shift[0]]
        along_y = [sine * mirror[0] * wide * columns / rows, cosine * mirror[1] / wide, shift[1]]
        matrices: Array = np.moveaxis(np.array([along_x, along_y]), 2, 0)
        return matrices

    def _told(self, targets: MovableTargets, count: int, rows: int, columns: int) -> tuple[Array, Tensors]:
        """Movements after which it can be said what is true, and what that is."""
        matrices = np.tile(_STILL, (count, 1, 1))
        told = {name: value.copy() for name, value in targets.at(np.arange(count)).items()}
        places = np.arange(count)
        for _ in range(_DRAWS):
            drawn = self._matrices(len(places), rows, columns)
            made, known = targets.at(places).moved(_from_corners(drawn, rows, columns))  # type: ignore[attr-defined]
            matrices[places[known]] = drawn[known]
            for name, value in made.items():
                told[name][places[known]] = value[known]
            places = places[~known]
            if not len(places):
                break
        self.still += len(places)
        return matrices, told

    def _shaded(self, pictures: Array) -> Array:
        random, options = self._random, self._options
        count = len(pictures)
        axes, one = tuple(range(1, pictures.ndim)), (count, *(1,) * (pictures.ndim - 1))
        low = pictures.min(axes, keepdims=True)
        extent = np.maximum(pictures.max(axes, keepdims=True) - low, 1e-6)
        level = (pictures - low) / extent
        if gamma := float(options.get("gamma", 0.0)):
            exponent = np.exp(_either_side(random, math.log1p(gamma), count)).reshape(one)
            level = level ** exponent.astype(level.dtype)
        if contrast := float(options.get("contrast", 0.0)):
            mean = level.mean(axes, keepdims=True)
            level = mean + (level - mean) * (1.0 + _either_side(random, contrast, one))
        if brightness := float(options.get("brightness", 0.0)):
            level = level + _either_side(random, brightness, one)
        if noise := float(options.get("noise", 0.0)):
            level = level + noise * random.standard_normal(level.shape, dtype=np.float32)
        if erase := float(options.get("erase", 0.0)):
            level = self._erased(level, erase)
        shaded: Array = (low + level * extent).astype(pictures.dtype)
        return shaded

    def _erased(self, level: Array, most: float) -> Array:
        """One rectangle a sample at the sample's mean (Zhong et al. 2020, Random Erasing): no corner decides alone."""
        level = level.copy()
        sides = self._random.uniform(0.0, most, (len(level), 2))
        corners = self._random.uniform(0.0, 1.0 - sides)
        extent = np.array(level.shape[-3:-1])
        begins = np.round(corners * extent).astype(int)
        ends = np.round((corners + sides) * extent).astype(int)
        for sample, begin, end in zip(level, begins, ends, strict=True):
            sample[..., begin[0] : end[0], begin[1] : end[1], :] = sample.mean()
        return level


def check(options: Options) -> None:
    """Refuse what is not known or makes no sense.

    Raises:
        ConfigError: ``config.augment``.
    """
    for name, value in options.items():
        if name in FLIPS:
            fits, wants = isinstance(value, bool), "true or false"
        elif name in AMOUNTS:
            largest = AMOUNTS[name][1]
            number = isinstance(value, int | float) and not isinstance(value, bool)
            fits, wants = number and 0.0 <= value <= largest, f"a number from 0 to {largest:g}"
        else:
            fits, wants = False, f"unknown; there is {', '.join([*FLIPS, *AMOUNTS])}"
        if not fits:
            raise ConfigError(
                f"augment: {name} = {value!r}: {wants}", code="config.augment", remedy="correct [training.augment]"
            )


def augmented(options: Options, seed: int) -> Callable[[Batch], Batch]:
    """The augmentation of these options; with none, what gives back the batch itself."""
    return Augmentation(options, seed) if options else lambda batch: batch


def _either_side(random: Random, amount: float, shape: Any) -> Array:
    values: Array = random.uniform(-amount, amount, shape) if amount else np.zeros(shape)
    return values


_STILL = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
_DRAWS = 8
"""How often a movement is drawn until it can be said what is true after it."""


def _moved(tensors: Tensors, matrices: Array, *, masks: bool, mirrored: bool = True) -> Tensors:
    def one(value: Array) -> Array:
        if mirrored:
            return _warped(value, matrices, nearest=masks and _is_mask(value))
        dark = value.min(axis=tuple(range(1, value.ndim)), keepdims=True)
        lit: Array = dark + _warped(value - dark, matrices, nearest=False, outside="constant")
        return lit

    return {name: one(value) if value.ndim in (4, 5) else value for name, value in tensors.items()}


def _is_mask(value: Array) -> bool:
    return bool(np.isin(value, (0, 1)).all())


def _warped(pictures: Array, matrices: Array, *, nearest: bool, outside: str = "reflect") -> Array:
    """Each sample moved by its matrix; all frames of a clip alike."""
    frames = pictures.shape[1] if pictures.ndim == 5 else 1
    flat = pictures.reshape(-1, *pictures.shape[-3:])
    rows, columns = flat.shape[1:3]
    moved = keras.ops.image.affine_transform(
        np.ascontiguousarray(flat, dtype=np.float32),
        np.repeat(_in_pixels(matrices, rows, columns), frames, axis=0),
        interpolation="nearest" if nearest else "bilinear",
        fill_mode=outside,
        data_format="channels_last",
    )
    array: Array = keras.ops.convert_to_numpy(moved).reshape(pictures.shape).astype(pictures.dtype)
    return array


def _in_pixels(matrices: Array, rows: int, columns: int) -> Array:
    """(n, 8): the matrices for pixel indices x, y, as ``keras.ops.image.affine_transform`` takes them."""
    centre_x, centre_y = (columns - 1) / 2, (rows - 1) / 2
    a, b, shift_x = matrices[:, 0, 0], matrices[:, 0, 1] * columns / rows, matrices[:, 0, 2] * columns / 2
    c, d, shift_y = matrices[:, 1, 0] * rows / columns, matrices[:, 1, 1], matrices[:, 1, 2] * rows / 2
    zero = np.zeros_like(a)
    parts = [
        *(a, b, centre_x + shift_x - a * centre_x - b * centre_y),
        *(c, d, centre_y + shift_y - c * centre_x - d * centre_y),
        *(zero, zero),
    ]
    transform: Array = np.stack(parts, axis=1).astype(np.float32)
    return transform


def _from_corners(matrices: Array, rows: int, columns: int) -> Array:
    """(n, 2, 3): the matrices for points x, y in pixels from the outer corner of the first."""
    half = np.array([columns / 2, rows / 2])
    linear = matrices[:, :, :2] * (half[:, np.newaxis] / half)
    offset = half + matrices[:, :, 2] * half - linear @ half
    affines: Array = np.concatenate((linear, offset[:, :, np.newaxis]), axis=2)
    return affines
