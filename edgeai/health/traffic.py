"""What moved lately: arrivals that did not come in, whatever the reason was, and messages that left."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Final

from edgeai.owners import owner_of
from edgeai.spool import Spool

RECENT_S: Final = 30.0
"""How long a refusal speaks for the present."""

FULL: Final = ("too-many", "reserved")
"""Reasons of ``negotiation.Reason`` that mean that a peer which did nothing wrong was sent away."""
CROWD: Final = ("per-address", "evicted", "timed-out", "tls", "malformed", "unsupported")
"""Reasons that speak of whoever connects and sends nothing of use."""


class Traffic:
    """Compares counters between looks. ``detail`` may be called from another thread."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._accepted = -1
        self._refused: dict[str, int] = {}
        self._delivered: dict[str, int] = {}
        self._moved_at: dict[str, float] = {}
        self._refusing: dict[str, Any] = {}
        self._refused_at = 0.0
        self._rejected: dict[str, int] = {}
        self._ingest = 0
        self._recent: deque[tuple[float, str, int]] = deque()

    def look(self) -> None:
        """Note what changed since the last look.

        Raises:
            SpoolError: the spool cannot be read.
        """
        now = time.monotonic()
        accepted, refused, delivered = self._counts()
        if self._accepted < 0:
            self._refused = refused  # what was before the first look was not lately
        fresh = {code: count - self._refused.get(code, 0) for code, count in refused.items()}
        fresh = {code: count for code, count in fresh.items() if count > 0}
        if fresh:
            code = max(fresh, key=lambda name: fresh[name])
            since = self._refusing.get("since", time.time())
            count = self._refusing.get("count", 0) + sum(fresh.values())
            self._refusing, self._refused_at = {"code": code, "count": count, "since": since}, now
        elif accepted > self._accepted or now - self._refused_at > RECENT_S:
            self._refusing = {}
        for place, count in delivered.items():
            if count != self._delivered.get(place):
                self._moved_at[place] = now
        self._accepted, self._refused, self._delivered = accepted, refused, delivered
        self._look_at_connections(now)

    def _counts(self) -> tuple[int, dict[str, int], dict[str, int]]:
        """How many came in, code -> how many the device itself refused, ``sink/lane`` -> how many messages left."""
        accepted, refused, delivered = 0, dict[str, int](), dict[str, int]()
        for counter in self._spool.counters():
            labels = counter.labels
            if counter.name == "messages_delivered":
                delivered[f"{labels.get('sink', '')}/{labels.get('lane', '')}"] = counter.value
            elif counter.name == "instances" and labels.get("outcome") != "refused":
                accepted += counter.value
            elif counter.name == "instances" and owner_of(labels.get("code", "")) == "device":
                refused[labels["code"]] = counter.value
        return accepted, refused, delivered

    def _look_at_connections(self, now: float) -> None:
        note = self._spool.notes().get("ingest")
        counts = {str(key): int(value) for key, value in (note.detail.get("rejections") or {}).items()} if note else {}
        if note is None or note.pid != self._ingest:
            self._ingest, self._rejected = (note.pid if note else 0), {}  # it counts from its own start
        for reason, count in counts.items():
            fresh = count - self._rejected.get(reason, 0)
            if fresh > 0:
                self._recent.append((now, reason, fresh))
        self._rejected = counts
        while self._recent and now - self._recent[0][0] > RECENT_S:
            self._recent.popleft()

    def detail(self) -> dict[str, Any]:
        """For the heartbeat: what is being refused, connections lately, and for how long what stood still."""
        recent, now = list(self._recent), time.monotonic()
        return {
            "refusing": dict(self._refusing),
            "full": sum(count for _, reason, count in recent if reason in FULL),
            "crowd": sum(count for _, reason, count in recent if reason in CROWD),
            "still_s": {place: round(now - at, 1) for place, at in list(self._moved_at.items())},
        }
