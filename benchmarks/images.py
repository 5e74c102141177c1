"""File in page cache -> findings: uncompressed and JPEG 2000 radiographs, and a JPEG cine."""

from __future__ import annotations

import io
import statistics
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import generate_frames

from benchmarks.material import SIDE, cine_frames, write_cine, write_xray
from benchmarks.timing import Row, milliseconds, paired
from edgeai.api import OpenRequest, Session
from edgeai.bundle.reader import Bundle, open_bundle
from edgeai.dicom.header import read_header
from edgeai.model import Model, open_model
from edgeai.plugins import Registry

BACKENDS = ("tflite", "openvino")
ROUNDS = 25
THREADS = 2


def bare_session(bundle: Bundle, backend: str) -> Session:
    """The same artifact on the same engine, without anything of the runtime around it."""
    spec = Registry.of([backend]).backends[backend]
    manifest = bundle.manifest
    artifact = next(item for item in manifest.artifacts if item.format == spec.artifact_format)
    request = OpenRequest(
        artifact=bundle.root / artifact.path,
        device="CPU",
        inputs=manifest.input_specs(),
        outputs=manifest.output_specs(),
        threads=THREADS,
        options=artifact.options,
    )
    return spec.open(request)


def _input() -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(0).random((1, SIDE, SIDE, 1), np.float32)}


def _completed(model: Model, path: Path) -> None:
    result = model.run_file(path)
    assert result.outcome == "completed", result.reason


def uncompressed(folder: Path, bundle_path: Path) -> Iterator[Row]:
    """A 15 MB detector image against mmap, one integer-ratio area pass and the bare engine."""
    path = write_xray(folder / "xray.dcm")
    layout = read_header(path).pixels
    assert layout is not None
    bundle, tensors = open_bundle(bundle_path), _input()
    for backend in BACKENDS:
        session = bare_session(bundle, backend)

        def limit(session: Session = session) -> None:
            pixels = np.memmap(path, np.uint16, "r", layout.offset, (3000, 2500))
            cv2.resize(pixels[: 13 * 224, : 13 * 187], (187, 224), interpolation=cv2.INTER_AREA)
            session.run(tensors)

        with open_model(bundle, backends=[backend], threads=THREADS) as model:
            found = paired(lambda model=model: _completed(model, path), limit, rounds=ROUNDS)  # type: ignore[misc]
        session.close()
        yield Row(
            case=f"X-ray 15 MB uncompressed, {backend}",
            ours=f"{found.ours_ms:.1f} ms",
            limit=f"{found.limit_ms:.1f} ms (mmap, one area pass, bare engine)",
            ratio=found.ratio,
            spread=found.spread,
            bound=1.6,
        )


def jpeg2000(folder: Path, bundle_path: Path) -> Iterator[Row]:
    """The same as JPEG 2000 lossless, against the reduced-resolution decode and the bare engine."""
    path = write_xray(folder / "xray-j2k.dcm", compressed=True)
    stream = next(generate_frames(dcmread(path).PixelData, number_of_frames=1))
    bundle, tensors = open_bundle(bundle_path), _input()
    for backend in BACKENDS:
        session = bare_session(bundle, backend)

        def limit(session: Session = session) -> None:
            image = Image.open(io.BytesIO(stream))
            image.reduce = 2  # 750x625: the smallest level whose sides are not under twice 224
            image.load()
            session.run(tensors)

        with open_model(bundle, backends=[backend], threads=THREADS) as model:
            found = paired(lambda model=model: _completed(model, path), limit, rounds=ROUNDS)  # type: ignore[misc]
        session.close()
        yield Row(
            case=f"X-ray JPEG 2000 lossless, {backend}",
            ours=f"{found.ours_ms:.1f} ms",
            limit=f"{found.limit_ms:.1f} ms (reduced decode, bare engine)",
            ratio=found.ratio,
            spread=found.spread,
            bound=1.3,
        )


def cine(folder: Path, bundle_path: Path) -> Iterator[Row]:
    """Frames a second of a 60-frame cine, against the slower of libjpeg-turbo and the engine alone."""
    path = write_cine(folder / "cine.dcm")
    streams = [np.frombuffer(stream, np.uint8) for stream in cine_frames()]
    bundle, tensors = open_bundle(bundle_path), _input()
    for backend in BACKENDS:
        session = bare_session(bundle, backend)

        def decode() -> None:
            for stream in streams:
                cv2.imdecode(stream, cv2.IMREAD_GRAYSCALE)

        def engine(session: Session = session) -> None:
            for _ in session.stream(tensors for _ in streams):
                pass

        with open_model(bundle, backends=[backend], threads=THREADS) as model:
            for action in (decode, engine, lambda model=model: _completed(model, path)):  # type: ignore[misc]
                action()
            ratios, ours, limits = [], [], []
            for _ in range(9):
                slower = max(milliseconds(decode), milliseconds(engine))
                own = milliseconds(lambda model=model: _completed(model, path))  # type: ignore[misc]
                ratios.append(slower / own)
                ours.append(own)
                limits.append(slower)
        session.close()
        count = len(streams) * 1000.0
        low, _, high = statistics.quantiles(ratios, n=4)
        yield Row(
            case=f"cine 60 x 800x600 JPEG, {backend}",
            ours=f"{count / statistics.median(ours):.0f} frames/s",
            limit=f"{count / statistics.median(limits):.0f} frames/s (slower of libjpeg-turbo and engine)",
            ratio=statistics.median(ratios),
            spread=(low, high),
            bound=0.8,
            at_least=True,
        )
