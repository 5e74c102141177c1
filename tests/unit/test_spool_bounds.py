"""What is exact in the spool: each bound on both of its sides, each duration that is told, and whoever is woken."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from edgeai.api import BundleRejected, Outcome, SpoolFull
from edgeai.spool import BUCKETS_MS, Selection, Spool, Station
from edgeai.spool.faults import FAULT_AGE_S
from edgeai.spool.work import MAX_INTERRUPTIONS
from edgeai.testing.spools import arrive, end, result_of

UNTRUSTED = BundleRejected("nobody known signed it", code="bundle.untrusted")
OpenSpool = Callable[..., Spool]


@pytest.fixture
def spool(open_spool: OpenSpool) -> Spool:
    return open_spool("a")


def alter(spool: Spool, statement: str, *values: object) -> int:
    with spool.db.write() as db:
        return db.execute(statement, values).rowcount


def last_event(spool: Spool) -> dict[str, Any]:
    *_, message = spool.pending(1000, sink="a", lane="event")
    body: dict[str, Any] = json.loads(message.body)
    return body


# --- who is woken -------------------------------------------------------------------------------------


def woken(spool: Spool, *roles: str) -> bool:
    """Whether each of these was rung, and none of the others; they stop ringing."""
    return {role for role in ("publish", "infer:guard", "infer:other") if spool.wait(role, 0.0)} == set(roles)


def test_whoever_has_something_to_do_is_woken_and_nobody_else(spool: Spool) -> None:
    woken(spool)
    arrive(spool, 1)
    assert woken(spool, "infer:guard")
    arrive(spool, 2, deployments=("guard", "other"))
    assert woken(spool, "infer:guard", "infer:other")
    arrive(spool, 2, deployments=("guard", "other"))
    assert woken(spool), "it is known"
    arrive(spool, 1, content="y")
    assert woken(spool, "publish", "infer:guard"), "it differs, which an event says"
    end(spool, Outcome.FAILED)
    assert woken(spool, "publish")
    [failed] = spool.failed(Selection())
    assert spool.do_again(failed.numbers) == 1
    assert woken(spool, "publish", "infer:guard")
    assert spool.do_again(failed.numbers) == 0
    assert woken(spool), "it is done again already"
    spool.event("x.y", "something")
    assert woken(spool, "publish")


def test_a_hold_and_its_end_wake_publish_once_each(spool: Spool) -> None:
    woken(spool)
    for is_news in (True, False):
        spool.hold("guard", UNTRUSTED)
        assert woken(spool, *(["publish"] if is_news else []))
    for is_news in (True, False):
        assert spool.lift("guard") is is_news
        assert woken(spool, *(["publish"] if is_news else []))


# --- what is told -------------------------------------------------------------------------------------


def test_a_hold_tells_how_long_the_oldest_has_waited_and_its_end_how_long_it_was(spool: Spool) -> None:
    for number in (1, 2):
        arrive(spool, number)
    alter(spool, "UPDATE jobs SET created_at = created_at - 1000 WHERE id = 1")
    spool.hold("guard", UNTRUSTED)
    facts = last_event(spool)["facts"]
    assert (facts["deployment"], facts["code"], facts["jobs"]) == ("guard", "bundle.untrusted", 2)
    assert 1000 <= facts["oldest_s"] < 1600
    assert len(str(facts["oldest_s"]).partition(".")[2]) == 1, "to a tenth"
    alter(spool, "UPDATE holds SET since = since - 5000")
    spool.lift("guard")
    facts = last_event(spool)["facts"]
    assert (facts["deployment"], facts["code"], facts["jobs"]) == ("guard", "bundle.untrusted", 2)
    assert 5000 <= facts["held_s"] < 5600
    assert len(str(facts["held_s"]).partition(".")[2]) == 1
    alter(spool, "UPDATE jobs SET created_at = ?", time.time() + 1e6)
    spool.hold("guard", UNTRUSTED)
    assert last_event(spool)["facts"]["oldest_s"] == 0.0, "a clock that was put back makes nobody young"


def test_the_wait_of_a_job_is_told_in_milliseconds_and_never_below_nothing(spool: Spool) -> None:
    arrive(spool)
    job = spool.claim("guard", "me")
    assert job is not None
    assert replace(job, received_at=100.0, claimed_at=102.5).queue_ms == 2500.0
    assert replace(job, received_at=100.0, claimed_at=99.0).queue_ms == 0.0


def test_a_duration_is_counted_in_the_first_bucket_that_holds_it(spool: Spool) -> None:
    assert all(low < high for low, high in pairwise(BUCKETS_MS))
    assert (BUCKETS_MS[0], BUCKETS_MS[-1], len(BUCKETS_MS)) == (0.5, 30_000.0, 15)
    assert {high / low for low, high in pairwise(BUCKETS_MS)} <= {2.0, 2.5, 3.0}
    durations = (0.0, 0.5, 0.6, 30_000.0, 30_000.1, 1e9)
    for number, duration in enumerate(durations):
        arrive(spool, number)
        job = spool.claim("guard", "me")
        assert job is not None
        spool.finish(job, result_of(job, timings_ms={"run": duration}), b"{}")
    [histogram] = spool.histograms()
    assert (histogram.counts[0], histogram.counts[1], histogram.counts[-2], histogram.counts[-1]) == (2, 1, 1, 2)
    assert sum(histogram.counts) == len(durations)
    assert histogram.sum_ms == pytest.approx(sum(durations))


# --- bounds -------------------------------------------------------------------------------------------


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Say how many bytes are free on the disk."""

    def say(count: int) -> None:
        usage = SimpleNamespace(free=count)
        monkeypatch.setattr("edgeai.spool.intake.shutil.disk_usage", lambda _: usage)

    return say


def refused(spool: Spool, extra_bytes: int = 0, *, only_look: bool = False) -> str:
    try:
        spool.check_room(extra_bytes, only_look=only_look)
    except SpoolFull as error:
        return error.code
    return ""


def test_the_reserve_is_kept_to_the_byte(spool: Spool, free: Callable[[int], None]) -> None:
    free(1000)
    assert (refused(spool), refused(spool, 1)) == ("", "spool.disk-reserve")
    free(999)
    assert refused(spool) == "spool.disk-reserve"
    free(1700)
    assert (refused(spool, 700), refused(spool, 701)) == ("", "spool.disk-reserve")


def test_as_many_kept_files_give_way_as_must(spool: Spool, free: Callable[[int], None]) -> None:
    for number in (1, 2, 3):
        arrive(spool, number)
        end(spool, Outcome.FAILED)
    free(800)
    assert refused(spool, only_look=True) == ""
    assert len(list(spool.instances.iterdir())) == 3, "a look makes no room"
    assert refused(spool) == ""
    assert len(list(spool.instances.iterdir())) == 1
    free(900)
    assert refused(spool, 1, only_look=True) == "spool.disk-reserve", "100 bytes are kept, and 101 lacking"
    assert refused(spool, only_look=True) == ""
    assert refused(spool) == ""
    assert not list(spool.instances.iterdir())


@pytest.mark.parametrize("waiting", [2, 3])
def test_the_backlog_is_full_at_its_bound(open_spool: OpenSpool, waiting: int) -> None:
    spool = open_spool("a", max_backlog=3)
    for number in range(waiting):
        arrive(spool, number)
    assert refused(spool) == ("spool.backlog" if waiting == 3 else "")


@pytest.mark.parametrize(
    ("bound", "taken"), [({"max_held_bytes": 200}, 2), ({"max_held_bytes": 201}, 3), ({"max_held": 2}, 2)]
)
def test_what_a_deployment_may_hold_is_counted_to_the_byte(
    open_spool: OpenSpool, bound: dict[str, int], taken: int
) -> None:
    spool = open_spool(**bound)
    spool.hold("guard", UNTRUSTED)
    for number in range(taken):
        arrive(spool, number)
    with pytest.raises(SpoolFull, match=f"holds {taken} jobs"):
        arrive(spool, taken)


def test_a_job_is_interrupted_a_hundred_times_and_no_more(spool: Spool) -> None:
    assert MAX_INTERRUPTIONS == 100
    arrive(spool)
    for left in (2, 1):
        alter(spool, "UPDATE jobs SET interruptions = ?", MAX_INTERRUPTIONS - left)
        assert spool.claim("guard", "me") is not None
        assert spool.release() == 1
        assert (spool.condemned("guard", "me") is None) is (left == 2)


def test_faults_are_forgotten_after_thirty_days(spool: Spool) -> None:
    for _ in range(2):
        spool.fault(plugin="p", version="1", deployment="guard", step="run", cause="x", quarantine_after=9)
    day = 86_400.0
    assert day == FAULT_AGE_S
    alter(spool, "UPDATE faults SET at = at - ? WHERE id = 1", 30 * day + 600)
    alter(spool, "UPDATE faults SET at = at - ? WHERE id = 2", 30 * day - 600)
    spool.sweep()
    assert alter(spool, "UPDATE faults SET at = at") == 1


def test_rows_are_forgotten_to_the_day(open_spool: OpenSpool) -> None:
    spool = open_spool(keep_rows_days=2)
    for number, age in ((1, 2 * 86_400 + 600), (2, 2 * 86_400 - 600)):
        arrive(spool, number)
        end(spool)
        alter(spool, "UPDATE instances SET received_at = received_at - ? WHERE id = ?", age, number)
    assert spool.sweep() == 1
    assert (spool.knows("2.25.1"), spool.knows("2.25.2")) == (False, True)


def test_files_that_are_kept_no_more_go_when_the_profile_says_so(open_spool: OpenSpool) -> None:
    spool = open_spool("a")
    for number in (1, 2):
        arrive(spool, number)
        end(spool, Outcome.FAILED)
    spool.limits = SimpleNamespace(keep_rows_days=30, keep_files="failed", max_failed_bytes=100)
    spool.sweep()
    assert len(list(spool.instances.iterdir())) == 1
    spool.limits = SimpleNamespace(keep_rows_days=30, keep_files="always", max_failed_bytes=0)
    spool.sweep()
    assert len(list(spool.instances.iterdir())) == 1
    spool.limits = SimpleNamespace(keep_rows_days=30, keep_files="never", max_failed_bytes=10**9)
    spool.sweep()
    assert not list(spool.instances.iterdir())


# --- a start ------------------------------------------------------------------------------------------


def test_a_start_waits_for_the_roles_of_a_former_life_and_not_for_its_own(spool: Spool) -> None:
    own = Station(spool.roles, "supervise")
    assert spool.await_silence(0.0) == []
    former = Station(spool.roles, "infer:guard")
    began = time.monotonic()
    assert spool.await_silence(0.2) == ["infer:guard"]
    assert time.monotonic() - began >= 0.2
    former.close()
    assert spool.await_silence(600.0) == []
    own.close()


def test_the_number_of_the_last_instance_only_rises(spool: Spool) -> None:
    assert spool.last_instance() == 0
    for number in (1, 2):
        arrive(spool, number)
        end(spool)
    assert spool.last_instance() == 2
    alter(spool, "DELETE FROM instances")
    assert spool.last_instance() == 2


def test_files_that_a_damaged_database_does_not_know_are_kept_and_said(spool: Spool) -> None:
    arrive(spool)
    (spool.instances / "stray.dcm").write_bytes(b"x")
    spool.recover(keep_strays=True)
    assert [path.name for path in spool.lost.iterdir()] == ["stray.dcm"]
    assert len(list(spool.instances.iterdir())) == 1
    assert (last_event(spool)["kind"], last_event(spool)["facts"]["images"]) == ("spool.images-lost", 1)
    spool.recover(keep_strays=True)
    assert len([m for m in spool.pending(99, sink="a", lane="event") if b"images-lost" in m.body]) == 1


@pytest.mark.parametrize("what", ["lift", "claim"])
def test_of_two_at_the_same_moment_one_comes_too_late(
    open_spool: OpenSpool, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Both have looked, and seen that there is something to do."""
    spool, other = open_spool("a"), open_spool("a")
    arrive(spool)
    if what == "lift":
        spool.hold("guard", UNTRUSTED)
    act: dict[str, Callable[[Spool], Any]] = {
        "lift": lambda one: one.lift("guard"),
        "claim": lambda one: one.claim("guard", "me"),
    }
    write, answers = spool.db.write, []

    def write_late(**options: bool) -> Any:
        monkeypatch.undo()
        answers.append(act[what](other))
        return write(**options)

    monkeypatch.setattr(spool.db, "write", write_late)
    assert not act[what](spool)
    assert answers[0]
