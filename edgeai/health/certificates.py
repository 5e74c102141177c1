"""The certificates that the profile names: until when senders and the broker will take them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from edgeai.config import DeviceConfig, Tls
from edgeai.health.catalogue import Problem, Stops, moment, problem

WARNING_DAYS: Final = 14
_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A PEM file of the profile.

    Attributes:
        name: the profile's key, ``ingest.scp.tls.certificate``.
        stops: what cannot go on without it.
        begins_at, ends_at: seconds since the epoch. Of a chain the part that all share; of several authorities the
            latest end, since any of them will do.
        ends: when each certificate in the file ends.
        why: why it cannot be read; empty when it can.
    """

    name: str
    path: Path
    stops: Literal["serving", "delivering"]
    begins_at: float = -math.inf
    ends_at: float = math.inf
    ends: tuple[float, ...] = ()
    why: str = ""

    def as_dict(self, now: float) -> dict[str, Any]:
        """For JSON; ``expires_s`` below zero has ended."""
        readable = not self.why
        return {
            "name": self.name,
            "file": self.path.name,
            "ends": moment(self.ends_at) if readable else None,
            "expires_s": round(self.ends_at - now) if readable else None,
        }


_cache: dict[Path, tuple[tuple[int, int, int], tuple[tuple[float, float], ...]]] = {}
"""File -> what it was when it was read, and (begin, end) of each certificate in it."""


def certificates(config: DeviceConfig) -> Iterator[Certificate]:
    """Every certificate that the profile names and that is in use. Cheap: a file is parsed once until it changes."""
    if config.ingest.scp.enabled:
        yield from _of_table("ingest.scp.tls", config.ingest.scp.tls, "serving")
    if config.mqtt.enabled:
        yield from _of_table("mqtt.tls", config.mqtt.tls, "delivering")


def _of_table(where: str, tls: Tls | None, stops: Literal["serving", "delivering"]) -> Iterator[Certificate]:
    for key, path in (("certificate", tls.certificate), ("ca", tls.ca)) if tls is not None else ():
        if path is None:
            continue
        name = f"{where}.{key}"
        try:
            periods = _periods(path)
        except (OSError, ValueError) as error:
            yield Certificate(name=name, path=path, stops=stops, why=str(error))
            continue
        ends = [end for _, end in periods]
        any_will_do = key == "ca"
        yield Certificate(
            name=name,
            path=path,
            stops=stops,
            begins_at=(min if any_will_do else max)(begin for begin, _ in periods),
            ends_at=max(ends) if any_will_do else min(ends),
            ends=tuple(ends),
        )


def _periods(path: Path) -> tuple[tuple[float, float], ...]:
    facts = path.stat()
    stamp = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
    known = _cache.get(path)
    if known is None or known[0] != stamp:
        from cryptography import x509

        listed = x509.load_pem_x509_certificates(path.read_bytes())
        periods = tuple(
            (item.not_valid_before_utc.timestamp(), item.not_valid_after_utc.timestamp()) for item in listed
        )
        known = _cache[path] = (stamp, periods)
    return known[1]


def certificate_problems(item: Certificate, now: float) -> Iterator[Problem]:
    """What is wrong with one at ``now``, seconds since the epoch."""
    stops: Stops = item.stops
    who = {"serving": "senders refuse", "delivering": "the broker refuses"}[item.stops]
    if item.why:
        yield problem(
            "certificate.unreadable",
            f"{item.name} ({item.path}) cannot be read: {item.why}",
            about=item.name,
            stops=stops,
        )
    elif now > item.ends_at:
        message = f"{item.name} ({item.path.name}) ended on {moment(item.ends_at)}: {who} this device"
        yield problem("certificate.expired", message, about=item.name, since=item.ends_at, stops=stops)
    elif now < item.begins_at:
        message = f"{item.name} ({item.path.name}) is not valid before {moment(item.begins_at)}"
        yield problem("certificate.not-yet-valid", message, about=item.name, stops=stops)
    else:
        end = min(end for end in item.ends if end >= now)
        if end - now < WARNING_DAYS * _DAY_S:
            message = f"{item.name} ({item.path.name}) ends on {moment(end)}"
            yield problem("certificate.expiring", message, about=item.name, days=round((end - now) / _DAY_S, 1))


__all__ = ["Certificate", "certificate_problems", "certificates"]
