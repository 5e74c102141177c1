"""The certificates that the profile names: until when senders and the broker will take them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from edgeai.config import DeviceConfig, Tls
from edgeai.health.catalogue import Problem, Stops, moment, problem
from edgeai.tls_files import Periods, periods_of

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
        refusal: why the role that uses it goes on with what it had loaded before; empty where it does not.
        is_stale: the file is another than what is loaded.
    """

    name: str
    path: Path
    stops: Literal["serving", "delivering"]
    begins_at: float = -math.inf
    ends_at: float = math.inf
    ends: tuple[float, ...] = ()
    why: str = ""
    refusal: str = ""
    is_stale: bool = False

    def as_dict(self, now: float) -> dict[str, Any]:
        """For JSON; ``expires_s`` below zero has ended."""
        readable = not self.why
        return {
            "name": self.name,
            "file": self.path.name,
            "ends": moment(self.ends_at) if readable else None,
            "expires_s": round(self.ends_at - now) if readable else None,
        }


_cache: dict[Path, tuple[tuple[int, int, int], Periods]] = {}
"""File -> what it was when it was read, and (begin, end) of each certificate in it."""


def certificates(config: DeviceConfig, *words: Mapping[str, Any] | None) -> Iterator[Certificate]:
    """Every certificate that the profile names and that is in use. Cheap: a file is parsed once until it changes.

    Args:
        config: the profile.
        words: what living roles say they have loaded (``TlsFiles.detail``). What is loaded counts, and where nobody
            says so, the file.
    """
    for item in _of_profile(config):
        word = next((word for word in words if word and item.name in word["loaded"]), None)
        yield item if word is None else _loaded(item, word)


def _loaded(item: Certificate, word: Mapping[str, Any]) -> Certificate:
    periods = tuple((begin, end) for begin, end in word["loaded"][item.name]["periods"])
    loaded = _certificate(item.name, item.path, item.stops, periods)
    is_stale = bool(item.why) or (item.begins_at, item.ends) != (loaded.begins_at, loaded.ends)
    return replace(loaded, is_stale=is_stale, refusal=str(word.get("refusal") or ""))


def _of_profile(config: DeviceConfig) -> Iterator[Certificate]:
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
        yield _certificate(name, path, stops, periods)


def _certificate(name: str, path: Path, stops: Literal["serving", "delivering"], periods: Periods) -> Certificate:
    ends = tuple(end for _, end in periods)
    any_will_do = name.endswith(".ca")
    return Certificate(
        name=name,
        path=path,
        stops=stops,
        begins_at=(min if any_will_do else max)(begin for begin, _ in periods),
        ends_at=max(ends) if any_will_do else min(ends),
        ends=ends,
    )


def _periods(path: Path) -> Periods:
    facts = path.stat()
    stamp = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
    known = _cache.get(path)
    if known is None or known[0] != stamp:
        known = _cache[path] = (stamp, periods_of(path))
    return known[1]


def certificate_problems(item: Certificate, now: float) -> Iterator[Problem]:
    """What is wrong with one at ``now``, seconds since the epoch."""
    stops: Stops = item.stops
    renewed = "the file was renewed, and is not in use yet: restart the service" if item.is_stale else ""
    if item.refusal and item.name.endswith(".certificate"):  # said once for a table
        message = f"the files of {item.name.rpartition('.')[0]} changed and cannot be used, so the old ones stay"
        yield problem("certificate.not-renewed", f"{message}: {item.refusal}", about=item.name)
    if item.why:
        yield problem(
            "certificate.unreadable",
            f"{item.name} ({item.path}) cannot be read: {item.why}",
            about=item.name,
            stops=stops,
        )
    elif now > item.ends_at:
        message = f"{item.name} ({item.path.name}) ended on {moment(item.ends_at)}: {_without(item)}"
        yield problem("certificate.expired", message, about=item.name, since=item.ends_at, stops=stops, remedy=renewed)
    elif now < item.begins_at:
        message = f"{item.name} ({item.path.name}) is not valid before {moment(item.begins_at)}"
        yield problem("certificate.not-yet-valid", message, about=item.name, stops=stops)
    else:
        end = min(end for end in item.ends if end >= now)
        if end - now < WARNING_DAYS * _DAY_S:
            message = f"{item.name} ({item.path.name}) ends on {moment(end)}"
            yield problem(
                "certificate.expiring", message, about=item.name, remedy=renewed, days=round((end - now) / _DAY_S, 1)
            )


def _without(item: Certificate) -> str:
    """What no longer goes: who has a connection keeps it, and nobody was refused before somebody asks."""
    own = item.name.endswith(".certificate")
    if item.stops == "serving":
        return "senders that check it take no new connection" if own else "senders' certificates are no longer taken"
    return "a broker that checks it takes no new connection" if own else "no broker is taken at the next connection"


__all__ = ["Certificate", "certificate_problems", "certificates"]
