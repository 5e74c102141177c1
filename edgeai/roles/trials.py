"""The supervisor's part in trials: when one is due, a process of its own for it, and what its death means.

A plugin in quarantine has killed processes, so it is tried where it can kill none that serves.
"""

from __future__ import annotations

from edgeai.api.errors import SpoolError
from edgeai.logs import Log
from edgeai.roles.aside import Aside
from edgeai.roles.child import Child
from edgeai.roles.deaths import Death
from edgeai.roles.plan import Plan
from edgeai.spool import Quarantine, Spool

log = Log("edgeai.roles.supervise")


class Trials(Aside):
    """Of plugins in quarantine."""

    not_started = "trial.not-started"

    def __init__(self, plan: Plan, spool: Spool) -> None:
        super().__init__(plan, spool)
        self._held: Quarantine | None = None

    def _is_wanted(self) -> bool:
        return self._plan.trial_after_s > 0

    def _start_due(self, now: float) -> None:
        held = self._spool.trial_due(self._plan.trial_after_s)
        if held is None or f"infer:{held.deployment}" not in self._plan.roles:
            return
        memory = self._plan.max_memory_bytes.get(held.deployment, 0)
        pid = self._start(f"trial:{held.deployment}", memory, "--plugin", held.plugin)
        self._held = held
        log.info("trial.started", plugin=held.plugin, version=held.version, of=held.deployment, pid=pid)

    def _ended(self, child: Child, death: Death) -> None:
        held, self._held = self._held, None
        assert held is not None
        if death.cause == "ended":
            return
        at = f" at {death.step.step}" if death.step else ""
        log.warning("trial.died", plugin=held.plugin, of=held.deployment, cause=death.cause, how=death.how)
        try:
            why = f"its process ended ({death.how}){at}"
            self._spool.trial_failed(held, death.how, why, self._plan.trial_after_s)
        except SpoolError as error:
            log.error("spool.trouble", code=error.code, message=str(error))  # its next trial is put off already
