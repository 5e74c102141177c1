"""A clock that is set, and the modules that go by it in a process of the simulation."""

from __future__ import annotations

import datetime as dates
import importlib
from collections.abc import Sequence
from typing import Any


class Clock:
    """Seconds since the epoch, as they are set. In the place of the module ``time``."""

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        """Now."""
        return self.now

    monotonic = time

    def sleep(self, seconds: float) -> None:
        """Time goes by."""
        self.now += seconds


def go_by(clock: Clock, modules: Sequence[str]) -> None:
    """Let these modules ask this clock for the time, in this process."""

    class Datetime(dates.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return dates.datetime.fromtimestamp(clock.now, tz)

    for name in modules:
        module: Any = importlib.import_module(name)
        if hasattr(module, "time"):
            module.time = clock
        if hasattr(module, "datetime"):
            module.datetime = Datetime
