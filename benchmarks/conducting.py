"""A round of a conductor that remembers so many carts: nothing changed, or one in a hundred said something."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import msgspec

from benchmarks.timing import Row
from edgeai.testing.repository import OpsTeam
from edgeai_fleet.conducting.carts import Cart, Deployed, Heard, InSlot, InSlots, Status
from edgeai_fleet.conducting.conductor import Conductor
from edgeai_fleet.conducting.databases import url_of
from edgeai_fleet.conducting.hearing import Taken
from edgeai_fleet.conducting.store import Store
from edgeai_fleet.documents import read_documents
from edgeai_fleet.layout import Folder

SIZES: Final = (1000, 10_000)
BETWEEN_S: Final = 5.0
"""Of `edgeai fleet conduct`, without --every."""
RESULTS: Final = 20
"""That were heard of each cart: as many as prove a bundle."""
_PART: Final = 0.1
"""Of a processor, so much may rounds take."""


class QuietEars:
    """What nobody says; what is told goes nowhere."""

    def __init__(self) -> None:
        self.waiting = Taken()
        self.connection = SimpleNamespace(publish=list)

    def told_by_signer(self, name: str, now: float) -> bool:
        """Nobody tells."""
        return False

    def take(self) -> Taken:
        """What waits, once."""
        taken, self.waiting = self.waiting, Taken()
        return taken


def conduct(folder: Path, bundle: Path, rounds: int) -> Iterator[Row]:
    """Processor time of a round, to the part of a processor that it may take."""
    for size in SIZES:
        with tempfile.TemporaryDirectory(dir=folder) as own:
            idle, busy = _measured(Path(own), size, rounds)
        limit = _PART * BETWEEN_S
        yield Row(
            case=f"conduct {size}",
            ours=f"{1000 * busy:.0f} ms of processor a round",
            limit=f"{1000 * limit:.0f} ms, {_PART:.0%} of the {BETWEEN_S:g} s between two",
            ratio=busy / limit,
            bound=1.0,
            notes=(f"one cart in a hundred said a status and a result; {1000 * idle:.0f} ms where none did",),
        )


def _measured(folder: Path, size: int, rounds: int) -> tuple[float, float]:
    """Seconds of a processor that a round takes, by the median: nothing was said; one in a hundred carts spoke."""
    team = OpsTeam(folder / "ops")
    team.begin()
    team.offer(team.bundle("tiny", 1))
    team.do("add", team.repo, team.bundle("tiny", 2), "--by-rollout", "--key", team.key("targets"))
    words = ("--model", "tiny", "--phases", "100", "--soak", "24", "--key", team.key("rollouts"))
    team.do("rollout", "start", team.repo, "tiny-2", *words)
    team.publish()
    repository = Folder(team.repo)
    digest = read_documents(repository).rollout("tiny-2").plan.digest
    store = Store(url_of(team.repo, None))
    now = time.time()
    carts = [_cart(number, digest, now) for number in range(size)]
    with store.round() as kept:
        kept.keep_carts(carts)
        kept.add_results("tiny-2", [_result(cart, digest, at) for cart in carts for at in range(RESULTS - 1)])
    conductor, ears = Conductor(folder=repository, store=store), QuietEars()
    _round(conductor, ears, now)
    idle = [_round(conductor, ears, now + at) for at in range(1, rounds)]
    busy = []
    for at in range(rounds, 2 * rounds):
        some = carts[at % 100 :: 100]
        ears.waiting.statuses = {(cart.site, cart.device): (cart.status, now + at) for cart in some}
        ears.waiting.results = [_result(cart, digest, RESULTS + at) for cart in some]
        busy.append(_round(conductor, ears, now + at))
    store.close()
    return sorted(idle)[len(idle) // 2], sorted(busy)[len(busy) // 2]


def _round(conductor: Conductor, ears: Any, now: float) -> float:
    before = time.process_time()
    conductor.round(ears, now)
    return time.process_time() - before


def _cart(number: int, digest: str, now: float) -> Cart:
    old = InSlot(digest=f"sha256:{'1' * 64}", model="tiny", stage="good", release=1, stood=True)
    new = msgspec.structs.replace(old, digest=digest, release=2)
    slots = InSlots(active="b", a=old, b=new, needed=RESULTS)
    status = Status(state="online", edgeai_version="0.2.0", deployments=(Deployed(name="guard", slots=slots),))
    return Cart(site=f"site-{number // 100}", device=f"cart-{number}", status=status, heard_at=now)


def _result(cart: Cart, digest: str, at: int) -> Heard:
    return Heard(digest=digest, site=cart.site, device=cart.device, result_id=f"{cart.device}-{at}")
