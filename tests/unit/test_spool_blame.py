"""Whose deaths quarantine a plugin: more than one image's."""

from __future__ import annotations

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
    found = []
    for _ in range(3):
        image = job(spool, tmp_path)
        found.append(die(spool, image))
        end(spool, image, "completed")
    assert found == [False, False, True]


def test_one_death_is_enough_where_the_profile_says_so(spool: Spool, tmp_path: Path) -> None:
    assert die(spool, job(spool, tmp_path), quarantine_after=1)
