"""A spool that edgeai 0.1.0 left behind: opened, carried on with, and taken back; what is newer or broken."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from edgeai.api import ConfigError, Outcome, Result, SpoolError, SpoolFull
from edgeai.cli.main import run
from edgeai.spool import Job, Selection, Spool, Station, is_legacy
from edgeai.spool.database import translated
from edgeai.spool.schema import MAJOR, MINOR, SCHEMA_VERSION
from edgeai.testing.require import require
from edgeai.testing.spools import arrive as arrive_anew
from edgeai.testing.spools import result_of

ARCHIVE = Path(__file__).parents[1] / "golden" / "spools" / "0.1.0.tar.xz"
COMPLETED, SHORT, WAITING = "2.25.99000902", "2.25.99000901", "2.25.99000503"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "spool"


def failed(job: Job) -> Result:
    return result_of(job, Outcome.FAILED, result_id=f"{job.instance.sop_instance_uid}/{job.deployment}", timings_ms={})


def ask(folder: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "spool.sqlite")) as db:
        return db.execute(sql).fetchall()


def arrive(spool: Spool, uid: str, content: str, body: bytes = b"DICOM") -> str:
    received = spool.tmp / "one"
    received.write_bytes(body)
    job = spool.claim("probe", "reader")
    assert job is not None
    spool.release(owner="reader")
    instance = type(job.instance)(sop_class_uid="1.2", sop_instance_uid=uid)
    return spool.admit(instance, received, content=lambda: content, deployments=["probe"], source="test").kind


def test_every_row_is_there_after_the_migration(folder: Path) -> None:
    spool = Spool(folder)
    assert ask(folder, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    assert ask(folder, "PRAGMA integrity_check") == [("ok",)]
    assert ask(folder, "PRAGMA foreign_key_check") == []
    assert spool.backlog() == (4, 9)
    assert spool.queue_lengths() == {"probe": 4}
    assert [message.sequence for message in spool.pending(100, sink="mqtt")] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert [message.sequence for message in spool.pending(100, sink="jsonl")] == [5, 6, 7, 8, 9]
    assert [message.sequence for message in spool.pending(100, sink="mqtt", lane="result")] == [2, 3, 4]
    [held] = spool.quarantined()
    assert (held.plugin, held.step) == ("openvino", "open")
    assert [item.code for item in spool.recent(10)] == ["pixels.dimensions", "pixels.short", ""]
    spool.close()


LOOKS = {
    "status": ("status", "{profile}"),
    "status, pardon": ("status", "{profile}", "--pardon", "openvino"),
    "selftest": ("selftest", "{profile}"),
    "messages list": ("messages", "list", "{profile}"),
    "messages retry": ("messages", "retry", "{profile}", "--all"),
    "rerun": ("rerun", "{profile}"),
    "doctor": ("doctor", "{profile}"),
    "support": ("support", "{profile}", "--no-doctor", "--out", "{out}"),
}


@pytest.mark.slow
@pytest.mark.parametrize("words", LOOKS.values(), ids=LOOKS)
def test_no_command_but_run_brings_the_spool_forward(folder: Path, words: tuple[str, ...]) -> None:
    """The older version may still be at work there, and could not open it any more."""
    profile = folder.parent / "cart.toml"
    (folder.parent / "a.edgeai").touch()
    profile.write_text(
        '[device]\nid = "cart-1"\nsite = "trial"\ndata_dir = "."\n'
        '[[deployments]]\nname = "probe"\nbundle = "a.edgeai"\n'
    )
    before = (folder / "spool.sqlite").read_bytes()
    status = run([word.format(profile=profile, out=folder.parent / "support.zip") for word in words])
    assert (folder / "spool.sqlite").read_bytes() == before
    assert is_legacy(folder / "spool.sqlite")
    assert status == (0 if words[0] == "support" else 1)


def test_who_only_looks_changes_nothing(folder: Path) -> None:
    before = (folder / "spool.sqlite").read_bytes()
    assert is_legacy(folder / "spool.sqlite")
    assert (folder / "spool.sqlite").read_bytes() == before
    Spool(folder).close()
    assert not is_legacy(folder / "spool.sqlite")
    assert not is_legacy(folder / "nothing")


def test_waiting_jobs_run_to_their_ends_and_the_ledger_adds_up(folder: Path) -> None:
    spool = Spool(folder)
    spool.recover()
    ended = 0
    while job := spool.claim("probe", "me"):
        assert job.path.is_file()
        assert (job.attempt, job.identity) == (1, "")  # its result id is the one that 0.1 would have given
        assert spool.finish(job, failed(job), b"{}")
        ended += 1
    assert ended == 4
    counters = {item.name: item.value for item in spool.counters() if item.name.startswith("jobs_")}
    assert counters == {"jobs_acknowledged": 7, "jobs_finished": 7}
    spool.close()


def test_what_completed_is_known_whatever_its_content_and_what_failed_is_done_again(folder: Path) -> None:
    spool = Spool(folder)
    assert arrive(spool, COMPLETED, "sha256:a") == "known"
    assert arrive(spool, WAITING, "sha256:a") == "known"
    assert arrive(spool, SHORT, "sha256:a", b"whole now") == "redone"
    again = next(
        job for _ in range(9) if (job := spool.claim("probe", "me")) and job.instance.sop_instance_uid == SHORT
    )
    assert again.attempt == 2
    assert again.path.read_bytes() == b"whole now"  # not the file that was kept: nobody knows what that one holds
    assert again.identity == ""
    assert again.content == "sha256:a"
    spool.close()


def test_numbers_of_messages_go_on_rising(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "spool.sqlite")) as db:
        db.executescript("DELETE FROM messages; UPDATE sqlite_sequence SET seq = 500 WHERE name = 'messages'")
    spool = Spool(folder)
    spool.event("test.event", "one")
    assert [message.sequence for message in spool.pending(9, sink="mqtt")] == [501]
    spool.close()


def test_an_older_edgeai_that_still_runs_is_not_robbed_of_its_tables(folder: Path) -> None:
    (folder / "roles").mkdir(exist_ok=True)
    held = Station(folder / "roles", "infer:probe")
    with pytest.raises(SpoolError) as refused:
        Spool(folder)
    assert refused.value.code == "spool.in-use"
    assert ask(folder, "PRAGMA user_version") == [(1,)]
    held.close()
    Spool(folder).close()


def test_a_migration_that_dies_half_way_has_changed_nothing(folder: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from edgeai.spool import Spool, migration\n"
        "migration._measure_files = lambda *_: os.kill(os.getpid(), 9)\n"
        f"Spool(Path({str(folder)!r}))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert ask(folder, "PRAGMA user_version") == [(1,)]
    assert ask(folder, "SELECT COUNT(*) FROM jobs WHERE attempts = 0") == [(7,)]
    spool = Spool(folder)
    assert spool.backlog() == (4, 9)
    spool.close()


def test_a_spool_that_was_taken_back_is_what_0_1_wrote_with_what_happened_since(folder: Path) -> None:
    before = {table: ask(folder, f"SELECT * FROM {table} ORDER BY 1, 2") for table in ("instances", "messages", "acks")}
    marks = ask(folder, "SELECT name, done_to FROM sinks")
    layout = ask(folder, "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name")
    spool = Spool(folder)
    spool.db.take_back()
    spool.close()
    assert {table: ask(folder, f"SELECT * FROM {table} ORDER BY 1, 2") for table in before} == before
    assert ask(folder, "SELECT name, done_to FROM sinks") == marks
    assert ask(folder, "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name") == layout
    assert ask(folder, "PRAGMA user_version") == [(1,)]
    Spool(folder).close()  # and forward again


def test_what_0_1_cannot_hold_keeps_the_spool_from_going_back(folder: Path) -> None:
    spool = Spool(folder)
    spool.hold("probe", ConfigError("no key", code="bundle.untrusted"))
    with pytest.raises(SpoolError, match="4 jobs are held") as refused:
        spool.db.take_back()
    assert refused.value.code == "spool.cannot-downgrade"
    spool.lift("probe")
    spool.close()
    spool = Spool(folder)
    spool.db.take_back()
    spool.close()


def test_what_waits_for_another_deployment_keeps_the_spool_from_going_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    arrive_anew(spool, 1, deployments=("guard", "lung"))
    job = spool.unseen("lung")
    assert job is not None
    spool.await_end(job, ["guard"])
    with pytest.raises(SpoolError, match="1 jobs wait for what another deployment says"):
        spool.db.take_back()
    spool.close()


def test_nor_does_one_go_back_whose_jobs_nobody_looked_at_yet(tmp_path: Path) -> None:
    """Whether they may run nobody knows yet; one that may is no obstacle, nor those of who requires nothing."""
    spool = Spool(tmp_path / "spool")
    arrive_anew(spool, 1, deployments=("guard", "lung"))
    arrive_anew(spool, 2, deployments=("guard", "lung"))
    first = spool.unseen("lung")
    assert first is not None
    spool.clear(first)
    with pytest.raises(SpoolError, match="1 jobs wait for what another deployment says") as refused:
        spool.db.take_back(requiring=["lung"])
    assert refused.value.code == "spool.cannot-downgrade"
    second = spool.unseen("lung")
    assert second is not None
    taken = spool.take(second, "a life that was cut off")
    assert taken is not None
    with pytest.raises(SpoolError, match="1 jobs wait for what another deployment says"):
        spool.db.take_back(requiring=["lung"])
    spool.db.connection().execute("UPDATE jobs SET state = 'waiting', owner = NULL WHERE id = ?", (second.id,))
    spool.clear(second)
    spool.db.take_back(requiring=["lung"])
    spool.close()


def test_the_command_knows_by_the_profile_who_requires_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("guard", "lung"):
        (tmp_path / f"{name}.edgeai").touch()
    profile = tmp_path / "cart.toml"
    text = (
        '[device]\nid = "cart-1"\nsite = "trial"\ndata_dir = "."\n'
        '[[deployments]]\nname = "guard"\nbundle = "guard.edgeai"\n'
        '[[deployments]]\nname = "lung"\nbundle = "lung.edgeai"\n'
    )
    profile.write_text(text + 'requires = { guard = "class:frontal" }\n')
    spool = Spool(tmp_path / "spool")
    arrive_anew(spool, 1, deployments=("guard", "lung"))
    spool.close()
    assert run(["spool", "downgrade", str(profile)]) != 0
    assert "1 jobs wait for what another deployment says" in capsys.readouterr().err
    profile.write_text(text)
    assert run(["spool", "downgrade", str(profile)]) == 0


# --- newer and broken ---------------------------------------------------------------------------


def test_a_spool_of_an_older_minor_gets_what_it_lacks(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    Spool(folder).close()
    with closing(sqlite3.connect(folder / "spool.sqlite")) as db:
        db.executescript(
            "DROP INDEX instances_spent; DROP INDEX jobs_required;"
            "ALTER TABLE jobs DROP COLUMN required; ALTER TABLE jobs DROP COLUMN stated"
        )
        db.execute(f"PRAGMA user_version = {MAJOR * 1000}")
        db.commit()
    Spool(folder).close()
    assert ask(folder, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    made = "SELECT name FROM sqlite_master WHERE name IN ('instances_spent', 'jobs_required') ORDER BY name"
    assert ask(folder, made) == [("instances_spent",), ("jobs_required",)]
    assert ask(folder, "SELECT required, stated FROM jobs") == []


def test_a_newer_minor_opens_and_works_and_keeps_its_number(tmp_path: Path) -> None:
    Spool(tmp_path / "spool").close()
    newer = SCHEMA_VERSION + 7
    with closing(sqlite3.connect(tmp_path / "spool" / "spool.sqlite")) as db:
        db.executescript(
            "ALTER TABLE jobs ADD COLUMN mood TEXT NOT NULL DEFAULT 'fine'; CREATE TABLE later (x);"
            "ALTER TABLE stage_counts ADD COLUMN y INTEGER DEFAULT 1;"
            "ALTER TABLE counters ADD COLUMN z INTEGER DEFAULT 1;"
            "ALTER TABLE quarantine ADD COLUMN w INTEGER DEFAULT 1;"
            "ALTER TABLE faults ADD COLUMN v INTEGER DEFAULT 1;"
            f"PRAGMA user_version = {newer}"
        )
    spool = Spool(tmp_path / "spool")
    spool.enable_sinks(["a"])
    arrive_anew(spool)
    job = spool.claim("guard", "me")
    assert job is not None
    assert spool.finish(job, failed(job), b"{}")
    spool.fault(plugin="p", version="1", deployment="guard", step="run", cause="x", quarantine_after=1)
    assert [item.plugin for item in spool.quarantined()] == ["p"]
    assert spool.histograms() == []
    assert len(spool.pending(9, sink="a", lane="result")) == 1
    assert ask(tmp_path / "spool", "PRAGMA user_version") == [(newer,)]
    spool.close()


def test_a_newer_major_is_refused_with_a_way_back(tmp_path: Path) -> None:
    Spool(tmp_path / "spool").close()
    with closing(sqlite3.connect(tmp_path / "spool" / "spool.sqlite")) as db:
        db.execute(f"PRAGMA user_version = {(MAJOR + 1) * 1000}")
    with pytest.raises(SpoolError, match=f"schema {MAJOR + 1}.0, this edgeai reads {MAJOR}.{MINOR}") as refused:
        Spool(tmp_path / "spool")
    assert refused.value.code == "spool.schema"
    assert "downgrade" in (refused.value.remedy or "")


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "not json",
        "[]",
        "7",
        '{"sop_instance_uid": "2.25.99000503", "rows": {}, "sop_class_uid": []',
        b"\xff\xfe",
        "cast",
    ],
)
def test_a_row_that_cannot_be_read_fails_by_itself(folder: Path, ref: object) -> None:
    spool = Spool(folder)
    value = "CAST(x'ff7bfe' AS TEXT)" if ref == "cast" else "?"
    parameters = (WAITING,) if ref == "cast" else (ref, WAITING)
    spool.db.connection().execute(f"UPDATE instances SET ref = {value} WHERE sop_instance_uid = ?", parameters)
    codes = []
    while job := spool.claim("probe", "me"):
        codes.append(job.code)
        assert job.instance.sop_instance_uid
        assert spool.finish(job, failed(job), json.dumps({}).encode())
    assert codes == ["spool.row-unreadable", "", "", ""]
    assert spool.recent(10)
    assert [group.jobs for group in spool.failed(Selection())]
    spool.close()


def test_a_job_without_its_instance_fails_by_itself(folder: Path) -> None:
    spool = Spool(folder)
    db = spool.db.connection()
    db.execute("PRAGMA foreign_keys = OFF")
    db.execute("DELETE FROM instances WHERE sop_instance_uid = ?", (WAITING,))
    job = spool.claim("probe", "me")
    assert job is not None
    assert job.code == "spool.row-unreadable"
    assert spool.finish(job, failed(job), b"{}")
    assert spool.claim("probe", "me") is not None
    spool.close()


# --- no room ------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """4 MB in memory; needs root."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    require("tmpfs", done.returncode == 0, f"no small disk can be mounted: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def fill(place: Path, left: int) -> Path:
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        while (surplus := shutil.disk_usage(place).free - left) > 0:
            file.write(bytes(min(surplus, 1 << 20)))
    return filler


def many_rows(folder: Path) -> None:
    spool = Spool(folder)
    with spool.db.write() as db:
        db.executemany(
            "INSERT INTO instances (sop_instance_uid, content, identity, ref, bytes, source, received_at)"
            " VALUES (?, 'c', 'c', ?, 0, 's', 1.0)",
            [(f"2.25.{number}", json.dumps({"x": "y" * 200})) for number in range(3000)],
        )
    spool.close()


@pytest.mark.slow
@pytest.mark.parametrize("left", [0, 16 << 10, 36 << 10, 100 << 10, 500 << 10])
def test_a_full_disk_is_called_so_and_it_is_said_how_much_is_needed(small: Path, left: int) -> None:
    """At first SQLite cannot even map its shared memory, and calls that an I/O error."""
    folder, profile = small / "spool", small.parent / "profile.toml"
    profile.write_text(f'[device]\nid = "cart"\nsite = "lab"\ndata_dir = "{small}"\n')
    many_rows(folder)
    filler = fill(small, left)
    command = [sys.executable, "-m", "edgeai", "spool", "downgrade", str(profile)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "300"})
    assert refused.returncode == 1, refused.stdout
    assert "error[spool.full]: the disk is full" in refused.stderr
    assert "smartctl" not in refused.stderr
    needed, free = map(float, re.findall(r"([0-9.]+) MB are", refused.stderr))
    assert free < 0.6 < needed
    assert f"free another {needed - free:.1f} MB" in refused.stderr
    filler.unlink()
    assert ask(folder, "SELECT COUNT(*) FROM instances") == [(3000,)]
    fill(small, int(needed * 1e6))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ask(folder, "PRAGMA user_version") == [(1,)]
    with pytest.raises(SpoolFull, match="the disk is full: about"):  # and forward again
        fill(small, 0) and Spool(folder)


def test_no_inodes_are_no_room_and_no_question_of_permission(small: Path) -> None:
    many_rows(small / "spool")
    subprocess.run(["mount", "-o", "remount,nr_inodes=8", str(small)], check=True)
    with suppress(OSError):
        for number in range(20):
            (small / f"{number}").touch()
    with pytest.raises(SpoolFull):
        Spool(small / "spool")


def test_a_disk_that_fails_and_has_room_is_not_called_full(tmp_path: Path) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    with pytest.raises(SpoolError) as refused, translated("reading", tmp_path):
        raise error
    assert refused.value.code == "spool.io"
    assert "smartctl" in (refused.value.remedy or "")
