"""Doorbells: an empty datagram that says "look into the spool". Losing one costs a second, never a job."""

from __future__ import annotations

import os
import select
import socket
import threading
from pathlib import Path


class Bells:
    """Unix datagram sockets in one folder, a file a role."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Socket addresses hold 107 bytes and data_dir may be longer: address them through a descriptor.
        self._directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._mine: dict[str, socket.socket] = {}
        self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sender.setblocking(False)
        self._guard = threading.Lock()

    def _address(self, role: str) -> str:
        return f"/proc/self/fd/{self._directory}/{role}"

    def ring(self, role: str) -> None:
        """Wake ``role`` if it waits. Nobody there, or a bell that already rings, is fine."""
        try:
            self._sender.sendto(b"", self._address(role))
        except OSError:
            return

    def socket(self, role: str) -> socket.socket:
        """The bell that ``role`` listens to, for a caller with a selector of its own; made at the first call."""
        with self._guard:
            if role not in self._mine:
                (self._folder / role).unlink(missing_ok=True)
                bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                bell.setblocking(False)
                bell.bind(self._address(role))
                self._mine[role] = bell
            return self._mine[role]

    def wait(self, role: str, timeout_s: float) -> bool:
        """Wait for a ring of ``role``; True when there was one. Call once before looking, so that no ring is missed."""
        bell = self.socket(role)
        if not select.select([bell], [], [], max(0.0, timeout_s))[0]:
            return False
        try:
            while True:
                bell.recv(1)
        except BlockingIOError:
            return True

    def close(self) -> None:
        """Close all. Twice is fine."""
        with self._guard:
            while self._mine:
                self._mine.popitem()[1].close()
            self._sender.close()
            if self._directory >= 0:
                os.close(self._directory)
                self._directory = -1
