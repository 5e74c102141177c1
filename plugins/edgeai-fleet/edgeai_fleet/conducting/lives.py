"""A cart of a simulation: a status that changes as a real one's would, by the functions that a real one asks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace as with_changes
from functools import lru_cache
from typing import Final, TypeAlias

from msgspec.structs import replace

from edgeai.rollouts import Approval, Facts, Plan, Rollout, turn
from edgeai.slots import Shadow
from edgeai.slots.shown import judge as judge_shadow
from edgeai_fleet.conducting.carts import Cart, Deployed, Ended, InSlot, InSlots, Looked, OnProbation, Status
from edgeai_fleet.conducting.judging import Verdict
from edgeai_fleet.conducting.phases import settles_s
from edgeai_fleet.conducting.world import DAY_S, World

Next: TypeAlias = tuple[float, str]
"""After so many seconds, what."""
SETTLES: Final = "settles"
_CAN: Final = frozenset({"shadow", "acceptance"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Then:
    """A moment of a simulation: seconds since the epoch, and what is signed."""

    epoch: float
    rollout: Rollout
    approval: Approval | None


class Life:
    """Of one cart.

    Args:
        facts: what it is.
        plan: of the rollout.
        world: that it is in.
        chance: of everything that falls by lot.
        epoch: when it begins.
    """

    def __init__(self, facts: Facts, plan: Plan, world: World, chance: random.Random, epoch: float) -> None:
        digest = facts.digest or (plan.replaces or ("before",))[0]
        # What it needs it has: whether a site has accepted the bundle is a question for the site.
        self._facts = with_changes(facts, digest=digest, can=_CAN, accepted=frozenset({plan.digest}))
        self._plan, self._world, self._chance = plan, world, chance
        self.cart = _before(self._facts, plan.model, world.needed, epoch)
        self.phase = 0
        drawn, rate = chance.random(), world.images * chance.uniform(0.5, 1.5)
        self._fate = _fate(world, drawn)
        self.images = 0.0 if chance.random() < world.idle else rate
        self._fails_at = chance.randint(1, max(1, world.needed - 1))
        self._shadow: Shadow | None = None
        self.published = self.fetched_bytes = self.moves = 0
        self.dark_at: float | None = None
        self.verdict = Verdict(word="waiting")

    def happens(self, what: str, then: Then) -> list[Next]:
        """Something happens to it; and what will."""
        steps = {
            "looks": self._looks,
            "fetched": self._fetched,
            "rehearsed": self._rehearsed,
            "switches": self._switches,
            "image": self._image,
        }
        return list(steps[what](then)) if what in steps else []

    def _looks(self, then: Then) -> Iterator[Next]:
        answer = turn(then.rollout, self._facts, self._world.local(then.epoch), then.approval)
        if answer.word == "taken":
            yield self._world.bytes / self._world.link, "fetched"
            return
        look = Looked(outcome="waits", digest=self._plan.digest, code=answer.code, message=answer.why)
        self._deployed_is(then, update=look)
        yield self._world.look_every_s * self._chance.uniform(0.9, 1.1), "looks"

    def _fetched(self, then: Then) -> Iterator[Next]:
        self.fetched_bytes += self._world.bytes
        self._moves(then, b=self._spare("installed"))
        yield self._world.rehearsal_s, "rehearsed"

    def _rehearsed(self, then: Then) -> Iterator[Next]:
        if self._fate == "rehearsal":
            self._ends(then, "failed", "slots.rehearsal-died", "its golden cases were not answered")
            return
        self._moves(then, b=self._spare("good"))
        if (asked := self._plan.needs.shadow) is None:
            yield 0.0, "switches"
            return
        self._shadow = Shadow(digest=self._plan.digest, since="", needed=asked.agreement, most=asked.images)
        yield from self._next_image()

    def _switches(self, then: Then) -> Iterator[Next]:
        if wait_s := self._world.until_open_s(self._plan.windows, then.epoch):
            yield wait_s, "switches"
            return
        probation = OnProbation(needed=self._world.needed)
        self._moves(then, active="b", b=self._spare("good", stood=True), probation=probation)
        if self._fate == "silent":
            self.dark_at = then.epoch
            self.cart = replace(self.cart, is_online=False)
            yield then.rollout.plan.halting.silent_s + 1.0, "asked"
            return
        yield settles_s(then.rollout) + 1.0, SETTLES
        yield from self._next_image()

    def _image(self, then: Then) -> Iterator[Next]:
        if self._shadow is not None:
            yield from self._compared(then)
            return
        if self._fate == "probation" and self.published + 1 >= self._fails_at:
            self._ends(then, "rolled-back", "slots.failures", "more failures than its bound")
            return
        self.published += 1
        if self.published >= self._world.needed:
            self._moves(then, probation=None)
            return
        self._slots_are(then, probation=OnProbation(needed=self._world.needed, completed=self.published))
        yield from self._next_image()

    def _compared(self, then: Then) -> Iterator[Next]:
        shadow = self._shadow
        assert shadow is not None
        agreed = shadow.agreed + (self._chance.random() < self._world.agrees)
        self._shadow = shadow = replace(shadow, compared=shadow.compared + 1, agreed=agreed)
        end, code, why = _judged(shadow)
        if end == "goes on":
            yield from self._next_image()
            return
        self._shadow = None
        if end == "bad":
            self._ends(then, "failed", code, why)
        else:
            self.moves += 1
            yield 0.0, "switches"

    def _next_image(self) -> Iterator[Next]:
        if self.images:
            yield self._chance.expovariate(self.images / DAY_S), "image"

    def _spare(self, stage: str, *, stood: bool = False) -> InSlot:
        plan = self._plan
        return InSlot(digest=plan.digest, model=plan.model, stage=stage, release=plan.release, stood=stood)

    def _ends(self, then: Then, move: str, code: str, why: str) -> None:
        ended = Ended(move=move, digest=self._plan.digest, code=code, why=why)
        self._moves(then, active="a", b=None, probation=None, last_end=ended)

    def _moves(self, then: Then, **changes: object) -> None:
        """Something of which a cart tells in an event."""
        self.moves += 1
        self._slots_are(then, **changes)

    def _slots_are(self, then: Then, **changes: object) -> None:
        (deployed,) = self.cart.status.deployments
        assert deployed.slots is not None
        self._deployed_is(then, slots=replace(deployed.slots, **changes))

    def _deployed_is(self, then: Then, **changes: object) -> None:
        (deployed,) = self.cart.status.deployments
        status = replace(self.cart.status, deployments=(replace(deployed, **changes),))
        self.cart = replace(self.cart, status=status, heard_at=then.epoch)


def _before(facts: Facts, model: str, needed: int, epoch: float) -> Cart:
    slot = InSlot(digest=facts.digest, model=model, stage="good", stood=True)
    status = Status(
        state="online",
        edgeai_version=facts.edgeai,
        machine=facts.machine,
        labels=dict(facts.labels),
        backends=tuple(sorted(facts.backends)),
        deployments=(Deployed(name=model, slots=InSlots(active="a", a=slot, needed=needed)),),
    )
    return Cart(site=facts.site, device=facts.device, status=status, heard_at=epoch)


def _fate(world: World, drawn: float) -> str:
    shares = (("silent", world.silent), ("rehearsal", world.rehearsal_fails), ("probation", world.probation_fails))
    for name, share in shares:
        if 0 <= drawn < share:
            return name
        drawn -= share
    return ""


@lru_cache(maxsize=65_536)
def _judged(shadow: Shadow) -> tuple[str, str, str]:
    """By the cart's own rule; many carts come to the same figures."""
    return judge_shadow(shadow)
