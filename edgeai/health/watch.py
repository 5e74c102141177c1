"""What publish looks after for the account, since somebody must have looked before anything can be said of it.

The spool's soundness, whether it can be written, the clock, what arrived and was refused lately, what was withheld, and
the self-test on its timer. `Watch.detail` goes into publish's heartbeat, where `read_health` finds it, in whatever
process that runs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from edgeai.api.errors import EdgeaiError
from edgeai.config import DeviceConfig
from edgeai.health.clock import ClockWatch
from edgeai.health.integrity import Finding, check_spool
from edgeai.health.timer import SelftestTimer
from edgeai.health.traffic import Traffic
from edgeai.health.withholding import Withholding
from edgeai.logs import Log
from edgeai.spool import Spool
from edgeai.spool.soundness import try_writing

BEAT_S: Final = 1.0
PROBE_EVERY_S: Final = 10.0
PROBE_BYTES: Final = 4096
LONGEST_WORDS: Final = 500
"""Characters of somebody else's sentence: a heartbeat has bounds."""

log = Log("edgeai.health")


class Watch:
    """Two threads from ``start`` to ``close``; ``detail`` never waits for them.

    Args:
        config: the profile.
        spool: the device's own.
        profile: where the profile stands, for the process of the self-test; without it there is none.
    """

    def __init__(self, config: DeviceConfig, spool: Spool, profile: Path | None = None) -> None:
        self._spool = spool
        self._clock = ClockWatch()
        self._traffic = Traffic(spool)
        self._withholding = Withholding(spool, self._say)
        self._selftest = SelftestTimer(config, profile, self._say)
        self._finding: Finding | None = None
        self._checked_at = 0.0
        self._trouble: dict[str, Any] = {}
        self._probing_since: float | None = None
        self._probe_at = 0.0
        self._stopping = threading.Event()
        self._recheck = threading.Event()
        self._threads = [
            threading.Thread(target=self._look_after, name="watch", daemon=True),
            threading.Thread(target=self._keep_checking, name="integrity", daemon=True),
        ]

    def start(self) -> None:
        """Begin to look."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End it; a check that is under way is not waited for. Twice is fine."""
        self._stopping.set()
        self._recheck.set()
        self._selftest.close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(2.0)

    def detail(self) -> dict[str, Any]:
        """For publish's heartbeat, under the key ``watch``."""
        finding, since = self._finding, self._probing_since
        return {
            "spool": {"damage": finding.why[:LONGEST_WORDS], "checked_at": self._checked_at} if finding else {},
            "write": dict(self._trouble),
            "write_hangs_s": round(time.monotonic() - since, 1) if since is not None else 0.0,
            "traffic": self._traffic.detail(),
            "clock": self._clock.detail(),
            "selftest": self._selftest.detail(),
        }

    # --- the threads ------------------------------------------------------------------------------

    def _look_after(self) -> None:
        while not self._stopping.wait(BEAT_S):
            self._guarded(self._look_at_the_clock)
            self._guarded(self._traffic.look)
            if time.monotonic() >= self._probe_at:
                self._probe_at = time.monotonic() + PROBE_EVERY_S
                self._guarded(self._probe)
            self._guarded(self._selftest.look)
            self._guarded(self._withholding.look)

    def _guarded(self, look: Callable[[], object]) -> None:
        """One look that fails must not end the others."""
        try:
            look()
        except EdgeaiError as error:
            self._suspect(error)
        except Exception:  # noqa: BLE001 - a mistake of ours in here must not stop publishing
            log.error("watch.failed", trace=True)

    def _suspect(self, error: EdgeaiError) -> None:
        if error.code in ("spool.corrupt", "spool.io", "spool.error"):
            self._recheck.set()

    def _look_at_the_clock(self) -> None:
        jump = self._clock.look()
        if jump:
            log.warning("clock.jumped", seconds=round(jump, 1))
            self._say("clock.jumped", f"the clock jumped by {jump:+.1f} s", {"seconds": round(jump, 1)})

    def _probe(self) -> None:
        """Write as an arriving image would: a new file, and a transaction that is taken back."""
        self._probing_since = time.monotonic()
        try:
            try_writing(self._spool, PROBE_BYTES)
        except EdgeaiError as error:
            if self._trouble.get("code") != error.code:
                self._trouble = {"code": error.code, "why": str(error)[:LONGEST_WORDS], "since": time.time()}
            self._suspect(error)
        else:
            self._trouble = {}
        finally:
            self._probing_since = None

    def _keep_checking(self) -> None:
        while not self._stopping.is_set():
            self._recheck.clear()
            finding = check_spool(self._spool.db.path)
            if self._stopping.is_set():
                return
            before, self._finding, self._checked_at = self._finding, finding, time.time()
            if finding.why and (before is None or not before.why):
                log.error("spool.damaged", why=finding.why)
                self._say("spool.damaged", f"the spool is damaged: {finding.why}", {})
            self._recheck.wait(finding.next_after_s)

    def _say(self, kind: str, message: str, facts: Mapping[str, object]) -> None:
        try:
            self._spool.event(kind, message, **facts)
        except EdgeaiError as error:
            log.error("event.lost", kind=kind, code=error.code)


__all__ = ["Watch"]
