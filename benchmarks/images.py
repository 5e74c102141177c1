"""File in page cache -> findings of a radiograph: uncompressed, JPEG 2000 and JPEG; all settings at their defaults."""

from __future__ import annotations

import io
import os
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import generate_frames

from benchmarks.agreement import agreement
from benchmarks.material import XRAY_COLUMNS, XRAY_ROWS, write_xray, write_xray_jpeg
from benchmarks.networks import INT8, built
from benchmarks.timing import Row, milliseconds, paired
from edgeai.api import OpenRequest, Session
from edgeai.bundle.reader import Bundle, open_bundle
from edgeai.dicom.header import read_header
from edgeai.model import Model, open_model
from edgeai.plugins import Registry

BACKENDS = ("tflite", "openvino")
CORES = len(os.sched_getaffinity(0))
TO_LIMIT = 1.3
"""What a whole image may take of its limit."""
_TRIED = 15


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


def fastest_session(bundle: Bundle, backend: str) -> Session:
    """``bare_session`` on as many threads as are fastest here: what somebody who tries them all would set by hand."""
    tensors = model_input(bundle)
    took = {}
    for threads in range(1, CORES + 1):
        session = bare_session(bundle, backend, threads)
        session.run(tensors)
        took[threads] = statistics.median(
            milliseconds(lambda: session.run(tensors))  # noqa: B023
            for _ in range(_TRIED)
        )
        session.close()
    return bare_session(bundle, backend, min(took, key=lambda threads: took[threads]))


def model_input(bundle: Bundle) -> dict[str, np.ndarray]:
    """Noise of the shape that the model takes."""
    [spec] = bundle.manifest.input_specs()
    return {spec.name: np.random.default_rng(0).random([size or 1 for size in spec.shape], np.float32)}


def completed(model: Model, path: Path) -> None:
    result = model.run_file(path)
    assert result.outcome == "completed", result.reason


def area_pass(path: Path, side: int) -> Callable[[], object]:
    """Mapping an uncompressed radiograph, and one area pass of an integer ratio to the model's side."""
    layout = read_header(path).pixels
    assert layout is not None
    ratio, columns = XRAY_ROWS // side, round(side * XRAY_COLUMNS / XRAY_ROWS)

    def shrink() -> None:
        pixels = np.memmap(path, np.uint16, "r", layout.offset, (XRAY_ROWS, XRAY_COLUMNS))
        cv2.resize(pixels[: ratio * side, : ratio * columns], (columns, side), interpolation=cv2.INTER_AREA)

    return shrink


def against(
    image: str,
    path: Path,
    bare: Callable[[], object],
    bundle: Bundle,
    backends: tuple[str, ...],
    rounds: int,
    *,
    limit: str,
    bound: float = TO_LIMIT,
    notes: Callable[[Model], tuple[str, ...]] = lambda _: (),
) -> Iterator[Row]:
    """A row for each engine: one file by ``open_model`` at its defaults, against ``bare`` and the bare engine."""
    tensors = model_input(bundle)
    for backend in backends:
        session = fastest_session(bundle, backend)

        def alone(session: Session = session) -> None:
            bare()
            session.run(tensors)

        with open_model(bundle, backends=[backend]) as model:
            measured = paired(lambda model=model: completed(model, path), alone, rounds=rounds)  # type: ignore[misc]
            nearness = notes(model)
        session.close()
        yield Row(
            case=f"{image}, {bundle.manifest.name}, {backend}",
            ours=f"{measured.ours_ms:.1f} ms",
            limit=f"{measured.limit_ms:.1f} ms: {limit}, bare engine",
            ratio=measured.ratio,
            spread=measured.spread,
            bound=bound,
            notes=nearness,
        )


def uncompressed(folder: Path, bundle_path: Path, rounds: int) -> Iterator[Row]:
    """A 15 MB detector image against mmap, one integer-ratio area pass and the bare engine."""
    path = write_xray(folder / "xray.dcm")
    for network, bound in (("small", 1.6), ("mobilenet", TO_LIMIT), ("mobilenet" + INT8, TO_LIMIT)):
        bundle = open_bundle(bundle_path if network == "small" else built(folder, network))
        yield from against(
            "X-ray uncompressed",
            path,
            area_pass(path, 224),
            bundle,
            BACKENDS[1:] if network.endswith(INT8) else BACKENDS,
            rounds,
            limit="mmap, one area pass",
            bound=bound,
        )


def jpeg2000(folder: Path, bundle_path: Path, rounds: int) -> Iterator[Row]:
    """The same as JPEG 2000 lossless, against the reduced-resolution decode and the bare engine."""
    path = write_xray(folder / "xray-j2k.dcm", compressed=True)
    stream = _stream(path)

    def reduced() -> None:
        image = Image.open(io.BytesIO(stream))
        image.reduce = 3  # 375x313: the smallest level whose sides are not under 224
        image.load()

    yield from _small_and_usual("X-ray JPEG 2000", path, reduced, folder, bundle_path, rounds)


def jpeg(folder: Path, bundle_path: Path, rounds: int) -> Iterator[Row]:
    """Its upper 8 bits as JPEG, against the scaled decode of libjpeg-turbo and the bare engine."""
    path = write_xray_jpeg(folder / "xray-jpeg.dcm")
    stream = np.frombuffer(_stream(path), np.uint8)

    def scaled() -> None:
        cv2.imdecode(stream, cv2.IMREAD_REDUCED_GRAYSCALE_8)  # 375x313: not under the model's 224

    yield from _small_and_usual("X-ray JPEG", path, scaled, folder, bundle_path, rounds)


def _stream(path: Path) -> bytes:
    return next(generate_frames(dcmread(path).PixelData, number_of_frames=1))


def _small_and_usual(
    image: str, path: Path, bare: Callable[[], object], folder: Path, bundle_path: Path, rounds: int
) -> Iterator[Row]:
    small = open_bundle(bundle_path)
    told = agreement(small, path)
    for bundle in (small, open_bundle(built(folder, "mobilenet"))):
        for row in against(image, path, bare, bundle, BACKENDS, rounds, limit="reduced decode"):
            yield replace(row, notes=(told,)) if told else row
            told = ""
