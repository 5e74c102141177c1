"""The self-test's phantom: an image that nobody took, written so that nobody can take it for one."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from edgeai.api import Array, InstanceRef
from edgeai.dicom.header import read_header
from edgeai.selftest import MANUFACTURER, MODEL_NAME, UID_ROOT

LEAST_SIDE: Final = 256
Photometric = Literal["MONOCHROME2", "MONOCHROME1", "RGB", "YBR_FULL"]
PHOTOMETRIC: Final[tuple[Photometric, ...]] = ("MONOCHROME2", "MONOCHROME1", "RGB", "YBR_FULL")
"""What can be written."""

_STORAGE: Final = "1.2.840.10008.5.1.4.1.1"
_CLASSES: Final = {
    "CR": f"{_STORAGE}.1",
    "CT": f"{_STORAGE}.2",
    "DX": f"{_STORAGE}.1.1",
    "MG": f"{_STORAGE}.1.2",
    "MR": f"{_STORAGE}.4",
    "NM": f"{_STORAGE}.20",
    "PT": f"{_STORAGE}.128",
    "US": f"{_STORAGE}.6.1",
    "XA": f"{_STORAGE}.12.1",
}
"""Modality -> the SOP Class of its single-frame images (PS3.4 B.5)."""
_SECONDARY_CAPTURE: Final = f"{_STORAGE}.7"
_TWELVE_BITS: Final = ("CR", "CT", "DX", "MG", "MR", "NM", "PT", "XA")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitter:
    """What a phantom shall look like to whoever decides what to do with it."""

    modality: str = "OT"
    sop_class_uid: str = ""
    body_part_examined: str = ""
    view_position: str = ""
    photometric_interpretation: Photometric = "MONOCHROME2"
    rows: int = LEAST_SIDE
    columns: int = LEAST_SIDE


def write_phantom(path: Path, sitter: Sitter) -> InstanceRef:
    """Write a phantom that nobody has seen before, and read back what it is.

    Raises:
        DicomRejected: the values of ``sitter`` make no instance.
    """
    data = Dataset()
    data.SOPClassUID = sitter.sop_class_uid or _CLASSES.get(sitter.modality, _SECONDARY_CAPTURE)
    _identify(data, sitter)
    _draw(data, sitter)
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.save_as(path, enforce_file_format=True)
    return read_header(path).instance


def _identify(data: Dataset, sitter: Sitter) -> None:
    # 62 of the 64 characters that a UID may have (PS3.5 9.1).
    stem = f"{UID_ROOT}.{int(time.time())}"
    new_uid: Callable[[], str] = lambda: f"{stem}.{100_000 + secrets.randbelow(900_000)}"  # noqa: E731
    data.SOPInstanceUID, data.SeriesInstanceUID, data.StudyInstanceUID = new_uid(), new_uid(), new_uid()
    data.PatientName, data.PatientID = "SELFTEST^EDGEAI", "EDGEAI-SELFTEST"
    data.PatientBirthDate = data.PatientSex = ""
    data.Modality, data.Manufacturer, data.ManufacturerModelName = sitter.modality, MANUFACTURER, MODEL_NAME
    data.StudyDescription = data.SeriesDescription = "edgeai self-test: a phantom, no patient"
    data.ImageType = ["DERIVED", "SECONDARY"]
    data.QualityControlImage = "YES"
    data.BurnedInAnnotation = "NO"
    data.InstanceNumber = data.SeriesNumber = 1
    now = time.localtime()
    data.StudyDate, data.StudyTime = time.strftime("%Y%m%d", now), time.strftime("%H%M%S", now)
    if sitter.body_part_examined:
        data.BodyPartExamined = sitter.body_part_examined
    if sitter.view_position:
        data.ViewPosition = sitter.view_position


def _draw(data: Dataset, sitter: Sitter) -> None:
    """Image Pixel module (PS3.3 C.7.6.3): a bright disc and a square on a ramp, with a little noise."""
    picture = _picture(sitter.rows, sitter.columns)
    colour = sitter.photometric_interpretation in ("RGB", "YBR_FULL")
    wide = sitter.modality in _TWELVE_BITS and not colour
    pixels = (picture * (4095 if wide else 255)).astype("<u2" if wide else "u1")
    if colour:
        planes = [pixels, np.full_like(pixels, 128), np.full_like(pixels, 128)]
        pixels = np.stack(planes if sitter.photometric_interpretation == "YBR_FULL" else [pixels] * 3, axis=-1)
        data.PlanarConfiguration = 0
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = sitter.photometric_interpretation
    data.Rows, data.Columns = sitter.rows, sitter.columns
    data.BitsAllocated, data.BitsStored = (16, 12) if wide else (8, 8)
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, 0
    raw = pixels.tobytes()
    data.PixelData = raw + b"\0" * (len(raw) % 2)
    data["PixelData"].VR = "OW" if wide else "OB"


def _picture(rows: int, columns: int) -> Array:
    """Grey levels from 0 to 1."""
    down, across = np.mgrid[0:rows, 0:columns]
    x, y = across / max(columns - 1, 1), down / max(rows - 1, 1)
    picture = 0.1 + 0.4 * x + 0.1 * y
    picture[np.hypot(x - 0.4, y - 0.45) < 0.18] = 0.9
    picture[(abs(x - 0.75) < 0.1) & (abs(y - 0.7) < 0.1)] = 0.05
    noise = np.random.default_rng(0).normal(0.0, 0.01, picture.shape)
    return np.asarray(np.clip(picture + noise, 0.0, 1.0))
