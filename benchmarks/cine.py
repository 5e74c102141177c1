"""A JPEG cine: frames a second from file to findings, against decoding alone and the engine alone."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from benchmarks.agreement import agreement
from benchmarks.images import BACKENDS, CORES, bare_session, completed, model_input
from benchmarks.material import CINE_FRAMES, cine_frames, write_cine
from benchmarks.networks import built
from benchmarks.timing import Row, timed
from edgeai.api import Session
from edgeai.bundle.reader import Bundle, open_bundle
from edgeai.model import open_model

BOUND = 0.8
OF_TWO_AT_A_TIME = 0.85
QUIET = 0.05
"""Share of the cores that others may use in a round that counts."""
ENOUGH = 5
"""Quiet rounds without which all rounds count."""


def cine(folder: Path, bundle_path: Path, rounds: int) -> Iterator[Row]:
    """Frames a second of a 60-frame cine as configured by default, against three limits from the same rounds.

    One shares out the cores: libjpeg-turbo (scaled to 1/2 in its DCT) has one, the engine's own stream the others. One
    is what those two reach on all cores at once, with nothing else to do: they share memory and caches there. The last,
    which binds nobody, is C cores over the time that each of the two takes when it is alone on the machine; nothing
    reaches it (ADR 0067).
    """
    path = write_cine(folder / "cine.dcm")
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # as the infer role has it: frames are shared out among threads, not parts of a frame
    for network in ("mobilenet", "small"):
        bundle = open_bundle(bundle_path if network == "small" else built(folder, network))
        for backend in BACKENDS:
            first = network == "mobilenet" and backend == BACKENDS[0]
            measured = _Cine(bundle, backend, path, max(ENOUGH, rounds))
            yield from measured.rows((agreement(bundle, path),) if first else ())
    cv2.setNumThreads(before)


class _Cine:
    """One network on one engine: decode alone, engine alone on some cores and on one, and edgeai, in turn."""

    def __init__(self, bundle: Bundle, backend: str, path: Path, rounds: int) -> None:
        self._is_usual = bundle.manifest.name == "mobilenet"
        self._name = f"cine, {bundle.manifest.name}, {backend}"
        self._tensors = model_input(bundle)
        self._streams = [np.frombuffer(stream, np.uint8) for stream in cine_frames()]
        some, *abreast = (bare_session(bundle, backend, threads) for threads in (max(1, CORES - 1), *[1] * CORES))
        single = abreast[0]
        with open_model(bundle, backends=[backend]) as model:
            turns: dict[str, Callable[[], object]] = {
                "decode": self._decode,
                "some": lambda: self._engine(some),
                "single": lambda: self._engine(single),
                "abreast": lambda: self._abreast(abreast),
                "edgeai": lambda: completed(model, path),
            }
            for action in turns.values():
                action()
            all_rounds = [{name: timed(action) for name, action in turns.items()} for _ in range(rounds)]
        for session in (some, *abreast):
            session.close()
        quiet = [each for each in all_rounds if max(one.others for one in each.values()) <= QUIET]
        self._rounds = quiet if len(quiet) >= ENOUGH else all_rounds
        self._others = f"{len(quiet)} of {rounds} rounds were quiet" + (
            "" if self._rounds is quiet else ", too few, so that all count"
        )

    def rows(self, notes: tuple[str, ...]) -> Iterator[Row]:
        """Against the cores shared out, and against all that processor time allows."""
        spent = f"processor time a frame: {self._a_frame('edgeai')}, of it decoding {self._a_frame('decode')} and"
        yield self._row(
            [max(each["decode"].ms, each["some"].ms) for each in self._rounds],
            f"slower of libjpeg-turbo on 1 core, engine on {max(1, CORES - 1)}",
            BOUND,
            notes=(*notes, self._others, f"{spent} engine {self._a_frame('single')} when alone"),
        )
        # The processor time of an engine that waits for its own threads would be a limit too easily reached, and wall
        # clock of two things in turn one that others at work disturb: so of one thread, whose time is the work itself.
        yield self._row(
            [(each["decode"].cpu_ms + each["single"].cpu_ms) / CORES for each in self._rounds],
            f"{CORES} cores / processor time of libjpeg-turbo and engine",
            None,
            suffix=", limit of processor time",
        )
        # For the small classifier transforms take as long as it does, and nobody asks that of it.
        taken = f"processor time a frame: {self._a_frame('abreast')}, when each is alone"
        yield self._row(
            [each["abreast"].ms for each in self._rounds],
            f"{CORES} at a time: libjpeg-turbo, bare engine",
            OF_TWO_AT_A_TIME if self._is_usual else None,
            suffix=f", {CORES} at a time",
            notes=(f"{taken} {self._a_frame('decode')} and {self._a_frame('single')}",),
        )

    def _row(
        self, limits_ms: list[float], limit: str, bound: float | None, *, suffix: str = "", notes: tuple[str, ...] = ()
    ) -> Row:
        ratios = [ms / each["edgeai"].ms for ms, each in zip(limits_ms, self._rounds, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        return Row(
            case=self._name + suffix,
            ours=_frames_a_second(self._median("edgeai")),
            limit=f"{_frames_a_second(statistics.median(limits_ms))}: {limit}",
            ratio=middle,
            spread=(low, high),
            bound=bound,
            at_least=True,
            notes=notes,
        )

    def _median(self, name: str) -> float:
        return statistics.median(each[name].ms for each in self._rounds)

    def _a_frame(self, name: str) -> str:
        return f"{statistics.median(each[name].cpu_ms for each in self._rounds) / CINE_FRAMES:.2f} ms"

    def _decode(self) -> None:
        for stream in self._streams:
            cv2.imdecode(stream, cv2.IMREAD_REDUCED_GRAYSCALE_2)  # 400x300: not under the model's 224

    def _abreast(self, sessions: list[Session]) -> None:
        """Every frame decoded and run, shared out among as many threads as there are sessions."""

        def share(number: int) -> None:
            for stream in self._streams[number :: len(sessions)]:
                cv2.imdecode(stream, cv2.IMREAD_REDUCED_GRAYSCALE_2)
                sessions[number].run(self._tensors)

        with ThreadPoolExecutor(len(sessions)) as pool:
            list(pool.map(share, range(len(sessions))))

    def _engine(self, session: Session) -> None:
        for _ in session.stream(self._tensors for _ in self._streams):
            pass


def _frames_a_second(cine_ms: float) -> str:
    return f"{CINE_FRAMES * 1e3 / cine_ms:.0f} frames/s"
