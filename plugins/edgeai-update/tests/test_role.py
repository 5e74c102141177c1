"""A device that runs and looks by itself: real processes, a real server, a real repository."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from edgeai.testing.repository import OpsTeam
from edgeai.testing.scripted_server import ScriptedServer, Way
from edgeai.testing.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.system]


@pytest.fixture
def running(cart: Any, server: ScriptedServer) -> Iterator[Any]:
    """The device under its supervisor, which looks again at once."""
    cart.serve(server.url, "every_s = 1")
    text = cart.profile.read_text()
    head, _, tail = text.partition("[mqtt]")
    more = (
        '[jsonl]\npath = "results.jsonl"\n[health]\nenabled = false\n[ingest.scp]\nenabled = false\n'
        "[supervise]\nheartbeat_s = 0.2\n[updates]\nquiet_s = 0.1\n"
    )
    cart.profile.write_text(f"{head}{more}[mqtt]{tail}")
    with (cart.at / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "edgeai.roles", "supervise", "--config", str(cart.profile)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=log,
        )
    yield cart
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0


def events(cart: Any, kind: str) -> list[dict[str, Any]]:
    path = cart.at / "results.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    bodies = [json.loads(line) for line in lines]
    return [body for body in (each.get("body", each) for each in bodies) if body.get("kind") == kind]


def test_a_device_takes_what_is_offered_by_itself_and_says_when_nothing_comes(
    running: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    until(lambda: running.slots.read().running, what="adopting")
    server.ways = [Way("broken")]
    [trouble] = until(lambda: events(running, "update.trouble"), what="trouble being told")
    assert trouble["facts"]["code"] == "update.unreachable"
    ops.do("add", ops.repo, ops.bundle("tiny", 2), "--by-rollout", "--key", ops.key("targets"))
    ops.publish()
    server.ways = []
    until(lambda: events(running, "update.recovered"), what="recovery being told")
    assert running.slots.read().running.release == 1, "it comes by rollout only"
    ops.start()
    until(lambda: running.slots.read().running.release == 2, what="release 2 running")
    ops.rollout("rollback", "tiny", "--leave", "2", "--to", "1", "--why", "it misses")
    until(lambda: running.slots.read().running.release == 1, what="release 1 running again")
    [ordered] = until(lambda: events(running, "update.ordered-back"), what="the order being told")
    assert "it misses" in ordered["message"]
    assert len(events(running, "update.trouble")) == 1
