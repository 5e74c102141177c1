"""Stored values to grey levels, as curves: Modality LUT, VOI LUT and window (PS3.3 C.11.1 and C.11.2).

One place for all who show or prepare a picture, so that a reader sees what the model was given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from edgeai.api.imaging import Grayscale, Lut, Window

Levels: TypeAlias = npt.NDArray[np.float64]
LevelCurve: TypeAlias = Callable[[Levels], Levels]
"""An elementwise function of grey levels."""

LEAST_LINEAR_WIDTH: Final = 1.0
"""Of a window whose function is LINEAR (PS3.3 C.11.2.1.2.1)."""


def modality_curve(grey: Grayscale) -> LevelCurve:
    """The Modality LUT, or Rescale Slope and Intercept (PS3.3 C.11.1), whatever ``grey.unusable`` says of them."""
    lut = grey.modality_lut
    if lut is not None:
        table = lut.data.astype(np.float64)
        return lambda x: _looked_up(x, lut.first, table)
    slope, intercept = grey.rescale_slope, grey.rescale_intercept
    if (slope, intercept) == (1.0, 0.0):
        return lambda x: x
    return lambda x: x * slope + intercept


def lut_curve(lut: Lut) -> LevelCurve:
    """A VOI LUT (PS3.3 C.11.2.1.1) to 0..1; its output range is the LUT's bits."""
    table = np.clip(lut.data.astype(np.float64) / (2.0**lut.bits - 1.0), 0.0, 1.0)
    return lambda x: _looked_up(x, lut.first, table)


def _looked_up(levels: Levels, first: int, table: Levels) -> Levels:
    """The entries, and between two of them the straight line: means of few levels are fractions."""
    return np.interp(levels.ravel() - first, np.arange(len(table)), table).reshape(levels.shape)


def window_curve(window: Window, function: str) -> LevelCurve:
    """VOI LUT Function LINEAR, LINEAR_EXACT or SIGMOID (PS3.3 C.11.2.1.2 and C.11.2.1.3) to 0..1.

    LINEAR begins at a width of 1; below, where it would run backwards, the window is taken as LINEAR_EXACT.
    """
    center, width = window.center, window.width
    if function == "SIGMOID":
        return lambda x: 1.0 / (1.0 + np.exp(np.clip(-4.0 * (x - center) / width, -700.0, 700.0)))
    if is_exact_window(window, function):
        return ramp_curve(center - width / 2, center + width / 2)
    # LINEAR, which is also what an absent or unknown function means.
    return ramp_curve(center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2)


def is_exact_window(window: Window, function: str) -> bool:
    """Whether Window Center is the middle of the ramp; LINEAR has it half a unit below."""
    return function == "LINEAR_EXACT" or (function == "LINEAR" and window.width < LEAST_LINEAR_WIDTH)


def is_usable_window(window: Window) -> bool:
    """Whether there is a curve of it: finite, and wider than nothing."""
    return bool(np.isfinite((window.center, window.width)).all()) and window.width > 0


def ramp_curve(low: float, high: float) -> LevelCurve:
    """Up to ``low`` 0, above ``high`` 1, straight between; a step where both are one."""
    if low == high:
        return lambda x: (x > low).astype(np.float64)
    width = high - low

    def between(x: Levels) -> Levels:
        out = x - low
        out /= width
        np.maximum(out, 0.0, out=out)
        return np.minimum(out, 1.0, out=out)

    return between
