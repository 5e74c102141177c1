"""One backend tried on a bundle, in a process of its own: ``python -m edgeai.model.trial`` (see ``fastest``).

A request comes as JSON on standard input; each trial goes out as a line of JSON as soon as it is known, announced by a
line that names it, so that whoever reads knows on what a process died.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice, repeat
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgeai.api.errors import EdgeaiError, PluginNotFound
from edgeai.api.specs import BackendSpec, OpenRequest, Session
from edgeai.api.tensors import Tensors
from edgeai.bundle.manifest import ArtifactDecl
from edgeai.bundle.reader import Bundle, open_bundle
from edgeai.model.golden import load_inputs, rehearse
from edgeai.model.measuring import interleaved
from edgeai.plugins import Registry
from edgeai.process import take_stdout

_ROUNDS: Final = 15
_STREAM_S: Final = 0.4


def trials(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What is found of every artifact, device and number of threads of one backend.

    First ``{"trying": [device, artifact, threads]}``, then the same with ``why_not``, or with its figures.
    """
    bundle = open_bundle(Path(request["bundle"]))
    registry = Registry.of([request["plugin"]])
    try:
        spec = registry.spec("backend", request["backend"])
    except PluginNotFound:
        for fault in registry.faults.values():
            raise fault from None
        raise
    assert isinstance(spec, BackendSpec)
    devices = [request["device"]] if request.get("device") else [device.name for device in spec.probe()]
    engine = spec.engine()
    loaded_ms = (time.time() - request["began"]) * 1e3
    for device in devices:
        for artifact in bundle.artifacts:
            if artifact.format != spec.artifact_format:
                continue
            for threads in request["threads"] if device == "CPU" else request["threads"][-1:]:
                yield {"trying": [device, artifact.id, threads]}
                common = {"device": device, "artifact": artifact.id, "precision": artifact.precision}
                common |= {"threads": threads, "engine": engine}
                try:
                    measured = _tried(bundle, spec, artifact, device, threads, request.get("settings", {}))
                    yield {**common, **measured, "cold_ms": loaded_ms + measured["open_ms"] + measured["first_ms"]}
                except EdgeaiError as error:
                    yield {**common, "why_not": f"{error.code}: {error}"}


def _tried(
    bundle: Bundle, spec: BackendSpec, artifact: ArtifactDecl, device: str, threads: int, settings: Mapping[str, Any]
) -> dict[str, Any]:
    manifest = bundle.manifest
    inputs = load_inputs(bundle)
    before = _resident()
    begin = time.perf_counter()
    session = spec.open(
        OpenRequest(
            artifact=bundle.path(artifact.path),
            device=device,
            inputs=manifest.input_specs(),
            outputs=manifest.output_specs(),
            threads=threads,
            options=artifact.options,
            settings=settings,
        )
    )
    with closing(session):
        opened = time.perf_counter()
        session.run(inputs[0])
        first = time.perf_counter()
        answers = rehearse(bundle, artifact.id, session.run)
        timing = interleaved({"run": lambda: session.run(inputs[0])}, rounds=_ROUNDS)["run"]
        throughput = _throughput(session, inputs, timing.median_ms)
        return {
            "open_ms": (opened - begin) * 1e3,
            "first_ms": (first - opened) * 1e3,
            "median_ms": timing.median_ms,
            "p5_ms": timing.p5_ms,
            "p95_ms": timing.p95_ms,
            "throughput": throughput,
            "memory_bytes": max(0, _resident() - before),
            "of_tolerance": max((answer.of_tolerance for answer in answers), default=0.0),
        }


def _throughput(session: Session, inputs: Sequence[Tensors], median_ms: float) -> float:
    """Inferences a second through ``stream``, which may keep several in flight."""
    count = int(np.clip(_STREAM_S * 1e3 / max(median_ms, 1e-3), 8, 2000))
    begin = time.perf_counter()
    done = sum(1 for _ in session.stream(islice(repeat(inputs[0]), count)))
    return done / (time.perf_counter() - begin)


def _resident() -> int:
    """Resident bytes of this process (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    """Read the request, write the trials; the exit status is 1 when the backend cannot be tried at all."""
    request = json.load(sys.stdin)
    answers = take_stdout()
    try:
        for trial in trials(request):
            answers.write(json.dumps(trial) + "\n")
            answers.flush()
    except EdgeaiError as error:
        answers.write(json.dumps({"refused": f"{error.code}: {error}"}) + "\n")
        answers.flush()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
