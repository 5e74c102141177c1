"""Logs and systemd: one line each, in a form that programs read, and nothing that was not meant to be said."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from edgeai import logs, systemd


@pytest.fixture(autouse=True)
def _restore_logging() -> object:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before[0], before[1]


def test_a_line_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("infer:guard", level="info")
    log = logs.Log("edgeai.test")
    log.debug("not.said")
    log.info("job.finished", job=7, path=Path("x"), text='two\nlines "quoted"')
    printed = json.loads(capsys.readouterr().err)
    assert (printed["level"], printed["role"], printed["event"], printed["job"]) == (
        "info",
        "infer:guard",
        "job.finished",
        7,
    )
    assert printed["text"] == 'two\nlines "quoted"'


def test_a_trace_is_part_of_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("a")
    try:
        raise ZeroDivisionError("there")
    except ZeroDivisionError:
        logs.Log("edgeai.test").error("it.broke", trace=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "ZeroDivisionError: there" in json.loads(lines[0])["trace"]


def test_other_libraries_speak_in_the_same_form_or_not_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("a", level="debug")
    logging.getLogger("paho").info("chatter")
    logging.getLogger("paho").warning("lost the broker")
    logging.getLogger("pynetdicom.events").error("(0010,0010) PN [Phantom^Never^Shown]")
    logging.getLogger("pydicom").warning("a value")
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["lost the broker"]


def test_words_for_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("a", form="console")
    logs.Log("edgeai.test").info("job.finished", job=7)
    assert capsys.readouterr().err.endswith("job.finished job=7\n")


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("json", "a\\nWARNING forged\\u001b[2J\\udcff"),
        ("console", "a\n    WARNING forged\\x1b[2J\\udcff"),
    ],
)
def test_foreign_text_is_no_line_of_its_own(capsys: pytest.CaptureFixture[str], form: Any, shown: str) -> None:
    logs.configure("a", form=form)
    logs.Log("edgeai.test").info("file.refused", name="a\nWARNING forged\x1b[2J\udcff")
    assert shown in capsys.readouterr().err


# --- lines of one kind are limited in rate --------------------------------------------------------


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Journal:
    """Loggers whose lines go through ``logs.Limited`` with a clock of the test's own."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._stream = StringIO()
        self.handler = logs.Limited(self._stream, clock=self.clock)
        logs.configure("a", level="debug")
        self.handler.setFormatter(logging.getLogger().handlers[0].formatter)
        logging.getLogger().handlers[:] = [self.handler]
        self.log = logs.Log("edgeai.test")

    def lines(self) -> list[dict[str, Any]]:
        """What was written since the last call."""
        text = self._stream.getvalue()
        self._stream.seek(0)
        self._stream.truncate()
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def journal(_restore_logging: object) -> Iterator[Journal]:
    made = Journal()
    yield made
    made.handler.close()


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_lines_of_one_kind_are_limited_and_counted(journal: Journal, level: str) -> None:
    say = getattr(journal.log, level)
    for number in range(5000):
        say("association.ended", why="noise", number=number)
    written = journal.lines()
    assert [line["number"] for line in written] == list(range(logs.LINES))
    journal.clock.now += logs.WINDOW_S
    say("association.ended", why="noise", number=5000)
    count, fresh = journal.lines()
    assert (count["event"], count["level"], count["held_back"]) == ("association.ended", level, 5000 - logs.LINES)
    assert (fresh["number"], "held_back" in fresh) == (5000, False)


def test_another_kind_is_not_held_back(journal: Journal) -> None:
    for _ in range(1000):
        journal.log.warning("instance.refused", code="dicom.truncated")
    journal.lines()
    journal.log.warning("instance.refused", code="dicom.structure")
    journal.log.error("instance.refused", code="dicom.truncated")
    journal.log.warning("connection.broke")
    logs.Log("edgeai.other").warning("instance.refused", code="dicom.truncated")
    assert [(line["level"], line["event"], line.get("code")) for line in journal.lines()] == [
        ("warning", "instance.refused", "dicom.structure"),
        ("error", "instance.refused", "dicom.truncated"),
        ("warning", "connection.broke", None),
        ("warning", "instance.refused", "dicom.truncated"),
    ]


def test_a_count_is_said_by_whatever_is_written_next(journal: Journal) -> None:
    for _ in range(logs.LINES + 7):
        journal.log.error("ingest.failed", code="ingest.failed", trace=True)
    journal.lines()
    journal.clock.now += logs.WINDOW_S
    journal.log.info("run.stopping")
    assert [(line["event"], line.get("code"), line.get("held_back")) for line in journal.lines()] == [
        ("ingest.failed", "ingest.failed", 7),
        ("run.stopping", None, None),
    ]


def test_a_count_is_said_at_the_end_of_the_window_when_nothing_else_is(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "WINDOW_S", 0.2)
    for _ in range(logs.LINES + 3):
        journal.log.warning("association.ended")
    journal.clock.now += 1.0
    until = time.monotonic() + 240
    written: list[dict[str, Any]] = []
    while len(written) <= logs.LINES and time.monotonic() < until:
        written += journal.lines()
        time.sleep(0.01)
    assert [line.get("held_back") for line in written] == [None] * logs.LINES + [3]


def test_a_count_is_said_at_the_end_of_the_process() -> None:
    code = (
        "from edgeai import logs; logs.configure('a'); log = logs.Log('edgeai.test')\n"
        "for number in range(1000): log.warning('it.broke')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    written = [json.loads(line) for line in done.stderr.splitlines()]
    assert len(written) == logs.LINES + 1
    assert written[-1]["held_back"] == 1000 - logs.LINES


def test_kinds_without_end_are_all_said_and_take_no_memory(journal: Journal) -> None:
    for _ in range(logs.LINES + 1):
        journal.log.warning("first.of-all")
    journal.lines()
    for number in range(5 * logs.MAX_KINDS):
        journal.log.warning("a.kind", code=f"area.{number}")
    written = journal.lines()
    assert {line["code"] for line in written if "code" in line} == {f"area.{n}" for n in range(5 * logs.MAX_KINDS)}
    assert [line["held_back"] for line in written if line["event"] == "first.of-all"] == [1]
    assert len(journal.handler._kinds) <= logs.MAX_KINDS


def test_lines_of_other_libraries_are_told_apart_by_their_place(journal: Journal) -> None:
    foreign = logging.getLogger("paho")
    for number in range(1000):
        foreign.warning(f"packet {number} was odd")  # as many libraries do
    foreign.warning("lost the broker")
    written = journal.lines()
    assert len(written) == logs.LINES + 1
    assert written[-1]["event"] == "lost the broker"
    journal.handler.say_held_back(everything=True)
    (count,) = journal.lines()
    assert (count["logger"], count["held_back"]) == ("paho", 1000 - logs.LINES)


# --- systemd --------------------------------------------------------------------------------------


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"@edgeai-test-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name[1:] if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        assert systemd.notify("READY=1")
        assert listener.recv(100) == b"READY=1"


def test_without_systemd_nobody_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not systemd.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "absent"))
    assert not systemd.notify("READY=1")


def test_the_watchdog_is_for_the_process_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    assert systemd.watchdog_s() == 30.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert systemd.watchdog_s() == 0.0
    monkeypatch.delenv("WATCHDOG_PID")
    monkeypatch.setenv("WATCHDOG_USEC", "soon")
    assert systemd.watchdog_s() == 0.0
