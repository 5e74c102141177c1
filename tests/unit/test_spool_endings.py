"""Known is not done: what an arrival means by its content and by how its jobs ended; holding; doing again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest

from edgeai.api import BundleRejected, Outcome, SpoolFull
from edgeai.spool import Selection, Spool
from edgeai.testing.examples import instance_ref
from edgeai.testing.spools import arrive, end

_LEDGER = ("jobs_acknowledged", "jobs_finished")
UNTRUSTED = BundleRejected("nobody known signed it", code="bundle.untrusted", remedy="add the key")


@pytest.fixture
def spool(open_spool: Callable[..., Spool]) -> Spool:
    return open_spool("a")


def ledger(spool: Spool) -> tuple[int, int, int]:
    """Acknowledged, unfinished, finished."""
    counted = [sum(item.value for item in spool.counters() if item.name == name) for name in _LEDGER]
    return counted[0], sum(spool.queue_lengths().values()), counted[1]


def kinds(spool: Spool) -> list[str]:
    return [json.loads(message.body)["kind"] for message in spool.pending(100, sink="a", lane="event")]


# --- what an arrival means ----------------------------------------------------------------------


def test_a_resend_of_what_completed_makes_nothing_new(spool: Spool) -> None:
    assert arrive(spool) == "received"
    end(spool)
    assert arrive(spool) == "known"
    assert spool.claim("guard", "me") is None
    assert not list(spool.instances.iterdir())
    assert not list(spool.tmp.iterdir())
    assert ledger(spool) == (1, 0, 1)


@pytest.mark.parametrize("code", ["pixels.short", "job.crashed", "plugin.fault", "spool.file-missing", "acme.strange"])
def test_a_resend_after_failed_is_done_again_whatever_failed(spool: Spool, code: str) -> None:
    arrive(spool)
    first = end(spool, Outcome.FAILED, code)
    assert arrive(spool) == "redone"
    again = end(spool)
    assert (first.attempt, again.attempt) == (1, 2)
    assert again.deaths == 0
    assert [(message.key, message.attempt) for message in spool.pending(9, sink="a")] == [
        ("2.25.1/" + first.content + "/guard", 1),
        ("2.25.1/" + first.content + "/guard", 2),
    ]
    assert arrive(spool) == "known"
    assert ledger(spool) == (1, 0, 1)


def test_a_resend_brings_back_the_file_that_was_gone(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool(keep_files="never")
    arrive(spool)
    assert not end(spool, Outcome.FAILED).path.exists()
    arrive(spool)
    job = spool.claim("guard", "me")
    assert job is not None
    assert job.path.read_bytes() == b"x" * 100


def test_a_resend_while_the_first_copy_waits_makes_nothing_new(spool: Spool) -> None:
    arrive(spool)
    assert arrive(spool) == "known"
    end(spool, Outcome.FAILED)
    assert spool.claim("guard", "me") is None


def test_other_content_under_a_known_uid_is_an_image_of_its_own(spool: Spool) -> None:
    arrive(spool, content="garbage")
    end(spool, Outcome.FAILED)
    assert arrive(spool, content="image") == "differs"
    assert kinds(spool) == ["instance.differs"]
    assert end(spool).attempt == 1
    assert arrive(spool, content="image") == "known"
    assert arrive(spool, content="garbage") == "redone"
    assert len({message.key for message in spool.pending(9, sink="a", lane="result")}) == 2


def test_what_no_deployment_wanted_is_done_when_one_does(spool: Spool) -> None:
    assert arrive(spool, deployments=()) == "received"
    assert arrive(spool, deployments=()) == "known"
    assert arrive(spool, deployments=("guard",)) == "redone"
    assert end(spool).path.name != "None"
    assert arrive(spool, deployments=("guard", "new")) == "redone"
    assert spool.claim("guard", "me") is None
    end(spool, deployment="new")
    assert ledger(spool) == (2, 0, 2)


def test_not_eligible_by_the_model_is_done_again_when_the_rule_says_otherwise_now(spool: Spool) -> None:
    arrive(spool)
    end(spool, Outcome.NOT_APPLICABLE, "input.not-eligible")
    assert arrive(spool) == "redone"
    end(spool, Outcome.NOT_APPLICABLE, "guard.distance")
    assert arrive(spool) == "known"  # withheld by the model's own guard: an end


def test_eight_senders_of_a_failed_image_make_one_further_attempt(spool: Spool) -> None:
    arrive(spool)
    end(spool, Outcome.FAILED)
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
    assert sorted(answers) == ["known"] * 7 + ["redone"]
    assert end(spool).attempt == 2
    assert spool.claim("guard", "me") is None


def test_a_digest_that_cannot_be_had_keeps_nothing(spool: Spool) -> None:
    received = spool.tmp / "one"
    received.write_bytes(b"x")

    def broken() -> str:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk"):
        spool.admit(instance_ref(), received, content=broken, deployments=["guard"], source="test")
    assert not list(spool.instances.iterdir())
    assert not list(spool.tmp.iterdir())
    assert spool.claim("guard", "me") is None


# --- holding ------------------------------------------------------------------------------------


def test_a_held_deployment_says_so_once_and_counts_what_it_holds(spool: Spool) -> None:
    arrive(spool, 1)
    assert spool.hold("guard", UNTRUSTED)
    assert not spool.hold("guard", UNTRUSTED)
    arrive(spool, 2)
    [held] = spool.holds()
    assert (held.code, held.jobs, held.remedy) == ("bundle.untrusted", 2, "add the key")
    assert held.oldest is not None
    assert held.oldest <= time.time()
    assert spool.backlog()[0] == 0  # not of the backlog: others go on
    assert spool.hold("guard", BundleRejected("gone", code="bundle.missing"))
    assert spool.lift("guard")
    assert not spool.lift("guard")
    assert spool.backlog()[0] == 2
    assert kinds(spool) == ["deployment.held", "deployment.held", "deployment.released"]


def test_at_its_bound_only_instances_for_it_are_refused(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool(max_held=2, max_backlog=3)
    spool.hold("guard", UNTRUSTED)
    for number in (1, 2):
        arrive(spool, number)
    for deployments in (("guard",), ("other", "guard")):
        with pytest.raises(SpoolFull) as refused:
            arrive(spool, 3, deployments=deployments)
        assert refused.value.code == "spool.held"
    assert not list(spool.tmp.iterdir())
    assert not spool.knows("2.25.3")
    assert arrive(spool, 2) == "known"
    assert arrive(spool, 4, deployments=("other",)) == "received"
    spool.check_room()
    spool.lift("guard")
    assert arrive(spool, 3) == "received"


def test_the_bound_in_bytes_holds_too(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool(max_held_bytes=150)
    spool.hold("guard", UNTRUSTED)
    arrive(spool, 1)
    arrive(spool, 2)
    with pytest.raises(SpoolFull, match="200 bytes"):
        arrive(spool, 3)


# --- kept files, and doing again ----------------------------------------------------------------


def test_files_of_failed_jobs_are_kept_within_a_bound_and_the_oldest_go(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool(max_failed_bytes=250)
    for number in (1, 2, 3, 4):
        arrive(spool, number)
        end(spool, Outcome.FAILED if number != 3 else Outcome.COMPLETED)
    assert len(list(spool.instances.iterdir())) == 2
    [group] = spool.failed(Selection())
    assert (group.jobs, group.without_file, len(group.numbers)) == (3, 1, 2)


def test_kept_files_give_way_before_an_image_is_refused(
    open_spool: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = open_spool()
    arrive(spool, 1)
    end(spool, Outcome.FAILED)
    usage = type("Usage", (), {"free": 950})
    monkeypatch.setattr("edgeai.spool.intake.shutil.disk_usage", lambda _: usage)
    spool.check_room()
    assert not list(spool.instances.iterdir())
    with pytest.raises(SpoolFull):
        spool.check_room()


def test_failed_jobs_are_done_again_by_code_deployment_instance_and_time(spool: Spool) -> None:
    for number, code in ((1, "plugin.fault"), (2, "pixels.short"), (3, "plugin.fault")):
        arrive(spool, number, deployments=("guard", "other"))
        end(spool, Outcome.FAILED, code)
        end(spool, deployment="other")

    def numbers(**asked: object) -> int:
        return sum(group.jobs for group in spool.failed(Selection(**asked)))  # type: ignore[arg-type]

    assert numbers() == 3
    assert numbers(codes=("plugin.fault",)) == 2
    assert numbers(codes=("plugin.fault",), instances=("2.25.3", "2.25.2")) == 1
    assert numbers(deployments=("other",)) == 0
    assert numbers(since=time.time() + 60) == 0
    assert numbers(since=time.time() - 60) == 3
    [chosen] = spool.failed(Selection(codes=("plugin.fault",)))
    assert spool.do_again(chosen.numbers) == 2
    assert spool.do_again(chosen.numbers) == 0  # not failed any more
    assert spool.unfinished_of(chosen.numbers) == 2
    assert ledger(spool) == (6, 2, 4)
    assert [end(spool).attempt for _ in range(2)] == [2, 2]
    assert spool.claim("guard", "me") is None
    assert spool.unfinished_of(chosen.numbers) == 0
    assert kinds(spool) == ["jobs.rerun"]
    assert ledger(spool) == (6, 0, 6)


def test_give_back_is_for_a_while_and_not_for_ever(spool: Spool) -> None:
    arrive(spool)
    given_back = 0
    while spool.give_back(job := spool.claim("guard", "me"), max_attempts=3):  # type: ignore[arg-type]
        given_back += 1
    assert given_back == 2
    assert job is not None
    assert job.deaths == 2


def test_a_redone_job_keeps_its_result_id_whatever_the_model_is_by_then(spool: Spool) -> None:
    arrive(spool)
    first = end(spool, Outcome.FAILED)
    assert first.result_id == ""
    arrive(spool)
    again = spool.claim("guard", "me")
    assert again is not None
    assert again.result_id == f"{first.instance.sop_instance_uid}/{first.content}/guard"
