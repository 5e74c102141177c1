"""What is measured on: synthetic images of the sizes that matter, and 224-pixel classifiers with untrained weights.

Speed does not depend on what the weights are. ``small`` has three convolutions, as the small X-ray models have;
``mobilenet`` is MobileNetV2, the usual size for ultrasound.
"""

from __future__ import annotations

import functools
import io
import subprocess
import sys
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
SIDE = 224
LABELS = ["a", "b", "c"]


def xray_pixels() -> npt.NDArray[np.uint16]:
    """3000x2500, 12 bits in 16: smooth shadows, edges and detector noise."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:XRAY_ROWS, 0:XRAY_COLUMNS].astype(np.float32)
    body = 2000 + 1200 * np.sin(x / 400) * np.cos(y / 500) + 300 * (np.sin(y / 40) > 0.6)
    noisy = body + rng.normal(0, 12, body.shape).astype(np.float32)
    return np.clip(noisy, 0, 4095).astype(np.uint16)


def write_xray(path: Path, *, compressed: bool = False) -> Path:
    """A DX instance, uncompressed or JPEG 2000 lossless."""
    dataset = _dataset("DX", DigitalXRayImageStorageForPresentation, xray_pixels().shape)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    dataset.PixelData = xray_pixels().tobytes()
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


def built(folder: Path, network: str) -> Path:
    """The bundle, made once, in a process of its own: TensorFlow's threads and memory are gone before measuring."""
    path = folder / f"{network}-1.0.0.edgeai"
    if not path.exists():
        write = "import pathlib, sys; from benchmarks import material; "
        write += "material.write_bundle(pathlib.Path(sys.argv[1]), sys.argv[2])"
        subprocess.run([sys.executable, "-c", write, str(folder), network], check=True, capture_output=True)
    return path


def write_bundle(folder: Path, network: str) -> Path:
    """The 224-pixel classifier as a bundle with an fp32 artifact for LiteRT and for OpenVINO."""
    from edgeai.api import ConvertRequest, TensorSpec
    from edgeai.bundle.archive import pack
    from edgeai.bundle.manifest import ArtifactDecl, FrameUse, Manifest, PixelUse, Step, TaskUse, TensorDecl
    from edgeai.plugins import Registry

    model = _NETWORKS[network](folder / f"{network}.keras")
    inputs = TensorDecl(name="image", dtype="float32", shape=(1, SIDE, SIDE, 1), layout="NHWC")
    outputs = TensorDecl(name="logits", dtype="float32", shape=(1, len(LABELS)), layout="NC")
    registry = Registry.of(["tflite", "openvino"])
    staging = folder / network
    artifacts = []
    for backend in ("tflite", "openvino"):
        where = staging / backend
        where.mkdir(parents=True)
        specs: tuple[tuple[TensorSpec, ...], ...] = ((inputs.spec(),), (outputs.spec(),))
        request = ConvertRequest(model=model, output=where, precision="fp32", inputs=specs[0], outputs=specs[1])
        converted = registry.converters[backend].convert(request)
        artifacts.append(
            ArtifactDecl(
                id=f"{backend}-fp32",
                format=backend,
                precision="fp32",
                path=str(converted.artifact.relative_to(staging)),
                options=dict(converted.options),
            )
        )
    manifest = Manifest(
        name=network,
        version="1.0.0",
        release=1,
        min_edgeai="0.1",
        intended_use="Measuring speed; the weights are untrained.",
        licence="Apache-2.0",
        plugins=("transforms", "classify"),
        pixels=PixelUse(fast=("luma", "smallest")),
        frames=FrameUse(select="all"),
        transforms=(
            Step(transform="grey"),
            Step(transform="letterbox", options={"rows": SIDE, "columns": SIDE, "two_pass": True, "margin": 1}),
            Step(transform="invert"),
            Step(transform="window", options={"mode": "percentile", "output": "unit"}),
        ),
        task=TaskUse(
            name="classify",
            options={"mode": "multi-class", "activation": "softmax", "labels": LABELS, "per_frame": True},
        ),
        inputs=(inputs,),
        outputs=(outputs,),
        artifacts=tuple(artifacts),
    )
    path = folder / f"{network}-1.0.0.edgeai"
    pack(staging, manifest, path)
    return path


def _small(path: Path) -> Path:
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((SIDE, SIDE, 1), batch_size=1, name="image")
    x = image
    for filters in (16, 32, 64):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.GlobalAveragePooling2D()(x)
    keras.Model(image, layers.Dense(len(LABELS), name="logits")(x)).save(path)
    return path


def _mobilenet(path: Path) -> Path:
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((SIDE, SIDE, 1), batch_size=1, name="image")
    body = keras.applications.MobileNetV2(input_tensor=image, weights=None, include_top=False, pooling="avg")
    keras.Model(image, keras.layers.Dense(len(LABELS), name="logits")(body.output)).save(path)
    return path


_NETWORKS = {"small": _small, "mobilenet": _mobilenet}
