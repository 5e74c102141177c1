"""One conductor signs for a repository: held by the folder, and by the store where conductors share one."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from edgeai.api.errors import ConfigError
from edgeai_fleet.conducting.store import Store
from edgeai_fleet.layout import Folder, told_of_disk


@contextmanager
def the_only_one(folder: Folder, store: Store, *, is_needed: bool) -> Iterator[None]:
    """Hold both for as long as the block runs; the system lets go however this process ends.

    Raises:
        ConfigError: ``fleet.conducted``: another conductor signs here.
    """
    if not is_needed:
        yield
        return
    with told_of_disk(folder.path):
        descriptor = os.open(folder.path / ".conduct.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _conducted(f"of {folder.path}") from error
        if not store.hold():
            raise _conducted("by this store")
        yield
    finally:
        os.close(descriptor)


def _conducted(what: str) -> ConfigError:
    return ConfigError(
        f"another conductor signs {what}",
        code="fleet.conducted",
        remedy="end it first; give no --key to look on, or --sites without --key to hear a part for it",
    )
