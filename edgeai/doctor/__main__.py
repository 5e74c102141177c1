"""The process that a part of the examination runs in: ``python -m edgeai.doctor examine`` (see ``apart``)."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from edgeai import process
from edgeai.roles import PARENT


def main() -> int:
    """Examine one part; 0 when it came to its end, whatever was found."""
    parser = argparse.ArgumentParser(prog="python -m edgeai.doctor")
    parser.add_argument("role", choices=["examine"])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--part", required=True)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--limit-s", type=float, required=True)
    given = parser.parse_args()
    os.environ[process.PARENT] = os.environ.pop(PARENT, "")
    process.die_with_parent()
    # Whatever a plugin or an engine prints is no answer; its last words are told when it dies.
    output = os.open(given.into / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    from edgeai.doctor.examine import examine

    examine(given.config, given.part, given.into, given.limit_s)
    return 0


if __name__ == "__main__":
    sys.exit(main())
