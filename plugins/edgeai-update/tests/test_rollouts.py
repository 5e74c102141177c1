"""Whether a cart's turn has come: real documents with real keys, a real server, and the real client."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import TargetFile

from edgeai.bundle.acceptance import Acceptance, Share, signed_acceptance
from edgeai.bundle.signing import signer_of
from edgeai.rollouts import RollBack, place
from edgeai.testing.repository import OpsTeam
from edgeai.testing.scripted_server import ScriptedServer
from edgeai_fleet import publishing
from edgeai_fleet.documents import stage
from edgeai_fleet.layout import Folder
from edgeai_fleet.layout import place as put
from edgeai_fleet.staging import Staging, sign, staging

pytestmark = pytest.mark.slow


@pytest.fixture
def fleet(cart: Any, ops: OpsTeam, server: ScriptedServer) -> OpsTeam:
    """A repository that offers release 2 of ``tiny`` by rollout only, to a cart that runs release 1."""
    cart.serve(server.url)
    ops.do("add", ops.repo, ops.bundle("tiny", 2), "--by-rollout", "--key", ops.key("targets"))
    ops.publish()
    return ops


def rollout(ops: OpsTeam, *words: str | Path, by: str = "rollouts") -> None:
    ops.do("rollout", words[0], ops.repo, *words[1:], "--key", ops.key(by))
    ops.publish()


def start(ops: OpsTeam, name: str = "tiny-2", *more: str | Path) -> None:
    rollout(ops, "start", name, "--model", "tiny", *(more or ("--phases", "100")))


def accept(cart: Any, digest: str, site: str, key: str) -> None:
    """A site's report that accepts a bundle, where a cart looks for it."""
    report = Acceptance(
        model="tiny", version="2.0.0", digest=digest, site=site, device_id="cart-1", deployment="guard",
        at="2026-11-30T08:00:00Z", edgeai_version="0.1.0", engine={}, data=f"sha256:{0:064}",
        cases=1, least=0.5, right=Share(count=1, of=1, low=0.5, high=1.0),
        withheld=0, accepted=True,
    )  # fmt: skip
    path = cart.at / "var/acceptance/report.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(signed_acceptance(report, signer_of(key, lambda what: "")))


def outcome(cart: Any) -> tuple[str, str]:
    answer = cart.update()
    return answer["outcome"], answer["code"]


def switch(cart: Any) -> None:
    """What was installed is rehearsed, switched to, and proven."""
    cart.slots.rehearsed()
    cart.slots.activate(1)
    cart.slots.counted(completed=1)
    cart.slots.prove()


def forged(ops: OpsTeam, change: Callable[[Staging], None], by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published by somebody who has the two online keys and asks nobody whether it is right."""
    key = ops.key(by)
    with staging(Folder(ops.repo)) as now:
        change(now)
        sign(now.staged.targets["rollouts"], signer_of(key, lambda what: ""))
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "hold", lambda change: None)
        ops.publish()


def test_what_comes_by_rollout_only_waits_until_there_is_one(cart: Any, fleet: OpsTeam, server: ScriptedServer) -> None:
    status, out, _ = cart.call("--once")
    assert (status, "guard: tiny 2.0.0, release 2 is not taken" in out, "[rollout.none]" in out) == (0, True, True)
    assert not [each for each in server.asked if each.path.startswith("blobs/")]
    rollout(fleet, "stop", "--why", "smoke")
    start(fleet)
    assert outcome(cart) == ("waiting", "rollout.stopped")
    rollout(fleet, "stop", "--lift")
    answer = cart.update()
    assert (answer["outcome"], answer["rollout"], answer["release"]) == ("installed", "tiny-2", 2)


def test_a_later_phase_waits_and_comes_when_it_is_opened(cart: Any, fleet: OpsTeam) -> None:
    name = next(each for each in map("late-{}".format, range(99)) if place(each, "ward", "cart-1") >= 0.5)
    start(fleet, name, "--phases", "50,100", "--soak", "0")
    assert outcome(cart) == ("waiting", "rollout.later-phase")
    rollout(fleet, "phase", name)
    assert outcome(cart) == ("installed", "")


def test_a_selector_of_the_profile_and_a_window_are_asked_here(cart: Any, fleet: OpsTeam, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    soon = datetime.now().astimezone() + timedelta(hours=2)
    plan.write_text(
        f'windows = ["{soon:%H:%M}-{soon + timedelta(hours=2):%H:%M}"]\n[select]\nlabels = {{ type = ["us-cart"] }}\n'
    )
    start(fleet, "tiny-2", "--plan", plan, "--phases", "100")
    assert outcome(cart) == ("waiting", "rollout.not-selected")
    cart.profile.write_text(cart.profile.read_text().replace("[device]\n", '[device]\nlabels = { type = "us-cart" }\n'))
    assert outcome(cart) == ("waiting", "rollout.outside-window")


def test_what_needs_the_sites_own_report_waits_for_one_that_its_key_signed(
    cart: Any, fleet: OpsTeam, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text("[needs]\nacceptance = true\n")
    start(fleet, "tiny-2", "--plan", plan, "--phases", "100")
    assert outcome(cart) == ("waiting", "rollout.not-accepted")
    (cart.at / "acceptors").mkdir()
    shutil.copyfile(fleet.pub("site"), cart.at / "acceptors/site.pub")
    cart.profile.write_text(f'{cart.profile.read_text()}\n[trust]\nacceptors = "acceptors"\n')
    digest = cart.update()["digest"]
    for by, site, is_taken in (("stranger", "ward", False), ("site", "annex", False), ("site", "ward", True)):
        accept(cart, digest, site, fleet.key(by))
        assert outcome(cart) == (("installed", "") if is_taken else ("waiting", "rollout.not-accepted"))


def test_a_pause_takes_back_what_is_not_switched_to_and_nothing_else(cart: Any, fleet: OpsTeam) -> None:
    start(fleet)
    assert outcome(cart) == ("installed", "")
    cart.slots.rehearsed()
    rollout(fleet, "pause", "tiny-2", "--why", "two carts are dark")
    answer = cart.update()
    assert (answer["outcome"], answer["code"]) == ("waiting", "rollout.paused")
    assert "two carts are dark" in answer["message"]
    slots = cart.slots.read()
    assert (slots.candidate, slots.running.release, slots.bad) == (None, 1, {})
    assert "two carts are dark" in slots.history[-1].why
    rollout(fleet, "resume", "tiny-2")
    assert outcome(cart) == ("installed", "")
    switch(cart)
    rollout(fleet, "cancel", "tiny-2")
    assert outcome(cart) == ("current", "")
    assert cart.slots.read().running.release == 2, "who runs it runs on"


def test_a_halted_and_a_cancelled_rollout_let_nobody_in(cart: Any, fleet: OpsTeam) -> None:
    start(fleet)
    rollout(fleet, "halt", "tiny-2")
    assert outcome(cart) == ("waiting", "rollout.halted")
    rollout(fleet, "cancel", "tiny-2")
    assert outcome(cart) == ("waiting", "rollout.cancelled")


def test_an_order_back_is_followed_at_once_and_once(cart: Any, fleet: OpsTeam) -> None:
    start(fleet)
    cart.update()
    switch(cart)
    rollout(fleet, "stop")
    rollout(fleet, "rollback", "tiny", "--leave", "2", "--to", "1", "--why", "it misses small heads")
    assert outcome(cart) == ("ordered-back", "")
    slots = cart.slots.read()
    assert (slots.running.release, slots.order) == (1, 1)
    [failed] = slots.bad.values()
    assert (failed.release, failed.code, failed.why) == (2, "ordered", "it misses small heads")
    rollout(fleet, "stop", "--lift")
    assert outcome(cart) == ("waiting", "rollout.left"), "nobody takes again what it was told to leave"
    [left] = slots.bad
    cart.slots.pardon(left)
    assert outcome(cart) == ("waiting", "rollout.left")


def test_an_order_that_was_followed_is_not_followed_again(cart: Any, fleet: OpsTeam) -> None:
    start(fleet)
    cart.update()
    switch(cart)
    rollout(fleet, "rollback", "tiny", "--leave", "2", "--to", "1", "--why", "it misses")
    cart.update()
    [left] = cart.slots.read().bad
    state = cart.slots.state
    state.write_text(state.read_text().replace('"active": "a"', '"active": "b"'))  # as if somebody had brought it back
    state.write_text(_without_bad(state.read_text()))
    assert cart.slots.read().running.digest == left
    assert outcome(cart) == ("current", "")
    rollout(fleet, "rollback", "tiny", "--leave", "2", "--to", "1", "--why", "it misses still")
    assert outcome(cart) == ("ordered-back", "")


def _without_bad(text: str) -> str:
    import json

    body = json.loads(text)
    body["bad"] = {}
    body["b"]["stage"] = "good"
    return json.dumps(body)


def test_an_order_to_what_is_not_here_fetches_and_rehearses_it_first(cart: Any, ops: OpsTeam, server: Any) -> None:
    cart.serve(server.url)
    for release in (2, 3):
        ops.offer(ops.bundle("tiny", release))
        assert outcome(cart) == ("installed", "")
        switch(cart)
    rollout(ops, "rollback", "tiny", "--leave", "3", "--leave", "2", "--to", "1", "--why", "both miss")
    answer = cart.update()
    assert (answer["outcome"], answer["release"], answer["soon"]) == ("installed", 1, True)
    assert cart.slots.read().running.release == 3
    assert (cart.update()["outcome"], cart.update()["soon"]) == ("ready", True)
    cart.slots.rehearsed()
    assert outcome(cart) == ("ordered-back", "")
    slots = cart.slots.read()
    assert (slots.running.release, slots.order, [each.release for each in slots.bad.values()]) == (1, 1, [3])
    assert outcome(cart) == ("waiting", "rollout.left")


def test_a_phase_that_needs_a_second_key_waits_for_it(cart: Any, fleet: OpsTeam, tmp_path: Path) -> None:
    fleet.do("rotate-key", fleet.repo, "approvals", "--in", fleet.pub("second"))
    fleet.sign("targets", "second")
    fleet.publish()
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'windows = ["00:00-24:00"]\n[needs]\nshadow = { agreement = 0.9, images = 50 }\n'
        "[[phases]]\nshare = 1\napproval = true\n"
    )
    start(fleet, "tiny-2", "--plan", plan)
    assert outcome(cart) == ("waiting", "rollout.unapproved")
    rollout(fleet, "approve", "tiny-2", by="second")
    rollout(fleet, "pause", "tiny-2")
    rollout(fleet, "resume", "tiny-2")
    assert outcome(cart) == ("installed", "")
    asked = cart.slots.read().candidate.asked
    assert (asked.agreement, asked.images, asked.windows) == (0.9, 50, ("00:00-24:00",)), "infer holds to it"


def test_what_a_strangers_key_signed_is_taken_by_nobody(
    cart: Any, fleet: OpsTeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.do("rollout", "start", fleet.repo, "tiny-2", "--model", "tiny", "--phases", "100")
    forged(fleet, lambda change: None, "stranger", monkeypatch)
    answer = cart.update()
    assert (answer["outcome"], answer["code"]) == ("refused", "update.untrusted")
    assert cart.slots.read().candidate is None


def test_a_document_that_cannot_be_read_stops_what_it_is_about(
    cart: Any, fleet: OpsTeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(now: Staging) -> None:
        data, path = b'{"schema": 1, "name": "tiny-2"}', "rollouts/tiny-2.json"
        put(now.folder.staged_target(path), data)
        now.edit("rollouts").signed.targets[path] = TargetFile.from_data(path, data)

    forged(fleet, change, "rollouts", monkeypatch)
    assert outcome(cart) == ("refused", "rollout.invalid")


def test_rollouts_that_have_ended_set_nothing_free(cart: Any, fleet: OpsTeam, monkeypatch: pytest.MonkeyPatch) -> None:
    start(fleet)

    def change(now: Staging) -> None:
        now.edit("rollouts").signed.expires = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)

    forged(fleet, change, "rollouts", monkeypatch)
    assert outcome(cart) == ("refused", "update.expired")


def test_an_order_to_what_nobody_offers_says_so(cart: Any, fleet: OpsTeam, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = cart.update() and cart.slots.read().running.digest
    back = RollBack(
        model="tiny", number=1, leaves=(runs,), to="sha256:" + "0" * 64, release=9, why="x", at="2026-05-04T12:00:00Z"
    )
    forged(fleet, lambda now: stage(now, back) and None, "rollouts", monkeypatch)
    assert outcome(cart) == ("refused", "update.order-unmet")
    assert cart.slots.read().running.digest == runs
