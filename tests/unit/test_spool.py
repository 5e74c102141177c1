"""The spool's promises, one by one, on a real database; the refusals as well as the acceptances."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from edgeai.api import Outcome, SpoolError, SpoolFull
from edgeai.config import Spool as Limits
from edgeai.spool import BUCKETS_MS, Job, Spool
from edgeai.testing.examples import instance_ref
from edgeai.testing.spools import arrive, end, result_of


@pytest.fixture
def spool(open_spool: Callable[..., Spool]) -> Spool:
    return open_spool()


def take(spool: Spool, owner: str = "me", deployment: str = "guard") -> Job:
    job = spool.claim(deployment, owner)
    assert job is not None
    return job


# --- intake -------------------------------------------------------------------------------------


def test_an_admitted_instance_comes_back_as_it_was(spool: Spool) -> None:
    assert arrive(spool) == "received"
    job = take(spool)
    assert job.instance == instance_ref(sop_instance_uid="2.25.1")
    assert job.path.read_bytes() == b"x" * 100
    assert job.path.parent == spool.instances
    assert not list(spool.tmp.iterdir())


def test_a_second_copy_is_taken_and_makes_no_second_job(spool: Spool) -> None:
    assert arrive(spool) == "received"
    assert arrive(spool) == "known"
    assert take(spool) is not None
    assert spool.claim("guard", "me") is None
    assert len(list(spool.instances.iterdir())) == 1
    assert not list(spool.tmp.iterdir())


def test_two_senders_of_one_instance_at_once_make_one_job(spool: Spool) -> None:
    answers: list[str] = []
    go = threading.Barrier(8)

    def send() -> None:
        go.wait()
        answers.append(arrive(spool))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["known"] * 7 + ["received"]
    assert spool.backlog() == (1, 0)
    assert len(list(spool.instances.iterdir())) == 1


def test_an_instance_for_nobody_is_remembered_without_its_file(spool: Spool) -> None:
    assert arrive(spool, deployments=()) == "received"
    assert spool.knows("2.25.1")
    assert arrive(spool, deployments=()) == "known"
    assert not list(spool.instances.iterdir())
    assert not list(spool.tmp.iterdir())


def test_one_job_a_deployment_in_the_order_of_arrival(spool: Spool) -> None:
    for number in (3, 1, 2):
        arrive(spool, number, deployments=("guard", "other"))
    for deployment in ("guard", "other"):
        order = [take(spool, deployment=deployment).instance.sop_instance_uid for _ in range(3)]
        assert order == ["2.25.3", "2.25.1", "2.25.2"]
    assert spool.claim("nobody", "me") is None


def test_the_disk_reserve_refuses_and_ends_by_itself(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool(reserve_bytes=10**18)
    with pytest.raises(SpoolFull) as refused:
        spool.check_room()
    assert refused.value.code == "spool.disk-reserve"
    spool.limits = Limits(reserve_bytes=1000)
    spool.check_room()
    with pytest.raises(SpoolFull):
        spool.check_room(10**18)


def test_the_backlog_counts_jobs_and_messages(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool(max_backlog=2)
    arrive(spool, 1)
    spool.check_room()
    spool.event("test.happened", "so it is")
    spool._backlog_at = -1e9  # the count is kept for half a second
    with pytest.raises(SpoolFull) as refused:
        spool.check_room()
    assert refused.value.code == "spool.backlog"


def test_a_failed_commit_keeps_nothing(spool: Spool) -> None:
    spool.db.connection().execute("CREATE TRIGGER no BEFORE INSERT ON jobs BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(SpoolError):
        arrive(spool)
    assert not spool.knows("2.25.1")
    assert not list(spool.instances.iterdir())
    assert not list(spool.tmp.iterdir())


def test_a_full_disk_keeps_nothing_says_so_and_goes_on(spool: Spool) -> None:
    db = spool.db.connection()
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages}")

    def arrive_for_ever() -> None:
        for number in range(500):
            arrive(spool, number)

    with pytest.raises(SpoolFull) as refused:
        arrive_for_ever()
    assert refused.value.code == "spool.full"
    jobs = spool.backlog()[0]
    assert len(list(spool.instances.iterdir())) == jobs
    assert not list(spool.tmp.iterdir())
    db.execute("PRAGMA max_page_count = 1000000")
    assert arrive(spool, 1000) == "received"
    assert spool.backlog()[0] == jobs + 1


def test_file_and_folder_are_on_disk_before_there_is_a_row(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[str] = set()

    def sync(file: int) -> None:
        assert not spool.knows("2.25.1")
        synced.add(Path(os.readlink(f"/proc/self/fd/{file}")).name)

    monkeypatch.setattr(os, "fsync", sync)
    assert arrive(spool) == "received"
    assert synced == {take(spool).path.name, "instances"}


@pytest.mark.parametrize("broken", ["file", "folder"])
def test_what_the_disk_does_not_take_is_not_kept(spool: Spool, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    def sync(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode) == (broken == "folder"):
            raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(SpoolError) as refused:
        arrive(spool)
    assert refused.value.code == "spool.io"
    assert not spool.knows("2.25.1")
    assert not list(spool.instances.iterdir())
    assert not list(spool.tmp.iterdir())


# --- work ---------------------------------------------------------------------------------------


def test_finish_queues_the_message_and_removes_the_file(spool: Spool) -> None:
    arrive(spool)
    job = end(spool)
    spool.enable_sinks(["mqtt"])
    [message] = spool.pending(10, sink="mqtt")
    assert (message.key, message.channel, message.body) == (f"2.25.1/{job.content}/guard", "result/guard", b"{}")
    assert not job.path.exists()
    assert spool.claim("guard", "me") is None


def test_a_file_outlives_its_job_until_the_end_is_durable(spool: Spool) -> None:
    arrive(spool)
    job = take(spool)
    assert spool.finish(job, result_of(job), b"{}", durable=False)
    assert job.path.exists()
    spool.recover()
    assert job.path.exists()
    spool.make_ends_durable()
    spool.close()
    assert not job.path.exists()


def test_an_end_that_no_life_made_durable_gives_its_file_up_in_the_next(open_spool: Callable[..., Spool]) -> None:
    first = open_spool()
    arrive(first)
    job = take(first)
    assert first.finish(job, result_of(job), b"{}", durable=False)
    second = open_spool()
    second.make_ends_durable()
    second.close()
    assert not job.path.exists()


def test_an_instance_that_comes_again_before_its_end_is_durable_keeps_its_file(spool: Spool) -> None:
    arrive(spool)
    job = take(spool)
    assert spool.finish(job, result_of(job), b"{}", durable=False)
    arrive(spool, deployments=("guard", "other"))
    spool.make_ends_durable()
    again = take(spool, deployment="other")
    assert again.path.exists()


def test_what_a_power_cut_takes_of_ends_is_done_again_with_its_file_there(spool: Spool, tmp_path: Path) -> None:
    arrive(spool)
    spool.make_ends_durable()
    before = (spool.folder / "spool.sqlite-wal").read_bytes()
    job = take(spool)
    assert spool.finish(job, result_of(job), b"{}", durable=False)
    lost = tmp_path / "after the cut"
    shutil.copytree(spool.folder, lost, ignore=shutil.ignore_patterns("*-shm", "*.bell", "bells"))
    (lost / "spool.sqlite-wal").write_bytes(before)
    after = Spool(lost)
    after.recover()
    after.release()
    redone = take(after)
    assert (redone.id, redone.path.name, redone.path.exists()) == (job.id, job.path.name, True)
    after.close()


def test_a_spent_file_that_a_power_cut_left_gone_is_forgotten(spool: Spool) -> None:
    arrive(spool)
    job = take(spool)
    assert spool.finish(job, result_of(job), b"{}", durable=False)
    job.path.unlink()
    spool.recover()
    assert spool.db.connection().execute("SELECT file, kept FROM instances").fetchall() == [(None, 0)]


def test_a_file_that_cannot_be_removed_is_told(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    arrive(spool)
    job = take(spool)
    assert spool.finish(job, result_of(job), b"{}", durable=False)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "unlink", fail)
    spool.make_ends_durable()
    spool.close()
    assert "spool.trouble" in caplog.text


def test_ends_that_free_no_file_are_synced_too(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    arrive(spool, deployments=("guard", "other"))
    job = take(spool)
    assert spool.finish(job, result_of(job), b"{}", durable=False)
    synced: list[str] = []
    monkeypatch.setattr(os, "fdatasync", lambda file: synced.append(os.readlink(f"/proc/self/fd/{file}")))
    spool.make_ends_durable()
    assert synced == [str(spool.folder / "spool.sqlite-wal")]


def test_the_file_stays_while_another_deployment_needs_it(spool: Spool) -> None:
    arrive(spool, deployments=("guard", "other"))
    job = end(spool)
    assert job.path.exists()
    last = take(spool, deployment="other")
    assert spool.finish(last, result_of(last), b"{}")
    assert not job.path.exists()


@pytest.mark.parametrize(
    ("keep", "outcome", "stays"),
    [
        ("never", Outcome.FAILED, False),
        ("failed", Outcome.FAILED, True),
        ("failed", Outcome.COMPLETED, False),
        ("always", Outcome.COMPLETED, True),
    ],
)
def test_keep_files(open_spool: Callable[..., Spool], keep: str, outcome: Outcome, stays: bool) -> None:
    spool = open_spool(keep_files=keep)
    arrive(spool)
    job = end(spool, outcome)
    assert job.path.exists() is stays
    spool.recover()
    assert job.path.exists() is stays


def test_a_claim_that_was_taken_away_cannot_finish(spool: Spool) -> None:
    arrive(spool)
    slow = take(spool, "first")
    assert spool.release("guard") == 1
    quick = take(spool, "second")
    assert not spool.finish(slow, result_of(slow), b"slow")
    assert spool.backlog() == (1, 0)
    assert spool.finish(quick, result_of(quick), b"quick")
    assert not spool.finish(quick, result_of(quick), b"again")
    spool.enable_sinks(["mqtt"])
    assert [message.body for message in spool.pending(10, sink="mqtt")] == [b"quick"]


def test_release_takes_only_what_it_names(spool: Spool) -> None:
    arrive(spool, 1, deployments=("guard", "other"))
    take(spool, "a", "guard")
    take(spool, "b", "other")
    assert spool.release("guard") == 1
    assert spool.claim("other", "c") is None
    assert spool.release(owner="b") == 1
    assert spool.claim("other", "c") is not None


def test_blame_uses_up_attempts_and_then_condemns(spool: Spool) -> None:
    arrive(spool)
    for attempt in range(2):
        job = take(spool)
        assert job.deaths == attempt
        assert not spool.blame(job.id, "crashed", "it died", max_attempts=3)
        assert spool.condemned("guard", "me") is None
    assert spool.blame(take(spool).id, "crashed", "it died", max_attempts=3)
    assert spool.claim("guard", "me") is None
    given_up = spool.condemned("guard", "me")
    assert given_up is not None
    assert (given_up.code, given_up.reason) == ("job.crashed", "it died")
    assert spool.finish(given_up, result_of(given_up, Outcome.FAILED), b"{}")
    assert spool.condemned("guard", "me") is None


def test_interruptions_are_no_attempts_and_yet_have_an_end(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeai.spool.work.MAX_INTERRUPTIONS", 5)
    arrive(spool)
    for _ in range(5):
        assert take(spool).deaths == 0
        spool.release("guard")
    assert spool.claim("guard", "me") is None
    given_up = spool.condemned("guard", "me")
    assert given_up is not None
    assert given_up.code == "job.interrupted"


# --- outbox -------------------------------------------------------------------------------------


def events(spool: Spool, count: int) -> None:
    for number in range(count):
        spool.event("test.happened", "so it is", number=number)


def numbers(spool: Spool, sink: str) -> list[int]:
    return [json.loads(message.body)["facts"]["number"] for message in spool.pending(100, sink=sink)]


def test_each_sink_has_its_own_place_and_a_message_goes_when_all_have_it(spool: Spool) -> None:
    spool.enable_sinks(["a", "b"])
    events(spool, 4)
    sequences = [message.sequence for message in spool.pending(100, sink="a")]
    assert sequences == sorted(sequences)
    spool.published("a", sequences)
    assert numbers(spool, "a") == []
    assert numbers(spool, "b") == [0, 1, 2, 3]
    assert spool.backlog() == (0, 4)
    spool.published("b", sequences[:3])
    assert spool.backlog() == (0, 1)


def test_acknowledgements_may_come_in_any_order(spool: Spool) -> None:
    spool.enable_sinks(["a"])
    events(spool, 4)
    first, second, third, fourth = (message.sequence for message in spool.pending(100, sink="a"))
    spool.published("a", [third])
    spool.published("a", [second, second])
    assert numbers(spool, "a") == [0, 3]
    spool.published("a", [first])
    assert numbers(spool, "a") == [3]
    assert spool.backlog() == (0, 1)
    assert spool.pending(100, fourth, sink="a") == []
    spool.published("a", [fourth, 10_000])
    assert spool.backlog() == (0, 0)
    events(spool, 1)
    assert spool.pending(1, sink="a")[0].sequence > fourth


def test_a_sink_that_is_gone_holds_nothing_back_and_a_new_one_misses_nothing_kept(spool: Spool) -> None:
    spool.enable_sinks(["a", "b"])
    events(spool, 2)
    spool.published("a", [message.sequence for message in spool.pending(100, sink="a")])
    spool.enable_sinks(["a", "c"])
    assert numbers(spool, "c") == [0, 1]
    with pytest.raises(SpoolError) as refused:
        spool.pending(1, sink="b")
    assert refused.value.code == "spool.unknown-sink"
    with pytest.raises(SpoolError):
        spool.published("b", [1])
    spool.enable_sinks(["a"])
    assert spool.backlog() == (0, 0)


def test_without_a_sink_messages_wait(spool: Spool) -> None:
    events(spool, 2)
    spool.enable_sinks([])
    assert spool.backlog() == (0, 2)


def test_an_event_carries_who_and_what(spool: Spool) -> None:
    spool.enable_sinks(["a"])
    spool.event("disk.low", "little is left", free=7, why={"x": None})
    [message] = spool.pending(1, sink="a")
    body = json.loads(message.body)
    assert message.channel == "event"
    assert (body["kind"], body["site"], body["device_id"]) == ("disk.low", "lab", "cart")
    assert body["facts"] == {"free": 7, "why": '{"x": null}'}


# --- metrics, faults ----------------------------------------------------------------------------


def test_durations_and_counts_survive_a_restart(spool: Spool, open_spool: Callable[..., Spool]) -> None:
    arrive(spool, 1)
    arrive(spool, 2)
    end(spool)
    end(spool, Outcome.FAILED)
    again = open_spool()
    stages = {item.stage: item for item in again.histograms()}
    assert stages["run"].sum_ms == pytest.approx(6.0)
    assert stages["run"].counts[BUCKETS_MS.index(5.0)] == 2
    assert stages["total"].counts[-1] == 2
    results = [item for item in again.counters() if item.name == "results"]
    counts = {(item.labels["outcome"], item.labels["code"]): item.value for item in results}
    assert counts == {("completed", ""): 1, ("failed", "pixels.short"): 1}


FAULT = {"plugin": "acme", "version": "1.0", "deployment": "guard", "cause": "signal-SIGABRT", "quarantine_after": 3}


def test_quarantine_at_the_third_fault_of_one_step_only(spool: Spool) -> None:
    for step in ("open", "run", "open", "run"):
        assert not spool.fault(**FAULT, step=step)
    assert not spool.fault(**{**FAULT, "version": "1.1"}, step="run")
    assert not spool.fault(**{**FAULT, "deployment": "other"}, step="run")
    assert spool.quarantined() == []
    assert spool.fault(**FAULT, step="run")
    [held] = spool.quarantined("guard")
    assert (held.plugin, held.version, held.step) == ("acme", "1.0", "run")
    assert spool.quarantined("other") == []
    assert not spool.fault(**FAULT, step="run")  # is in quarantine already


def test_old_faults_do_not_count(spool: Spool) -> None:
    for _ in range(2):
        spool.fault(**FAULT, step="run")
    spool.db.connection().execute("UPDATE faults SET at = at - 90000")
    assert not spool.fault(**FAULT, step="run")


def test_a_pardon_starts_anew_and_is_told(spool: Spool) -> None:
    for _ in range(3):
        spool.fault(**FAULT, step="run")
    assert spool.pardon("other-plugin") == 0
    assert spool.pardon("acme") == 1
    assert spool.quarantined() == []
    assert not spool.fault(**FAULT, step="run")
    spool.enable_sinks(["a"])
    kinds = [json.loads(message.body)["kind"] for message in spool.pending(100, sink="a")]
    assert kinds.count("plugin.fault") == 4
    assert kinds.count("plugin.quarantined") == 1
    assert kinds.count("plugin.pardoned") == 1


# --- upkeep -------------------------------------------------------------------------------------


def test_recover_removes_what_was_never_acknowledged_and_nothing_else(spool: Spool) -> None:
    arrive(spool)
    (spool.tmp / "half").write_bytes(b"x")
    (spool.instances / "without-row.dcm").write_bytes(b"x")
    spool.recover()
    assert not list(spool.tmp.iterdir())
    assert [path.name for path in spool.instances.iterdir()] == [take(spool).path.name]


def test_a_lost_file_fails_its_jobs_aloud(spool: Spool) -> None:
    arrive(spool, 1, deployments=("guard", "other"))
    arrive(spool, 2)
    lost = take(spool)
    lost.path.unlink()
    spool.recover()
    for deployment in ("guard", "other"):
        given_up = spool.condemned(deployment, "me")
        assert given_up is not None
        assert given_up.code == "spool.file-missing"
        assert not given_up.path.is_file()
    assert take(spool).instance.sop_instance_uid == "2.25.2"
    assert spool.backlog()[1] == 1  # the event


def test_sweep_forgets_what_is_old_and_done(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool(keep_files="always", keep_rows_days=30)
    for number in (1, 2, 3):
        arrive(spool, number)
    done, fresh = end(spool), end(spool)
    old = [("2.25.1",), ("2.25.3",)]
    spool.db.connection().executemany(
        "UPDATE instances SET received_at = received_at - 31 * 86400 WHERE sop_instance_uid = ?", old
    )
    assert spool.sweep() == 1
    assert not spool.knows("2.25.1")  # old and done
    assert spool.knows("2.25.2")  # done, not old
    assert spool.knows("2.25.3")  # old, not done
    assert not done.path.exists()
    assert fresh.path.exists()


def test_another_schema_is_refused(spool: Spool, tmp_path: Path) -> None:
    spool.db.connection().execute("PRAGMA user_version = 99")
    with pytest.raises(SpoolError) as refused:
        Spool(tmp_path / "spool")
    assert refused.value.code == "spool.schema"


def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    (folder / "spool.sqlite").write_bytes(b"SQLite format 3\0" + b"garbage" * 1000)
    with pytest.raises(SpoolError) as refused:
        Spool(folder)
    assert refused.value.code == "spool.corrupt"


@pytest.mark.parametrize("damage", ["garbage", "half a page", "a folder", "newer"])
def test_a_spool_that_does_not_open_leaves_nothing_open(open_spool: Callable[..., Spool], damage: str) -> None:
    """Whoever tries again and again would run out of descriptors."""
    spool = open_spool()
    if damage == "newer":
        spool.db.connection().execute("PRAGMA user_version = 99000")
    spool.close()
    path = spool.db.path
    if damage in ("garbage", "half a page"):
        path.write_bytes((b"SQLite format 3\0" + b"garbage" * 1000)[: 7000 if damage == "garbage" else 300])
    elif damage == "a folder":
        path.unlink()
        path.mkdir()
    before, errors = len(os.listdir("/proc/self/fd")), []
    for _ in range(5):
        with pytest.raises(SpoolError) as refused:
            open_spool()
        errors.append(refused)  # which holds the frames, and what stands in them
    assert len(os.listdir("/proc/self/fd")) == before


def test_images_are_for_the_service_alone(spool: Spool) -> None:
    assert spool.folder.stat().st_mode & 0o077 == 0


# --- death in the middle ------------------------------------------------------------------------

_DIE = """
import os, signal, sys
from pathlib import Path
from edgeai.spool import Spool
from edgeai.testing.examples import instance_ref
spool = Spool(Path(sys.argv[1]))
where = sys.argv[2]
db = spool.db.connection()
db.create_function("die", 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
db.execute("CREATE TEMP TRIGGER t AFTER " + where + " BEGIN SELECT die(); END")
if where.startswith("INSERT ON jobs"):
    received = spool.tmp / "x"
    received.write_bytes(b"DICOM")
    spool.admit(instance_ref(), received, content=lambda: "sha256:0", deployments=["guard"], source="test")
else:
    import edgeai.api as api
    job = spool.claim("guard", "child")
    result = api.Result(result_id="r", deployment="guard", outcome="failed",
        model=api.ModelRef(name="m", version="1", digest="d"),
        instance=api.InstanceIds(sop_class_uid="", sop_instance_uid="", series_instance_uid="", study_instance_uid=""),
        created_at="", edgeai_version="", reason=api.Failure(code="a.b", message=""))
    spool.finish(job, result, b"{}")
sys.exit("it should be dead")
"""


def die(spool: Spool, where: str) -> None:
    done = subprocess.run([sys.executable, "-c", _DIE, str(spool.folder), where], check=False)
    assert done.returncode == -9


@pytest.mark.slow
def test_killed_within_admit_nothing_was_taken(spool: Spool) -> None:
    die(spool, "INSERT ON jobs")
    assert not spool.knows("2.25.1001")
    assert len(list(spool.instances.iterdir())) == 1
    spool.recover()
    assert not list(spool.instances.iterdir())
    assert arrive(spool, 1001) == "received"


@pytest.mark.slow
def test_killed_within_finish_the_job_is_done_again_and_told_once(spool: Spool) -> None:
    arrive(spool)
    die(spool, "INSERT ON messages")
    assert spool.backlog() == (1, 0)
    assert spool.claim("guard", "me") is None
    assert spool.release() == 1
    job = end(spool)
    assert spool.backlog() == (0, 1)
    assert not job.path.exists()


def test_every_commit_that_returned_is_on_disk(spool: Spool) -> None:
    arrive(spool)
    with closing(sqlite3.connect(spool.folder / "spool.sqlite")) as db:
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert spool.db.connection().execute("PRAGMA synchronous").fetchone()[0] == 2
        assert db.execute("SELECT COUNT(*) FROM jobs").fetchone()[0] == 1


def test_a_result_id_is_queued_once(spool: Spool) -> None:
    arrive(spool, 1)
    arrive(spool, 2)
    for _ in range(2):
        job = take(spool)
        spool.finish(job, result_of(job, result_id="same"), b"{}")
    assert spool.backlog() == (0, 1)


def test_a_writer_that_stands_still_holds_others_up_only_so_long(
    spool: Spool, open_spool: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeai.spool.database.BUSY_TIMEOUT_S", 0.2)
    other = open_spool()
    with other.db.write(), pytest.raises(SpoolError) as refused:
        spool.event("test.happened", "so it is")
    assert refused.value.code == "spool.busy"
    spool.event("test.happened", "now it is")


def test_what_nothing_was_done_with_goes_back_without_a_mark(spool: Spool) -> None:
    arrive(spool)
    arrive(spool, 2)
    first = take(spool)
    assert first.goes_along
    spool.unclaim(first)
    again = take(spool, "another")
    assert (again.id, again.deaths, again.interruptions, again.goes_along) == (first.id, 0, 0, True)
    spool.unclaim(first)  # not its claim any more
    assert take(spool).id != first.id
    spool.release(owner="another")
    interrupted = take(spool)
    assert interrupted.id == first.id
    assert (interrupted.interruptions, interrupted.goes_along) == (1, False)
    spool.blame(interrupted.id, "crashed", "it died", max_attempts=3)
    assert not take(spool).goes_along
    assert spool.finish(again, result_of(again), b"{}") is False
