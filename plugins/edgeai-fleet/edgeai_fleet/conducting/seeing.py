"""What is seen of a rollout: what was heard, put into what was known; each cart judged, and each phase counted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edgeai.rollouts import Rollout
from edgeai_fleet.changes import time_of
from edgeai_fleet.conducting.carts import Cart, Heard, Status, away, heard
from edgeai_fleet.conducting.hearing import Taken
from edgeai_fleet.conducting.judging import Kept, Moment, is_unseen, judge, phase_of_cart, results_needed
from edgeai_fleet.conducting.listening import Listening
from edgeai_fleet.conducting.phases import Decision, Standing, count, decide, settles_s
from edgeai_fleet.conducting.store import Round

SETTLED_S: Final = 7 * 86_400.0
"""A rollout that is done or cancelled for so long is judged no more, and results of what it brought are not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A rollout after a round; ``unseen``: names of carts that might be meant and are known by name alone."""

    rollout: Rollout
    decision: Decision
    standings: tuple[Standing, ...]
    kept: tuple[Kept, ...]
    unseen: tuple[str, ...] = ()


def is_settled(rollout: Rollout, now: float) -> bool:
    """Whether it ended so long ago that nobody asks any more."""
    return rollout.state in ("done", "cancelled") and now - time_of(rollout.at).timestamp() > SETTLED_S


def wanted(
    kept: Round, results: Sequence[Heard], carts: Mapping[tuple[str, str], Cart], digests: Collection[str]
) -> list[Heard]:
    """Those that may still show something: the store does not grow with each image of a fleet."""
    counts = {digest: kept.results(digest) for digest in {each.digest for each in results}.intersection(digests)}
    places = [(each, (each.site, each.device)) for each in results if each.digest in counts]
    return [each for each, at in places if counts[each.digest].get(at, 0) < results_needed(carts.get(at))]


def merged(carts: dict[tuple[str, str], Cart], taken: Taken, now: float) -> list[Cart]:
    """Put what was heard into what was known; what changed."""
    changed: dict[tuple[str, str], Cart] = {}
    for (site, device), (status, at) in taken.statuses.items():
        before = carts.get((site, device))
        # The first that is heard of a cart may have been retained for long.
        is_first = before is None or not before.is_known
        changed[site, device] = heard(before, site, device, status, min(at, now), retained=is_first)
    for site, device in taken.away:
        changed[site, device] = away(changed.get((site, device)) or carts.get((site, device)), site, device)
    news = {place_: cart for place_, cart in changed.items() if cart != carts.get(place_)}
    carts.update(news)
    return list(news.values())


def _with_named(rollout: Rollout, carts: Mapping[tuple[str, str], Cart]) -> dict[tuple[str, str], Cart]:
    """All carts, and those that a plan names and nobody has heard."""
    pairs = [tuple(name.split("/", 1)) for name in rollout.plan.select.devices if "/" in name]
    named = {
        (site, device): Cart(site=site, device=device, status=Status(state=""), heard_at=0.0, is_online=False)
        for site, device in pairs
    }
    return {**named, **carts}


def seen(kept: Round, rollout: Rollout, carts: Mapping[tuple[str, str], Cart], listening: Listening) -> Seen:
    """A rollout as its carts have it now; what of that is new is kept."""
    now = listening.now
    opened = _opened(kept, rollout)
    resumed = _resumed(kept, rollout)
    results, ends = kept.results(rollout.plan.digest), kept.ends(rollout.plan.digest)
    before = kept.verdicts(rollout.name)
    verdicts: list[Kept] = []
    for place_, cart in _with_named(rollout, carts).items():
        ended = ends.get(place_)
        phase = phase_of_cart(rollout, cart, ended)
        if phase is None or phase > rollout.open:
            continue
        moment = Moment(now=now, turn_since=max(opened[phase], resumed), listening_since=listening.of(cart.site))
        verdict = judge(rollout, cart, results.get(place_, 0), moment, ended)
        was = before.get(place_)
        since = was.since if was is not None and was.verdict.word == verdict.word else now
        verdicts.append(Kept(site=cart.site, device=cart.device, phase=phase, verdict=verdict, since=since))
    kept.keep_verdicts(rollout.name, [each for each in verdicts if before.get((each.site, each.device)) != each])
    settled = now - settles_s(rollout)
    fresh = {each.site for each in verdicts if listening.of(each.site) > settled}
    standings = tuple(
        _standing(verdicts, number, resumed, settled, fresh) for number in range(1, len(rollout.plan.phases) + 1)
    )
    decision = decide(rollout, standings, now, opened[rollout.open])
    unseen = tuple(sorted(cart.name for cart in carts.values() if is_unseen(rollout, cart)))
    return Seen(rollout=rollout, decision=decision, standings=standings, kept=tuple(verdicts), unseen=unseen)


def _opened(kept: Round, rollout: Rollout) -> dict[int, float]:
    """When each open phase was opened; of one that nobody saw being opened, when the newest was."""
    newest = time_of(rollout.since).timestamp()
    return {number: kept.first_time(f"opened {rollout.name} {number}", newest) for number in range(1, rollout.open + 1)}


def _resumed(kept: Round, rollout: Rollout) -> float:
    """When a person last let it go on after a halt; 0 where none had to. Who failed before is known to that person."""
    if not rollout.halts or rollout.state == "halted":
        return 0.0
    return kept.first_time(f"resumed {rollout.name} {rollout.halts}", time_of(rollout.at).timestamp())


def _standing(
    verdicts: Sequence[Kept], number: int, resumed: float, settled: float, fresh_sites: Collection[str]
) -> Standing:
    own = [each for each in verdicts if each.phase == number]
    pardoned = sum(each.verdict.word in ("failed", "silent") and each.since <= resumed for each in own)
    undecided = [each for each in own if each.verdict.word == "undecided"]
    fresh = sum(each.since > settled or each.site in fresh_sites for each in undecided)
    return count([each.verdict.word for each in own], pardoned, fresh)
