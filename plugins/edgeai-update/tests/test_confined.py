"""The update client writes below its ``data_dir`` and nowhere else, and executes nothing that it fetched.

As the shipped unit has it (``ProtectSystem=strict``), made here by bubblewrap: all of the machine is read-only but that
folder, and a ``/tmp`` of its own. What is executed is what strace sees of the process and all its children.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeai.testing.repository import OpsTeam
from edgeai.testing.require import require
from edgeai.testing.scripted_server import ScriptedServer

pytestmark = [pytest.mark.system, pytest.mark.slow]


def confined(cart: Any) -> list[str]:
    """A command that begins so may write ``data_dir`` alone."""
    bwrap = shutil.which("bwrap")
    require("bwrap", bwrap is not None, "bubblewrap is not installed")
    data = str(cart.kept.parent)
    words = [str(bwrap), "--ro-bind", "/", "/", "--dev", "/dev", "--tmpfs", "/dev/shm", "--bind", data, data]
    works = subprocess.run([*words, "true"], capture_output=True, text=True, check=False)
    require("bwrap", works.returncode == 0, f"bubblewrap makes no namespace here: {works.stderr.strip()}")
    return words


def update(*before: str, cart: Any) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-B", "-m", "edgeai", "update", str(cart.profile), "--once", "--json"]
    # Its temporary files lie where the unit's PrivateTmp would have them.
    environment = {**os.environ, "TMPDIR": str(cart.kept.parent)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)


def test_an_update_needs_no_folder_but_its_own(cart: Any, ops: OpsTeam, server: ScriptedServer) -> None:
    cart.serve(server.url)
    ops.offer(ops.bundle("tiny", 2))
    cart.kept.parent.mkdir(parents=True, exist_ok=True)
    before = confined(cart)
    outside = subprocess.run([*before, "touch", str(cart.at / "outside")], capture_output=True, text=True, check=False)
    assert outside.returncode != 0, "else the next lines would prove nothing"
    done = update(*before, cart=cart)
    assert '"outcome": "installed"' in done.stdout, done.stdout + done.stderr


def test_nothing_that_was_fetched_is_executed(cart: Any, ops: OpsTeam, server: ScriptedServer, tmp_path: Path) -> None:
    strace = shutil.which("strace")
    require("strace", strace is not None, "strace is not installed")
    log = tmp_path / "executed"
    probe = subprocess.run([str(strace), "-o", str(log), "true"], capture_output=True, text=True, check=False)
    require("strace", probe.returncode == 0, f"strace may not trace here: {probe.stderr.strip()}")
    cart.serve(server.url)
    ops.offer(ops.bundle("tiny", 2))
    cart.kept.parent.mkdir(parents=True, exist_ok=True)
    done = update(str(strace), "-f", "-qq", "-e", "trace=execve", "-o", str(log), cart=cart)
    assert '"outcome": "installed"' in done.stdout, done.stdout + done.stderr
    executed = set(re.findall(r'execve\("([^"]+)"', log.read_text()))
    assert sys.executable in executed
    assert not [path for path in executed if Path(path).is_relative_to(cart.at)]
    there = [path for path in cart.kept.parent.rglob("*") if path.is_file()]
    assert len(there) > 5
    assert not [path for path in there if path.stat().st_mode & 0o111], "no file that was fetched is a program"
