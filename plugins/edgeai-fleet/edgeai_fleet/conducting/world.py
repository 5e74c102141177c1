"""What a simulation assumes of carts, links and people, and what carts say in such a world."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from edgeai.rollouts import Facts
from edgeai.windows import is_open
from edgeai_fleet.conducting.judging import STATUS_EVERY_S

DAY_S: Final = 86_400.0
_STEP: Final = timedelta(minutes=5)
MESSAGE_BYTES: Final = {"result": 1030, "status": 1390, "event": 360}
"""Of a message, as the carts of ``benchmarks/thousand`` send them: one deployment, one finding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is assumed of carts and links.

    Attributes:
        bytes: that a cart fetches.
        link: bytes a second, of each cart.
        look_every_s: between two looks at the repository.
        images: completed results a day, of each cart; they come by chance.
        idle: share of carts without any.
        needed: results that prove the bundle.
        rehearsal_s: of the golden cases, with opening the engine.
        rehearsal_fails: share of carts that do not answer them.
        probation_fails: share of carts that go back on probation.
        silent: share of carts that are not heard any more once they have switched.
        agrees: share of images on which the new bundle agrees with the one that runs, where a shadow is asked for.
        approved_after_s: a second key approves each phase that needs it so long after it was opened; none: only what
            is signed already counts.
        utc_offset_h: of the carts' clocks, by which windows are open.
        longest_s: after so long the simulation ends, whatever is open.
        seed: of all chance.
    """

    bytes: int = 400_000
    link: float = 125_000.0
    look_every_s: float = 21_600.0
    images: float = 40.0
    idle: float = 0.0
    needed: int = 20
    rehearsal_s: float = 30.0
    rehearsal_fails: float = 0.0
    probation_fails: float = 0.0
    silent: float = 0.0
    agrees: float = 0.99
    approved_after_s: float | None = None
    utc_offset_h: float = 0.0
    longest_s: float = 90 * DAY_S
    seed: int = 1

    def local(self, epoch: float) -> datetime:
        """The carts' own time."""
        return datetime.fromtimestamp(epoch, UTC) + timedelta(hours=self.utc_offset_h)

    def until_open_s(self, windows: tuple[str, ...], epoch: float) -> float:
        """Seconds until the next of these windows is open; 0 where one is, or there is none. To five minutes."""
        now = self.local(epoch)
        for step in range(7 * 24 * 12 + 1):
            if is_open(windows, now + step * _STEP):
                return step * _STEP.total_seconds()
        return 7 * DAY_S  # none of a whole week: asked again then

    def said(self, images_a_day: float, seconds: float) -> dict[str, float]:
        """Results and statuses of a cart in so long.

        A status is said with each image and each look, since counts and times in it change, and otherwise again after
        ``STATUS_EVERY_S`` without one: of changes that come by chance at a rate, that makes this many.
        """
        images = images_a_day / DAY_S
        changes = images + 1.0 / self.look_every_s
        return {"result": images * seconds, "status": seconds * changes / -math.expm1(-STATUS_EVERY_S * changes)}


def fleet_of(number: int, model: str) -> list[Facts]:
    """So many carts of no particular kind, ten to a site."""
    return [
        Facts(site=f"site-{at // 10}", device=f"cart-{at % 10}", edgeai="0.0.0", model=model, digest="before")
        for at in range(number)
    ]
