"""Logs and systemd: one line each, in a form that programs read, and nothing that was not meant to be said."""

from __future__ import annotations

import json
import logging
import socket
from pathlib import Path

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
    said = json.loads(capsys.readouterr().err)
    assert (said["level"], said["role"], said["event"], said["job"]) == ("info", "infer:guard", "job.finished", 7)
    assert said["text"] == 'two\nlines "quoted"'


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
