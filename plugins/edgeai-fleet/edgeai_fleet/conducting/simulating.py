"""What a rollout would do with these carts, before anything is signed: events in order of time, by a seed.

Each cart is a status that changes as a real one's would; it is judged, counted and decided on by what a conductor
judges, counts and decides with. No time passes, and the same seed gives the same run.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from msgspec.structs import replace

from edgeai.api.errors import ConfigError
from edgeai.rollouts import Facts, Rollout
from edgeai_fleet.changes import CHANGES, time_of
from edgeai_fleet.conducting.carts import Cart, Deployed, Ended, InSlot, InSlots, OnProbation, Status
from edgeai_fleet.conducting.judging import STATUS_EVERY_S, Moment, Verdict, judge, phase_of_cart
from edgeai_fleet.conducting.phases import WORDS, Decision, Standing, decide

MOVES: Final = {"go-on": "phase", "halt": "halt", "done": "finish"}
_DAY_S: Final = 86_400.0
_BEFORE: Final = InSlot(digest="before", model="", stage="good", stood=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is assumed of carts and links.

    Attributes:
        bytes: that a cart fetches.
        link: bytes a second, of each cart.
        look_every_s: between two looks at the repository.
        images: completed results a day, of each cart; they come by chance.
        idle: share of carts without any.
        needed: results that prove the bundle.
        rehearsal_s: of the golden cases, with opening the engine.
        rehearsal_fails: share of carts that do not answer them.
        probation_fails: share of carts that go back on probation.
        silent: share of carts that are not heard any more once they have it.
        longest_s: after so long the simulation ends, whatever is open.
        seed: of all chance.
    """

    bytes: int = 400_000
    link: float = 125_000.0
    look_every_s: float = 21_600.0
    images: float = 40.0
    idle: float = 0.0
    needed: int = 20
    rehearsal_s: float = 30.0
    rehearsal_fails: float = 0.0
    probation_fails: float = 0.0
    silent: float = 0.0
    longest_s: float = 90 * _DAY_S
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that the conductor did: after so many seconds, what and why, and how every phase stood."""

    at_s: float
    step: str
    why: str
    standings: tuple[Standing, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """How it went: each change, the last state, bytes that were fetched, messages that carts sent, failures by code."""

    state: str
    seconds: float
    changes: tuple[Change, ...]
    standings: tuple[Standing, ...]
    why: str
    fetched_bytes: int
    messages: int
    reasons: dict[str, int]
    carts: int
    left_out: int


@dataclass(slots=True)
class _Simulated:
    cart: Cart
    phase: int
    fate: str
    images: float
    published: int = 0
    failing_at: int = 0
    verdict: Verdict = field(default_factory=lambda: Verdict(word="waiting"))


def fleet_of(number: int, model: str) -> list[Facts]:
    """So many carts of no particular kind, ten to a site."""
    return [
        Facts(site=f"site-{at // 10}", device=f"cart-{at % 10}", edgeai="0.0.0", model=model, digest="before")
        for at in range(number)
    ]


def simulate(rollout: Rollout, devices: Sequence[Facts], world: World) -> Forecast:
    """Let it run until it is done, halted, or nothing more happens.

    Raises:
        ConfigError: ``fleet.devices``: the rollout takes none of these carts.
    """
    run = _Run(rollout, devices, world)
    if not run.carts:
        raise ConfigError(
            f"{rollout.name} takes none of these {len(devices)} carts",
            code="fleet.devices",
            remedy="look at the plan's select and replaces, and at the columns of the list",
        )
    run.open_phase()
    while run.events and run.rollout.state == "running" and run.now <= world.longest_s:
        run.step()
    return run.forecast()


class _Run:
    def __init__(self, rollout: Rollout, devices: Sequence[Facts], world: World) -> None:
        self.world = world
        self.random = random.Random(world.seed)  # noqa: S311  # the same seed, the same run
        self.began = time_of(rollout.since).timestamp()
        self.rollout = rollout if rollout.state == "running" else replace(rollout, state="running", halts=0)
        self.events: list[tuple[float, int, int, str]] = []
        self.now = 0.0
        self.number = 0
        self.opened: dict[int, float] = {}
        self.changes: list[Change] = []
        self.fetched = self.messages = 0
        self.why = ""
        self.carts = [each for each in (self._cart(facts) for facts in devices) if each is not None]
        self.left_out = len(devices) - len(self.carts)
        self.counts = [Counter[str]() for _ in rollout.plan.phases]

    def _cart(self, facts: Facts) -> _Simulated | None:
        plan, world = self.rollout.plan, self.world
        before = replace(_BEFORE, digest=facts.digest or (plan.replaces or ("before",))[0], model=plan.model)
        deployed = Deployed(name=plan.model, slots=InSlots(active="a", a=before, needed=world.needed))
        status = Status(
            state="online",
            edgeai_version=facts.edgeai,
            machine=facts.machine,
            labels=dict(facts.labels),
            backends=tuple(sorted(facts.backends)),
            deployments=(deployed,),
        )
        cart = Cart(site=facts.site, device=facts.device, status=status, heard_at=self.began)
        phase = phase_of_cart(self.rollout, cart)
        drawn, rate = self.random.random(), world.images * self.random.uniform(0.5, 1.5)
        if phase is None:
            return None
        fates = (("silent", world.silent), ("rehearsal", world.rehearsal_fails), ("probation", world.probation_fails))
        fate = "well"
        for name, share in fates:
            if 0 <= drawn < share:
                fate = name
            drawn -= share
        return _Simulated(
            cart=cart,
            phase=phase,
            fate=fate,
            images=0.0 if self.random.random() < world.idle else rate,
            failing_at=self.random.randint(1, max(1, world.needed - 1)),
        )

    def open_phase(self) -> None:
        """Its carts look at their own time from now on."""
        number = self.rollout.open
        for phase in range(1, number + 1):
            if phase in self.opened:
                continue
            self.opened[phase] = self.now
            for at, each in enumerate(self.carts):
                if each.phase == phase:
                    self.counts[phase - 1]["waiting"] += 1
                    self._later(self.random.uniform(0.0, self.world.look_every_s), at, "looks")
                    self._later(self._silent_s + 1.0, at, "asked")
        self._later(self.rollout.plan.phases[number - 1].soak_s, -1, "soaked")

    def step(self) -> None:
        """The next event, and what follows from it."""
        self.now, _, at, what = heapq.heappop(self.events)
        if at >= 0 and not self._happens(at, what):
            return  # nobody's word changed, so nothing follows
        standings = tuple(_standing(each) for each in self.counts)
        since = self.began + self.opened[self.rollout.open]
        decision = decide(self.rollout, standings, self.began + self.now, since)
        self.why = decision.why
        if decision.step != "wait":
            self._follow(decision, standings)

    def forecast(self) -> Forecast:
        """As it is now."""
        codes = Counter(
            each.verdict.code for each in self.carts if each.verdict.word in ("failed", "silent") and each.verdict.code
        )
        return Forecast(
            state=self.rollout.state,
            seconds=self.now,
            changes=tuple(self.changes),
            standings=tuple(_standing(each) for each in self.counts),
            why=self.why,
            fetched_bytes=self.fetched,
            messages=self.messages + round(self.now / STATUS_EVERY_S) * len(self.carts),
            reasons=dict(codes.most_common()),
            carts=len(self.carts),
            left_out=self.left_out,
        )

    @property
    def _silent_s(self) -> float:
        return max(self.rollout.plan.halting.silent_s, 3 * STATUS_EVERY_S)

    def _follow(self, decision: Decision, standings: tuple[Standing, ...]) -> None:
        now = datetime.fromtimestamp(self.began + self.now, UTC)
        self.rollout = CHANGES[MOVES[decision.step]](self.rollout, now, decision.why[:1000])
        self.changes.append(Change(at_s=self.now, step=decision.step, why=decision.why, standings=standings))
        if decision.step == "go-on":
            self.open_phase()

    def _later(self, seconds: float, at: int, what: str) -> None:
        self.number += 1
        heapq.heappush(self.events, (self.now + seconds, self.number, at, what))

    def _happens(self, at: int, what: str) -> bool:
        """What happens to a cart; whether it is another word now."""
        each, plan, world = self.carts[at], self.rollout.plan, self.world
        spare = InSlot(digest=plan.digest, model=plan.model, stage="installed", release=plan.release)
        if what == "looks":
            self._later(world.bytes / world.link, at, "fetched")
        elif what == "fetched":
            self.fetched += world.bytes
            if each.fate == "silent":
                each.cart = replace(each.cart, is_online=False)
                self._later(self._silent_s + 1.0, at, "asked")
            else:
                self._is_now(each, b=spare)
                self._later(world.rehearsal_s, at, "rehearsed")
        elif what == "rehearsed" and each.fate == "rehearsal":
            self._ends(each, "failed", "slots.rehearsal-died", "its golden cases were not answered")
        elif what == "rehearsed":
            probation = OnProbation(needed=world.needed)
            self._is_now(each, active="b", b=replace(spare, stage="good", stood=True), probation=probation)
            self._next_image(each, at)
        elif what == "image":
            self._image(each, at)
        before = each.verdict.word
        self._judge(each)
        return each.verdict.word != before

    def _next_image(self, each: _Simulated, at: int) -> None:
        if each.images:
            self._later(self.random.expovariate(each.images / _DAY_S), at, "image")

    def _image(self, each: _Simulated, at: int) -> None:
        if each.fate == "probation" and each.published + 1 >= each.failing_at:
            self._ends(each, "rolled-back", "slots.failures", "more failures than its bound")
            return
        each.published += 1
        self.messages += 1
        done = each.published >= self.world.needed
        on = None if done else OnProbation(needed=self.world.needed, completed=each.published)
        self._is_now(each, probation=on)
        if not done:
            self._next_image(each, at)

    def _ends(self, each: _Simulated, move: str, code: str, why: str) -> None:
        ended = Ended(move=move, digest=self.rollout.plan.digest, code=code, why=why)
        self._is_now(each, active="a", b=None, probation=None, last_end=ended)

    def _is_now(self, each: _Simulated, **changes: object) -> None:
        (deployed,) = each.cart.status.deployments
        assert deployed.slots is not None
        changed = replace(deployed, slots=replace(deployed.slots, **changes))
        status = replace(each.cart.status, deployments=(changed,))
        each.cart = replace(each.cart, status=status, heard_at=self.began + self.now)
        self.messages += 1

    def _judge(self, each: _Simulated) -> None:
        now = self.began + self.now
        # One that is online says its status every quarter of an hour, which is no event here.
        cart = replace(each.cart, heard_at=now) if each.cart.is_online else each.cart
        turn_since = self.began + self.opened[each.phase]
        moment = Moment(now=now, turn_since=turn_since, listening_since=self.began)
        verdict = judge(self.rollout, cart, each.published, moment)
        self.counts[each.phase - 1][each.verdict.word] -= 1
        self.counts[each.phase - 1][verdict.word] += 1
        each.verdict = verdict


def _standing(words: Counter[str]) -> Standing:
    """A standing of counts by word."""
    return Standing(**{name: words[name] for name in WORDS})
