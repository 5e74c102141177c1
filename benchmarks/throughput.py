"""Many radiographs in a row: through ``edgeai infer FOLDER``'s own loop, and through a whole cart."""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from benchmarks.images import BACKENDS, CORES, bare_session, model_input
from benchmarks.material import write_xray
from benchmarks.networks import built
from benchmarks.receive import Bare
from benchmarks.timing import Row, timed
from edgeai.api import Session
from edgeai.bundle.reader import Bundle, open_bundle
from edgeai.cli.demo_stage import Stage
from edgeai.config import Supervise
from edgeai.dicom.header import read_header
from edgeai.model import open_model
from edgeai.model.abreast import run_files

BOUND: Final = 0.85
IMAGES: Final = 40
"""In a round: long enough that how it begins and ends does not count."""
FILES: Final = 8
NETWORK: Final = "mobilenet"


class _TwoAtATime:
    """The limit: on each core a thread that maps a file, holds it to Bits Stored, makes one area pass and runs a bare
    engine of one thread.

    Without the second a plane with an old overlay in its upper bits would be answered as if those were values: a limit
    that leaves it out is none that a right answer could reach (ADR 0067).
    """

    def __init__(self, bundle: Bundle, backend: str, files: list[Path]) -> None:
        layout = read_header(files[0]).pixels
        assert layout is not None
        self._files, self._offset, self._tensors = files, layout.offset, model_input(bundle)
        self._most = layout.stored_range[1]
        self._sessions = [bare_session(bundle, backend, 1) for _ in range(CORES)]

    def a_second(self) -> float:
        """Images a second."""
        threads = [threading.Thread(target=self._some, args=(session,)) for session in self._sessions]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return IMAGES // CORES * CORES / (time.perf_counter() - started)

    def _some(self, session: Session) -> None:
        for number in range(IMAGES // CORES):
            self.decode(number)
            session.run(self._tensors)

    def decode(self, number: int = 0) -> None:
        """One look at every value of a file, and one area pass."""
        pixels = np.memmap(self._files[number % FILES], np.uint16, "r", self._offset, (3000, 2500))
        assert pixels.max() <= self._most
        cv2.resize(pixels[: 13 * 224, : 13 * 187], (187, 224), interpolation=cv2.INTER_AREA)

    def run(self) -> None:
        """One inference on one thread."""
        self._sessions[0].run(self._tensors)

    def close(self) -> None:
        """Free the engines."""
        for session in self._sessions:
            session.close()


def in_a_row(folder: Path, bundle_path: Path, rounds: int) -> Iterator[Row]:
    """Images a second of ``edgeai infer FOLDER``, without its start, against two at a time on the bare parts."""
    del bundle_path
    files = _files(folder / "row")
    path = built(folder, NETWORK)
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # each core has an image of its own
    for backend in BACKENDS:
        limit = _TwoAtATime(open_bundle(path), backend, files)
        with open_model(path, backends=[backend]) as model:
            wanted = [files[number % FILES] for number in range(IMAGES)]

            def ours(wanted: list[Path] = wanted, model: object = model) -> float:
                started = time.perf_counter()
                assert all(result.outcome == "completed" for _, result in run_files(model, wanted))  # type: ignore[arg-type]
                return IMAGES / (time.perf_counter() - started)

            pairs = _in_turn(limit.a_second, ours, max(5, rounds // 2))
        limit.close()
        case = f"infer FOLDER, X-rays, {NETWORK}, {backend}"
        yield _row(case, pairs, f"{CORES} at a time: look, area pass, bare engine")
    cv2.setNumThreads(before)


def cart(folder: Path, bundle_path: Path, rounds: int) -> Iterator[Row]:
    """Images a second from ``storescu`` to a subscriber, against the slowest of what they must pass."""
    del bundle_path
    case = f"cart, X-rays in a row, {NETWORK}, tflite"
    if shutil.which("storescu") is None:
        yield Row(case=case, ours="not measured", limit="storescu is not installed")
        return
    files = _files(folder / "cart-row")
    path = built(folder, NETWORK)
    (stage_folder := folder / "cart-in-a-row").mkdir()
    (raw := folder / "cart-raw").mkdir()
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    pair = _TwoAtATime(open_bundle(path), "tflite", files)
    data = files[0].read_bytes()
    parts = {
        "hash": _spent_ms(lambda: hashlib.sha256(data).digest()),
        "decode": _spent_ms(pair.decode),
        "engine": _spent_ms(pair.run),
    }
    bare = Bare(raw)
    measured: list[tuple[dict[str, float], float]] = []
    heartbeat_s = Supervise().heartbeat_s  # the stage's own is a demo's, and health is read at each
    with Stage(stage_folder, path, "tflite", heartbeat_s=heartbeat_s) as stage:
        for number in range(max(3, rounds // 5) + 1):
            at_a_time = pair.a_second()
            received, sender_ms, receiver_ms = bare.a_second(files[0], IMAGES)
            parts |= {"sender": sender_ms, "receiver": receiver_ms}
            limits = {"receiver with fsync": received, f"{CORES} at a time": at_a_time}
            limits["processor time"] = CORES * 1e3 / sum(parts.values())
            own = _through(stage, files[0])
            if number:
                measured.append((limits, own))
    bare.close()
    pair.close()
    cv2.setNumThreads(before)
    medians = {name: statistics.median(limits[name] for limits, _ in measured) for name in measured[0][0]}
    slowest = min(medians, key=lambda name: medians[name])
    told = "; ".join(f"{name} {rate:.0f}/s" for name, rate in medians.items())
    spent = ", ".join(f"{name} {ms:.1f}" for name, ms in parts.items())
    pairs = [(limits[slowest], own) for limits, own in measured]
    yield _row(case, pairs, slowest, notes=(told, f"processor time an image, ms: {spent}"))


def _through(stage: Stage, file: Path) -> float:
    """Images a second, from the first result to the last."""
    sender = subprocess.Popen(
        ["storescu", "+II", "--repeat", str(IMAGES), "-aec", "EDGEAI", "127.0.0.1", str(stage.dicom_port), str(file)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    at: list[float] = []
    while len(at) < IMAGES:
        results = list(stage.results(60.0))
        assert results, "no result came in a minute"
        assert all(result["outcome"] == "completed" for result in results)
        at += [time.perf_counter()] * len(results)
    assert sender.wait(60) == 0
    os.sync()
    return (IMAGES - 1) / (at[-1] - at[0])


def _spent_ms(action: Callable[[], object]) -> float:
    """Processor time of one call."""
    action()
    return statistics.median(timed(action).cpu_ms for _ in range(9))


def _files(folder: Path) -> list[Path]:
    folder.mkdir()
    first = write_xray(folder / "0.dcm")
    return [first, *(Path(shutil.copy(first, folder / f"{number}.dcm")) for number in range(1, FILES))]


def _in_turn(limit: Callable[[], float], ours: Callable[[], float], rounds: int) -> list[tuple[float, float]]:
    limit()
    ours()
    return [(limit(), ours()) for _ in range(rounds)]


def _row(case: str, pairs: list[tuple[float, float]], limit: str, *, notes: tuple[str, ...] = ()) -> Row:
    ratios = [own / most for most, own in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return Row(
        case=case,
        ours=f"{statistics.median(own for _, own in pairs):.0f} images/s",
        limit=f"{statistics.median(most for most, _ in pairs):.0f} images/s: {limit}",
        ratio=middle,
        spread=(low, high),
        bound=BOUND,
        at_least=True,
        notes=notes,
    )
