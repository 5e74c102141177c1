"""A spool worked by hand: an image that arrives and a job that ends, with no role, no model and no pixels."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from edgeai.api import EngineRef, Failure, Finding, InstanceIds, ModelRef, Outcome, Result
from edgeai.spool import Job, Spool
from edgeai.testing.examples import instance_ref


def arrive(spool: Spool, number: int = 1, content: str = "x", deployments: Sequence[str] = ("guard",)) -> str:
    """Image ``number`` arrives with this content, a hundred times over; what kind of arrival that was."""
    received = spool.tmp / f"{number}-{threading.get_ident()}"
    received.write_bytes(content.encode() * 100)
    instance = instance_ref(sop_instance_uid=f"2.25.{number}")
    digest = f"sha256:{content.encode().hex():0>64}"
    return spool.admit(instance, received, content=lambda: digest, deployments=deployments, source="test").kind


def result_of(job: Job, outcome: Outcome = Outcome.COMPLETED, code: str = "pixels.short", **changes: Any) -> Result:
    """A result of the job, with ``code`` where it has not completed; ``changes`` by the names of ``Result``."""
    completed = outcome is Outcome.COMPLETED
    engine = EngineRef(backend="b", engine="b 1", device="CPU", artifact="a", precision="fp32")
    facts: dict[str, Any] = {
        "result_id": f"{job.instance.sop_instance_uid}/{job.content}/{job.deployment}",
        "attempt": job.attempt,
        "deployment": job.deployment,
        "outcome": outcome,
        "model": ModelRef(name="m", version="1", digest="sha256:0"),
        "instance": InstanceIds(sop_class_uid="", sop_instance_uid="", series_instance_uid="", study_instance_uid=""),
        "created_at": "",
        "edgeai_version": "",
        "findings": (Finding(kind="class", label="x", present=True),) if completed else (),
        "reason": None if completed else Failure(code=code, message="no"),
        "engine": engine if completed else None,
        "timings_ms": {"queue": 0.1, "run": 3.0, "total": 40_000.0},
    }
    return Result(**{**facts, **changes})


def end(
    spool: Spool, outcome: Outcome = Outcome.COMPLETED, code: str = "pixels.short", deployment: str = "guard"
) -> Job:
    """The oldest job of the deployment comes to this end."""
    job = spool.claim(deployment, "me")
    assert job is not None
    assert spool.finish(job, result_of(job, outcome, code), b"{}")
    return job
