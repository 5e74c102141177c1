"""The supervisor's part in trials: when one is due, a process of its own for it, and what its death means.

A plugin in quarantine has killed processes, so it is tried where it can kill none that serves.
"""

from __future__ import annotations

from edgeai.api.errors import SpoolError
from edgeai.logs import Log
from edgeai.roles.child import Child
from edgeai.roles.plan import Plan
from edgeai.spool import Quarantine, Spool

_LOOK_EVERY_S = 1.0

log = Log("edgeai.roles.supervise")


class Trials:
    """At most one at a time."""

    def __init__(self, plan: Plan, spool: Spool) -> None:
        self.child: Child | None = None
        """The process of the trial that is under way."""
        self._plan = plan
        self._spool = spool
        self._held: Quarantine | None = None
        self._looked_at = 0.0

    def look(self, now: float, *, awake_since: float) -> None:
        """End a trial that hangs, take note of one that has ended, start one that is due."""
        if self.child is not None:
            self.child.check(now, awake_since=awake_since, silent_s=self._plan.silent_s)
            if self.child.has_ended():
                self._bury(self.child)
        elif self._plan.trial_after_s > 0 and now - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = now
            try:
                self._start_due()
            except (SpoolError, OSError) as error:
                log.error("trial.not-started", message=str(error))

    def _start_due(self) -> None:
        held = self._spool.trial_due(self._plan.trial_after_s)
        if held is None or f"infer:{held.deployment}" not in self._plan.roles:
            return
        child = Child(
            f"trial:{held.deployment}",
            self._plan.config_path,
            self._spool.roles,
            pause_min_s=self._plan.restart_min_s,
            pause_max_s=self._plan.restart_max_s,
            max_memory_bytes=self._plan.max_memory_bytes.get(held.deployment, 0),
            arguments=("--plugin", held.plugin),
        )
        child.start()
        assert child.process is not None
        self.child, self._held = child, held
        log.info("trial.started", plugin=held.plugin, version=held.version, of=held.deployment, pid=child.process.pid)

    def _bury(self, child: Child) -> None:
        """What it did not say itself, its death says."""
        death = child.bury()
        held, self.child, self._held = self._held, None, None
        assert held is not None
        for name in ("note", "crash"):
            (self._spool.roles / f"{child.role}.{name}").unlink(missing_ok=True)
        if death.cause == "ended":
            return
        at = f" at {death.step.step}" if death.step else ""
        log.warning("trial.died", plugin=held.plugin, of=held.deployment, cause=death.cause, how=death.how)
        try:
            why = f"its process ended ({death.how}){at}"
            self._spool.trial_failed(held, death.how, why, self._plan.trial_after_s)
        except SpoolError as error:
            log.error("spool.trouble", code=error.code, message=str(error))  # its next trial is put off already
