"""What a rollout would do with these carts, before anything is signed: events in order of time, by a seed.

Carts live by ``lives``; they ask whether their turn has come, are judged, counted and decided on by what real carts and
a conductor ask, judge, count and decide with. No time passes, and the same seed gives the same run.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from msgspec.structs import replace

from edgeai.api.errors import ConfigError
from edgeai.counted import counted
from edgeai.rollouts import Approval, Facts, Rollout
from edgeai_fleet.changes import CHANGES, time_of, word_of
from edgeai_fleet.conducting.judging import LATE_S, Moment, judge, phase_of_cart
from edgeai_fleet.conducting.lives import SETTLES, Life, Then
from edgeai_fleet.conducting.phases import MOVES, WORDS, Decision, Standing, decide, settles_s
from edgeai_fleet.conducting.world import MESSAGE_BYTES, World

_NOBODY: Final = -1
"""In the place of a cart, where something happens to the rollout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that the conductor did: after so many seconds, what and why, and how every phase stood."""

    at_s: float
    step: str
    why: str
    standings: tuple[Standing, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """How it went: each change, the last state, bytes that were fetched, what carts said, failures by code.

    ``said``: messages by kind (``result``, ``status``, ``event``). ``message_bytes``: of all of them.
    """

    state: str
    seconds: float
    changes: tuple[Change, ...]
    standings: tuple[Standing, ...]
    why: str
    fetched_bytes: int
    messages: int
    said: dict[str, int]
    message_bytes: int
    reasons: dict[str, int]
    carts: int
    left_out: int


def simulate(rollout: Rollout, devices: Sequence[Facts], world: World, approval: Approval | None = None) -> Forecast:
    """Let it run until it is done, halted, or nothing more happens.

    Args:
        rollout: as it is signed, or would be.
        devices: what the carts are.
        world: what is assumed.
        approval: a second key's word that is there already.

    Raises:
        ConfigError: ``fleet.devices``: the rollout takes none of these carts.
    """
    run = _Run(rollout, devices, world, approval)
    if not run.lives:
        raise ConfigError(
            f"{rollout.name} takes none of {counted(len(devices), 'cart')}",
            code="fleet.devices",
            remedy="look at the plan's select and replaces, and at the columns of the list",
        )
    run.open_phase()
    while run.events and run.rollout.state == "running" and run.now <= world.longest_s:
        run.step()
    return run.forecast()


class _Run:
    def __init__(self, rollout: Rollout, devices: Sequence[Facts], world: World, approval: Approval | None) -> None:
        self.world = world
        self.random = random.Random(world.seed)  # noqa: S311  # the same seed, the same run
        self.began = time_of(rollout.since).timestamp()
        self.rollout = rollout if rollout.state == "running" else replace(rollout, state="running", halts=0)
        self.approval = approval
        self.events: list[tuple[float, int, int, str]] = []
        self.now = 0.0
        self.number = 0
        self.opened: dict[int, float] = {}
        self.undecided: dict[int, float] = {}
        """Which cart has been so since when; who came last stands last."""
        self.changes: list[Change] = []
        self.why = ""
        self.lives = [each for each in (self._life(facts) for facts in devices) if each is not None]
        self.left_out = len(devices) - len(self.lives)
        self.counts = [Counter[str]() for _ in rollout.plan.phases]

    def _life(self, facts: Facts) -> Life | None:
        life = Life(facts, self.rollout.plan, self.world, self.random, self.began)
        phase = phase_of_cart(self.rollout, life.cart)
        if phase is None:
            return None
        life.phase = phase
        return life

    def open_phase(self) -> None:
        """Its carts look at their own time from now on."""
        number, plan = self.rollout.open, self.rollout.plan
        for phase in range(1, number + 1):
            if phase in self.opened:
                continue
            self.opened[phase] = self.now
            for at, each in enumerate(self.lives):
                if each.phase == phase:
                    self.counts[phase - 1]["waiting"] += 1
                    self._later(self.random.uniform(0.0, self.world.look_every_s), at, "looks")
                    self._later(max(plan.halting.silent_s, LATE_S) + 1.0, at, "asked")
        self._later(plan.phases[number - 1].soak_s, _NOBODY, "soaked")
        self._later(settles_s(self.rollout) + 1.0, _NOBODY, "soaked")
        if plan.phases[number - 1].approval and self.world.approved_after_s is not None:
            self._later(self.world.approved_after_s, _NOBODY, "approved")

    def step(self) -> None:
        """The next event, and what follows from it."""
        self.now, _, at, what = heapq.heappop(self.events)
        if what == "approved":
            self.approval = self._approved()
        if at != _NOBODY and not self._happens(at, what):
            return  # nobody's word changed, so nothing follows
        # Of which phase those are that have just switched makes no difference: all of them are asked for.
        fresh = (*(0 for _ in self.counts[1:]), self._fresh())
        standings = tuple(map(_standing, self.counts, fresh))
        since = self.began + self.opened[self.rollout.open]
        decision = decide(self.rollout, standings, self.began + self.now, since)
        self.why = decision.why
        if decision.step != "wait":
            self._follow(decision, standings)

    def forecast(self) -> Forecast:
        """As it is now."""
        codes = Counter(
            each.verdict.code for each in self.lives if each.verdict.word in ("failed", "silent") and each.verdict.code
        )
        messages = self._said()
        return Forecast(
            state=self.rollout.state,
            seconds=self.now,
            changes=tuple(self.changes),
            standings=tuple(_standing(each) for each in self.counts),
            why=self.why,
            fetched_bytes=sum(each.fetched_bytes for each in self.lives),
            messages=sum(messages.values()),
            said=messages,
            message_bytes=sum(MESSAGE_BYTES[kind] * number for kind, number in messages.items()),
            reasons=dict(codes.most_common()),
            carts=len(self.lives),
            left_out=self.left_out,
        )

    def _said(self) -> dict[str, int]:
        messages = Counter[str]()
        for each in self.lives:
            lived_s = self.now if each.dark_at is None else each.dark_at - self.began
            messages.update(self.world.said(each.images, lived_s))
            messages["event"] += each.moves
        return {kind: round(messages[kind]) for kind in MESSAGE_BYTES}

    def _approved(self) -> Approval:
        rollout = self.rollout
        at = word_of(datetime.fromtimestamp(self.began + self.now, UTC))
        return Approval(
            rollout=rollout.name, plan=rollout.plan.fingerprint, phase=rollout.open, halts=rollout.halts, at=at
        )

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
        """What happens to a cart; whether something may follow from it."""
        each = self.lives[at]
        then = Then(epoch=self.began + self.now, rollout=self.rollout, approval=self.approval)
        for seconds, next_ in each.happens(what, then):
            self._later(seconds, at, next_)
        before = each.verdict.word
        self._judge(each)
        word = each.verdict.word
        if word != "undecided":
            self.undecided.pop(at, None)
        else:
            self.undecided.setdefault(at, self.now)
        return word != before or (what == SETTLES and word == "undecided")

    def _judge(self, each: Life) -> None:
        now = self.began + self.now
        # One that is online says its status every quarter of an hour, which is no event here.
        cart = replace(each.cart, heard_at=now) if each.cart.is_online else each.cart
        turn_since = self.began + self.opened[each.phase]
        moment = Moment(now=now, turn_since=turn_since, listening_since=self.began)
        verdict = judge(self.rollout, cart, each.published, moment)
        self.counts[each.phase - 1][each.verdict.word] -= 1
        self.counts[each.phase - 1][verdict.word] += 1
        each.verdict = verdict

    def _fresh(self) -> int:
        """How many undecided carts have not been so for long; who came last first, so that few are looked at."""
        settled, fresh = self.now - settles_s(self.rollout), 0
        for since in reversed(self.undecided.values()):
            if since <= settled:
                break
            fresh += 1
        return fresh


def _standing(words: Counter[str], fresh: int = 0) -> Standing:
    """A standing of counts by word."""
    return Standing(fresh=fresh, **{name: words[name] for name in WORDS})
