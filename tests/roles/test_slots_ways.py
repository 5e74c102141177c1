"""A cart that takes updates, while images arrive: who is let in, when it is switched, and what a fleet sees of it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from edgeai.bundle.manifest import TransformStep
from edgeai.bundle.reader import read_manifest
from edgeai.bundle.releases import Numbered
from edgeai.bundle.uses import GuardUse
from edgeai.config import load_config
from edgeai.health import read_health, status_body
from edgeai.metrics import metrics_text
from edgeai.roles.on_disk import eligibilities
from edgeai.testing.broker import Mosquitto, free_port
from edgeai.testing.dicom_peers import SUCCESS, radiograph, send
from edgeai.testing.fakes import Misbehaviour
from edgeai.testing.mqtt_peers import Subscriber

DULL, BRIGHT = 60, 250
COLOUR = np.full((16, 16, 3), DULL, np.uint8)

pytestmark = pytest.mark.slow

SLUGGISH = """
import time
fakes._die = lambda how: time.sleep(3.0)
"""
"""Whatever an artifact is told to do in there takes three seconds."""


def test_a_plain_cart_has_nothing_of_it(cart: Any) -> None:
    cart.configure()
    cart.start()
    cart.ready()
    cart.result_of(cart.admit())
    config = load_config(cart.profile)
    assert not (cart.folder / "data/slots").exists()
    assert [item.slots for item in read_health(cart.spool, config).deployments] == [None]
    assert "edgeai_slot{" not in metrics_text(cart.spool, config)
    assert [item for item in cart.messages() if str(item.get("kind", "")).startswith("update.")] == []


def test_an_image_is_judged_by_what_stands_from_the_switch_on(updated: Any, until: Any) -> None:
    port = free_port()
    old = updated.configure(more=f"[ingest.scp]\nport = {port}", first={"modality": ("US",)})
    updated.start()
    updated.runs(old)

    def sent() -> str:
        dataset = radiograph()  # CR
        (status,) = send(port, dataset)
        assert status.Status == SUCCESS
        return str(dataset.SOPInstanceUID)

    def jobs(uid: str) -> int:
        asked = "SELECT COUNT(*) FROM jobs JOIN instances AS i ON i.id = instance WHERE i.sop_instance_uid = ?"
        with updated.cart.spool.db.read() as db:
            return int(db.execute(asked, (uid,)).fetchone()[0])

    until(lambda: read_health(updated.cart.spool, load_config(updated.cart.profile)).is_serving)
    assert jobs(sent()) == 0
    pid = updated.cart.pid("ingest")
    updated.bring(2, modality=("CR",))
    until(lambda: updated.state.active == "b")
    assert jobs(sent()) == 1, "at once, whatever infer is at"
    assert updated.cart.pid("ingest") == pid
    assert eligibilities(load_config(updated.cart.profile))[0]["guard"].modality == ("CR",)


def test_it_is_not_switched_inside_a_series_that_has_begun(updated: Any, until: Any) -> None:
    old = updated.configure(first={"misbehave": Misbehaviour(how="slow")})
    updated.start()
    updated.runs(old)
    series = {"SeriesInstanceUID": "1.2.826.0.1.1"}
    phantoms = [updated.cart.admit(attributes=series)]
    assert updated.digest_of(phantoms[0]) == old
    phantoms += [updated.cart.admit(attributes=series) for _ in range(20)]
    new = updated.bring(2)

    def is_rehearsed() -> bool:
        if sum(updated.cart.spool.queue_lengths().values()) < 10:
            phantoms.append(updated.cart.admit(attributes=series))
        return bool(updated.cart.logged("rehearsal.passed"))

    until(is_rehearsed)
    phantoms += [updated.cart.admit(attributes=series) for _ in range(5)]
    assert {updated.digest_of(phantom) for phantom in phantoms} == {old}, "it waited, and not for its rehearsal"
    updated.runs(new)


def test_a_start_in_the_middle_of_a_series_finishes_it_with_what_began_it(updated: Any, until: Any) -> None:
    old = updated.configure(rules="quiet_s = 3600\n")
    updated.start()
    updated.runs(old)
    series = {"SeriesInstanceUID": "1.2.826.0.1.2"}
    assert updated.digest_of(updated.cart.admit(attributes=series)) == old
    new = updated.bring(2)
    updated.event("update.rehearsed")
    assert updated.cart.stop() == 0
    profile = updated.cart.profile
    profile.write_text(profile.read_text().replace("quiet_s = 3600", "quiet_s = 0.1"))
    rest = [updated.cart.admit(attributes=series) for _ in range(3)]
    updated.start()
    assert {updated.digest_of(phantom) for phantom in rest} == {old}
    updated.runs(new)


def test_a_study_that_never_ends_does_not_keep_it_waiting(updated: Any, until: Any) -> None:
    old = updated.configure(rules="quiet_s = 3600\nswitch_within_s = 0.5\n")
    updated.start()
    updated.runs(old)
    assert updated.digest_of(updated.cart.admit()) == old
    updated.runs(updated.bring(2))


def later() -> str:
    """A window that is closed now, and for hours."""
    now = datetime.now().astimezone()
    return f"{now + timedelta(hours=6):%H:%M}-{now + timedelta(hours=7):%H:%M}"


@pytest.mark.parametrize(
    "rules", ["quiet_s = 3600\n", f'quiet_s = 0.1\nswitch_within_s = 0.1\nwindows = ["{later()}"]\n']
)
def test_it_waits_for_quiet_and_for_its_window(updated: Any, until: Any, rules: str) -> None:
    old = updated.configure(rules=rules)
    updated.start()
    updated.runs(old)
    assert updated.digest_of(updated.cart.admit()) == old
    updated.bring(2)
    updated.event("update.rehearsed")
    beat = updated.cart.spool.notes()["infer:guard"].beat_at
    until(lambda: updated.cart.spool.notes()["infer:guard"].beat_at > beat + 2)
    assert updated.running() == old


def test_a_model_that_is_far_slower_is_left_again(updated: Any) -> None:
    updated.cart.add_backend("sluggish", prelude=SLUGGISH)
    updated.cart.backends = ("sluggish",)
    old = updated.configure(rules="quiet_s = 0.1\nprobation_results = 100\n")
    updated.start()
    updated.runs(old)
    for _ in range(6):
        assert updated.digest_of(updated.cart.admit(BRIGHT)) == old
    new = updated.bring(2, misbehave=Misbehaviour(how="slow", mean_above=0.8))
    updated.runs(new)
    for _ in range(5):
        assert updated.digest_of(updated.cart.admit(BRIGHT)) == new
    updated.runs(old)
    event = updated.event("update.rolled-back")
    assert event["facts"]["code"] == "slots.slow"
    assert "over 3 times as long" in event["message"]


def test_a_model_that_says_nothing_of_any_image_is_left_again(updated: Any) -> None:
    old = updated.configure(rules="quiet_s = 0.1\nprobation_results = 4\n")
    updated.start()
    updated.runs(old)
    for _ in range(10):
        assert updated.digest_of(updated.cart.admit()) == old
    new = updated.bring(2, guard=GuardUse())  # images of one grey level: what looks at them lets none pass
    updated.runs(new)
    for _ in range(4):
        ended = updated.cart.result_of(updated.cart.admit())
        assert (ended["outcome"], ended["reason"]["code"]) == ("not-applicable", "guard.constant")
    updated.runs(old)
    event = updated.event("update.rolled-back")
    assert event["facts"]["code"] == "slots.withheld"
    assert "guard.constant" in event["message"]


@pytest.mark.parametrize(
    "before",
    [pytest.param(0, id="on a fresh cart", marks=pytest.mark.torture), pytest.param(10, id="on one with a history")],
)
def test_a_model_whose_steps_can_do_no_image_is_left_again_and_the_code_is_named(updated: Any, before: int) -> None:
    """Its golden cases feed tensors, and pass."""
    updated.cart.allow.append("transforms")
    old = updated.configure(rules="quiet_s = 0.1\nprobation_results = 5\n")
    updated.start()
    updated.runs(old)
    for _ in range(before):
        assert updated.digest_of(updated.cart.admit(pixels=COLOUR)) == old
    new = updated.bring(2, first=(TransformStep(transform="window"),))
    updated.runs(new)
    for _ in range(2):
        ended = updated.cart.result_of(updated.cart.admit(pixels=COLOUR))
        assert (ended["outcome"], ended["reason"]["code"]) == ("failed", "transform.not-applicable")
    updated.runs(old)
    event = updated.event("update.rolled-back")
    assert event["facts"]["code"] == "slots.failures" == updated.codes(new)
    assert (
        "2 failed results, and 1 may be (the last: transform.not-applicable, transforms[0] window: " in event["message"]
    )
    assert updated.digest_of(updated.cart.admit(pixels=COLOUR)) == old
    updated.runs(updated.bring(3))
    assert updated.state.probation.before_withheld == 1.0, "what the one that was left withheld is not what is usual"


def test_a_model_that_can_use_no_image_is_left_again_where_nobody_knows_what_is_usual(updated: Any) -> None:
    old = updated.configure(rules="quiet_s = 0.1\nprobation_results = 5\n")
    updated.start()
    updated.runs(old)
    new = updated.bring(2, modality=("XA",))
    updated.runs(new)
    for _ in range(5):
        assert updated.cart.result_of(updated.cart.admit())["outcome"] == "not-applicable"
    updated.runs(old)
    event = updated.event("update.rolled-back")
    assert event["facts"]["code"] == "slots.withheld" == updated.codes(new)
    assert "of 5 images it completed none (the last: input.not-eligible, " in event["message"]


def test_one_that_completes_nothing_gives_way_to_a_newer_one(updated: Any) -> None:
    old = updated.configure()
    updated.start()
    updated.runs(old)
    silent = updated.bring(2, modality=("XA",))
    updated.runs(silent)
    assert updated.cart.result_of(updated.cart.admit())["outcome"] == "not-applicable"
    out = updated.cart.folder / "newer.edgeai"
    digest = updated.make(3, out)
    updated.folder.supersede(Numbered.of(read_manifest(out)[0], digest))
    updated.runs(old)
    updated.runs(updated.bring(3))
    told = updated.event("update.superseded")["facts"]
    assert (told["digest"], told["code"], updated.state.bad) == (silent, None, {})


@pytest.mark.parametrize("after", ["on probation", "at the next start"])
def test_a_slot_that_the_disk_has_damaged_gives_way_and_its_bundle_is_not_blamed(updated: Any, after: str) -> None:
    old = updated.configure()
    updated.start()
    updated.runs(old)
    new = updated.bring(2)
    updated.runs(new)
    if after == "at the next start":
        for _ in range(3):
            updated.cart.result_of(updated.cart.admit())
        updated.event("update.proven")
    assert updated.cart.stop() == 0
    artifact = updated.folder.content("b") / "model.fake"
    artifact.write_bytes(artifact.read_bytes()[:-1] + b" ")
    waiting = updated.cart.admit()
    updated.start()
    assert updated.digest_of(waiting) == old, "also below the floor: it stands"
    event = updated.event("update.damaged")
    assert event["facts"]["digest"] == new
    assert updated.state.bad == {}


def test_without_anything_to_go_back_to_its_jobs_are_held(updated: Any) -> None:
    updated.configure()
    updated.start()
    assert updated.event("update.adopted")
    assert updated.cart.stop() == 0
    artifact = updated.folder.content("a") / "model.fake"
    artifact.write_bytes(artifact.read_bytes()[:-1] + b" ")
    updated.cart.admit()
    updated.cart.start()
    assert updated.event("deployment.held")["facts"]["code"] == "bundle.wrong-hash"


def test_a_state_that_cannot_be_read_holds_and_says_so(updated: Any, until: Any) -> None:
    updated.configure()
    updated.start()
    assert updated.event("update.adopted")
    assert updated.cart.stop() == 0
    path = updated.folder.state
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    waiting = updated.cart.admit()
    updated.cart.start()
    held = updated.event("deployment.held")["facts"]
    assert held["code"] == "slots.unreadable"
    assert "backup" in held["remedy"]
    assert eligibilities(load_config(updated.cart.profile))[1]["guard"].code == "slots.unreadable"
    path.write_bytes(whole)
    assert updated.cart.result_of(waiting)["outcome"] == "completed"


def test_what_a_first_bundle_lacks_is_told_as_on_a_plain_cart(updated: Any) -> None:
    updated.configure()
    bundle = updated.cart.folder / "guard.edgeai"
    whole = bundle.read_bytes()
    bundle.write_bytes(b"half of a bund")
    waiting = updated.cart.admit()
    updated.cart.start()
    assert updated.event("deployment.held")["facts"]["code"] == "bundle.not-a-bundle"
    bundle.write_bytes(whole)
    assert updated.cart.result_of(waiting)["outcome"] == "completed"
    assert updated.event("update.adopted")


def test_a_disk_that_takes_no_copy_costs_nothing_but_updates(updated: Any, until: Any) -> None:
    old = updated.configure()
    blocked = updated.folder.folder / ".lock"  # whoever moves the slots fails, as on a full disk
    blocked.mkdir(parents=True)
    updated.start()
    assert updated.digest_of(updated.cart.admit()) == old
    assert updated.event("update.not-adopted")["facts"]["code"] == "slots.unwritable"
    assert updated.cart.stop() == 0
    blocked.rmdir()
    updated.start()
    assert updated.digest_of(updated.cart.admit()) == old
    assert updated.running() == old


def test_a_roll_back_that_the_disk_does_not_take_happens_all_the_same(updated: Any, until: Any) -> None:
    old = updated.configure()
    updated.start()
    updated.runs(old)
    new = updated.bring(2, misbehave=Misbehaviour(how="nan", mean_above=0.8))
    updated.runs(new)
    lock = updated.folder.folder / ".lock"
    lock.unlink()
    lock.mkdir()  # whoever moves the slots fails, as on a full disk
    for _ in range(2):
        updated.cart.result_of(updated.cart.admit(BRIGHT))
    updated.runs(old)
    assert updated.running() == new, "nothing could be written"
    assert updated.digest_of(updated.cart.admit(BRIGHT)) == old
    lock.rmdir()
    until(lambda: updated.running() == old)
    assert updated.codes(new) == "slots.failures"
    assert updated.event("update.rolled-back")["facts"]["digest"] == new


def test_status_doctor_metrics_and_the_broker_tell_of_slots(updated: Any, until: Any, tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        mqtt = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
        old = updated.configure(mqtt=mqtt)
        updated.start()
        updated.runs(old)
        new = updated.bring(2, misbehave=Misbehaviour(how="nan", mean_above=0.8))
        updated.runs(new)
        updated.cart.result_of(updated.cart.admit())
        config = load_config(updated.cart.profile)

        def told() -> dict[str, Any]:
            account = read_health(updated.cart.spool, config)
            body = json.loads(json.dumps(status_body(config, account, "2026-11-29T00:00:00Z")))
            schema = json.loads((Path(__file__).parents[2] / "edgeai/schemas/status-2.json").read_text())
            jsonschema.validate(body, schema)
            slots: dict[str, Any] = body["deployments"][0]["slots"]
            return slots

        until(lambda: told()["probation"]["completed"] == 1)
        assert (told()["active"], told()["b"]["digest"], told()["a"]["stood"]) == ("b", new, True)
        page = updated.cart.command("status", str(updated.cart.profile))
        assert "guard: slot b runs, guard-model release 2" in page
        assert "on probation 1 of 3" in page
        assert "slot a stood before" in page
        assert 'edgeai_probation_results{deployment="guard",kind="completed"} 1.0' in metrics_text(
            updated.cart.spool, config
        )
        heard = Subscriber(broker.port)
        until(lambda: _slots_heard(heard, probation=True))
        for _ in range(2):
            updated.cart.result_of(updated.cart.admit(BRIGHT))
        updated.runs(old)
        until(lambda: told()["last_end"])
        assert (told()["last_end"]["code"], told()["last_end"]["stands"]) == ("slots.failures", True)
        warnings = {item.code: item for item in read_health(updated.cart.spool, config).warnings}
        assert warnings["deployment.update-failed"].cause == "slots.failures"
        assert "2 failed results" in updated.cart.command("status", str(updated.cart.profile))
        assert "was rolled back at" in updated.cart.command("doctor", str(updated.cart.profile))
        until(lambda: _slots_heard(heard, probation=False)[-1]["last_end"]["move"] == "rolled-back")
        assert heard.events("update.rolled-back")[0]["facts"]["runs"] == old
        heard.close()


def _slots_heard(heard: Subscriber, *, probation: bool) -> list[dict[str, Any]]:
    """Slots of the deployment in each status that came, on probation or off it."""
    told = [body["deployments"][0]["slots"] for body in heard.on("status") if body.get("deployments")]
    return [slots for slots in told if slots and bool(slots["probation"]) is probation]
