"""One frame as a reader would see it: windowed, MONOCHROME1 inverted, pixels square, at a size for a screen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgeai.api.imaging import Frame, Grayscale, Lut
from edgeai.api.tensors import Array

LEAST_SIDE, MOST_SIDE = 512, 1024
"""The longest side of a rendered image is brought into this range, in pixels."""
_UNSQUARE = 0.01
Grey = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Levels:
    """Values after the Modality LUT, and the range that a display shows."""

    values: Grey
    low: float
    high: float


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
    lut = frame.grayscale.modality_lut
    if lut is None or not frame.stored_units or frame.pixels.ndim == 3:
        return frame.pixels
    return _looked_up(frame.pixels, lut)


def _reduced(pixels: Array, most: int) -> Grey:
    """The mean of whole blocks, no smaller than ``most`` along the longer side; float64."""
    step = max(1, max(pixels.shape[:2]) // most)
    rows, columns = pixels.shape[0] // step * step, pixels.shape[1] // step * step
    if step == 1 or 0 in (rows, columns):
        return pixels.astype(np.float64)
    cut = pixels[:rows, :columns]
    total: Grey = np.zeros((rows // step, columns // step, *pixels.shape[2:]))
    for row in range(step):
        for column in range(step):
            total += cut[row::step, column::step]
    mean: Grey = total / (step * step)
    return mean


def _displayed(values: Grey, grayscale: Grayscale) -> Grey:
    """Grey levels of 0 to 1 (PS3.3 C.11.1 and C.11.2): VOI LUT or window of the file, else the range that it has."""
    shown = values
    if grayscale.modality_lut is None:
        shown = values * grayscale.rescale_slope + grayscale.rescale_intercept
    if grayscale.windows:
        window = grayscale.windows[0]
        return _windowed(shown, window.center, max(window.width, 1e-6), grayscale.voi_lut_function)
    if grayscale.voi_luts:
        lut = grayscale.voi_luts[0]
        return _looked_up(np.rint(shown), lut) / float(2**lut.bits - 1)
    levels = _percentiles(shown, values, grayscale)
    return np.clip((levels.values - levels.low) / max(levels.high - levels.low, 1e-6), 0.0, 1.0)


def _windowed(values: Grey, center: float, width: float, function: str) -> Grey:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    if function == "SIGMOID":
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -60.0, 60.0)))
    if function == "LINEAR_EXACT" or width < 1.0:  # narrower than LINEAR goes
        return np.clip((values - center) / width + 0.5, 0.0, 1.0)
    return np.clip((values - (center - 0.5)) / max(width - 1.0, 1e-6) + 0.5, 0.0, 1.0)


def _percentiles(shown: Grey, stored: Grey, grayscale: Grayscale) -> _Levels:
    kept = shown
    if grayscale.pixel_padding is not None:
        low, high = grayscale.pixel_padding
        inside = (stored < low) | (stored > high)
        kept = shown[inside] if inside.any() else shown
    bounds = np.percentile(kept, (0.5, 99.5))
    return _Levels(shown, float(bounds[0]), float(bounds[1]))


def _looked_up(values: Array, lut: Lut) -> Grey:
    index = np.clip(np.asarray(values, dtype=np.int64) - lut.first, 0, len(lut.data) - 1)
    grey: Grey = np.asarray(lut.data, dtype=np.float64)[index]
    return grey


def _to_8_bit(levels: Grey) -> npt.NDArray[np.uint8]:
    return np.rint(np.clip(np.nan_to_num(levels), 0.0, 1.0) * 255.0).astype(np.uint8)
