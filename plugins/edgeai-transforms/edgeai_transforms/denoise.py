"""Median, Gaussian, bilateral and non-local means: noise down, extent and dtype unchanged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from edgeai.api import Array, Frame, Transform
from edgeai_transforms.few_levels import rounded, unrounded
from edgeai_transforms.options import OptionReader, not_applicable
from edgeai_transforms.resample import native

_MOST_IN_ANY_DTYPE = 5
"""Side of a median that OpenCV has for more than uint8."""


@dataclass(frozen=True, slots=True)
class Median:
    """Each pixel becomes the median of the square around it."""

    size: int

    @classmethod
    def of(cls, read: OptionReader) -> Transform:
        """Build from options."""
        return cls(size=_odd(read, "size_px", 3, 31))

    def apply(self, frame: Frame) -> Frame:
        """See ``Transform.apply``."""
        frame = rounded(frame) if self.size > _MOST_IN_ANY_DTYPE else frame
        name = frame.pixels.dtype.name
        if name not in ("uint8", "uint16", "int16", "float32") or frame.samples > 4:
            raise not_applicable("median", frame, f"no median of {name}")
        if self.size > _MOST_IN_ANY_DTYPE and name != "uint8":
            raise not_applicable("median", frame, f"a median over {self.size} pixels needs uint8; others take 3 or 5")
        return _with(frame, _as_unsigned(frame.pixels, lambda plane: cv2.medianBlur(plane, self.size)))


@dataclass(frozen=True, slots=True)
class Gaussian:
    """Convolution with a Gaussian."""

    sigma: float

    @classmethod
    def of(cls, read: OptionReader) -> Transform:
        """Build from options."""
        return cls(sigma=read.number("sigma_px", most=100.0, above=0.0))

    def apply(self, frame: Frame) -> Frame:
        """See ``Transform.apply``."""
        frame = unrounded(frame)
        pixels = native(frame, "gaussian")
        return _with(frame, cv2.GaussianBlur(pixels, (0, 0), self.sigma, borderType=cv2.BORDER_REFLECT_101))


@dataclass(frozen=True, slots=True)
class Bilateral:
    """A Gaussian in space and in grey level: smooths, and leaves edges."""

    diameter: int
    sigma_grey: float
    sigma_space: float

    @classmethod
    def of(cls, read: OptionReader) -> Transform:
        """Build from options."""
        return cls(
            diameter=_odd(read, "diameter_px", 3, 25),
            sigma_grey=read.number("sigma_grey", above=0.0),
            sigma_space=read.number("sigma_px", most=100.0, above=0.0),
        )

    def apply(self, frame: Frame) -> Frame:
        """See ``Transform.apply``."""
        frame = unrounded(frame)
        pixels, name = frame.pixels, frame.pixels.dtype.name
        if name not in ("uint8", "uint16", "int16", "float32") or frame.samples not in (1, 3):
            raise not_applicable("bilateral", frame, "needs one or three samples of 8 or 16 bits or float32")
        if name == "float32" and not np.isfinite(pixels).all():
            raise not_applicable("bilateral", frame, "the frame has values that are not finite")
        # OpenCV takes uint8 and float32; 16 bits fit float32 exactly.
        plane = pixels if name in ("uint8", "float32") else pixels.astype(np.float32)
        out: Array = cv2.bilateralFilter(np.ascontiguousarray(plane), self.diameter, self.sigma_grey, self.sigma_space)
        return _with(frame, out if out.dtype == pixels.dtype else np.rint(out).astype(pixels.dtype))


@dataclass(frozen=True, slots=True)
class NlMeans:
    """Each pixel becomes the mean of those whose surroundings look alike."""

    strength: float
    patch: int
    search: int

    @classmethod
    def of(cls, read: OptionReader) -> Transform:
        """Build from options."""
        return cls(
            strength=read.number("strength_grey", above=0.0),
            patch=_odd(read, "patch_px", 3, 15),
            search=_odd(read, "search_px", 3, 51),
        )

    def apply(self, frame: Frame) -> Frame:
        """See ``Transform.apply``."""
        frame = rounded(frame)
        name = frame.pixels.dtype.name
        if name not in ("uint8", "uint16", "int16") or frame.pixels.ndim != 2:
            raise not_applicable("nl_means", frame, "needs a grey plane of 8 or 16 bits")
        norm = cv2.NORM_L2 if name == "uint8" else cv2.NORM_L1

        def smooth(plane: Array) -> Array:
            out: Array = cv2.fastNlMeansDenoising(
                plane,
                h=[self.strength],
                templateWindowSize=self.patch,
                searchWindowSize=self.search,
                normType=norm,
            )
            return out

        return _with(frame, _as_unsigned(frame.pixels, smooth))


def _odd(read: OptionReader, name: str, least: int, most: int) -> int:
    value = read.whole(name, least, most)
    if value % 2 == 0:
        read.refuse(name, f"is {value}, not odd")
    return value


def _as_unsigned(pixels: Array, smooth: Callable[[Array], Array]) -> Array:
    # OpenCV lacks int16 here. Flipping the sign bit maps it to uint16 and keeps order and distance.
    if pixels.dtype != np.int16:
        return smooth(np.ascontiguousarray(pixels))
    sign = np.uint16(0x8000)
    return (smooth(np.ascontiguousarray(pixels).view(np.uint16) ^ sign) ^ sign).view(np.int16)


def _with(frame: Frame, pixels: Array) -> Frame:
    # OpenCV drops a samples axis of one.
    return replace(frame, pixels=pixels.reshape(frame.pixels.shape))
