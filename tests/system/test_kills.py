"""A hundred ``kill -9`` at random moments over all roles while images arrive: nothing is lost, nothing is doubled."""

from __future__ import annotations

import random
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from edgeai.plugins import find
from edgeai.spool import read_note
from edgeai_workbench.drawings import head

pytestmark = pytest.mark.system

KILLS = 100
INSTANCES = 300
BATCH = 6
SENDERS = 2


def deploy_the_best_model(cart: Any, repo_root: Path) -> str:
    """The modality guard on LiteRT where that is installed, else a fake; the backend's name."""
    bundle = repo_root / "models/modality-guard/modality-guard-1.0.1.edgeai"
    installed = {info.name for info in find()}
    try:
        import ai_edge_litert.interpreter  # noqa: F401

        engine = {"tflite", "transforms", "classify"} <= installed and bundle.is_file()
    except ImportError:
        engine = False
    if not engine:
        cart.deploy()
        return "fake-works"
    copy = Path(shutil.copy(bundle, cart.folder / "guard.edgeai"))
    cart.profile["plugins"]["allow"] += ["tflite", "transforms", "classify"]
    cart.profile["deployments"].append({"name": "guard", "bundle": str(copy), "backends": ["tflite"], "threads": 1})
    return "tflite"


class Sender(threading.Thread):
    """Sends its images in small associations, and each again until it is acknowledged; never far ahead of the kills."""

    def __init__(self, cart: Any, phantoms: list[Any], kills: list[str]) -> None:
        super().__init__(daemon=True)
        self.acknowledged: set[str] = set()
        self.is_sending = threading.Event()
        self.tries = 0
        self._cart, self._waiting, self._kills = cart, list(phantoms), kills
        self._total = len(phantoms)

    def run(self) -> None:
        while self._waiting:
            if len(self.acknowledged) > self._total * (len(self._kills) + 6) / KILLS:
                time.sleep(0.02)
                continue
            batch = self._waiting[:BATCH]
            self.is_sending.set()
            answers = self._cart.store(*batch)
            self.is_sending.clear()
            self.tries += 1
            done = {uid for uid, answer in answers.items() if answer == "Success"}
            self.acknowledged |= done
            self._waiting = [each for each in self._waiting if each.instance.sop_instance_uid not in done]
            if not done:
                time.sleep(0.1)


def aim(cart: Any, role: str, dice: random.Random, senders: list[Sender]) -> None:
    """Wait, but not for long, for a moment at which this role has much to lose: it receives, runs or sends."""
    end = time.monotonic() + 1.0
    delivered = len(cart.subscriber.received)

    def is_at_work() -> bool:
        if role.startswith("infer"):
            note = read_note(cart.data_dir / f"spool/roles/{role}.note")
            return note is not None and any(step.step == "job" for step in note.steps)
        if role == "publish":
            return len(cart.subscriber.received) > delivered
        return any(sender.is_sending.is_set() for sender in senders)

    while not is_at_work() and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(dice.uniform(0.0, 0.1 if role in ("ingest", "supervise") else 0.02))


@pytest.mark.timeout(3600)
def test_a_hundred_kills_lose_no_acknowledged_instance_and_double_none(cart: Any, repo_root: Path, until: Any) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    backend = deploy_the_best_model(cart, repo_root)
    heard = cart.listen()
    phantoms = [cart.phantom(pixels=head(number, rows=64, columns=64)) for number in range(INSTANCES)]
    cart.start()
    cart.keep_running()
    kills: list[str] = []
    senders = [Sender(cart, phantoms[number::SENDERS], kills) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    roles = ("ingest", "infer:guard", "publish", "supervise")
    began = time.monotonic()
    deck = [role for role in roles for _ in range(KILLS // len(roles))]  # as many of each, however slow the machine
    dice.shuffle(deck)
    for role in deck:
        time.sleep(dice.uniform(0.0, 0.6))
        until(lambda role=role: role in cart.processes(), what=role)
        if dice.random() < 0.7:
            aim(cart, role if role != "supervise" else dice.choice(roles), dice, senders)
        until(lambda: sum(len(sender.acknowledged) for sender in senders) >= INSTANCES * (len(kills) - 8) / KILLS)
        until(lambda role=role: cart.kill(role), what=f"killing {role}")
        kills.append(role)
    for sender in senders:
        sender.join(1200)
        assert not sender.is_alive()
    acknowledged = set().union(*(sender.acknowledged for sender in senders))
    print(
        f"{ {role: kills.count(role) for role in roles} } in {time.monotonic() - began:.0f} s, "
        f"{sum(sender.tries for sender in senders)} associations, {len(acknowledged)} acknowledged"
    )
    assert len(acknowledged) == INSTANCES
    assert min(kills.count(role) for role in roles) >= 10

    def results_by_uid() -> dict[str, set[str]]:
        by_instance: dict[str, set[str]] = {}
        for result in heard.results().values():
            by_instance.setdefault(result["instance"]["sop_instance_uid"], set()).add(result["result_id"])
        return by_instance

    phantoms.append(cart.phantom(pixels=head(INSTANCES, rows=64, columns=64)))
    last = Sender(cart, phantoms[-1:], kills)  # its result comes last: whatever is doubled has come before it
    last.run()  # until it is acknowledged: whom the last kill met may still be away
    acknowledged |= last.acknowledged
    deadline = time.monotonic() + 600
    while not acknowledged <= set(results_by_uid()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert sorted(acknowledged - set(results_by_uid())) == [], "acknowledged, and lost"
    until(lambda: cart.health()[1]["messages_waiting"] == 0)
    assert {uid: ids for uid, ids in results_by_uid().items() if len(ids) != 1} == {}
    assert set(results_by_uid()) <= {phantom.instance.sop_instance_uid for phantom in phantoms}
    assert {(result["outcome"], result["degraded"]) for result in heard.results().values()} == {("completed", None)}
    assert {result["engine"]["backend"] for result in heard.results().values()} == {backend}
    assert heard.events("plugin.fault") == []
    until(lambda: (now := cart.health()[1])["jobs_waiting"] == now["messages_waiting"] == 0 and now["problems"] == [])
    assert cart.stop() == 0
    for folder in ("instances", "tmp"):
        assert list((cart.data_dir / "spool" / folder).iterdir()) == []
    assert cart.leftovers() == []
