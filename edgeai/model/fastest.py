"""``backends = ["fastest"]``: measure every artifact, backend, device and number of threads here, and keep the table.

No fixed order is right: which precision runs fastest on which engine turns around from model to model and from CPU to
CPU. So each backend is tried in a process of its own on the bundle's golden cases; what answers outside its tolerance,
or dies, is not admissible. The table is kept, and made anew when the bundle, an installed distribution or the hardware
changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from edgeai.api.errors import BackendUnavailable
from edgeai.api.options import Options
from edgeai.bundle.reader import Bundle
from edgeai.model.hardware import hardware
from edgeai.selection import Wish

_SCHEMA: Final = 1
_DEADLINE_S: Final = 180.0
"""For all trials of one backend; what hangs in there is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One artifact on one device with so many threads.

    Attributes:
        cold_ms: from starting a process to its first answer.
        throughput: inferences a second through ``stream``.
        memory_bytes: growth of the resident set by opening and running it.
        of_tolerance: worst golden answer, as a part of what is allowed.
        why_not: why it is not admissible; empty when it is.
    """

    backend: str
    device: str = ""
    artifact: str = ""
    precision: str = ""
    threads: int = 0
    engine: str = ""
    open_ms: float = 0.0
    first_ms: float = 0.0
    cold_ms: float = 0.0
    median_ms: float = 0.0
    p5_ms: float = 0.0
    p95_ms: float = 0.0
    throughput: float = 0.0
    memory_bytes: int = 0
    of_tolerance: float = 0.0
    why_not: str = ""

    @property
    def wish(self) -> Wish:
        """This and nothing else."""
        return Wish(backend=self.backend, device=self.device, artifact=self.artifact)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """All of them. ``key`` says of which bundle, software and hardware they are true."""

    key: str
    trials: tuple[Trial, ...]
    kept: bool = False
    """Whether they were read, not measured now."""

    @property
    def admissible(self) -> tuple[Trial, ...]:
        """Those that run and agree, fastest first."""
        return tuple(sorted((trial for trial in self.trials if not trial.why_not), key=lambda trial: trial.median_ms))

    def best(self) -> tuple[Trial, ...]:
        """Of each artifact on each device the best number of threads, fastest first.

        Raises:
            BackendUnavailable: ``backend.no-candidate``: nothing is admissible; the message says why of each.
        """
        by_wish: dict[Wish, Trial] = {}
        for trial in self.admissible:
            by_wish.setdefault(trial.wish, trial)
        if not by_wish:
            listed = "; ".join(f"{t.backend} {t.device} {t.artifact}: {t.why_not}" for t in self.trials)
            raise BackendUnavailable(
                f"nothing here runs this model and agrees with it. {listed or 'No backend was tried'}",
                code="backend.no-candidate",
                remedy="install a backend of a format that the bundle has",
            )
        return tuple(by_wish.values())


def try_all(
    bundle: Bundle,
    backends: Sequence[tuple[str, str]],
    *,
    keep: Path | None = None,
    threads: int = 0,
    device: str | None = None,
    settings: Mapping[str, Options] | None = None,
    again: bool = False,
    progress: Callable[[str], None] = lambda step: None,
) -> Trials:
    """The trials of a bundle on this machine, measured now unless those of ``keep`` are still true.

    Args:
        bundle: unpacked and verified.
        backends: (backend, plugin that provides it).
        keep: a JSON file for the table; ``None``: it is not kept.
        threads: only so many; 0 for one, all cores, and the powers of two between.
        device: only this one.
        settings: backend -> its own plumbing.
        again: measure even if the kept ones are true.
        progress: told what is being tried.
    """
    counts = [threads] if threads else thread_counts(os.cpu_count() or 1)
    asked = {"backends": sorted(backends), "threads": counts, "device": device, "settings": dict(settings or {})}
    key = _key(bundle, asked)
    kept = None if again or keep is None else _read(keep, key)
    if kept is not None:
        return kept
    tried: list[Trial] = []
    for backend, plugin in backends:
        request = {
            "bundle": str(bundle.root),
            "backend": backend,
            "plugin": plugin,
            "threads": counts,
            "device": device,
            "settings": dict((settings or {}).get(backend, {})),
        }
        tried += _try(backend, request, progress)
    trials = Trials(key=key, trials=tuple(tried))
    if keep is not None:
        _write(keep, trials)
    return trials


def thread_counts(cores: int) -> list[int]:
    """1, 2, 4 ... and the number of cores, rising."""
    counts = {1, cores}
    power = 2
    while power < cores:
        counts.add(power)
        power *= 2
    return sorted(counts)


def _try(backend: str, request: dict[str, Any], progress: Callable[[str], None]) -> list[Trial]:
    """Every trial of one backend; the child is killed when it takes too long."""
    progress(f"{backend}: starting")
    command = [sys.executable, "-m", "edgeai.model.trial"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        assert child.stdin is not None
        try:
            output, _ = child.communicate(json.dumps({**request, "began": time.time()}), timeout=_DEADLINE_S)
            died = f"its process died of signal {-child.returncode}" if child.returncode < 0 else ""
        except subprocess.TimeoutExpired:
            child.kill()
            output, _ = child.communicate()
            died = f"it took longer than {_DEADLINE_S:.0f} s"
    return _trials(backend, output, died)


def _trials(backend: str, output: str, died: str) -> list[Trial]:
    trials: list[Trial] = []
    trying: list[Any] | None = None
    for line in output.splitlines():
        body = json.loads(line)
        if "trying" in body:
            trying = body["trying"]
        elif "refused" in body:
            trials.append(Trial(backend=backend, why_not=body["refused"]))
        else:
            trials.append(Trial(backend=backend, **body))
            trying = None
    if died:
        device, artifact, threads = trying or ("", "", 0)
        trials.append(Trial(backend=backend, device=device, artifact=artifact, threads=threads, why_not=died))
    return trials


def _key(bundle: Bundle, asked: Mapping[str, Any]) -> str:
    """Of everything that a measurement depends on, without importing an engine."""
    installed = sorted({f"{item.name}=={item.version}" for item in metadata.distributions()})
    body = {"bundle": bundle.digest, "asked": asked, "installed": installed, "hardware": hardware()}
    if bundle.absent:  # once they are fetched, they are measured
        body["absent"] = list(bundle.absent)
    return "sha256:" + hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _read(path: Path, key: str) -> Trials | None:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["schema"] != _SCHEMA or body["key"] != key:
            return None
        return Trials(key=key, trials=tuple(Trial(**trial) for trial in body["trials"]), kept=True)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, trials: Trials) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    body = {"schema": _SCHEMA, "key": trials.key, "trials": [asdict(trial) for trial in trials.trials]}
    partial.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
