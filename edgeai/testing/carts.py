"""What carts say of a rollout to a real broker, without carts: statuses and results of as many as are asked for."""

from __future__ import annotations

import json
import secrets
import ssl
from typing import Any

from edgeai.mqtt import Broker, Connection, Outgoing, connect
from edgeai.rollouts import Phase, phase_of, place

_PHASES = (Phase(share=0.5), Phase(share=1.0))
_NAMES = [f"cart-{number}" for number in range(40)]


class Carts:
    """Carts of one site, by one connection: four of the first phase of ``tiny-2`` and four of the other.

    Args:
        port: of a broker on this machine.
        site: theirs.
        old: digest of what they run.
        new: digest of what the rollout brings.
        tls: where the broker wants it.
    """

    def __init__(self, port: int, site: str, old: str, new: str, tls: ssl.SSLContext | None = None) -> None:
        self.site, self.old, self.new = site, old, new
        self._broker = Broker(
            host="localhost" if tls else "127.0.0.1",
            port=port,
            client_id=f"carts-{site}-{secrets.token_hex(3)}",
            tls=tls,
        )
        self.link = self._connect()
        early = self.early_of(site)
        self.early, self.late = early[:4], [name for name in _NAMES if name not in early][:4]

    @staticmethod
    def early_of(site: str) -> list[str]:
        """Carts of a site that stand in the first phase."""
        return [name for name in _NAMES if phase_of(place("tiny-2", site, name), _PHASES) == 1]

    def status(self, device: str, **slots: Any) -> None:
        """It runs the old bundle, or with ``active="b"`` the new one."""
        held = {"digest": self.old, "model": "tiny", "release": 1, "stage": "good", "since": "x", "stood": True}
        usual = {"active": "a", "a": held, "b": None, "probation": None, "last_end": None, "bad": 0, "needed": 2}
        if slots.get("active") == "b":
            usual["b"] = {**held, "digest": self.new, "release": 2}
        deployed = {"name": "tiny", "state": "ready", "slots": {**usual, **slots}}
        body = {"schema": 2, "site": self.site, "device_id": device, "state": "online", "edgeai_version": "0.1.0"}
        self.say(f"{device}/status", {**body, "deployments": [deployed]}, retain=True)

    def probation(self, device: str, completed: int = 0) -> None:
        """It runs the new one, with so many results of the two that prove it."""
        counts = {"since": "x", "needed": 2, "completed": completed, "failed": 0, "withheld": 0}
        self.status(device, active="b", probation=counts)

    def results(self, device: str, number: int = 2, outcome: str = "completed", of: str = "") -> None:
        """So many by the new bundle; the same ids each time. ``of``: the cart that they say, where that is another."""
        for at in range(number):
            model = {"name": "tiny", "version": "2", "digest": self.new}
            body = {"result_id": f"{device}-{at}", "outcome": outcome, "model": model, "findings": [{"a": [1] * 50}]}
            self.say(f"{device}/result/tiny", {"site": self.site, "device_id": of or device, **body})

    def succeeds(self, device: str) -> None:
        """Its probation is over, and its results are heard."""
        self.status(device, active="b")
        self.results(device)  # last, so that who has heard them has heard all

    def fails(self, device: str, code: str = "slots.slow") -> None:
        """It went back."""
        ended = {
            "move": "rolled-back",
            "digest": self.new,
            "at": "x",
            "code": code,
            "why": "3 times as slow",
            "stands": True,
        }
        self.status(device, last_end=ended)

    def leaves(self, device: str) -> None:
        """Its last will."""
        body = {"schema": 2, "site": self.site, "device_id": device, "state": "offline"}
        self.say(f"{device}/status", body, retain=True)

    def close(self) -> None:
        """Say no more."""
        self.link.close()

    def reconnect(self) -> None:
        """The broker was away."""
        self.link.close()
        self.link = self._connect()

    def _connect(self) -> Connection:
        return connect(self._broker)

    def say(self, topic: str, body: dict[str, Any], *, retain: bool = False) -> None:
        """A message below the site's name."""
        data = json.dumps(body).encode()
        self.link.publish([Outgoing(topic=f"edgeai/1/{self.site}/{topic}", body=data, retain=retain)])
