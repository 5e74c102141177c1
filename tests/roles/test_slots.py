"""A cart that takes updates: what comes into a slot is rehearsed, switched to, watched, and undone by itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeai.testing.fakes import GORGES, Misbehaviour

DULL, BRIGHT = 60, 250

pytestmark = pytest.mark.slow
TORTURE = pytest.mark.torture


def test_an_update_is_rehearsed_switched_to_and_stays(updated: Any) -> None:
    old = updated.configure()
    updated.start()
    assert updated.digest_of(updated.cart.admit()) == old
    assert updated.event("update.adopted")["facts"]["digest"] == old
    (updated.cart.folder / "guard.edgeai").unlink()  # it is not looked at again
    new = updated.bring(2)
    updated.runs(new)
    assert updated.event("update.rehearsed")["facts"]["digest"] == new
    assert updated.event("update.activated")["facts"]["digest"] == new
    assert "guard-model" not in updated.floors() or updated.floors()["guard-model"]["digest"] == old
    for _ in range(2):
        assert updated.digest_of(updated.cart.admit()) == new
    assert updated.floors().get("guard-model", {}).get("digest") != new, "a first result does not raise it"
    updated.until(lambda: updated.state.probation and updated.state.probation.seen == 2)  # a moment after the result
    probation = updated.state.probation
    assert probation is not None
    assert probation.before_seen == 1
    assert set(probation.stated) == set(probation.before_stated) != set()
    assert updated.digest_of(updated.cart.admit()) == new
    updated.event("update.proven")
    assert updated.floors()["guard-model"]["digest"] == new
    assert updated.state.probation is None
    assert updated.cart.stop() == 0
    updated.start()
    assert updated.digest_of(updated.cart.admit()) == new
    assert len(updated.cart.events("update.activated")) == 1


# --- what is refused ------------------------------------------------------------------------------


def stays_on(updated: Any, old: str, new: str) -> dict[str, Any]:
    """The new one has failed before it ran; what ran was not disturbed, and takes images. The event."""
    event = updated.event("update.failed")
    assert event["facts"]["digest"] == new
    assert updated.running() == old
    assert updated.digest_of(updated.cart.admit()) == old
    assert updated.cart.events("update.activated") == []
    assert not any(kind in str(updated.cart.logged("role.died")) for kind in ("infer:guard", "ingest"))
    return event


@pytest.mark.parametrize(
    ("facts", "code", "told"),
    [
        ({"golden": 0.25}, "backend.golden-mismatch", "grey: off by 0.25"),
        ({"misbehave": Misbehaviour(how="nan")}, "tensor.not-finite", "not finite"),
        ({"misbehave": Misbehaviour(how="wrong-shape")}, "tensor.mismatch", "do not match"),
        ({"misbehave": Misbehaviour(how="raise")}, "plugin.fault", "ZeroDivisionError"),
        ({"misbehave": Misbehaviour(how="abort")}, "slots.rehearsal-died", "signal-SIGABRT) at run of fakes"),
        ({"misbehave": Misbehaviour(how="abort", at="open")}, "slots.rehearsal-died", "SIGABRT) at open of fakes"),
        pytest.param({"misbehave": Misbehaviour(how="hang")}, "slots.rehearsal-died", "(deadline)", marks=TORTURE),
        ({"misbehave": Misbehaviour(how="hang-holding-the-gil")}, "slots.rehearsal-died", "(deadline)"),
    ],
    ids=["disagrees", "nan", "other shape", "raises", "aborts", "aborts at open", "hangs", "hangs holding the GIL"],
)
def test_what_does_not_pass_its_rehearsal_never_runs(updated: Any, facts: dict[str, Any], code: str, told: str) -> None:
    old = updated.configure(deployment="deadline_s = 2.0\nopen_deadline_s = 60.0")
    updated.start()
    updated.runs(old)
    pid = updated.cart.pid("infer:guard")
    new = updated.bring(2, **facts)
    event = stays_on(updated, old, new)
    assert event["facts"]["code"] == code == updated.codes(new)
    assert told in event["message"]
    assert updated.cart.pid("infer:guard") == pid
    with pytest.raises(Exception, match="failed on this device") as caught:
        updated.bring(2, **facts)
    assert caught.value.code == "slots.bad"  # type: ignore[attr-defined]
    assert updated.cart.spool.quarantined() == []


HOGS = """
_die = fakes._die
_held = []
def _eats(how):
    import time
    for _ in range(400):
        _held.append(bytearray(4 << 20))
        time.sleep(0.01)
    time.sleep(3600)
fakes._die = _eats
"""


def test_a_rehearsal_that_eats_memory_is_ended_and_what_runs_is_not(updated: Any) -> None:
    updated.cart.add_backend("hog", "hang", prelude=HOGS)
    old = updated.configure(deployment="max_memory_bytes = 600_000_000")
    updated.start()
    updated.runs(old)
    profile = updated.cart.profile
    profile.write_text(profile.read_text().replace('backends = ["fake-works"]', 'backends = ["hog"]'))
    new = updated.bring(2)
    event = stays_on(updated, old, new)
    assert "memory, over" in event["message"]
    assert updated.codes(new) == "slots.rehearsal-died"


def test_what_the_device_lacks_is_not_laid_on_the_bundle(updated: Any) -> None:
    old = updated.configure()
    updated.start()
    updated.runs(old)
    profile = updated.cart.profile
    profile.write_text(profile.read_text().replace('backends = ["fake-works"]', 'backends = ["fake-absent"]'))
    new = updated.bring(2)
    assert "backend.no-candidate" in updated.event("update.abandoned")["message"]
    assert updated.state.bad == {}
    assert updated.running() == old != new
    profile.write_text(profile.read_text().replace('backends = ["fake-absent"]', 'backends = ["fake-works"]'))
    assert updated.bring(2) == new
    updated.runs(new)


# --- what goes back -------------------------------------------------------------------------------


def test_a_model_that_fails_on_real_images_is_left_again_and_its_engine_is_not_blamed(updated: Any) -> None:
    old = updated.configure()
    updated.start()
    updated.runs(old)
    assert updated.digest_of(updated.cart.admit()) == old
    new = updated.bring(2, misbehave=Misbehaviour(how="nan", mean_above=0.8))
    updated.runs(new)
    assert updated.digest_of(updated.cart.admit()) == new
    failed = updated.cart.result_of(updated.cart.admit(BRIGHT))
    assert (failed["outcome"], failed["reason"]["code"]) == ("failed", "tensor.not-finite")
    assert updated.running() == new, "one may fail"
    updated.cart.result_of(updated.cart.admit(BRIGHT))
    updated.runs(old)
    event = updated.event("update.rolled-back")
    assert event["facts"]["digest"] == new
    assert event["facts"]["runs"] == old
    assert event["facts"]["code"] == "slots.failures" == updated.codes(new)
    assert "2 failed results, and 1 may be (the last: tensor.not-finite" in event["message"]
    assert updated.floors().get("guard-model", {}).get("digest") != new
    assert updated.digest_of(updated.cart.admit(BRIGHT)) == old
    assert updated.cart.spool.quarantined() == []
    stays = json.loads(updated.cart.command("history", str(updated.cart.profile), "--json"))["deployments"]["guard"]
    assert [stay["digest"] for stay in stays] == [old, new, old]
    assert [stay["ended"] for stay in stays] == ["an update took its place", "rolled back", None]
    assert "2 failed results" in stays[1]["why"]
    page = updated.cart.command("history", str(updated.cart.profile))
    assert "it runs" in page
    assert "rolled back: on probation it had 2 failed results" in page


def test_a_model_that_fills_memory_is_left_again_and_every_image_ends(updated: Any) -> None:
    updated.cart.add_backend("greedy", prelude=GORGES)
    updated.cart.backends = ("greedy",)
    old = updated.configure(deployment="max_memory_bytes = 400_000_000\ndeadline_s = 300.0")
    updated.start()
    updated.runs(old)
    new = updated.bring(2, misbehave=Misbehaviour(how="leak", mean_above=0.8))
    updated.runs(new)
    phantoms = [updated.cart.admit(BRIGHT) for _ in range(3)]
    assert {updated.cart.result_of(phantom)["outcome"] for phantom in phantoms} == {"completed"}
    updated.runs(old)
    event = updated.event("update.rolled-back")
    assert "2 deaths of its process" in event["message"]
    assert "memory at run of greedy" in event["message"]
    assert updated.codes(new) == "slots.failures"
    assert updated.cart.spool.quarantined() == []


@pytest.mark.parametrize("how", ["abort", pytest.param("hang", marks=TORTURE)])
def test_a_model_that_kills_its_process_is_left_again_and_every_image_ends(updated: Any, how: str) -> None:
    old = updated.configure(deployment=f"deadline_s = {3.0 if how == 'hang' else 60.0}")
    updated.start()
    updated.runs(old)
    new = updated.bring(2, misbehave=Misbehaviour(how=how, mean_above=0.8))
    updated.runs(new)
    phantoms = [updated.cart.admit(BRIGHT) for _ in range(4)]
    digests = [updated.digest_of(phantom) for phantom in phantoms]
    assert set(digests) <= {old, new}
    updated.runs(old)
    event = updated.event("update.rolled-back")
    assert "2 deaths of its process" in event["message"]
    assert {"abort": "signal-SIGABRT at run of fakes", "hang": "deadline at run of fakes"}[how] in event["message"]
    assert updated.digest_of(updated.cart.admit(BRIGHT)) == old
    assert updated.cart.spool.quarantined() == [], "what the model did is not its engine's doing"
    assert updated.cart.spool.faults(plugin="fakes", version="1.0", deployment="guard", step="run") == 0
    outcomes = [updated.cart.result_of(phantom)["outcome"] for phantom in phantoms]
    assert outcomes == ["completed"] * 4, "each was done again by what stood before"
