"""The scale bar: how long a round number of millimetres is in the picture, and who says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edgeai.api.imaging import Frame, UltrasoundRegion

Box = tuple[int, int, int, int]

_LENGTHS_MM: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
_LONGEST: Final = (0.3, 0.8)
"""Part of the calibrated width that the bar takes at most; the second where nothing fits into the first."""
_SHORTEST_PX: Final = 24
_SOURCES: Final = {
    "pixel-spacing": "the header's Pixel Spacing",
    "imager-pixel-spacing": "Imager Pixel Spacing: as large as on the detector, not as in the patient",
    "nominal-scanned-pixel-spacing": "Nominal Scanned Pixel Spacing: as large as on the film",
    "region": "the header's ultrasound region",
}
_PLANES: Final = (0, 1)
"""Region Spatial Format: none, 2D (PS3.3 C.8.5.5.1.1)."""
_PICTURES: Final = (0, 1, 2, 15)
"""Region Data Type: none, tissue, colour flow, integrated backscatter (C.8.5.5.1.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A bar that fits.

    Attributes:
        length_mm: a round number.
        length_px: its length in the picture.
        within: where in the picture it holds, (left, top, right, bottom).
        source: who says how large a pixel is, in words.
    """

    length_mm: float
    length_px: int
    within: Box
    source: str

    @property
    def says(self) -> str:
        """``50 mm``."""
        return f"{self.length_mm:g} mm"


def scale_of(frame: Frame, size: tuple[int, int]) -> Scale | None:
    """The bar for a picture of ``size`` of this frame; ``None`` where nothing says how large its pixels are."""
    mm, region, source = _calibration(frame)
    if mm is None:
        return None
    across, down = size[0] / frame.geometry.source_columns, size[1] / frame.geometry.source_rows
    within = (0, 0, *size)
    if region is not None:
        within = (
            round(region.min_x0 * across),
            round(region.min_y0 * down),
            round((region.max_x1 + 1) * across),
            round((region.max_y1 + 1) * down),
        )
    return _fitting(mm / across, within, _SOURCES.get(source, source))


def _calibration(frame: Frame) -> tuple[float | None, UltrasoundRegion | None, str]:
    """(millimetres from column to column, where that holds if not everywhere, who says so)."""
    geometry = frame.geometry
    known = [r for r in geometry.regions if r.delta_x_mm is not None and r.delta_y_mm is not None]
    if known:
        region = max(known, key=lambda one: one.area_px)
        return abs(region.delta_x_mm or 0.0) or None, region, "region"
    planes = [r for r in geometry.regions if r.spatial_format in _PLANES and r.data_type in _PICTURES]
    if geometry.pixel_spacing_mm is None or (geometry.regions and not planes):
        return None, None, ""  # along a spectrum or in M-mode a pixel is no length
    plane = max(planes, key=lambda one: one.area_px, default=None)
    return geometry.pixel_spacing_mm[1] or None, plane, geometry.spacing_from


def caption(frame: Frame, scale: Scale | None) -> str:
    """Who says how large things are, or why there is no bar."""
    if scale is not None:
        return f"Scale from {scale.source}."
    if _calibration(frame)[0] is not None:
        return "No scale bar: none would fit."
    return "No scale: nothing says how large a pixel is."


def _fitting(mm_per_px: float, within: Box, source: str) -> Scale | None:
    for part in _LONGEST:
        room = (within[2] - within[0]) * part
        fitting = [mm for mm in _LENGTHS_MM if _SHORTEST_PX <= mm / mm_per_px <= room]
        if fitting:
            length = fitting[-1]
            return Scale(length_mm=length, length_px=round(length / mm_per_px), within=within, source=source)
    return None
