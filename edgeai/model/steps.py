"""The risky steps, as breadcrumbs name them: what was under way when a process died."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

from edgeai.guards import PluginInfo


class Step(str):
    """``load``, ``probe``, ``open``, ``decode`` or ``run``; with the plugin it is laid on, where there is one."""

    __slots__ = ("plugin", "version")

    plugin: str | None
    version: str | None

    def __new__(cls, name: str, info: PluginInfo | None = None) -> Step:
        """A step by name, laid on a plugin if one is given."""
        step = super().__new__(cls, name)
        step.plugin = info.name if info else None
        step.version = info.version if info else None
        return step


Breadcrumb: TypeAlias = Callable[[Step], AbstractContextManager[None]]
"""Entered before a step and left after it, on the thread that does it: ``decode`` runs beside ``run`` when
the frames of one instance are worked on ahead of the engine."""


def no_breadcrumb(step: Step) -> AbstractContextManager[None]:
    """Leave none."""
    return nullcontext()
