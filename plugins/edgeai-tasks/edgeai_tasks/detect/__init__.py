"""Detect: where in the image is each thing of these labels, as a box?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from edgeai.api import TaskRequest, TaskSpec, TensorSpec, hookimpl
from edgeai_tasks.detect.options import DENSE, OPTIONS, POSTPROCESSED, SSD, TWO_STAGE, DetectOptions, refused

if TYPE_CHECKING:
    from edgeai.api import Judge
    from edgeai_tasks.detect.forms import Form
    from edgeai_tasks.detect.task import Detect

EDGEAI_API = (1, 4)


def _build(request: TaskRequest) -> Detect:
    from edgeai_tasks.detect.task import Detect

    options = DetectOptions.read(request.options)
    read = _read_outputs(options, request.outputs)
    return Detect(options, request.outputs, [spec.name for spec in read], _form(options, read))


def _form(options: DetectOptions, outputs: Sequence[TensorSpec]) -> Form:
    from edgeai_tasks.detect import dense, postprocessed, ssd, two_stage

    makers: Mapping[str, tuple[Callable[[DetectOptions, Sequence[TensorSpec]], Form], tuple[str, ...]]] = {
        DENSE: (dense.Dense.of, ()),
        SSD: (ssd.Ssd.of, ssd.ROLES),
        POSTPROCESSED: (postprocessed.Postprocessed.of, postprocessed.ROLES),
        TWO_STAGE: (two_stage.TwoStage.of, two_stage.ROLES),
    }
    make, roles = makers[options.form]
    also = two_stage.FIRST_STAGE if options.form == TWO_STAGE else ()
    if not outputs or (roles and len(outputs) not in (len(roles), len(roles) + len(also))):
        names = ", ".join(spec.name for spec in outputs) or "none"
        raise refused("outputs", f"are {names}, and {options.form} reads {', '.join(roles) or 'one a level'}")
    return make(options, outputs)


def _read_outputs(options: DetectOptions, outputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Those that the form reads, in its order."""
    by_name = {spec.name: spec for spec in outputs}
    names = tuple(by_name) if options.outputs is None else options.outputs
    strange = [name for name in names if name not in by_name]
    if strange or len(set(names)) < len(names):
        there = ", ".join(by_name) or "none"
        raise refused("outputs", f"names {strange[0] if strange else 'one twice'}; the model's outputs are: {there}")
    return tuple(by_name[name] for name in names)


def _judge(request: TaskRequest) -> Judge:
    from edgeai_tasks.detect.judge import DetectJudge  # on a build host alone

    options = DetectOptions.read(request.options)
    return DetectJudge(options, _read_outputs(options, request.outputs), _build(request))


SPEC = TaskSpec(
    name="detect",
    build=_build,
    options=OPTIONS,
    help="Where in the image is each thing of these labels, as a box?",
    judge=_judge,
)


@hookimpl
def edgeai_tasks() -> tuple[TaskSpec, ...]:
    """The task ``detect``."""
    return (SPEC,)
