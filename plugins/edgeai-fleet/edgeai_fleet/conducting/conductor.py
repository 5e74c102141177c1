"""One round of a conductor: keep what was heard, judge every cart, decide, sign, tell. Each can be cut anywhere.

What is written, in this order: the store (one transaction); the next document of the rollout, staged, signed and
published by the code that people's commands use; the retained messages. A round that was cut is done again by the
next: it judges the same facts and comes to the same step, and a document that is staged already is not staged twice.

Of several conductors that share a store one judges, signs and tells: who has the seat. The others hear for it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeai.api.errors import ConfigError, EdgeaiError
from edgeai.mqtt import Outgoing
from edgeai.rollouts import Stop
from edgeai_fleet.conducting import truth
from edgeai_fleet.conducting.hearing import Ears, Taken
from edgeai_fleet.conducting.holding import Seat
from edgeai_fleet.conducting.listening import Listening, listen
from edgeai_fleet.conducting.phases import MOVES
from edgeai_fleet.conducting.picture import Known
from edgeai_fleet.conducting.seeing import Seen, is_settled, seen
from edgeai_fleet.conducting.signing import Signing
from edgeai_fleet.conducting.store import Round, Store
from edgeai_fleet.documents import documents_of
from edgeai_fleet.layout import Folder
from edgeai_fleet.state import State, read_live


@dataclass(slots=True)
class Conductor:
    """What rounds have in common.

    Attributes:
        folder: the repository.
        store: what is remembered.
        signing: the keys, where it may sign; without, it says what it would do.
        seat: where several may sign, of the one that does; without, this is the one.
        sites: whose carts are heard here; all, without. Whoever signs judges every cart of the store.
        trouble: why the last step could not be signed, a stop in force, whose carts nobody hears; empty where all is
            well.
        signs: whether it was the one in the last round.
    """

    folder: Folder
    store: Store
    signing: Signing | None = None
    seat: Seat | None = None
    sites: Sequence[str] = ()
    trouble: str = ""
    signs: bool = False
    _told: dict[str, tuple[dict[str, Any], float]] = field(default_factory=dict)
    _told_by: Ears | None = None
    _untold: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By rollout, sites of which something is new and not told yet."""
    _known: Known | None = None
    _has_begun: bool = False

    @property
    def only_hears(self) -> bool:
        """Whether another one judges what this one hears: it waits for the seat, or has a part of the carts alone."""
        return not self.signs and (self.signing is not None or bool(self.sites))

    def round(self, ears: Ears, now: float | None = None) -> list[Seen]:
        """Everything once; what it judged, which is nothing where another one judges.

        Raises:
            ConfigError: ``fleet.store``, ``fleet.behind``; ``fleet.altered`` and what else hinders reading the
                repository.
            MqttError: the broker went away while it was told.
        """
        now = time.time() if now is None else now
        taken = ears.take()
        try:
            self._look_for_seat()
            every = self._judged(taken, now)
        except EdgeaiError:
            ears.give_back(taken)
            raise
        for each in every:
            self._step(each)
        self._tell(ears, every, now)
        return every

    def _look_for_seat(self) -> None:
        signed, self.signs = self.signs, False
        self.signs = self.signing is not None and (self.seat is None or self.seat.take())
        if self.signs and not signed:
            self._told = {}  # another one may have told what is so no more

    def _judged(self, taken: Taken, now: float) -> list[Seen]:
        live = read_live(self.folder)
        documents = documents_of(self.folder, live)
        with self.store.round() as kept:
            _hold_to_newest(kept, self.folder, live)
            rollouts = [each for each in documents.rollouts if not is_settled(each, now)]
            if not self._has_begun:
                kept.forget_results(but=[each.name for each in rollouts])
            known = self._recalled(kept)
            changed = known.hear(kept, taken, rollouts, now)
            listening = listen(kept, self.sites, now)
            every = [] if self.only_hears else [seen(kept, each, known, changed, listening) for each in rollouts]
            is_known = known.is_of_its_own(kept, wrote=bool(changed or any(each.news for each in every)))
        self._known = known if is_known else None
        self._has_begun = True
        self.trouble = "; ".join(filter(None, (_stopped(documents.stop), _deaf(every, listening))))
        return every

    def _recalled(self, kept: Round) -> Known:
        """What is known from the last round, where nobody has written since; or all of it, read anew."""
        known, self._known = self._known, None  # of a round that is cut nothing is believed
        sites = tuple(self.sites) if self.only_hears else ()
        if known is None or known.sites != sites or known.revision != kept.revision():
            return Known.of(kept, sites)
        return known

    def _step(self, judged: Seen) -> None:
        move = MOVES.get(judged.decision.step)
        if move is None or self.signing is None or not self.signs:
            return
        try:
            if self.seat is not None and not self.seat.take():  # lost while it judged
                self.signs = False
                return
            self.signing.move(self.folder, judged.rollout, move, judged.decision.why)
        except EdgeaiError as error:  # it is tried again each round, and everybody sees why it is not done
            self.trouble = f"{move} of {judged.rollout.name} cannot be signed: {error}"
            return
        with self.store.round() as kept:
            _hold_to_newest(kept, self.folder, read_live(self.folder))

    def _tell(self, ears: Ears, every: Sequence[Seen], now: float) -> None:
        """Say what changed; all of it on a new connection, where the broker may have forgotten."""
        if ears is not self._told_by:
            self._told, self._told_by = {}, ears
        for each in every:
            name = each.rollout.name
            is_told = truth.topic_of(name) in self._told
            untold = self._untold[name]
            untold.update(cart.site for cart in (each.news if is_told else each.kept))
            if not self.signs and (self.signing is not None or ears.told_by_signer(name, now)):
                continue
            summary = truth.summary(
                each.rollout,
                each.decision,
                each.standings,
                each.kept,
                each.unseen,
                signs=self.signs,
                trouble=self.trouble,
            )
            bodies = {truth.topic_of(name): summary}
            some = (cart for cart in each.kept if cart.site in untold)
            for site, body in truth.of_sites(each.rollout, some).items():
                bodies[truth.topic_of(name, site)] = body
            news = {topic: body for topic, body in bodies.items() if self._is_news(topic, body, now)}
            ears.connection.publish(
                Outgoing(topic=topic, body=truth.encode(body, now), retain=True, expires=False)
                for topic, body in news.items()
            )
            self._told |= {topic: (body, now) for topic, body in news.items()}
            untold.clear()

    def _is_news(self, topic: str, body: dict[str, Any], now: float) -> bool:
        told = self._told.get(topic)
        return told is None or told[0] != body or ("phases" in body and now - told[1] >= truth.AGAIN_S)


def _hold_to_newest(kept: Round, folder: Folder, live: State) -> None:
    """Refuse to go on with a copy of the repository that has stayed behind: carts took what was signed after it.

    Raises:
        ConfigError: ``fleet.behind``.
    """
    own = live.timestamp.signed.version if live.timestamp is not None else 0
    if (newest := kept.highest(own)) > own:
        raise ConfigError(
            f"{folder.path} has timestamp {own}, and {newest} was published from another copy of it",
            code="fleet.behind",
            remedy="let conductors share one folder, or bring the newer one here",
        )


def _stopped(stop: Stop | None) -> str:
    """A stop in force, in a sentence: nothing comes of any phase meanwhile."""
    if stop is None or not stop.stopped:
        return ""
    of_what, why = ", ".join(stop.models) or "all models", f": {stop.why}" if stop.why else ""
    return f"EMERGENCY STOP of {of_what}, until `edgeai fleet rollout stop --lift`{why}"


def _deaf(every: Sequence[Seen], listening: Listening) -> str:
    """Whose carts are waited for though nobody hears them, in a sentence."""
    running = [each for judged in every if judged.rollout.state == "running" for each in judged.kept]
    sites = listening.deaf(each.site for each in running if each.verdict.word in ("waiting", "undecided"))
    return f"no conductor hears {', '.join(sites[:5])}{' and others' if len(sites) > 5 else ''}" if sites else ""
