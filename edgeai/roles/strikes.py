"""What of a deployment's failed runs is its engine's doing, and whether a quarantine of it has ended.

An engine that lives but fails job after job is as good as dead. Each job that failed at the engine's own step is a
misdeed in the spool, beside the deaths that the supervisor writes there: one counter, which outlives this process.
"""

from __future__ import annotations

import time
from typing import Final

from edgeai.api.results import Result
from edgeai.logs import Log
from edgeai.model import Model, RiskyStep
from edgeai.spool import Job, Quarantine, Spool

LOOK_EVERY_S: Final = 5.0
"""Between two looks at the quarantines."""

TELL_EVERY_S: Final = 10.0
"""At most one event about the same failure in so long; all are counted."""

log = Log("edgeai.roles.infer")


def engine_at_fault(model: Model) -> RiskyStep | None:
    """The ``run`` step, with its plugin, of the engine at which the last run failed; ``None`` where it is no engine's.

    It is the model's, or that of the model before it.
    """
    if model.failed_step == "guard" and model.sentry is not None:
        return model.sentry.run_step
    return model.run_step if model.failed_step == "run" else None


class Strikes:
    """Of one deployment."""

    def __init__(self, spool: Spool, deployment: str, quarantine_after: int) -> None:
        self._spool = spool
        self._deployment = deployment
        self._quarantine_after = quarantine_after
        self._quarantined: list[Quarantine] = []
        self._looked_at = 0.0

    def quarantined(self) -> list[Quarantine]:
        """Who is skipped from now on; ``is_lifted`` speaks of these.

        Raises:
            SpoolError: the spool cannot be read.
        """
        self._looked_at = time.monotonic()
        self._quarantined = self._spool.quarantined(self._deployment)
        return self._quarantined

    def is_lifted(self) -> bool:
        """Whether someone who was skipped when the model was opened may be used again. Reads the spool now and then.

        Raises:
            SpoolError: the spool cannot be read.
        """
        now = time.monotonic()
        if not self._quarantined or now - self._looked_at < LOOK_EVERY_S:
            return False
        self._looked_at = now
        present = {(held.plugin, held.version) for held in self._spool.quarantined(self._deployment)}
        return any((held.plugin, held.version) not in present for held in self._quarantined)

    def judge(self, job: Job, model: Model, result: Result) -> bool:
        """Lay a failed run on the engine if it failed at the engine's own step; whether that was once too often.

        Args:
            job: that was run, and is finished.
            model: that ran it, just now.
            result: what came of it.

        Raises:
            SpoolError: it could not be written.
        """
        engine = engine_at_fault(model)
        if engine is None or result.reason is None:
            return False  # decoding, transforms and tasks are not the engine's, whatever the code
        plugin, version, code = engine.plugin or "", engine.version or "", result.reason.code
        convicted = self._spool.fault(
            plugin=plugin,
            version=version,
            deployment=self._deployment,
            step="run",
            cause=code,
            quarantine_after=self._quarantine_after,
            job_id=job.id,
            tell_every_s=TELL_EVERY_S,
        )
        if convicted:
            log.error("plugin.quarantined", plugin=plugin, version=version, code=code)
        return convicted
