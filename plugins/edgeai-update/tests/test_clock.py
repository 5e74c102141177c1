"""``edgeai update`` as a process whose clock stands elsewhere: what it refuses then, it takes when that is right."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

import pytest

from edgeai.testing.repository import OpsTeam
from edgeai.testing.require import require
from edgeai.testing.scripted_server import ScriptedServer

pytestmark = pytest.mark.slow


def test_in_2001_and_in_2040_nothing_is_taken_and_afterwards_it_is(
    cart: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    require("faketime", shutil.which("faketime") is not None, "faketime is not installed")
    cart.serve(server.url)
    assert cart.outcome() == ("current", "")
    ops.offer(ops.bundle("tiny", 2))
    before = cart.slots.read()
    for offset, code in (("-25y", "update.clock"), ("+14y", "update.expired")):
        command = [sys.executable, "-m", "edgeai", "update", str(cart.profile), "--once", "--json"]
        done = subprocess.run(["faketime", "-f", offset, *command], capture_output=True, text=True, timeout=300)
        assert done.returncode == 1, done.stderr
        assert json.loads(done.stdout)["refused"]["code"] == code
        assert cart.slots.read() == before
    assert cart.outcome() == ("installed", "")
