"""``[change_control]`` of a card: what a later release may change without asking, and how it comes into the bundle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, TypeAlias

import msgspec
from pydantic import Field

from edgeai.bundle.change_control import ChangeControl, Free, Range
from edgeai.bundle.changes import leaves, matches
from edgeai.bundle.manifest import TaskUse
from edgeai_workbench.tables import Sentence, Table

_Number: TypeAlias = Annotated[float, Field(strict=True)]


class Control(Table):
    """``[change_control]``: what a later release may change without an approval; ships as `pccp.json`."""

    free: tuple[Free, ...] = Field(
        (),
        strict=False,
        description="`weights` (contents of artifacts and golden cases), `recipe` (which artifacts, their options, "
        "tolerances); everything else of the manifest needs an approval",
    )
    bounds: dict[str, Annotated[tuple[_Number, _Number], Field(strict=False)]] = Field(
        default_factory=dict,
        description="path of a number among the task's options -> least and most that it may become: "
        '`threshold = [0.3, 0.7]`, `"labels.*.threshold" = [0.2, 0.8]`; `*` is any one key or place of a list',
    )
    says: Sentence | None = Field(None, description="for people: why so, and what is done before a release")

    def plan(self) -> ChangeControl:
        """As the bundle has it."""
        bounds = {path: {"least": float(least), "most": float(most)} for path, (least, most) in self.bounds.items()}
        body: dict[str, Any] = {"free": sorted(self.free), "bounds": bounds, "says": self.says}
        return msgspec.convert(body, ChangeControl)


def mistakes(control: Control, task: TaskUse) -> Iterator[str]:
    """What of it makes no sense for a task with these options."""
    options = dict(leaves(msgspec.to_builtins(task.options)))
    for path, (least, most) in control.bounds.items():
        own = {where: value for where, value in options.items() if matches(where, path)}
        bound = Range(least=float(least), most=float(most))
        if not least <= most:
            yield f"bounds of {path}: {least} is above {most}"
        elif not own:
            yield f"bounds of {path}: the task has no such option here; it has {', '.join(sorted(options))}"
        yield from (
            f"bounds of {path}: {where} is {value}, which is not within {least} to {most}"
            for where, value in own.items()
            if not bound.holds(value)
        )


__all__ = ["Control", "mistakes"]
