"""A JPEG cine: frames a second from file to findings, against decoding alone and the engine alone."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from benchmarks.agreement import agreement
from benchmarks.images import BACKENDS, CORES, bare_session, completed, model_input
from benchmarks.material import CINE_FRAMES, built, cine_frames, write_cine
from benchmarks.timing import Row, cpu_milliseconds, timed
from edgeai.api import Session
from edgeai.bundle.reader import Bundle, open_bundle
from edgeai.model import open_model

BOUND = 0.8
QUIET = 0.05
"""Share of the cores that others may use in a round that counts."""
ENOUGH = 5
"""Quiet rounds without which all rounds count."""


def cine(folder: Path, bundle_path: Path, rounds: int) -> Iterator[Row]:
    """Frames a second of a 60-frame cine as configured by default, against two limits from the same rounds.

    One shares out the cores: libjpeg-turbo has one, the engine's own stream the others. The other gives every
    core to both, as if each were alone; what of that could be reached at all is in the notes.
    """
    path = write_cine(folder / "cine.dcm")
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # as the infer role has it: frames are shared out among threads, not parts of a frame
    for network in ("mobilenet", "small"):
        bundle = open_bundle(bundle_path if network == "small" else built(folder, network))
        for backend in BACKENDS:
            first = network == "mobilenet" and backend == BACKENDS[0]
            found = _Cine(bundle, backend, path, max(ENOUGH, rounds))
            yield from found.rows((agreement(bundle, path),) if first else ())
    cv2.setNumThreads(before)


class _Cine:
    """One network on one engine: decode alone, engine alone on some and on all cores, and edgeai, in turn."""

    def __init__(self, bundle: Bundle, backend: str, path: Path, rounds: int) -> None:
        self._name = f"cine, {bundle.manifest.name}, {backend}"
        self._streams = [np.frombuffer(stream, np.uint8) for stream in cine_frames()]
        some, every = bare_session(bundle, backend, max(1, CORES - 1)), bare_session(bundle, backend, 0)
        with open_model(bundle, backends=[backend]) as model:
            turns: dict[str, Callable[[], object]] = {
                "decode": self._decode,
                "some": lambda: self._engine(some),
                "every": lambda: self._engine(every),
                "edgeai": lambda: completed(model, path),
            }
            cpu = {name: cpu_milliseconds(action) for name, action in turns.items()}
            all_rounds = [{name: timed(action) for name, action in turns.items()} for _ in range(rounds)]
        for session in (some, every):
            session.close()
        quiet = [each for each in all_rounds if max(one.others for one in each.values()) <= QUIET]
        self._rounds = quiet if len(quiet) >= ENOUGH else all_rounds
        self._others = f"{len(quiet)} of {rounds} rounds were quiet" + (
            "" if self._rounds is quiet else ", too few, so that all count"
        )
        self._cpu = cpu

    def rows(self, notes: tuple[str, ...]) -> Iterator[Row]:
        """Against the cores shared out, and against every core for each."""
        spent = f"processor time a frame: {self._a_frame('edgeai')}, of it decoding {self._a_frame('decode')} and"
        yield self._row(
            "some",
            f"slower of libjpeg-turbo on 1 core, engine on {max(1, CORES - 1)}",
            (*notes, self._others, f"{spent} engine {self._a_frame('every')} when alone"),
        )
        # Processor time, since it tells the same when others are at work too.
        decode_ms, engine_ms = self._cpu["decode"], self._cpu["every"]
        most = min(1.0, max(decode_ms, engine_ms / CORES) / ((decode_ms + engine_ms) / CORES))
        yield self._row(
            "every",
            f"slower of libjpeg-turbo, engine, each alone on {CORES}",
            (f"decoding and engine alone, perfectly overlapped on {CORES} cores, would reach {most:.2f}",),
        )

    def _row(self, engine: str, limit: str, notes: tuple[str, ...]) -> Row:
        slower = [max(each["decode"].ms, each[engine].ms) for each in self._rounds]
        ratios = [ms / each["edgeai"].ms for ms, each in zip(slower, self._rounds, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        return Row(
            case=self._name + (", limit with every core twice" if engine == "every" else ""),
            ours=_frames_a_second(self._median("edgeai")),
            limit=f"{_frames_a_second(statistics.median(slower))}: {limit}",
            ratio=middle,
            spread=(low, high),
            bound=BOUND,
            at_least=True,
            notes=notes,
        )

    def _median(self, name: str) -> float:
        return statistics.median(each[name].ms for each in self._rounds)

    def _a_frame(self, name: str) -> str:
        return f"{self._cpu[name] / CINE_FRAMES:.2f} ms"

    def _decode(self) -> None:
        for stream in self._streams:
            cv2.imdecode(stream, cv2.IMREAD_GRAYSCALE)

    def _engine(self, session: Session) -> None:
        tensors = model_input()
        for _ in session.stream(tensors for _ in self._streams):
            pass


def _frames_a_second(cine_ms: float) -> str:
    return f"{CINE_FRAMES * 1e3 / cine_ms:.0f} frames/s"
