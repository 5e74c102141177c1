"""What `edgeai fleet demo` stands on where no Mosquitto is installed: the broker in its own process is enough."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgeai.cli import demo_stage
from edgeai.cli.demo_stage import make_broker, name_of, protocol_of
from edgeai.mqtt import Broker, Outgoing, connect
from edgeai_fleet.conducting.hearing import Retained
from edgeai_fleet.conducting.watching import TOPICS

pytestmark = pytest.mark.slow


def test_what_was_retained_is_heard_by_who_comes_later_and_what_is_taken_away_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_stage, "find_mosquitto", lambda: None)
    broker = make_broker(tmp_path)
    assert "no Mosquitto here" in name_of(broker)
    with broker:

        def reached(client_id: str) -> Broker:
            return Broker(host="127.0.0.1", port=broker.port, client_id=client_id, protocol=protocol_of(broker))

        def say(topic: str, body: bytes) -> None:
            speaker.publish([Outgoing(topic=topic, body=body, retain=True)])

        speaker = connect(reached("conductor"))
        say("edgeai/1/rollouts/guard-2", b"1")
        say("edgeai/1/rollouts/guard-2/ward", b"2")
        say("edgeai/1/elsewhere/guard-2", b"3")
        late = Retained(reached("watcher"), TOPICS)
        assert late.bodies() == {"edgeai/1/rollouts/guard-2": b"1", "edgeai/1/rollouts/guard-2/ward": b"2"}
        say("edgeai/1/rollouts/guard-2", b"4")
        say("edgeai/1/rollouts/guard-2/ward", b"")
        end = time.monotonic() + 240
        while late.bodies() != {"edgeai/1/rollouts/guard-2": b"4"}:
            assert time.monotonic() < end
            time.sleep(0.02)
        late.close()
        speaker.close()
