"""Invert, grey and rgb: what the samples mean."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from edgeai.api import Array, Frame, Grayscale, Lut, Transform, Window, is_exact_window
from edgeai_transforms.few_levels import is_whole, stored_range, unrounded
from edgeai_transforms.options import OptionReader, not_applicable


@dataclass(frozen=True, slots=True)
class Invert:
    """MONOCHROME1 (low is white) to MONOCHROME2 (low is black); every other frame stays as it is.

    Stored values are mirrored within the range of Bits Stored, and the header's Modality LUT, windows
    and VOI LUTs with them, so that a window after this step gives the inverse of the window before it.
    """

    top: float | None

    @classmethod
    def of(cls, read: OptionReader) -> Transform:
        """Build from options."""
        return cls(top=read.number("top") if read.is_given("top") else None)

    def apply(self, frame: Frame) -> Frame:
        """See ``Transform.apply``."""
        if frame.photometric_interpretation != "MONOCHROME1":
            return frame
        if is_whole(frame):
            low, high = stored_range(frame)
            pixels = _mirrored(frame.pixels, low, high)
            grey = mirrored_grayscale(frame.grayscale, low + high) if frame.stored_units else frame.grayscale
        elif frame.pixels.dtype.kind == "f" and self.top is not None:
            pixels = (frame.pixels.dtype.type(self.top) - frame.pixels).astype(frame.pixels.dtype, copy=False)
            grey = mirrored_grayscale(frame.grayscale, self.top) if frame.stored_units else frame.grayscale
        else:
            raise not_applicable(
                "invert", frame, "the white level is not known", "set `top`: 1 after window with output unit"
            )
        return replace(frame, pixels=pixels, photometric_interpretation="MONOCHROME2", grayscale=grey)


def _mirrored(pixels: Array, low: int, high: int) -> Array:
    # A value beyond Bits Stored is cut to the range, or black would come out as white. Both low + high and the
    # difference fit the dtype: the sum is -1 for signed values and the greatest value for unsigned ones.
    kind = pixels.dtype.type
    out: Array = np.subtract(kind(low + high), np.clip(pixels, kind(low), kind(high)))
    return out


def mirrored_grayscale(grey: Grayscale, total: float) -> Grayscale:
    """The grey pipeline for stored values ``total - x``, such that a window gives one minus what it gave."""
    lut = grey.modality_lut
    if lut is not None:
        top = float(lut.data.max()) + float(lut.data.min())
        first = int(total) - lut.first - len(lut.data) + 1
        mirrored_lut = Lut(first=first, data=(top - lut.data[::-1].astype(np.float64)), bits=lut.bits)
    else:
        # m = slope x + intercept is replaced by m' = slope (total - x) + intercept = units - m
        top = grey.rescale_slope * total + 2 * grey.rescale_intercept
        mirrored_lut = None
    padding = grey.pixel_padding
    return replace(
        grey,
        modality_lut=mirrored_lut,
        windows=tuple(_mirrored_window(window, grey.voi_lut_function, top) for window in grey.windows),
        voi_luts=tuple(_mirrored_voi(lut, top) for lut in grey.voi_luts),
        pixel_padding=None if padding is None else (int(total) - padding[1], int(total) - padding[0]),
    )


def _mirrored_window(window: Window, function: str, top: float) -> Window:
    # LINEAR takes its centre half a unit below Window Center (PS3.3 C.11.2.1.2.1), so the mirror image is off by one.
    shift = 0.0 if function == "SIGMOID" or is_exact_window(window, function) else 1.0
    return Window(center=top - window.center + shift, width=window.width)


def _mirrored_voi(lut: Lut, top: float) -> Lut:
    data = (2**lut.bits - 1) - lut.data[::-1].astype(np.int64)
    return Lut(first=round(top) - lut.first - len(lut.data) + 1, data=data, bits=lut.bits)


@dataclass(frozen=True, slots=True)
class Grey:
    """RGB to one plane of luma; grey frames stay as they are."""

    @classmethod
    def of(cls, read: OptionReader) -> Transform:
        """Build from options (there are none)."""
        del read
        return cls()

    def apply(self, frame: Frame) -> Frame:
        """See ``Transform.apply``."""
        if frame.samples == 1 and frame.pixels.ndim == 2:
            return frame
        if frame.photometric_interpretation != "RGB" or frame.samples != 3:
            raise not_applicable("grey", frame, "luma is defined for RGB alone")
        if frame.pixels.dtype.name not in ("uint8", "uint16", "float32"):
            raise not_applicable("grey", frame, f"no luma of {frame.pixels.dtype}")
        frame = unrounded(frame)
        pixels: Array = cv2.cvtColor(np.ascontiguousarray(frame.pixels), cv2.COLOR_RGB2GRAY)
        return replace(frame, pixels=pixels, photometric_interpretation="MONOCHROME2")


@dataclass(frozen=True, slots=True)
class Rgb:
    """MONOCHROME2 to three equal planes; RGB frames stay as they are."""

    @classmethod
    def of(cls, read: OptionReader) -> Transform:
        """Build from options (there are none)."""
        del read
        return cls()

    def apply(self, frame: Frame) -> Frame:
        """See ``Transform.apply``."""
        if frame.photometric_interpretation == "RGB" and frame.samples == 3:
            return frame
        if frame.photometric_interpretation != "MONOCHROME2" or frame.pixels.ndim != 2:
            remedy = "put the step `invert` before it" if frame.photometric_interpretation == "MONOCHROME1" else None
            raise not_applicable("rgb", frame, "only MONOCHROME2 becomes three equal planes", remedy)
        pixels = np.repeat(frame.pixels[:, :, np.newaxis], 3, axis=2)
        return replace(frame, pixels=pixels, photometric_interpretation="RGB")
