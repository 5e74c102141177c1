"""What a process group holds: its children too, and what they share only once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from edgeai.roles import memory
from edgeai.roles.memory import group_bytes

MB = 1_000_000
HOARD = 80 * MB

_HOARDER = f"""
import os, sys, time
hoard = os.urandom({HOARD}) if sys.argv[1] in ("alone", "shares") else b""
if sys.argv[1] != "alone" and os.fork() == 0:
    if sys.argv[1] == "starts":
        hoard = os.urandom({HOARD})
    os.write(1, b"ready\\n")
    time.sleep(600)
if sys.argv[1] == "alone":
    os.write(1, b"ready\\n")
time.sleep(600)
"""


@pytest.fixture
def hoarder() -> Iterator[Any]:
    """``hoarder(how)`` -> the group of a process that holds 80 MB: alone, in a child, or shared with a child."""
    running: list[subprocess.Popen[bytes]] = []

    def start(how: str) -> int:
        command = [sys.executable, "-c", _HOARDER, how]
        process = subprocess.Popen(command, process_group=0, stdout=subprocess.PIPE)
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process.pid

    yield start
    for process in running:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["alone", "starts", "shares"])
def test_what_a_group_holds_is_counted_once(hoarder: Any, how: str) -> None:
    held = group_bytes(hoarder(how))
    assert HOARD < held < HOARD + 40 * MB, "a fork shares its pages with its parent"


@pytest.mark.slow
def test_nobody_walks_all_pages_of_what_is_small_for_certain(hoarder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    group = hoarder("alone")
    assert group_bytes(group, more_than=HOARD // 2) > HOARD
    monkeypatch.setattr(memory, "_proportional", lambda process: pytest.fail("walked"))
    assert group_bytes(group, more_than=10 * HOARD) == 0


@pytest.mark.slow
def test_without_smaps_rollup_what_is_its_own_counts(hoarder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    group = hoarder("alone")
    read = memory._sum

    def absent(path: Any, names: Any) -> int:
        if path.name == "smaps_rollup":
            raise FileNotFoundError(path)
        return read(path, names)

    monkeypatch.setattr(memory, "_sum", absent)
    assert HOARD < group_bytes(group) < HOARD + 40 * MB


@pytest.mark.slow
def test_a_group_that_is_gone_holds_nothing(hoarder: Any) -> None:
    group = hoarder("alone")
    os.killpg(group, signal.SIGKILL)
    os.waitid(os.P_PID, group, os.WEXITED | os.WNOWAIT)
    assert group_bytes(group) == 0, "a zombie that nobody has reaped yet"
