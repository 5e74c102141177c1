"""The core's own sinks pass the kit with the examples that ship, MQTT on a real broker and in both its versions."""

from __future__ import annotations

import pytest

from edgeai.testing.broker import find_mosquitto
from edgeai.testing.check import check, summary
from edgeai.testing.conformance import test_conformance

REFUSALS = 4
"""Cases of the rule on a message that the other side never takes."""


@pytest.mark.parametrize(("name", "times", "refusing"), [("mqtt", 2, 1), ("jsonl", 1, 0)])
def test_the_sinks_of_the_core_are_held_to_every_rule(name: str, times: int, refusing: int) -> None:
    """As ``edgeai plugins check`` asks them. MQTT 3.1.1 cannot refuse, and a file takes every message."""
    if name == "mqtt" and find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    outcomes = check(name)
    counts = summary(outcomes)
    assert {item.outcome for item in outcomes} == {"pass", "skip"}, [
        (item.test, item.detail) for item in outcomes if item.outcome not in ("pass", "skip")
    ]
    assert {item.kind for item in outcomes} == {"sink"}
    assert {item.spec for item in outcomes} == {name}
    assert (counts["broken"], counts["need_examples"]) == (0, 0)
    assert counts["do_not_apply"] == REFUSALS * (times - refusing)
    assert counts["held"] >= 17 * times


def test_without_a_broker_the_check_says_so_and_asks_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_conformance, "find_mosquitto", lambda: None)
    made = test_conformance.TestMqtt()
    made.port = 0
    with pytest.raises(pytest.skip.Exception, match="apt install mosquitto"):
        made.settings(test_conformance.Path())
    assert made.failing_settings(test_conformance.Path())["port"]
