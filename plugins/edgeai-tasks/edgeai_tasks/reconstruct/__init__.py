"""Reconstruct: is this image as those are that the network was trained on?"""

from __future__ import annotations

from edgeai.api import Judge, Task, TaskRequest, TaskSpec, hookimpl
from edgeai_tasks.reconstruct.options import OPTIONS, ReconstructOptions
from edgeai_tasks.reconstruct.task import Reconstruct

EDGEAI_API = (1, 4)


def _build(request: TaskRequest) -> Task:
    return Reconstruct(ReconstructOptions.read(request.options), request.outputs)


def _judge(request: TaskRequest) -> Judge:
    from edgeai_tasks.reconstruct.judge import ReconstructJudge  # on a build host alone

    options = ReconstructOptions.read(request.options)
    return ReconstructJudge(options, Reconstruct(options, request.outputs), request.outputs)


SPEC = TaskSpec(
    name="reconstruct",
    build=_build,
    options=OPTIONS,
    help="Is this image as those are that the network was trained on?",
    judge=_judge,
)


@hookimpl
def edgeai_tasks() -> tuple[TaskSpec, ...]:
    """The task ``reconstruct``."""
    return (SPEC,)
