"""Orders back: what a cart does with one, whatever lies where; real documents with real keys, and the real client."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeai.rollouts import RollBack
from edgeai.testing.repository import OpsTeam
from edgeai.testing.scripted_server import ScriptedServer
from edgeai_fleet.documents import stage

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("known_engines")]


def test_an_order_back_is_followed_at_once_and_once(cart: Any, started: OpsTeam) -> None:
    cart.update()
    cart.switch()
    started.rollout("stop")
    started.rollout("rollback", "tiny", "--leave", "2", "--to", "1", "--why", "it misses small heads")
    assert cart.outcome() == ("ordered-back", "")
    slots = cart.slots.read()
    assert (slots.running.release, slots.order) == (1, 1)
    [failed] = slots.bad.values()
    assert (failed.release, failed.code, failed.why) == (2, "ordered", "it misses small heads")
    started.rollout("stop", "--lift")
    assert cart.outcome() == ("waiting", "rollout.left"), "nobody takes again what it was told to leave"
    [left] = slots.bad
    cart.slots.pardon(left)
    assert cart.outcome() == ("waiting", "rollout.left")


def test_an_order_that_was_followed_is_not_followed_again(cart: Any, started: OpsTeam) -> None:
    cart.update()
    cart.switch()
    started.rollout("rollback", "tiny", "--leave", "2", "--to", "1", "--why", "it misses")
    cart.update()
    [left] = cart.slots.read().bad
    state = cart.slots.state
    state.write_text(state.read_text().replace('"active": "a"', '"active": "b"'))  # as if somebody had brought it back
    state.write_text(_without_bad(state.read_text()))
    assert cart.slots.read().running.digest == left
    assert cart.outcome() == ("current", "")
    started.rollout("rollback", "tiny", "--leave", "2", "--to", "1", "--why", "it misses still")
    assert cart.outcome() == ("ordered-back", "")


def _without_bad(text: str) -> str:
    body = json.loads(text)
    body["bad"] = {}
    body["b"]["stage"] = "good"
    return json.dumps(body)


def test_a_lifted_order_lets_come_again_what_was_left_by_it_alone(cart: Any, started: OpsTeam) -> None:
    cart.update()
    cart.switch()
    started.rollout("rollback", "tiny", "--leave", "2", "--to", "1", "--why", "it misses small heads")
    assert cart.outcome() == ("ordered-back", "")
    [left] = cart.slots.read().bad
    started.rollout("rollback", "tiny", "--lift", "--why", "the probe was at fault")
    assert cart.told()["deployments"][0]["outcome"] != "ordered-back"
    assert list(cart.slots.read().bad) == [left], "it was only asked"
    assert cart.outcome() == ("installed", "")
    slots = cart.slots.read()
    assert (slots.bad, slots.running.release, slots.order) == ({}, 1, 1)
    cart.switch()
    assert (cart.slots.read().running.release, cart.outcome()) == (2, ("current", ""))
    started.rollout("rollback", "tiny", "--leave", "2", "--to", "1", "--why", "it misses all the same")
    assert (cart.outcome(), cart.slots.read().order) == (("ordered-back", ""), 3), "orders are numbered in one row"


def test_a_lifted_order_is_followed_by_nobody_who_comes_late_and_pardons_no_failure(
    cart: Any, started: OpsTeam
) -> None:
    cart.update()
    cart.switch(proven=False)
    started.rollout("rollback", "tiny", "--leave", "2", "--to", "1", "--why", "it misses")
    started.rollout("rollback", "tiny", "--lift", "--why", "it does not")  # before this cart has looked
    assert cart.outcome() == ("current", "")
    assert cart.slots.read().running.release == 2
    cart.slots.roll_back("slots.failures", "it failed on two images")
    assert cart.outcome() == ("refused", "slots.bad"), "what failed here is not ops' to forgive"


def test_an_order_to_what_is_not_here_fetches_and_rehearses_it_first(cart: Any, ops: OpsTeam, server: Any) -> None:
    cart.serve(server.url)
    for release in (2, 3):
        ops.offer(ops.bundle("tiny", release))
        assert cart.outcome() == ("installed", "")
        cart.switch()
    ops.rollout("rollback", "tiny", "--leave", "3", "--leave", "2", "--to", "1", "--why", "both miss")
    answer = cart.update()
    assert (answer["outcome"], answer["release"], answer["soon"]) == ("installed", 1, True)
    assert cart.slots.read().running.release == 3
    assert (cart.update()["outcome"], cart.update()["soon"]) == ("ready", True)
    cart.slots.rehearsed()
    assert cart.outcome() == ("ordered-back", "")
    slots = cart.slots.read()
    assert (slots.running.release, slots.order, [each.release for each in slots.bad.values()]) == (1, 1, [3])
    assert cart.outcome() == ("waiting", "rollout.left")


# --- while a bundle is on probation -------------------------------------------------------------------


@pytest.mark.usefixtures("started")
def test_an_order_to_what_is_on_probation_here_changes_nothing_here(cart: Any, forge: Any) -> None:
    """It is for those who run what it leaves; here that has been left already, and probation decides."""
    cart.update()
    cart.switch(proven=False)
    before = cart.slots.read()
    assert before.running is not None
    forward = RollBack(  # as no command makes it: a way back goes back
        model="tiny",
        number=1,
        leaves=tuple(each.digest for each in (before.a, before.b) if each.release == 1),
        to=before.running.digest,
        release=2,
        why="it is right after all",
        at="2026-05-04T12:00:00Z",
    )
    forge(lambda now: stage(now, forward) and None)
    assert cart.outcome() == ("current", "")
    assert cart.slots.read() == before
    cart.slots.roll_back("slots.failures", "it failed on two images")
    assert cart.outcome() == ("refused", "slots.bad"), "what failed here does not come back by an order"
    assert cart.slots.read().running.release == 1


def test_an_order_to_leave_what_is_on_probation_goes_back_at_once(cart: Any, started: OpsTeam) -> None:
    cart.update()
    cart.switch(proven=False)
    started.rollout("rollback", "tiny", "--leave", "2", "--to", "1", "--why", "it misses")
    assert cart.outcome() == ("ordered-back", "")
    slots = cart.slots.read()
    assert (slots.running.release, slots.order, slots.probation) == (1, 1, None)
    assert [failed.code for failed in slots.bad.values()] == ["ordered"]


def test_what_is_on_probation_is_left_before_what_is_wanted_comes(
    cart: Any, ops: OpsTeam, server: ScriptedServer
) -> None:
    """1 ran, 2 stood before, 3 is on probation: an order to 1 needs the slot in which 2 lies."""
    cart.serve(server.url)
    for release in (2, 3):
        ops.offer(ops.bundle("tiny", release))
        assert cart.outcome() == ("installed", "")
        cart.switch(proven=release == 2)
    ops.rollout("rollback", "tiny", "--leave", "3", "--leave", "2", "--to", "1", "--why", "both miss")
    assert cart.told()["deployments"][0]["outcome"] == "ready"
    assert cart.slots.read().probation is not None, "it was only asked"
    server.asked.clear()
    answer = cart.update()
    assert (answer["outcome"], answer["release"], answer["soon"]) == ("ordered-back", 2, True)
    assert not [each for each in server.asked if each.path.startswith("blobs/")]
    slots = cart.slots.read()
    assert (slots.running.release, slots.probation, slots.order) == (2, None, 0), "the order is still to be followed"
    assert [(failed.release, failed.code) for failed in slots.bad.values()] == [(3, "ordered")]
    answer = cart.update()
    assert (answer["outcome"], answer["release"], answer["soon"]) == ("installed", 1, True)
    cart.slots.rehearsed()
    assert cart.outcome() == ("ordered-back", "")
    assert (cart.slots.read().running.release, cart.slots.read().order) == (1, 1)


# --- to what cannot run -------------------------------------------------------------------------------


@pytest.mark.parametrize("is_on_probation", [False, True])
def test_an_order_to_what_failed_here_is_refused_until_a_person_lets_it_come(
    cart: Any, ops: OpsTeam, server: ScriptedServer, is_on_probation: bool
) -> None:
    """And what runs is not left for it: nothing better is known."""
    cart.serve(server.url)
    ops.offer(ops.bundle("tiny", 2))
    assert cart.outcome() == ("installed", "")
    cart.switch(proven=False)
    cart.slots.roll_back("slots.failures", "it failed on two images")
    ops.offer(ops.bundle("tiny", 3))
    assert cart.outcome() == ("installed", "")
    cart.switch(proven=not is_on_probation)
    ops.rollout("rollback", "tiny", "--leave", "3", "--to", "2", "--why", "it misses")
    server.asked.clear()
    answer = cart.update()
    assert (answer["outcome"], answer["code"]) == ("refused", "slots.bad")
    assert "it failed on two images" in answer["message"]
    assert "--pardon" in answer["remedy"]
    assert not [each for each in server.asked if each.path.startswith("blobs/")]
    slots = cart.slots.read()
    assert (slots.running.release, slots.order) == (3, 0)
    assert (slots.probation is not None) == is_on_probation
    [failed] = slots.bad
    cart.slots.pardon(failed)
    assert cart.update()["outcome"] == ("ordered-back" if is_on_probation else "installed")


def test_an_order_to_what_nobody_offers_says_so(cart: Any, fleet: OpsTeam, forge: Any) -> None:
    runs = cart.update() and cart.slots.read().running.digest
    back = RollBack(
        model="tiny", number=1, leaves=(runs,), to="sha256:" + "0" * 64, release=9, why="x", at="2026-05-04T12:00:00Z"
    )
    forge(lambda now: stage(now, back) and None)
    assert cart.outcome() == ("refused", "update.order-unmet")
    assert cart.slots.read().running.digest == runs
