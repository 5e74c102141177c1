"""Classify: which of these labels does the image bear? Multi-class, multi-label or binary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeai.api import Judge, Task, TaskRequest, TaskSpec, hookimpl
from edgeai_tasks.classify.options import OPTIONS, ClassifyOptions, refused
from edgeai_tasks.classify.task import Classify, output_of

if TYPE_CHECKING:
    from edgeai.api import Guess, GuessRequest

EDGEAI_API = (1, 4)


def _build(request: TaskRequest) -> Task:
    options = ClassifyOptions.read(request.options)
    output = output_of(options, request.outputs)
    extent = output.shape[-1] if output.shape else 1
    if extent not in (None, options.output_size):
        raise refused("labels", f"need {options.output_size} outputs, {output.name!r} has shape {output.shape}")
    return Classify(options, request.outputs)


def _judge(request: TaskRequest) -> Judge:
    from edgeai_tasks.classify.judge import ClassifyJudge  # on a build host alone

    options = ClassifyOptions.read(request.options)
    return ClassifyJudge(options, output_of(options, request.outputs))


def _guess(request: GuessRequest) -> Guess:
    from edgeai_tasks.classify.guess import guessed  # on a build host alone

    return guessed(request)


SPEC = TaskSpec(
    name="classify",
    build=_build,
    options=OPTIONS,
    help="Which of these labels does the image bear?",
    judge=_judge,
    guess=_guess,
)


@hookimpl
def edgeai_tasks() -> tuple[TaskSpec, ...]:
    """The task ``classify``."""
    return (SPEC,)
