"""From stored values to grey levels: Modality LUT and window (PS3.3 C.11.1 and C.11.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from edgeai.api import (
    LEAST_LINEAR_WIDTH,
    Array,
    Frame,
    Grayscale,
    LevelCurve,
    Levels,
    Transform,
    Window,
    is_usable_window,
    lut_curve,
    modality_curve,
    ramp_curve,
    window_curve,
)
from edgeai_transforms.few_levels import is_whole, stored_range
from edgeai_transforms.options import OptionReader, not_applicable

_OUTPUT: dict[str, tuple[float, str, int]] = {
    "unit": (1.0, "float32", 0),
    "byte": (255.0, "float32", 8),
    "uint8": (255.0, "uint8", 8),
    "uint16": (65535.0, "uint16", 16),
}
"""Name of an output range -> white level, dtype, bits stored (0: as they were)."""
_NOTHING_SAID = Grayscale()
_WORTH_COUNTING = 4096
_MOST_IN_FLOAT32 = 2**24
"""Whole numbers that float32, in which OpenCV counts, holds exactly."""


@dataclass(frozen=True, slots=True)
class Modality:
    """Stored values to the units of the Modality LUT (Hounsfield units in CT), float32."""

    @classmethod
    def of(cls, read: OptionReader) -> Transform:
        """Build from options (there are none)."""
        del read
        return cls()

    def apply(self, frame: Frame) -> Frame:
        """See ``Transform.apply``. A frame that is no longer in stored units stays as it is."""
        if frame.samples != 1:
            raise not_applicable("modality", frame, "colour has no Modality LUT")
        if not frame.stored_units:
            return frame
        pixels = mapped(frame.pixels, _in_units(frame.grayscale), "float32")
        neutral = replace(
            frame.grayscale, rescale_slope=1.0, rescale_intercept=0.0, modality_lut=None, pixel_padding=None
        )
        return replace(frame, pixels=pixels, stored_units=False, whole_range=None, grayscale=neutral)


@dataclass(frozen=True, slots=True)
class WindowLevels:
    """Grey levels inside a window to a fixed range, the rest clipped to its ends."""

    mode: str
    use: str
    index: int
    on_missing: str
    fixed: Window | None
    function: str
    low: float
    high: float
    output: str

    @classmethod
    def of(cls, read: OptionReader) -> Transform:
        """Build from options."""
        mode = read.choice("mode")
        for name in ("center", "width"):
            if (mode == "fixed") != read.is_given(name):
                read.refuse(name, "goes with mode fixed, and mode fixed needs it")
        low, high = read.number("low", 0.0, 100.0), read.number("high", 0.0, 100.0)
        if low >= high:
            read.refuse("high", f"is {high:g}, not above low {low:g}")
        function = read.choice("function")
        least = LEAST_LINEAR_WIDTH if function == "LINEAR" else 1e-9
        fixed = Window(center=read.number("center"), width=read.number("width", least)) if mode == "fixed" else None
        return cls(
            mode=mode,
            use=read.choice("use"),
            index=read.whole("index", 1, 64) - 1,
            on_missing=read.choice("on_missing"),
            fixed=fixed,
            function=function,
            low=low,
            high=high,
            output=read.choice("output"),
        )

    def apply(self, frame: Frame) -> Frame:
        """See ``Transform.apply``."""
        if frame.samples != 1:
            raise not_applicable("window", frame, "a window is for grey frames", "put the step `grey` before it")
        white, dtype, bits = _OUTPUT[self.output]
        in_units = _in_units(frame.grayscale if frame.stored_units else _NOTHING_SAID)
        curve = self._curve(frame, in_units)
        # Times 1 is the same to the last bit.
        pixels = mapped(
            frame.pixels, lambda x: curve(in_units(x)) * white if white != 1.0 else curve(in_units(x)), dtype
        )
        # Windowed once; a window of the header means nothing to these values any more.
        return replace(
            frame,
            pixels=pixels,
            stored_units=False,
            bits_stored=bits or frame.bits_stored,
            whole_range=None,
            grayscale=_NOTHING_SAID,
        )

    def _curve(self, frame: Frame, in_units: LevelCurve) -> LevelCurve:
        if self.fixed is not None:
            return window_curve(self.fixed, self.function)
        if self.mode == "percentile":
            return self._percentile_curve(frame, in_units)
        return self._voi_curve(frame) or self._instead(frame, in_units)

    def _voi_curve(self, frame: Frame) -> LevelCurve | None:
        grey = frame.grayscale
        luts = [lut_curve(lut) for lut in grey.voi_luts[self.index : self.index + 1]]
        stated = [window for window in grey.windows[self.index : self.index + 1] if is_usable_window(window)]
        windows = [window_curve(window, grey.voi_lut_function) for window in stated]
        first, second = (luts, windows) if self.use == "lut" else (windows, luts)
        if not first and not second:
            grey.require("windows", "voi_luts")  # unusable is not missing, and on_missing does not answer for it
        return next(iter(first + second), None)

    def _instead(self, frame: Frame, in_units: LevelCurve) -> LevelCurve:
        if self.on_missing == "percentile":
            return self._percentile_curve(frame, in_units)
        if self.on_missing == "full_range" and frame.stored_units and is_whole(frame):
            ends = in_units(np.array(stored_range(frame), dtype=np.float64))
            return ramp_curve(float(ends.min()), float(ends.max()))
        raise not_applicable(
            "window",
            frame,
            f"the header has no usable window or VOI LUT number {self.index + 1}",
            "set on_missing to percentile or full_range, or use another mode",
        )

    def _percentile_curve(self, frame: Frame, in_units: LevelCurve) -> LevelCurve:
        pixels = frame.pixels
        if frame.stored_units:
            frame.grayscale.require("pixel_padding")
        padding = frame.grayscale.pixel_padding if frame.stored_units else None
        if padding is not None:
            kept = pixels[(pixels < padding[0]) | (pixels > padding[1])]
            pixels = kept if kept.size else pixels
        stored = percentiles(pixels, self.low, self.high)
        if not all(map(math.isfinite, stored.tolist())):
            raise not_applicable("window", frame, "values that are not finite have no percentiles")
        if stored[0] == stored[1]:
            stored = np.array([pixels.min(), pixels.max()], dtype=np.float64)
        # In units after the Modality LUT; a negative slope turns the ends round.
        ends = in_units(stored).tolist()
        return ramp_curve(min(ends), max(ends))


def _in_units(grey: Grayscale) -> LevelCurve:
    """The Modality LUT, or Rescale Slope and Intercept.

    Raises:
        DicomRejected: ``dicom.bad-value``, what the header states of them makes no sense.
    """
    grey.require("modality_lut")
    if grey.modality_lut is None:
        grey.require("rescale_slope")
    return modality_curve(grey)


def percentiles(pixels: Array, low: float, high: float) -> Levels:
    """Two percentiles, to the last bit those of ``numpy.percentile``; whole numbers are counted, not sorted.

    Method ``linear``: Hyndman and Fan, The American Statistician 50 (1996), definition 7.
    """
    if pixels.dtype.kind not in "iu" or pixels.dtype.itemsize > 2 or pixels.size < _WORTH_COUNTING:
        return np.asarray(np.percentile(pixels, (low, high)), dtype=np.float64)
    least, most = _ends(pixels)
    last = pixels.size - 1
    places = [quantile / 100.0 * last for quantile in (low, high)]
    ranks = [rank for place in places for rank in (math.floor(place), min(math.floor(place) + 1, last))]
    a, b, c, d = _counts(pixels, least, most).cumsum().searchsorted(ranks, side="right").tolist()
    return np.array((_between(a + least, b + least, places[0]), _between(c + least, d + least, places[1])))


def _between(a: int, b: int, place: float) -> float:
    """From a to b as far as the place is from one whole number to the next; in numpy's order, to numpy's last bit."""
    part = place - math.floor(place)
    return a + (b - a) * part if part < 0.5 else b - (b - a) * (1.0 - part)


def _ends(pixels: Array) -> tuple[int, int]:
    """Least and greatest of whole numbers; of bytes those that there can be, which takes less than to look for them."""
    return (0, 255) if pixels.dtype == np.uint8 else (int(pixels.min()), int(pixels.max()))


def _counts(pixels: Array, least: int, most: int) -> Array:
    """How many pixels have each value from ``least`` to ``most``."""
    if pixels.dtype.kind == "u" and pixels.size <= _MOST_IN_FLOAT32:
        plane = pixels.reshape(len(pixels), -1)
        return _byte_counts(plane) if pixels.dtype.itemsize == 1 else _word_counts(plane, least, most)
    shifted = pixels if least == 0 else np.subtract(pixels, least, dtype=np.intp)
    return np.bincount(shifted.ravel())


def _byte_counts(plane: Array) -> Array:
    # A counter that is raised again and again waits for itself: a black surround is not counted pixel by pixel.
    is_dark = 2 * cv2.countNonZero(plane) < plane.size
    counts = np.asarray(cv2.calcHist([plane], [0], plane if is_dark else None, [256], [0, 256]))
    out: Array = counts.ravel().astype(np.intp)
    if is_dark:
        out[0] = plane.size - out.sum()
    return out


def _word_counts(plane: Array, least: int, most: int) -> Array:
    counts = np.asarray(cv2.calcHist([plane], [0], None, [most + 1 - least], [least, most + 1]))
    out: Array = counts.ravel().astype(np.intp)
    return out


def mapped(pixels: Array, curve: LevelCurve, dtype: str) -> Array:
    """``curve`` of every pixel as ``dtype``: through a table where there are more pixels than values."""
    if pixels.dtype.kind in "iu" and pixels.dtype.itemsize <= 2 and pixels.size:
        least, most = _ends(pixels)
        if pixels.size > most - least:
            return _through_table(pixels, curve, dtype, least, most)
    return _as(curve(pixels.astype(np.float64)), dtype)


def _through_table(pixels: Array, curve: LevelCurve, dtype: str, least: int, most: int) -> Array:
    bits = 8 * pixels.dtype.itemsize
    # Only values from the least to the greatest are computed, and no other is looked up; a signed one by its bits.
    values = np.arange(least, most + 1, dtype=np.float64)
    table = np.empty(2**bits, dtype)
    if least >= 0:
        table[least : most + 1] = _as(curve(values), dtype)
    else:
        table[np.arange(least, most + 1) & 2**bits - 1] = _as(curve(values), dtype)
    out: Array = cv2.LUT(pixels.view(f"u{pixels.dtype.itemsize}"), table)
    return out.reshape(pixels.shape)


def _as(levels: Levels, dtype: str) -> Array:
    return np.rint(levels).astype(dtype) if dtype.startswith("u") else levels.astype(dtype)
