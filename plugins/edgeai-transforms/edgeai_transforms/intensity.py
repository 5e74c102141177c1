"""Normalise, clip, quantise and CLAHE: values change, places do not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from edgeai.api import Array, Frame, Transform
from edgeai_transforms.few_levels import is_whole, rounded, stored_range
from edgeai_transforms.options import OptionReader, not_applicable

_NEEDS = {
    "scale": ("scale", "offset"),
    "mean_std": ("mean", "std"),
    "zscore": (),
    "range": ("to",),
    "full_range": ("to",),
}
_OPTIONAL = ("scale", "offset", "mean", "std", "to")


@dataclass(frozen=True, slots=True)
class Normalise:
    """Values to what the network was trained on, float32."""

    mode: str
    scale: float
    offset: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    to: tuple[float, float]

    @classmethod
    def of(cls, read: OptionReader) -> Transform:
        """Build from options."""
        mode = read.choice("mode")
        for name in _OPTIONAL:
            if read.is_given(name) and name not in _NEEDS[mode]:
                read.refuse(name, f"says nothing in mode {mode}")
        mean = read.numbers("mean") if read.is_given("mean") else ()
        std = read.numbers("std", above=0.0) if read.is_given("std") else ()
        if mode == "mean_std" and (not mean or len(mean) != len(std)):
            read.refuse("mean", "and std are both needed in mode mean_std, one number each a sample or one for all")
        return cls(
            mode=mode,
            scale=read.number("scale") if read.is_given("scale") else 1.0,
            offset=read.number("offset") if read.is_given("offset") else 0.0,
            mean=mean,
            std=std,
            to=read.span("to") if read.is_given("to") else (0.0, 1.0),
        )

    def apply(self, frame: Frame) -> Frame:
        """See ``Transform.apply``."""
        factor, offset = self._affine(frame)
        # float64 for the sum, rounded once: a large offset must not eat the digits of a small value.
        pixels = (frame.pixels * factor + offset).astype(np.float32)
        return replace(frame, pixels=pixels, stored_units=False, whole_range=None)

    def _affine(self, frame: Frame) -> tuple[Array, Array]:
        if self.mode == "mean_std":
            if len(self.mean) not in (1, frame.samples):
                raise not_applicable("normalise", frame, f"{len(self.mean)} means for {frame.samples} samples")
            mean, std = np.asarray(self.mean, np.float64), np.asarray(self.std, np.float64)
            return 1.0 / std, -mean / std
        if self.mode == "scale":
            return np.float64(self.scale) * np.ones(1), np.float64(self.offset) * np.ones(1)
        if self.mode == "zscore":
            values = frame.pixels.astype(np.float64)
            centre, spread = _finite(frame, float(values.mean())), float(values.std()) or 1.0
            return np.array([1.0 / spread]), np.array([-centre / spread])
        low, high = self._ends(frame)
        spread = (high - low) or 1.0
        factor = (self.to[1] - self.to[0]) / spread
        return np.array([factor]), np.array([self.to[0] - low * factor])

    def _ends(self, frame: Frame) -> tuple[float, float]:
        if self.mode == "range":
            return _finite(frame, float(frame.pixels.min())), _finite(frame, float(frame.pixels.max()))
        if not is_whole(frame):
            raise not_applicable("normalise", frame, "full_range is for whole numbers within Bits Stored")
        low, high = stored_range(frame)
        return float(low), float(high)


def _finite(frame: Frame, value: float) -> float:
    if not np.isfinite(value):
        raise not_applicable("normalise", frame, "the frame has values that are not finite")
    return value


@dataclass(frozen=True, slots=True)
class Clip:
    """Values below ``low`` become it, values above ``high`` become it; the dtype stays."""

    low: float
    high: float

    @classmethod
    def of(cls, read: OptionReader) -> Transform:
        """Build from options."""
        low, high = read.number("low"), read.number("high")
        if low >= high:
            read.refuse("high", f"is {high:g}, not above low {low:g}")
        return cls(low=low, high=high)

    def apply(self, frame: Frame) -> Frame:
        """See ``Transform.apply``."""
        pixels, low, high = frame.pixels, self.low, self.high
        if pixels.dtype.kind in "iu":
            limits = np.iinfo(pixels.dtype)
            if low != round(low) or high != round(high) or high < limits.min or low > limits.max:
                raise not_applicable("clip", frame, f"{pixels.dtype} cannot hold the bounds {low:g} and {high:g}")
            low, high = max(low, limits.min), min(high, limits.max)
        return replace(frame, pixels=np.clip(pixels, pixels.dtype.type(low), pixels.dtype.type(high)))


@dataclass(frozen=True, slots=True)
class Quantise:
    """Real values to the whole numbers that stand for them: ``round(x / scale) + zero_point``, within the dtype."""

    dtype: str
    scale: float
    zero_point: int

    @classmethod
    def of(cls, read: OptionReader) -> Transform:
        """Build from options."""
        dtype = read.choice("dtype")
        limits = np.iinfo(dtype)
        zero_point = read.whole("zero_point", int(limits.min), int(limits.max))
        return cls(dtype=dtype, scale=read.number("scale", above=0.0), zero_point=zero_point)

    def apply(self, frame: Frame) -> Frame:
        """See ``Transform.apply``."""
        limits = np.iinfo(self.dtype)
        values = frame.pixels.astype(np.float64)
        if not np.isfinite(values).all():
            raise not_applicable("quantise", frame, "the frame has values that are not finite")
        whole = np.clip(np.rint(values / self.scale) + self.zero_point, limits.min, limits.max).astype(self.dtype)
        return replace(frame, pixels=whole, stored_units=False, whole_range=None, bits_stored=8 * whole.dtype.itemsize)


@dataclass(frozen=True, slots=True)
class Clahe:
    """Contrast-limited adaptive histogram equalisation of a grey frame of 8 to 16 bits."""

    limit: float
    tiles_rows: int
    tiles_columns: int
    bits: int

    @classmethod
    def of(cls, read: OptionReader) -> Transform:
        """Build from options."""
        return cls(
            bits=read.whole("histogram_bits", 8, 16),
            limit=read.number("limit", 0.0, 1000.0),
            tiles_rows=read.whole("tiles_rows", 1, 64),
            tiles_columns=read.whole("tiles_columns", 1, 64),
        )

    def apply(self, frame: Frame) -> Frame:
        """See ``Transform.apply``."""
        frame = rounded(frame)
        name = frame.pixels.dtype.name
        if frame.pixels.ndim != 2 or name not in ("uint8", "uint16"):
            raise not_applicable(
                "clahe", frame, "needs a grey plane of uint8 or uint16", "put window with output uint8 before it"
            )
        # An OpenCV CLAHE object keeps buffers, so one cannot be shared between threads; making one costs nothing.
        equaliser = cv2.createCLAHE(clipLimit=self.limit, tileGridSize=(self.tiles_columns, self.tiles_rows))
        plane = frame.pixels
        if name == "uint16":
            # Over the whole 16 bits, or a 12-bit picture would lie in a sixteenth of the histogram and be cut to noise.
            top, spare = np.uint16(2**frame.bits_stored - 1), np.uint16(16 - frame.bits_stored)
            plane = np.minimum(plane, top) << spare
            equaliser.setBitShift(16 - self.bits)
        pixels: Array = equaliser.apply(plane)
        return replace(frame, pixels=pixels, stored_units=False, bits_stored=8 * frame.pixels.dtype.itemsize)
