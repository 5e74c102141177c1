"""A session at work in a fresh process: how many threads it takes, what it prints, what it answers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from edgeai import request_json
from edgeai.api import Session, Tensors
from edgeai.plugins import PluginInfo, load_from
from edgeai.process import die_with_parent
from edgeai.testing.conformance.suite import child_environment
from edgeai.testing.examples import ArtifactExample

_LIMIT_S = 300.0
_CPU_S = 0.2
_MOST_RUNS = 3000
_TIMES = 3
_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a session did of one kind of work, ``run`` or ``stream``.

    Attributes:
        workers: threads that did a tenth of the work or more.
        cores: processor time by time on the clock: how many cores were at work at once, on average.

    Both are the least of several measurements: an engine that takes too many threads takes them each time, and a
    clock that was set or a thread that was just ending does not.
    """

    workers: int
    cores: float


@dataclass(frozen=True, kw_only=True)
class AtWork:
    """What came of it: the answers to the example's samples, the work by its kind, and what stood in its output."""

    answers: list[Tensors]
    work: dict[str, Work]
    printed: str


def at_work(
    info: PluginInfo, backend: str, device: str, example: ArtifactExample, threads: int, folder: Path
) -> AtWork:
    """Load the plugin, open the example, run and stream it, close it: all in a new process.

    Raises:
        AssertionError: the process did not come to its end.
    """
    samples = [example.sample(number) for number in range(2)]
    for number, sample in enumerate(samples):
        np.savez(folder / f"input-{number}.npz", allow_pickle=False, **dict(sample))
    order = {
        "info": asdict(info),
        "backend": backend,
        "request": request_json.request(example.request(device, threads=threads)),
        "folder": str(folder),
    }
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(order),
        env=child_environment(),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, f"its process ended with {done.returncode}:\n{done.stderr[-2000:]}"
    answers: list[Tensors] = []
    for number in range(len(samples)):
        with np.load(folder / f"output-{number}.npz") as arrays:
            answers.append({name: arrays[name] for name in arrays.files})
    figures = json.loads((folder / "work.json").read_text(encoding="utf-8"))
    return AtWork(answers=answers, work={kind: Work(**row) for kind, row in figures.items()}, printed=done.stdout)


# --- the child --------------------------------------------------------------------------------


def _cpu_by_thread() -> dict[int, float]:
    """Processor seconds of each thread that lives (proc(5), schedstat)."""
    seconds = {}
    for thread in Path("/proc/self/task").iterdir():
        try:
            text = (thread / "schedstat").read_text(encoding="ascii")
        except OSError:
            continue  # it has just ended
        seconds[int(thread.name)] = int(text.split()[0]) / 1e9
    return seconds


def _measured(step: Callable[[], object]) -> dict[str, Any]:
    """What it takes to repeat a step, the least of several times."""
    times = [_once(step) for _ in range(_TIMES)]
    return {what: min(one[what] for one in times) for what in times[0]}


def _once(step: Callable[[], object]) -> dict[str, Any]:
    """Repeat a step until it has had some processor time."""
    before, cpu, clock = _cpu_by_thread(), time.process_time(), time.perf_counter()
    for _ in range(_MOST_RUNS):
        step()
        if time.process_time() - cpu > _CPU_S:
            break
    cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    shares = [seconds - before.get(thread, 0.0) for thread, seconds in _cpu_by_thread().items()]
    return {"workers": sum(share >= _SHARE * cpu for share in shares), "cores": cpu / max(clock, 1e-9)}


def _opened(order: dict[str, Any]) -> Session:
    plugin = load_from(PluginInfo(**order["info"]))
    spec = next(spec for spec in plugin.backends if spec.name == order["backend"])
    spec.probe()
    spec.engine()
    spec.explain()
    return spec.open(request_json.request_of(order["request"]))


def main() -> None:
    """The child: do what the order on standard input says, and leave answers and figures in its folder."""
    die_with_parent()
    order = json.load(sys.stdin)
    folder = Path(order["folder"])
    session = _opened(order)
    samples: list[Tensors] = []
    while (path := folder / f"input-{len(samples)}.npz").exists():
        with np.load(path) as arrays:
            samples.append({name: arrays[name] for name in arrays.files})
    for number, sample in enumerate(samples):
        np.savez(folder / f"output-{number}.npz", allow_pickle=False, **dict(session.run(sample)))

    def stream() -> None:
        for _ in session.stream(repeat(samples[0], 16)):
            continue

    figures = {"run": _measured(lambda: session.run(samples[0])), "stream": _measured(stream)}
    session.close()
    (folder / "work.json").write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
