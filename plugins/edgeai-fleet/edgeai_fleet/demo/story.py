"""The two acts of the demo: a release that goes through, and one that carts undo and the conductor halts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import RenderableType

from edgeai.testing.repository import OpsTeam
from edgeai_fleet.conducting.carts import Cart
from edgeai_fleet.conducting.conductor import Conductor
from edgeai_fleet.conducting.databases import url_of
from edgeai_fleet.conducting.hearing import Ears, Retained
from edgeai_fleet.conducting.seeing import Seen
from edgeai_fleet.conducting.signing import signing_of
from edgeai_fleet.conducting.store import Store
from edgeai_fleet.conducting.watching import TOPICS, drawn, read_truth
from edgeai_fleet.demo.stage import CARTS, FleetStage
from edgeai_fleet.keys import signers_of
from edgeai_fleet.layout import Folder

ACT_LIMIT_S: Final = 600.0
_EVERY_S: Final = 0.5
_AFTER_S: Final = 60.0
_ENDS: Final = ("done", "halted", "cancelled")
_OPEN: Final = ("waiting", "undecided")
"""Of a cart that has just switched: a rollout may be done by the others before."""
_PLAN: Final = """[[phases]]
share = 0.34

[[phases]]
share = 1.0
"""
"""By their names one cart stands in the first phase of each rollout of the demo, and two in the second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """How a rollout ended: as the conductor saw it last, its carts, and how long it took."""

    seen: Seen
    carts: dict[str, Cart]
    seconds: float

    def releases(self) -> dict[str, int]:
        """By cart the release that runs there; 0 where nobody knows."""
        return {name: _release(cart) for name, cart in self.carts.items()}


class Story:
    """Who conducts and watches; open until it is closed.

    Args:
        team: whose repository it is.
        stage: where carts run.
        show: given what a watching terminal shows, whenever there is news.
    """

    def __init__(self, team: OpsTeam, stage: FleetStage, show: Callable[[RenderableType], None]) -> None:
        self._team, self._stage, self._show = team, stage, show
        folder = Folder(team.repo)
        keys, _ = signers_of([team.key(name) for name in ("rollouts", "snapshot", "timestamp")], lambda what: "")
        self._conductor = Conductor(
            folder=folder, store=Store(url_of(team.repo, None)), signing=signing_of(folder, keys)
        )
        self._ears = Ears(stage.broker("demo-conductor"))
        self._retained = Retained(stage.broker("demo-watcher"), TOPICS)

    def close(self) -> None:
        """Hear and show no more."""
        self._retained.close()
        self._ears.close()
        self._conductor.store.close()

    def act(self, name: str, model: str, bundle: Path) -> Act:
        """Offer a release by rollout only, start it, and conduct it until it and its carts have ended.

        Raises:
            TimeoutError: it came to no end.
        """
        began = time.monotonic()
        plan = self._team.at / "plan.toml"
        plan.write_text(_PLAN, encoding="utf-8")
        key = self._team.key
        self._team.do("add", self._team.repo, bundle, "--by-rollout", "--key", key("targets"))
        self._team.do(
            *("rollout", "start", self._team.repo, name, "--model", model, "--plan", plan, "--key", key("rollouts"))
        )
        self._team.publish()
        for seen in self._rounds(name, began):
            if seen.rollout.state in _ENDS and not any(each.verdict.word in _OPEN for each in seen.kept):
                return Act(seen=seen, carts=self._carts(), seconds=time.monotonic() - began)
        raise TimeoutError(f"{name} came to no end within {ACT_LIMIT_S:.0f} s")

    def wait_for(self, is_so: Callable[[], bool]) -> bool:
        """Whether it came to be so within a minute."""
        end = time.monotonic() + _AFTER_S
        while not is_so() and time.monotonic() < end:
            time.sleep(0.2)
        return is_so()

    def _rounds(self, name: str, began: float) -> Iterator[Seen]:
        while time.monotonic() - began < ACT_LIMIT_S:
            every = {seen.rollout.name: seen for seen in self._conductor.round(self._ears)}
            told: dict[str, dict[str, Any]] = read_truth(self._retained.bodies())
            self._show(drawn({each: told[each] for each in (name,) if each in told}))
            yield every[name]
            time.sleep(_EVERY_S)

    def _carts(self) -> dict[str, Cart]:
        with self._conductor.store.round() as kept:
            return {cart.device: cart for cart in kept.carts().values() if cart.device in CARTS}


def _release(cart: Cart) -> int:
    running = [each.slots.running for each in cart.status.deployments if each.slots is not None]
    return next((slot.release for slot in running if slot is not None), 0)
