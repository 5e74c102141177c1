"""One role as the supervisor sees it: a process in a group of its own, its pauses and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from edgeai.roles import PARENT
from edgeai.roles.deaths import Death, Killed, judge
from edgeai.roles.memory import group_bytes
from edgeai.spool import Note, read_note

INTERRUPTED_PAUSE_MAX_S = 1.0
"""Longest pause after deaths that were not the role's own doing: whoever kills roles wants to see them come back."""

WEIGH_EVERY_S = 2.0
"""How often a role with a budget of memory is weighed."""

SETTLED_S = 10.0
"""A role that came up and lived this long starts again with the shortest pause."""


class Child:
    """Starts, watches and ends one role's process.

    Args:
        role: ``publish``, or with its deployment: ``infer:<deployment>``.
        config_path: the profile.
        notes: the folder of its note.
        pause_min_s, pause_max_s: between a death and its next start.
        max_memory_bytes: what it and all that it starts may hold; 0 for no bound.
        arguments: more of its command line.
        module: what Python runs; by default the roles.
    """

    def __init__(
        self,
        role: str,
        config_path: Path,
        notes: Path,
        *,
        pause_min_s: float,
        pause_max_s: float,
        max_memory_bytes: int = 0,
        arguments: Sequence[str] = (),
        module: str = "edgeai.roles",
    ) -> None:
        self.role = role
        self.memory_bytes = 0
        """What it held when it was ended for holding more than it may."""
        self.restarts = 0
        self.start_at = 0.0
        """When it may start next, monotonic seconds."""
        self.process: subprocess.Popen[bytes] | None = None
        self.pidfd = -1
        self._config_path = config_path
        self._note = notes / f"{role}.note"
        self._crash = notes / f"{role}.crash"
        self._pause_min_s, self._pause_max_s = pause_min_s, pause_max_s
        self._pause_s = pause_min_s
        self._started_at = self._weighed_at = 0.0
        self._max_memory_bytes = max_memory_bytes
        self._arguments = tuple(arguments)
        self._module = module
        self._killed: Killed | None = None
        self._came_up = False

    def start(self) -> None:
        """Start it, in a process group of its own so that it dies with whatever it starts."""
        self._crash.unlink(missing_ok=True)
        name, _, deployment = self.role.partition(":")
        command = [sys.executable, "-m", self._module, name, "--config", str(self._config_path)]
        command += ["--deployment", deployment] if deployment else []
        command += self._arguments
        # The child asks the kernel to die with this process, then looks whether that has happened already.
        environment = {**os.environ, PARENT: str(os.getpid())}
        environment.pop("NOTIFY_SOCKET", None)
        environment.pop("WATCHDOG_USEC", None)
        if name == "ingest":
            # Each association has a thread, and each thread would leave its own share of freed memory behind.
            environment.setdefault("MALLOC_ARENA_MAX", "2")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, process_group=0)
        self.pidfd = os.pidfd_open(self.process.pid)
        self._started_at = time.monotonic()
        self._killed = None
        self.memory_bytes = 0

    def note(self) -> Note | None:
        """What this very process last said; None when it has not yet spoken."""
        note = read_note(self._note)
        return note if note and self.process and note.pid == self.process.pid else None

    def check(self, now: float, *, awake_since: float, silent_s: float) -> None:
        """End it if it is too big, if a step outlived its deadline, or if it has been silent between steps too long.

        Args:
            now: monotonic seconds.
            awake_since: nothing before this counts: the machine, or the supervisor, stood still.
            silent_s: the longest silence.
        """
        if self.process is None or self._killed:
            return
        self._weigh(now)
        note = self.note()
        since = max(self._started_at, awake_since, note.beat_at if note else 0.0)
        if note and note.steps:
            timed = [step for step in note.steps if step.deadline_s > 0]
            if any(now > max(step.since, awake_since) + step.deadline_s for step in timed):
                self._end("deadline")
            if timed:
                return  # a step's own deadline rules while it lasts
        if now - since > silent_s:
            self._end("silent")

    def _weigh(self, now: float) -> None:
        if not self._max_memory_bytes or self.process is None or now - self._weighed_at < WEIGH_EVERY_S:
            return
        self._weighed_at = now
        held = group_bytes(self.process.pid, more_than=self._max_memory_bytes)
        if held > self._max_memory_bytes:
            self.memory_bytes = held
            self._end("memory")

    def _end(self, why: Killed) -> None:
        if self._killed:
            return
        self._killed = why
        self.signal_group(signal.SIGKILL)

    def signal_group(self, number: int) -> None:
        """Send a signal to it and to whatever it started."""
        if self.process is not None:
            try:
                # Not yet reaped, so its id cannot have gone to another process.
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                return

    def terminate(self) -> None:
        """Ask it to finish what it holds and end."""
        if self.process is not None:
            self.process.terminate()

    def has_ended(self) -> bool:
        """Whether its process is over; it stays unreaped until ``bury``."""
        if self.process is None:
            return False
        return os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def bury(self) -> Death:
        """Kill what it left behind, reap it, and judge."""
        assert self.process is not None
        self.signal_group(signal.SIGKILL)
        note = self.note()
        self._came_up = note is not None and note.state != "starting"
        status = self.process.wait()
        os.close(self.pidfd)
        self.pidfd, self.process = -1, None
        return judge(status, note, killed=self._killed, crash_report=self.crash_report())

    def crash_report(self) -> str:
        """What faulthandler wrote as it died: threads and lines of code, no data."""
        try:
            return self._crash.read_text(errors="replace")[:20_000]
        except OSError:
            return ""

    def schedule(self, death: Death) -> float:
        """Decide when it starts again: pauses double while it keeps dying young; the pause, in seconds."""
        now = time.monotonic()
        # Coming up may take a slow machine long: it is not yet life.
        if self._came_up and now - self._started_at > SETTLED_S:
            self._pause_s = self._pause_min_s
        longest = INTERRUPTED_PAUSE_MAX_S if death.cause == "interrupted" else self._pause_max_s
        pause = min(self._pause_s, max(longest, self._pause_min_s))
        self._pause_s = min(self._pause_s * 2, max(longest, self._pause_min_s))
        self.restarts += 1
        self.start_at = now + pause
        return pause
