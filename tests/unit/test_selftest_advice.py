"""What a self-test says to do when a phantom got stuck: what is known to stand in the way, and nothing beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeai.cli import selftest_journey
from edgeai.cli.selftest_journey import Journey, Stuck
from edgeai.config import load_config
from edgeai.spool import Spool
from edgeai.spool.aside import Refusal
from edgeai.spool.outbox import queue_message
from edgeai.testing.bundles import pack_fake_bundle

UP: dict[str, Any] = {"up": True, "since": 0.0, "code": None, "why": None}
PROFILE = """
[device]
id = "cart"
site = "lab"
data_dir = "data"
[trust]
unsigned = "accept"
[mqtt]
enabled = false
[jsonl]
path = "r.jsonl"
[supervise]
heartbeat_s = 60.0
silent_s = 600.0
[spool]
reserve_bytes = 1000
[[deployments]]
name = "guard"
bundle = "guard.edgeai"
"""


class Stuckness:
    """A device whose roles this process plays, with the end of an earlier self-test that has not left."""

    def __init__(self, folder: Path) -> None:
        (folder / "content").mkdir()
        pack_fake_bundle(folder / "content", folder / "guard.edgeai", name="guard-model")
        (folder / "profile.toml").write_text(PROFILE)
        self.config = load_config(folder / "profile.toml")
        self.spool = Spool.of(self.config)
        self.spool.enable_sinks(["jsonl"])
        for role in ("supervise", "infer:guard", "ingest"):
            self.spool.beat(role, "ready")
        self.publish()
        with self.spool.db.write() as db:
            queue_message(db, "end", "selftest/guard", b"{}")

    def publish(self, **word: Any) -> None:
        self.spool.beat("publish", "ready", sinks={"jsonl": {**UP, **word}}, watch={})

    def stuck(self) -> Stuck:
        with pytest.raises(Stuck) as caught:
            Journey(config=self.config, spool=self.spool, limit_s=1.0).run()
        assert (caught.value.stage, caught.value.code) == ("deliver", "selftest.undelivered")
        return caught.value


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Stuckness]:
    made = Stuckness(tmp_path)
    yield made
    made.spool.close()


def test_while_all_seems_well_the_status_is_where_to_look(device: Stuckness) -> None:
    assert device.stuck().remedy == "see `edgeai status PROFILE`"


def test_publish_that_does_not_run_is_to_be_started(device: Stuckness) -> None:
    device.spool._stations.pop("publish").close()
    remedy = str(device.stuck().remedy)
    assert "publish is not running" in remedy
    assert "start the service" in remedy
    assert "access list" not in remedy


def test_publish_that_stands_still_is_named(device: Stuckness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest_journey, "SILENT_BEATS", 0, raising=False)
    assert "publish has said nothing for" in str(device.stuck().remedy)


def test_a_sink_that_takes_nothing_is_named_with_what_to_do(device: Stuckness) -> None:
    device.publish(up=False, code="sink.disk", why="the disk is full", remedy="free space")
    assert device.stuck().remedy == "sink jsonl: the disk is full; free space"


def test_of_an_end_that_was_refused_the_list_says_why(device: Stuckness) -> None:
    [message] = device.spool.pending(10, sink="jsonl")
    device.spool.settle("jsonl", (), [Refusal(sequence=message.sequence, code="x.y", reason="no")])
    stuck = device.stuck()
    assert "set aside" in str(stuck)
    assert "edgeai messages list" in str(stuck.remedy)


def test_that_the_last_self_test_failed_is_no_advice(device: Stuckness) -> None:
    failed = {"passed": False, "stage": "deliver", "message": "stuck", "code": "selftest.undelivered"}
    device.spool.beat("publish", "ready", sinks={"jsonl": UP}, watch={"selftest": failed})
    assert device.stuck().remedy == "see `edgeai status PROFILE`"
