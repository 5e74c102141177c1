"""The keys of the trust folder that are bound to an end: until when the bundles that they signed still open."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta

from edgeai.api.errors import ConfigError
from edgeai.bundle.keys import bounds_of
from edgeai.config import DeviceConfig
from edgeai.health.catalogue import Problem, problem
from edgeai.health.certificates import WARNING_DAYS


def key_problems(config: DeviceConfig, now: float) -> Iterator[Problem]:
    """What ``trust.toml`` will do at the next start, at ``now``, seconds since the epoch. What is open stays open."""
    if config.trust.unsigned == "accept":
        return
    try:
        bounds = bounds_of(config.trust.keys)
    except ConfigError as error:
        yield problem("key.bounds-wrong", str(error).replace("\n", "; "), cause=error.code)
        return
    for name, bound in sorted(bounds.items()):
        if bound.ends is None:
            continue
        over = datetime.combine(bound.ends, time.max, UTC).timestamp()
        if now > over:
            message = f"the trust in the key {name} ended on {bound.ends}: its signatures do not count any more"
            yield problem("key.expired", message, about=name, since=over)
        elif now > over - timedelta(days=WARNING_DAYS).total_seconds():
            message = f"the trust in the key {name} ends on {bound.ends}"
            yield problem("key.expiring", message, about=name, days=round((over - now) / 86_400, 1))
