"""What is remembered between two rounds gives the same verdicts as reading and judging everything anew."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeai.rollouts import Phase, Plan, Rollout, Select
from edgeai.rollouts.document import Halting
from edgeai_fleet.conducting import picture as pictures
from edgeai_fleet.conducting.carts import Deployed, Ended, EndHeard, Heard, InSlot, InSlots, OnProbation, Status
from edgeai_fleet.conducting.hearing import Taken
from edgeai_fleet.conducting.listening import Listening
from edgeai_fleet.conducting.picture import Frame, Known
from edgeai_fleet.conducting.store import Round, Store

AT, NOW, HOUR = "2026-05-04T10:00:00Z", 1_777_900_000.0, 3600.0
OLD, NEW = (f"sha256:{digit * 64}" for digit in "12")
PLAN = Plan(
    model="tiny",
    release=2,
    digest=NEW,
    phases=(Phase(share=0.5), Phase(share=1.0)),
    halting=Halting(silent_s=6 * HOUR),
    select=Select(devices=tuple(f"ward/cart-{at}" for at in range(24))),
)
ROLLOUT = Rollout(name="tiny-2", serial=1, plan=PLAN, since=AT, at=AT)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path}/store")
    yield store
    store.close()


def frame(rollout: Rollout = ROLLOUT, heard_since: float = NOW) -> Frame:
    opened = dict.fromkeys(range(1, rollout.open + 1), NOW)
    return Frame(rollout=rollout, opened=opened, resumed=0.0, heard={"ward": heard_since})


def status(chance: random.Random) -> Status:
    old = InSlot(digest=OLD, model="tiny", stage="good", release=1, stood=True)
    new = InSlot(digest=NEW, model="tiny", stage="good", release=2)
    ways: list[dict[str, Any]] = [
        {"active": "a"},
        {"active": "a", "b": new},
        {"active": "b", "b": new, "probation": OnProbation(needed=2)},
        {"active": "b", "b": new, "probation": OnProbation(needed=2, completed=1)},
        {"active": "b", "b": new},
        {"active": "a", "last_end": Ended(move="rolled-back", digest=NEW, code="slots.slow", why="slow")},
    ]
    slots = InSlots(a=old, needed=2, **chance.choice(ways))
    return Status(state="online", deployments=(Deployed(name="guard", slots=slots),))


def taken(chance: random.Random, now: float) -> Taken:
    """What some of the carts say between two rounds."""
    heard = Taken()
    for _ in range(chance.choice([0, 0, 1, 3])):
        place = "ward", f"cart-{chance.randrange(30)}"
        match chance.randrange(5):
            case 0:
                heard.away.add(place)
            case 1:
                names = {"site": place[0], "device": place[1], "result_id": str(chance.randrange(4))}
                heard.results.append(Heard(digest=NEW, **names))
            case 2:
                ended = Ended(move="failed", digest=NEW, code="slots.rehearsal-died", why="SIGABRT")
                heard.ends.append(EndHeard(site=place[0], device=place[1], ended=ended))
            case _:
                heard.statuses[place] = status(chance), now
    return heard


def judged(kept: Round, known: Known, light: Frame, heard: Taken, now: float) -> tuple[dict[Any, Any], set[str]]:
    changed = known.hear(kept, heard, [light.rollout], now)
    picture = known.picture(kept, light.rollout)
    kept.keep_verdicts(light.rollout.name, picture.judge(light, known, changed, Listening(now=now, since=light.heard)))
    return dict(picture.kept), set(picture.unseen)


@pytest.mark.parametrize("seed", range(6))
def test_who_is_not_judged_again_would_have_been_judged_the_same(store: Store, seed: int) -> None:
    chance, now, known, light = random.Random(seed), NOW, None, frame()
    words = set()
    for _ in range(120):
        now += chance.choice([225.0, 225.0, 2000.0, 2 * HOUR])
        if chance.random() < 0.05:
            light = frame(light.rollout, now)  # there was a gap
        if chance.random() < 0.03 and light.rollout.open == 1:
            light = frame(Rollout(name="tiny-2", serial=2, plan=PLAN, open=2, since=AT, at=AT), light.heard["ward"])
        heard = taken(chance, now)
        with store.round() as kept:
            known = known or Known.of(kept)
            verdicts, unseen = judged(kept, known, light, heard, now)
            anew = judged(kept, Known.of(kept), light, Taken(), now)
        assert (verdicts, unseen) == anew
        words |= {each.verdict.word for each in verdicts.values()}
    assert words >= {"failed", "silent", "undecided", "waiting"}, "succeeded is rare here"


def test_a_round_in_which_nothing_was_heard_judges_nobody_until_a_limit_is_reached(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = pictures.judge
    monkeypatch.setattr(
        pictures, "judge", lambda rollout, cart, *more: (asked.append(cart.name), real(rollout, cart, *more))[1]
    )
    with store.round() as kept:
        known, light = Known.of(kept), frame()
        everybody = {("ward", f"cart-{at}"): (status(random.Random(2)), NOW) for at in range(24)}
        verdicts, _ = judged(kept, known, light, Taken(statuses=everybody), NOW)
        assert len(asked) == len(verdicts) > 5
        asked.clear()
        judged(kept, known, light, Taken(), NOW + 60)
        assert asked == []
        one = next(iter(verdicts))
        judged(kept, known, light, Taken(statuses={one: (status(random.Random(2)), NOW + 120)}), NOW + 120)
        assert asked == ["/".join(one)]
        judged(kept, known, light, Taken(), NOW + 7 * HOUR)
        assert len(asked) == 1 + len(verdicts), "all of them are silent now"


def test_what_another_conductor_has_written_is_read(store: Store) -> None:
    with store.round() as kept:
        assert (kept.revision(), kept.rises(), kept.rises()) == (0.0, 1.0, 2.0)
    other = Store(str(store._engine.url))
    with other.round() as kept:
        assert kept.revision() == 2.0
    other.close()
