"""Since when somebody hears a site's carts without a gap: a cart that nobody heard has not been silent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edgeai_fleet.conducting.store import Round

GAP_S: Final = 300.0
"""A conductor that was away for longer has not listened meanwhile: no cart was silent to it."""
MOST_GAP_S: Final = 36 * 3600.0
"""One that comes in a rhythm (by a timer, say) finds what the broker retained: it may be away half as long again as it
was the last time, and never for longer than this."""
_ALL: Final = "*"
_LAST, _SINCE, _AWAY = "heard last ", "heard since ", "heard after "


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
    last, since, away = kept.times(_LAST), kept.times(_SINCE), kept.times(_AWAY)
    for site in sites or (_ALL,):
        before = last.get(site, now)
        if not _is_fresh(last.get(site), away.get(site), now) or site not in since:
            since[site] = now
            kept.keep_time(f"{_SINCE}{site}", now)
        was_away = gap if (gap := abs(now - before)) > GAP_S else 0.0
        if was_away != away.get(site, 0.0):
            away[site] = was_away
            kept.keep_time(f"{_AWAY}{site}", was_away)
        last[site] = now
        kept.keep_time(f"{_LAST}{site}", now)
    fresh = {site: at for site, at in since.items() if _is_fresh(last.get(site), away.get(site), now)}
    return Listening(now=now, since=fresh)


def _is_fresh(last: float | None, was_away: float | None, now: float) -> bool:
    """Whether it listened a moment ago, or as lately as it comes; by two clocks, which may differ a little."""
    return last is not None and abs(now - last) <= max(GAP_S, min(1.5 * (was_away or 0.0), MOST_GAP_S))
