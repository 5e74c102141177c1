"""Whose a result is, as it leaves the device: named once a job, before it is run, and masked as the profile says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import edgeai
from edgeai.api.results import Result
from edgeai.model.results import Identity, now, result_id

if TYPE_CHECKING:
    from edgeai.api.results import Failure, Finding, GuardFigure, ModelRef, Note, Outcome
    from edgeai.privacy import UidMask
    from edgeai.spool import Job


class Identities:
    """Of the results of one deployment.

    Args:
        deployment: its name.
        mask: what becomes of UIDs.
    """

    def __init__(self, deployment: str, mask: UidMask) -> None:
        self._deployment = deployment
        self._mask = mask

    def of(self, job: Job, digest: str) -> Identity:
        """A job's: from the instance that was admitted, whatever its file says by now, and the bundle that judges it.

        A further attempt keeps the id that the first one had.
        """
        ids = self._mask.ids(job.instance, job.content)
        kept = job.result_id or self._new(job, ids.sop_instance_uid, ids.content, digest)
        return Identity(result_id=kept, instance=ids, attempt=job.attempt)

    def _new(self, job: Job, uid: str, content: str, digest: str) -> str:
        covered = content if job.identity == job.content else self._mask.uid(job.identity)
        return result_id(uid, digest, self._deployment, covered)

    def unmodelled(
        self, job: Job, model: ModelRef, outcome: Outcome, reason: Failure, guard: tuple[GuardFigure, ...] = ()
    ) -> Result:
        """The end of a job that the model was not asked about."""
        identity = self.of(job, model.digest)
        return Result(
            result_id=identity.result_id,
            attempt=identity.attempt,
            deployment=self._deployment,
            outcome=outcome,
            model=model,
            instance=identity.instance,
            created_at=now(),
            edgeai_version=edgeai.__version__,
            reason=reason,
            guard=guard,
        )

    def masked(self, job: Job, result: Result) -> Result:
        """The result with no UID in its sentences but as they may leave, and with the time that its job waited."""
        reason = result.reason
        if reason is not None:
            message, remedy = (self._mask.text(text or "", job.instance) for text in (reason.message, reason.remedy))
            reason = replace(reason, message=message, remedy=remedy or reason.remedy)
        timings = {"queue": job.queue_ms, **result.timings_ms}
        notes, findings = self._notes(job, result.notes), tuple(self._said(job, each) for each in result.findings)
        return replace(result, reason=reason, notes=notes, findings=findings, timings_ms=timings)

    def _said(self, job: Job, finding: Finding) -> Finding:
        return replace(finding, notes=self._notes(job, finding.notes)) if finding.notes else finding

    def _notes(self, job: Job, notes: tuple[Note, ...]) -> tuple[Note, ...]:
        return tuple(replace(note, text=self._mask.text(note.text, job.instance)) for note in notes)
