"""What is real in a run: the repository with its keys, a broker, a web server, and the conductor."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from benchmarks.thousand.clock import Clock, go_by
from benchmarks.thousand.profiles import Fleet
from benchmarks.thousand.web import WebServer
from edgeai.mqtt import Broker
from edgeai.testing.broker import Mosquitto
from edgeai.testing.repository import OpsTeam
from edgeai_fleet.conducting.conductor import Conductor
from edgeai_fleet.conducting.databases import url_of
from edgeai_fleet.conducting.hearing import Ears
from edgeai_fleet.conducting.seeing import Seen
from edgeai_fleet.conducting.signing import signing_of
from edgeai_fleet.conducting.store import Store
from edgeai_fleet.keys import signers_of
from edgeai_fleet.layout import Folder

ROLLOUT: Final = "tiny-2"
MODEL: Final = "tiny"
_WEIGHTS: Final = 20_000
_MODULES: Final = ("edgeai_fleet.conducting.hearing", "edgeai_fleet.rollouts")


class Stage:
    """Everything but carts, until it is left.

    Args:
        folder: for all of it.
        clock: by which the conductor goes.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._at, self._clock = folder, clock
        self._ending = ExitStack()
        self._team = OpsTeam(folder / "ops")

    def __enter__(self) -> Stage:
        with ExitStack() as ending:
            self._team.begin()
            self._first = self._team.bundle(MODEL, 1, weights=_WEIGHTS)
            self._team.offer(self._first)
            (self._at / "broker").mkdir()
            self._broker = ending.enter_context(Mosquitto(self._at / "broker", extra="autosave_interval 3600"))
            self._web = WebServer(self._team.public)
            ending.callback(self._web.kill)
            self._conductor = self._conducting()
            ending.callback(self._conductor.store.close)
            place = Broker(host="127.0.0.1", port=self._broker.port, client_id="conductor", protocol="5")
            self._ears = Ears(place)
            ending.callback(self._ears.close)
            self._ending = ending.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def fleet(self, **life: Any) -> Fleet:
        """Carts that run the first release, and look here."""
        return Fleet(
            at=self._at / "carts",
            trust=self._team.trust,
            bundle=self._first,
            url=self._web.url,
            port=self._broker.port,
            **life,
        )

    def start(self, plan: str) -> None:
        """Offer release 2 by a rollout of this plan, TOML, and publish it."""
        path = self._team.at / "plan.toml"
        path.write_text(plan)
        team = self._team
        team.do("add", team.repo, team.bundle(MODEL, 2, weights=_WEIGHTS), "--by-rollout", "--key", team.key("targets"))
        words = ("--model", MODEL, "--plan", path, "--key", team.key("rollouts"))
        team.do("rollout", "start", team.repo, ROLLOUT, *words)
        team.publish()

    def round(self) -> Seen:
        """One of the conductor, at the clock's moment."""
        return {each.rollout.name: each for each in self._conductor.round(self._ears, self._clock.now)}[ROLLOUT]

    def spent_s(self) -> dict[str, float]:
        """Processor time so far: of this process, which is the conductor's, and of the broker."""
        return {"conductor": time.process_time(), "broker": _cpu_s(self._broker.pid)}

    def end_web(self) -> tuple[int, float]:
        """Requests that the web server answered, and seconds of a processor that it took."""
        return self._web.end()

    def _conducting(self) -> Conductor:
        go_by(self._clock, _MODULES)
        folder = Folder(self._team.repo)
        keys, _ = signers_of([self._team.key(name) for name in ("rollouts", "snapshot", "timestamp")], lambda what: "")
        return Conductor(folder=folder, store=Store(url_of(self._team.repo, None)), signing=signing_of(folder, keys))


def _cpu_s(pid: int) -> float:
    """What a process has taken (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
