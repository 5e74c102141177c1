"""Whose judge it is: the task's plugin brings it, and a task without one can be run but not judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from edgeai.api import ConfigError, EdgeaiError, Judge, TaskRequest, TaskSpec, TensorSpec
from edgeai.plugins import Registry


class TaskLike(Protocol):
    """The task of a card or a manifest."""

    @property
    def name(self) -> str:
        """Name of the task."""
        ...

    @property
    def options(self) -> Mapping[str, Any]:
        """Its options."""
        ...


def judge_of(registry: Registry, task: TaskLike, outputs: tuple[TensorSpec, ...]) -> Judge:
    """The judge that the task's plugin brings.

    Raises:
        PluginNotFound: no loaded plugin has the task.
        ConfigError: ``build.no-judge``.
        TaskFailed: the options or the outputs make no sense.
    """
    spec = registry.spec("task", task.name)
    assert isinstance(spec, TaskSpec)
    if spec.judge is None:
        raise ConfigError(
            f"task {task.name} brings no judge: it runs on devices, and nothing says how good its answers are",
            code="build.no-judge",
            remedy="pack its models as they are; or have its plugin give TaskSpec.judge (docs/guides/judges.md)",
        )
    return spec.judge(TaskRequest(options=task.options, outputs=outputs))


def judge_by_plugins(plugins: Iterable[str], task: TaskLike, outputs: tuple[TensorSpec, ...]) -> Judge:
    """The same, where nothing of a card or bundle is loaded yet.

    Raises:
        EdgeaiError: the first of ``plugins`` that does not load; and as ``judge_of``.
    """
    registry = Registry.of(plugins)
    if task.name not in registry.tasks and registry.faults:
        error: EdgeaiError = next(iter(registry.faults.values()))
        raise error
    return judge_of(registry, task, outputs)
