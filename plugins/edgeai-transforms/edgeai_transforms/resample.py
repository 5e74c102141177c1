"""Resize and letterbox: extents change, the Geometry follows, each source pixel is touched once.

All coordinates are those of ``Geometry`` (corner origin). OpenCV aligns pixel corners too
(``INTER_AREA`` exactly, the others by half-pixel centres), so the affine needs no shift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from edgeai.api import Array, Frame, Geometry, Transform
from edgeai_transforms.few_levels import limits, unrounded
from edgeai_transforms.options import OptionReader, not_applicable

_INTERPOLATION = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "lanczos": cv2.INTER_LANCZOS4}
# dtypes that OpenCV resizes as they are; the others go to the narrowest of these that holds them exactly.
_NATIVE = frozenset(map(np.dtype, ("uint8", "uint16", "int16", "float32", "float64")))
_WIDER = {
    np.dtype(narrow): np.dtype(wide)
    for narrow, wide in {
        "bool": "uint8",
        "int8": "int16",
        "float16": "float32",
        "int32": "float64",
        "uint32": "float64",
    }.items()
}
MOST_PIXELS_A_SIDE = 16384
_MOST_SAMPLES = 4


@dataclass(frozen=True, slots=True)
class Sampling:
    """How pixels become more or fewer."""

    method: str
    two_pass: bool
    margin: int = 2

    @classmethod
    def of(cls, read: OptionReader) -> Sampling:
        """From the options ``method``, ``two_pass`` and ``margin``, which resize and letterbox share."""
        sampling = cls(method=read.choice("method"), two_pass=read.flag("two_pass"), margin=read.whole("margin", 1, 8))
        if sampling.two_pass and sampling.method != "area":
            read.refuse("two_pass", "needs method area")
        if sampling.margin != 2 and not sampling.two_pass:
            read.refuse("margin", "goes with two_pass")
        return sampling

    def resample(self, pixels: Array, geometry: Geometry, rows: int, columns: int) -> tuple[Array, Geometry]:
        """``pixels`` at (rows, columns), and where they came from."""
        if self.two_pass:
            pixels, geometry = _halved(pixels, geometry, self.margin * rows, self.margin * columns)
        before_rows, before_columns = pixels.shape[:2]
        geometry = geometry.scaled(before_columns / columns, before_rows / rows)
        if (before_rows, before_columns) == (rows, columns):
            return pixels, geometry
        if self.method == "area":
            return _area(pixels, rows, columns), geometry
        smooth = _band_limited(pixels, rows, columns)
        return _resized(smooth, rows, columns, _INTERPOLATION[self.method]), geometry


@dataclass(frozen=True, slots=True)
class Resize:
    """The whole frame to a fixed extent, or to the largest of its own aspect ratio that fits inside."""

    rows: int
    columns: int
    keep_aspect: bool
    sampling: Sampling

    @classmethod
    def of(cls, read: OptionReader) -> Transform:
        """Build from options."""
        rows, columns = _extent(read)
        return cls(rows=rows, columns=columns, keep_aspect=read.flag("keep_aspect"), sampling=Sampling.of(read))

    def apply(self, frame: Frame) -> Frame:
        """See ``Transform.apply``."""
        frame = unrounded(frame)
        pixels = native(frame, "resize")
        rows, columns = _inside(frame, self.rows, self.columns) if self.keep_aspect else (self.rows, self.columns)
        pixels, geometry = self.sampling.resample(pixels, frame.geometry, rows, columns)
        return replace(frame, pixels=pixels, geometry=geometry)


@dataclass(frozen=True, slots=True)
class Letterbox:
    """The whole frame, aspect kept, centred in a fixed extent that is filled up with ``pad``."""

    rows: int
    columns: int
    pad: float
    sampling: Sampling

    @classmethod
    def of(cls, read: OptionReader) -> Transform:
        """Build from options."""
        rows, columns = _extent(read)
        return cls(rows=rows, columns=columns, pad=read.number("pad"), sampling=Sampling.of(read))

    def apply(self, frame: Frame) -> Frame:
        """See ``Transform.apply``."""
        self._check_pad(frame)
        frame = unrounded(frame)
        pixels = native(frame, "letterbox")
        rows, columns = _inside(frame, self.rows, self.columns)
        content, geometry = self.sampling.resample(pixels, frame.geometry, rows, columns)
        top, left = (self.rows - rows) // 2, (self.columns - columns) // 2
        bottom, right = self.rows - rows - top, self.columns - columns - left
        canvas: Array = cv2.copyMakeBorder(
            content, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(self.pad,) * _MOST_SAMPLES
        ).reshape((self.rows, self.columns, *content.shape[2:]))
        return replace(frame, pixels=canvas, geometry=geometry.cropped(-left, -top))

    def _check_pad(self, frame: Frame) -> None:
        dtype = _WIDER.get(frame.pixels.dtype, frame.pixels.dtype)
        if dtype.kind in "iu":
            least, most = limits(dtype)
            if not (least <= self.pad <= most and self.pad == round(self.pad)):
                raise not_applicable("letterbox", frame, f"{dtype} cannot hold pad {self.pad:g}")


def native(frame: Frame, step: str) -> Array:
    """The frame's pixels in a dtype that OpenCV resizes; no copy where they already are.

    Raises:
        TransformFailed: ``transform.not-applicable``: an empty plane, over four samples, or an unusable dtype.
    """
    pixels = frame.pixels
    if pixels.ndim not in (2, 3) or pixels.size == 0 or frame.samples > _MOST_SAMPLES:
        raise not_applicable(step, frame, "needs one plane of one to four samples")
    if pixels.dtype in _NATIVE:
        return pixels
    if pixels.dtype not in _WIDER:
        raise not_applicable(step, frame, f"cannot resample {pixels.dtype.name}")
    return pixels.astype(_WIDER[pixels.dtype])


def _extent(read: OptionReader) -> tuple[int, int]:
    return read.whole("rows", 1, MOST_PIXELS_A_SIDE), read.whole("columns", 1, MOST_PIXELS_A_SIDE)


def _inside(frame: Frame, rows: int, columns: int) -> tuple[int, int]:
    factor = min(rows / frame.rows, columns / frame.columns)
    return min(rows, max(1, round(frame.rows * factor))), min(columns, max(1, round(frame.columns * factor)))


def _resized(pixels: Array, rows: int, columns: int, interpolation: int) -> Array:
    out: Array = cv2.resize(pixels, (columns, rows), interpolation=interpolation)
    # OpenCV drops a samples axis of one.
    return out.reshape((rows, columns, *pixels.shape[2:]))


def _area(pixels: Array, rows: int, columns: int) -> Array:
    # INTER_AREA is a box average only while neither axis grows; a growing axis is done after, bilinearly.
    shrunk_rows, shrunk_columns = min(rows, pixels.shape[0]), min(columns, pixels.shape[1])
    if pixels.shape[:2] != (shrunk_rows, shrunk_columns):
        pixels = _resized(pixels, shrunk_rows, shrunk_columns, cv2.INTER_AREA)
    if pixels.shape[:2] != (rows, columns):
        pixels = _resized(pixels, rows, columns, cv2.INTER_LINEAR)
    return pixels


def _halved(pixels: Array, geometry: Geometry, rows: int, columns: int) -> tuple[Array, Geometry]:
    """Halved as often as it stays at least (rows, columns)."""
    # Means of 2x2 run in SIMD registers in OpenCV, an order of magnitude faster than a fractional ratio. What is
    # left above the target leaves the fractional pass something to weigh edges with.
    room = min(pixels.shape[0] / rows, pixels.shape[1] / columns)
    factor = 2 ** int(math.log2(room)) if room >= 2 else 1
    if factor == 1:
        return pixels, geometry
    kept_rows, kept_columns = (extent // factor * factor for extent in pixels.shape[:2])
    y0, x0 = (pixels.shape[0] - kept_rows) // 2, (pixels.shape[1] - kept_columns) // 2
    pixels = pixels[y0 : y0 + kept_rows, x0 : x0 + kept_columns]
    for step in range(1, factor.bit_length()):
        pixels = _resized(pixels, kept_rows >> step, kept_columns >> step, cv2.INTER_AREA)
    return pixels, geometry.cropped(x0, y0).scaled(factor, factor)


def _band_limited(pixels: Array, rows: int, columns: int) -> Array:
    # The Gaussian that scikit-image's resize(anti_aliasing=True) uses: sigma = (shrink - 1) / 2 along each axis.
    sigma_y, sigma_x = (max(0.0, (pixels.shape[0] / rows - 1) / 2), max(0.0, (pixels.shape[1] / columns - 1) / 2))
    if sigma_x == sigma_y == 0.0:
        return pixels
    size_y, size_x = (2 * math.ceil(4 * sigma) + 1 for sigma in (sigma_y, sigma_x))
    out: Array = cv2.GaussianBlur(
        pixels, (size_x, size_y), sigmaX=sigma_x or 1e-6, sigmaY=sigma_y or 1e-6, borderType=cv2.BORDER_REPLICATE
    )
    return out.reshape(pixels.shape)
