"""Who is at the door of the SCP, and who is inside: every connection has a place, and places are bounded.

Whoever has not negotiated yet stands outside, and the oldest of them goes when others need the room; so
connections that say nothing shut out nobody. No thread and no clock here.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from edgeai.dicom.hosts import Hosts
from edgeai.dicom.negotiation import Reason

MAX_NEGOTIATING: Final = 64
"""Connections that negotiate at a time, TLS handshake included."""
MAX_NEGOTIATING_PER_ADDRESS: Final = 16
"""Of these, from one address."""

_S = TypeVar("_S", bound=socket.socket)


@dataclass(eq=False, slots=True, kw_only=True)
class Place:
    """One connection. Only the door changes it."""

    connection: socket.socket
    address: str
    thread: threading.Thread | None = None
    wake: Callable[[], None] | None = None
    """Ends the association on it, once there is one."""
    is_established: bool = False
    is_known: bool = False
    """Of a known peer's address, when it was established."""
    is_evicted: bool = False


class Door:
    """Counts connections in, out and away. ``hosts`` are the addresses of known peers."""

    def __init__(self, *, max_associations: int, max_per_address: int, hosts: Hosts) -> None:
        self.hosts = hosts
        self._max_associations = max_associations
        self._max_per_address = max_per_address
        self._lock = threading.Lock()
        self._places: dict[Place, None] = {}
        self._refusals: Counter[Reason] = Counter()

    @property
    def reserve(self) -> int:
        """Associations that only known peers may have: one for each, and never more than half of all."""
        return min(len(self.hosts), self._max_associations // 2)

    @property
    def refusals(self) -> Mapping[str, int]:
        """Reason -> how often, since the start; every reason is there."""
        with self._lock:
            return {str(reason): self._refusals[reason] for reason in Reason}

    def places(self) -> list[Place]:
        """All connections, the oldest first."""
        with self._lock:
            return list(self._places)

    def enter(self, connection: socket.socket, address: str) -> Place | None:
        """A place for a new connection, if need be that of an older one; ``None`` while too many still end."""
        with self._lock:
            # Who was sent away needs a moment to be gone: twice as many as may negotiate is the end.
            if len(self._places) >= self._max_associations + 2 * MAX_NEGOTIATING:
                return None
            self._make_room(address)
            place = Place(connection=connection, address=address)
            self._places[place] = None
            return place

    def _make_room(self, address: str) -> None:
        outside = [place for place in self._places if not place.is_established and not place.is_evicted]
        of_this = [place for place in outside if place.address == address]
        if len(of_this) >= MAX_NEGOTIATING_PER_ADDRESS:
            self._evict(of_this[0])
        elif len(outside) >= MAX_NEGOTIATING:
            self._evict(next((place for place in outside if not self.hosts.knows(place.address)), outside[0]))

    def _evict(self, place: Place) -> None:
        place.is_evicted = True
        _shut(place.connection, socket.SHUT_RDWR)

    def admit(self, place: Place) -> Reason | None:
        """The place is an association's from now on; or why there is none to be had."""
        known = self.hosts.knows(place.address)
        with self._lock:
            if place.is_evicted:
                return Reason.EVICTED
            inside = [other for other in self._places if other.is_established]
            if len(inside) >= self._max_associations:
                return Reason.TOO_MANY
            if sum(other.address == place.address for other in inside) >= self._max_per_address:
                return Reason.PER_ADDRESS
            strangers = sum(not other.is_known for other in inside)
            if not known and strangers >= self._max_associations - self.reserve:
                return Reason.RESERVED
            place.is_established, place.is_known = True, known
            return None

    def wrap(self, place: Place, make: Callable[[socket.socket], _S]) -> _S:
        """Put the socket that ``make`` makes of the place's own in its stead. ``make`` must not wait."""
        with self._lock:
            place.connection = made = make(place.connection)
            return made

    def cut(self, place: Place, how: int = socket.SHUT_RDWR) -> None:
        """From another thread: no more bytes. Nothing when the place was left."""
        with self._lock:
            if place in self._places:
                _shut(place.connection, how)

    def leave(self, place: Place) -> None:
        """The connection ends; call it before the socket is closed, so that nobody cuts another one's."""
        with self._lock:
            self._places.pop(place, None)

    def refuse(self, reason: Reason) -> None:
        """Count one that did not come in."""
        with self._lock:
            self._refusals[reason] += 1


def _shut(connection: socket.socket, how: int) -> None:
    try:
        # Not SSLSocket's own, which would turn the owner's next read into one of ciphertext.
        socket.socket.shutdown(connection, how)
    except OSError:
        return  # it is disconnected already
