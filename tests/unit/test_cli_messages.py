"""``edgeai messages``: what is set aside is shown, retried and dropped, by the command line and on a real spool."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeai.cli.main import run
from edgeai.config import load_config
from edgeai.spool import Spool
from edgeai.spool.aside import Choice, Refusal
from edgeai.spool.queueing import queue_message


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "cart.toml"
    path.write_text(f'schema = 1\n[device]\nid = "cart"\nsite = "lab"\ndata_dir = "{tmp_path}/data"\n')
    return path


@pytest.fixture
def spool(profile: Path) -> Iterator[Spool]:
    """Three results and an event, of which all but one result were refused by mqtt."""
    made = Spool.of(load_config(profile))
    made.enable_sinks(["mqtt", "jsonl"])
    with made.db.write() as db:
        for number in range(3):
            queue_message(db, f"id-{number}", "result/guard", json.dumps({"n": number}).encode())
        queue_message(db, "event-1", "event", b'{"kind": "x.y"}')
    numbers = [message.sequence for message in made.pending(10, sink="mqtt")]
    codes = ["mqtt.too-large", "mqtt.not-authorised", "", "mqtt.not-authorised"]
    refusals = [Refusal(sequence=n, code=c, reason=f"for {c}") for n, c in zip(numbers, codes, strict=True) if c]
    made.settle("mqtt", (), refusals)
    yield made
    made.close()


def command(*words: object) -> int:
    return run(["messages", *map(str, words)])


def test_the_list_names_each_message_its_code_and_its_reason(
    profile: Path, spool: Spool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("list", profile) == 0
    text = capsys.readouterr().out
    assert "mqtt  result  mqtt.too-large: 1" in text
    assert "id-0  8 bytes, 0 s ago: for mqtt.too-large" in text
    assert "3 set aside" in text
    assert "3 waiting for jsonl (result)" in text
    assert "1 waiting for mqtt (result)" in text


def test_the_list_as_json_holds_the_same(profile: Path, spool: Spool, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("list", profile, "--json", "--code", "mqtt.not-authorised", "--lane", "result") == 0
    shown = json.loads(capsys.readouterr().out)
    [aside] = shown["set_aside"]
    assert (aside["sink"], aside["lane"], aside["key"], aside["attempt"]) == ("mqtt", "result", "id-1", 1)
    assert aside["reason"] == "for mqtt.not-authorised"
    assert shown["waiting"] == []


def test_a_long_list_is_cut_unless_all_is_said(profile: Path, spool: Spool, capsys: pytest.CaptureFixture[str]) -> None:
    with spool.db.write() as db:
        for number in range(30):
            queue_message(db, f"more-{number}", "result/guard", b"{}")
    numbers = [message.sequence for message in spool.pending(100, sink="mqtt")]
    spool.settle("mqtt", (), [Refusal(sequence=number, code="x.y", reason="no") for number in numbers])
    command("list", profile)
    assert "more; --all lists them" in capsys.readouterr().out
    command("list", profile, "--all")
    text = capsys.readouterr().out
    assert all(f"more-{number} " in text for number in range(30))


def test_a_self_tests_end_is_told_from_an_event(
    profile: Path, spool: Spool, capsys: pytest.CaptureFixture[str]
) -> None:
    with spool.db.write() as db:
        queue_message(db, "end-1", "selftest/guard", b"{}")
    [number] = [message.sequence for message in spool.pending(10, sink="mqtt", lane="event") if message.key == "end-1"]
    spool.settle("mqtt", (), [Refusal(sequence=number, code="mqtt.not-authorised", reason="no")])
    assert command("list", profile) == 0
    text = capsys.readouterr().out
    assert "end-1  a self-test's end, 2 bytes" in text
    assert text.count("self-test") == 1


def test_retry_offers_again_what_was_chosen(profile: Path, spool: Spool, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("retry", profile, "--code", "mqtt.not-authorised") == 0
    assert capsys.readouterr().out == "2 retried, 1 still set aside\n"
    assert [message.key for message in spool.pending(10, sink="mqtt")][:3] == ["id-1", "id-2", "event-1"]


def test_retry_wakes_a_running_publish(profile: Path, spool: Spool) -> None:
    spool.wait("publish", 0.0)
    command("retry", profile, "--all")
    assert spool.wait("publish", 5.0)


def test_drop_gives_up_what_was_chosen(profile: Path, spool: Spool, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("drop", profile, "--key", "id-0", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"dropped": 1, "set_aside": 2}
    assert {aside.key for aside in spool.set_aside(Choice())} == {"id-1", "event-1"}


@pytest.mark.parametrize("action", ["retry", "drop"])
def test_without_a_choice_nothing_is_done(
    profile: Path, spool: Spool, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(action, profile) == 2
    assert command(action, profile, "--all", "--sink", "mqtt") == 2
    assert command(action, profile, "--lane", "nonsense") == 2
    assert "config.usage" in capsys.readouterr().err
    assert len(spool.set_aside(Choice())) == 3


@pytest.mark.parametrize("action", ["list", "retry", "drop"])
def test_what_matches_nothing_is_no_error_and_what_there_is_is_named(
    profile: Path, spool: Spool, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(action, profile, "--sink", "mqt") == 0
    text = capsys.readouterr().out
    assert text.startswith("0 ")
    kinds = "mqtt event mqtt.not-authorised, mqtt result mqtt.not-authorised, mqtt result mqtt.too-large"
    assert f"; set aside are: {kinds}" in text
    assert len(spool.set_aside(Choice())) == 3


def test_a_device_that_never_ran_has_no_messages(profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("list", profile) == 1
    assert "spool.absent" in capsys.readouterr().err


def test_a_message_that_cannot_be_read_is_listed_all_the_same(
    profile: Path, spool: Spool, capsys: pytest.CaptureFixture[str]
) -> None:
    with spool.db.write() as db:
        db.execute("UPDATE messages SET key = CAST(x'ff' AS TEXT), body = 7, attempt = 'x' WHERE key = 'id-0'")
    assert command("list", profile) == 0
    assert "mqtt.too-large: 1" in capsys.readouterr().out
    assert command("drop", profile, "--code", "mqtt.too-large") == 0
