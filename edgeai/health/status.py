"""The retained MQTT status: the account as the fleet sees it, and when it is news."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Any, Final

from edgeai import __version__
from edgeai.config import DeviceConfig
from edgeai.health.account import Health, ledger_dict
from edgeai.health.catalogue import Problem

STATUS_SCHEMA: Final = 2
"""Number of the JSON form; ``edgeai/schemas/status-2.json`` describes it."""

FIGURES_EVERY_S: Final = 60.0
"""How often figures alone (counts, ages) are worth a message."""

ALIVE_EVERY_S: Final = 900.0
"""So often it is said again although nothing changed: a fleet that goes by it must tell idle from dead."""

_FIGURES: Final = ("ledger", "figures")
_TIME: Final = "at"
_OWN_SINK: Final = "mqtt"


def status_body(config: DeviceConfig, health: Health, since: str) -> dict[str, Any]:
    """The status of this moment (``edgeai/schemas/status-2.json``).

    Args:
        config: the profile.
        health: the account.
        since: when publish started, RFC 3339.
    """
    # That the broker itself is away reaches only who sees it anyway, and would change with every reconnect.
    problems = [item for item in health.problems if (item.code, item.about) != ("sink.down", _OWN_SINK)]
    stops = {item.stops for item in problems}
    return {
        "schema": STATUS_SCHEMA,
        "site": config.device.site,
        "device_id": config.device.id,
        "state": "degraded" if problems else "online",
        "serving": not stops & {"serving", "both"},
        "delivering": not stops & {"delivering", "both"},
        "edgeai_version": __version__,
        "machine": os.uname().machine,
        "labels": dict(config.device.labels),
        "backends": list(config.plugins.allow),
        "since": since,
        "at": datetime.fromtimestamp(health.read_at, UTC).isoformat(timespec="seconds"),
        "problems": [_stable(item) for item in problems],
        "warnings": [_stable(item) for item in health.warnings],
        "deployments": [deployment.as_dict() for deployment in health.deployments],
        "ledger": ledger_dict(health.ledger, health.read_at),
        "figures": [
            {"code": item.code, "about": item.about, **item.facts}
            for item in (*problems, *health.warnings)
            if item.facts
        ],
    }


def _stable(item: Problem) -> dict[str, Any]:
    body = item.as_dict()
    del body["facts"]
    return body


class StatusNews:
    """Whether a status is to be said: at once when more than figures changed, now and then for those, and for life."""

    def __init__(self) -> None:
        self._said: dict[str, Any] = {}
        self._said_at = 0.0

    def is_news(self, body: dict[str, Any]) -> bool:
        """Call with each status; True means that it is to be sent, and counts as sent."""
        now, body = time.monotonic(), {name: value for name, value in body.items() if name != _TIME}
        changed = _without_figures(body) != _without_figures(self._said)
        pause_s = FIGURES_EVERY_S if body != self._said else ALIVE_EVERY_S
        if not changed and now - self._said_at < pause_s:
            return False
        self._said, self._said_at = body, now
        return True


def _without_figures(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in _FIGURES}
