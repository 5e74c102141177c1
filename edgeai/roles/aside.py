"""What the supervisor lets a process of its own do, where it can harm none that serves: at most one at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Final

from edgeai.api.errors import SpoolError
from edgeai.logs import Log
from edgeai.roles.child import Child
from edgeai.roles.deaths import Death
from edgeai.roles.plan import Plan
from edgeai.spool import Spool

_LOOK_EVERY_S: Final = 1.0

log = Log("edgeai.roles.supervise")


class Aside(ABC):
    """Ends the process where it hangs, takes note of its end, starts the next when one is due."""

    not_started: ClassVar[str]
    """Logged where what is due could not be looked up or begun."""

    def __init__(self, plan: Plan, spool: Spool) -> None:
        self.child: Child | None = None
        """The process that is under way."""
        self._plan = plan
        self._spool = spool
        self._looked_at = 0.0

    def look(self, now: float, *, awake_since: float) -> None:
        """End one that hangs, take note of one that has ended, start one that is due."""
        child = self.child
        if child is not None:
            child.check(now, awake_since=awake_since, silent_s=self._plan.silent_s)
            if child.has_ended():
                death, self.child = child.bury(), None
                for name in ("note", "crash"):
                    (self._spool.roles / f"{child.role}.{name}").unlink(missing_ok=True)
                self._ended(child, death)
        elif self._is_wanted() and now - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = now
            try:
                self._start_due(now)
            except (SpoolError, OSError) as error:
                log.error(self.not_started, message=str(error))

    def _start(self, role: str, max_memory_bytes: int, *arguments: str) -> int:
        """Begin a process; its id."""
        child = Child(
            role,
            self._plan.config_path,
            self._spool.roles,
            pause_min_s=self._plan.restart_min_s,
            pause_max_s=self._plan.restart_max_s,
            max_memory_bytes=max_memory_bytes,
            arguments=arguments,
        )
        child.start()
        assert child.process is not None
        self.child = child
        return child.process.pid

    @abstractmethod
    def _is_wanted(self) -> bool:
        """Whether the profile asks for any."""

    @abstractmethod
    def _start_due(self, now: float) -> None:
        """Start what is due, if anything is."""

    @abstractmethod
    def _ended(self, child: Child, death: Death) -> None:
        """What it did not say itself, its death says."""
