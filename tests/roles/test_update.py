"""When the update role looks, and what it says of what came of it; the look itself is a process of its own."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeai.config import DeviceConfig, Repository, load_config
from edgeai.mqtt import Broker, Outgoing, connect
from edgeai.roles.hints import MAX_INCOMING_BYTES, Hints
from edgeai.roles.update import Look, Pauses, Updates
from edgeai.testing.broker import Mosquitto, find_mosquitto, free_port
from edgeai.testing.require import require
from edgeai.testing.waiting import until


def least(low: float, high: float) -> float:
    return low


def most(low: float, high: float) -> float:
    return high


def test_carts_that_start_together_do_not_come_together() -> None:
    assert Pauses(21_600.0, least).first() == 0.0
    assert Pauses(21_600.0, most).first() == 600.0
    assert Pauses(60.0, most).first() == 60.0
    drawn = {Pauses(21_600.0).first() for _ in range(20)}
    assert len(drawn) == 20


def test_a_look_that_went_well_is_followed_by_one_at_about_the_usual_time() -> None:
    assert Pauses(1000.0, least).after(well=True) == 900.0
    assert Pauses(1000.0, most).after(well=True) == pytest.approx(1100.0)


def test_one_that_failed_is_tried_again_sooner_and_never_later_than_usual() -> None:
    pauses = Pauses(3600.0, most)
    assert [pauses.after(well=False) for _ in range(6)] == [300.0, 600.0, 1200.0, 2400.0, 3600.0, 3600.0]
    assert pauses.after(well=True) == pytest.approx(3960.0)
    assert pauses.after(well=False) == 300.0
    assert Pauses(10.0, most).after(well=False) == 10.0
    for _ in range(5000):  # a year of failures overflows nothing
        assert pauses.after(well=False) <= 3600.0


def looked(out: str, err: str = "", status: int = 0) -> Any:
    """What is made of a process that prints this."""
    code = f"import sys; sys.stdout.write({out!r}); sys.stderr.write({err!r}); sys.exit({status})"
    look = Look([sys.executable, "-c", code])
    end = time.monotonic() + 120
    while not look.is_over():
        assert time.monotonic() < end
        time.sleep(0.01)
    return {name: each for name, each in look.outcomes().items() if each["outcome"] == "refused"}


def answer(refused: Any = None, **outcomes: str) -> str:
    deployments = [
        {"deployment": name, "outcome": "refused" if code else "current", "code": code, "message": "", "remedy": ""}
        for name, code in outcomes.items()
    ]
    return json.dumps({"schema": 1, "refused": refused, "deployments": deployments})


def test_what_came_of_a_look_is_read_from_its_answer() -> None:
    assert looked(answer(guard="")) == {}
    troubles = looked(answer(guard="", head="bundle.untrusted"), status=1)
    assert {name: why["code"] for name, why in troubles.items()} == {"head": "bundle.untrusted"}
    why = {"code": "update.frozen", "message": "it is stuck", "remedy": "publish"}
    assert looked(answer(why), status=1) == {"": {"outcome": "refused", **why}}


def test_a_look_that_was_refused_as_a_command_says_its_code() -> None:
    err = "error[update.not-installed]: edgeai update is not here\n  what to do: pip install it\n"
    assert looked("", err, 2)[""]["code"] == "update.not-installed"


@pytest.mark.parametrize(("out", "err"), [("", ""), ("{", "Traceback\nMemoryError: no room\n"), ("no JSON", "\n")])
def test_a_look_that_died_is_told_in_its_last_words(out: str, err: str) -> None:
    why = looked(out, err, 1)[""]
    assert why["code"] == "update.look-died"
    assert ("MemoryError: no room" in why["message"]) == bool(err.strip())


def test_a_look_that_hangs_can_be_ended() -> None:
    look = Look([sys.executable, "-c", "import time; time.sleep(600)"])
    assert not look.is_over()
    look.end()
    assert look.is_over()
    assert look.outcomes()[""]["code"] == "update.look-died"


# --- hints ------------------------------------------------------------------------------------------


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    require("mosquitto", find_mosquitto() is not None, "hints need a real broker")
    with Mosquitto(tmp_path) as broker:
        yield broker


def device(tmp_path: Path, port: int) -> DeviceConfig:
    profile = tmp_path / "cart.toml"
    profile.write_text(f'schema = 1\n[device]\nid = "cart-1"\nsite = "ward"\n[mqtt]\nport = {port}\n')
    return load_config(profile)


def say(port: int, topic: str, body: bytes) -> None:
    link = connect(Broker(host="127.0.0.1", port=port, client_id="ops"))
    link.publish([Outgoing(topic=topic, body=body)])
    link.close()


@pytest.mark.slow
def test_a_hint_is_heard_whatever_it_says_and_from_its_own_topic_alone(tmp_path: Path, broker: Mosquitto) -> None:
    heard: list[bool] = []
    hints = Hints(device(tmp_path, broker.port), lambda: heard.append(True), pause_s=0.1)
    hints.start()
    topic = "edgeai/1/ward/cart-1/update/request"

    def said_until_heard(body: bytes) -> bool:
        say(broker.port, topic, body)
        return bool(heard)

    try:
        until(lambda: said_until_heard(b'{"url": "http://evil.example", "install": true}'))
        for body in (b"", b"\xff\x00" * 100, b"[" * 10_000):
            heard.clear()
            until(partial(said_until_heard, body))
        heard.clear()
        say(broker.port, "edgeai/1/ward/cart-2/update/request", b"for another")
        say(broker.port, topic, b"x" * (MAX_INCOMING_BYTES + 1000))  # the connection ends of it, and is made anew
        until(lambda: said_until_heard(b"again"))
    finally:
        hints.close()


@pytest.mark.slow
def test_a_broker_that_comes_late_is_found(tmp_path: Path) -> None:
    require("mosquitto", find_mosquitto() is not None, "hints need a real broker")
    port, heard = free_port(), list[bool]()
    hints = Hints(device(tmp_path, port), lambda: heard.append(True), pause_s=0.05)
    hints.start()
    try:
        time.sleep(0.2)
        with Mosquitto(tmp_path, port=port):

            def said_until_heard() -> bool:
                say(port, "edgeai/1/ward/cart-1/update/request", b"")
                return bool(heard)

            until(said_until_heard)
    finally:
        hints.close()


def test_hints_bring_a_look_forward_once_a_minute_and_never_put_one_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("edgeai.roles.update.time.monotonic", lambda: now[0])
    config = device(tmp_path, 1883)
    spool = SimpleNamespace(ring=lambda role: None)
    updates = Updates(config, Repository(url="https://models.example"), spool)  # type: ignore[arg-type]
    updates._due = 9000.0
    updates._heed()
    assert updates._due == 9000.0
    for _ in range(100):
        updates.hint()
    updates._heed()
    assert updates._due == 1000.0
    updates._due = 9000.0  # it has looked
    updates.hint()
    now[0] = 1030.0
    updates._heed()
    assert updates._due == 9000.0
    now[0] = 1061.0
    updates._heed()
    assert updates._due == 1061.0


@pytest.mark.parametrize(("soon", "least", "most"), [(True, 1060.0, 1060.0), (False, 20_000.0, 30_000.0)])
def test_a_look_that_waits_for_what_it_brought_is_followed_by_another_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, soon: bool, least: float, most: float
) -> None:
    monkeypatch.setattr("edgeai.roles.update.time.monotonic", lambda: 1000.0)
    spool = SimpleNamespace(ring=lambda role: None)
    updates = Updates(device(tmp_path, 1883), Repository(url="https://models.example"), spool)  # type: ignore[arg-type]
    told = {"one": {"outcome": "installed", "code": "", "soon": soon}}
    updates._look = SimpleNamespace(is_over=lambda: True, outcomes=lambda: told)  # type: ignore[assignment]
    updates._step()
    assert least <= updates._due <= most
