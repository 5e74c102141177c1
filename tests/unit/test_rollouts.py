"""What ops sign about a model that goes out, and what a device makes of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from edgeai.rollouts import (
    Approval,
    Document,
    Facts,
    Needs,
    Offered,
    Orders,
    Phase,
    Plan,
    RollBack,
    Rollout,
    RolloutError,
    Select,
    Shadow,
    Stop,
    choose,
    decode,
    encode,
    kind_of,
    path_of,
    phase_of,
    place,
    turn,
)
from edgeai.rollouts.schema import KINDS, json_schema

AT = "2026-05-04T10:00:00Z"
NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)  # a Monday
OLD, NEW, OTHER = (f"sha256:{digit * 64}" for digit in "123")
PHASES = (Phase(share=0.01), Phase(share=0.1), Phase(share=0.5), Phase(share=1.0))


def plan(**changes: Any) -> Plan:
    return Plan(**{"model": "tiny", "release": 2, "digest": NEW, "phases": (Phase(share=1.0),), **changes})


def rollout(of: Plan | None = None, **changes: Any) -> Rollout:
    return Rollout(**{"name": "tiny-2", "serial": 1, "plan": of or plan(), "since": AT, "at": AT, **changes})


def facts(**changes: Any) -> Facts:
    usual: dict[str, Any] = {"site": "ward", "device": "cart-1", "edgeai": "1.4.0", "model": "tiny", "digest": OLD}
    return Facts(**{**usual, "release": 1, "can": frozenset({"shadow", "acceptance"}), **changes})


def approval(of: Plan, **changes: Any) -> Approval:
    return Approval(**{"rollout": "tiny-2", "plan": of.fingerprint, "phase": 1, "at": AT, **changes})


def back(**changes: Any) -> RollBack:
    usual = {"model": "tiny", "number": 1, "leaves": (NEW,), "to": OLD, "release": 1, "why": "it misses", "at": AT}
    return RollBack(**{**usual, **changes})


def code(of: Rollout, **changes: Any) -> str:
    return turn(of, facts(**changes), NOON).code


# --- places and phases --------------------------------------------------------------------------------

shares = st.sets(st.integers(1, 1000), min_size=1, max_size=6).map(
    lambda parts: [part / 1000 for part in sorted(parts)]
)
names = st.integers(0, 10**9).map(lambda number: f"n{number:x}")


@given(shares, names, names, st.data())
def test_whoever_takes_it_in_a_phase_takes_it_in_all_later_ones(
    rising: list[float], site: str, device: str, data: st.DataObject
) -> None:
    of = plan(phases=tuple(Phase(share=share) for share in rising))
    first = data.draw(st.integers(1, len(rising)))
    words = [
        turn(rollout(of, open=number), facts(site=site, device=device), NOON).word
        for number in range(first, len(rising) + 1)
    ]
    assert words == sorted(words, key=["never", "not-yet", "taken"].index), "taken, and then not any more"
    assert len(set(words) & {"never"}) == 0 or set(words) == {"never"}, "never is never"


@given(names, names, names)
def test_a_place_is_fixed_and_in_the_row(name: str, site: str, device: str) -> None:
    assert place(name, site, device) == place(name, site, device)
    assert 0.0 <= place(name, site, device) < 1.0


def test_a_place_is_what_it_always_was() -> None:
    """Carts of two versions of edgeai stand in one row."""
    assert place("us-head-2", "ward", "cart-1") == 0.34099008535537856
    assert place("us-head-2", "war", "d/cart-1") != place("us-head-2", "ward", "cart-1")


def test_shares_are_what_they_say_within_chance() -> None:
    of, devices = plan(phases=PHASES), 20_000
    numbers = [phase_of(place("tiny-2", "ward", f"cart-{number}"), of.phases) for number in range(devices)]
    for number, phase in enumerate(of.phases, 1):
        inside = sum(each is not None and each <= number for each in numbers)
        five_sigma = 5 * math.sqrt(devices * phase.share * (1 - phase.share))
        assert abs(inside - devices * phase.share) <= five_sigma


def test_two_rollouts_begin_with_others() -> None:
    first = {number for number in range(2000) if place("one", "ward", f"cart-{number}") < 0.1}
    second = {number for number in range(2000) if place("two", "ward", f"cart-{number}") < 0.1}
    assert len(first & second) < 60, "20 by chance"


# --- whose turn it is ---------------------------------------------------------------------------------


def test_an_open_phase_is_taken_and_a_later_one_waits() -> None:
    half = plan(phases=(Phase(share=0.5), Phase(share=1.0)))
    devices = [f"cart-{number}" for number in range(40)]
    early = [name for name in devices if place("tiny-2", "ward", name) < 0.5]
    late = [name for name in devices if name not in early]
    assert early
    assert late
    assert all(turn(rollout(half), facts(device=name), NOON).word == "taken" for name in early)
    answers = [turn(rollout(half), facts(device=name), NOON) for name in late]
    assert {(each.word, each.code, each.phase) for each in answers} == {("not-yet", "rollout.later-phase", 2)}
    assert all(turn(rollout(half, open=2), facts(device=name), NOON).word == "taken" for name in devices)
    assert all(turn(rollout(half, state="done"), facts(device=name), NOON).word == "taken" for name in devices)


@pytest.mark.parametrize(
    ("state", "word", "says"),
    [
        ("paused", "not-yet", "rollout.paused"),
        ("halted", "not-yet", "rollout.halted"),
        ("cancelled", "never", "rollout.cancelled"),
    ],
)
def test_a_rollout_that_is_stopped_lets_nobody_in_and_says_why(state: Any, word: str, says: str) -> None:
    answer = turn(rollout(state=state, halts=1, why="two carts went dark"), facts(), NOON)
    assert (answer.word, answer.code) == (word, says)
    assert "two carts went dark" in answer.why
    assert turn(rollout(state=state, halts=1), facts(digest=NEW), NOON).word == "taken", "who runs it runs on"


@pytest.mark.parametrize(
    ("select", "unfit"),
    [
        (Select(sites=("ward", "icu")), {"site": "er"}),
        (Select(devices=("ward/cart-1",)), {"device": "cart-2"}),
        (Select(devices=("ward/cart-1",)), {"site": "icu"}),
        (Select(labels={"type": ("us-cart",)}), {"labels": {"type": "x-ray"}}),
        (Select(labels={"type": ("us-cart",)}), {"labels": {}}),
        (Select(machines=("x86_64",)), {"machine": "aarch64"}),
        (Select(backends=("openvino", "tflite")), {"backends": frozenset({"gpu"})}),
        (Select(backends=("tflite",)), {"backends": frozenset()}),
        (Select(edgeai_least="1.4"), {"edgeai": "1.3.9"}),
        (Select(edgeai_below="2.0"), {"edgeai": "2.0.0"}),
    ],
)
def test_selectors_take_who_fits_and_nobody_else(select: Select, unfit: dict[str, Any]) -> None:
    of = rollout(plan(select=select))
    fits = {"labels": {"type": "us-cart"}, "machine": "x86_64", "backends": frozenset({"tflite"})}
    assert turn(of, facts(**fits), NOON).word == "taken"
    answer = turn(of, facts(**{**fits, **unfit}), NOON)
    assert (answer.word, answer.code) == ("never", "rollout.not-selected")


def test_it_replaces_what_it_says_and_nothing_else() -> None:
    of = rollout(plan(replaces=(OLD,)))
    assert code(of) == ""
    assert code(of, digest=OTHER) == "rollout.not-selected"
    assert code(of, model="other") == "rollout.other-model"


def test_what_it_needs_must_be_to_be_had() -> None:
    of = rollout(plan(needs=Needs(shadow=Shadow(agreement=0.95), acceptance=True)))
    assert code(of, can=frozenset({"shadow"})) == "rollout.unsupported"
    assert code(of) == "rollout.not-accepted"
    assert code(of, accepted=frozenset({OTHER})) == "rollout.not-accepted"
    assert code(of, accepted=frozenset({NEW})) == ""


def test_a_phase_may_need_a_second_key() -> None:
    of = plan(phases=(Phase(share=0.5), Phase(share=1.0, approval=True)))
    devices = [f"cart-{number}" for number in range(40)]
    late = next(name for name in devices if place("tiny-2", "ward", name) >= 0.5)
    early = next(name for name in devices if place("tiny-2", "ward", name) < 0.5)

    def says(device: str, given: Approval | None) -> str:
        return turn(rollout(of, open=2), facts(device=device), NOON, given).code

    assert says(early, None) == "", "its phase needs none"
    assert says(late, None) == "rollout.unapproved"
    assert says(late, approval(of)) == "rollout.unapproved", "of the phase before"
    assert says(late, approval(of, phase=2)) == ""
    assert says(late, approval(of, phase=2, rollout="other")) == "rollout.unapproved"
    assert says(late, approval(plan(digest=OTHER), phase=2)) == "rollout.unapproved", "of another plan"


def test_going_on_after_a_halt_may_need_one_too_and_an_old_one_is_not_enough() -> None:
    of = plan(approve_resuming=True)

    def says(halts: int, given: Approval | None) -> str:
        return turn(rollout(of, halts=halts), facts(), NOON, given).code

    assert says(0, None) == ""
    assert says(1, None) == "rollout.unapproved"
    assert says(1, approval(of, halts=1)) == ""
    assert says(2, approval(of, halts=1)) == "rollout.unapproved"


@pytest.mark.parametrize(
    ("window", "at", "is_open"),
    [
        ("22:00-05:00", "2026-05-04T23:00", True),
        ("22:00-05:00", "2026-05-04T04:59", True),
        ("22:00-05:00", "2026-05-04T05:00", False),
        ("mon 22:00-05:00", "2026-05-05T04:00", True),
        ("mon 22:00-05:00", "2026-05-04T04:00", False),
        ("mon-wed 08:00-12:00", "2026-05-04T11:59", True),
        ("tue,wed 08:00-12:00", "2026-05-04T11:59", False),
    ],
)
def test_a_window_is_of_the_day_on_which_it_begins(window: str, at: str, is_open: bool) -> None:
    answer = turn(rollout(plan(windows=(window,))), facts(), datetime.fromisoformat(at).replace(tzinfo=UTC))
    assert answer.code == ("" if is_open else "rollout.outside-window")


# --- what a device chooses ----------------------------------------------------------------------------

TWO, THREE = Offered(release=2, digest=NEW), Offered(release=3, digest=OTHER)


def chosen(*offered: Offered, orders: Orders | None = None, **changes: Any) -> tuple[int, str]:
    choice = choose(offered, orders or Orders(), facts(**changes), NOON)
    return choice.offered.release if choice.offered else 0, choice.turn.code


def test_without_a_rollout_the_newest_is_taken_as_ever() -> None:
    assert chosen(TWO, THREE) == (3, "")
    assert chosen(TWO, digest=NEW, release=2) == (2, "")
    assert chosen(TWO, digest=OTHER, release=3) == (2, ""), "that it is a step back is for the floor to say"
    assert chosen() == (0, "rollout.none")


def test_what_comes_by_rollout_only_waits_for_one() -> None:
    only = replace(TWO, by_rollout=True)
    assert chosen(only) == (2, "rollout.none")
    assert chosen(only, orders=Orders(rollouts=(rollout(),))) == (2, "")
    about_another = rollout(plan(digest=OTHER))
    assert chosen(only, orders=Orders(rollouts=(about_another,))) == (2, "rollout.none")


def test_a_newer_one_that_waits_is_in_nobodys_way() -> None:
    paused = Orders(rollouts=(rollout(plan(digest=OTHER, release=3), state="paused"),))
    assert chosen(TWO, THREE, orders=paused) == (2, "")
    assert chosen(TWO, THREE, orders=paused, digest=NEW, release=2) == (3, "rollout.paused")


def test_of_two_rollouts_the_one_that_lets_it_in_counts() -> None:
    two = (rollout(state="cancelled"), rollout(name="again", state="paused"))
    assert chosen(TWO, orders=Orders(rollouts=two)) == (2, "rollout.paused")
    assert chosen(TWO, orders=Orders(rollouts=(*two, rollout(name="third")))) == (2, "")


def test_the_emergency_stop_stops_all_or_some_and_never_an_order_back() -> None:
    stop = Stop(serial=1, stopped=True, why="smoke", at=AT)
    assert chosen(TWO, orders=Orders(stop=stop)) == (2, "rollout.stopped")
    assert chosen(TWO, orders=Orders(stop=stop, rollouts=(rollout(),))) == (2, "rollout.stopped")
    assert chosen(TWO, orders=Orders(stop=msgspec.structs.replace(stop, models=("other",)))) == (2, "")
    assert chosen(TWO, orders=Orders(stop=msgspec.structs.replace(stop, stopped=False))) == (2, "")
    choice = choose([TWO], Orders(stop=stop, back=back()), facts(digest=NEW, release=2), NOON)
    assert choice.back is not None


def test_an_order_back_is_for_who_runs_what_is_to_be_left_and_each_number_once() -> None:
    def order(given: RollBack, **changes: Any) -> RollBack | None:
        return choose([TWO], Orders(back=given), facts(**{"digest": NEW, "release": 2, **changes}), NOON).back

    assert order(back()) == back()
    assert order(back(), digest=OTHER) is None
    assert order(back(), model="other") is None
    assert order(back(), followed=1) is None
    assert order(back(number=2), followed=1) is not None
    assert order(back(select=Select(sites=("icu",)))) is None


def test_nobody_takes_what_an_order_leaves() -> None:
    orders = Orders(back=back(), rollouts=(rollout(state="done"),))
    assert chosen(TWO, orders=orders) == (2, "rollout.left")
    assert chosen(TWO, orders=orders, site="icu") == (2, "rollout.left")
    elsewhere = Orders(back=back(select=Select(sites=("icu",))))
    assert chosen(TWO, orders=elsewhere) == (2, "")


# --- the documents ------------------------------------------------------------------------------------

FULL = rollout(
    plan(
        phases=PHASES,
        replaces=(OLD,),
        select=Select(sites=("ward",), labels={"type": ("us-cart",)}, edgeai_least="1.0"),
        windows=("mon,tue 22:00-05:00",),
        needs=Needs(shadow=Shadow(agreement=0.9), acceptance=True),
        note="the first after the winter",
    ),
    open=2,
    state="halted",
    halts=1,
    why="smoke",
)


def test_a_lifted_order_is_followed_by_nobody_and_leaves_nothing() -> None:
    lifted = back(number=2, lifted=True)
    for followed in (0, 1):
        choice = choose([TWO], Orders(back=lifted), facts(digest=NEW, release=2, followed=followed), NOON)
        assert (choice.back, choice.turn.word) == (None, "taken")
    orders = Orders(back=lifted, rollouts=(rollout(state="done"),))
    assert choose([TWO], orders, facts(followed=1), NOON).turn.word == "taken"
    again = Orders(back=back(number=3), rollouts=(rollout(state="done"),))
    assert choose([TWO], again, facts(digest=NEW, release=2, followed=1), NOON).back is not None
    assert choose([TWO], again, facts(followed=1), NOON).turn.code == "rollout.left"


DOCUMENTS: list[Document] = [
    back(lifted=True),
    FULL,
    approval(FULL.plan),
    back(),
    Stop(serial=3, stopped=True, models=("tiny",), at=AT),
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda each: type(each).__name__)
def test_a_document_is_read_as_it_was_written_and_lies_where_it_says(document: Document) -> None:
    path = path_of(document)
    assert decode(encode(document), type(document), path) == document
    assert kind_of(path) is type(document)
    assert kind_of(f"models/{path}") is None
    with pytest.raises(RolloutError, match="is about"):
        decode(encode(document), type(document), path.replace(".", "-x.", 1))


@pytest.mark.parametrize("kind", KINDS)
def test_the_published_schemas_are_those_of_the_types(repo_root: Path, kind: str) -> None:
    published = json.loads((repo_root / f"edgeai/schemas/{kind}-1.json").read_text())
    assert published == json_schema(kind), (
        f"run: python -m edgeai.rollouts.schema {kind} > edgeai/schemas/{kind}-1.json"
    )
    Draft202012Validator.check_schema(published)
    document = next(each for each in DOCUMENTS if isinstance(each, KINDS[kind]))
    Draft202012Validator(published).validate(json.loads(encode(document)))


def _at(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        for key in keys[:-1]:
            body = body[key]
        body[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _at("schema", value=2),
        _at("schema", value=True),
        _at("soon", value=1),
        _at("plan", "soon", value=1),
        _at("plan", "select", "continents", value=["eu"]),
        _at("plan", "phases", value=[]),
        _at("plan", "phases", value=[{"share": 0.5}, {"share": 0.5}]),
        _at("plan", "phases", value=[{"share": 1.5}]),
        _at("plan", "phases", value=[{"share": "1"}]),
        _at("plan", "digest", value="sha256:12"),
        _at("plan", "replaces", value=[NEW]),
        _at("plan", "windows", value=["25:00-05:00"]),
        _at("plan", "windows", value=["mon 05:00-05:00"]),
        _at("plan", "windows", value=["22:00-05:00\n"]),
        _at("name", value="Tiny.2"),
        _at("open", value=5),
        _at("open", value=0),
        _at("serial", value=0),
        _at("serial", value="1"),
        _at("state", value="flying"),
        _at("halts", value=0),
        _at("at", value="2026-13-01T00:00:00Z"),
    ],
)
def test_a_document_that_is_not_as_it_must_be_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    body = json.loads(encode(FULL))
    change(body)
    with pytest.raises(RolloutError) as refused:
        decode(json.dumps(body).encode(), Rollout)
    assert refused.value.code == "rollout.invalid"


@pytest.mark.parametrize("data", [b"", b"[]", b'{"schema": 1, "schema": 1}', b"\xff", b"[" * 100_000, b" " * 70_000])
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(RolloutError, match="cannot be read"):
        decode(data, Rollout)


def test_an_approval_is_of_the_plan_and_not_of_how_far_it_is() -> None:
    assert rollout(open=1, state="paused").plan.fingerprint == rollout(serial=9).plan.fingerprint
    assert plan(note="x").fingerprint != plan().fingerprint
    again = decode(encode(FULL), Rollout).plan
    assert again.fingerprint == FULL.plan.fingerprint


def test_an_order_that_leads_nowhere_is_not_made() -> None:
    with pytest.raises(RolloutError, match="wants to leave"):
        encode(back(to=NEW))
