"""Small DICOM files, written by pydicom so that what edgeai reads was written by another's code."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom.data
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian

from edgeai.testing.raw_dicom import raw_bytes
from edgeai.testing.require import require

Build = Callable[..., Path]


def data_set(syntax: str = ExplicitVRLittleEndian, **attributes: Any) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1.1")
    meta.MediaStorageSOPInstanceUID = UID("1.2.826.0.1.3680043.10.9999.7")
    uid = UID(syntax)
    made = FileDataset(
        "",
        {},
        file_meta=meta,
        preamble=b"\0" * 128,
        is_implicit_VR=uid.is_implicit_VR,
        is_little_endian=uid.is_little_endian,
    )
    made.SOPClassUID = meta.MediaStorageSOPClassUID
    made.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    made.PatientName, made.PatientID, made.Modality = "SECRET^NAME", "SECRET-ID", "DX"
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def describe(dataset: Dataset, pixels: np.ndarray, photometric: str, **attributes: Any) -> None:
    """The Image Pixel module of (frames, rows, columns, samples) or fewer axes."""
    grey = photometric in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
    shape = pixels.shape if grey else pixels.shape[:-1]
    dataset.Rows, dataset.Columns = shape[-2:]
    if len(shape) == 3:
        dataset.NumberOfFrames = shape[0]
    dataset.SamplesPerPixel = 1 if grey else 3
    dataset.PhotometricInterpretation = photometric
    if not grey:
        dataset.PlanarConfiguration = 0
    bits = pixels.dtype.itemsize * 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """build(pixels, photometric="MONOCHROME2", syntax=..., data=bytes, frames=[bytes], **attributes) -> a file."""
    made = 0

    def make(
        pixels: np.ndarray | None = None,
        photometric: str = "MONOCHROME2",
        syntax: str = ExplicitVRLittleEndian,
        data: bytes | None = None,
        frames: list[bytes] | None = None,
        **attributes: Any,
    ) -> Path:
        nonlocal made
        made += 1
        dataset = data_set(syntax)
        if pixels is not None:
            describe(dataset, pixels, photometric)
            raw = data if data is not None else pixels.tobytes()
            if frames is not None:
                raw = encapsulate(frames)
            dataset.PixelData = raw + b"\0" * (len(raw) % 2)
            if frames is not None:
                dataset["PixelData"].VR = "OB"
                dataset["PixelData"].is_undefined_length = True
        for keyword, value in attributes.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        path = tmp_path / f"{made}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        return path

    return make


@pytest.fixture(scope="session")
def pydicom_files() -> list[Path]:
    """Every DICOM file in pydicom's own wheel."""
    folder = Path(pydicom.data.__file__).parent / "test_files"
    return sorted(folder.glob("*.dcm"))


@pytest.fixture
def raw(tmp_path: Path) -> Callable[..., Path]:
    """raw(*elements, pixel_data=..., syntax=...) -> a file of ``raw_bytes``."""
    made = 0

    def make(*elements: bytes, **how: Any) -> Path:
        nonlocal made
        made += 1
        path = tmp_path / f"raw-{made}.dcm"
        path.write_bytes(raw_bytes(*elements, **how))
        return path

    return make


def _of_dcmtk(name: str) -> str:
    program = shutil.which(name)
    require("dcmtk", program is not None, f"{name} is not installed; apt-get install dcmtk")
    assert program is not None
    return program


@pytest.fixture(scope="session")
def dcm2pnm() -> str:
    """Path of DCMTK's program that renders images."""
    return _of_dcmtk("dcm2pnm")


@pytest.fixture(scope="session")
def dcmj2pnm() -> str:
    """Path of the one that renders JPEG too."""
    return _of_dcmtk("dcmj2pnm")


@pytest.fixture(scope="session")
def dcmcjpeg() -> str:
    """Path of the one that makes JPEG of an image."""
    return _of_dcmtk("dcmcjpeg")
