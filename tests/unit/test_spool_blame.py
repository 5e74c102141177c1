"""Whose deaths and failures quarantine a plugin: more than one image's."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeai.spool import Spool
from edgeai.testing.phantoms import write_instance

FAULT = {"plugin": "acme", "version": "1.0", "deployment": "guard", "step": "run", "cause": "signal-SIGABRT"}


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool")
    yield made
    made.close()


def job(spool: Spool, tmp_path: Path) -> int:
    phantom = write_instance(tmp_path / "one.dcm")
    received = Path(shutil.copy(phantom.path, spool.tmp / "one.dcm"))
    content = phantom.instance.sop_instance_uid
    assert spool.admit(phantom.instance, received, content=lambda: content, deployments=["guard"], source="test").jobs
    claimed = spool.claim("guard", "me")
    assert claimed is not None
    return claimed.id


def die(spool: Spool, job_id: int, quarantine_after: int = 3, **changes: Any) -> bool:
    spool.blame(job_id, "crashed", "died", max_attempts=3)
    guilty = spool.fault(**{**FAULT, **changes}, quarantine_after=quarantine_after, job_id=job_id)
    spool.db.connection().execute("UPDATE jobs SET state = 'claimed' WHERE state = 'waiting'")
    return guilty


def end(spool: Spool, job_id: int, outcome: str) -> None:
    spool.db.connection().execute(
        "UPDATE jobs SET state = 'done', outcome = ?, finished_at = ? WHERE id = ?", (outcome, time.time(), job_id)
    )


def test_the_deaths_of_one_image_quarantine_nobody(spool: Spool, tmp_path: Path) -> None:
    poison = job(spool, tmp_path)
    assert [die(spool, poison) for _ in range(5)] == [False] * 5
    assert spool.faults(**{key: FAULT[key] for key in ("plugin", "version", "deployment", "step")}) == 5


def test_a_second_image_in_a_row_does(spool: Spool, tmp_path: Path) -> None:
    first = job(spool, tmp_path)
    assert [die(spool, first) for _ in range(3)] == [False] * 3
    end(spool, first, "failed")
    assert die(spool, job(spool, tmp_path))


def test_a_completed_image_in_between_clears_the_engine(spool: Spool, tmp_path: Path) -> None:
    for _ in range(4):
        poison = job(spool, tmp_path)
        assert [die(spool, poison) for _ in range(3)] == [False] * 3
        end(spool, poison, "failed")
        end(spool, job(spool, tmp_path), "completed")


def test_images_that_run_through_at_the_second_try_convict_the_engine(spool: Spool, tmp_path: Path) -> None:
    collected = []
    for _ in range(3):
        image = job(spool, tmp_path)
        collected.append(die(spool, image))
        end(spool, image, "completed")
    assert collected == [False, False, True]


def test_one_death_is_enough_where_the_profile_says_so(spool: Spool, tmp_path: Path) -> None:
    assert die(spool, job(spool, tmp_path), quarantine_after=1)


# --- an engine that lives and fails -----------------------------------------------------------------


def strike(spool: Spool, job_id: int, quarantine_after: int = 3, **changes: Any) -> bool:
    """As infer does: the job is done, and then the engine is judged."""
    end(spool, job_id, "failed")
    facts = {**FAULT, "cause": "backend.inference-failed", **changes}
    return spool.fault(**facts, quarantine_after=quarantine_after, job_id=job_id, tell_every_s=10.0)


def events(spool: Spool, kind: str) -> list[dict[str, Any]]:
    rows = spool.db.connection().execute("SELECT body FROM messages WHERE lane = 'event' ORDER BY sequence")
    return [body for (text,) in rows if (body := json.loads(text))["kind"] == kind]


def test_three_images_in_a_row_that_fail_in_the_engine_convict_it(spool: Spool, tmp_path: Path) -> None:
    assert [strike(spool, job(spool, tmp_path)) for _ in range(4)] == [False, False, True, False]
    [held] = spool.quarantined("guard")
    assert (held.plugin, held.step, held.cause, held.trials) == ("acme", "run", "backend.inference-failed", 0)


def test_a_completed_image_starts_the_count_anew(spool: Spool, tmp_path: Path) -> None:
    collected = []
    for _ in range(4):
        collected += [strike(spool, job(spool, tmp_path)) for _ in range(2)]
        end(spool, job(spool, tmp_path), "completed")
    assert collected == [False] * 8
    assert [strike(spool, job(spool, tmp_path)) for _ in range(3)] == [False, False, True]


def test_an_image_that_is_not_applicable_starts_nothing_anew(spool: Spool, tmp_path: Path) -> None:
    collected = []
    for _ in range(3):
        collected.append(strike(spool, job(spool, tmp_path)))
        end(spool, job(spool, tmp_path), "not-applicable")
    assert collected == [False, False, True]


def test_strikes_outlive_the_process(tmp_path: Path) -> None:
    collected = []
    for _ in range(3):
        spool = Spool(tmp_path / "spool")
        collected.append(strike(spool, job(spool, tmp_path)))
        spool.close()
    assert collected == [False, False, True]


def test_deaths_and_failures_are_counted_together(spool: Spool, tmp_path: Path) -> None:
    assert not strike(spool, job(spool, tmp_path))
    died = job(spool, tmp_path)
    assert not die(spool, died)
    assert die(spool, died), "three in a row, of two images"


def test_one_image_that_is_sent_again_and_again_convicts_nobody(spool: Spool, tmp_path: Path) -> None:
    again = job(spool, tmp_path)
    for _ in range(6):
        assert not strike(spool, again)
        assert spool.do_again([again]) == 1
        claimed = spool.claim("guard", "me")
        assert claimed is not None
    assert spool.quarantined() == []


def test_old_failures_that_are_done_again_do_not_speak_against_the_engine(spool: Spool, tmp_path: Path) -> None:
    failed = []
    for _ in range(5):
        failed.append(job(spool, tmp_path))
        assert not strike(spool, failed[-1])
        end(spool, job(spool, tmp_path), "completed")
    assert spool.do_again(failed) == 5
    claimed = spool.claim("guard", "me")
    assert claimed is not None
    assert not strike(spool, claimed.id)


def test_failures_that_went_by_themselves_when_done_again_do(spool: Spool, tmp_path: Path) -> None:
    collected = []
    for _ in range(3):
        image = job(spool, tmp_path)
        collected.append(strike(spool, image))
        end(spool, image, "completed")  # as its next attempt
    assert collected == [False] * 3
    assert strike(spool, job(spool, tmp_path))


def test_the_same_failure_is_told_now_and_then_and_counted_always(spool: Spool, tmp_path: Path) -> None:
    for _ in range(6):
        strike(spool, job(spool, tmp_path), quarantine_after=100)
    strike(spool, job(spool, tmp_path), quarantine_after=100, cause="tensor.mismatch")
    assert [event["facts"]["cause"] for event in events(spool, "plugin.fault")] == [
        "backend.inference-failed",
        "tensor.mismatch",
    ]
    assert sum(item.value for item in spool.counters() if item.name == "faults") == 7


def test_a_clock_that_was_set_back_acquits_nobody(spool: Spool, tmp_path: Path) -> None:
    done = job(spool, tmp_path)
    end(spool, done, "completed")
    spool.db.connection().execute("UPDATE jobs SET finished_at = finished_at + 86400 WHERE id = ?", (done,))
    assert [strike(spool, job(spool, tmp_path)) for _ in range(3)] == [False, False, True]
