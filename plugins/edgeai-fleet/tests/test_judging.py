"""What carts have shown of a rollout, and what follows: by facts alone, whoever comes first."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeai.rollouts import Phase, Plan, Rollout, Select
from edgeai.rollouts.document import Halting
from edgeai_fleet.conducting.carts import Cart, Ended, Status, away, decode, encode, heard, read_status
from edgeai_fleet.conducting.hearing import read_end
from edgeai_fleet.conducting.judging import (
    LATE_S,
    STATUS_EVERY_S,
    STUCK_S,
    Moment,
    Verdict,
    is_unseen,
    judge,
    phase_of_cart,
    results_needed,
)
from edgeai_fleet.conducting.phases import Standing, count, decide, settles_s

AT = "2026-05-04T10:00:00Z"
OLD, NEW = (f"sha256:{digit * 64}" for digit in "12")
NOW = 1_777_900_000.0
DAY = 86_400.0


def rollout(**changes: Any) -> Rollout:
    names = ("phases", "halting", "select", "replaces")
    plan = {name: changes.pop(name) for name in names if name in changes}
    made = Plan(**{"model": "tiny", "release": 2, "digest": NEW, "phases": (Phase(share=1.0),), **plan})
    return Rollout(**{"name": "tiny-2", "serial": 1, "plan": made, "since": AT, "at": AT, **changes})


def slot(digest: str, stage: str = "good", **more: Any) -> dict[str, Any]:
    return {"digest": digest, "model": "tiny", "release": 1, "stage": stage, "since": AT, "stood": True, **more}


def probation(completed: int = 0, failed: int = 0, withheld: int = 0) -> dict[str, Any]:
    return {"since": AT, "needed": 3, "completed": completed, "failed": failed, "withheld": withheld}


def body(slots: dict[str, Any] | None, update: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {"active": "a", "a": slot(OLD), "b": None, "probation": None, "last_end": None, "needed": 3}
    deployed = {
        "name": "guard",
        "state": "ready",
        "slots": None if slots is None else {**usual, **slots},
        "update": update,
    }
    status = {"schema": 2, "site": "ward", "device_id": "cart-1", "state": "online", "edgeai_version": "0.2.0"}
    return {**status, "at": "2026-05-04T12:00:00+00:00", "deployments": [deployed], **more}


def cart(slots: dict[str, Any] | None, update: dict[str, Any] | None = None, **more: Any) -> Cart:
    status = read_status(json.dumps(body(slots, update, **more)).encode())
    assert status is not None
    return heard(None, "ward", "cart-1", status, NOW, retained=False)


def verdict(of: Cart, published: int = 0, after_s: float = 60.0, ended: Ended | None = None, **changes: Any) -> Verdict:
    moment = Moment(now=NOW + after_s, turn_since=NOW, listening_since=NOW)
    return judge(rollout(**changes), of, published, moment, ended)


ACTIVE = {"active": "b", "b": slot(NEW)}


# --- a cart ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slots", "published", "word", "stage"),
    [
        ({}, 0, "waiting", "not fetched"),
        ({"b": slot(NEW, "pending", stood=False)}, 0, "waiting", "is being written"),
        ({"b": slot(NEW, "installed", stood=False)}, 0, "waiting", "waits for its rehearsal"),
        ({"b": slot(NEW, "good", stood=False)}, 0, "waiting", "rehearsed"),
        ({**ACTIVE, "probation": probation()}, 0, "undecided", "active, no image yet"),
        ({**ACTIVE, "probation": probation(2)}, 2, "waiting", "probation 2 of 3"),
        ({**ACTIVE, "probation": probation(0, 1)}, 0, "waiting", "probation 0 of 3, 1 failed"),
        ({**ACTIVE, "probation": probation(2, 1, 7)}, 2, "waiting", "probation 2 of 3, 1 failed, 7 withheld"),
        ({**ACTIVE, "probation": probation(withheld=40)}, 0, "waiting", "probation 0 of 3, 40 withheld"),
        (ACTIVE, 0, "waiting", "proven, 0 of 3 results heard"),
        (ACTIVE, 2, "waiting", "proven, 2 of 3 results heard"),
        (ACTIVE, 3, "succeeded", "proven"),
        ({"b": slot(NEW, "bad", stood=False)}, 0, "failed", "bad"),
    ],
)
def test_installed_is_no_success_and_results_alone_are_none_either(
    slots: dict[str, Any], published: int, word: str, stage: str
) -> None:
    seen = verdict(cart(slots), published)
    assert (seen.word, seen.stage) == (word, stage)
    assert verdict(cart({}), published=99).word == "waiting", "results of something that does not run there"


@pytest.mark.parametrize("move", ["rolled-back", "failed", "ordered-back", "damaged"])
def test_what_did_not_stay_has_failed_with_its_code_and_sentence(move: str) -> None:
    ended = {"move": move, "digest": NEW, "at": AT, "code": "slots.slow", "why": "3.1 times as slow", "stands": True}
    seen = verdict(cart({"last_end": ended}), published=99)
    assert (seen.word, seen.code, seen.why) == ("failed", "slots.slow", "3.1 times as slow")
    assert verdict(cart({"last_end": {**ended, "digest": OLD}})).word == "waiting", "another bundle's end"
    assert verdict(cart({**ACTIVE, "last_end": ended}), published=3).word == "succeeded", "it was pardoned, and came"


def test_one_that_withholds_too_much_has_failed_as_others_and_halts_the_rollout() -> None:
    why = "it made no statement on 20 of 20 images"
    ended = {"move": "rolled-back", "digest": NEW, "at": AT, "code": "slots.withheld", "why": why, "stands": True}
    seen = verdict(cart({"last_end": ended}))
    assert (seen.word, seen.code, seen.why) == ("failed", "slots.withheld", why)
    assert decide(rollout(), [count([seen.word] * 3)], NOW, NOW).step == "halt"


@pytest.mark.parametrize("needed", [0, -5])
def test_one_result_proves_it_at_least_whatever_a_cart_says(needed: int) -> None:
    odd = cart({**ACTIVE, "needed": needed})
    assert verdict(odd).word == "waiting"
    assert verdict(odd, published=1).word == "succeeded"
    assert results_needed(odd) == 1


@pytest.mark.parametrize("move", ["superseded", "abandoned"])
def test_a_newer_release_or_a_pause_that_took_it_away_makes_it_no_failure(move: str) -> None:
    ended = {"move": move, "digest": NEW, "at": AT, "code": None, "why": "newer", "stands": True}
    assert verdict(cart({"last_end": ended})).word == "waiting"


@pytest.mark.parametrize(
    ("code", "digest", "word"),
    [
        ("backend.no-candidate", NEW, "failed"),
        ("bundle.untrusted", NEW, "failed"),
        ("plugin.not-allowed", NEW, "failed"),
        ("slots.bad", NEW, "failed"),
        ("backend.no-candidate", OLD, "waiting"),
        ("update.unreachable", "", "waiting"),
        ("update.no-room", NEW, "waiting"),
        ("slots.out-of-turn", NEW, "waiting"),
        ("rollout.outside-window", NEW, "waiting"),
    ],
)
def test_a_refusal_that_stays_is_a_failure_and_a_link_that_is_down_is_none(code: str, digest: str, word: str) -> None:
    look = {"at": AT, "outcome": "refused", "code": code, "digest": digest, "message": "so it is"}
    assert verdict(cart({}, look)).word == word


def test_a_cart_that_is_there_and_never_takes_it_has_failed_at_last_unless_ops_hold_it_back() -> None:
    look = {"at": AT, "outcome": "refused", "code": "update.unreachable", "message": "no route"}
    later = Cart(site="ward", device="cart-1", status=cart({}, look).status, heard_at=NOW + STUCK_S)
    seen = verdict(later, after_s=STUCK_S + 1)
    assert (seen.word, seen.code) == ("failed", "update.unreachable")
    assert "no route" in seen.why
    assert verdict(later, after_s=STUCK_S).word == "waiting"
    held = cart({}, {**look, "code": "rollout.outside-window"})
    held = Cart(site="ward", device="cart-1", status=held.status, heard_at=NOW + STUCK_S)
    assert verdict(held, after_s=STUCK_S + 1).word == "waiting"


def test_what_another_rollout_of_the_bundle_holds_back_is_no_word_on_this_one() -> None:
    look = {"at": AT, "outcome": "waiting", "code": "rollout.cancelled", "digest": NEW, "message": "it was cancelled"}
    for named, code in (("tiny-1", ""), ("tiny-2", "rollout.cancelled"), ("", "rollout.cancelled")):
        seen = verdict(cart({}, {**look, "rollout": named}))
        assert (seen.word, seen.code) == ("waiting", code)
    stuck = Cart(site="ward", device="cart-1", status=cart({}, {**look, "rollout": "a"}).status, heard_at=NOW + STUCK_S)
    assert verdict(stuck, after_s=STUCK_S + 1).word == "waiting", "something that ops signed holds it back"
    never = {**look, "code": "rollout.not-selected"}
    assert phase_of_cart(rollout(), cart({}, {**never, "rollout": "tiny-1"})) == 1
    assert phase_of_cart(rollout(), cart({}, {**never, "rollout": "tiny-2"})) is None
    refusal = {**look, "code": "backend.no-candidate", "rollout": "tiny-1"}
    assert verdict(cart({}, refusal)).word == "failed", "that is of the bundle"


def test_a_weekend_without_images_is_no_failure_and_no_success() -> None:
    idle = cart({**ACTIVE, "probation": probation()})
    for hours in range(0, 72, 3):
        alive = Cart(site="ward", device="cart-1", status=idle.status, heard_at=NOW + hours * 3600.0)
        assert verdict(alive, after_s=hours * 3600.0 + 60.0).word == "undecided"


def test_no_status_for_so_long_is_a_failure_and_away_counts_as_none() -> None:
    halting = Halting(silent_s=7200.0)
    on = cart({**ACTIVE, "probation": probation(1)})
    off = away(on, "ward", "cart-1")
    assert off.heard_at == on.heard_at, "its last will is no sign of life"
    for each in (on, off):
        assert verdict(each, after_s=7200.0, halting=halting).word == "waiting"
        seen = verdict(each, after_s=7201.0, halting=halting)
        assert (seen.word, seen.code) == ("silent", "fleet.silent")
    assert verdict(off, after_s=9e9, halting=halting, published=3).word == "silent"
    proven = away(cart(ACTIVE), "ward", "cart-1")
    assert verdict(proven, published=3, after_s=9e9).word == "succeeded", "it has shown what it had to show"


def test_undecided_is_who_is_there_and_who_is_away_is_waited_for_until_it_is_silent() -> None:
    halting = Halting(silent_s=7200.0)
    on = cart({**ACTIVE, "probation": probation()})
    off = away(on, "ward", "cart-1")
    assert verdict(on, after_s=LATE_S, halting=halting).word == "undecided"
    for each, after_s in ((off, 60.0), (on, LATE_S + 1)):
        seen = verdict(each, after_s=after_s, halting=halting)
        assert (seen.word, seen.stage) == ("waiting", "active, no image yet, and away")
        assert verdict(each, after_s=7201.0, halting=halting).word == "silent"


def test_a_cart_that_only_the_plan_names_is_waited_for_and_then_failed() -> None:
    named = {"select": Select(devices=("ward/cart-1",)), "halting": Halting(silent_s=7200.0)}
    never = Cart(site="ward", device="cart-1", status=Status(state=""), heard_at=0.0, is_online=False)
    gone = away(None, "ward", "cart-1")
    for each, what in ((never, "the broker has nothing of it"), (gone, "the broker has its last will alone")):
        assert phase_of_cart(rollout(**named), each) == 1
        seen = verdict(each, after_s=7200.0, **named)
        assert (seen.word, seen.stage) == ("waiting", "never seen")
        seen = verdict(each, after_s=7201.0, **named)
        assert (seen.word, seen.code, seen.stage) == ("silent", "fleet.never-seen", "never seen")
        assert what in seen.why
    lost = Ended(move="failed", digest=NEW, code="slots.rehearsal-died", why="SIGABRT")
    assert verdict(never, ended=lost, **named).code == "slots.rehearsal-died"


def test_a_cart_known_by_name_alone_is_shown_where_it_may_be_meant_and_counted_nowhere() -> None:
    gone = away(None, "ward", "cart-1")
    assert phase_of_cart(rollout(), gone) is None
    assert is_unseen(rollout(), gone)
    assert not is_unseen(rollout(), cart({}))
    assert not is_unseen(rollout(select=Select(sites=("other",))), gone)
    assert not is_unseen(rollout(select=Select(devices=("ward/cart-2",))), gone)
    places = [Cart(site="ward", device=f"cart-{at}", status=gone.status, heard_at=0.0) for at in range(40)]
    half = sum(is_unseen(rollout(phases=TWO), each) for each in places)
    assert 0 < half < 40, "of the phases that are open"


def test_an_end_that_the_cart_told_counts_where_its_status_says_nothing_of_it() -> None:
    lost = Ended(move="rolled-back", digest=NEW, code="slots.slow", why="3.1 times as slow")
    other = {"move": "rolled-back", "digest": f"sha256:{'3' * 64}", "code": "slots.failures", "why": "of release 3"}
    refused = {"at": AT, "outcome": "refused", "code": "slots.bad", "digest": NEW, "message": "it failed here"}
    for each in (cart({"last_end": other}), cart({}, refused), cart({"b": slot(NEW, "bad", stood=False)})):
        seen = verdict(each, ended=lost)
        assert (seen.word, seen.code, seen.why) == ("failed", "slots.slow", "3.1 times as slow")
    assert verdict(cart(ACTIVE), 3, ended=lost).word == "succeeded", "it was pardoned, and came"
    assert verdict(cart({"b": slot(NEW, "good", stood=False)}), ended=lost).word == "waiting", "it comes again"
    assert verdict(cart({}), ended=Ended(move="rolled-back", digest=OLD)).word == "waiting"
    assert phase_of_cart(rollout(replaces=(OLD,)), cart({"a": slot(f"sha256:{'3' * 64}")})) is None
    assert phase_of_cart(rollout(replaces=(OLD,)), cart({"a": slot(f"sha256:{'3' * 64}")}), lost) == 1


@pytest.mark.parametrize(
    "event",
    [
        {"kind": "update.installed", "facts": {"digest": NEW}},
        {"kind": "update.failed", "facts": {"digest": None}},
        {"kind": "update.failed", "facts": {"digest": "x" * 81}},
        {"kind": "update.failed", "facts": {"digest": 3}},
        {"kind": "update.failed"},
        {"kind": "failed", "facts": {"digest": NEW}},
        {"kind": "update.failed", "facts": {"digest": NEW, "why": "y" * 70_000}},
        [],
    ],
)
def test_an_event_that_tells_no_end_is_passed_over(event: Any) -> None:
    assert read_end(json.dumps(event).encode()) is None


def test_an_event_tells_how_a_bundle_ended() -> None:
    facts = {"deployment": "d", "digest": NEW, "slot": "b", "code": "slots.slow", "why": "slow", "runs": OLD}
    told = read_end(json.dumps({"schema": 1, "kind": "update.rolled-back", "facts": facts}).encode())
    assert told == Ended(move="rolled-back", digest=NEW, code="slots.slow", why="slow")


def test_what_may_come_again_has_not_ended() -> None:
    facts = {"deployment": "d", "digest": NEW}
    told = read_end(json.dumps({"schema": 1, "kind": "update.pardoned", "facts": facts}).encode())
    assert told == Ended(move="pardoned", digest=NEW, code="", why="")
    left = Ended(move="ordered-back", digest=NEW, code="ordered", why="it misses")
    before = cart({"active": "a", "a": slot(OLD)})
    assert (verdict(before, ended=left).word, verdict(before, ended=told).word) == ("failed", "waiting")


def test_a_connected_cart_is_not_silent_between_two_statuses() -> None:
    halting = Halting(silent_s=60.0)
    assert verdict(cart({}), after_s=STATUS_EVERY_S, halting=halting).word == "waiting"


@pytest.mark.parametrize("name", ["turn_since", "listening_since"])
def test_nobody_was_silent_before_his_turn_or_while_nobody_listened(name: str) -> None:
    moment = Moment(**{"now": NOW + 9 * DAY, "turn_since": NOW, "listening_since": NOW, name: NOW + 9 * DAY - 60})
    assert judge(rollout(), cart({}), 0, moment).word == "waiting"
    assert (
        judge(rollout(), cart({}), 0, Moment(now=NOW + 9 * DAY, turn_since=NOW, listening_since=NOW)).word == "silent"
    )


def test_of_two_deployments_of_the_model_the_worse_counts() -> None:
    both = body({**ACTIVE})
    both["deployments"] *= 2
    both["deployments"][1] = body({"b": slot(NEW, "bad", stood=False)})["deployments"][0]
    status = read_status(json.dumps(both).encode())
    assert status is not None
    made = heard(None, "ward", "cart-1", status, NOW, retained=False)
    assert verdict(made, published=3).word == "failed"


# --- whose rollout it is ----------------------------------------------------------------------------------


def test_only_who_runs_the_model_and_is_selected_belongs_to_it() -> None:
    assert phase_of_cart(rollout(), cart({})) == 1
    assert phase_of_cart(rollout(), cart(None)) is None, "it takes no updates"
    assert phase_of_cart(rollout(select=Select(sites=("ward",))), cart({})) == 1
    assert phase_of_cart(rollout(select=Select(sites=("other",))), cart({})) is None
    assert phase_of_cart(rollout(select=Select(labels={"ring": ("early",)})), cart({}, labels={"ring": "early"})) == 1
    assert phase_of_cart(rollout(select=Select(labels={"ring": ("early",)})), cart({})) is None
    other = {"a": {**slot(OLD), "model": "huge"}}
    assert phase_of_cart(rollout(), cart(other)) is None
    assert phase_of_cart(rollout(replaces=(f"sha256:{'9' * 64}",)), cart({})) is None
    assert phase_of_cart(rollout(replaces=(OLD,)), cart({})) == 1
    gone = {"move": "rolled-back", "digest": NEW, "at": AT, "code": "slots.slow", "why": "slow", "stands": True}
    assert phase_of_cart(rollout(replaces=(OLD,)), cart({"last_end": gone})) == 1, "who failed is not forgotten"


def test_a_cart_that_says_never_is_believed_of_this_bundle_alone() -> None:
    look = {"at": AT, "outcome": "waits", "code": "rollout.not-selected", "digest": NEW, "message": "label"}
    assert phase_of_cart(rollout(), cart({}, look)) is None
    assert phase_of_cart(rollout(), cart({}, {**look, "digest": OLD})) == 1


# --- what is heard ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"[]", b"null", b'{"state": 1}', b"[" * 100_000, b'{"state": "online", "deployments": 3}', b"\xff\xfe"),
        json.dumps({"state": "x" * 300_000}).encode(),
    ],
)
def test_what_is_no_status_is_passed_over(data: bytes) -> None:
    assert read_status(data) is None


def test_a_cart_that_was_only_ever_away_is_a_name_until_it_says_what_it_is() -> None:
    gone = away(None, "ward", "cart-1")
    assert (gone.is_known, gone.is_online, gone.heard_at) == (False, False, 0.0)
    assert decode(encode(gone)) == gone
    back = heard(gone, "ward", "cart-1", Status(state="online"), NOW, retained=False)
    assert (back.is_known, back.is_online, back.heard_at) == (True, True, NOW)


def test_what_was_retained_is_as_old_as_it_says_and_never_newer_than_now() -> None:
    def at(word: str) -> float:
        made = heard(None, "ward", "cart-1", Status(state="online", at=word), NOW, retained=True)
        return made.heard_at

    assert at("2026-05-04T10:00:00+00:00") == 1_777_888_800.0
    assert at("2040-01-01T00:00:00+00:00") == NOW
    assert at("nonsense") == NOW


def test_what_is_kept_of_a_cart_is_read_again() -> None:
    ended = {"move": "rolled-back", "digest": NEW, "at": AT, "code": "slots.slow", "why": "slow", "stands": True}
    for made in (cart({**ACTIVE, "probation": probation(1)}), cart({"last_end": ended}, {"outcome": "current"})):
        assert decode(encode(made)) == made


# --- a phase ----------------------------------------------------------------------------------------------

words = st.sampled_from(["succeeded", "failed", "silent", "undecided", "waiting"])
carts = st.lists(words, max_size=40)
halting = st.builds(Halting, failures=st.sampled_from([0.0, 0.02, 0.05, 0.5]), least=st.integers(1, 4))
TWO = (Phase(share=0.5), Phase(share=1.0))


def step(words: list[Any], **changes: Any) -> str:
    return decide(rollout(**{"phases": TWO, **changes}), [count(words), Standing()], NOW, NOW).step


@given(carts, halting, st.randoms(use_true_random=False))
def test_who_ends_first_makes_no_difference(words: list[Any], bounds: Halting, random: Any) -> None:
    shuffled = list(words)
    random.shuffle(shuffled)
    assert step(words, halting=bounds) == step(shuffled, halting=bounds)


@given(carts, halting)
def test_it_is_halted_by_the_rule_of_its_plan_and_by_nothing_else(words: list[Any], bounds: Halting) -> None:
    bad = sum(word in ("failed", "silent") for word in words)
    base = sum(word != "undecided" for word in words)
    must = bad >= bounds.least and bad > bounds.failures * base
    assert (step(words, halting=bounds) == "halt") == must


@given(carts, halting, st.integers(1, 50))
def test_carts_without_images_halt_nothing_and_open_nothing(words: list[Any], bounds: Halting, idle: int) -> None:
    before, after = step(words, halting=bounds), step([*words, *["undecided"] * idle], halting=bounds)
    assert (before == "halt") == (after == "halt")
    assert after != "go-on" or before == "go-on" or not words


@given(carts, halting)
def test_another_failure_opens_nothing_that_was_closed(words: list[Any], bounds: Halting) -> None:
    if step(words, halting=bounds) == "halt":
        assert step([*words, "failed"], halting=bounds) == "halt"
    if step([*words, "failed"], halting=bounds) == "go-on":
        assert step([*words, "succeeded"], halting=bounds) == "go-on"


@given(carts)
def test_a_phase_goes_on_by_success_alone(words: list[Any]) -> None:
    if step(words, halting=Halting(failures=1.0)) == "go-on" and words:
        assert words.count("succeeded") >= 1
        assert 2 * sum(word in ("succeeded", "failed", "silent") for word in words) >= len(words)


def test_one_failure_of_one_cart_is_halted_by_the_plans_own_rule_and_said() -> None:
    decision = decide(rollout(phases=TWO), [count(["failed"]), Standing()], NOW, NOW)
    assert decision.step == "halt"
    assert decision.why.startswith("1 of 1 cart failed: more than 5 %")
    mild = rollout(phases=TWO, halting=Halting(least=2))
    decision = decide(mild, [count(["failed"]), Standing()], NOW, NOW)
    assert decision.step == "wait"
    assert "fewer than the 2 from which on it would be halted" in decision.why
    assert "by hand or not at all" in decision.why


def test_an_early_failure_among_many_on_their_way_is_no_reason_yet_and_the_same_share_is_at_the_end() -> None:
    assert step(["failed"] * 2 + ["waiting"] * 98) == "wait"
    assert step(["failed"] * 2 + ["succeeded"] * 98) == "go-on"
    assert step(["failed"] * 6 + ["waiting"] * 94) == "halt", "whatever becomes of the others"


def test_a_phase_soaks_and_an_empty_one_soaks_too() -> None:
    soaking = (Phase(share=0.5, soak_s=3600.0), Phase(share=1.0))
    for words in (["succeeded"] * 5, []):
        of = rollout(phases=soaking)
        assert decide(of, [count(words), Standing()], NOW + 3599, NOW).step == "wait"
        assert decide(of, [count(words), Standing()], NOW + 3600, NOW).step == "go-on"


def test_a_phase_in_which_nobody_was_heard_is_opened_only_after_a_beat_of_listening() -> None:
    for words in ([], ["succeeded"] * 5):
        early = decide(rollout(phases=TWO), [count(words), Standing()], NOW, NOW, STATUS_EVERY_S - 1)
        assert early.step == ("go-on" if words else "wait")
        late = decide(rollout(phases=TWO), [count(words), Standing()], NOW, NOW, STATUS_EVERY_S)
        assert late.step == "go-on"
    assert "15 min of listening would show one" in decide(rollout(phases=TWO), [Standing()], NOW, NOW, 0.0).why


def test_the_last_phase_is_done_when_nobody_is_on_the_way() -> None:
    last = rollout(phases=TWO, open=2)
    good = count(["succeeded"] * 5)
    assert decide(last, [good, count(["succeeded"] * 5 + ["waiting"])], NOW, NOW).step == "wait"
    assert decide(last, [count(["succeeded"] * 5 + ["waiting"]), good], NOW, NOW).step == "wait", "of any phase"
    assert decide(last, [good, count(["succeeded"] * 5 + ["undecided"])], NOW, NOW).step == "done"
    for standings in ([good, count(["succeeded"] * 5 + ["undecided"], fresh=1)], [count(["undecided"], fresh=1), good]):
        decision = decide(last, standings, NOW, NOW)
        assert decision.step == "wait", "it has just switched: whether it lives is not known yet"
        assert "1 cart running it without images, for less than 45 min yet" in decision.why
    assert decide(last, [good, good], NOW, NOW).step == "done"


def test_a_cart_settles_in_the_soak_and_never_before_its_statuses_can_have_failed_to_come() -> None:
    assert settles_s(rollout()) == LATE_S
    long = (Phase(share=0.5), Phase(share=1.0, soak_s=DAY))
    assert settles_s(rollout(phases=long)) == LATE_S
    assert settles_s(rollout(phases=long, open=2)) == DAY


@pytest.mark.parametrize("state", ["paused", "halted", "cancelled", "done"])
def test_what_does_not_run_is_left_to_people(state: Any) -> None:
    changes = {"halts": 1} if state == "halted" else {}
    assert step(["failed"] * 9, state=state, **changes) == "wait"
    assert step(["succeeded"] * 9, state=state, **changes) == "wait"


def test_after_a_halt_who_failed_before_is_pardoned_and_who_fails_now_is_not() -> None:
    resumed = rollout(phases=TWO, halts=1)
    known = count(["failed"] * 3 + ["succeeded"] * 7, pardoned=3)
    assert decide(resumed, [known, Standing()], NOW, NOW).step == "go-on"
    one_more = count(["failed"] * 4 + ["succeeded"] * 6, pardoned=3)
    assert decide(resumed, [one_more, Standing()], NOW, NOW).step == "halt"


def test_failures_of_earlier_phases_count_with_those_of_this_one() -> None:
    of = rollout(phases=TWO, open=2, halting=Halting(failures=0.05, least=3))
    assert decide(
        of, [count(["failed"] * 2 + ["succeeded"] * 8), count(["failed"] + ["waiting"] * 9)], NOW, NOW
    ).step == ("halt")


def test_a_cart_that_never_says_why_it_does_not_take_it_has_a_code_as_well() -> None:
    later = Cart(site="ward", device="cart-1", status=cart({}).status, heard_at=NOW + STUCK_S)
    assert verdict(later, after_s=STUCK_S + 1).code == "fleet.not-taken"
