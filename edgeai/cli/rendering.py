"""One frame as a reader would see it: windowed, MONOCHROME1 inverted, pixels square, at a size for a screen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgeai.api.imaging import Frame, Grayscale
from edgeai.api.levels import LevelCurve, Levels, is_usable_window, lut_curve, modality_curve, ramp_curve, window_curve
from edgeai.api.tensors import Array

LEAST_SIDE, MOST_SIDE = 512, 1024
"""The longest side of a rendered image is brought into this range, in pixels."""
_UNSQUARE = 0.01


def render(frame: Frame) -> Image.Image:
    """The frame as an 8-bit grey or RGB image with square pixels."""
    small = _reduced(_with_modality_lut(frame), MOST_SIDE)
    if small.ndim == 3:
        top = float(2**frame.bits_stored - 1) if frame.pixels.dtype.kind != "f" else 1.0
        image = Image.fromarray(_to_8_bit(small / top), "RGB")
    else:
        grey = _displayed(small, frame.grayscale)
        if frame.photometric_interpretation == "MONOCHROME1":
            grey = 1.0 - grey
        image = Image.fromarray(_to_8_bit(grey), "L")
    width, height = _size(frame)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _size(frame: Frame) -> tuple[int, int]:
    """(width, height) with the aspect that the spacing says, in millimetres where it says so."""
    height, width = float(frame.rows), float(frame.columns)
    spacing = frame.geometry.spacing_mm() or frame.geometry.pixel_spacing_mm  # a detector's pixels have a shape too
    if spacing and min(spacing) > 0 and abs(spacing[0] / spacing[1] - 1.0) > _UNSQUARE:
        height *= spacing[0] / spacing[1]
    longest = max(width, height)
    scale = min(MOST_SIDE, max(LEAST_SIDE, longest)) / longest
    return max(1, round(width * scale)), max(1, round(height * scale))


def _with_modality_lut(frame: Frame) -> Array:
    """Where there is a table, what it has for each pixel: the means that follow are not of stored values."""
    pixels = frame.pixels
    if frame.grayscale.modality_lut is None or not frame.stored_units or pixels.ndim == 3:
        return pixels
    curve = modality_curve(frame.grayscale)
    if pixels.dtype.kind not in "iu" or pixels.dtype.itemsize > 2 or not pixels.size:
        return curve(pixels.astype(np.float64))
    least, most = int(pixels.min()), int(pixels.max())
    return curve(np.arange(least, most + 1, dtype=np.float64))[pixels.astype(np.intp) - least]


def _reduced(pixels: Array, most: int) -> Levels:
    """The mean of whole blocks, no smaller than ``most`` along the longer side; float64."""
    step = max(1, max(pixels.shape[:2]) // most)
    rows, columns = pixels.shape[0] // step * step, pixels.shape[1] // step * step
    if step == 1 or 0 in (rows, columns):
        return pixels.astype(np.float64)
    cut = pixels[:rows, :columns]
    total: Levels = np.zeros((rows // step, columns // step, *pixels.shape[2:]))
    for row in range(step):
        for column in range(step):
            total += cut[row::step, column::step]
    mean: Levels = total / (step * step)
    return mean


def _displayed(values: Levels, grayscale: Grayscale) -> Levels:
    """Grey levels of 0 to 1 (PS3.3 C.11.1 and C.11.2): VOI LUT or window of the file, else the range that it has."""
    shown = values if grayscale.modality_lut is not None else modality_curve(grayscale)(values)
    windows = [window_curve(w, grayscale.voi_lut_function) for w in grayscale.windows[:1] if is_usable_window(w)]
    curves = [*windows, *map(lut_curve, grayscale.voi_luts[:1])]
    return (curves[0] if curves else _range_curve(shown, values, grayscale))(shown)


def _range_curve(shown: Levels, stored: Levels, grayscale: Grayscale) -> LevelCurve:
    kept = shown
    if grayscale.pixel_padding is not None:
        low, high = grayscale.pixel_padding
        inside = (stored < low) | (stored > high)
        kept = shown[inside] if inside.any() else shown
    low, high = np.percentile(kept, (0.5, 99.5)).tolist()
    return ramp_curve(low, high)


def _to_8_bit(levels: Levels) -> npt.NDArray[np.uint8]:
    return np.rint(np.clip(np.nan_to_num(levels), 0.0, 1.0) * 255.0).astype(np.uint8)
