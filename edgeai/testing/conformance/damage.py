"""Damaged artifacts, each opened in another process, so that an abort is a finding and not the end of the test run."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from edgeai import request_json
from edgeai.api import BackendSpec, TensorSpec
from edgeai.plugins import PluginInfo, load_from
from edgeai.process import die_with_parent
from edgeai.testing.conformance.suite import child_environment
from edgeai.testing.examples import ArtifactExample

CASES = ("missing", "empty", "noise", "truncated", "a folder", "not its format")
_CASE_LIMIT_S = 180.0
_ANY = (TensorSpec(name="x", dtype="float32", shape=(1, 4)),)


@dataclass(frozen=True)
class Opening:
    """What became of one damaged artifact: ``outcome`` is an error's class, ``opened``, or how the process died.

    ``described`` is the same of ``describe``; empty where the backend has none, or the process did not come to it.
    """

    case: str
    what: str
    outcome: str
    message: str = ""
    described: str = ""


def open_damaged(
    info: PluginInfo, spec: BackendSpec, device: str, example: ArtifactExample | None, folder: Path
) -> list[Opening]:
    """Write every kind of damage below ``folder`` and open each in a child process, restarted if it dies."""
    example = example or ArtifactExample(path=folder / f"artifact.{spec.artifact_format}", inputs=_ANY, outputs=_ANY)
    artifacts = _damaged(example, folder)
    openings: list[Opening] = []
    while len(openings) < len(artifacts):
        openings += _one_child(info, spec.name, device, example, artifacts[len(openings) :], folder)
    return openings


def _damaged(example: ArtifactExample, folder: Path) -> list[tuple[str, str, Path]]:
    """(case, what it is, artifact) of every damage there is."""
    noise = random.Random(20240229).randbytes(4096)  # noqa: S311  # reproducible, no secret
    is_folder = example.path.is_dir()
    name = example.path.name
    made: list[tuple[str, str, Path]] = [("missing", "no such file", folder / "missing" / name)]
    if is_folder:
        (folder / "empty" / name).mkdir(parents=True)
        made.append(("empty", "a folder with nothing in it", folder / "empty" / name))
    else:
        made.append(("empty", "a file of no bytes", _write(folder / "empty" / name, b"")))
        made.append(("a folder", "a folder in place of a file", _folder(folder / "folder" / name)))
        made.append(("noise", "a file of noise", _write(folder / "noise" / name, noise)))
        made.append(("not its format", "a text file", _write(folder / "text" / name, b"%PDF-1.4 not a model\n" * 9)))
    if not example.path.exists():
        return made
    for number, part in enumerate(example.whole):
        for case, what, change in (
            ("truncated", "the first half of", lambda data: data[: len(data) // 2]),
            # Shorter than it was: raw weights are what bytes they are, and their length alone tells that these are not.
            ("noise", "noise, too short for", lambda data: noise[: max(0, len(data) - 1)]),
        ):
            copy = _copied(example, folder / f"{case}-{number}")
            damaged = (copy if is_folder else copy.parent) / part
            damaged.write_bytes(change(damaged.read_bytes()))
            made.append((case, f"{what} {part}", copy))
    return made


def _write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return path


def _folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def _copied(example: ArtifactExample, folder: Path) -> Path:
    target = folder / example.path.name
    if example.path.is_dir():
        shutil.copytree(example.path, target)
        return target
    for name in {*example.whole, example.path.name}:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(example.root / name, folder / name)
    return target


def _one_child(
    info: PluginInfo,
    backend: str,
    device: str,
    example: ArtifactExample,
    artifacts: list[tuple[str, str, Path]],
    folder: Path,
) -> list[Opening]:
    """Open as many of ``artifacts`` as one child survives; one at least is answered for."""
    report = folder / "report.jsonl"
    report.unlink(missing_ok=True)
    order = {
        "info": asdict(info),
        "backend": backend,
        "request": request_json.request(example.request(device)),
        "artifacts": [str(path) for _, _, path in artifacts],
        "report": str(report),
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=json.dumps(order),
            env=child_environment(),
            capture_output=True,
            text=True,
            timeout=_CASE_LIMIT_S,
            check=False,
        )
        death = _how_it_died(done.returncode, done.stderr)
    except subprocess.TimeoutExpired:
        death = ("hung", f"no answer in {_CASE_LIMIT_S:.0f} s")
    lines = report.read_text().splitlines() if report.exists() else []
    openings = [Opening(case, what, *json.loads(line)) for (case, what, _), line in zip(artifacts, lines, strict=False)]
    if len(openings) < len(artifacts):
        case, what, _ = artifacts[len(openings)]
        openings.append(Opening(case, what, *death))
    return openings


def _how_it_died(code: int, stderr: str) -> tuple[str, str]:
    how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    return how, stderr[-1500:]


def main() -> None:
    """The child: open each artifact of the order on standard input, one line of the report each."""
    die_with_parent()
    order = json.load(sys.stdin)
    plugin = load_from(PluginInfo(**order["info"]))
    spec = next(spec for spec in plugin.backends if spec.name == order["backend"])
    request = request_json.request_of(order["request"])
    with Path(order["report"]).open("w", encoding="utf-8") as report:
        for artifact in order["artifacts"]:
            try:
                spec.open(replace(request, artifact=Path(artifact))).close()
                answer = ("opened", "the damage was not noticed")
            except Exception as error:  # noqa: BLE001  # whatever it is, its name is the answer
                answer = (type(error).__name__, str(error))
            print(json.dumps((*answer, _described(spec, Path(artifact)))), file=report, flush=True)


def _described(spec: BackendSpec, artifact: Path) -> str:
    if spec.describe is None:
        return ""
    try:
        spec.describe(artifact)
    except Exception as error:  # noqa: BLE001  # as above
        return type(error).__name__
    return "described"


if __name__ == "__main__":
    main()
