"""A write-ahead log that was damaged while nobody had it open: SQLite forgets what is behind, and we do not."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from edgeai.roles.supervise import _fell_behind
from edgeai.spool import Spool
from edgeai.spool.wal import lost_commits, reason_to_doubt

COMMITS = 40


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """The spool's folder as a ``kill -9`` leaves it: every commit is in the log."""
    living = tmp_path / "living"
    with closing(Spool(living)) as spool:
        for number in range(COMMITS):
            (spool.instances / f"{number}.dcm").write_bytes(b"DICOM")
            with spool.db.write() as db:
                db.execute(
                    "INSERT INTO instances (sop_instance_uid, ref, file, source, received_at)"
                    " VALUES (?, '{}', ?, 'x', 1)",
                    (f"1.2.{number}", f"{number}.dcm"),
                )
        folder = tmp_path / "spool"
        shutil.copytree(living, folder, ignore=shutil.ignore_patterns("*-shm", "bells"))
    return folder


def log_of(folder: Path) -> Path:
    return folder / "spool.sqlite-wal"


def rows(folder: Path) -> int:
    try:
        with closing(sqlite3.connect(folder / "spool.sqlite")) as db:
            return int(db.execute("SELECT COUNT(*) FROM instances").fetchone()[0])
    except sqlite3.Error:
        return 0


@pytest.mark.slow
def test_a_log_that_is_whole_or_torn_at_its_end_is_as_it_should_be(crashed: Path) -> None:
    log = log_of(crashed)
    assert lost_commits(log) == 0
    assert reason_to_doubt(crashed) == ""
    os.truncate(log, log.stat().st_size - 1000)
    assert lost_commits(log) == 0
    log.write_bytes(b"")
    assert lost_commits(log) == 0
    log.unlink()
    assert lost_commits(log) == 0


@pytest.mark.parametrize("place", [0, 10, 30, 40, 100, 0.25, 0.5, 0.9])
def test_what_sqlite_forgets_is_counted(crashed: Path, place: float) -> None:
    log = log_of(crashed)
    at = int(place) if place >= 1 or place == 0 else int(log.stat().st_size * place)
    with log.open("r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * 24)
    lost = lost_commits(log)
    assert lost > 0
    assert "damaged" in reason_to_doubt(crashed)
    left = rows(crashed)
    assert left < COMMITS
    assert lost >= COMMITS - left - 1, "the damaged commit itself cannot be told from a torn one"


def test_frames_of_an_older_generation_behind_the_end_are_no_damage(crashed: Path) -> None:
    with closing(sqlite3.connect(crashed / "spool.sqlite", isolation_level=None)) as db:
        size = log_of(crashed).stat().st_size
        db.execute("PRAGMA wal_checkpoint(RESTART)")
        db.execute("UPDATE instances SET source = 'y' WHERE id = 1")
        shutil.copy(log_of(crashed), crashed / "copy-wal")
        assert (crashed / "copy-wal").stat().st_size == size, "the log is written over from its beginning"
    assert lost_commits(crashed / "copy-wal") == 0


@pytest.mark.parametrize("content", [b"", b"short", b"\0" * 5000, b"\xff" * 9000, os.urandom(70_000)])
def test_whatever_stands_in_the_log_nothing_is_raised(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x-wal").write_bytes(content)
    assert lost_commits(tmp_path / "x-wal") <= len(content) // 512


def test_nothing_is_said_while_others_have_it_open(crashed: Path) -> None:
    with log_of(crashed).open("r+b") as file:
        file.seek(40)
        file.write(b"\xa5" * 24)
    with closing(Spool(crashed.with_name("other"))) as other:
        station = other.station("publish")
        shutil.copytree(other.folder / "roles", crashed / "roles", dirs_exist_ok=True)
        assert reason_to_doubt(crashed) != ""
        (crashed / "roles/publish.note").unlink()
        (crashed / "roles/publish.note").hardlink_to(other.folder / "roles/publish.note")
        assert reason_to_doubt(crashed) == ""
        station.close()
        assert reason_to_doubt(crashed) != ""


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        (lambda folder: None, 0),
        (lambda folder: log_of(folder).write_bytes(os.urandom(log_of(folder).stat().st_size)), COMMITS),
        (lambda folder: [path.unlink() for path in folder.glob("spool.sqlite*")], COMMITS),
    ],
)
def test_images_that_the_database_forgot_are_kept_and_said(
    crashed: Path, damage: Callable[[Path], object], kept: int
) -> None:
    damage(crashed)
    doubt = reason_to_doubt(crashed)
    with closing(Spool(crashed)) as spool:
        spool.enable_sinks(["a"])
        (spool.instances / "never-acknowledged.dcm").write_bytes(b"half")
        spool.recover(keep_strays=bool(doubt))
        lost = sorted(path.name for path in spool.lost.glob("*.dcm"))
        assert len(lost) == (kept + 1 if kept else 0)
        kinds = [message.body.decode().count("spool.images-lost") for message in spool.pending(10, sink="a")]
        assert sum(kinds) == (1 if kept else 0)
        assert all((spool.lost / name).read_bytes() for name in lost)


def test_a_flipped_bit_in_the_last_commit_looks_torn_and_shows_by_the_number_of_images(crashed: Path) -> None:
    log = log_of(crashed)
    damaged = bytearray(log.read_bytes())
    damaged[-100] ^= 1
    log.write_bytes(damaged)
    assert (lost_commits(log), reason_to_doubt(crashed)) == (0, "")
    with closing(Spool(crashed.with_name("notes"))) as other:
        other.beat("supervise", "running", instances=COMMITS)
        before = other.notes()["supervise"]
    with closing(Spool(crashed)) as spool:
        assert spool.last_instance() == COMMITS - 1
        assert f"had taken {COMMITS} images" in _fell_behind(spool, before)
