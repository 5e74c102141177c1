"""Waiting for what other processes and threads do."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

PATIENCE_S: Final = 240.0
"""A machine may be twenty times slower than the one that a test was written on."""

_PAUSE_MIN_S: Final = 0.01
_PAUSE_MAX_S: Final = 0.15
"""Who looks more often takes the processor from what is waited for."""


def until(condition: Callable[[], Any], timeout_s: float = PATIENCE_S, what: str = "it") -> Any:
    """What ``condition`` gives once that is true; a LookupError in there means that something is not there yet.

    Raises:
        AssertionError: it was not true within ``timeout_s``.
    """
    end = time.monotonic() + timeout_s
    pause_s = _PAUSE_MIN_S
    while True:
        with suppress(LookupError):
            if value := condition():
                return value
        assert time.monotonic() < end, f"{what} did not happen within {timeout_s:g} s"
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.2, _PAUSE_MAX_S)
