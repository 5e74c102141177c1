"""What carts say over MQTT, gathered between two rounds: the newest status of each, results by digest, ends of bundles.

A cart tells in events (``update.*``) how a bundle ended on it. They are queued on the cart and delivered once it
reaches the broker; its retained status has the last end alone, and a last will overwrites that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from edgeai.mqtt import Broker, Connection, connect
from edgeai_fleet.conducting import truth
from edgeai_fleet.conducting.carts import AWAY, Ended, EndHeard, Heard, Status, read_status
from edgeai_fleet.conducting.judging import LOST, PARDONED

STATUS: Final = "edgeai/1/{site}/+/status"
RESULTS: Final = "edgeai/1/{site}/+/result/+"
EVENTS: Final = "edgeai/1/{site}/+/event"
SHARED: Final = "$share/edgeai-conduct-{group}/"
"""Before it with MQTT 5, where conductors have one store: each result and event is heard by one of those of the same
sites. A shared subscription gets nothing that is retained, so no status goes by one."""
MOST_WAITING: Final = 100_000
"""So many results are held between two rounds; more are passed over, and counted when the cart gives others."""
MAX_EVENT_BYTES: Final = 64 << 10

_QUIET_S: Final = 1.0
_SETTLE_S: Final = 60.0
_UPDATE: Final = "update."


class _Model(msgspec.Struct):
    digest: str


class _Result(msgspec.Struct):
    site: str
    device_id: str
    result_id: str
    outcome: str
    model: _Model


class _Facts(msgspec.Struct):
    digest: str | None = None
    code: str | None = None
    why: str | None = None


class _Event(msgspec.Struct):
    kind: str
    facts: _Facts


@dataclass(slots=True)
class Taken:
    """What was heard: by (site, device) a status that says what a cart is, and when it came; who went away after that;
    completed results; ends of bundles.
    """

    statuses: dict[tuple[str, str], tuple[Status, float]] = field(default_factory=dict)
    away: set[tuple[str, str]] = field(default_factory=set)
    results: list[Heard] = field(default_factory=list)
    ends: list[EndHeard] = field(default_factory=list)


class Ears:
    """One connection, as long as it lasts.

    Args:
        broker: where.
        sites: of whose carts; all of them without.
        group: of the conductors that share results, their store's name; who has none hears every result.
    """

    def __init__(self, broker: Broker, sites: Sequence[str] = (), group: str = "") -> None:
        self._lock = threading.Lock()
        self._statuses: dict[tuple[str, str], tuple[Status, float]] = {}
        self._away: set[tuple[str, str]] = set()
        self._results: list[Heard] = []
        self._ends: list[EndHeard] = []
        self._signed: dict[str, float] = {}
        self.connection: Connection = connect(broker)
        try:
            # MQTT 3.1.1 has no shared subscriptions: there each conductor hears all results and events.
            shared = SHARED.format(group=group) if group and self.connection.protocol == "5" else ""
            for site in sites or ("+",):
                self.connection.subscribe(STATUS.format(site=site), self._on_status)
                self.connection.subscribe(shared + RESULTS.format(site=site), self._on_result)
                self.connection.subscribe(shared + EVENTS.format(site=site), self._on_event)
            self.connection.subscribe(truth.topic_of("+"), self._on_truth)
        except Exception:
            self.connection.close()
            raise

    @property
    def is_open(self) -> bool:
        """Whether it stands."""
        return self.connection.is_open

    def take(self) -> Taken:
        """What was heard since the last time."""
        with self._lock:
            taken = Taken(self._statuses, self._away, self._results, self._ends)
            self._statuses, self._away, self._results, self._ends = {}, set(), [], []
        return taken

    def give_back(self, taken: Taken) -> None:
        """What was taken could not be kept: it comes again with the next, unless something newer was heard."""
        with self._lock:
            self._away |= taken.away - self._statuses.keys()
            self._statuses = {**taken.statuses, **self._statuses}
            self._results = [*taken.results, *self._results][:MOST_WAITING]
            self._ends = [*taken.ends, *self._ends][:MOST_WAITING]

    def told_by_signer(self, rollout: str, now: float) -> bool:
        """Whether one that signs has just said how a rollout stands."""
        return abs(now - self._signed.get(rollout, -truth.FRESH_S)) < truth.FRESH_S

    def settle(self) -> None:
        """Wait until all that was retained has come: a part of the carts must not be taken for all of them."""
        settle(self.connection, lambda: len(self._statuses) + len(self._away))

    def close(self) -> None:
        """Hear no more. Twice is fine."""
        self.connection.close()

    def _on_status(self, topic: str, body: bytes) -> None:
        status = read_status(body)
        if status is None:
            return
        _, _, site, device, _ = topic.split("/")
        with self._lock:
            if status.state == AWAY:  # what it said just before is not forgotten for that
                self._away.add((site, device))
            else:
                self._away.discard((site, device))
                self._statuses[site, device] = status, time.time()

    def _on_result(self, topic: str, body: bytes) -> None:
        try:
            result = msgspec.json.decode(body, type=_Result)
        except (ValueError, RecursionError):
            return
        _, _, site, device, _, _ = topic.split("/")
        if (result.site, result.device_id) != (site, device):
            return  # the broker vouches for the topic: what is of another cart counts for neither
        if result.outcome != "completed" or len(result.result_id) > 64 or len(result.model.digest) > 80:
            return
        heard = Heard(digest=result.model.digest, site=site, device=device, result_id=result.result_id)
        with self._lock:
            if len(self._results) < MOST_WAITING:
                self._results.append(heard)

    def _on_event(self, topic: str, body: bytes) -> None:
        _, _, site, device, _ = topic.split("/")
        ended = read_end(body)
        if ended is not None:
            with self._lock:
                if len(self._ends) < MOST_WAITING:
                    self._ends.append(EndHeard(site=site, device=device, ended=ended))

    def _on_truth(self, topic: str, body: bytes) -> None:
        at = truth.signed_at(body)
        if at is not None:
            self._signed[topic.rsplit("/", 1)[1]] = at


def read_end(body: bytes) -> Ended | None:
    """How a bundle ended on a cart, of an event that says so, or that it may come again; ``None`` for any other."""
    if len(body) > MAX_EVENT_BYTES:
        return None
    try:
        event = msgspec.json.decode(body, type=_Event)
    except (ValueError, RecursionError):
        return None
    move, facts = event.kind.removeprefix(_UPDATE), event.facts
    if (
        not event.kind.startswith(_UPDATE)
        or move not in (*LOST, PARDONED)
        or not facts.digest
        or len(facts.digest) > 80
    ):
        return None
    return Ended(move=move, digest=facts.digest, code=(facts.code or "")[:100], why=(facts.why or "")[:500])


class Retained:
    """What is retained on some topics, and the newest of each as it comes.

    Args:
        broker: where.
        topics: filters.
    """

    def __init__(self, broker: Broker, topics: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._bodies: dict[str, bytes] = {}
        self.connection: Connection = connect(broker)
        try:
            for topic in topics:
                self.connection.subscribe(topic, self._on)
        except Exception:
            self.connection.close()
            raise
        settle(self.connection, lambda: len(self._bodies))

    def bodies(self) -> dict[str, bytes]:
        """By topic."""
        with self._lock:
            return dict(self._bodies)

    def close(self) -> None:
        """Hear no more. Twice is fine."""
        self.connection.close()

    def _on(self, topic: str, body: bytes) -> None:
        with self._lock:
            if body:
                self._bodies[topic] = body
            else:
                self._bodies.pop(topic, None)  # it was taken away


def settle(connection: Connection, count: Callable[[], int]) -> None:
    """Wait until nothing new has come for a while, or the connection is lost."""
    before, quiet_since = -1, time.monotonic()
    end = quiet_since + _SETTLE_S
    while (now := time.monotonic()) < end and now - quiet_since < _QUIET_S and not connection.wait_lost(0.05):
        if (have := count()) != before:
            before, quiet_since = have, time.monotonic()
