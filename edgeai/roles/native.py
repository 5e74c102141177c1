"""What native libraries print while an image is worked on: one record that names the image, not lines amid JSON.

Decoders (OpenJPEG, CharLS, libjpeg) and engines write to descriptors 1 and 2 without asking Python.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from edgeai.logs import Log
from edgeai.process import flush_native

SHOWN: Final = 500
"""Characters of what was printed that stand in the record."""

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
        size = os.lseek(printed, 0, os.SEEK_END)
        if size:
            text = os.pread(printed, SHOWN, 0).decode("utf-8", "replace")
            log.warning("native.printed", **facts, text=" ".join(text.split()), bytes=size)
        os.close(printed)
