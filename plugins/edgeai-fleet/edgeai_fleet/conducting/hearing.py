"""What carts say over MQTT, gathered between two rounds: statuses, the newest of each, and results by digest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from edgeai.mqtt import Broker, Connection, connect
from edgeai_fleet.conducting.carts import Heard, Status, read_status

STATUS: Final = "edgeai/1/{site}/+/status"
RESULTS: Final = "edgeai/1/{site}/+/result/+"
SHARED: Final = "$share/edgeai-conduct/"
"""Before it with MQTT 5: shared out among conductors of the same sites, each result is heard by one. A shared
subscription gets nothing that is retained, so no status goes by one."""
MOST_WAITING: Final = 100_000
"""So many results are held between two rounds; more are passed over, and counted when the cart gives others."""

_QUIET_S: Final = 1.0
_SETTLE_S: Final = 60.0


class _Model(msgspec.Struct):
    digest: str


class _Result(msgspec.Struct):
    result_id: str
    outcome: str
    model: _Model


class Ears:
    """One connection, as long as it lasts.

    Args:
        broker: where.
        sites: of whose carts; all of them without.
    """

    def __init__(self, broker: Broker, sites: Sequence[str] = ()) -> None:
        self._lock = threading.Lock()
        self._statuses: dict[tuple[str, str], tuple[Status, float]] = {}
        self._results: list[Heard] = []
        self.connection: Connection = connect(broker)
        try:
            for site in sites or ("+",):
                self.connection.subscribe(STATUS.format(site=site), self._on_status)
                # MQTT 3.1.1 has no shared subscriptions: there each conductor hears all results.
                shared = SHARED if self.connection.protocol == "5" else ""
                self.connection.subscribe(shared + RESULTS.format(site=site), self._on_result)
        except Exception:
            self.connection.close()
            raise

    @property
    def is_open(self) -> bool:
        """Whether it stands."""
        return self.connection.is_open

    def take(self) -> tuple[dict[tuple[str, str], tuple[Status, float]], list[Heard]]:
        """What was heard since the last time: by (site, device) a status and when it came; and results."""
        with self._lock:
            heard = self._statuses, self._results
            self._statuses, self._results = {}, []
        return heard

    def give_back(self, statuses: dict[tuple[str, str], tuple[Status, float]], results: list[Heard]) -> None:
        """What was taken could not be kept: it comes again with the next, unless something newer was heard."""
        with self._lock:
            self._statuses = {**statuses, **self._statuses}
            self._results = [*results, *self._results][:MOST_WAITING]

    def settle(self) -> None:
        """Wait until all that was retained has come: a part of the carts must not be taken for all of them."""
        settle(self.connection, lambda: len(self._statuses))

    def close(self) -> None:
        """Hear no more. Twice is fine."""
        self.connection.close()

    def _on_status(self, topic: str, body: bytes) -> None:
        status = read_status(body)
        if status is not None:
            _, _, site, device, _ = topic.split("/")
            with self._lock:
                self._statuses[site, device] = status, time.time()

    def _on_result(self, topic: str, body: bytes) -> None:
        try:
            result = msgspec.json.decode(body, type=_Result)
        except (ValueError, RecursionError):
            return
        _, _, site, device, _, _ = topic.split("/")
        if result.outcome != "completed" or len(result.result_id) > 64 or len(result.model.digest) > 80:
            return
        heard = Heard(digest=result.model.digest, site=site, device=device, result_id=result.result_id)
        with self._lock:
            if len(self._results) < MOST_WAITING:
                self._results.append(heard)


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
