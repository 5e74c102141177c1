"""File in page cache -> findings of a radiograph: uncompressed, and JPEG 2000."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import generate_frames

from benchmarks.agreement import agreement
from benchmarks.material import SIDE, write_xray
from benchmarks.timing import Row, paired
from edgeai.api import OpenRequest, Session
from edgeai.bundle.reader import Bundle, open_bundle
from edgeai.dicom.header import read_header
from edgeai.model import Model, open_model
from edgeai.plugins import Registry

BACKENDS = ("tflite", "openvino")
CORES = len(os.sched_getaffinity(0))


def bare_session(bundle: Bundle, backend: str, threads: int = CORES) -> Session:
    """The same artifact on the same engine, without anything of the runtime around it."""
    spec = Registry.of([backend]).backends[backend]
    manifest = bundle.manifest
    artifact = next(item for item in manifest.artifacts if item.format == spec.artifact_format)
    request = OpenRequest(
        artifact=bundle.root / artifact.path,
        device="CPU",
        inputs=manifest.input_specs(),
        outputs=manifest.output_specs(),
        threads=threads,
        options=artifact.options,
    )
    return spec.open(request)


def model_input() -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(0).random((1, SIDE, SIDE, 1), np.float32)}


def completed(model: Model, path: Path) -> None:
    result = model.run_file(path)
    assert result.outcome == "completed", result.reason


def uncompressed(folder: Path, bundle_path: Path, rounds: int) -> Iterator[Row]:
    """A 15 MB detector image against mmap, one integer-ratio area pass and the bare engine."""
    path = write_xray(folder / "xray.dcm")
    layout = read_header(path).pixels
    assert layout is not None
    bundle, tensors = open_bundle(bundle_path), model_input()
    for backend in BACKENDS:
        session = bare_session(bundle, backend)

        def limit(session: Session = session) -> None:
            pixels = np.memmap(path, np.uint16, "r", layout.offset, (3000, 2500))
            cv2.resize(pixels[: 13 * 224, : 13 * 187], (187, 224), interpolation=cv2.INTER_AREA)
            session.run(tensors)

        with open_model(bundle, backends=[backend], threads=CORES) as model:
            found = paired(lambda model=model: completed(model, path), limit, rounds=rounds)  # type: ignore[misc]
        session.close()
        yield Row(
            case=f"X-ray uncompressed, {backend}",
            ours=f"{found.ours_ms:.1f} ms",
            limit=f"{found.limit_ms:.1f} ms: mmap, one area pass, bare engine",
            ratio=found.ratio,
            spread=found.spread,
            bound=1.6,
            notes=(agreement(bundle, path),) if backend == BACKENDS[0] else (),
        )


def jpeg2000(folder: Path, bundle_path: Path, rounds: int) -> Iterator[Row]:
    """The same as JPEG 2000 lossless, against the reduced-resolution decode and the bare engine."""
    path = write_xray(folder / "xray-j2k.dcm", compressed=True)
    stream = next(generate_frames(dcmread(path).PixelData, number_of_frames=1))
    bundle, tensors = open_bundle(bundle_path), model_input()
    for backend in BACKENDS:
        session = bare_session(bundle, backend)

        def limit(session: Session = session) -> None:
            image = Image.open(io.BytesIO(stream))
            image.reduce = 3  # 375x313: the smallest level whose sides are not under 224
            image.load()
            session.run(tensors)

        with open_model(bundle, backends=[backend], threads=CORES) as model:
            found = paired(lambda model=model: completed(model, path), limit, rounds=rounds)  # type: ignore[misc]
        session.close()
        yield Row(
            case=f"X-ray JPEG 2000, {backend}",
            ours=f"{found.ours_ms:.1f} ms",
            limit=f"{found.limit_ms:.1f} ms: reduced decode, bare engine",
            ratio=found.ratio,
            spread=found.spread,
            bound=1.3,
            notes=(agreement(bundle, path),) if backend == BACKENDS[0] else (),
        )
