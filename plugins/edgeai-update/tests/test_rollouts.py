"""Whether a cart's turn has come: real documents with real keys, a real server, and the real client."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import TargetFile

from edgeai.bundle.acceptance import Acceptance, Share, signed_acceptance
from edgeai.bundle.signing import signer_of
from edgeai.rollouts import place
from edgeai.testing.repository import OpsTeam
from edgeai.testing.scripted_server import ScriptedServer
from edgeai_fleet.layout import place as put
from edgeai_fleet.staging import Staging

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("known_engines")]


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


def test_what_comes_by_rollout_only_waits_until_there_is_one(cart: Any, fleet: OpsTeam, server: ScriptedServer) -> None:
    status, out, _ = cart.call("--once")
    assert (status, "guard: tiny 2.0.0, release 2 is not taken" in out, "[rollout.none]" in out) == (0, True, True)
    assert not [each for each in server.asked if each.path.startswith("blobs/")]
    fleet.rollout("stop", "--why", "smoke")
    fleet.start()
    assert cart.outcome() == ("waiting", "rollout.stopped")
    fleet.rollout("stop", "--lift")
    answer = cart.update()
    assert (answer["outcome"], answer["rollout"], answer["release"]) == ("installed", "tiny-2", 2)


def test_a_later_phase_waits_and_comes_when_it_is_opened(cart: Any, fleet: OpsTeam) -> None:
    name = next(each for each in map("late-{}".format, range(99)) if place(each, "ward", "cart-1") >= 0.5)
    fleet.start(name, "--phases", "50,100", "--soak", "0")
    assert cart.outcome() == ("waiting", "rollout.later-phase")
    fleet.rollout("phase", name)
    assert cart.outcome() == ("installed", "")


def test_a_selector_of_the_profile_and_a_window_are_asked_here(cart: Any, fleet: OpsTeam, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    soon = datetime.now().astimezone() + timedelta(hours=2)
    plan.write_text(
        f'windows = ["{soon:%H:%M}-{soon + timedelta(hours=2):%H:%M}"]\n[select]\nlabels = {{ type = ["us-cart"] }}\n'
    )
    fleet.start("tiny-2", "--plan", plan, "--phases", "100")
    assert cart.outcome() == ("waiting", "rollout.not-selected")
    cart.profile.write_text(cart.profile.read_text().replace("[device]\n", '[device]\nlabels = { type = "us-cart" }\n'))
    assert cart.outcome() == ("waiting", "rollout.outside-window")


def test_what_needs_the_sites_own_report_waits_for_one_that_its_key_signed(
    cart: Any, fleet: OpsTeam, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text("[needs]\nacceptance = true\n")
    fleet.start("tiny-2", "--plan", plan, "--phases", "100")
    assert cart.outcome() == ("waiting", "rollout.not-accepted")
    (cart.at / "acceptors").mkdir()
    shutil.copyfile(fleet.pub("site"), cart.at / "acceptors/site.pub")
    cart.profile.write_text(f'{cart.profile.read_text()}\n[trust]\nacceptors = "acceptors"\n')
    digest = cart.update()["digest"]
    for by, site, is_taken in (("stranger", "ward", False), ("site", "annex", False), ("site", "ward", True)):
        accept(cart, digest, site, fleet.key(by))
        assert cart.outcome() == (("installed", "") if is_taken else ("waiting", "rollout.not-accepted"))


def test_a_pause_takes_back_what_is_not_switched_to_and_nothing_else(cart: Any, started: OpsTeam) -> None:
    assert cart.outcome() == ("installed", "")
    cart.slots.rehearsed()
    started.rollout("pause", "tiny-2", "--why", "two carts are dark")
    answer = cart.update()
    assert (answer["outcome"], answer["code"]) == ("waiting", "rollout.paused")
    assert "two carts are dark" in answer["message"]
    slots = cart.slots.read()
    assert (slots.candidate, slots.running.release, slots.bad) == (None, 1, {})
    assert "two carts are dark" in slots.history[-1].why
    started.rollout("resume", "tiny-2")
    assert cart.outcome() == ("installed", "")
    cart.switch()
    started.rollout("cancel", "tiny-2")
    assert cart.outcome() == ("current", "")
    assert cart.slots.read().running.release == 2, "who runs it runs on"


def test_a_halted_and_a_cancelled_rollout_let_nobody_in(cart: Any, started: OpsTeam) -> None:
    started.rollout("halt", "tiny-2")
    assert cart.outcome() == ("waiting", "rollout.halted")
    started.rollout("cancel", "tiny-2")
    assert cart.outcome() == ("waiting", "rollout.cancelled")


def test_a_phase_that_needs_a_second_key_waits_for_it(cart: Any, fleet: OpsTeam, tmp_path: Path) -> None:
    fleet.do("rotate-key", fleet.repo, "approvals", "--in", fleet.pub("second"))
    fleet.sign("targets", "second")
    fleet.publish()
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'windows = ["00:00-24:00"]\n[needs]\nshadow = { agreement = 0.9, images = 50 }\n'
        "[[phases]]\nshare = 1\napproval = true\n"
    )
    fleet.start("tiny-2", "--plan", plan)
    assert cart.outcome() == ("waiting", "rollout.unapproved")
    fleet.rollout("approve", "tiny-2", by="second")
    fleet.rollout("pause", "tiny-2")
    fleet.rollout("resume", "tiny-2")
    assert cart.outcome() == ("installed", "")
    asked = cart.slots.read().candidate.asked
    assert (asked.agreement, asked.images, asked.windows) == (0.9, 50, ("00:00-24:00",)), "infer holds to it"


def test_what_a_strangers_key_signed_is_taken_by_nobody(cart: Any, fleet: OpsTeam, forge: Any) -> None:
    fleet.do("rollout", "start", fleet.repo, "tiny-2", "--model", "tiny", "--phases", "100")
    forge(lambda change: None, "stranger")
    answer = cart.update()
    assert (answer["outcome"], answer["code"]) == ("refused", "update.untrusted")
    assert cart.slots.read().candidate is None


def test_a_document_that_cannot_be_read_stops_what_it_is_about(cart: Any, fleet: OpsTeam, forge: Any) -> None:
    def change(now: Staging) -> None:
        data, path = b'{"schema": 1, "name": "tiny-2"}', "rollouts/tiny-2.json"
        put(now.folder.staged_target(path), data)
        now.edit("rollouts").signed.targets[path] = TargetFile.from_data(path, data)

    forge(change)
    assert cart.outcome() == ("refused", "rollout.invalid")


def test_rollouts_that_have_ended_set_nothing_free(cart: Any, started: OpsTeam, forge: Any) -> None:

    def change(now: Staging) -> None:
        now.edit("rollouts").signed.expires = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)

    forge(change)
    assert cart.outcome() == ("refused", "update.expired")
