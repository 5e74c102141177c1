"""A conductor over a real broker and a real repository: what carts say is kept, judged, signed and told to all."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from msgspec.structs import replace

from edgeai.api.errors import ConfigError, MqttError
from edgeai.mqtt import Broker, Connection, Outgoing
from edgeai.rollouts import Rollout
from edgeai.testing.broker import Mosquitto, find_mosquitto
from edgeai.testing.carts import Carts
from edgeai.testing.require import require
from edgeai_fleet.commands.broker import broker_of
from edgeai_fleet.conducting import conductor as conducting
from edgeai_fleet.conducting import hearing, listening
from edgeai_fleet.conducting.carts import Status, heard
from edgeai_fleet.conducting.conductor import Conductor
from edgeai_fleet.conducting.databases import url_of
from edgeai_fleet.conducting.hearing import Ears, Retained
from edgeai_fleet.conducting.holding import Seat
from edgeai_fleet.conducting.signing import signing_of
from edgeai_fleet.conducting.store import Store
from edgeai_fleet.conducting.watching import TOPICS, read_truth
from edgeai_fleet.documents import Documents, read_documents
from edgeai_fleet.keys import signers_of
from edgeai_fleet.layout import Folder


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    require("mosquitto", find_mosquitto() is not None, "a conductor needs a real broker")
    with Mosquitto(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


class Scene:
    """A repository with a rollout of two phases, its carts, and a conductor that may be started anew."""

    def __init__(self, ops: Any, port: int, site: str) -> None:
        self.ops, self.port, self.site = ops, port, site
        offers = {each["release"]: each["digest"] for each in ops.told("status", ops.repo)["offers"]}
        self.carts = Carts(port, site, offers[1], offers[2])
        self.now = time.time()
        self.keys = ("rollouts", "snapshot", "timestamp")

    @property
    def published(self) -> Rollout:
        return read_documents(self.ops.folder, published=True).rollout("tiny-2")

    def place(self, who: str = "conduct") -> Broker:
        return Broker(host="127.0.0.1", port=self.port, client_id=f"{who}-{self.site}")

    @contextmanager
    def conductor(self, *, signs: bool = True, sites: tuple[str, ...] = ()) -> Iterator[tuple[Conductor, Ears]]:
        signers, _ = signers_of([self.ops.key(name) for name in self.keys], lambda what: "")
        store = Store(url_of(self.ops.repo, None))
        signing = signing_of(self.ops.folder, signers) if signs else None
        ears = Ears(self.place(), sites or (self.site,))
        ears.settle()
        try:
            yield Conductor(folder=self.ops.folder, store=store, signing=signing), ears
        finally:
            ears.close()
            store.close()

    def round(self, after_s: float = 0.0, **how: Any) -> Any:
        """One round of a conductor that has just been started."""
        with self.conductor(**how) as (conductor, ears):
            (seen,) = conductor.round(ears, self.now + after_s)
            assert conductor.trouble == ""
            return seen

    def truth(self) -> dict[str, Any]:
        retained = Retained(self.place("watch"), TOPICS)
        try:
            told = read_truth(retained.bodies())["tiny-2"]
        finally:
            retained.close()
        assert isinstance(told, dict)
        return told


@pytest.fixture
def scene(
    ops: Any, broker: Mosquitto, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    monkeypatch.setattr(hearing, "_QUIET_S", 0.3)
    ops.begin_rollout()
    site = f"site-{abs(hash(request.node.name)) % 10**8}"  # each test has carts of its own on one broker
    made = Scene(ops, broker.port, site)
    made.carts.link.publish([Outgoing(topic="edgeai/1/rollouts/tiny-2", body=b"", retain=True)])  # of the test before
    yield made
    made.carts.close()


def test_a_phase_is_opened_by_results_and_all_of_it_ends_done(scene: Scene) -> None:
    for name in scene.carts.early:
        scene.carts.status(name)
    assert scene.round().decision.step == "wait"
    for name in scene.carts.early:
        scene.carts.status(name, active="b")
    seen = scene.round()
    assert seen.decision.step == "wait", "installed and active is no success"
    assert {each.verdict.stage for each in seen.kept} == {"proven, 0 of 2 results heard"}
    with scene.conductor() as (conductor, ears):
        for name in scene.carts.early:
            scene.carts.probation(name)
        for name in scene.carts.early:
            scene.carts.results(name, 1)
            scene.carts.results(name, 1)  # the same once more
            scene.carts.results(name, 2, outcome="failed")
            scene.carts.status(name, active="b")
        _heard(ears, 4, 8)
        (seen,) = conductor.round(ears, scene.now)
        assert seen.decision.step == "wait"
        for name in scene.carts.early:
            scene.carts.results(name, 2)
        _heard(ears, 0, 8)
        (seen,) = conductor.round(ears, scene.now)
        assert (seen.decision.step, conductor.trouble) == ("go-on", "")
        assert (scene.published.open, scene.published.serial) == (2, 2)
        assert "phase 1 held: 4 succeeded" in scene.published.why
        for name in scene.carts.late:
            scene.carts.succeeds(name)
        _heard(ears, 4, 8)
        (seen,) = conductor.round(ears, scene.now + 3600)
        assert seen.decision.step == "done"
        conductor.round(ears, scene.now + 3600)
    assert scene.published.state == "done"
    told = scene.truth()
    assert (told["state"], told["step"]) == ("done", "wait")
    assert [phase["succeeded"] for phase in told["phases"]] == [4, 4]
    assert scene.ops.codes() == set(), "a cart takes each of its documents"


def _heard(ears: Ears, statuses: int, results: int) -> None:
    """Until so much has come."""
    _until(lambda: len(ears._statuses) >= statuses and len(ears._results) >= results)


def _until(so: Callable[[], bool]) -> None:
    end = time.monotonic() + 240
    while not so():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_too_many_failures_halt_it_with_the_reason_and_a_person_who_resumes_it_pardons_them(scene: Scene) -> None:
    first, second, *others = scene.carts.early
    for name in others:
        scene.carts.succeeds(name)
    scene.carts.fails(first)
    scene.carts.fails(second, "slots.failures")
    seen = scene.round()
    assert seen.decision.step == "halt"
    assert (scene.published.state, scene.published.halts) == ("halted", 1)
    assert "2 of 4 carts failed" in scene.published.why
    assert scene.round().decision.why == "it is halted"
    told = scene.truth()
    assert [(each["code"], each["carts"]) for each in told["reasons"]] == [("slots.failures", 1), ("slots.slow", 1)]
    assert told["reasons"][1]["some"] == [f"{scene.site}/{first}"]
    scene.ops.do("rollout", "resume", scene.ops.repo, "tiny-2", "--key", scene.ops.key("rollouts"))
    scene.ops.publish()
    scene.now = time.time() + 60  # after it was resumed
    assert scene.round().decision.step != "halt", "these are known"
    scene.carts.fails(others[0])
    assert scene.round(after_s=60).decision.step == "halt"
    assert scene.published.halts == 2


def test_a_weekend_halts_nothing_and_a_cart_that_is_away_does(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in scene.carts.early:
        scene.carts.probation(name)
    for hours in (0, 24, 72):
        for name in scene.carts.early:
            scene.carts.probation(name)  # it lives, and has no images
        seen = scene.round(after_s=hours * 3600.0)
        assert (seen.decision.step, seen.standings[0].undecided) == ("wait", 4)
    with scene.conductor() as (conductor, ears):
        for hour in (72, 84, 108):
            (seen,) = conductor.round(ears, scene.now + hour * 3600.0)
        assert seen.decision.step == "wait", "such hours between two rounds are a gap: nobody listened"
        monkeypatch.setattr(listening, "GAP_S", 7200.0)
        for hour in range(109, 109 + 25):
            (seen,) = conductor.round(ears, scene.now + hour * 3600.0)
    assert (seen.decision.step, seen.standings[0].silent) == ("halt", 4)
    assert "4 of them silent" in scene.published.why


class Cut(BaseException):
    """As if the process had been killed there."""


def _points(scene: Scene, monkeypatch: pytest.MonkeyPatch, cut_at: int) -> int:
    """A round that is cut before its n-th durable write or message; how many there were."""
    from edgeai_fleet import documents, publishing, staging
    from edgeai_fleet.conducting import store

    reached = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **more: Any) -> Any:
            nonlocal reached
            reached += 1
            if reached == cut_at:
                raise Cut
            return real(*words, **more)

        return call

    with monkeypatch.context() as patch:
        for module in (documents, publishing, staging):
            patch.setattr(module, "place", counted(module.place))
        patch.setattr(store.Round, "keep_verdicts", counted(store.Round.keep_verdicts))
        patch.setattr(Connection, "publish", counted(Connection.publish))
        with scene.conductor() as (conductor, ears):
            try:
                conductor.round(ears, scene.now)
            except Cut:
                assert reached == cut_at
    return reached


def test_a_round_that_is_cut_at_any_write_is_finished_by_the_next_and_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with scene.conductor(signs=False) as (conductor, ears):  # results are heard once, and kept
        for name in scene.carts.early:
            scene.carts.probation(name)
            scene.carts.results(name)
            scene.carts.status(name, active="b")
        _heard(ears, 4, 8)
        conductor.round(ears, scene.now)
    shutil.copytree(scene.ops.repo, tmp_path / "before")
    points = 0
    while True:
        points += 1
        shutil.rmtree(scene.ops.repo)
        shutil.copytree(tmp_path / "before", scene.ops.repo)
        reached = _points(scene, monkeypatch, points)
        scene.round()
        after = scene.published
        assert (after.state, after.open, after.serial) == ("running", 2, 2), f"cut before write {points}"
        assert not (scene.ops.repo / "staged/metadata").exists()
        if reached < points:
            break
    assert points >= 8, "documents, metadata, timestamp, messages"
    scene.round()
    assert scene.published.serial == 2
    assert (scene.truth()["serial"], scene.truth()["open"]) == (2, 2)


def test_what_others_have_staged_and_not_signed_is_told_as_trouble_and_tried_again(scene: Scene) -> None:
    for name in scene.carts.early:
        scene.carts.fails(name)
    scene.ops.do("add", scene.ops.repo, scene.ops.bundle("tiny", 3))
    with scene.conductor() as (conductor, ears):
        conductor.round(ears, scene.now)
        assert conductor.trouble.startswith("halt of tiny-2 cannot be signed: targets needs")
        assert scene.published.state == "running"
        assert scene.truth()["trouble"] == conductor.trouble
        scene.ops.sign("targets")
        conductor.round(ears, scene.now)
        assert conductor.trouble == ""
    assert scene.published.state == "halted"


def test_a_stop_that_is_in_force_is_told_to_whoever_watches(scene: Scene) -> None:
    def stop(*words: str) -> str:
        scene.ops.do("rollout", "stop", scene.ops.repo, *words, "--key", scene.ops.key("rollouts"))
        scene.ops.publish()
        with scene.conductor() as (conductor, ears):
            conductor.round(ears, scene.now)
        told = scene.truth()["trouble"]
        assert told == conductor.trouble
        return str(told)

    assert stop("--why", "smoke") == "EMERGENCY STOP of all models, until `edgeai fleet rollout stop --lift`: smoke"
    assert stop("--model", "tiny") == "EMERGENCY STOP of tiny, until `edgeai fleet rollout stop --lift`"
    assert stop("--lift") == ""


def test_a_result_on_another_carts_topic_counts_for_neither(scene: Scene) -> None:
    first, second, *_ = scene.carts.early
    with scene.conductor(signs=False) as (conductor, ears):
        for name in (first, second):
            scene.carts.status(name, active="b")
        scene.carts.results(first, of=second)
        scene.carts.succeeds(scene.carts.early[2])  # last: whoever has heard this has heard all
        _heard(ears, 3, 2)
        (seen,) = conductor.round(ears, scene.now)
    assert {each.device: each.verdict.stage for each in seen.kept} == {
        first: "proven, 0 of 2 results heard",
        second: "proven, 0 of 2 results heard",
        scene.carts.early[2]: "proven",
    }


def test_a_rollout_that_ended_keeps_its_counts_and_another_ones_success_is_none_of_it(scene: Scene) -> None:
    here, dark, *_ = scene.carts.early

    def counts(after_s: float, name: str) -> Any:
        with scene.conductor(signs=False) as (conductor, ears):
            every = {each.rollout.name: each for each in conductor.round(ears, scene.now + after_s)}
        return every[name].standings

    with scene.conductor(signs=False) as (conductor, ears):
        for name in (here, dark):
            scene.carts.succeeds(name)
        _heard(ears, 2, 4)
        (seen,) = conductor.round(ears, scene.now)
        assert seen.standings[0].succeeded == 2
    words = ("--model", "tiny", "--phases", "100", "--soak", "0", "--key", scene.ops.key("rollouts"))
    scene.ops.do("rollout", "start", scene.ops.repo, "again", *words)
    scene.ops.publish()
    assert (counts(10, "again")[0].succeeded, counts(10, "again")[0].waiting) == (0, 2), "before it had begun"
    for name in ("tiny-2", "again"):
        scene.ops.do("rollout", "cancel", scene.ops.repo, name, "--key", scene.ops.key("rollouts"))
    scene.ops.publish()
    with scene.conductor(signs=False) as (conductor, ears):
        scene.carts.status(here)
        scene.carts.fails(dark)
        scene.carts.results(scene.carts.early[2])
        scene.carts.succeeds(scene.carts.early[3])
        _heard(ears, 3, 4)
        conductor.round(ears, scene.now + 20)
    for after_s in (30, 3 * 86_400):
        assert counts(after_s, "tiny-2")[0].succeeded == counts(after_s, "tiny-2")[0].carts == 2
        assert counts(after_s, "again")[0].waiting == counts(after_s, "again")[0].carts == 2
    where = ("--broker", f"127.0.0.1:{scene.port}")
    explained = scene.ops.do("explain", f"{scene.site}/{scene.carts.early[3]}", *where)
    assert "tiny-2: it was not counted when the rollout ended" in explained
    scene.carts.link.publish([Outgoing(topic="edgeai/1/rollouts/again", body=b"", retain=True)])


def test_results_of_a_phase_count_from_its_opening(scene: Scene) -> None:
    late = scene.carts.late[0]
    with scene.conductor() as (conductor, ears):
        scene.carts.succeeds(late)  # by another rollout: its phase here is closed
        for name in scene.carts.early:
            scene.carts.succeeds(name)
        _heard(ears, 5, 10)
        (seen,) = conductor.round(ears, scene.now)
        assert (seen.decision.step, scene.published.open) == ("go-on", 2)
        (seen,) = conductor.round(ears, scene.now + 10)
        assert (seen.standings[1].succeeded, seen.standings[1].waiting) == (0, 1)
        scene.carts.results(late)
        _heard(ears, 0, 2)
        (seen,) = conductor.round(ears, scene.now + 20)
        assert seen.standings[1].succeeded == 1


def test_a_conductor_that_is_earlier_than_any_cart_opens_nothing_at_once(scene: Scene) -> None:
    seen = scene.round()
    assert (seen.decision.step, scene.published.open) == ("wait", 1)
    assert "no cart of phase 1 was heard" in seen.decision.why
    assert scene.round(after_s=200).decision.step == "wait"


def test_one_that_comes_every_half_hour_opens_an_empty_phase(scene: Scene) -> None:
    steps = [scene.round(after_s=visit * 1800.0).decision.step for visit in range(3)]
    assert (steps, scene.published.open) == (["wait", "wait", "go-on"], 2)


def test_one_that_comes_four_times_a_day_sees_who_has_fallen_silent(scene: Scene) -> None:
    for name in scene.carts.early:
        scene.carts.status(name)
    assert scene.published.plan.halting.silent_s == 86_400.0
    silent = [scene.round(after_s=hours * 3600.0).standings[0].silent for hours in (0, 6, 12, 18, 24, 30)]
    assert silent == [0] * 6, "it has listened since the sixth hour"
    seen = scene.round(after_s=36 * 3600.0)
    assert (seen.decision.step, seen.standings[0].silent) == ("halt", 4)


def test_without_keys_it_says_what_it_would_do_and_does_nothing(scene: Scene) -> None:
    for name in scene.carts.early:
        scene.carts.fails(name)
    assert scene.round(signs=False).decision.step == "halt"
    assert scene.published.serial == 1
    told = scene.truth()
    assert (told["step"], told["signs"]) == ("halt", False)


def test_a_conductor_hears_its_own_sites_alone(scene: Scene) -> None:
    for name in scene.carts.early:
        scene.carts.succeeds(name)
    assert len(scene.round(sites=("elsewhere",)).kept) == 0
    assert len(scene.round().kept) == 4


def test_a_second_one_that_signs_is_refused_and_one_that_looks_on_is_not(scene: Scene) -> None:
    store = Store(url_of(scene.ops.repo, None))
    seat = Seat(scene.ops.folder, store)
    assert seat.take()
    keys = [word for name in scene.keys for word in ("--key", scene.ops.key(name))]
    where = ("--broker", f"127.0.0.1:{scene.port}", "--once")
    assert scene.ops.refused("conduct", scene.ops.repo, *where, *keys) == "fleet.conducted"
    assert "tiny-2 (running, phase 1 of 2)" in scene.ops.do("conduct", scene.ops.repo, *where)
    waiting = scene.ops.do("conduct", scene.ops.repo, *where, *keys, "--standby")
    assert waiting == "hears all sites; another one judges and signs\n"
    seat.leave()
    store.close()
    assert "signs\ntiny-2" in scene.ops.do("conduct", scene.ops.repo, *where, *keys, "--standby")


def test_results_that_show_nothing_more_are_not_kept(scene: Scene) -> None:
    device = scene.carts.early[0]

    def kept() -> dict[tuple[str, str], int]:
        store = Store(url_of(scene.ops.repo, None))
        with store.round() as each:
            results = each.results("tiny-2")
        store.close()
        return results

    with scene.conductor() as (conductor, ears):
        scene.carts.succeeds(device)
        _heard(ears, 1, 2)
        for _ in range(2):
            conductor.round(ears, scene.now)
            assert kept() == {(scene.site, device): 2}
            scene.carts.results(device, 30)
            _heard(ears, 0, 30)
        conductor.round(ears, scene.now)
        assert kept() == {(scene.site, device): 2}, "two prove it there"
    scene.ops.do("rollout", "cancel", scene.ops.repo, "tiny-2", "--key", scene.ops.key("rollouts"))
    scene.ops.publish()
    with scene.conductor() as (conductor, ears):
        assert len(conductor.round(ears, scene.now + 86_400)) == 1
    assert kept() == {(scene.site, device): 2}
    with scene.conductor() as (conductor, ears):
        assert conductor.round(ears, scene.now + 8 * 86_400) == []
    assert kept() == {}


def test_a_copy_of_the_repository_that_stayed_behind_signs_nothing(scene: Scene, tmp_path: Path) -> None:
    shutil.copytree(scene.ops.repo, tmp_path / "copy")
    for name in scene.carts.early:
        scene.carts.fails(name)
    with scene.conductor() as (conductor, ears):
        conductor.round(ears, scene.now)
        assert scene.published.state == "halted"
        behind = replace_fields(conductor, folder=Folder(tmp_path / "copy"))
        with pytest.raises(ConfigError) as refused:
            behind.round(ears, scene.now)
        assert refused.value.code == "fleet.behind"
        shutil.rmtree(tmp_path / "copy")
        shutil.copytree(scene.ops.repo, tmp_path / "copy")
        behind.round(ears, scene.now)


def test_whoever_signs_is_not_talked_over_and_says_now_and_then_that_it_is_there(scene: Scene) -> None:
    for name in scene.carts.early:
        scene.carts.status(name)
    with scene.conductor() as (conductor, ears):
        told = []
        for after_s in (0, 30, 61):
            conductor.round(ears, scene.now + after_s)
            told.append(scene.truth()["at"])
        assert told[0] == told[1] < told[2]
    for name in scene.carts.early:
        scene.carts.fails(name)
    scene.round(signs=False, after_s=90)
    assert (scene.truth()["signs"], scene.truth()["step"]) == (True, "wait")
    scene.round(signs=False, after_s=400)
    assert (scene.truth()["signs"], scene.truth()["step"]) == (False, "halt"), "for so long nobody said anything"


def test_a_step_that_was_judged_of_an_older_document_is_not_signed_unless_it_halts(scene: Scene) -> None:
    judged, key = scene.published, scene.ops.key("rollouts")
    for what in ("pause", "resume"):  # a person was faster
        scene.ops.do("rollout", what, scene.ops.repo, "tiny-2", "--key", key)
        scene.ops.publish()
    with scene.conductor() as (conductor, _):
        assert conductor.signing is not None
        with pytest.raises(ConfigError) as refused:
            conductor.signing.move(scene.ops.folder, judged, "phase", "held")
        assert (refused.value.code, scene.published.serial) == ("fleet.rollout-state", 3)
        conductor.signing.move(scene.ops.folder, judged, "halt", "failed")
    assert (scene.published.state, scene.published.serial) == ("halted", 4)


def test_the_same_status_again_is_no_sign_of_life() -> None:
    status = Status(state="online", at="2026-01-01T00:00:00+00:00")
    cart = heard(None, "ward", "cart-1", status, 2e9, retained=True)
    assert cart is not None
    for again, at in ((status, cart.heard_at), (replace(status, at="2026-01-01T00:01:00+00:00"), 3e9)):
        later = heard(cart, "ward", "cart-1", again, 3e9, retained=False)
        assert later is not None
        assert later.heard_at == at


@pytest.mark.parametrize(
    ("keys", "code"),
    [(("rollouts",), "fleet.key-unknown"), (("rollouts", "snapshot", "timestamp", "root"), "fleet.key-unknown")],
)
def test_keys_that_lack_or_are_too_many_are_refused(scene: Scene, keys: tuple[str, ...], code: str) -> None:
    given = [word for name in keys for word in ("--key", scene.ops.key(name))]
    assert scene.ops.refused("conduct", scene.ops.repo, "--broker", f"127.0.0.1:{scene.port}", *given) == code


@pytest.mark.parametrize("broker", ["a b:c", "host:99999", "host:0", "mqtts://host", "user@host"])
def test_what_is_no_broker_is_refused(ops: Any, broker: str) -> None:
    ops.begin()
    assert ops.refused("watch", "--broker", broker) == "fleet.broker"


def test_a_broker_that_is_not_there_is_told(ops: Any) -> None:
    assert ops.refused("watch", "--once", "--broker", "127.0.0.1:1") == "mqtt.unreachable"


def test_watch_and_explain_say_the_same_from_retained_messages_alone(scene: Scene) -> None:
    where = ("--broker", f"127.0.0.1:{scene.port}")
    good, bad, *_ = scene.carts.early
    scene.carts.succeeds(good)
    scene.carts.fails(bad)
    scene.carts.status(scene.carts.late[0])
    scene.round(signs=False)
    told = scene.ops.told("watch", "tiny-2", *where)["rollouts"]["tiny-2"]
    schema = json.loads((Path(__file__).parents[3] / "edgeai/schemas/conduct-1.json").read_text())
    for each in (told, *told["sites"].values()):
        Draft202012Validator(schema).validate({name: value for name, value in each.items() if name != "sites"})
    assert {cart["device"]: cart["word"] for cart in told["sites"][scene.site]["carts"]} == {
        good: "waiting",
        bad: "failed",
    }
    drawn = scene.ops.do("watch", "tiny-2", "--once", *where)
    assert "slots.slow" in drawn
    assert "phase 1 of 2" in drawn
    failed = scene.ops.do("explain", f"{scene.site}/{bad}", *where)
    assert "tiny-2: failed, rolled-back: slots.slow: 3 times as slow" in failed
    late = scene.ops.do("explain", f"{scene.site}/{scene.carts.late[0]}", *where)
    assert "not yet: phase 2 is this cart's" in late
    assert scene.ops.refused("watch", "nonesuch", "--once", *where) == "fleet.no-rollout"
    assert scene.ops.refused("watch", "nonesuch", "--json", *where) == "fleet.no-rollout"
    scene.carts.link.publish(
        [Outgoing(topic=f"edgeai/1/{scene.site}/{scene.carts.early[3]}/status", body=b"{]", retain=True)]
    )
    status, out, _ = scene.ops.call("explain", f"{scene.site}/{scene.carts.early[3]}", *where)
    assert (status, "its status cannot be read" in out, "never said" in out) == (1, True, False)
    status, out, _ = scene.ops.call("explain", "nobody/here", *where)
    assert status == 1
    assert "never said its status" in out
    assert scene.ops.refused("explain", "not a cart", *where) == "fleet.device"


def test_what_could_not_be_kept_is_not_lost(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    with scene.conductor() as (conductor, ears):
        scene.carts.succeeds(scene.carts.early[0])
        _heard(ears, 1, 2)
        with monkeypatch.context() as patch:
            patch.setattr(Store, "round", _away)
            with pytest.raises(ConfigError, match="away"):
                conductor.round(ears, scene.now)
        (seen,) = conductor.round(ears, scene.now)
    assert [each.verdict.word for each in seen.kept] == ["succeeded"]


def _away(self: Store) -> Any:
    raise ConfigError("the store is away", code="fleet.store")


def test_results_are_shared_out_among_those_of_one_store_and_taken_from_nobody_else(scene: Scene) -> None:
    groups = ("one", "one", "other", "", "")
    every = [Ears(scene.place(f"hears-{at}"), (scene.site,), group) for at, group in enumerate(groups)]
    try:
        for name in scene.carts.early:
            scene.carts.status(name)
            scene.carts.results(name, 5)
        _until(lambda: [len(each._results) for each in every[2:]] == [20, 20, 20])
        _until(lambda: sum(len(each._results) for each in every[:2]) == 20)
        assert all(len(each._results) < 20 for each in every[:2])
        _until(lambda: [len(each._statuses) for each in every] == [4] * 5)
    finally:
        for each in every:
            each.close()


def test_two_commands_are_two_clients_wherever_they_run() -> None:
    names = {broker_of("broker.example", "watch", None, None, None, None, None).client_id for _ in range(2)}
    assert len(names) == 2, "of two with one name a broker ends the first"


def test_ears_close_when_the_broker_refuses_them(broker: Mosquitto) -> None:
    with pytest.raises(MqttError):
        Ears(Broker(host="127.0.0.1", port=1, client_id="x"))


def test_it_is_not_done_while_one_that_has_just_switched_may_still_fall_silent(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "GAP_S", 7200.0)
    dark, *others = scene.carts.early
    with scene.conductor() as (conductor, ears):
        for name in (*others, *scene.carts.late):
            scene.carts.succeeds(name)
        scene.carts.probation(dark)  # it runs it, and no image has come
        _heard(ears, 8, 14)
        (seen,) = conductor.round(ears, scene.now)
        assert (seen.decision.step, scene.published.open) == ("go-on", 2)
        for name in scene.carts.late:
            scene.carts.results(name)
        _heard(ears, 0, 8)
        (seen,) = conductor.round(ears, scene.now + 600)
        assert seen.decision.step == "wait"
        assert "1 cart running it without images" in seen.decision.why
        scene.carts.leaves(dark)
        _until(lambda: bool(ears._away))
        for hour in range(1, 24):
            (seen,) = conductor.round(ears, scene.now + hour * 3600.0)
            assert (seen.decision.step, seen.decision.why) == ("wait", "on their way: 1 of 8 carts"), hour
        (seen,) = conductor.round(ears, scene.now + 25 * 3600.0)
        assert (seen.decision.step, seen.standings[0].silent) == ("halt", 1), "1 of 8 is over 5 %"


def test_an_undecided_cart_that_stays_there_holds_it_open_for_its_soak_alone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle, *others = scene.carts.early
    with scene.conductor() as (conductor, ears):
        for name in (*others, *scene.carts.late):
            scene.carts.succeeds(name)
        scene.carts.probation(idle)
        _heard(ears, 8, 14)
        monkeypatch.setattr(listening, "GAP_S", 7200.0)
        steps = []
        for minutes in (0, 10, 40, 46):
            for name in scene.carts.late:
                scene.carts.results(name)
            scene.carts.probation(idle)
            _heard(ears, 1, 8)
            with ears._lock:
                status, _ = ears._statuses[scene.site, idle]
                ears._statuses[scene.site, idle] = status, scene.now + minutes * 60.0
            (seen,) = conductor.round(ears, scene.now + minutes * 60.0)
            steps.append(seen.decision.step)
    assert steps == ["go-on", "wait", "wait", "done"]


def test_carts_that_nobody_ever_saw_are_shown_and_where_the_plan_names_them_they_fail(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, gone = scene.carts.early[:2]
    scene.carts.succeeds(here)
    scene.carts.leaves(gone)
    seen = scene.round(signs=False)
    assert (len(seen.kept), seen.unseen) == (1, (f"{scene.site}/{gone}",))
    where = ("--broker", f"127.0.0.1:{scene.port}")
    assert "never seen: known by name alone, and not counted" in scene.ops.do("watch", "tiny-2", "--once", *where)
    assert "never seen: it is not counted" in scene.ops.do("explain", f"{scene.site}/{gone}", *where)
    plan = scene.published.plan
    names = tuple(f"{scene.site}/{each}" for each in (here, gone, scene.carts.early[2]))
    named = replace(scene.published, plan=replace(plan, select=replace(plan.select, devices=names)))
    monkeypatch.setattr(listening, "GAP_S", 90_000.0)
    monkeypatch.setattr(
        conducting,
        "documents_of",
        lambda folder, state: Documents(rollouts=(named,), approvals={}, backs={}, stop=None),
    )
    seen = scene.round(signs=False)
    words = {each.device: (each.verdict.word, each.verdict.stage) for each in seen.kept}
    assert words.pop(here)[0] == "waiting"
    assert set(words.values()) == {("waiting", "never seen")}
    assert seen.unseen == ()
    seen = scene.round(signs=False, after_s=86_460.0)
    assert seen.standings[0].silent == 2 + 1
    assert scene.truth()["reasons"][0]["code"] == "fleet.never-seen"
    explained = scene.ops.do("explain", f"{scene.site}/{gone}", *where)
    assert "silent, never seen: fleet.never-seen: the plan names it" in explained


def test_a_cart_that_is_not_selected_is_told_so_whatever_its_phase(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = scene.published.plan
    chosen = replace(scene.published, plan=replace(plan, select=replace(plan.select, sites=("elsewhere",))))
    monkeypatch.setattr(
        conducting,
        "documents_of",
        lambda folder, state: Documents(rollouts=(chosen,), approvals={}, backs={}, stop=None),
    )
    here, gone = scene.carts.early[0], scene.carts.late[0]
    scene.carts.status(here)
    scene.carts.leaves(gone)
    scene.round(signs=False)
    for name in (here, gone):
        out = scene.ops.do("explain", f"{scene.site}/{name}", "--broker", f"127.0.0.1:{scene.port}")
        assert f"tiny-2: never: not selected: site {scene.site}" in out


def test_the_reason_that_a_cart_told_in_an_event_outlives_its_status(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    case = "it failed its rehearsal: 1 of 2 golden cases are outside their tolerance (head-{}: off by 0.5)"
    with scene.conductor(signs=False) as (conductor, ears):
        for at, name in enumerate(scene.carts.early[:3]):
            scene.carts.status(name)
            facts = {"digest": scene.carts.new, "code": "backend.golden-mismatch", "why": case.format(at // 2)}
            scene.carts.say(f"{name}/event", {"schema": 1, "kind": "update.failed", "facts": facts})
            scene.carts.leaves(name)  # before a round: what it said just before is not lost with that
        _until(lambda: (len(ears._ends), len(ears._away)) == (3, 3))
        conductor.round(ears, scene.now)
    seen = scene.round(signs=False)
    assert (seen.decision.step, seen.standings[0].failed) == ("halt", 3)
    (reason,) = scene.truth()["reasons"]
    assert (reason["code"], reason["carts"], reason["cases"]) == (
        "backend.golden-mismatch",
        3,
        {"head-0": 2, "head-1": 1},
    )
    drawn = scene.ops.do("watch", "tiny-2", "--once", "--broker", f"127.0.0.1:{scene.port}")
    assert "head-0 on 2" in drawn
