"""When two models say the same of an image: by their ends, by what a task says, and else by what they state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeai.api import ComparingTask, Finding
from edgeai.api.results import Outcome, Result
from edgeai.hosting import PluginInfo
from edgeai.hosting.imaging import HostedTask
from edgeai.model.agreement import difference
from edgeai.testing.gallery import RESULTS, scored, withheld

INFO = PluginInfo(name="judges", version="1", module="judges", distribution="judges")


class Plain:
    def interpret(self, outputs: Any, context: Any) -> Any: ...

    def summarise(self, frames: Any, instance: Any) -> Any: ...


class Particular(Plain):
    def difference(self, before: Any, now: Any) -> str:
        return "" if before == now else "not to the letter"


class Broken(Plain):
    def difference(self, before: Any, now: Any) -> str:
        raise ZeroDivisionError


def completed(*findings: Finding) -> Result:
    return replace(RESULTS["completed"], findings=findings)


PLAIN = HostedTask(INFO, "task plain", Plain())
HEAD, NONE = scored("head", 0.9), scored("head", 0.4)
WITHHELD = withheld(Outcome.INDETERMINATE, "guard.content", "no picture of this kind")
NOT_APPLICABLE = withheld(Outcome.NOT_APPLICABLE, "input.not-eligible", "another modality")


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (completed(HEAD), completed(scored("head", 0.6)), ""),
        (completed(HEAD), completed(NONE), "class head is stated no longer"),
        (completed(NONE), completed(HEAD), "class head is stated"),
        (completed(HEAD), completed(scored("head", 0.9, frame_number=3)), "class head in frame 3 is stated"),
        (completed(HEAD), WITHHELD, "indeterminate (guard.content) in place of completed"),
        (WITHHELD, NOT_APPLICABLE, "not-applicable (input.not-eligible) in place of indeterminate (guard.content)"),
        (WITHHELD, WITHHELD, ""),
    ],
)
def test_what_is_stated_is_compared(before: Result, now: Result, expected: str) -> None:
    assert difference(before, now, PLAIN) == expected


def test_a_task_may_say_it_itself() -> None:
    task = HostedTask(INFO, "task particular", Particular())
    assert isinstance(task, ComparingTask)
    assert difference(completed(HEAD), completed(scored("head", 0.6)), task) == "not to the letter"
    assert difference(completed(HEAD), completed(HEAD), task) == ""


def test_its_fault_is_laid_on_its_plugin() -> None:
    task = HostedTask(INFO, "task broken", Broken())
    with pytest.raises(Exception, match="task broken: difference") as caught:
        difference(completed(HEAD), completed(HEAD), task)
    assert caught.value.code == "plugin.fault"  # type: ignore[attr-defined]
