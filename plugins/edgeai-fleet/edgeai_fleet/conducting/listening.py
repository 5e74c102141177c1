"""Since when somebody hears a site's carts without a gap: a cart that nobody heard has not been silent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edgeai_fleet.conducting.store import Round

GAP_S: Final = 300.0
"""A conductor that was away for longer has not listened meanwhile: no cart was silent to it."""
_ALL: Final = "*"
_LAST, _SINCE = "heard last ", "heard since "


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Who listens now.

    Attributes:
        now: seconds since the epoch.
        since: by site since when, without a gap; ``*`` of who hears all of them.
    """

    now: float
    since: Mapping[str, float]

    def of(self, site: str) -> float:
        """Since when a site is heard; now, where nobody hears it."""
        return min(self.since.get(site, self.now), self.since.get(_ALL, self.now))

    @property
    def whole(self) -> float:
        """Since when everybody is heard who is: of the site that is heard for the shortest time."""
        return self.since[_ALL] if _ALL in self.since else max(self.since.values(), default=self.now)

    def deaf(self, sites: Iterable[str]) -> list[str]:
        """Those of these that nobody hears."""
        return [] if _ALL in self.since else sorted({site for site in sites if site not in self.since})


def listen(kept: Round, sites: Sequence[str], now: float) -> Listening:
    """Note that these sites are heard now (all, without), and look who hears what.

    Args:
        kept: the store, in a transaction.
        sites: of this conductor.
        now: seconds since the epoch.
    """
    last, since = kept.times(_LAST), kept.times(_SINCE)
    for site in sites or (_ALL,):
        if not _is_fresh(last.get(site), now) or site not in since:
            since[site] = now
            kept.keep_time(f"{_SINCE}{site}", now)
        last[site] = now
        kept.keep_time(f"{_LAST}{site}", now)
    fresh = {site: at for site, at in since.items() if _is_fresh(last.get(site), now)}
    return Listening(now=now, since=fresh)


def _is_fresh(last: float | None, now: float) -> bool:
    """Whether it listened a moment ago; by two clocks, which may differ a little."""
    return last is not None and abs(now - last) <= GAP_S
