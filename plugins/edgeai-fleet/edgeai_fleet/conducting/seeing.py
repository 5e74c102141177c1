"""What is seen of a rollout: what was heard, each cart judged, each phase counted, and what follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edgeai.rollouts import Rollout
from edgeai_fleet.changes import has_ended, time_of
from edgeai_fleet.conducting.judging import Kept, Word
from edgeai_fleet.conducting.listening import Listening
from edgeai_fleet.conducting.phases import Decision, Standing, count, decide, settles_s
from edgeai_fleet.conducting.picture import Frame, Known, Place
from edgeai_fleet.conducting.store import Round

SETTLED_S: Final = 7 * 86_400.0
"""A rollout that is done or cancelled for so long is judged no more, and results of what it brought are not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A rollout after a round.

    ``unseen``: names of carts that might be meant and are known by name alone. ``news``: of ``kept``, what is so since
    this round.
    """

    rollout: Rollout
    decision: Decision
    standings: tuple[Standing, ...]
    kept: tuple[Kept, ...]
    unseen: tuple[str, ...] = ()
    news: tuple[Kept, ...] = ()


def is_settled(rollout: Rollout, now: float) -> bool:
    """Whether it ended so long ago that nobody asks any more."""
    return has_ended(rollout) and now - time_of(rollout.at).timestamp() > SETTLED_S


def seen(kept: Round, rollout: Rollout, known: Known, changed: set[Place], listening: Listening) -> Seen:
    """A rollout as its carts have it now; what of that is new is kept.

    Args:
        kept: the store, in a transaction.
        rollout: as it was signed last.
        known: of all carts.
        changed: of whom something was heard since the last round.
        listening: who hears which sites.
    """
    if has_ended(rollout):
        return _ended(kept, rollout, known, listening)
    opened, resumed = _opened(kept, rollout), _resumed(kept, rollout)
    frame = Frame(rollout=rollout, opened=opened, resumed=resumed, heard=listening.since)
    picture = known.picture(kept, rollout)
    news = picture.judge(frame, known, changed, listening)
    kept.keep_verdicts(rollout.name, news)
    verdicts = tuple(picture.kept.values())
    standings = _standings(verdicts, rollout, resumed, listening)
    decision = decide(rollout, standings, listening.now, opened[rollout.open], listening.now - listening.whole)
    unseen = tuple(sorted(picture.unseen))
    return Seen(rollout=rollout, decision=decision, standings=standings, kept=verdicts, unseen=unseen, news=tuple(news))


def _ended(kept: Round, rollout: Rollout, known: Known, listening: Listening) -> Seen:
    """One that is over, with its counts of the end: what carts do later is no word on it."""
    picture, mark = known.picture(kept, rollout), f"ended {rollout.name}"
    is_noted = kept.time(mark) is not None
    picture.end(rollout, known, is_noted=is_noted)
    verdicts = tuple(picture.kept.values())
    if not is_noted:
        kept.end_verdicts(rollout.name, verdicts)
        kept.keep_time(mark, listening.now)
    standings = _standings(verdicts, rollout, 0.0, listening)
    decision = decide(rollout, standings, listening.now, 0.0)
    news = () if is_noted else verdicts
    return Seen(rollout=rollout, decision=decision, standings=standings, kept=verdicts, news=news)


def _opened(kept: Round, rollout: Rollout) -> dict[int, float]:
    """When each open phase was opened; of one that nobody saw being opened, when the newest was."""
    newest = time_of(rollout.since).timestamp()
    return {number: kept.first_time(f"opened {rollout.name} {number}", newest) for number in range(1, rollout.open + 1)}


def _resumed(kept: Round, rollout: Rollout) -> float:
    """When a person last let it go on after a halt; 0 where none had to. Who failed before is known to that person."""
    if not rollout.halts or rollout.state == "halted":
        return 0.0
    return kept.first_time(f"resumed {rollout.name} {rollout.halts}", time_of(rollout.at).timestamp())


def _standings(
    verdicts: Sequence[Kept], rollout: Rollout, resumed: float, listening: Listening
) -> tuple[Standing, ...]:
    phases, settled = len(rollout.plan.phases), listening.now - settles_s(rollout)
    words: list[list[Word]] = [[] for _ in range(phases)]
    pardoned, fresh = [0] * phases, [0] * phases
    for each in verdicts:
        at, word = each.phase - 1, each.verdict.word
        words[at].append(word)
        if word in ("failed", "silent"):
            pardoned[at] += each.since <= resumed
        elif word == "undecided":
            fresh[at] += max(each.since, listening.of(each.site)) > settled
    return tuple(map(count, words, pardoned, fresh))
