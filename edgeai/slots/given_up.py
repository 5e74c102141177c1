"""What this device could not rehearse, for no fault of the bundle: it is not fetched again and again.

It may come at once where the device is another than it was (an engine was installed, a plugin allowed, the deployment
changed), and else after a pause that doubles.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from importlib import metadata
from typing import TYPE_CHECKING, Final

from edgeai.bundle.releases import Numbered
from edgeai.slots.record import GivenUp, Slots, SlotsError

if TYPE_CHECKING:
    from edgeai.config import Deployment, DeviceConfig

_PAUSE_MIN_H: Final = 1
_PAUSE_MAX_H: Final = 7 * 24


def cause_of(config: DeviceConfig, deployment: Deployment) -> str:
    """A digest of what of a device decides whether a bundle can be rehearsed: its profile and what is installed."""
    body = {
        "deployment": deployment.model_dump(mode="json", exclude={"bundle"}),
        "profile": config.model_dump(mode="json", include={"plugins", "trust"}),
        "installed": sorted({f"{item.name}=={item.version}" for item in metadata.distributions()}),
    }
    return "sha256:" + hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()


def until(given_up: GivenUp) -> datetime:
    """When it may be tried again, with nothing changed."""
    hours = min(_PAUSE_MAX_H, _PAUSE_MIN_H * 2 ** min(given_up.times - 1, 30))
    return datetime.fromisoformat(given_up.since) + timedelta(hours=hours)


def hold_to_given_up(
    slots: Slots, bundle: Numbered, config: DeviceConfig, deployment: Deployment, now: datetime | None = None
) -> None:
    """Refuse a bundle that was given up here, while nothing has changed and its pause is not over.

    Raises:
        SlotsError: ``slots.given-up``.
    """
    known, at = slots.given_up.get(bundle.digest), now or datetime.now(UTC)
    if known is None or known.cause != cause_of(config, deployment):
        return
    again = until(known)
    if datetime.fromisoformat(known.since) <= at < again:  # a clock that went back holds nothing up
        raise SlotsError(
            f"{bundle} was given up on this device at {known.since}: {known.why}",
            code="slots.given-up",
            remedy=f"cure that, and it comes with the next look; else it is tried again after {again:%F %H:%M} UTC",
        )
