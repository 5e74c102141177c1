"""Children that may die or hang: they report a JSON line at a time, and how they ended is said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeai.process import for_a_child

Row = dict[str, Any]

_POLL_S = 0.1


def run_child(
    module: str, order: Mapping[str, Any], *, folder: Path, stall_s: float, on_row: Callable[[Row], None]
) -> tuple[int | None, str]:
    """Run ``python -m MODULE ORDER`` in ``folder``; each line that it adds to the file ``order["report"]`` is a row.

    The clock runs from the start, so that imports count. The child is in a session of its own, so that it is killed
    with whatever it started, and it dies with this process (``edgeai.process.die_with_parent``, which it calls first).

    Args:
        module: what runs.
        order: its order, as JSON on its command line; ``report`` is added.
        folder: where it runs.
        stall_s: seconds without a row after which it is killed.
        on_row: called with each row as it comes.

    Returns:
        Its exit status (negative: the signal that it died of; ``None``: killed since it gave no news), and the end of
        what it printed.
    """
    with tempfile.TemporaryDirectory(prefix="edgeai-check-") as scratch:
        report, log = Path(scratch, "report.jsonl"), Path(scratch, "log.txt")
        report.touch()
        path = os.pathsep.join(entry for entry in sys.path if entry)
        with log.open("wb") as printed:
            child = subprocess.Popen(
                [sys.executable, "-m", module, json.dumps({**order, "report": str(report)})],
                cwd=folder,
                env={**for_a_child(), "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = _watch(child, report, stall_s, on_row)
            finally:
                _kill(child)
        return code, log.read_bytes().decode(errors="replace")[-2000:]


def _watch(child: subprocess.Popen[bytes], report: Path, stall_s: float, on_row: Callable[[Row], None]) -> int | None:
    news = time.monotonic()
    with report.open("rb") as rows:
        while True:
            code = child.poll()  # asked first: what it wrote before it ended is read below
            heard = False
            while line := rows.readline():
                if not line.endswith(b"\n"):
                    rows.seek(-len(line), os.SEEK_CUR)  # the rest of it is on its way
                    break
                heard = True
                on_row(json.loads(line))
            if code is not None:
                return code
            if heard:
                news = time.monotonic()
            elif time.monotonic() - news > stall_s:
                return None
            time.sleep(_POLL_S)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End it with all that it started, if anything of that is left."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        child.wait()


def how_it_ended(code: int | None, printed: str, stall_s: float) -> tuple[str, str]:
    """The outcome, ``died`` or ``hung``, with the exit status or signal and the end of what it printed."""
    if code is None:
        return "hung", f"no news for {stall_s:g} s; killed\n{printed}".strip()
    how = f"the process died of {_signal(-code)}" if code < 0 else f"the process ended with status {code}"
    return "died", f"{how}\n{printed}".strip()


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has no name of its own
        return f"signal {number}"
