"""One conductor signs for a repository: held by the folder, and by the store where conductors share one."""

from __future__ import annotations

import fcntl
import os

from edgeai.api.errors import ConfigError
from edgeai_fleet.conducting.store import Store
from edgeai_fleet.layout import Folder, told_of_disk


class Seat:
    """The place of the one that signs. The system and the server let go of it however its holder ends.

    Args:
        folder: the repository.
        store: what its conductors share.
    """

    def __init__(self, folder: Folder, store: Store) -> None:
        self._folder, self._store = folder, store
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Be the one, if nobody else is; whether this one is now. Asked again before each step: it may have been lost.

        Raises:
            ConfigError: ``fleet.store``, ``fleet.unwritable``.
        """
        if self._descriptor is None:
            self._descriptor = _held(self._folder)
        if self._descriptor is None:
            return False
        if self._store.hold():
            return True
        self.leave()
        return False

    def leave(self) -> None:
        """Let go of the folder; of the store, its end lets go. Twice is fine."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def conducted(what: str) -> ConfigError:
    """Another one signs."""
    return ConfigError(
        f"another conductor signs for {what}, or by the same store",
        code="fleet.conducted",
        remedy="end it first, or wait for its end with --standby; without --key this one looks on",
    )


def _held(folder: Folder) -> int | None:
    with told_of_disk(folder.path):
        descriptor = os.open(folder.path / ".conduct.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
