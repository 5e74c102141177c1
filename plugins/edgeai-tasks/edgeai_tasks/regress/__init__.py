"""Regress: how large is each of these values?"""

from __future__ import annotations

from edgeai.api import Judge, Task, TaskRequest, TaskSpec, hookimpl
from edgeai_tasks.regress.options import OPTIONS, RegressOptions
from edgeai_tasks.regress.task import Regress

EDGEAI_API = (1, 4)


def _build(request: TaskRequest) -> Task:
    return Regress(RegressOptions.read(request.options), request.outputs)


def _judge(request: TaskRequest) -> Judge:
    from edgeai_tasks.regress.judge import RegressJudge  # on a build host alone

    options = RegressOptions.read(request.options)
    return RegressJudge(options, Regress(options, request.outputs), request.outputs)


SPEC = TaskSpec(
    name="regress",
    build=_build,
    options=OPTIONS,
    help="How large is each of these values?",
    judge=_judge,
)


@hookimpl
def edgeai_tasks() -> tuple[TaskSpec, ...]:
    """The task ``regress``."""
    return (SPEC,)
