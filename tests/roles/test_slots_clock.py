"""An update while the clock is set to 2001 and to 2040, and while the broker is away for a day: real processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from edgeai.testing.broker import Mosquitto, find_mosquitto, free_port
from edgeai.testing.fakes import Misbehaviour
from edgeai.testing.mqtt_peers import Subscriber
from edgeai.testing.require import require

DULL, BRIGHT = 60, 250
LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)

pytestmark = pytest.mark.slow


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """The clock of the cart's processes: what is written here (``+14y``) is added to the right time, at once."""
    require("faketime", LIBRARY is not None, "libfaketime is not installed")
    path = tmp_path / "clock"
    path.write_text("+0\n")
    return path


def start(updated: Any, clock: Path) -> None:
    updated.cart.start(
        LD_PRELOAD=str(LIBRARY),
        FAKETIME_TIMESTAMP_FILE=str(clock),
        FAKETIME_NO_CACHE="1",
        DONT_FAKE_MONOTONIC="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )
    updated.cart.ready()


def test_a_clock_that_is_set_to_2001_and_to_2040_decides_nothing(updated: Any, until: Any, clock: Path) -> None:
    old = updated.configure()
    start(updated, clock)
    updated.runs(old)
    phantoms = [updated.cart.admit()]
    assert updated.digest_of(phantoms[0]) == old
    clock.write_text("-25y\n")
    new = updated.bring(2)
    updated.runs(new)
    phantoms += [updated.cart.admit() for _ in range(2)]
    assert {updated.digest_of(phantom) for phantom in phantoms[1:]} == {new}
    clock.write_text("+14y\n")
    phantoms.append(updated.cart.admit())
    updated.event("update.proven")
    bad = updated.bring(3, misbehave=Misbehaviour(how="nan", mean_above=0.8))
    updated.runs(bad)
    clock.write_text("-25y\n")
    phantoms += [updated.cart.admit(BRIGHT) for _ in range(2)]
    updated.runs(new)
    assert updated.codes(bad) == "slots.failures"
    results = [updated.cart.result_of(phantom) for phantom in phantoms]
    assert {result["outcome"] for result in results[:4]} == {"completed"}
    years = {result["created_at"][:2] for result in results}
    assert len(years) == 1, "the century is all that they share"
    assert len({result["created_at"][:4] for result in results}) == 3, "the clock was another each time"
    assert updated.cart.spool.quarantined() == []


def test_a_broker_that_is_away_for_a_day_hears_all_of_it_afterwards(
    updated: Any, until: Any, clock: Path, tmp_path: Path
) -> None:
    require("mosquitto", find_mosquitto() is not None, "a broker that comes back is a real one")
    port = free_port()
    old = updated.configure(mqtt=f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\n')
    start(updated, clock)
    updated.runs(old)
    new = updated.bring(2)
    updated.runs(new)
    phantoms = [updated.cart.admit() for _ in range(3)]
    updated.event("update.proven")
    clock.write_text("+1d\n")
    bad = updated.bring(3, misbehave=Misbehaviour(how="nan", mean_above=0.8))
    updated.runs(bad)
    phantoms += [updated.cart.admit(BRIGHT) for _ in range(2)]
    updated.runs(new)
    (tmp_path / "broker").mkdir()
    with Mosquitto(tmp_path / "broker", port=port):
        heard = Subscriber(port)
        os.kill(updated.cart.pid("publish"), signal.SIGKILL)  # it tries once a minute by now; a new one does at once
        until(lambda: len(heard.results()) == len(phantoms) and heard.events("update.rolled-back"))
        told = [body["kind"] for body in heard.on("event") if str(body.get("kind", "")).startswith("update.")]
        heard.close()
    assert told == [f"update.{move.move}" for move in updated.state.history if move.move != "begun"]
    assert told.count("update.proven") == told.count("update.rolled-back") == 1
