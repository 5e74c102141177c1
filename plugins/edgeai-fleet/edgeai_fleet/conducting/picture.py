"""What a conductor knows between two rounds, so that a round costs what was heard and not what there is.

The store has all of it; this is read from there once, and again whenever somebody else has written there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from edgeai.rollouts import Rollout, phase_of, place
from edgeai_fleet.changes import has_ended
from edgeai_fleet.conducting.carts import Cart, Ended, Heard, Status, away, heard
from edgeai_fleet.conducting.hearing import Taken
from edgeai_fleet.conducting.judging import (
    Kept,
    Moment,
    is_unseen,
    judge,
    phase_of_cart,
    results_needed,
    stands_until,
)
from edgeai_fleet.conducting.listening import Listening
from edgeai_fleet.conducting.store import Round

Place: TypeAlias = tuple[str, str]
"""Site and device."""


@dataclass(slots=True)
class Known:
    """Everything that the store holds of carts; by digest ends; by rollout results and a picture.

    ``revision``: of the store, at which that was so. ``sites``: of which carts; all, without.
    """

    revision: float
    sites: tuple[str, ...]
    carts: dict[Place, Cart]
    results: dict[str, dict[Place, int]] = field(default_factory=dict)
    ends: dict[str, dict[Place, Ended]] = field(default_factory=dict)
    pictures: dict[str, Picture] = field(default_factory=dict)

    @classmethod
    def of(cls, kept: Round, sites: tuple[str, ...] = ()) -> Known:
        """All of it, read anew."""
        return cls(revision=kept.revision(), sites=sites, carts=kept.carts(sites))

    def hear(self, kept: Round, taken: Taken, rollouts: Sequence[Rollout], now: float) -> set[Place]:
        """Keep what was heard, of what these rollouts bring; of whom something is known that was not before."""
        news = _merged(self.carts, taken, now)
        self.carts.update(news)
        kept.keep_carts(news.values())
        places = set(news)
        for digest in sorted({each.plan.digest for each in rollouts}):
            if digest not in self.ends:
                self.ends[digest] = kept.ends(digest)
            ends = [each for each in taken.ends if each.ended.digest == digest]
            kept.add_ends(ends)
            self.ends[digest] |= {(each.site, each.device): each.ended for each in ends}
            places |= {(each.site, each.device) for each in ends}
        for rollout in rollouts:
            places |= self._hear_results(kept, taken, rollout)
        return places

    def _hear_results(self, kept: Round, taken: Taken, rollout: Rollout) -> set[Place]:
        name = rollout.name
        if name not in self.results:
            self.results[name] = kept.results(name)
        results = [each for each in taken.results if self._is_wanted(rollout, each)]
        by = {(each.site, each.device) for each in results}
        kept.add_results(name, results)
        self.results[name] |= kept.results(name, by)
        return by

    def is_of_its_own(self, kept: Round, *, wrote: bool) -> bool:
        """At the end of a round: whether nobody else has written meanwhile, so that this is all there is."""
        if not wrote:
            return True
        before, self.revision = self.revision, kept.rises()
        return self.revision == before + 1.0

    def _is_wanted(self, rollout: Rollout, result: Heard) -> bool:
        """Whether it may still show something of a rollout: it is by its bundle, since the cart's phase is open, and
        before the end. The store does not grow with each image of a fleet.
        """
        if result.digest != rollout.plan.digest or has_ended(rollout):
            return False
        phase = phase_of(place(rollout.name, result.site, result.device), rollout.plan.phases)
        if phase is None or phase > rollout.open:
            return False
        place_ = result.site, result.device
        return self.results[rollout.name].get(place_, 0) < results_needed(self.carts.get(place_))

    def picture(self, kept: Round, rollout: Rollout) -> Picture:
        """Of a rollout, as it was in the last round."""
        if rollout.name not in self.pictures:
            self.pictures[rollout.name] = Picture(kept.verdicts(rollout.name))
        return self.pictures[rollout.name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """In what light all carts of a rollout are judged: when it or this changes, all are judged anew.

    Attributes:
        rollout: as it was signed last.
        opened: by phase, when it was opened.
        resumed: when a person last let it go on; 0 where none had to.
        heard: by site, since when it is heard without a gap.
    """

    rollout: Rollout
    opened: Mapping[int, float]
    resumed: float
    heard: Mapping[str, float]

    def moment(self, phase: int, site: str, listening: Listening) -> Moment:
        """For a cart of this phase."""
        turn_since = max(self.opened[phase], self.resumed)
        return Moment(now=listening.now, turn_since=turn_since, listening_since=listening.of(site))


class Picture:
    """A rollout's carts, as they were judged last.

    Args:
        last: verdicts that were kept, also of carts that are not counted any more.
    """

    def __init__(self, last: dict[Place, Kept]) -> None:
        self.kept: dict[Place, Kept] = {}
        self.unseen: set[str] = set()
        self._last = last
        self._due: dict[Place, float] = {}
        self._named: dict[Place, Cart] = {}
        self._frame: Frame | None = None

    def judge(self, frame: Frame, known: Known, changed: set[Place], listening: Listening) -> list[Kept]:
        """Judge whoever may have another verdict than before: of whom something was heard, and whose time has come.

        Returns:
            Verdicts that are not what was kept.
        """
        if frame != self._frame:
            self._frame, self._named = frame, _named(frame.rollout)
            self.kept, self._due, self.unseen = {}, {}, set()
            places = {*self._named, *known.carts}
        else:
            places = changed | {place_ for place_, due in self._due.items() if listening.now > due}
        return [news for place_ in places if (news := self._judged(place_, frame, known, listening)) is not None]

    def end(self, rollout: Rollout, known: Known, *, is_noted: bool) -> None:
        """The rollout has ended: verdicts stay as they were before, whatever is heard.

        Args:
            rollout: it.
            known: of all carts.
            is_noted: what was kept is what was counted; otherwise there are carts among it that were not any more.
        """
        self._named, self.unseen = _named(rollout), set()
        self.kept = {
            place_: was
            for place_, was in self._last.items()
            if is_noted or self._phase(place_, rollout, known) == was.phase
        }

    def _phase(self, place_: Place, rollout: Rollout, known: Known) -> int | None:
        cart = known.carts.get(place_) or self._named.get(place_)
        return None if cart is None else phase_of_cart(rollout, cart, known.ends[rollout.plan.digest].get(place_))

    def _judged(self, place_: Place, frame: Frame, known: Known, listening: Listening) -> Kept | None:
        cart, digest = known.carts.get(place_) or self._named.get(place_), frame.rollout.plan.digest
        self.kept.pop(place_, None)
        self._due.pop(place_, None)
        if cart is None:  # it told something, and never what it is
            return None
        (self.unseen.add if is_unseen(frame.rollout, cart) else self.unseen.discard)(cart.name)
        ended = known.ends[digest].get(place_)
        phase = phase_of_cart(frame.rollout, cart, ended)
        if phase is None or phase > frame.rollout.open:
            return None
        moment = frame.moment(phase, cart.site, listening)
        verdict = judge(frame.rollout, cart, known.results[frame.rollout.name].get(place_, 0), moment, ended)
        was = self._last.get(place_)
        since = was.since if was is not None and was.verdict.word == verdict.word else listening.now
        made = Kept(site=cart.site, device=cart.device, phase=phase, verdict=verdict, since=since)
        self.kept[place_] = self._last[place_] = made
        self._due[place_] = stands_until(frame.rollout, cart, verdict, moment)
        return made if made != was else None


def _merged(carts: Mapping[Place, Cart], taken: Taken, now: float) -> dict[Place, Cart]:
    """Carts of which something is known that was not before."""
    changed: dict[Place, Cart] = {}
    for (site, device), (status, at) in taken.statuses.items():
        before = carts.get((site, device))
        # The first that is heard of a cart may have been retained for long.
        is_first = before is None or not before.is_known
        changed[site, device] = heard(before, site, device, status, min(at, now), retained=is_first)
    for site, device in taken.away:
        changed[site, device] = away(changed.get((site, device)) or carts.get((site, device)), site, device)
    return {place_: cart for place_, cart in changed.items() if cart != carts.get(place_)}


def _named(rollout: Rollout) -> dict[Place, Cart]:
    """Carts that a plan names, as long as nobody has heard them."""
    pairs = [name.split("/", 1) for name in rollout.plan.select.devices if "/" in name]
    return {
        (site, device): Cart(site=site, device=device, status=Status(state=""), heard_at=0.0, is_online=False)
        for site, device in pairs
    }
