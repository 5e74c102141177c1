"""Rollouts in a repository: staged, printed, signed by whose they are, published; and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeai.api.errors import ConfigError
from edgeai.rollouts import Phase, Plan, Rollout, decode, encode
from edgeai_fleet import changes
from edgeai_fleet.documents import read_documents, stage
from edgeai_fleet.offering import listed
from edgeai_fleet.staging import staging

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


@pytest.fixture
def offering(ops: Any) -> Any:
    """A repository with a second key, which offers release 2 of ``tiny`` by rollout only, and release 1 to all."""

    def make() -> None:
        ops.init("--approvals", ops.pub("second"))
        ops.sign("root", "targets", "rollouts", "second")
        ops.publish()
        ops.offer(ops.bundle("tiny", 1))
        ops.do("add", ops.repo, ops.bundle("tiny", 2), "--by-rollout")
        ops.sign("targets")
        ops.publish()

    ops.as_after("offering", make)
    return ops


EMPTY = {"devices": "[]", "sites": "[]", "labels": "{}", "labels.type": "[]", "backends": "[]", "machines": "[]"}


def rollout(ops: Any, *words: str | Path, key: str | None = "rollouts") -> str:
    out: str = ops.do("rollout", words[0], ops.repo, *words[1:], *(("--key", ops.key(key)) if key else ()))
    return out


def refused(ops: Any, *words: str | Path) -> str:
    code: str = ops.refused("rollout", words[0], ops.repo, *words[1:], "--key", ops.key("rollouts"))
    return code


def begin(ops: Any, *more: str | Path) -> None:
    rollout(ops, "start", "tiny-2", "--model", "tiny", "--phases", "10,100", "--soak", "0", *more)
    ops.publish()


def published(ops: Any) -> Rollout:
    return read_documents(ops.folder, published=True).rollout("tiny-2")


def test_a_rollout_goes_from_start_to_its_end_and_check_takes_each_step(offering: Any) -> None:
    out = rollout(offering, "start", "tiny-2", "--model", "tiny", "--phases", "10,100", "--soak", "0")
    assert "phase 1    10 %" in out
    assert "tiny release 2" in out
    assert "rollouts version 2: signed, ready to publish" in out
    assert "signed  rollouts/tiny-2.json" in offering.publish()
    for number, (words, state, opened) in enumerate(
        [
            (("pause", "tiny-2", "--why", "two carts are dark"), "paused", 1),
            (("resume", "tiny-2"), "running", 1),
            (("phase", "tiny-2"), "running", 2),
            (("halt", "tiny-2"), "halted", 2),
            (("resume", "tiny-2"), "running", 2),
            (("finish", "tiny-2"), "done", 2),
            (("cancel", "tiny-2"), "cancelled", 2),
        ],
        2,
    ):
        rollout(offering, *words)
        offering.publish()
        seen = published(offering)
        assert (seen.serial, seen.state, seen.open) == (number, state, opened)
    assert seen.halts == 1
    assert offering.codes() == set()


def test_what_is_shown_is_what_is_signed(offering: Any, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'note = "the first after the winter"\napprove_resuming = true\n'
        '[select]\nsites = ["ward", "icu"]\nlabels = { type = ["us-cart"] }\n[halting]\nfailures = 0.1\nleast = 3\n'
        "[needs]\nacceptance = true\nshadow = { agreement = 0.95 }\n"
        "[[phases]]\nshare = 0.25\nsoak_s = 3600\n[[phases]]\nshare = 1\napproval = true\n"
    )
    devices = tmp_path / "devices.csv"
    rows = [f"{site},cart-{number},us-cart" for site in ("ward", "er") for number in range(40)]
    devices.write_text("\n".join(["site,device,label.type", *rows, "ward,x-ray,x-ray"]) + "\n")
    begin(offering, "--plan", plan, "--devices", devices)
    body = json.loads(offering.do("rollout", "show", offering.repo, "--json"))
    [only] = body["rollouts"]
    assert [phase["share"] for phase in only["plan"]["phases"]] == [0.1, 1.0], "the option's, in place of the file's"
    out = rollout(offering, "show", "--devices", devices, key=None)
    for words in ("only for   sites ward, icu", "type: us-cart", "at 3 or more failed devices", "10 %"):
        assert words in out
    assert "40 never: site er" in out
    assert "1 never: label type is x-ray" in out
    counts = [int(line.split(" takes ")[1].split()[0]) for line in out.splitlines() if " takes " in line]
    assert sum(counts) == 40
    assert "not public yet" not in out
    rollout(offering, "pause", "tiny-2", key=None)
    assert "not public yet" in rollout(offering, "show", "tiny-2", key=None)


def test_a_dry_run_stages_nothing(offering: Any) -> None:
    assert "phase 4    100 %" in rollout(offering, "start", "tiny-2", "--model", "tiny", "--dry-run", key=None)
    assert not (offering.repo / "staged").exists()


def test_what_is_not_right_is_not_staged(offering: Any, tmp_path: Path) -> None:
    assert refused(offering, "start", "tiny-1", "--model", "tiny", "--release", "1") == "fleet.not-by-rollout"
    assert refused(offering, "start", "tiny-3", "--model", "tiny", "--release", "3") == "fleet.not-offered"
    assert refused(offering, "start", "Tiny.2", "--model", "tiny") == "rollout.invalid"
    assert refused(offering, "start", "tiny-2", "--model", "tiny", "--phases", "50,10") == "rollout.invalid"
    assert refused(offering, "start", "tiny-2", "--model", "tiny", "--phases", "200") == "fleet.plan"
    assert refused(offering, "pause", "tiny-2") == "fleet.no-rollout"
    assert refused(offering, "rollback", "tiny", "--leave", "2", "--to", "9", "--why", "x") == "fleet.not-offered"
    assert refused(offering, "rollback", "tiny", "--leave", "2", "--to", "2", "--why", "x") == "rollout.invalid"
    assert refused(offering, "stop", "--lift") == "fleet.rollout-state"
    assert refused(offering, "rollback", "tiny", "--leave", "1", "--to", "2", "--why", "x") == "fleet.not-back"
    assert refused(offering, "rollback", "tiny", "--lift", "--why", "x") == "fleet.rollout-state", "none is in force"
    assert refused(offering, "stop", "--model", "tiny", "--model", "tyni") == "fleet.not-offered"
    empty = [f"[select]\n{name} = {nothing}\n" for name, nothing in EMPTY.items()]
    bare = [f'[select]\ndevices = ["{name}"]\n' for name in ("cart-1", "ward/", "ward/cart-1/x", "Ward/cart-1", "")]
    wrong = (
        "[select]\ncontinents = []\n",
        "digest = 1\n",
        "phases = 3\n",
        "not toml",
        "replaces = []\n",
        "select = 1\n",
    )
    for text in (*wrong, *empty, *bare):
        (tmp_path / "plan.toml").write_text(text)
        assert refused(offering, "start", "a", "--model", "tiny", "--plan", tmp_path / "plan.toml") == "fleet.plan"
    for text in ("", "site\nward\n", "site,device\nward,a\nward,a\n", "site,device\nward\n", "site,device\na,b,c\n"):
        (tmp_path / "devices.csv").write_text(text)
        words = ("start", "a", "--model", "tiny", "--devices", tmp_path / "devices.csv")
        assert refused(offering, *words) == "fleet.devices"
    assert not (offering.repo / "staged/metadata/rollouts.json").exists()
    begin(offering)
    assert refused(offering, "start", "tiny-2", "--model", "tiny") == "fleet.rollout-exists"
    assert refused(offering, "resume", "tiny-2") == "fleet.rollout-state"
    assert refused(offering, "finish", "tiny-2") == "fleet.rollout-state"
    assert refused(offering, "approve", "tiny-2", "--phase", "3") == "fleet.rollout-state"


def test_another_roles_key_signs_no_rollout(offering: Any) -> None:
    words = ("rollout", "start", offering.repo, "tiny-2", "--model", "tiny", "--key", offering.key("second"))
    assert offering.refused(*words) == "fleet.key-unknown"
    keys = [word for name in ("snapshot", "timestamp") for word in ("--key", offering.key(name))]
    assert offering.refused("publish", offering.repo, *keys) == "fleet.signatures-missing"


def test_a_second_key_approves_a_plan_and_no_other_may(offering: Any) -> None:
    begin(offering)
    assert offering.refused("rollout", "approve", offering.repo, "tiny-2", "--key", offering.key("rollouts")) == (
        "fleet.key-unknown"
    )
    out = rollout(offering, "approve", "tiny-2", "--phase", "1", key="second")
    assert "approved up to phase 1" in out
    offering.publish()
    seen = read_documents(offering.folder, published=True)
    assert seen.approvals["tiny-2"].plan == published(offering).plan.fingerprint
    rollout(offering, "pause", "tiny-2")
    offering.publish()
    assert seen.approvals["tiny-2"].plan == published(offering).plan.fingerprint, "it is of the plan alone"


def test_another_roles_key_approves_nothing_and_an_approval_that_nobody_signed_is_shown_so(offering: Any) -> None:
    rollout(offering, "start", "tiny-2", "--model", "tiny", key=None)  # so that this key has something to sign
    words = ("rollout", "approve", offering.repo, "tiny-2")
    for keys in (("rollouts",), ("second", "rollouts")):
        given = [word for name in keys for word in ("--key", offering.key(name))]
        assert offering.refused(*words, *given) == "fleet.key-unknown"
    assert "approved" not in rollout(offering, "show", key=None), "nothing is staged"
    offering.do(*words)
    shown = rollout(offering, "show", key=None)
    assert "unsigned   an approval up to phase 4, after 0 halts: it counts for nothing yet, and lacks 1 sig" in shown
    assert "approved" not in shown
    [approval] = json.loads(offering.do("rollout", "show", offering.repo, "--json"))["approvals"]
    assert approval["lacking"] == 1
    offering.sign("second")
    offering.sign("rollouts")
    for _ in range(2):
        assert "approved   up to phase 4, after 0 halts\n" in rollout(offering, "show", key=None)
        if (offering.repo / "staged/metadata").exists():
            offering.publish()


def test_a_repository_gets_second_keys_later(ops: Any) -> None:
    ops.begin_with_one()
    ops.do("add", ops.repo, ops.bundle("tiny", 2), "--by-rollout")
    ops.sign("targets")
    ops.publish()
    plan = ops.at / "plan.toml"
    plan.write_text("approve_resuming = true\n")
    assert refused(ops, "start", "tiny-2", "--model", "tiny", "--plan", plan) == "fleet.roles"
    begin(ops)
    assert ops.refused("rollout", "approve", ops.repo, "tiny-2", "--key", ops.key("second")) == "fleet.roles"
    assert ops.refused("rotate-key", ops.repo, "approvals", "--in", ops.pub("rollouts")) == "fleet.roles"
    ops.do("rotate-key", ops.repo, "approvals", "--in", ops.pub("second"))
    ops.sign("targets", "second")
    ops.publish()
    rollout(ops, "approve", "tiny-2", key="second")
    ops.publish()
    assert ops.codes() == set()
    assert ops.refused("delegate", ops.repo, "approvals", "--to", ops.pub("acme"), "--model", "lung") == "fleet.roles"


def test_orders_back_and_the_stop_count_up(offering: Any) -> None:
    words = ("rollback", "tiny", "--leave", "2", "--to", "1", "--why", "it misses")
    for number in (1, 2):
        assert f"order {number}:" in rollout(offering, *words)
        offering.publish()
    lift = ("rollback", "tiny", "--lift", "--why", "it was the probe")
    assert "order 3: nobody leaves" in rollout(offering, *lift)
    assert "order 3 of tiny: lifted, because it was the probe" in rollout(offering, "show", key=None)
    offering.publish()
    assert refused(offering, *lift) == "fleet.rollout-state", "it is lifted already"
    assert "order 4:" in rollout(offering, *words)
    offering.publish()
    rollout(offering, "stop", "--why", "smoke")
    offering.publish()
    assert "EMERGENCY STOP of all models: smoke" in rollout(offering, "show", key=None)
    assert "lifted" in rollout(offering, "stop", "--lift")
    offering.publish()
    seen = read_documents(offering.folder, published=True)
    assert (seen.backs["tiny"].number, seen.backs["tiny"].release, seen.backs["tiny"].lifted) == (4, 1, False)
    assert seen.stop is not None
    assert (seen.stop.serial, seen.stop.stopped) == (2, False)
    assert offering.codes() == set()


def test_an_old_document_that_is_signed_again_is_not_published(offering: Any) -> None:
    begin(offering)
    first = published(offering)
    rollout(offering, "pause", "tiny-2")
    offering.publish()
    with staging(offering.folder) as change:
        stage(change, first)
    offering.sign("rollouts")
    keys = [word for name in ("snapshot", "timestamp") for word in ("--key", offering.key(name))]
    assert offering.refused("publish", offering.repo, *keys) == "fleet.stale"


def test_check_says_which_document_is_damaged(offering: Any) -> None:
    begin(offering)
    [path] = (offering.repo / "public/targets/rollouts").glob("*.tiny-2.json")
    path.write_bytes(path.read_bytes().replace(b"0.1", b"0.9"))
    assert offering.codes() == {"fleet.altered"}
    path.unlink()
    assert offering.codes() == {"fleet.missing"}


def test_by_rollout_is_lifted_by_adding_the_same_without(offering: Any) -> None:
    def marks() -> dict[int, bool]:
        with staging(offering.folder) as change:
            return {each.release: each.by_rollout for each in listed(change.live)}

    assert marks() == {1: False, 2: True}
    offering.offer(offering.bundle("tiny", 2))
    assert marks() == {1: False, 2: False}


# --- how one goes on, without any file ----------------------------------------------------------------

PLAN = Plan(
    model="tiny",
    release=2,
    digest="sha256:" + "1" * 64,
    phases=(Phase(share=0.1, soak_s=3600.0), Phase(share=1.0)),
)
FIRST = Rollout(name="tiny-2", serial=1, plan=PLAN, since="2026-05-04T12:00:00Z", at="2026-05-04T12:00:00Z")
STATES = ("running", "paused", "halted", "cancelled", "done")
ALLOWED = {
    "phase": {"running"},
    "pause": {"running"},
    "resume": {"paused", "halted"},
    "halt": {"running", "paused"},
    "cancel": {"running", "paused", "halted", "done"},
    "finish": {"running"},
}


@pytest.mark.parametrize("what", ALLOWED)
@pytest.mark.parametrize("state", STATES)
def test_each_change_is_for_some_states_and_no_others(what: str, state: Any) -> None:
    opened = 2 if what == "finish" else 1
    before = msgspec.structs.replace(FIRST, state=state, open=opened, halts=1)
    later = NOW + timedelta(hours=2)
    if state not in ALLOWED[what]:
        with pytest.raises(ConfigError) as refused:
            changes.CHANGES[what](before, later, "why")
        assert refused.value.code == "fleet.rollout-state"
        return
    after = changes.CHANGES[what](before, later, "why")
    assert (after.serial, after.why, after.at, after.plan) == (2, "why", "2026-05-04T14:00:00Z", PLAN)
    assert after.open >= before.open
    assert decode(encode(after), Rollout) == after


def test_a_phase_soaks_for_its_time_and_no_less_unless_somebody_says_so() -> None:
    almost = NOW + timedelta(seconds=3599)
    with pytest.raises(ConfigError, match="soaks"):
        changes.open_next(FIRST, almost)
    assert changes.open_next(FIRST, almost, early=True).open == 2
    opened = changes.open_next(FIRST, NOW + timedelta(seconds=3600))
    assert (opened.open, opened.since) == (2, "2026-05-04T13:00:00Z")
    with pytest.raises(ConfigError, match="is open already"):
        changes.open_next(opened, NOW + timedelta(days=9))


def test_a_pause_does_not_begin_the_soak_again() -> None:
    resumed = changes.resume(changes.pause(FIRST, NOW), NOW + timedelta(seconds=3600))
    assert resumed.since == FIRST.since


def test_nothing_is_finished_before_its_last_phase() -> None:
    with pytest.raises(ConfigError, match="1 of 2 phases"):
        changes.finish(FIRST, NOW)
