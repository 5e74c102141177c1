"""Transforms, tasks and sources, and what they build or open, as the host has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isfinite
from typing import TYPE_CHECKING, Any

from edgeai.api.errors import TaskFailed, TransformFailed, is_code
from edgeai.api.imaging import Frame
from edgeai.api.options import Options
from edgeai.api.results import Finding, Findings
from edgeai.api.specs import (
    AbstainingTask,
    Alternatives,
    ComparingTask,
    MaskTask,
    Source,
    SourceRequest,
    Task,
    TaskRequest,
    Transform,
)
from edgeai.hosting.faults import PluginInfo, broken, hosted_call, laid_on
from edgeai.hosting.kinds import Kind, Maker, options, require_methods, settings
from edgeai.hosting.raised import unsound_answer, unsound_failure
from edgeai.hosting.statements import difference_of_statements

if TYPE_CHECKING:
    from edgeai.api.guessing import Guess, GuessRequest
    from edgeai.api.judging import Judge


class HostedTransform:
    """See ``Transform``."""

    __slots__ = ("apply",)

    def __init__(self, info: PluginInfo, step: str, transform: Transform) -> None:
        apply = hosted_call(info, f"{step}: apply", transform.apply, unsound=unsound_failure)

        def checked(frame: Frame) -> Frame:
            answer: object = apply(frame)
            if not isinstance(answer, Frame):
                raise broken(info, f"{step}: apply", f"returned {type(answer).__name__}, not a Frame")
            return answer

        self.apply: Callable[[Frame], Frame] = checked


class HostedTask:
    """See ``Task``."""

    __slots__ = ("alternatives", "difference", "interpret", "summarise")

    def __init__(self, info: PluginInfo, step: str, task: Task) -> None:
        self.difference: Callable[[Findings, Findings], str] = difference_of_statements
        """See ``ComparingTask``; of a task that says none, whether both state the same."""
        if isinstance(task, ComparingTask):
            self.difference = hosted_call(info, f"{step}: difference", task.difference)
        self.alternatives: Callable[[Findings], Alternatives] | None = None
        """See ``AbstainingTask``; ``None`` of a task that is none."""
        if isinstance(task, AbstainingTask):
            self.alternatives = _alternatives(info, f"{step}: alternatives", task.alternatives)
        self.interpret = _findings(info, f"{step}: interpret", task.interpret)
        self.summarise = _findings(info, f"{step}: summarise", task.summarise)


class HostedMaskTask(HostedTask):
    """See ``MaskTask``."""

    __slots__ = ("masks",)

    def __init__(self, info: PluginInfo, step: str, task: MaskTask) -> None:
        super().__init__(info, step, task)
        self.masks = hosted_call(info, f"{step}: masks", task.masks, unsound=unsound_failure)


def _findings(info: PluginInfo, step: str, function: Callable[..., Any]) -> Callable[..., tuple[Finding, ...]]:
    call = hosted_call(info, step, function, unsound=unsound_answer)

    def checked(*args: Any) -> tuple[Finding, ...]:
        answer = call(*args)
        # An empty tuple would read as "nothing found"; a task that cannot say raises TaskFailed.
        if not isinstance(answer, tuple) or not answer or not all(isinstance(f, Finding) for f in answer):
            raise broken(info, step, "returned no findings; TaskFailed says why there are none")
        if strange := next((note for f in answer for note in f.notes if not is_code(note.code)), None):
            raise broken(info, step, f"returned a note of the code {strange.code!r}, which is not <area>.<what>")
        return answer

    return checked


def _alternatives(info: PluginInfo, step: str, function: Callable[..., Any]) -> Callable[[Findings], Alternatives]:
    call = hosted_call(info, step, function, unsound=unsound_failure)

    def checked(findings: Findings) -> Alternatives:
        given = call(findings)
        if not isinstance(given, Alternatives) or len(given.strangeness) < 2:
            raise broken(info, step, "returned no Alternatives of two answers at least")
        if not all(isfinite(strange) and strange >= 0 for strange in given.strangeness.values()):
            raise broken(info, step, "returned strangeness that is not finite, or below 0")
        return given

    return checked


class HostedSource:
    """See ``Source``."""

    __slots__ = ("_info", "_source", "_step", "close")

    def __init__(self, info: PluginInfo, step: str, source: Source) -> None:
        self._info, self._step, self._source = info, step, source
        self.close = hosted_call(info, f"{step}: close", source.close)

    def frames(self) -> Iterator[Frame]:
        """Frames as they come."""
        with laid_on(self._info, f"{self._step}: frames"):
            yield from self._source.frames()


def _transform(info: PluginInfo, what: str, transform: Any, _request: Options) -> Transform:
    require_methods(info, f"{what}: build", transform, "apply")
    return HostedTransform(info, what, transform)


def _task(info: PluginInfo, what: str, task: Any, _request: TaskRequest) -> Task:
    require_methods(info, f"{what}: build", task, "interpret", "summarise")
    return HostedMaskTask(info, what, task) if isinstance(task, MaskTask) else HostedTask(info, what, task)


def _judge(info: PluginInfo, what: str, judge: Any, _request: TaskRequest) -> Judge:
    from edgeai.hosting.judges import hosted_judge  # on a build host alone

    return hosted_judge(info, f"{what}: judge", judge)


def _guess(info: PluginInfo, what: str, guess: Any, _request: GuessRequest) -> Guess:
    from edgeai.api.guessing import Guess  # on a build host alone

    if not isinstance(guess, Guess):
        raise broken(info, f"{what}: guess", f"returned {type(guess).__name__}, not a Guess")
    return guess


def _source(info: PluginInfo, what: str, source: Any, _request: SourceRequest) -> Source:
    require_methods(info, f"{what}: open", source, "frames", "close")
    return HostedSource(info, what, source)


_ITSELF = options(TransformFailed, "transform.options", given=lambda request: request)
"""A transform is built of its options alone."""
TRANSFORM = Kind("transform", {"build": Maker(_transform, (_ITSELF,))})
_TASKS = options(TaskFailed, "task.options")
TASK = Kind("task", {"build": Maker(_task, (_TASKS,)), "judge": Maker(_judge, (_TASKS,)), "guess": Maker(_guess)})
SOURCE = Kind("source", {"open": Maker(_source, (settings,))})
