"""The supervisor's part in rehearsals and shadows: when one is due, a process of its own, and what its death means.

What lies ``installed`` in a slot is asked its golden cases where it can harm nobody, and is then shown images beside
what runs, where that is asked. The supervisor reads of the slots' state no more than which bundle waits; whatever is
written there, the process writes.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, ClassVar, Final

from edgeai.logs import Log
from edgeai.roles.aside import Aside
from edgeai.roles.child import Child
from edgeai.roles.deaths import Death
from edgeai.roles.memory import group_bytes
from edgeai.roles.plan import Plan
from edgeai.spool import Spool, read_note

_PAUSE_MIN_S: Final = 1.0
_PAUSE_MAX_S: Final = 60.0
MOST_TRIES: Final = 20
"""Ends that were not the bundle's doing before it is given up, without any blame."""
_MAX_BYTES: Final = 4 << 20
_NOT_ITS_OWN: Final = ("exit-70", "exit-78")
"""How a role ends that could not begin: an error of ours, or of the profile."""

log = Log("edgeai.roles.supervise")


class Rehearsals(Aside):
    """Of bundles that are installed."""

    not_started: ClassVar[str] = "rehearsal.not-started"
    role: ClassVar[str] = "rehearse"
    what: ClassVar[str] = "rehearsal"

    def __init__(self, plan: Plan, spool: Spool) -> None:
        super().__init__(plan, spool)
        self._of = self._digest = ""
        self._verdicts: dict[str, str] = {}
        """Digest -> what is to be written of it: ``failed`` or ``given-up``, a colon, and why."""
        self._tries: dict[str, int] = {}
        self._not_before: dict[str, float] = {}

    def _is_wanted(self) -> bool:
        return bool(self._plan.updates)

    def _start_due(self, now: float) -> None:
        for name in self._plan.updates:
            digest = self._waiting(self._plan.data_dir / "slots" / name / "slots.json")
            if digest and now >= self._not_before.get(digest, 0.0) and self._has_room(name):
                self._try(name, digest)
                return

    def _waiting(self, path: Path) -> str:
        return waiting(path)

    def _has_room(self, name: str) -> bool:
        """Whether there is memory for it."""
        return True

    def _try(self, name: str, digest: str) -> None:
        memory = self._plan.max_memory_bytes.get(name, 0) or half_of_what_is_free()
        verdict = self._verdicts.get(digest, "")
        pid = self._start(f"{self.role}:{name}", memory, "--digest", digest, "--verdict", verdict)
        self._of, self._digest = name, digest
        log.info(f"{self.what}.started", of=name, digest=digest, pid=pid)

    def _ended(self, child: Child, death: Death) -> None:
        """What it did not write itself, the next process writes; what is not its bundle's doing is tried again."""
        digest = self._digest
        tries = self._tries[digest] = self._tries.get(digest, 0) + 1
        pause_s = min(_PAUSE_MIN_S * 2.0 ** min(tries - 1, 30), _PAUSE_MAX_S)
        if death.cause != "ended":
            log.warning(f"{self.what}.died", of=child.role, digest=digest, cause=death.cause, how=death.how)
        if digest not in self._verdicts and self._is_its_own(death):
            at = f" at {death.step.step} of {death.step.plugin}" if death.step else ""
            over = f", over {child.memory_bytes / 1e6:.0f} MB" if child.memory_bytes else ""
            self._verdicts[digest], pause_s = f"failed:its process ended ({death.how}{over}){at}", 0.0
        elif digest not in self._verdicts and tries >= MOST_TRIES:
            self._verdicts[digest] = f"given-up:{tries} {self.what}s came to no end, by nothing that it did"
        self._not_before[digest] = time.monotonic() + pause_s

    def _is_its_own(self, death: Death) -> bool:
        return is_its_own(death)


class Shadows(Rehearsals):
    """Of bundles that are to be shown beside what runs."""

    not_started = "shadow.not-started"
    role = "shadow"
    what = "shadow"

    def _waiting(self, path: Path) -> str:
        return in_shadow(path)

    def _has_room(self, name: str) -> bool:
        """It will need about what the one that serves holds, and may have half of what is free."""
        serving = read_note(self._spool.roles / f"infer:{name}.note")
        free = half_of_what_is_free()
        return serving is not None and (not free or group_bytes(serving.pid) <= free)

    def _is_its_own(self, death: Death) -> bool:
        """It is last to get the processor, so silence says nothing of it; nor does a bound that was what was free."""
        is_of_profile = bool(self._plan.max_memory_bytes.get(self._of, 0))
        return is_its_own(death) and death.cause != "silent" and (death.cause != "memory" or is_of_profile)


def is_its_own(death: Death) -> bool:
    """Whether a rehearsal died of what it rehearsed."""
    return death.cause in ("crashed", "deadline", "memory", "silent") and death.how not in _NOT_ITS_OWN


def waiting(path: Path) -> str:
    """Digest of the bundle that waits for its rehearsal; empty where none does, or nobody can tell."""
    try:
        body = _read(path)
        spare = body[{"a": "b", "b": "a"}[body["active"]]]
        return str(spare["digest"]) if spare["stage"] == "installed" else ""
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""


def in_shadow(path: Path) -> str:
    """Digest of the bundle that is to be shown beside what runs; empty where none is, or nobody can tell."""
    try:
        return str(_read(path)["shadow"]["digest"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""


def _read(path: Path) -> Any:
    with path.open("rb") as file:
        return json.loads(file.read(_MAX_BYTES))


def half_of_what_is_free() -> int:
    """Bytes, so that what runs is not driven out (proc(5), meminfo); 0, no bound, where nobody says."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(free.split()[1]) * 1024 // 2
    except (OSError, ValueError, LookupError, StopIteration):
        return 0
