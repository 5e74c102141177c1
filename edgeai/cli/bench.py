"""``edgeai bench BUNDLE``: how fast each artifact is on each engine of this machine, and whether it still agrees."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeai.cli import output
from edgeai.cli.given import meant_backends

if TYPE_CHECKING:
    from edgeai.bundle.reader import Bundle
    from edgeai.model.fastest import Trial

COLUMNS = (
    *("artifact", "engine", "device", "threads", "median ms", "5 to 95 %", "x fastest"),
    *("per second", "memory MB", "cold ms", "golden", "why not"),
)


def command(
    bundle: Annotated[Path, typer.Argument(help="A .edgeai file or an unpacked bundle.", show_default=False)],
    backend: Annotated[
        list[str] | None, typer.Option("--backend", "-b", help="Only this backend; may be given more than once.")
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="Only this device, as the engine names it.")] = None,
    threads: Annotated[int, typer.Option("--threads", min=0, max=256, help="Only so many; 0 for several.")] = 0,
    as_json: Annotated[bool, output.option("The table as JSON on standard output.")] = False,
) -> None:
    """Measure every artifact of a bundle on every engine and device here; the same as `backends = ["fastest"]` does.

    Each backend runs in a process of its own on the bundle's golden cases. Times are of one inference, without
    decoding and transforms; "per second" is the throughput with as many in flight as the engine likes; "memory" the
    growth of the process by opening and running; "cold" from starting a process to its first answer; "golden" the worst
    golden answer as a part of what is allowed. What is above 100 % there, or dies, would never be chosen.

    For example:

      edgeai bench models/modality-guard/modality-guard-1.0.1.edgeai --backend tflite --threads 1

    Exit status: 0 when something runs and agrees, 1 when nothing does, 2 when the command cannot be used.
    """
    from edgeai.bundle.reader import open_bundle
    from edgeai.cli.progress import progress_line
    from edgeai.model.fastest import try_all

    opened = open_bundle(bundle)
    backends = meant_backends(backend) if backend else _fitting(opened)
    with progress_line() as progress:
        ranking = try_all(opened, backends, threads=threads, device=device, progress=progress)
    if as_json:
        output.put(
            json.dumps({"bundle": opened.digest, "trials": [asdict(trial) for trial in ranking.trials]}, indent=1)
        )
    else:
        refused = [trial for trial in ranking.trials if trial.why_not]
        _print([*ranking.admissible, *refused])
        typer.echo(f"{opened.manifest.name} {opened.manifest.version}, {opened.digest}")
    if not ranking.admissible:
        raise typer.Exit(1)


def _fitting(bundle: Bundle) -> list[tuple[str, str]]:
    """(backend, plugin) of all that are installed and open a format of the bundle; what is left out is told."""
    from edgeai.api.specs import BackendSpec
    from edgeai.resolving import Installed

    installed = Installed()
    formats = {artifact.format for artifact in bundle.artifacts}
    fitting = [
        (spec.name, info.name)
        for spec, info in installed.every("backend")
        if isinstance(spec, BackendSpec) and spec.artifact_format in formats
    ]
    for name, error in installed.faults.items():
        typer.echo(f"plugin {name} is left out, since it does not load: {error}", err=True)
    twice = {spec.name: error for spec, error in installed.contested("backend")}
    for error in twice.values() if fitting else ():
        typer.echo(f"left out: {error}; {error.remedy}", err=True)
    for error in () if fitting else twice.values():
        raise error
    return fitting


def _print(trials: Sequence[Trial]) -> None:
    fastest = min((trial.median_ms for trial in trials if not trial.why_not), default=1.0)
    rows = [COLUMNS, *(_cells(trial, fastest) for trial in trials)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(COLUMNS))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cells(trial: Trial, fastest: float) -> tuple[str, ...]:
    where = (trial.artifact, trial.engine or trial.backend, trial.device, str(trial.threads or ""))
    if trial.why_not:
        return (*where, "", "", "", "", "", "", "", trial.why_not)
    return (
        *where,
        f"{trial.median_ms:.3f}",
        f"{trial.p5_ms:.3f} to {trial.p95_ms:.3f}",
        f"{trial.median_ms / fastest:.2f}",
        f"{trial.throughput:.0f}",
        f"{trial.memory_bytes / 1e6:.1f}",
        f"{trial.cold_ms:.0f}",
        f"{trial.of_tolerance:.0%}",
        "",
    )
