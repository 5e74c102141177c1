"""A bundle that is to be shown beside what runs: what of it stands in the slots, and when it is switched to."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeai.agreement import fewest
from edgeai.bundle.releases import Numbered
from edgeai.slots import Asked, Order, Shadow, Slots, SlotsError, moves, sentences, summary
from edgeai.slots.record import decode, encode
from edgeai.slots.shown import judge

AT = "2026-11-30T01:00:00Z"
OLD, NEW, NEWER = (Numbered(name="guard", release=n, digest=f"sha256:{n:064x}") for n in (1, 2, 3))


def running() -> Slots:
    return moves.adopt(moves.filled(moves.begin(Slots(), OLD, AT), AT), AT)


def rehearsed(agreement: float = 0.9, asked: Asked | None = None, bundle: Numbered = NEW, most: int = 500) -> Slots:
    slots = moves.filled(moves.begin(running(), bundle, AT, asked), AT)
    return moves.rehearsed(slots, AT, agreement=agreement, most=most)


def known(slots: Slots) -> Slots:
    """As it is read again."""
    return decode(encode(slots))


def test_it_is_switched_to_only_once_it_was_shown() -> None:
    slots = known(rehearsed())
    with pytest.raises(SlotsError, match="shown beside what runs first"):
        moves.activate(slots, 3, AT)
    for difference in ("", "class abdomen is stated", ""):
        slots = known(moves.compared(slots, NEW.digest, difference))
    assert slots.shadow is not None
    assert (slots.shadow.compared, slots.shadow.agreed, slots.shadow.last) == (3, 2, "class abdomen is stated")
    slots = known(moves.shown(slots, "it agrees", AT, NEW.digest))
    assert slots.shadow is None
    assert slots.history[-1].why == "it agrees"
    assert moves.activate(slots, 3, AT).active == "b"


@pytest.mark.parametrize(
    ("profile", "asked", "needed", "most"),
    [
        (0.0, Asked(), None, None),
        (0.9, Asked(), 0.9, 500),
        (0.0, Asked(agreement=0.8, images=100), 0.8, 100),
        (0.9, Asked(agreement=0.8, images=100), 0.9, 100),
        (0.8, Asked(agreement=0.9), 0.9, 500),
        (0.0, Asked(agreement=0.9, images=10), 0.9, fewest(0.9)),
    ],
)
def test_the_stricter_of_two_counts(profile: float, asked: Asked, needed: float | None, most: int | None) -> None:
    shadow = rehearsed(profile, asked).shadow
    assert (shadow and shadow.needed, shadow and shadow.most) == (needed, most)


def test_other_artifacts_of_what_runs_are_not_compared_with_it() -> None:
    assert rehearsed(bundle=OLD).shadow is None


@pytest.mark.parametrize(
    "leave",
    [
        lambda slots: moves.begin(slots, NEWER, AT),
        lambda slots: moves.fail(slots, "slots.disagrees", "it differs", AT, NEW.digest),
        lambda slots: moves.abandon(slots, "no engine", AT, NEW.digest),
        lambda slots: moves.damaged(slots, "b", "a bad sector", AT),
        lambda slots: moves.go_back(slots, Order(number=1, leaves=OLD.digest, to=NEW.digest, why="at once"), AT),
    ],
    ids=["a newer one comes", "bad", "given up", "damaged", "ordered"],
)
def test_it_is_over_once_another_bundle_lies_there(leave: Any) -> None:
    assert known(leave(rehearsed())).shadow is None


def test_what_is_not_in_the_shadow_is_not_counted() -> None:
    for slots in (running(), rehearsed(0.0), moves.begin(rehearsed(), NEWER, AT)):
        with pytest.raises(SlotsError, match="is not shown beside what runs"):
            moves.compared(slots, NEW.digest, "")
        with pytest.raises(SlotsError, match="is not shown beside what runs"):
            moves.shown(slots, "", AT, NEW.digest)


def test_a_record_that_cannot_be_is_refused() -> None:
    slots = rehearsed()
    assert slots.shadow is not None
    stray = msgspec.structs.replace(running(), shadow=slots.shadow)
    over = msgspec.structs.replace(slots, shadow=msgspec.structs.replace(slots.shadow, agreed=1))
    for wrong in (stray, over):
        with pytest.raises(SlotsError, match="could not be read again"):
            encode(wrong)


def test_a_record_from_before_there_were_shadows_is_read() -> None:
    body = msgspec.json.decode(encode(rehearsed(0.0)))
    del body["shadow"]
    for name in ("a", "b"):
        del body[name]["asked"]
    assert decode(msgspec.json.encode(body)) == rehearsed(0.0)


@pytest.mark.parametrize(
    ("agreed", "compared", "end", "code"),
    [
        (0, 0, "goes on", ""),
        (68, 68, "goes on", ""),
        (69, 69, "good", ""),
        (0, 3, "bad", "slots.disagrees"),
        (90, 100, "goes on", ""),
        (180, 200, "bad", "slots.not-shown"),
    ],
)
def test_it_ends_when_its_figures_say_enough(agreed: int, compared: int, end: str, code: str) -> None:
    shadow = Shadow(digest=NEW.digest, since=AT, needed=0.9, most=200, compared=compared, agreed=agreed, last="x")
    told, given, why = judge(shadow)
    assert (told, given) == (end, code)
    assert (f"{agreed} of {compared} images" in why) == (end != "goes on")
    assert ("the last: x" in why) == (end == "bad")


def test_a_status_shows_how_it_stands() -> None:
    told = summary(moves.compared(rehearsed(), NEW.digest, "segment head lies elsewhere, Dice 0.31"))
    assert told["shadow"]["compared"] == 1
    assert any("agrees on 0 of 1 images (between 0.0% and 9" in line for line in sentences(told))
    assert summary(running())["shadow"] is None
