"""The risky steps, as breadcrumbs name them: what was under way when a process died."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Literal, TypeAlias

from edgeai.hosting import PluginInfo

RunStep: TypeAlias = Literal["header", "decode", "transform", "guard", "run", "interpret", "summarise"]
"""Where a run can fail. Only ``run`` is the engine's own, and ``guard`` that of the model's before it; what an engine's
feed raises while it pulls frames is not."""


class RiskyStep(str):
    """``load``, ``probe``, ``open``, ``decode`` (and transform), ``run`` or ``interpret`` (and summarise).

    With the plugin it is laid on, where there is one.
    """

    __slots__ = ("plugin", "version")

    plugin: str | None
    version: str | None

    def __new__(cls, name: str, info: PluginInfo | None = None) -> RiskyStep:
        """A step by name, laid on a plugin if one is given."""
        step = super().__new__(cls, name)
        step.plugin = info.name if info else None
        step.version = info.version if info else None
        return step


INTERPRET: Final = RiskyStep("interpret")
Breadcrumb: TypeAlias = Callable[[RiskyStep], AbstractContextManager[None]]
"""Entered before a step and left after it, on the thread that does it. When the frames of one instance are worked on
ahead of the engine, ``decode`` runs beside ``run``, and ``interpret`` lies inside it: the innermost is under way."""


_NOTHING: Final = nullcontext()


def no_breadcrumb(step: RiskyStep) -> AbstractContextManager[None]:
    """Leave none."""
    return _NOTHING
