"""Synthetic DICOM instances: pictures that nobody is in, written as real files.

``write_instance`` takes an array and gives a file and its ``InstanceRef``; the pictures (``ramp``,
``disc``, ``cine``) are smooth and asymmetric, so that a flip, a shift or a wrong window shows.
Each file carries a patient's name and number that must never turn up anywhere: ``PATIENT_NAME``, ``PATIENT_ID``.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from edgeai.api import Array, InstanceRef, UltrasoundRegion, Window

PATIENT_NAME = "Phantom^Never^Shown"
PATIENT_ID = "NEVER-SHOWN-0815"

SOP_CLASSES = {
    "US": "1.2.840.10008.5.1.4.1.1.6.1",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "SC": "1.2.840.10008.5.1.4.1.1.7",
}
ULTRASOUND_MULTIFRAME = "1.2.840.10008.5.1.4.1.1.3.1"

NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
LOSSLESS = (RLELossless, JPEGLSLossless, JPEG2000Lossless)

_series = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Phantom:
    """A written instance: where it is, what it is, and the values that were written."""

    path: Path
    instance: InstanceRef
    pixels: Array


# --- pictures ---------------------------------------------------------------------------------


def ramp(rows: int = 96, columns: int = 128, dtype: str = "uint8", bits: int | None = None) -> Array:
    """A ramp that rises to the right and, less, downwards, over the range of ``bits`` (signed: half below zero)."""
    kind = np.dtype(dtype)
    bits = bits or kind.itemsize * 8
    y, x = np.mgrid[0:rows, 0:columns]
    share = (0.75 * x / max(columns - 1, 1)) + 0.25 * (y / max(rows - 1, 1))
    low = -(2 ** (bits - 1)) if kind.kind == "i" else 0
    return np.asarray((low + share * (2**bits - 1)).astype(kind))


def disc(rows: int = 96, columns: int = 128, *, x: float = 0.4, y: float = 0.45, radius: float = 0.15) -> Array:
    """A bright disc on a dark ramp, uint8; centre and radius as shares of the width, height and lesser extent."""
    down, across = np.mgrid[0:rows, 0:columns]
    distance = np.hypot(across + 0.5 - x * columns, down + 0.5 - y * rows)
    picture = ramp(rows, columns).astype(np.float64) * 0.3
    picture[distance <= radius * min(rows, columns)] = 230.0
    return np.asarray(picture.astype(np.uint8))


def cine(frames: int = 5, rows: int = 48, columns: int = 64) -> Array:
    """A disc that wanders to the right, (frames, rows, columns), uint8."""
    return np.stack([disc(rows, columns, x=0.2 + 0.6 * n / max(frames - 1, 1)) for n in range(frames)])


# --- files ------------------------------------------------------------------------------------


def write_instance(
    path: Path,
    pixels: Array | None = None,
    *,
    modality: str = "US",
    transfer_syntax: str = ExplicitVRLittleEndian,
    sop_instance_uid: str | None = None,
    series_instance_uid: str | None = None,
    study_instance_uid: str | None = None,
    sop_class_uid: str | None = None,
    photometric_interpretation: str | None = None,
    bits_stored: int | None = None,
    frames: bool | None = None,
    pixel_spacing_mm: tuple[float, float] | None = None,
    windows: Sequence[Window] = (),
    rescale: tuple[float, float] | None = None,
    regions: Sequence[UltrasoundRegion] = (),
    attributes: Mapping[str, Any] | None = None,
) -> Phantom:
    """Write one DICOM file (PS3.10) with these pixels; folders are made.

    Args:
        path: the file.
        pixels: (rows, columns), (rows, columns, 3), or either with frames first; ``ramp()`` by default.
        frames: whether the first axis is frames; by default where there are four axes, or three and the last is not 3.
        modality: Modality (0008,0060); it decides the SOP class too unless that is given.
        transfer_syntax: one of ``NATIVE`` or ``LOSSLESS``, or JPEG baseline (8 bits, lossy).
            JPEG 2000 needs planes of 32 pixels or more each way.
        sop_instance_uid: a fresh one by default; so are the two of the series and the study.
        series_instance_uid: see there.
        study_instance_uid: see there.
        sop_class_uid: instead of the one that goes with ``modality``.
        photometric_interpretation: by default MONOCHROME2 or RGB.
        bits_stored: by default all bits of the dtype.
        pixel_spacing_mm: Pixel Spacing, (between rows, between columns).
        windows: Window Center and Width, in this order.
        regions: Sequence of Ultrasound Regions.
        rescale: (slope, intercept).
        attributes: further attributes by keyword; ``None`` removes one. They win over everything.
    """
    pixels = ramp() if pixels is None else np.asarray(pixels)
    many = frames if frames is not None else pixels.ndim == 4 or (pixels.ndim == 3 and pixels.shape[-1] != 3)
    stack = pixels if many else pixels[np.newaxis]
    data = Dataset()
    data.SOPClassUID = sop_class_uid or (
        ULTRASOUND_MULTIFRAME if many and modality == "US" else SOP_CLASSES.get(modality, SOP_CLASSES["SC"])
    )
    _identify(data, modality, sop_instance_uid, series_instance_uid, study_instance_uid)
    _describe_pixels(data, stack, photometric_interpretation, bits_stored, many)
    _describe_values(data, pixel_spacing_mm, windows, rescale, regions)
    _write_pixels(data, stack, transfer_syntax)
    _override(data, attributes or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return Phantom(path=path, instance=_instance_of(data), pixels=pixels)


def _identify(data: Dataset, modality: str, instance: str | None, series: str | None, study: str | None) -> None:
    """Who and what: the Patient, Study, Series and Equipment modules."""
    data.SOPInstanceUID = instance or generate_uid()
    data.SeriesInstanceUID = series or generate_uid()
    data.StudyInstanceUID = study or generate_uid()
    data.Modality = modality
    data.PatientName, data.PatientID, data.PatientBirthDate, data.PatientSex = PATIENT_NAME, PATIENT_ID, "19010203", "O"
    data.StudyDate, data.StudyTime, data.AccessionNumber = "20240229", "101112", "ACC-NEVER-SHOWN"
    data.InstanceNumber, data.SeriesNumber = next(_series), 1
    data.Manufacturer, data.ManufacturerModelName = "Phantom Works", "Ramp 1"


def _override(data: Dataset, attributes: Mapping[str, Any]) -> None:
    for keyword, value in attributes.items():
        if value is None:
            data.pop(keyword, None)
        else:
            setattr(data, keyword, value)


def _describe_pixels(data: Dataset, stack: Array, photometric: str | None, bits_stored: int | None, many: bool) -> None:
    """Image Pixel module, PS3.3 C.7.6.3."""
    samples = stack.shape[3] if stack.ndim == 4 else 1
    data.SamplesPerPixel = samples
    data.PhotometricInterpretation = photometric or ("RGB" if samples == 3 else "MONOCHROME2")
    if samples > 1:
        data.PlanarConfiguration = 0
    data.Rows, data.Columns = stack.shape[1:3]
    if many:
        data.NumberOfFrames = stack.shape[0]
    data.BitsAllocated = stack.dtype.itemsize * 8
    data.BitsStored = bits_stored or data.BitsAllocated
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(stack.dtype.kind == "i")


def _describe_values(
    data: Dataset,
    pixel_spacing_mm: tuple[float, float] | None,
    windows: Sequence[Window],
    rescale: tuple[float, float] | None,
    regions: Sequence[UltrasoundRegion],
) -> None:
    if pixel_spacing_mm:
        data.PixelSpacing = list(pixel_spacing_mm)
    if windows:
        data.WindowCenter = [window.center for window in windows]
        data.WindowWidth = [window.width for window in windows]
    if rescale:
        data.RescaleSlope, data.RescaleIntercept = rescale
        data.RescaleType = "US"
    if regions:
        data.SequenceOfUltrasoundRegions = [_region(region) for region in regions]


def _region(region: UltrasoundRegion) -> Dataset:
    """One item of Sequence of Ultrasound Regions, PS3.3 C.8.5.5; units 3 are centimetres."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = region.spatial_format, region.data_type, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = region.min_x0, region.min_y0
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = region.max_x1, region.max_y1
    known = region.delta_x_mm is not None and region.delta_y_mm is not None
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3 if known else 0
    item.PhysicalDeltaX = (region.delta_x_mm or 0.0) / 10
    item.PhysicalDeltaY = (region.delta_y_mm or 0.0) / 10
    return item


def _write_pixels(data: Dataset, stack: Array, transfer_syntax: str) -> None:
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    order: Literal[">", "<"] = ">" if transfer_syntax == ExplicitVRBigEndian else "<"
    raw = np.ascontiguousarray(stack.astype(stack.dtype.newbyteorder(order))).tobytes()
    wide = data.BitsAllocated > 8
    if transfer_syntax == JPEGBaseline8Bit:
        data.PixelData = encapsulate([_jpeg(plane) for plane in stack])
        data["PixelData"].VR = "OB"
        if data.SamplesPerPixel == 3:
            data.PhotometricInterpretation = "YBR_FULL_422"
    else:
        data.PixelData = raw + b"\x00" * (len(raw) % 2)
        data["PixelData"].VR = "OW" if wide else "OB"
    if transfer_syntax in LOSSLESS:
        # Named, because the first encoder that pydicom would take, GDCM's for RLE, aborts on small planes.
        encoder = "pyjpegls" if transfer_syntax == JPEGLSLossless else "pylibjpeg"
        data.compress(transfer_syntax, encoding_plugin=encoder, generate_instance_uid=False)
    data.file_meta.TransferSyntaxUID = UID(transfer_syntax)


def _jpeg(plane: Array) -> bytes:
    file = io.BytesIO()
    Image.fromarray(plane).save(file, "JPEG", quality=90, subsampling="4:2:2")
    return file.getvalue()


def _instance_of(data: Dataset) -> InstanceRef:
    return InstanceRef(
        sop_class_uid=str(data.SOPClassUID),
        sop_instance_uid=str(data.SOPInstanceUID),
        series_instance_uid=str(data.get("SeriesInstanceUID", "")),
        study_instance_uid=str(data.get("StudyInstanceUID", "")),
        modality=str(data.get("Modality", "")),
        transfer_syntax_uid=str(data.file_meta.TransferSyntaxUID),
        rows=int(data.Rows),
        columns=int(data.Columns),
        number_of_frames=int(data.get("NumberOfFrames", 1)),
        samples_per_pixel=int(data.SamplesPerPixel),
        photometric_interpretation=str(data.PhotometricInterpretation),
        bits_stored=int(data.BitsStored),
        body_part_examined=str(data.get("BodyPartExamined", "")),
        view_position=str(data.get("ViewPosition", "")),
        manufacturer=str(data.get("Manufacturer", "")),
        manufacturer_model_name=str(data.get("ManufacturerModelName", "")),
    )
