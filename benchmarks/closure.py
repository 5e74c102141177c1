"""``python -m benchmarks.closure [PROCESS ...]``: what each has imported when it begins, and its memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

STARTS = {
    "supervise": "import edgeai.roles.__main__, edgeai.roles.supervise",
    "ingest": "import edgeai.roles.__main__, edgeai.roles.ingest",
    "infer": "import edgeai.roles.__main__, edgeai.roles.infer",
    "publish": "import edgeai.roles.__main__, edgeai.roles.publish; from edgeai.plugins import Registry;"
    " assert not Registry.of(('mqtt', 'jsonl')).faults",
    "update": "import edgeai.roles.__main__, edgeai.roles.update",
    "edgeai infer": "import edgeai.cli.main, edgeai.cli.infer, edgeai.model",
}
"""Process -> what it imports before it sees an image. ``infer`` imports plugins later, by its profile."""

_TELL = "; import json, resource, sys; print(json.dumps([sorted(sys.modules), resource.getrusage(0).ru_maxrss]))"


def closure(process: str, compiled: Path) -> tuple[list[str], float]:
    """The modules of a process out of ``STARTS``, and its memory in MB. In one of its own, from compiled sources.

    Args:
        process: its name.
        compiled: a folder for what is compiled, which those that come later find there.
    """
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(compiled)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    for _ in ("compile", "look"):
        done = subprocess.run(
            [sys.executable, "-c", STARTS[process] + _TELL],
            check=True,
            capture_output=True,
            text=True,
            env=environment,
            cwd=Path(__file__).resolve().parents[1],
        )
    modules, kilobytes = json.loads(done.stdout)
    return modules, kilobytes / 1024.0


def main() -> None:
    print(f"{'process':<14}{'modules':>8}{'edgeai':>8}{'MB':>6}")
    with tempfile.TemporaryDirectory() as folder:
        for process in sys.argv[1:] or STARTS:
            modules, megabytes = closure(process, Path(folder))
            own = [name for name in modules if name.partition(".")[0] == "edgeai"]
            print(f"{process:<14}{len(modules):>8}{len(own):>8}{megabytes:>6.0f}")


if __name__ == "__main__":
    main()
