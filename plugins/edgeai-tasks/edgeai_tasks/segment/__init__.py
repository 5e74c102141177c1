"""Segment: where in the image is each of these labels, and how large is it?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeai.api import Judge, TaskFailed, TaskRequest, TaskSpec, TensorSpec, hookimpl
from edgeai_tasks.segment.options import OPTIONS, SegmentOptions, refused

if TYPE_CHECKING:
    from edgeai.api import Guess, GuessRequest
    from edgeai_tasks.segment.task import Segment

EDGEAI_API = (1, 3)

_LAYOUTS = {4: "NHWC", 3: "NHW"}
"""What a rank stands for where the manifest gives no layout."""


def _build(request: TaskRequest) -> Segment:
    options = SegmentOptions.read(request.options)
    output = _output(options, request.outputs)
    layout = output.layout or _LAYOUTS.get(len(output.shape), "")
    if layout not in ("NHWC", "NCHW", "NHW"):
        raise refused("output", f"{output.name!r} has layout {layout!r} and shape {output.shape}, which is no mask")
    channels = output.shape[layout.index("C")] if "C" in layout else 1
    if channels not in (None, len(options.labels)):
        raise refused("labels", f"are {len(options.labels)}, output {output.name!r} has {channels} channels")
    try:
        from edgeai_tasks.segment.task import Segment
    except ImportError as error:
        raise TaskFailed(
            f"segment: {error.name} is not installed",
            code="task.extra-missing",
            remedy="pip install 'edgeai-tasks[segment]'",
        ) from error
    return Segment(options, request.outputs, output=output.name, layout=layout)


def _output(options: SegmentOptions, outputs: Sequence[TensorSpec]) -> TensorSpec:
    named = [spec for spec in outputs if spec.name == options.output or (options.output is None and len(outputs) == 1)]
    if not named:
        names = ", ".join(spec.name for spec in outputs) or "none"
        raise refused("output", f"is {options.output!r}, the model's outputs are: {names}")
    return named[0]


def _judge(request: TaskRequest) -> Judge:
    from edgeai_tasks.segment.judge import SegmentJudge  # on a build host alone

    options = SegmentOptions.read(request.options)
    return SegmentJudge(options, _output(options, request.outputs), _build(request))


def _guess(request: GuessRequest) -> Guess:
    from edgeai_tasks.segment.guess import guessed  # on a build host alone

    return guessed(request)


SPEC = TaskSpec(
    name="segment",
    build=_build,
    options=OPTIONS,
    help="Where in the image is each of these labels, and how large?",
    judge=_judge,
    guess=_guess,
)


@hookimpl
def edgeai_tasks() -> tuple[TaskSpec, ...]:
    """The task ``segment``."""
    return (SPEC,)
