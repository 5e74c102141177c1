"""Who has the same image to do, and how long what they share of it stays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeai.api import BundleRejected, Failure, InstanceIds, ModelRef, Outcome, Result
from edgeai.config import Spool as Limits
from edgeai.spool import Job, Spool
from edgeai.spool.planes import Planes, Turn
from edgeai.testing.examples import instance_ref

THREE = ("one", "two", "three")


@pytest.fixture(params=["never", "failed", "always"])
def spool(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Spool]:
    opened = Spool(tmp_path / "spool", Limits(reserve_bytes=1000, keep_files=request.param))
    yield opened
    opened.close()


def arrive(spool: Spool, number: int = 1, deployments: Sequence[str] = THREE) -> None:
    received = spool.tmp / f"{number}"
    received.write_bytes(b"DICOM" * 100)
    instance = instance_ref(sop_instance_uid=f"2.25.{number}")
    spool.admit(instance, received, content=lambda: f"sha256:{number:064x}", deployments=deployments, source="test")


def take(spool: Spool, deployment: str) -> Job:
    job = spool.claim(deployment, f"owner of {deployment}")
    assert job is not None
    return job


def finish(spool: Spool, job: Job) -> None:
    result = Result(
        result_id=f"{job.instance.sop_instance_uid}/{job.deployment}",
        deployment=job.deployment,
        outcome=Outcome.FAILED,
        model=ModelRef(name="m", version="1", digest="sha256:0"),
        instance=InstanceIds(sop_class_uid="", sop_instance_uid="", series_instance_uid="", study_instance_uid=""),
        created_at="",
        edgeai_version="",
        reason=Failure(code="pixels.short", message="no"),
    )
    assert spool.finish(job, result, b"{}")


def leave(spool: Spool, job: Job) -> Path:
    planes = Planes(spool.planes, max_bytes=1_000_000, sharers=3)
    turn = planes.place(job.path.name, 0.0).take("plane")
    assert isinstance(turn, Turn)
    assert turn.leave(b"{}", memoryview(b"pixels"))
    return spool.planes / job.path.name


def test_sharers_are_those_that_have_it_to_do_yet(spool: Spool) -> None:
    arrive(spool)
    arrive(spool, 2, ["one", "four"])
    first, second = take(spool, "one"), take(spool, "two")
    assert spool.sharers(first) == {"two", "three"}, "claimed or waiting"
    finish(spool, second)
    assert spool.sharers(first) == {"three"}
    spool.hold("three", BundleRejected("nobody known signed it", code="bundle.untrusted"))
    assert spool.sharers(first) == frozenset(), "nobody knows when it comes to it"
    spool.lift("three")
    assert spool.sharers(first) == {"three"}
    finish(spool, take(spool, "three"))
    assert spool.sharers(first) == frozenset()
    finish(spool, first)
    assert spool.sharers(take(spool, "one")) == {"four"}


def test_planes_go_with_the_last_job_whether_the_file_stays_or_not(spool: Spool) -> None:
    arrive(spool)
    arrive(spool, 2, ["one", "two"])
    jobs = [take(spool, name) for name in THREE]
    folder = leave(spool, jobs[0])
    other = leave(spool, SimpleNamespace(path=spool.instances / "another.dcm"))  # type: ignore[arg-type]
    for job in jobs[:2]:
        finish(spool, job)
        assert spool.is_needed(job.path.name)
        assert [path.name for path in folder.iterdir()] == ["plane"]
    finish(spool, jobs[2])
    assert not spool.is_needed(jobs[2].path.name)
    assert not folder.exists()
    assert other.exists()
    assert jobs[0].path.exists() == (spool.limits.keep_files != "never")


def test_a_job_done_again_does_not_find_them(spool: Spool) -> None:
    arrive(spool, deployments=["one"])
    job = take(spool, "one")
    folder = leave(spool, job)
    finish(spool, job)
    if spool.limits.keep_files == "never":
        assert spool.do_again([job.id]) == 0
        return
    assert spool.do_again([job.id]) == 1
    again = take(spool, "one")
    assert not folder.exists()
    assert leave(spool, again) == folder
    finish(spool, again)
    assert not folder.exists()


def test_a_start_finds_nothing_of_a_former_life(spool: Spool) -> None:
    arrive(spool)
    job = take(spool, "one")
    folder = leave(spool, job)
    (folder / "another.part").write_bytes(b"half")
    Planes(spool.planes, max_bytes=1_000_000, sharers=3).tell("one", b"recipe")
    spool.recover()
    assert not spool.planes.exists()
    assert job.path.exists()


def test_a_role_that_starts_removes_what_no_job_needs(spool: Spool) -> None:
    arrive(spool)
    arrive(spool, 2, ["one"])
    needed, done = take(spool, "one"), take(spool, "one")
    kept = leave(spool, needed)
    finish(spool, done)
    gone = leave(spool, done)  # its last role was killed between the end of the job and this
    Planes(spool.planes, max_bytes=1_000_000, sharers=3).tidy(spool.is_needed)
    assert kept.exists()
    assert not gone.exists()
