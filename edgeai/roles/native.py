"""What foreign code prints becomes records of the log, not lines amid JSON.

One that names the image it was printed for; and of what is printed at any other time one each half second.

Decoders (OpenJPEG, CharLS, libjpeg) and engines write to descriptors 1 and 2 without asking Python; so may a plugin's
sink, and any library at any time.
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from edgeai.logs import Log
from edgeai.process import flush_native

SHOWN: Final = 500
"""Characters of what was printed that stand in the record."""

POLL_S: Final = 0.5

log = Log("edgeai.roles.native")


def keep_the_log_apart() -> None:
    """Give this process's own log, which goes to ``sys.stderr``, a descriptor that no native library knows."""
    sys.stderr = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace", buffering=1)


@contextmanager
def told_as_one(**facts: object) -> Iterator[None]:
    """What is printed inside is one record, with these facts; nothing printed, no record.

    For one at a time: the descriptors are the process's. What is printed by a process that dies of it is lost; its
    death is told by the supervisor.
    """
    flush_native()
    printed = os.memfd_create("printed", os.MFD_CLOEXEC)
    before = os.dup(1), os.dup(2)
    try:
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        yield
    finally:
        flush_native()
        for number, own in zip((1, 2), before, strict=True):
            os.dup2(own, number)
            os.close(own)
        _tell(printed, **facts)
        os.close(printed)


class Rest:
    """From now on descriptors 1 and 2 lead nowhere but into the log, whatever thread or child writes to them.

    Into memory and not through a pipe: whoever prints never waits for a reader, whose turn may not come while it does.
    """

    def __init__(self) -> None:
        flush_native()
        self._printed = os.memfd_create("printed", os.MFD_CLOEXEC)
        fcntl.fcntl(self._printed, fcntl.F_SETFL, os.O_APPEND)  # it is emptied while others write
        for number in (1, 2):
            os.dup2(self._printed, number)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="printed", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._is_over.wait(POLL_S):
            _tell(self._printed)

    def close(self) -> None:
        """Say what is left, as the last act of a process."""
        self._is_over.set()
        self._thread.join()
        flush_native()
        _tell(self._printed)


def _tell(printed: int, **facts: object) -> None:
    """One record of what was printed, if anything, and none of it any more."""
    size = os.fstat(printed).st_size
    if size:
        text = os.pread(printed, SHOWN, 0).decode("utf-8", "replace")
        os.ftruncate(printed, 0)
        log.warning("native.printed", **facts, text=" ".join(text.split()), bytes=size)
