"""``edgeai fleet conduct`` as processes of their own, a real broker and a real PostgreSQL: killed where it matters.

What was signed is counted where it stays: each published document of a rollout lies in the repository for ever.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeai.mqtt import Broker
from edgeai.rollouts import Rollout
from edgeai.testing.broker import Mosquitto, find_mosquitto
from edgeai.testing.carts import Carts
from edgeai.testing.postgres import Postgres, find_postgres
from edgeai.testing.require import require
from edgeai_fleet.conducting import hearing
from edgeai_fleet.conducting.hearing import Retained
from edgeai_fleet.conducting.watching import TOPICS, read_truth
from edgeai_fleet.documents import read_documents

NURSERY = """
import json, os, signal, sys
from edgeai.cli.main import run
from edgeai.mqtt import Connection
from edgeai_fleet import publishing
from edgeai_fleet.commands import conduct
from edgeai_fleet.conducting import conductor, hearing, listening, signing, store

conduct._AGAIN_S, hearing._QUIET_S = 0.2, 0.3

def dying(real, is_it=lambda words: True):
    def call(*words, **more):
        if is_it(words):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*words, **more)
    return call

def die_at(point):
    if point == "store":
        proves = lambda words: any(each.verdict.word == "succeeded" for each in words[2])
        store.Round.keep_verdicts = dying(store.Round.keep_verdicts, proves)
    elif point == "sign":
        signing.Signing.move = dying(signing.Signing.move)
    elif point == "publish":
        signing.publish = dying(signing.publish)
    elif point == "timestamp":
        publishing.place = dying(publishing.place, lambda words: words[0].name == "timestamp.json")
    elif point == "tell":
        publish = signing.publish
        def published(*words, **more):
            publish(*words, **more)
            Connection.publish = dying(Connection.publish)
        signing.publish = published

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    order = json.loads(line)
    if os.fork():
        continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid:
        with open(order["at"] + ".pid", "w") as file:
            file.write(f"{pid}\\n")
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with open(order["at"] + ".end", "w") as file:
            file.write(f"{code}\\n")
        os._exit(0)
    out = os.open(order["at"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1), os.dup2(out, 2)
    sys.stdout.reconfigure(line_buffering=True)
    listening.GAP_S = order["gap_s"]
    die_at(order["point"])
    code = run(["fleet", "conduct", *order["words"], "--every", "0.3"])
    sys.stdout.flush()
    os._exit(code)
"""
"""Has imported all of it once, and forks each conductor, whose end its keeper writes down.

One dies before what was heard is kept, between that and the signing, with a signed document that nobody sees yet, with
all of it public but for the timestamp, and before it is told."""
TORTURE = int(os.environ.get("EDGEAI_TORTURE_CONDUCT", "0"))
POINTS = ("store", "sign", *(["publish"] if TORTURE else []), "timestamp", "tell")


class Process:
    """A conductor; what it prints is read as it comes."""

    def __init__(self, nursery: subprocess.Popen[str], at: Path, point: str, words: list[str], gap_s: float) -> None:
        self.at = at
        at.touch()
        assert nursery.stdin is not None
        order = {"at": str(at), "point": point, "words": words, "gap_s": gap_s}
        nursery.stdin.write(json.dumps(order) + "\n")
        nursery.stdin.flush()

    @property
    def end(self) -> int | None:
        """As of a process: a signal is below zero; ``None`` while it runs."""
        return self._number(".end")

    def says(self, words: str) -> None:
        until(lambda: words in self.at.read_text() or self.end is not None, self)
        assert words in self.at.read_text(), self

    def dies(self) -> None:
        until(lambda: self.end is not None, self)
        assert self.end == -signal.SIGKILL, self

    def kill(self) -> None:
        until(lambda: self._number(".pid") is not None, self)
        pid = self._number(".pid")
        assert pid is not None
        if self.end is None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: self.end is not None, self)

    def _number(self, suffix: str) -> int | None:
        with suppress(FileNotFoundError):
            text = Path(f"{self.at}{suffix}").read_text()
            return int(text) if text.endswith("\n") else None
        return None

    def __str__(self) -> str:
        return f"{self.at.name}: {self.at.read_text()}"


def until(is_so: Callable[[], bool], *shown: Process, every_s: float = 0.02) -> None:
    end = time.monotonic() + 240
    while not is_so():
        assert time.monotonic() < end, "\n".join(map(str, shown))
        time.sleep(every_s)


class Scene:
    """A broker of its own, a repository with a rollout of two phases, carts of some sites, and who conducts."""

    def __init__(self, nursery: subprocess.Popen[str], ops: Any, folder: Path, *sites: str) -> None:
        require("mosquitto", find_mosquitto() is not None, "a conductor needs a real broker")
        ops.begin_rollout()
        (folder / "broker").mkdir()
        self.nursery, self.ops, self.folder = nursery, ops, folder
        self.broker = Mosquitto(folder / "broker").start()
        offers = {each["release"]: each["digest"] for each in ops.told("status", ops.repo)["offers"]}
        self.carts = [Carts(self.broker.port, site, offers[1], offers[2]) for site in sites]
        for each in self.carts:
            for name in (*each.early, *each.late):  # a phase in which no cart stands holds by its soak alone
                each.status(name)
        self.processes: list[Process] = []

    def conduct(self, *words: str, point: str = "none", gap_s: float = 300.0) -> Process:
        keys = [word for name in ("rollouts", "snapshot", "timestamp") for word in ("--key", self.ops.key(name))]
        given = [str(self.ops.repo), "--broker", f"127.0.0.1:{self.broker.port}", *words, *keys]
        at = self.folder / f"conductor-{len(self.processes)}-{point}.txt"
        self.processes.append(Process(self.nursery, at, point, given, gap_s))
        return self.processes[-1]

    def succeed(self, phase: int, *sites: int) -> None:
        for site in sites or range(len(self.carts)):
            carts = self.carts[site]
            for name in (carts.early, carts.late)[phase - 1]:
                carts.succeeds(name)

    @property
    def published(self) -> Rollout:
        return read_documents(self.ops.folder, published=True).rollout("tiny-2")

    @property
    def signed(self) -> dict[tuple[int, str, int], int]:
        """How many documents were ever published, by serial, state and phase."""
        files = (self.ops.repo / "public/targets/rollouts").glob("*.tiny-2.json")
        every = [msgspec.json.decode(file.read_bytes()) for file in files]
        return dict(Counter((each["serial"], each.get("state", "running"), each.get("open", 1)) for each in every))

    def truth(self) -> dict[str, Any]:
        retained = Retained(Broker(host="127.0.0.1", port=self.broker.port, client_id="watch"), TOPICS)
        told: dict[str, Any] = read_truth(retained.bodies()).get("tiny-2", {})
        retained.close()
        return told

    def until_told(self, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        last: list[dict[str, Any]] = []

        def is_told() -> bool:
            last[:] = [self.truth()]
            return bool(last[0]) and is_so(last[0])

        until(is_told, *self.processes, every_s=0.3)
        return last[0]

    def close(self) -> None:
        for process in self.processes:
            process.kill()
        for carts in self.carts:
            carts.close()
        self.broker.stop()


BEGUN, OPENED, DONE = (1, "running", 1), (2, "running", 2), (3, "done", 2)


@pytest.fixture(scope="module")
def nursery() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", NURSERY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as process:
        yield process


@pytest.fixture
def scene(nursery: subprocess.Popen[str], ops: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(hearing, "_QUIET_S", 0.2)
    made = Scene(nursery, ops, tmp_path, "north", "south")
    yield made
    made.close()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    programs = find_postgres()
    require("postgresql", programs is not None, "Debian's package postgresql is not installed")
    assert programs is not None
    with Postgres(programs) as server:
        yield server


@pytest.mark.parametrize("again", range(TORTURE or 1))
def test_killed_at_every_point_and_without_its_broker_it_signs_each_step_once_and_skips_none(
    scene: Scene, again: int
) -> None:
    for point in POINTS:
        conductor = scene.conduct(point=point)
        if point in ("store", "sign"):  # what the second one heard is kept: the others need hear nothing
            conductor.says("tiny-2 (running, phase 1")
            scene.succeed(1)
        conductor.dies()
    assert scene.signed == {BEGUN: 1, OPENED: 1}
    assert scene.truth()["open"] == 1, "it died before it could tell"
    conductor = scene.conduct()
    scene.until_told(lambda told: told["open"] == 2)
    scene.broker.kill()
    conductor.says("broker: ")
    scene.broker.start()
    for carts in scene.carts:
        carts.reconnect()
    scene.until_told(lambda told: told["open"] == 2)
    scene.succeed(2)
    told = scene.until_told(lambda told: told["state"] == "done")
    assert (told["serial"], told["signs"], [phase["succeeded"] for phase in told["phases"]]) == (3, True, [8, 8])
    assert conductor.end is None, "the same process, all the while"
    assert scene.signed == {BEGUN: 1, OPENED: 1, DONE: 1}
    assert scene.ops.codes() == set(), "a cart takes each of its documents"


def test_two_share_sites_and_one_store_and_the_second_takes_over_when_the_first_dies(
    scene: Scene, postgres: Postgres
) -> None:
    url = postgres.database("shared")
    north, south = (("--store", url, "--sites", site, "--standby") for site in ("north", "south"))
    first = scene.conduct(*north)
    first.says("tiny-2 (running, phase 1")
    second = scene.conduct(*south, gap_s=3.0)
    second.says("hears south; another one judges and signs")
    scene.succeed(1, 1)
    told = scene.until_told(lambda told: told["open"] == 2)
    counts = [told["phases"][0][word] for word in ("succeeded", "waiting")]
    assert counts == [4, 4], "what the second heard was judged by the first"
    first.kill()
    second.says("signs\n")
    scene.until_told(lambda told: "no conductor hears north" in told["trouble"])
    third = scene.conduct(*north)
    third.says("hears north; another one judges and signs")
    scene.succeed(1, 0)
    scene.succeed(2)
    told = scene.until_told(lambda told: told["state"] == "done" and not told["trouble"])
    assert [phase["succeeded"] for phase in told["phases"]] == [8, 8]
    assert scene.signed == {BEGUN: 1, OPENED: 1, DONE: 1}


def test_after_the_database_has_fallen_one_of_two_signs_and_never_both(scene: Scene, postgres: Postgres) -> None:
    url = postgres.database("fallen")
    both = [scene.conduct("--store", url, "--standby") for _ in range(2)]
    until(lambda: any("signs\n" in each.at.read_text() for each in both), *both)
    until(lambda: any("another one judges" in each.at.read_text() for each in both), *both)
    postgres.kill()
    for each in both:
        each.says("trouble: the conductor's store")
    postgres.start()
    scene.succeed(1)
    scene.until_told(lambda told: told["open"] == 2)
    scene.succeed(2)
    scene.until_told(lambda told: told["state"] == "done")
    assert scene.signed == {BEGUN: 1, OPENED: 1, DONE: 1}
    assert [each.end for each in both] == [None, None]
