"""File in page cache -> findings: uncompressed and JPEG 2000 radiographs, and a JPEG cine."""

from __future__ import annotations

import io
import os
import statistics
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import generate_frames

from benchmarks.agreement import agreement
from benchmarks.material import SIDE, built, cine_frames, write_cine, write_xray
from benchmarks.timing import Row, cpu_milliseconds, milliseconds, paired
from edgeai.api import OpenRequest, Session
from edgeai.bundle.reader import Bundle, open_bundle
from edgeai.dicom.header import read_header
from edgeai.model import Model, open_model
from edgeai.plugins import Registry

BACKENDS = ("tflite", "openvino")
CORES = len(os.sched_getaffinity(0))
MANY_FRAMES = {"openvino": {"hint": "throughput", "requests": 2 * CORES}}
"""Settings of a deployment whose instances have many frames."""


def bare_session(bundle: Bundle, backend: str, threads: int = CORES, *, many_frames: bool = False) -> Session:
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
        settings=MANY_FRAMES.get(backend, {}) if many_frames else {},
    )
    return spec.open(request)


def _input() -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(0).random((1, SIDE, SIDE, 1), np.float32)}


def _completed(model: Model, path: Path) -> None:
    result = model.run_file(path)
    assert result.outcome == "completed", result.reason


def uncompressed(folder: Path, bundle_path: Path, rounds: int) -> Iterator[Row]:
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

        with open_model(bundle, backends=[backend], threads=CORES) as model:
            found = paired(lambda model=model: _completed(model, path), limit, rounds=rounds)  # type: ignore[misc]
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
    bundle, tensors = open_bundle(bundle_path), _input()
    for backend in BACKENDS:
        session = bare_session(bundle, backend)

        def limit(session: Session = session) -> None:
            image = Image.open(io.BytesIO(stream))
            image.reduce = 2  # 750x625: the smallest level whose sides are not under twice 224
            image.load()
            session.run(tensors)

        with open_model(bundle, backends=[backend], threads=CORES) as model:
            found = paired(lambda model=model: _completed(model, path), limit, rounds=rounds)  # type: ignore[misc]
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


def cine(folder: Path, bundle_path: Path, rounds: int) -> Iterator[Row]:
    """Frames a second of a 60-frame cine, against the slower of libjpeg-turbo and the engine alone.

    Where neither is much slower than the other, the two together take more processor time than there is: the notes
    say how much of the limit could be reached at all.
    """
    path = write_cine(folder / "cine.dcm")
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # as the infer role has it: frames are shared out among threads, not parts of a frame
    for network in ("mobilenet", "small"):
        bundle = open_bundle(bundle_path if network == "small" else built(folder, network))
        for backend in BACKENDS:
            notes = (agreement(bundle, path),) if network == "mobilenet" and backend == BACKENDS[0] else ()
            for threads in sorted({max(1, CORES - 1), CORES}):
                yield _cine(bundle, backend, path, threads, max(5, rounds // 2), notes)
                notes = ()
    cv2.setNumThreads(before)


def _cine(bundle: Bundle, backend: str, path: Path, threads: int, rounds: int, notes: tuple[str, ...]) -> Row:
    """One row: the engine has as many cores in the limit as in edgeai."""
    found = _Cine(bundle, backend, path, threads=threads, rounds=rounds)
    both_ms = found.engine_cpu_ms + found.decode_cpu_ms
    slower_ms = max(found.decode_cpu_ms, found.engine_cpu_ms / threads)
    most = min(1.0, slower_ms / (both_ms / CORES))
    low, middle, high = statistics.quantiles(found.ratios, n=4)
    return Row(
        case=f"cine, {bundle.manifest.name}, {backend}, engine on {threads} of {CORES} cores",
        ours=f"{60e3 / statistics.median(found.ours_ms):.0f} frames/s",
        limit=f"{60e3 / statistics.median(found.limits_ms):.0f} frames/s: slower of libjpeg-turbo, engine",
        ratio=middle,
        spread=(low, high),
        bound=0.8,
        at_least=True,
        notes=(*notes, f"decoding and engine alone, perfectly overlapped on {CORES} cores, would reach {most:.2f}"),
    )


class _Cine:
    """One engine setting: decode alone, engine alone and edgeai, in turn."""

    def __init__(self, bundle: Bundle, backend: str, path: Path, *, threads: int, rounds: int) -> None:
        self._streams = [np.frombuffer(stream, np.uint8) for stream in cine_frames()]
        self._session = bare_session(bundle, backend, threads, many_frames=True)
        self.ratios: list[float] = []
        self.ours_ms: list[float] = []
        self.limits_ms: list[float] = []
        with open_model(bundle, backends=[backend], threads=threads, settings=MANY_FRAMES) as model:
            _completed(model, path)
            self.decode_cpu_ms, self.engine_cpu_ms = cpu_milliseconds(self._decode), cpu_milliseconds(self._engine)
            for _ in range(rounds):
                slower = max(milliseconds(self._decode), milliseconds(self._engine))
                own = milliseconds(lambda: _completed(model, path))
                self.ratios.append(slower / own)
                self.ours_ms.append(own)
                self.limits_ms.append(slower)
        self._session.close()

    def _decode(self) -> None:
        for stream in self._streams:
            cv2.imdecode(stream, cv2.IMREAD_GRAYSCALE)

    def _engine(self) -> None:
        tensors = _input()
        for _ in self._session.stream(tensors for _ in self._streams):
            pass
