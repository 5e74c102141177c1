"""One role as the supervisor sees it: a process in a group of its own, its pauses and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

from edgeai.roles import PARENT
from edgeai.roles.deaths import Death, judge
from edgeai.spool import Note, read_note

INTERRUPTED_PAUSE_MAX_S = 1.0
"""Longest pause after deaths that were not the role's own doing: whoever kills roles wants to see them come back."""

SETTLED_S = 10.0
"""A role that lived this long starts again with the shortest pause."""


class Child:
    """Starts, watches and ends one role's process."""

    def __init__(self, role: str, config_path: Path, notes: Path, *, pause_min_s: float, pause_max_s: float) -> None:
        self.role = role
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
        self._started_at = 0.0
        self._killed: Literal["deadline", "silent"] | None = None

    @property
    def deployment(self) -> str:
        """Whose jobs it does; empty for roles that do none."""
        return self.role.partition(":")[2]

    def start(self) -> None:
        """Start it, in a process group of its own so that it dies with whatever it starts."""
        self._crash.unlink(missing_ok=True)
        name, _, deployment = self.role.partition(":")
        command = [sys.executable, "-m", "edgeai.roles", name, "--config", str(self._config_path)]
        command += ["--deployment", deployment] if deployment else []
        # The child asks the kernel to die with this process, then looks whether that has happened already.
        environment = {**os.environ, PARENT: str(os.getpid())}
        environment.pop("NOTIFY_SOCKET", None)
        environment.pop("WATCHDOG_USEC", None)
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, process_group=0)
        self.pidfd = os.pidfd_open(self.process.pid)
        self._started_at = time.monotonic()
        self._killed = None

    def note(self) -> Note | None:
        """What this very process last said; None when it has not yet spoken."""
        found = read_note(self._note)
        return found if found and self.process and found.pid == self.process.pid else None

    def check(self, now: float, *, awake_since: float, silent_s: float) -> None:
        """End it if a step outlived its deadline, or if it has been silent between steps for too long.

        Args:
            now: monotonic seconds.
            awake_since: nothing before this counts: the machine, or the supervisor, stood still.
            silent_s: the longest silence.
        """
        if self.process is None or self._killed:
            return
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

    def _end(self, why: Literal["deadline", "silent"]) -> None:
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
        if now - self._started_at > SETTLED_S:
            self._pause_s = self._pause_min_s
        longest = INTERRUPTED_PAUSE_MAX_S if death.cause == "interrupted" else self._pause_max_s
        pause = min(self._pause_s, max(longest, self._pause_min_s))
        self._pause_s = min(self._pause_s * 2, max(longest, self._pause_min_s))
        self.restarts += 1
        self.start_at = now + pause
        return pause
