"""Killed, cut off or without room at every point where an update writes: what ran runs, and the next look ends well.

Each point is a call that changes something below ``data_dir`` (``edgeai.testing.faulty_disk``). Kills are real: a child
of this process ends itself by SIGKILL there.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeai.bundle.reader import verify_folder
from edgeai.slots import Slots
from edgeai.testing import faulty_disk
from edgeai.testing.faulty_disk import Cut, FaultyDisk, Killed
from edgeai.testing.repository import OpsTeam
from edgeai.testing.scripted_server import ScriptedServer, Way
from edgeai_update.outcomes import Outcome
from edgeai_update.sources import FolderSource
from edgeai_update.updating import Updating

pytestmark = pytest.mark.slow
TIMES = int(os.environ.get("EDGEAI_TORTURE_UPDATES", "1"))
"""Each point so often; `make torture` has twenty."""


class Bench:
    """A cart on which release 1 runs and release 2 waits to be replaced by 3, put back before each trial."""

    def __init__(self, cart: Any, ops: OpsTeam) -> None:
        self.cart, self.ops = cart, ops
        self.data = cart.at / "var"
        self.kept = cart.at / "var before"
        shutil.copytree(self.data, self.kept)

    def put_back(self) -> None:
        shutil.rmtree(self.data)
        shutil.copytree(self.kept, self.data)

    def look(self) -> Outcome:
        config = self.cart.config
        source = FolderSource(self.ops.public)
        assert config.repository is not None
        [outcome] = Updating(config, source, config.repository.root, sleep=lambda _: None).look(install=True).outcomes
        return outcome

    def in_a_child(self, work: Callable[[], None]) -> int:
        """How a child ended that did this work."""
        child = os.fork()
        if child == 0:
            try:
                work()
                os._exit(0)
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
        return os.waitpid(child, 0)[1]

    def hold(self) -> Slots:
        """What ran before runs, and is whole."""
        slots: Slots = self.cart.slots.read()
        assert slots.running is not None
        assert (slots.active, slots.running.release, slots.bad) == ("a", 1, {})
        assert verify_folder(self.cart.slots.content("a")).manifest.release == 1
        spare = slots.of("b")
        if spare is not None and spare.stage != "pending":
            assert verify_folder(self.cart.slots.content("b")).digest == spare.digest
        return slots

    def hold_to_end(self, *, again: bool = True) -> None:
        """The next look, without a fault, ends as one that never had any, and one more finds nothing to do."""
        outcome = self.look()
        assert (outcome.outcome, outcome.release) in (("installed", 3), ("ready", 3)), outcome
        slots = self.hold()
        assert slots.b is not None
        assert (slots.b.release, slots.b.stage) == (3, "installed")
        assert not again or self.look().outcome == "ready"
        left = {path.name for path in (self.data / "update").iterdir()}
        assert left <= {"metadata", "blobs", ".lock"}
        assert not list((self.data / "update/blobs").iterdir())
        assert {path.name for path in (self.data / "slots/guard").iterdir()} == {"a", "b", "slots.json", ".lock"}


@pytest.fixture
def bench(cart: Any, ops: OpsTeam, known_engines: None) -> Bench:
    ops.offer(ops.bundle("tiny", 2, weights=20_000))
    cart.rewrite()
    assert cart.update("--from", ops.public)["outcome"] == "installed"
    ops.offer(ops.bundle("tiny", 3, weights=20_000))
    return Bench(cart, ops)


def points_of(bench: Bench) -> int:
    disk = FaultyDisk(bench.data)
    with disk.armed(None):
        assert bench.look().outcome == "installed"
    disk.close()
    bench.hold_to_end()
    print(f"{disk.points} points, each {TIMES} times")
    return disk.points


def each_point(points: int) -> Iterator[int]:
    """From 1, all of them as often as is asked for."""
    for _ in range(TIMES):
        yield from range(1, points + 1)


def test_a_kill_at_every_point(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    points = points_of(bench)
    assert points > 60
    for at in each_point(points):
        bench.put_back()

        def work(at: int = at) -> None:
            faulty_disk.Killed.__init__ = lambda self: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign,misc,assignment]
            with FaultyDisk(bench.data).armed("kill", at):
                bench.look()

        ended = bench.in_a_child(work)
        assert os.WIFSIGNALED(ended), at
        assert os.WTERMSIG(ended) == signal.SIGKILL, at
        bench.hold()
        bench.hold_to_end(again=TIMES > 1 or at % 4 == 0)


def test_a_power_cut_at_every_point(bench: Bench) -> None:
    """What was not synced is lost: its content, and by turns what was made and renamed or nothing of that."""
    points = points_of(bench)
    for at in each_point(points):
        bench.put_back()
        disk = FaultyDisk(bench.data)
        with pytest.raises(Killed), disk.armed("cut", at):
            bench.look()
        disk.restart(Cut(names=bool(at % 2), contents=False))
        disk.close()
        bench.hold()
        bench.hold_to_end(again=TIMES > 1 or at % 4 == 0)


def test_a_full_disk_from_every_point_on(bench: Bench) -> None:
    points = points_of(bench)
    refused = 0
    for at in each_point(points):
        bench.put_back()
        disk = FaultyDisk(bench.data)
        with disk.armed("full", at):
            try:
                code = bench.look().code
            except Exception as error:
                code = getattr(error, "code", repr(error))
        disk.close()
        assert code in ("", "update.unwritable", "slots.unwritable"), (at, code)
        refused += code != ""
        bench.hold()
        bench.hold_to_end(again=TIMES > 1 or at % 4 == 0)
    assert refused > TIMES * (points // 2)


def test_a_killed_command_goes_on_where_it_was(cart: Any, ops: OpsTeam, server: ScriptedServer) -> None:
    """The command itself, killed while a blob comes from a server, again and again."""
    ops.offer(ops.bundle("tiny", 2, weights=600_000))
    cart.serve(server.url)
    server.ways = [Way("half", "blobs/"), Way("waits", "blobs/")]
    command = [sys.executable, "-m", "edgeai", "update", str(cart.profile), "--once", "--json"]
    weights = max((ops.public / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    server.ways = [Way("half", weights.name, times=1), Way("waits", weights.name)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 300
    while not any(each.path.endswith(weights.name) and each.offset for each in server.asked):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert cart.slots.read().running.release == 1
    [part] = [path for path in (cart.kept / "blobs").glob("*.part") if path.stat().st_size > 200_000]
    here = part.stat().st_size
    server.ways, seen = [], len(server.asked)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    [outcome] = json.loads(done.stdout)["deployments"]
    assert outcome["outcome"] == "installed"
    assert [each.offset for each in server.asked[seen:] if each.path.endswith(weights.name)] == [here]
    assert outcome["fetched_bytes"] < 600_000
    assert Path(cart.slots.content("b") / "artifacts/fake-fp32/model.weights").stat().st_size == 600_000
