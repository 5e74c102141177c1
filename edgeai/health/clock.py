"""The clock: whether anybody keeps it, and whether it jumped."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any, Final

JUMP_S: Final = 2.0
"""Wall clock against the clock that runs since the boot; NTP clients slew less than this between two looks."""

REMEMBERED_S: Final = 24 * 3600.0
"""How long a jump is told of."""

_STATUS_WORD: Final = 5
"""Place of ``status`` in ``struct timex``, in words of a C long (``modes`` and four longs stand before it)."""
_UNSYNCHRONISED: Final = 0x0040
"""STA_UNSYNC of <sys/timex.h>."""


def is_synchronised() -> bool | None:
    """Whether the kernel's clock is kept by somebody (NTP, PTP); None where the system does not say."""
    try:
        adjtimex: Callable[..., int] = ctypes.CDLL(None, use_errno=True).adjtimex
        timex = (ctypes.c_long * 64)()
        if adjtimex(ctypes.byref(timex)) < 0:
            return None
        place = ctypes.byref(timex, _STATUS_WORD * ctypes.sizeof(ctypes.c_long))
        status = ctypes.cast(place, ctypes.POINTER(ctypes.c_int))[0]
    except (OSError, AttributeError):
        return None
    return not status & _UNSYNCHRONISED


def _boot_clock() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # goes on while the machine sleeps


class ClockWatch:
    """Compares the wall clock with the one that runs since the boot, between two looks.

    Args:
        wall, boot: the clocks, in seconds.
    """

    def __init__(self, wall: Callable[[], float] = time.time, boot: Callable[[], float] = _boot_clock) -> None:
        self._wall, self._boot = wall, boot
        self._offset = wall() - boot()
        self._jumped_at = 0.0
        self._jump_s = 0.0

    def look(self) -> float:
        """By how many seconds the wall clock jumped since the last look; 0.0 when it did not."""
        boot = self._boot()
        offset = self._wall() - boot
        jump, self._offset = offset - self._offset, offset
        if abs(jump) < JUMP_S:
            return 0.0
        self._jumped_at, self._jump_s = boot, jump
        return jump

    def detail(self) -> dict[str, Any]:
        """For the heartbeat: the last jump and when it was, as long as it is remembered."""
        age = self._boot() - self._jumped_at
        if not self._jump_s or age > REMEMBERED_S:
            return {}
        return {"jumped_s": round(self._jump_s, 1), "jumped_at": round(self._wall() - age, 1)}
