"""Whether two models say the same of an image: what a shadow counts (``edgeai.roles.shadow``)."""

from __future__ import annotations

from edgeai.api.results import Outcome, Result
from edgeai.api.specs import ComparingTask, Task
from edgeai.hosting.statements import difference_of_statements


def difference(before: Result, now: Result, task: Task) -> str:
    """How ``now`` differs from ``before``, in a few words for people; empty where they agree.

    Args:
        before: of the model that runs, on the same image.
        now: of the other one.
        task: of the other one; what it says of two completed results counts, else whether they state the same.
    """
    if before.outcome is not now.outcome:
        return f"{_ended(now)} in place of {_ended(before)}"
    if now.outcome is not Outcome.COMPLETED:
        return ""
    compare = task.difference if isinstance(task, ComparingTask) else difference_of_statements
    return compare(before.findings, now.findings)


def _ended(result: Result) -> str:
    return f"{result.outcome} ({result.reason.code})" if result.reason is not None else str(result.outcome)
