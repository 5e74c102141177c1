"""A run: everything real is set up, the clocks are moved on, and what came of it is told."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.thousand.cart import Fleet
from benchmarks.thousand.clock import Clock, go_by
from benchmarks.thousand.crowd import Crowd, Told
from benchmarks.thousand.forecast import forecast
from benchmarks.thousand.kinds import kind_of
from benchmarks.thousand.web import WebServer
from edgeai.mqtt import Broker
from edgeai.testing.broker import Mosquitto
from edgeai.testing.repository import OpsTeam
from edgeai_fleet.conducting.conductor import Conductor, Seen
from edgeai_fleet.conducting.hearing import Ears
from edgeai_fleet.conducting.signing import signing_of
from edgeai_fleet.conducting.simulating import Forecast
from edgeai_fleet.conducting.store import Store, url_of
from edgeai_fleet.keys import signers_of
from edgeai_fleet.layout import Folder

ROLLOUT: Final = "tiny-2"
TICK_S: Final = 900.0
"""So far all carts live at a time."""
ROUNDS: Final = 4
"""Of the conductor meanwhile: after a longer gap it would not have listened, and no cart been silent."""
LIMIT_S: Final = 14 * 86_400.0
SITES: Final = 10
_ENDS: Final = ("done", "halted")
_MODULES: Final = ("edgeai_fleet.conducting.hearing", "edgeai_fleet.rollouts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is rolled out how: shares of the phases, hours that each is open at least, and when it is halted."""

    shares: tuple[float, ...] = (0.02, 0.2, 1.0)
    soak_h: float = 6.0
    failures: float = 0.2
    least: int = 3
    silent_h: float = 12.0

    @property
    def text(self) -> str:
        """As `edgeai fleet rollout start --plan` takes it."""
        halting = f"failures = {self.failures}\nleast = {self.least}\nsilent_s = {self.silent_h * 3600}\n"
        phases = (f"[[phases]]\nshare = {share}\nsoak_s = {self.soak_h * 3600}\n" for share in self.shares)
        return f"[halting]\n{halting}" + "".join(phases)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a run; ``seen``: the rollout as the conductor saw it last, ``hours``: by the carts' clocks."""

    seen: Seen
    forecast: Forecast
    told: Told
    hours: float
    wall_s: float
    requests: int
    web_s: float
    broker_s: float
    conductor_s: float


def run(
    folder: Path,
    carts: int,
    plan: Plan | None = None,
    *,
    processes: int = 2,
    tell: Callable[[str], None] = lambda line: None,
    **life: Any,
) -> Outcome:
    """Roll release 2 out to so many carts.

    Args:
        folder: for everything; some 400 kB a cart.
        carts: how many.
        plan: of the rollout.
        processes: that the carts share.
        tell: how far it is.
        life: of the carts, as ``Fleet`` has it.

    Raises:
        RuntimeError: a cart broke, or it came to no end.
    """
    _allow_many_files()
    plan = plan or Plan()
    with ExitStack() as ending:
        team = OpsTeam(folder / "ops")
        team.begin()
        first = team.bundle("tiny", 1, weights=20_000)
        team.offer(first)
        (folder / "broker").mkdir()
        broker = ending.enter_context(Mosquitto(folder / "broker", extra="autosave_interval 3600"))
        web = WebServer(team.public)
        ending.callback(web.kill)
        fleet = Fleet(at=folder / "carts", trust=team.trust, bundle=first, url=web.url, port=broker.port, **life)
        clock = Clock(time.time())
        conductor = _conductor(team, clock)
        ending.callback(conductor.store.close)
        ears = Ears(Broker(host="127.0.0.1", port=broker.port, client_id="conductor", protocol="5"))
        ending.callback(ears.close)
        crowds = _crowds(fleet, carts, processes, clock.now)
        for crowd in crowds:
            ending.callback(crowd.kill)
        for crowd in crowds:
            crowd.wait()
        tell(f"{carts} carts are there")
        began, began_at = time.monotonic(), clock.now
        _start(team, plan)
        cpu = _cpu_s(broker.pid), time.process_time()
        seen = _conducted(conductor, ears, crowds, clock, tell)
        wall_s = time.monotonic() - began
        broker_s, conductor_s = _cpu_s(broker.pid) - cpu[0], time.process_time() - cpu[1]
        told = _added([crowd.end() for crowd in crowds])
        requests, web_s = web.end()
        return Outcome(
            seen=seen,
            forecast=forecast(seen.rollout, names(carts), fleet),
            told=told,
            hours=(clock.now - began_at) / 3600,
            wall_s=wall_s,
            requests=requests,
            web_s=web_s,
            broker_s=broker_s,
            conductor_s=conductor_s,
        )


def _conducted(
    conductor: Conductor, ears: Ears, crowds: list[Crowd], clock: Clock, tell: Callable[[str], None]
) -> Seen:
    end = clock.now + LIMIT_S
    while clock.now < end:
        for crowd in crowds:
            crowd.begin(clock.now + TICK_S)
        for crowd in crowds:
            crowd.wait()
        for _ in range(ROUNDS):
            clock.now += TICK_S / ROUNDS
            seen = {each.rollout.name: each for each in conductor.round(ears, clock.now)}[ROLLOUT]
        tell(f"{seen.rollout.state}, phase {seen.rollout.open}: {seen.decision.step}: {seen.decision.why}")
        if seen.rollout.state in _ENDS:
            return seen
    raise RuntimeError(f"{ROLLOUT} came to no end: {seen.decision.why}")


def _conductor(team: OpsTeam, clock: Clock) -> Conductor:
    go_by(clock, _MODULES)
    folder = Folder(team.repo)
    keys, _ = signers_of([team.key(name) for name in ("rollouts", "snapshot", "timestamp")], lambda what: "")
    return Conductor(folder=folder, store=Store(url_of(team.repo, None)), signing=signing_of(folder, keys))


def _start(team: OpsTeam, plan: Plan) -> None:
    path = team.at / "plan.toml"
    path.write_text(plan.text)
    bundle = team.bundle("tiny", 2, weights=20_000)
    team.do("add", team.repo, bundle, "--by-rollout", "--key", team.key("targets"))
    words = ("--model", "tiny", "--plan", path, "--key", team.key("rollouts"))
    team.do("rollout", "start", team.repo, ROLLOUT, *words)
    team.publish()


def names(carts: int) -> list[str]:
    """``site/device`` of each."""
    return [f"site-{number % SITES}/cart-{number}" for number in range(carts)]


def _crowds(fleet: Fleet, carts: int, processes: int, now: float) -> list[Crowd]:
    every = [(name, kind_of(name, fleet.share, fleet.silent, fleet.seed)) for name in names(carts)]
    return [Crowd(fleet, every[number::processes], now) for number in range(processes)]


def _added(every: list[Told]) -> Told:
    total = Told()
    for each in every:
        for name in ("cpu_s", "messages", "message_bytes", "fetched_bytes", "looks", "images"):
            setattr(total, name, getattr(total, name) + getattr(each, name))
        total.carts |= each.carts
        total.codes |= each.codes
    return total


def _cpu_s(pid: int) -> float:
    """What a process has taken (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _allow_many_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
