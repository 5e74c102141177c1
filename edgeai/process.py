"""What a process that runs foreign code does first: it keeps standard output to itself, and dies with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, TextIO

PARENT: Final = "EDGEAI_CHILD_OF"
"""Environment variable: the process id of whoever started a child that is to die with it."""

_LARGEST_BYTES: Final = 8 * 1024 * 1024
_PR_SET_PDEATHSIG = 1
_FALLOC_FL_KEEP_SIZE, _FALLOC_FL_PUNCH_HOLE = 1, 2  # of linux/falloc.h


def for_a_child(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment, with what ``die_with_parent`` needs in the child."""
    return {**(os.environ if environment is None else environment), PARENT: str(os.getpid())}


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies; end it now when that has happened already.

    For a process that was started with ``for_a_child``. Its own children are not bound to it by that.
    """
    expected = os.environ.pop(PARENT, "")
    if not expected:
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(expected):
        os._exit(1)


def take_stdout() -> TextIO:
    """Standard output as a stream that nobody else has; whatever else writes to it writes to standard error.

    Plugins print, and native libraries print to descriptor 1 without asking Python. Neither may stand amid an answer
    that a program reads. Children inherit standard error as their output, too.
    """
    sys.stdout.flush()
    flush_native()
    own = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    try:
        os.dup2(2, 1)
    except OSError:  # started without standard error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
    sys.stdout = sys.stderr
    return own


def flush_native() -> None:
    """Write out what C code printed and its library still holds: else it would land wherever descriptor 1 goes next."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).fflush(None)


def keep_freed_memory() -> None:
    """Let this process keep the memory that one image leaves for the next image.

    glibc gives the free top of the heap back to the kernel wherever that is more than twice the largest block that was
    ever mapped and freed: behind a small image that may be all that it took, and the next one has every page of it
    mapped and cleared again. Freeing a block of this size, which is never touched, makes that 16 MiB (mallopt(3),
    dynamic threshold). Thresholds in the environment (``MALLOC_TRIM_THRESHOLD_``) win; to other C libraries it is
    nothing.
    """
    bytes(_LARGEST_BYTES)


def punch_hole(file: int, end: int) -> None:
    """Give the memory of a file before ``end`` back; its size stays, and what is read there is zeros.

    From the beginning each time, as a page that two holes share would stay. Where the file's system cannot, nothing
    happens.
    """
    mode = _FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE
    ctypes.CDLL(None).fallocate(file, mode, ctypes.c_int64(0), ctypes.c_int64(end))
