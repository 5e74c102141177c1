"""What must have happened in the demo, each in a sentence, and whether it did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgeai_fleet.conducting.carts import Cart
from edgeai_fleet.conducting.judging import has_met
from edgeai_fleet.demo.stage import CARTS, FleetStage
from edgeai_fleet.demo.story import Act


@dataclass(frozen=True, slots=True)
class Check:
    """A sentence on what must be, and whether it is."""

    sentence: str
    holds: bool


def after_the_good(act: Act) -> Iterator[Check]:
    """It went to every cart."""
    plan = act.seen.rollout.plan
    proven = [each for each in act.seen.kept if each.verdict.word == "succeeded"]
    yield Check(
        f"release {plan.release} went through {len(plan.phases)} phases to {len(proven)} of {len(CARTS)} carts",
        act.seen.rollout.state == "done" and len(proven) == len(CARTS),
    )
    yield Check(
        f"each of them runs release {plan.release}, proven by its own results",
        set(act.releases()) == set(CARTS) and set(act.releases().values()) == {plan.release},
    )


def after_the_bad(act: Act, stage: FleetStage, good: int) -> Iterator[Check]:
    """It came to the first phase and no further, and is undone."""
    rollout = act.seen.rollout
    failed = [each for each in act.seen.kept if each.verdict.word == "failed"]
    for each in failed:
        yield Check(
            f"{each.device} went back by itself: {each.verdict.why} [{each.verdict.code}]",
            each.verdict.code == "slots.failures",
        )
    yield Check(
        f"the conductor halted release {rollout.plan.release} in phase 1 of {len(rollout.plan.phases)}: {rollout.why}",
        (rollout.state, rollout.open, len(failed)) == ("halted", 1, 1),
    )
    spared = [name for name, cart in act.carts.items() if not _has_met(cart, rollout.plan.digest)]
    yield Check(
        f"{' and '.join(sorted(spared)) or 'nobody'} never took it, and all run release {good}",
        len(spared) == len(CARTS) - 1 and set(act.releases().values()) == {good},
    )
    answered = stage.answered_by.get(rollout.plan.digest, set())
    yield Check(
        "every result names the bundle that made it: none of it came from a cart that was spared",
        not answered & set(spared),
    )


def of_images(stage: FleetStage) -> Check:
    """Whatever was switched meanwhile, each image came to an end."""
    taken, ended = stage.acknowledged.total(), stage.ended.total()
    return Check(f"{taken} images were taken meanwhile, and {ended} have a result", taken == ended > 0)


def _has_met(cart: Cart, digest: str) -> bool:
    return any(each.slots is not None and has_met(each.slots, digest) for each in cart.status.deployments)
