"""What a cart's facts say of a rollout: one word, with the reason. Pure, and the same for conductor and simulation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from edgeai.counted import counted
from edgeai.owners import owner_of
from edgeai.rollouts import Facts, Rollout, Select, phase_of, place
from edgeai.rollouts.turns import not_selected
from edgeai_fleet.conducting.carts import Cart, Deployed, Ended, InSlots, Looked
from edgeai_fleet.spans import span

Word: TypeAlias = Literal["succeeded", "failed", "silent", "undecided", "waiting"]
"""``silent`` counts as a failure. ``undecided``: it is there, the new bundle runs, and no image has come to it."""

MOST_RESULTS: Final = 200
"""So many results prove any bundle; a longer probation is proved by these."""
STATUS_EVERY_S: Final = 900.0
"""So often a cart says its status although nothing changes."""
LATE_S: Final = 3 * STATUS_EVERY_S
"""A connected cart that has said nothing for so long is not taken to be there."""
STUCK_S: Final = 2 * 86_400.0
"""A cart that is there and has not taken the bundle after so long has failed; it looks four times a day."""
ELSEWHERE: Final = "not fetched, it names another rollout"
"""How far a cart is whose last look was held back by another rollout of the bundle: that is no word on this one."""
LOST: Final = ("rolled-back", "failed", "ordered-back", "damaged")
"""Ends that show something of the bundle. One that was abandoned comes again, or the next look says why not."""
PARDONED: Final = "pardoned"
"""No end: what was one may come again, by a person's word or since an order was lifted."""
WORST_FIRST: Final[tuple[Word, ...]] = ("failed", "silent", "waiting", "undecided", "succeeded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a cart has shown. ``code`` and ``why`` say the reason; ``stage`` how far it is, in a few words."""

    word: Word
    code: str = ""
    why: str = ""
    stage: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A verdict as it stands: of which cart, in which phase, and since when its word is this one."""

    site: str
    device: str
    phase: int
    verdict: Verdict
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When a cart is judged, in seconds since the epoch.

    Attributes:
        now: this moment.
        turn_since: its phase was opened, or the rollout resumed, whichever came last.
        listening_since: since then a conductor has listened without a gap: silence before that is nobody's.
    """

    now: float
    turn_since: float
    listening_since: float


def phase_of_cart(rollout: Rollout, cart: Cart, ended: Ended | None = None) -> int | None:
    """The phase, from 1, in which a cart's turn comes; ``None`` where it never does, or nobody can tell.

    Args:
        rollout: as it was signed last.
        cart: what is known of it. Where that is its name alone, it belongs to a plan that names it.
        ended: how the plan's bundle ended there, where the cart said so.
    """
    plan = rollout.plan
    if not cart.is_known and cart.name in plan.select.devices:
        return _phase_by_name(rollout, cart)
    for each in cart.deployments_of(plan.model):
        if not_meant(plan.select, plan.replaces, plan.digest, cart, each, ended) or _says_never(each.update, rollout):
            continue
        return phase_of(place(rollout.name, cart.site, cart.device), plan.phases)
    return None


def not_meant(
    select: Select, replaces: Sequence[str], digest: str, cart: Cart, deployed: Deployed, ended: Ended | None = None
) -> str:
    """What of a deployment does not fit a plan that selects and replaces so, in a few words; empty where all does.

    Args:
        select: of the plan.
        replaces: of the plan.
        digest: of the plan.
        cart: whose it is.
        deployed: that takes updates of the plan's model.
        ended: how the plan's bundle ended there, where the cart said so.
    """
    status, slots = cart.status, deployed.slots
    assert slots is not None
    running = slots.running
    facts = Facts(
        site=cart.site,
        device=cart.device,
        edgeai=status.edgeai_version,
        model=running.model if running else "",
        digest=running.digest if running else "",
        labels=status.labels,
        machine=status.machine,
        backends=frozenset(status.backends or ((deployed.backend,) if deployed.backend else ())),
    )
    if unfit := not_selected(select, facts):
        return unfit
    if replaces and facts.digest not in replaces and not (ended or has_met(slots, digest)):
        return f"it replaces other bundles than the one that runs here, {facts.digest[:19]}..."
    return ""


def is_unseen(rollout: Rollout, cart: Cart) -> bool:
    """Whether a cart of which nothing is known but its name might be meant by the phases that are open.

    It is shown and not counted: nobody can say what it runs.
    """
    if cart.is_known or rollout.plan.select.devices:
        return False
    phase = _phase_by_name(rollout, cart)
    return phase is not None and phase <= rollout.open


def _phase_by_name(rollout: Rollout, cart: Cart) -> int | None:
    plan = rollout.plan
    if plan.select.sites and cart.site not in plan.select.sites:
        return None
    return phase_of(place(rollout.name, cart.site, cart.device), plan.phases)


def has_met(slots: InSlots, digest: str) -> bool:
    """Whether a bundle is or was the last in a cart's slots."""
    ended = slots.last_end
    here = {slot.digest for slot in (slots.a, slots.b) if slot is not None}
    return digest in here or (ended is not None and ended.digest == digest)


def results_needed(cart: Cart | None) -> int:
    """So many results prove any bundle on this cart; more show nothing more."""
    needed = [each.slots.proving for each in cart.status.deployments if each.slots is not None] if cart else []
    return min(max(needed, default=MOST_RESULTS), MOST_RESULTS)


def judge(rollout: Rollout, cart: Cart, published: int, moment: Moment, ended: Ended | None = None) -> Verdict:
    """What a cart whose turn has come has shown of the bundle; of several deployments the worst.

    Args:
        rollout: as it was signed last.
        cart: what is known of it.
        published: how many completed results by the new digest were heard of it.
        moment: when.
        ended: how the new digest ended there, where the cart said so: its status has the last end alone.
    """
    digest, silent_s = rollout.plan.digest, rollout.plan.halting.silent_s
    verdicts = [_judge(rollout, each, published, ended) for each in cart.deployments_of(rollout.plan.model)]
    nothing = _lost(ended, digest) or Verdict(word="waiting", stage="unknown" if cart.is_known else "never seen")
    verdict = min(verdicts, key=lambda each: WORST_FIRST.index(each.word), default=nothing)
    if verdict.word not in ("waiting", "undecided"):
        return verdict
    if late := _silence(cart, verdict, silent_s, moment) or _stuck(cart, verdict, digest, silent_s, moment):
        return late
    if verdict.word == "undecided" and not _is_there(cart, moment):
        return replace(verdict, word="waiting", stage=f"{verdict.stage}, and away")
    return verdict


def stands_until(rollout: Rollout, cart: Cart, verdict: Verdict, moment: Moment) -> float:
    """Until when a verdict stands as long as nothing is heard of the cart, and nothing else is signed: the next of the
    limits by which time alone makes another of it.
    """
    if verdict.word not in ("waiting", "undecided"):
        return math.inf
    silent_s = rollout.plan.halting.silent_s
    listened = max(cart.heard_at, moment.listening_since)
    silent = max(listened, moment.turn_since) + (max(silent_s, LATE_S) if cart.is_online else silent_s)
    stuck = max(moment.turn_since, moment.listening_since) + max(silent_s, STUCK_S)
    return min((each for each in (listened + LATE_S, silent, stuck) if each >= moment.now), default=math.inf)


def _judge(rollout: Rollout, deployed: Deployed, published: int, reported: Ended | None) -> Verdict:
    slots, digest = deployed.slots, rollout.plan.digest
    assert slots is not None
    running, told = slots.running, _lost(reported, digest)
    if running is not None and running.digest == digest:
        return _running(slots, published)
    if shown := _lost(slots.last_end, digest):
        return shown
    spare = next((slot for slot in (slots.a, slots.b) if slot is not None and slot.digest == digest), None)
    if spare is not None and spare.stage != "bad":
        stages = {"pending": "is being written", "installed": "waits for its rehearsal", "good": "rehearsed"}
        return Verdict(word="waiting", stage=stages.get(spare.stage, spare.stage))
    if spare is not None:
        return told or Verdict(word="failed", code="slots.bad", why="it failed on this cart", stage="bad")
    return told or _not_here(deployed.update, rollout)


def _lost(ended: Ended | None, digest: str) -> Verdict | None:
    """The failure that an end of this bundle is; ``None`` where it is another's, or shows nothing of it."""
    if ended is None or ended.digest != digest or ended.move not in LOST:
        return None
    return Verdict(word="failed", code=ended.code or f"slots.{ended.move}", why=ended.why or "", stage=ended.move)


def _running(slots: InSlots, published: int) -> Verdict:
    probation, needed = slots.probation, min(slots.proving, MOST_RESULTS)
    if probation is None:
        if published >= needed:
            return Verdict(word="succeeded", stage="proven")
        return Verdict(word="waiting", stage=f"proven, {published} of {counted(needed, 'result')} heard")
    if probation.completed + probation.failed + probation.withheld == 0:
        return Verdict(word="undecided", stage="active, no image yet")
    return Verdict(word="waiting", stage=f"probation {probation}")


def _not_here(look: Looked | None, rollout: Rollout) -> Verdict:
    if look is None or not look.code or look.digest not in ("", rollout.plan.digest):
        return Verdict(word="waiting", stage="not fetched")
    if look.is_by_another(rollout.name):
        return Verdict(word="waiting", stage=ELSEWHERE)
    if look.code == "slots.bad" or is_lasting(look.code):
        return Verdict(word="failed", code=look.code, why=look.message, stage="refused")
    return Verdict(word="waiting", code=look.code, why=look.message, stage="not fetched")


def is_lasting(code: str) -> bool:
    """Whether a refusal stays as long as cart and bundle are what they are; links, disks and servers come back."""
    area = code.split(".", 1)[0]
    return area in ("bundle", "backend", "plugin") and (owner_of(code) != "image")


def _says_never(look: Looked | None, rollout: Rollout) -> bool:
    never = ("rollout.not-selected", "rollout.other-model", "rollout.unsupported")
    if look is None or look.digest != rollout.plan.digest or look.is_by_another(rollout.name):
        return False
    return look.code in never


def _silence(cart: Cart, verdict: Verdict, silent_s: float, moment: Moment) -> Verdict | None:
    since = max(cart.heard_at, moment.turn_since, moment.listening_since)
    allowed = max(silent_s, LATE_S) if cart.is_online else silent_s
    if moment.now - since <= allowed:
        return None
    if not cart.is_known:
        will = "the broker has its last will alone" if cart.status.state else "the broker has nothing of it"
        why = f"the plan names it, and it was not seen in {span(allowed)}: {will}"
        return Verdict(word="silent", code="fleet.never-seen", why=why, stage=verdict.stage)
    where = "with the new bundle running" if verdict.stage.startswith(("active", "probation", "proven")) else "before"
    why = f"nothing was heard of it for {span(allowed)}, {where}"
    return Verdict(word="silent", code="fleet.silent", why=why, stage=verdict.stage)


def _is_there(cart: Cart, moment: Moment) -> bool:
    """Whether it would have been heard, had anything come to it."""
    return cart.is_online and moment.now - max(cart.heard_at, moment.listening_since) <= LATE_S


def _stuck(cart: Cart, verdict: Verdict, digest: str, silent_s: float, moment: Moment) -> Verdict | None:
    """Of one that is there and does not take it, though nothing that was signed holds it back."""
    is_here = any(each.slots is not None and has_met(each.slots, digest) for each in cart.status.deployments)
    since = max(moment.turn_since, moment.listening_since)
    allowed = max(silent_s, STUCK_S)
    is_held = verdict.code.startswith("rollout.") or verdict.stage == ELSEWHERE
    if is_here or is_held or moment.now - since <= allowed:
        return None
    why = verdict.why or "it never said why"
    return Verdict(
        word="failed",
        code=verdict.code or "fleet.not-taken",
        why=f"it was not taken within {span(allowed)}: {why}",
        stage=verdict.stage,
    )
