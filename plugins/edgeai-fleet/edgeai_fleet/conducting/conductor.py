"""One round of a conductor: keep what was heard, judge every cart, decide, sign, tell. Each can be cut anywhere.

What is written, in this order: the store (one transaction); the next document of the rollout, staged, signed and
published by the code that people's commands use; the retained messages. A round that was cut is done again by the
next: it judges the same facts and comes to the same step, and a document that is staged already is not staged twice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from edgeai.api.errors import EdgeaiError
from edgeai.mqtt import Outgoing
from edgeai.rollouts import Rollout
from edgeai_fleet.changes import time_of
from edgeai_fleet.conducting import truth
from edgeai_fleet.conducting.carts import Cart, Status, away, heard
from edgeai_fleet.conducting.hearing import Ears, Taken
from edgeai_fleet.conducting.judging import Kept, Moment, is_unseen, judge, phase_of_cart
from edgeai_fleet.conducting.phases import Decision, Standing, count, decide, settles_s
from edgeai_fleet.conducting.signing import Signing
from edgeai_fleet.conducting.store import Round, Store
from edgeai_fleet.documents import read_documents
from edgeai_fleet.layout import Folder

GAP_S: Final = 300.0
"""A conductor that was away for longer has not listened meanwhile: no cart was silent to it."""
_MOVES: Final[Mapping[str, str]] = {"go-on": "phase", "halt": "halt", "done": "finish"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A rollout after a round; ``unseen``: names of carts that might be meant and are known by name alone."""

    rollout: Rollout
    decision: Decision
    standings: tuple[Standing, ...]
    kept: tuple[Kept, ...]
    unseen: tuple[str, ...] = ()


@dataclass(slots=True)
class Conductor:
    """What rounds have in common.

    Attributes:
        folder: the repository.
        store: what is remembered.
        signing: the keys, where it may sign; without, it says what it would do.
        sites: whose carts are heard here; all, without. Whoever signs judges every cart of the store.
        trouble: why the last step could not be signed; empty where it could, or there was none.
    """

    folder: Folder
    store: Store
    signing: Signing | None = None
    sites: Sequence[str] = ()
    trouble: str = ""
    _told: dict[str, dict[str, Any]] = field(default_factory=dict)
    _told_by: Ears | None = None

    def round(self, ears: Ears, now: float | None = None) -> list[Seen]:
        """Everything once.

        Raises:
            ConfigError: ``fleet.store``; ``fleet.altered`` and what else hinders reading the repository.
            MqttError: the broker went away while it was told.
        """
        now = time.time() if now is None else now
        taken = ears.take()
        try:
            every = self._judged(taken, now)
        except EdgeaiError:
            ears.give_back(taken)
            raise
        self.trouble = ""
        for each in every:
            self._step(each)
        self._tell(ears, every, now)
        return every

    def _judged(self, taken: Taken, now: float) -> list[Seen]:
        documents = read_documents(self.folder, published=True)
        with self.store.round() as kept:
            carts = kept.carts()
            kept.keep_carts(_merged(carts, taken, now))
            digests = {each.plan.digest for each in documents.rollouts}
            kept.add_results([each for each in taken.results if each.digest in digests])
            kept.add_ends(each for each in taken.ends if each.ended.digest in digests)
            listening_since = _listening(kept, now)
            return [_seen(kept, rollout, carts, now, listening_since) for rollout in documents.rollouts]

    def _step(self, seen: Seen) -> None:
        move = _MOVES.get(seen.decision.step)
        if move is None or self.signing is None:
            return
        try:
            self.signing.move(self.folder, seen.rollout, move, seen.decision.why)
        except EdgeaiError as error:  # it is tried again each round, and everybody sees why it is not done
            self.trouble = f"{move} of {seen.rollout.name} cannot be signed: {error}"

    def _tell(self, ears: Ears, every: Sequence[Seen], now: float) -> None:
        """Say what changed; all of it on a new connection, where the broker may have forgotten."""
        if self.sites and self.signing is None:
            return  # it hears for others, who know all of it
        if ears is not self._told_by:
            self._told, self._told_by = {}, ears
        for seen in every:
            bodies = {
                truth.topic_of(seen.rollout.name): truth.summary(
                    seen.rollout,
                    seen.decision,
                    seen.standings,
                    seen.kept,
                    seen.unseen,
                    signs=self.signing is not None,
                    trouble=self.trouble,
                )
            }
            for site, body in truth.of_sites(seen.rollout, seen.kept).items():
                bodies[truth.topic_of(seen.rollout.name, site)] = body
            news = {topic: body for topic, body in bodies.items() if self._told.get(topic) != body}
            ears.connection.publish(
                Outgoing(topic=topic, body=truth.encode(body, now), retain=True, expires=False)
                for topic, body in news.items()
            )
            self._told |= news


def _merged(carts: dict[tuple[str, str], Cart], taken: Taken, now: float) -> list[Cart]:
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


def _listening(kept: Round, now: float) -> float:
    """Since when somebody has listened without a gap."""
    last, since = kept.time("listened"), kept.time("listening-since")
    if last is None or since is None or now - last > GAP_S or now < last:
        since = now
        kept.keep_time("listening-since", since)
    kept.keep_time("listened", now)
    return since


def _seen(
    kept: Round, rollout: Rollout, carts: Mapping[tuple[str, str], Cart], now: float, listening_since: float
) -> Seen:
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
        moment = Moment(now=now, turn_since=max(opened[phase], resumed), listening_since=listening_since)
        verdict = judge(rollout, cart, results.get(place_, 0), moment, ended)
        was = before.get(place_)
        since = was.since if was is not None and was.verdict.word == verdict.word else now
        verdicts.append(Kept(site=cart.site, device=cart.device, phase=phase, verdict=verdict, since=since))
    kept.keep_verdicts(rollout.name, [each for each in verdicts if before.get((each.site, each.device)) != each])
    settled = now - settles_s(rollout) if listening_since <= now - settles_s(rollout) else 0.0
    standings = tuple(
        _standing(verdicts, number, resumed, settled) for number in range(1, len(rollout.plan.phases) + 1)
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


def _standing(verdicts: Sequence[Kept], number: int, resumed: float, settled: float) -> Standing:
    own = [each for each in verdicts if each.phase == number]
    pardoned = sum(each.verdict.word in ("failed", "silent") and each.since <= resumed for each in own)
    fresh = sum(each.verdict.word == "undecided" and each.since > settled for each in own)
    return count([each.verdict.word for each in own], pardoned, fresh)
