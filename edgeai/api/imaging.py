"""Which plane of an image, and where each pixel of a processed plane came from.

DICOM attributes are the snake_case of their keyword (PS3.6). Nothing here carries a patient attribute.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from edgeai.api.errors import DicomRejected
from edgeai.api.instances import InstanceRef
from edgeai.api.results import Note
from edgeai.api.tensors import Array

Points: TypeAlias = npt.NDArray[np.float64]
"""Shape (n, 2), each row (x, y) = (column, row), in pixels; see ``Geometry`` for the origin."""

PIXEL_SPACING: Final = "pixel-spacing"
REGION: Final = "region"
IMAGER_PIXEL_SPACING: Final = "imager-pixel-spacing"
NOMINAL_SCANNED_PIXEL_SPACING: Final = "nominal-scanned-pixel-spacing"

IN_THE_PATIENT: Final = (PIXEL_SPACING, REGION)
"""Sources of millimetres that are those of the anatomy. The others are those of the detector's plane or of the film:
the anatomy in front of it is smaller, by a magnification that the header does not say (PS3.3 10.7.1.1)."""
SPACINGS: Final = (*IN_THE_PATIENT, IMAGER_PIXEL_SPACING, NOMINAL_SCANNED_PIXEL_SPACING)
"""All that millimetres can come from."""


class Spacing(NamedTuple):
    """Size of one source pixel in millimetres, and which of ``SPACINGS`` says so."""

    between_rows_mm: float
    between_columns_mm: float
    source: str


_PLANES: Final = (0, 1)
"""Region Spatial Format: none, 2D (PS3.3 C.8.5.5.1.1)."""
_PICTURES: Final = (0, 1, 2, 15)
"""Region Data Type: none, tissue, colour flow, integrated backscatter (C.8.5.5.1.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UltrasoundRegion:
    """One item of Sequence of Ultrasound Regions (0018,6011), PS3.3 C.8.5.5.

    Bounds are pixel indices, both ends inclusive, as in the Standard. ``delta_*_mm`` is the physical extent of one
    pixel where the region calibrates: 2D, tissue, both Physical Units cm, and a size that a pixel can have. Else both
    are ``None``.
    """

    min_x0: int
    min_y0: int
    max_x1: int
    max_y1: int
    spatial_format: int = 0
    data_type: int = 0
    delta_x_mm: float | None = None
    delta_y_mm: float | None = None

    def contains(self, x: float, y: float) -> bool:
        """Whether the continuous point (x, y) lies in the region."""
        return self.min_x0 <= x < self.max_x1 + 1 and self.min_y0 <= y < self.max_y1 + 1

    @property
    def calibrates(self) -> bool:
        """Whether it says how large its pixels are."""
        return self.delta_x_mm is not None and self.delta_y_mm is not None

    @property
    def is_plane(self) -> bool:
        """Whether it shows a plane of the patient, as far as it says: not M-mode, a spectrum, a curve or a bar."""
        return self.spatial_format in _PLANES and self.data_type in _PICTURES

    @property
    def area_px(self) -> int:
        """Number of pixels inside."""
        return max(0, self.max_x1 - self.min_x0 + 1) * max(0, self.max_y1 - self.min_y0 + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Maps a processed plane back to the source plane, and that to millimetres.

    Coordinates are continuous: (0, 0) is the outer corner of the first pixel and
    (columns, rows) that of the last, so the centre of the first pixel is (0.5, 0.5).
    ``affine`` = (a, b, c, d, e, f) takes (x, y) here to the source:
    x' = a x + b y + c, y' = d x + e y + f.
    """

    source_rows: int
    source_columns: int
    affine: tuple[float, float, float, float, float, float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    pixel_spacing_mm: tuple[float, float] | None = None
    """(between rows, between columns) of the source plane, as ``spacing_from`` says it."""
    regions: tuple[UltrasoundRegion, ...] = ()
    spacing_from: str = PIXEL_SPACING
    """Where ``pixel_spacing_mm`` comes from, out of ``SPACINGS``; what is not ``IN_THE_PATIENT`` is another plane's."""

    def _after(self, a: float, b: float, c: float, d: float, e: float, f: float) -> Geometry:
        p, q, r, s, t, u = self.affine
        affine = (
            p * a + q * d,
            p * b + q * e,
            p * c + q * f + r,
            s * a + t * d,
            s * b + t * e,
            s * c + t * f + u,
        )
        # Four times a frame: ``replace`` would take twice as long.
        return Geometry(
            source_rows=self.source_rows,
            source_columns=self.source_columns,
            affine=affine,
            pixel_spacing_mm=self.pixel_spacing_mm,
            regions=self.regions,
            spacing_from=self.spacing_from,
        )

    def cropped(self, x0: float, y0: float) -> Geometry:
        """The geometry of a plane cut out of this one with its corner at (x0, y0); negative where padded."""
        return self._after(1.0, 0.0, x0, 0.0, 1.0, y0)

    def scaled(self, factor_x: float, factor_y: float) -> Geometry:
        """The geometry after resizing: ``factor`` = extent here / extent after, along each axis."""
        return self._after(factor_x, 0.0, 0.0, 0.0, factor_y, 0.0)

    def to_source(self, points: npt.ArrayLike) -> Points:
        """Points of this plane (n, 2) -> the same points in the source plane (n, 2)."""
        xy = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        a, b, c, d, e, f = self.affine
        return np.stack((a * xy[:, 0] + b * xy[:, 1] + c, d * xy[:, 0] + e * xy[:, 1] + f), axis=1)

    def from_source(self, points: npt.ArrayLike) -> Points:
        """Points of the source plane (n, 2) -> the same points in this plane (n, 2)."""
        xy = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        a, b, c, d, e, f = self.affine
        det = a * e - b * d
        x, y = xy[:, 0] - c, xy[:, 1] - f
        return np.stack(((e * x - b * y) / det, (a * y - d * x) / det), axis=1)

    def spacing(
        self, x: float | None = None, y: float | None = None, *, sources: Collection[str] = IN_THE_PATIENT
    ) -> Spacing | None:
        """Size of a source pixel, at a source point if given; ``None`` when none of ``sources`` says.

        A region that holds the point and calibrates wins over Pixel Spacing, as PS3.3 C.8.5.5.1 has regions calibrate
        only their own pixels. Where a region shows no plane of the patient (a spectrum, M-mode), nothing else does.
        """
        here = [region for region in self.regions if x is None or y is None or region.contains(x, y)]
        for region in here:
            if region.delta_x_mm is not None and region.delta_y_mm is not None and REGION in sources:
                return Spacing(abs(region.delta_y_mm), abs(region.delta_x_mm), REGION)
        in_a_curve = x is not None and y is not None and not all(region.is_plane for region in here)
        if self.pixel_spacing_mm is None or self.spacing_from not in sources or in_a_curve:
            return None
        return Spacing(*self.pixel_spacing_mm, self.spacing_from)

    def spacing_mm(self, x: float | None = None, y: float | None = None) -> tuple[float, float] | None:
        """Millimetres of the anatomy per source pixel (between rows, between columns); see ``spacing``."""
        known = self.spacing(x, y)
        return None if known is None else (known.between_rows_mm, known.between_columns_mm)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Window Center and Width (0028,1050/1051), in units after the Modality LUT."""

    center: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lut:
    """A Modality or VOI LUT item (PS3.3 C.11.1, C.11.2): ``data[clip(v - first, 0, n - 1)]``."""

    first: int
    data: Array
    bits: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grayscale:
    """What the header says about turning stored values into grey levels (PS3.3 C.11)."""

    rescale_slope: float = 1.0
    rescale_intercept: float = 0.0
    modality_lut: Lut | None = None
    windows: tuple[Window, ...] = ()
    voi_luts: tuple[Lut, ...] = ()
    voi_lut_function: str = "LINEAR"
    pixel_padding: tuple[int, int] | None = None
    """Inclusive range of stored values that are padding (0028,0120/0121)."""
    unusable: Mapping[str, Note] = field(default_factory=dict)
    """What the header states and cannot mean, by the field here that it would have filled. Not the same as absent."""

    def require(self, *fields: str) -> None:
        """Say so before these fields are used: where the header states one in a way that makes no sense, its value
        here is only that of an absent one.

        Raises:
            DicomRejected: ``dicom.bad-value``, naming the attribute.
        """
        for name in fields:
            if name in self.unusable:
                what = self.unusable[name].text.partition("; ")[0]
                raise DicomRejected(f"a step needs what the header states wrongly: {what}", code="dicom.bad-value")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One decoded image plane.

    Attributes:
        pixels: (rows, columns) or (rows, columns, samples), C order, native byte order, any
            numeric dtype. Treat as read-only: it may be a memory map of the file.
        number: from 1, as DICOM counts frames.
        photometric_interpretation: of ``pixels`` as they are now, not as in the file.
        bits_stored: significant bits of the stored values (for full-range scaling).
        stored_units: True while ``pixels`` are stored values, False once the Modality LUT or a
            window has been applied.
        whole_range: of stored values that have become fractions (means of few levels), the least and the greatest
            whole number that they could have been; ``None`` for pixels that are whole numbers, and for float pixel
            data. Means nothing once ``stored_units`` is False.
        notes: what whoever decoded or transformed it has to say to the reader of the result.
    """

    pixels: Array
    number: int
    geometry: Geometry
    instance: InstanceRef
    photometric_interpretation: str = "MONOCHROME2"
    bits_stored: int = 8
    stored_units: bool = True
    grayscale: Grayscale = field(default_factory=Grayscale)
    whole_range: tuple[int, int] | None = None
    notes: tuple[Note, ...] = ()

    @property
    def rows(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])

    @property
    def columns(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    @property
    def samples(self) -> int:
        """1 for grey, else the number of colour planes."""
        return 1 if self.pixels.ndim == 2 else int(self.pixels.shape[2])
