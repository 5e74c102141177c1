"""The supervisor's part in rehearsals: when one is due, a process of its own for it, and what its death means.

What lies ``installed`` in a slot is asked its golden cases where it can harm nobody. The supervisor reads of the
slots' state no more than which bundle waits; whatever is written there, a rehearsal's process writes.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

from edgeai.api.errors import SpoolError
from edgeai.logs import Log
from edgeai.roles.child import Child
from edgeai.roles.deaths import Death
from edgeai.roles.plan import Plan
from edgeai.spool import Spool

_LOOK_EVERY_S: Final = 1.0
_PAUSE_MIN_S: Final = 1.0
_PAUSE_MAX_S: Final = 60.0
MOST_TRIES: Final = 20
"""Ends that were not the bundle's doing before it is given up, without any blame."""
_MAX_BYTES: Final = 4 << 20
_NOT_ITS_OWN: Final = ("exit-70", "exit-78")
"""How a role ends that could not begin: an error of ours, or of the profile."""

log = Log("edgeai.roles.supervise")


class Rehearsals:
    """At most one at a time."""

    def __init__(self, plan: Plan, spool: Spool) -> None:
        self.child: Child | None = None
        """The process of the rehearsal that is under way."""
        self._plan = plan
        self._spool = spool
        self._digest = ""
        self._verdicts: dict[str, str] = {}
        """Digest -> what is to be written of it: ``failed`` or ``given-up``, a colon, and why."""
        self._tries: dict[str, int] = {}
        self._not_before: dict[str, float] = {}
        self._looked_at = 0.0

    def look(self, now: float, *, awake_since: float) -> None:
        """End one that hangs, take note of one that has ended, start one that is due."""
        if self.child is not None:
            self.child.check(now, awake_since=awake_since, silent_s=self._plan.silent_s)
            if self.child.has_ended():
                self._bury(self.child)
        elif self._plan.updates and now - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = now
            try:
                self._start_due(now)
            except (SpoolError, OSError) as error:
                log.error("rehearsal.not-started", message=str(error))

    def _start_due(self, now: float) -> None:
        for name in self._plan.updates:
            digest = waiting(self._plan.data_dir / "slots" / name / "slots.json")
            if digest and now >= self._not_before.get(digest, 0.0):
                self._start(name, digest)
                return

    def _start(self, name: str, digest: str) -> None:
        child = Child(
            f"rehearse:{name}",
            self._plan.config_path,
            self._spool.roles,
            pause_min_s=self._plan.restart_min_s,
            pause_max_s=self._plan.restart_max_s,
            max_memory_bytes=self._plan.max_memory_bytes.get(name, 0) or _half_of_what_is_free(),
            arguments=("--digest", digest, "--verdict", self._verdicts.get(digest, "")),
        )
        child.start()
        assert child.process is not None
        self.child, self._digest = child, digest
        log.info("rehearsal.started", of=name, digest=digest, pid=child.process.pid)

    def _bury(self, child: Child) -> None:
        """What it did not write itself, the next process writes; what is not its bundle's doing is tried again."""
        death = child.bury()
        digest, self.child = self._digest, None
        for name in ("note", "crash"):
            (self._spool.roles / f"{child.role}.{name}").unlink(missing_ok=True)
        tries = self._tries[digest] = self._tries.get(digest, 0) + 1
        pause_s = min(_PAUSE_MIN_S * 2.0 ** min(tries - 1, 30), _PAUSE_MAX_S)
        if death.cause != "ended":
            log.warning("rehearsal.died", of=child.role, digest=digest, cause=death.cause, how=death.how)
        if digest not in self._verdicts and is_its_own(death):
            at = f" at {death.step.step} of {death.step.plugin}" if death.step else ""
            over = f", over {child.memory_bytes / 1e6:.0f} MB" if child.memory_bytes else ""
            self._verdicts[digest], pause_s = f"failed:its process ended ({death.how}{over}){at}", 0.0
        elif digest not in self._verdicts and tries >= MOST_TRIES:
            self._verdicts[digest] = f"given-up:{tries} rehearsals came to no end, by nothing that it did"
        self._not_before[digest] = time.monotonic() + pause_s


def is_its_own(death: Death) -> bool:
    """Whether a rehearsal died of what it rehearsed."""
    return death.cause in ("crashed", "deadline", "memory", "silent") and death.how not in _NOT_ITS_OWN


def waiting(path: Path) -> str:
    """Digest of the bundle that waits for its rehearsal; empty where none does, or nobody can tell."""
    try:
        with path.open("rb") as file:
            body: Any = json.loads(file.read(_MAX_BYTES))
        spare = body[{"a": "b", "b": "a"}[body["active"]]]
        return str(spare["digest"]) if spare["stage"] == "installed" else ""
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""


def _half_of_what_is_free() -> int:
    """Bytes, so that what runs is not driven out (proc(5), meminfo); 0, no bound, where nobody says."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(free.split()[1]) * 1024 // 2
    except (OSError, ValueError, LookupError, StopIteration):
        return 0
