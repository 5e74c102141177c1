"""``edgeai fleet conduct`` as processes of their own, a real broker and a real PostgreSQL: killed where it matters.

What was signed is counted where it stays: each published document of a rollout lies in the repository for ever.
"""

from __future__ import annotations

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

CHILD = """
import os, signal, sys
from edgeai.cli.main import run
from edgeai.mqtt import Connection
from edgeai_fleet import publishing
from edgeai_fleet.commands import conduct
from edgeai_fleet.conducting import hearing, listening, signing, store
conduct._AGAIN_S, hearing._QUIET_S = 0.2, 0.3
if os.environ.get("GAP_S"):
    listening.GAP_S = float(os.environ["GAP_S"])
def dying(real, is_it):
    def call(*words, **more):
        if is_it(words):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*words, **more)
    return call
def every(words):
    return True
match sys.argv[1]:
    case "store":
        store.Round.keep_verdicts = dying(
            store.Round.keep_verdicts, lambda words: any(each.verdict.word == "succeeded" for each in words[2])
        )
    case "sign":
        signing.Signing.move = dying(signing.Signing.move, every)
    case "publish":
        signing.publish = dying(signing.publish, every)
    case "timestamp":
        publishing.place = dying(publishing.place, lambda words: words[0].name == "timestamp.json")
    case "tell":
        publish = signing.publish
        def published(*words, **more):
            publish(*words, **more)
            Connection.publish = dying(Connection.publish, every)
        signing.publish = published
sys.exit(run(["fleet", "conduct", *sys.argv[2:], "--every", "0.1"]))
"""
"""Dies before what was heard is kept, between that and the signing, with a signed document that nobody sees yet, with
all of it public but for the timestamp, and before it is told."""
POINTS = ("store", "sign", "publish", "timestamp", "tell")


class Process:
    """A conductor; what it prints is read as it comes."""

    def __init__(self, at: Path, point: str, *words: str | Path, **environment: str) -> None:
        self.at = at
        with at.open("wb") as out:
            command = [sys.executable, "-u", "-c", CHILD, point, *map(str, words)]
            self.child = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **environment})

    def says(self, words: str) -> None:
        until(lambda: words in self.at.read_text() or self.child.poll() is not None, self)
        assert words in self.at.read_text(), self

    def dies(self) -> None:
        until(lambda: self.child.poll() is not None, self)
        assert self.child.returncode == -signal.SIGKILL, self

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.child.kill()
        self.child.wait()

    def __str__(self) -> str:
        return f"{self.at.name}: {self.at.read_text()}"


def until(is_so: Callable[[], bool], *shown: Process) -> None:
    end = time.monotonic() + 240
    while not is_so():
        assert time.monotonic() < end, "\n".join(map(str, shown))
        time.sleep(0.02)


class Scene:
    """A broker of its own, a repository with a rollout of two phases, carts of some sites, and who conducts."""

    def __init__(self, ops: Any, folder: Path, *sites: str) -> None:
        require("mosquitto", find_mosquitto() is not None, "a conductor needs a real broker")
        ops.begin_rollout()
        (folder / "broker").mkdir()
        self.ops, self.folder = ops, folder
        self.broker = Mosquitto(folder / "broker").start()
        offers = {each["release"]: each["digest"] for each in ops.told("status", ops.repo)["offers"]}
        self.carts = [Carts(self.broker.port, site, offers[1], offers[2]) for site in sites]
        for each in self.carts:
            for name in (*each.early, *each.late):  # a phase in which no cart stands holds by its soak alone
                each.status(name)
        self.processes: list[Process] = []

    def conduct(self, *words: str | Path, point: str = "none", signs: bool = True, **environment: str) -> Process:
        keys = [word for name in ("rollouts", "snapshot", "timestamp") for word in ("--key", self.ops.key(name))]
        given = (self.ops.repo, "--broker", f"127.0.0.1:{self.broker.port}", *words, *(keys if signs else ()))
        at = self.folder / f"conductor-{len(self.processes)}-{point}.txt"
        self.processes.append(Process(at, point, *given, **environment))
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

        until(is_told, *self.processes)
        return last[0]

    def close(self) -> None:
        for process in self.processes:
            process.kill()
        for carts in self.carts:
            carts.close()
        self.broker.stop()


BEGUN, OPENED, DONE = (1, "running", 1), (2, "running", 2), (3, "done", 2)


@pytest.fixture
def scene(ops: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(hearing, "_QUIET_S", 0.2)
    made = Scene(ops, tmp_path, "north", "south")
    yield made
    made.close()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    programs = find_postgres()
    require("postgresql", programs is not None, "Debian's package postgresql is not installed")
    assert programs is not None
    with Postgres(programs) as server:
        yield server


@pytest.mark.parametrize("again", range(int(os.environ.get("EDGEAI_TORTURE_CONDUCT", "1"))))
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
    assert conductor.child.poll() is None, "the same process, all the while"
    assert scene.signed == {BEGUN: 1, OPENED: 1, DONE: 1}
    assert scene.ops.codes() == set(), "a cart takes each of its documents"


def test_two_share_sites_and_one_store_and_the_second_takes_over_when_the_first_dies(
    scene: Scene, postgres: Postgres
) -> None:
    url = postgres.database("shared")
    north, south = (("--store", url, "--sites", site, "--standby") for site in ("north", "south"))
    first = scene.conduct(*north)
    first.says("tiny-2 (running, phase 1")
    second = scene.conduct(*south, GAP_S="3")
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
    assert [each.child.poll() for each in both] == [None, None]
