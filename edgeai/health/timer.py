"""The self-test on its timer: a process of its own, started, watched and believed."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Final

from edgeai.config import DeviceConfig
from edgeai.logs import Log
from edgeai.selftest import LIMIT_S

FIRST_AFTER_S: Final = 30.0
"""A cart that has just started opens its models first."""
AGAIN_AFTER_S: Final = 60.0
"""After one that failed, however long the timer is."""
PATIENCE_S: Final = 30.0
"""Beyond the test's own limit, before its process is ended."""

log = Log("edgeai.health")


class SelftestTimer:
    """Runs ``edgeai selftest`` now and then. ``look`` each second; it never waits.

    Args:
        config: the profile; ``health.selftest_every_s`` 0 is never.
        profile: where it stands.
        say: queues an event.
    """

    def __init__(
        self, config: DeviceConfig, profile: Path | None, say: Callable[[str, str, Mapping[str, object]], None]
    ) -> None:
        self._every_s = config.health.selftest_every_s if profile is not None else 0.0
        self._command = [sys.executable, "-m", "edgeai", "selftest", str(profile), "--json"]
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self._started_at = 0.0
        self._due_at = time.monotonic() + min(self._every_s, FIRST_AFTER_S)
        self._last: dict[str, Any] = {}

    def look(self) -> None:
        """Start it when it is due; take its word when it has ended; end it when it takes too long."""
        now = time.monotonic()
        if self._process is None:
            if self._every_s and now >= self._due_at:
                self._start(now)
            return
        status = self._process.poll()
        if status is None and now - self._started_at < LIMIT_S + PATIENCE_S:
            return
        if status is None:
            self._process.kill()
            self._process.wait()
        self._conclude(now, status)

    def _start(self, now: float) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process has ended
        self._started_at = now
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.DEVNULL
        )

    def _conclude(self, now: float, status: int | None) -> None:
        outcome = _outcome(self._output, status)
        passed, passed_before = bool(outcome.get("passed")), self._last.get("passed")
        since = self._last.get("since") if passed == passed_before else time.time()
        self._last = {**outcome, "ended_at": round(time.time(), 1), "since": since}
        self._due_at = now + (self._every_s if passed else min(self._every_s, AGAIN_AFTER_S))
        self._forget_process()
        if not passed:
            log.warning("selftest.failed", **{name: outcome[name] for name in ("code", "stage", "message")})
        if not passed and passed_before is not False:
            facts = {"code": outcome["code"], "stage": outcome["stage"]}
            self._say("selftest.failed", f"the self-test failed: {outcome['message']}", facts)
        elif passed and passed_before is False:
            self._say("selftest.passed", "the self-test passes again", {})

    def _forget_process(self) -> None:
        if self._output is not None:
            self._output.close()
        self._process = self._output = None

    def detail(self) -> dict[str, Any]:
        """For the heartbeat: how the last one ended; empty before the first."""
        return dict(self._last)

    def close(self) -> None:
        """End one that is under way. Twice is fine."""
        self._every_s = 0.0
        process = self._process
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()


def _outcome(output: IO[bytes] | None, status: int | None) -> dict[str, Any]:
    """What the process said; a failure of its own where it said nothing that can be read."""
    try:
        assert output is not None
        output.seek(0)
        body = json.loads(output.read(65_536))
        words = {name: str(body.get(name) or "")[:500] for name in ("code", "stage", "message")}
        return {"passed": bool(body["passed"]), **words}
    except (ValueError, AttributeError, KeyError):
        how = "was ended at its limit" if status is None else f"ended with status {status}"
        return {"passed": False, "code": "selftest.broken", "stage": "start", "message": f"its process {how}"}
