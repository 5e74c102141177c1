"""What is measured on: synthetic images of the sizes that matter."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

XRAY_ROWS, XRAY_COLUMNS = 3000, 2500
CINE_FRAMES, CINE_ROWS, CINE_COLUMNS = 60, 600, 800


def xray_pixels(*, textured: bool = False) -> npt.NDArray[np.uint16]:
    """3000x2500, 12 bits in 16: smooth shadows, edges and detector noise; ``textured``: some that outlives a resize.

    Without it the model's input is as smooth as a test pattern, which the look at the content withholds.
    """
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:XRAY_ROWS, 0:XRAY_COLUMNS].astype(np.float32)
    body = 2000 + 1200 * np.sin(x / 400) * np.cos(y / 500) + 300 * (np.sin(y / 40) > 0.6)
    noisy = body + rng.normal(0, 12, body.shape).astype(np.float32)
    if textured:
        coarse = rng.normal(0, 80, (-(-XRAY_ROWS // 16), -(-XRAY_COLUMNS // 16))).astype(np.float32)
        noisy += coarse.repeat(16, 0).repeat(16, 1)[:XRAY_ROWS, :XRAY_COLUMNS]
    return np.clip(noisy, 0, 4095).astype(np.uint16)


def write_xray(path: Path, *, compressed: bool = False, textured: bool = False) -> Path:
    """A DX instance, uncompressed or JPEG 2000 lossless."""
    dataset = _dataset("DX", DigitalXRayImageStorageForPresentation, (XRAY_ROWS, XRAY_COLUMNS))
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    dataset.PixelData = xray_pixels(textured=textured).tobytes()
    dataset["PixelData"].VR = "OW"
    if compressed:
        dataset.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg")
    dataset.save_as(path, enforce_file_format=True)
    return path


@functools.cache
def cine_frames() -> tuple[bytes, ...]:
    """60 colour JPEG streams of 800x600: a grey sector of speckle that moves, as ultrasound carts write it."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[0:CINE_ROWS, 0:CINE_COLUMNS].astype(np.float32)
    radius, angle = np.hypot(x - CINE_COLUMNS / 2, y), np.abs(np.arctan2(x - CINE_COLUMNS / 2, y))
    sector = (radius < 560) & (angle < 0.7)
    streams = []
    for number in range(CINE_FRAMES):
        speckle = np.asarray(
            Image.fromarray(rng.integers(0, 256, (CINE_ROWS // 3, CINE_COLUMNS // 3), np.uint8)).resize(
                (CINE_COLUMNS, CINE_ROWS), Image.Resampling.BICUBIC
            )
        )
        grey = np.where(sector, speckle * (0.4 + 0.3 * np.sin(radius / 60 + number / 5)), 0).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).save(buffer, "JPEG", quality=90, subsampling=1)
        streams.append(buffer.getvalue())
    return tuple(streams)


def write_cine(path: Path) -> Path:
    """A US multi-frame instance of ``cine_frames``."""
    dataset = _dataset("US", UltrasoundMultiFrameImageStorage, (CINE_ROWS, CINE_COLUMNS))
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "YBR_FULL_422", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.NumberOfFrames, dataset.FrameTime = CINE_FRAMES, 33.3
    dataset.LossyImageCompression, dataset.LossyImageCompressionMethod = "01", "ISO_10918_1"
    dataset.PixelData = encapsulate(list(cine_frames()))
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_xray_jpeg(path: Path, *, textured: bool = False) -> Path:
    """The radiograph's upper 8 bits as a baseline JPEG, as exports and film scanners write it."""
    dataset = _dataset("DX", DigitalXRayImageStorageForPresentation, (XRAY_ROWS, XRAY_COLUMNS))
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.LossyImageCompression, dataset.LossyImageCompressionMethod = "01", "ISO_10918_1"
    buffer = io.BytesIO()
    Image.fromarray((xray_pixels(textured=textured) >> 4).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    dataset.PixelData = encapsulate([buffer.getvalue()])
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path, enforce_file_format=True)
    return path


def _dataset(modality: str, sop_class: str, shape: tuple[int, ...]) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, 1
    dataset.Modality, dataset.PatientID, dataset.PatientName = modality, "BENCH", "Bench^Mark"
    dataset.Rows, dataset.Columns = shape
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset
