"""Notes and bells: what survives, what is refused, what is believed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeai.api import SpoolError
from edgeai.spool import Spool, is_held, read_note
from edgeai.spool.bells import Bells


@pytest.fixture
def spool(open_spool: Callable[..., Spool]) -> Spool:
    return open_spool()


def test_a_note_says_what_is_under_way_and_by_whom(spool: Spool) -> None:
    station = spool.station("infer:guard")
    station.beat("ready", backend="acme", degraded=False)
    with station.step("job", job_id=7, deadline_s=30.0), station.step("run", plugin="acme", version="1.0"):
        note = spool.notes()["infer:guard"]
        assert [(step.step, step.job_id, step.plugin) for step in note.steps] == [("job", 7, ""), ("run", None, "acme")]
        assert note.steps[1].thread == threading.get_ident()
        assert [step.deadline_s for step in note.steps] == [30.0, 0.0]
        assert note.steps[0].since <= note.steps[1].since <= time.monotonic()
    note = spool.notes()["infer:guard"]
    assert (note.pid, note.state, note.steps) == (os.getpid(), "ready", ())
    assert note.detail == {"backend": "acme", "degraded": False}


def test_a_step_ends_with_its_error(spool: Spool) -> None:
    station = spool.station("a")
    with pytest.raises(ZeroDivisionError), station.step("run"):
        raise ZeroDivisionError
    assert spool.notes()["a"].steps == ()


@pytest.mark.slow
def test_one_process_a_role(spool: Spool) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom edgeai.spool import Spool\n"
        "s = Spool(Path(sys.argv[1])).station('publish')\n"
        "with s.step('run', plugin='acme', version='1'):\n    print('there', flush=True)\n    time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(spool.folder)], stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == b"there\n"
    try:
        with pytest.raises(SpoolError) as refused:
            spool.station("publish")
        assert refused.value.code == "spool.locked"
        assert is_held(spool.roles / "publish.note")
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
        other.stdout.close()
    assert not is_held(spool.roles / "publish.note")
    note = spool.notes()["publish"]  # what it did when it was killed is still there
    assert note.pid == other.pid
    assert [step.plugin for step in note.steps] == ["acme"]
    spool.station("publish")


def test_a_note_that_cannot_be_trusted_is_none(tmp_path: Path, spool: Spool) -> None:
    assert read_note(tmp_path / "absent") is None
    spool.beat("a", "ready")
    path = spool.roles / "a.note"
    whole = path.read_bytes()
    for damaged in (b"", b"x", whole[:30], whole.replace(b"ready", b"heady"), b"zz" + whole[2:], b"\0" * 100):
        path.write_bytes(damaged)
        assert read_note(path) is None
    path.write_bytes(whole + b"the rest of an older, longer note")
    assert read_note(path) is not None


def test_a_detail_that_is_too_long_goes_and_the_steps_stay(spool: Spool) -> None:
    station = spool.station("a")
    station.beat("ready", trouble="x" * 20_000)
    with station.step("run"):
        note = spool.notes()["a"]
        assert (note.detail, len(note.steps)) == ({}, 1)


def test_a_bell_wakes_who_waits_and_is_not_lost_before(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)  # longer than a socket's address may be
    deep.mkdir(parents=True)
    here, there = Bells(deep), Bells(deep)
    assert not here.wait("infer:guard", 0.0)
    there.ring("infer:guard")
    there.ring("infer:guard")
    assert here.wait("infer:guard", 10.0)
    assert not here.wait("infer:guard", 0.0)
    there.ring("nobody")
    here.close()
    there.ring("infer:guard")
    again = Bells(deep)  # the next life finds the old socket's file
    assert not again.wait("infer:guard", 0.0)
    there.ring("infer:guard")
    assert again.wait("infer:guard", 10.0)
    again.close()
    there.close()
    there.close()


def test_ringing_without_end_blocks_nobody(tmp_path: Path) -> None:
    bells = Bells(tmp_path)
    bells.wait("a", 0.0)
    for _ in range(5000):
        bells.ring("a")
    assert bells.wait("a", 0.0)
    assert not bells.wait("a", 0.0)
    bells.close()
