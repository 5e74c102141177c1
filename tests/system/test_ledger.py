"""Everything at once, and the ledger adds up: kills over all roles, two senders, images that are cut, sent again or
other than before, a broker that refuses events, and a bundle that is not trusted for a while.

``make torture`` runs it with 200 kills; ``make test`` with fewer.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from edgeai.bundle.keys import make_keys
from edgeai.bundle.signing import sign_bundle, signer_of
from edgeai.spool.ledger import Ledger, read_ledger
from edgeai.testing.broker import Mosquitto
from edgeai.testing.phantoms import Phantom

KILLS = int(os.environ.get("EDGEAI_TORTURE_KILLS", "12"))
INSTANCES = 3 * KILLS
SENDERS = 2
ROLES = ("ingest", "infer:guard", "publish", "supervise")
ACL = "topic read #\ntopic write edgeai/1/lab/cart/result/guard\ntopic write edgeai/1/lab/cart/status\n"

pytestmark = pytest.mark.system


class Sender(threading.Thread):
    """Sends files in order, each until it is acknowledged; never far ahead of the kills."""

    def __init__(self, cart: Any, phantoms: list[Phantom], kills: list[str]) -> None:
        super().__init__(daemon=True)
        self.acknowledged = 0
        self._cart, self._phantoms, self._kills = cart, phantoms, kills

    def run(self) -> None:
        for number, phantom in enumerate(self._phantoms):
            while number > len(self._phantoms) * (len(self._kills) + 6) / KILLS:
                time.sleep(0.02)
            while set(self._cart.store(phantom).values()) != {"Success"}:
                time.sleep(0.1)
            self.acknowledged += 1


def variants(cart: Any, dice: random.Random) -> list[Phantom]:
    """Images, of which some come cut, some twice, and some with other pixels under the same UID; in any order."""
    phantoms: list[Phantom] = []
    for number in range(INSTANCES):
        phantom = cart.phantom(dice.randrange(10, 200))
        phantoms.append(phantom)
        if number % 10 == 3:
            phantoms.append(phantom)
        if number % 10 == 5:
            phantoms.append(changed(cart, phantom, f"{number}-other.dcm", lambda d: np.full(len(d), 7, np.uint8)))
        if number % 10 == 7:
            phantoms.append(changed(cart, phantom, f"{number}-short.dcm", lambda d: np.zeros(len(d) // 2, np.uint8)))
    dice.shuffle(phantoms)
    return phantoms


def changed(cart: Any, phantom: Phantom, name: str, pixels: Any) -> Phantom:
    dataset = pydicom.dcmread(phantom.path)
    dataset.PixelData = pixels(dataset.PixelData).tobytes()
    path = cart.folder / "images" / name
    dataset.save_as(path)
    return Phantom(**{**{name: getattr(phantom, name) for name in phantom.__dataclass_fields__}, "path": path})


class Bundle:
    """The deployment's bundle, signed, and as it is while nobody vouches for it."""

    def __init__(self, cart: Any) -> None:
        pair = make_keys("release", cart.folder / "made")
        (cart.folder / "trust").mkdir()
        shutil.copy(pair.public.path, cart.folder / "trust")
        cart.profile["trust"] = {"keys": str(cart.folder / "trust")}
        cart.deploy()
        self._path = cart.folder / "guard.edgeai"
        self._unsigned = self._path.read_bytes()
        sign_bundle(self._path, signer_of(str(pair.private), str))
        self._signed = self._path.read_bytes()

    def put(self, *, signed: bool) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(self._signed if signed else self._unsigned)
        fresh.replace(self._path)


def kill_all_along(cart: Any, bundle: Bundle, kills: list[str], senders: list[Sender], dice: random.Random) -> None:
    """Kill roles at random moments; the bundle is not trusted during the middle third."""
    total = sum(len(sender._phantoms) for sender in senders)
    while len(kills) < KILLS:
        time.sleep(dice.uniform(0.0, 0.5))
        if sum(sender.acknowledged for sender in senders) < total * (len(kills) - 8) / KILLS:
            continue
        if len(kills) in (KILLS // 3, 2 * KILLS // 3):
            bundle.put(signed=len(kills) == 2 * KILLS // 3)
            until_killed(cart, "infer:guard", kills)  # the model that is open would go on
            continue
        role = dice.choice(ROLES)
        if cart.kill(role):
            kills.append(role)


def until_killed(cart: Any, role: str, kills: list[str]) -> None:
    while not cart.kill(role):
        time.sleep(0.05)
    kills.append(role)


def in_words(ledger: Ledger) -> str:
    jobs = [f"{e.deployment}: {e.acknowledged} = {e.waiting} + {e.held} + {e.finished}" for e in ledger.jobs]
    messages = [
        f"{e.sink}/{e.lane}: {e.queued} = {e.waiting} + {e.aside} + {e.delivered} + {e.dropped}"
        for e in ledger.messages
    ]
    return (
        f"acknowledged = waiting + held + finished; {'; '.join(jobs)}\n"
        f"queued = waiting + set aside + delivered + dropped; {'; '.join(messages)}"
    )


@pytest.mark.timeout(1200 + 60 * KILLS)
def test_whatever_happens_the_ledger_adds_up(cart: Any, until: Any) -> None:
    seed = random.SystemRandom().randrange(10**6)
    dice = random.Random(seed)
    acl = cart.folder / "acl"
    acl.write_text(ACL)
    cart.broker = Mosquitto(cart.folder / "broker", extra=f"acl_file {acl}")
    cart.profile["mqtt"]["port"] = cart.broker.port
    bundle = Bundle(cart)
    heard = cart.listen()
    phantoms = variants(cart, dice)
    cart.start()
    cart.keep_running()
    kills: list[str] = []
    senders = [Sender(cart, phantoms[number::SENDERS], kills) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    began = time.monotonic()
    kill_all_along(cart, bundle, kills, senders, dice)
    for sender in senders:
        sender.join(3600)
        assert not sender.is_alive()
    print(
        f"seed {seed}: { {role: kills.count(role) for role in ROLES} } in {time.monotonic() - began:.0f} s, "
        f"{len(phantoms)} acknowledged C-STOREs of {INSTANCES} UIDs"
    )
    spool = cart.data_dir / "spool"

    def quiet() -> Ledger | None:
        ledger = ledger_of(spool)
        busy = ledger.jobs_waiting or ledger.jobs_held or any(entry.waiting for entry in ledger.messages)
        return None if busy else ledger

    until(quiet, 1200, "that nothing waits")
    assert cart.stop() == 0
    ledger = ledger_of(spool)
    print(in_words(ledger))
    contents = len({phantom.path for phantom in phantoms})
    until(lambda: len({result["instance"]["content"] for result in heard.attempts()}) == contents)
    check(ledger, heard, phantoms)
    check_results(heard)
    assert list((spool / "tmp").iterdir()) == []
    assert cart.leftovers() == []


def ledger_of(spool: Path) -> Ledger:
    from edgeai.spool.database import Database

    database = Database(spool / "spool.sqlite")
    try:
        return read_ledger(database)
    finally:
        database.close()


def check(ledger: Ledger, heard: Any, phantoms: list[Phantom]) -> None:
    [jobs] = ledger.jobs
    contents = len({phantom.path for phantom in phantoms})
    assert jobs.acknowledged == contents, "each content is one job, however often it came"
    assert (jobs.waiting, jobs.held, jobs.finished, jobs.missing) == (0, 0, contents, 0)
    for entry in ledger.messages:
        assert (entry.waiting, entry.missing) == (0, 0), entry
        assert entry.lane == "event" or (entry.aside, entry.dropped) == (0, 0), entry
    assert any(entry.aside for entry in ledger.messages if entry.lane == "event")


def check_results(heard: Any) -> None:
    """Each (content, deployment) has one result id, and its last attempt is the end."""
    ids: dict[str, set[str]] = {}
    for result in heard.attempts():
        ids.setdefault(result["instance"]["content"], set()).add(result["result_id"])
    assert {content for content, each in ids.items() if len(each) != 1} == set()
    ends = {result["instance"]["content"]: result for result in heard.results().values()}
    assert {result["outcome"] for result in ends.values()} == {"completed", "failed"}
    failures = {result["reason"]["code"] for result in ends.values() if result["outcome"] == "failed"}
    assert failures == {"pixels.short"}
    assert heard.on("event") == []
