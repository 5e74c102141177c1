"""Which addresses the names of the known peers stand for, looked up beside the connections and never by one of them.

A name server that is away would otherwise hold a thread for each caller that knows a peer's AE title.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Iterable
from typing import Final

from edgeai.logs import Log

_AGAIN_S: Final = 60.0
_AFTER_FAILURE_S: Final = 5.0
_FIRST_S: Final = 5.0
"""How long a caller waits for the very first look-up."""
_log = Log(__name__)


class Hosts:
    """Names and addresses of peers. ``start`` looks names up on a thread of its own until ``stop``."""

    def __init__(self, names: Iterable[str]) -> None:
        # Every name has its entry from the start: nobody may see this grow.
        self._addresses: dict[str, frozenset[str]] = {}
        self._names: list[str] = []
        for name in sorted(set(names)):
            try:
                self._addresses[name] = frozenset({plain(name)})
            except ValueError:
                self._addresses[name] = frozenset()
                self._names.append(name)
        self._looked_up = threading.Event()
        self._stopping = threading.Event()

    def __len__(self) -> int:
        return len(self._addresses)

    def start(self) -> None:
        """Begin to look up, when there is anything to look up."""
        if self._names:
            threading.Thread(target=self._look_up, name="dicom-peers", daemon=True).start()

    def stop(self) -> None:
        """End it; a look-up that is under way is not waited for."""
        self._stopping.set()

    def addresses(self, name: str) -> frozenset[str]:
        """The addresses of one of the names; none when it does not resolve."""
        if name in self._names:
            self._looked_up.wait(_FIRST_S)
        return self._addresses.get(name, frozenset())

    def knows(self, address: str) -> bool:
        """Whether it is the address of any; never waits."""
        here = plain(address)
        return any(here in addresses for addresses in self._addresses.values())

    def _look_up(self) -> None:
        while not self._stopping.is_set():
            pause = _AGAIN_S
            for name in self._names:
                try:
                    entries = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
                    self._addresses[name] = frozenset(plain(str(entry[4][0])) for entry in entries)
                except (OSError, ValueError) as error:
                    self._addresses[name] = frozenset()  # a name that does not resolve is nobody's
                    pause = _AFTER_FAILURE_S
                    _log.warning("peer.not-resolved", host=name, why=str(error))
            self._looked_up.set()
            self._stopping.wait(pause)


def plain(address: str) -> str:
    """An IPv4 address that came over an IPv6 socket is the same address. Raises ``ValueError`` when it is none."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)
