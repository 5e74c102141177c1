"""What a new bundle must show before it stays: a decision on figures alone."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from edgeai.config import Updates
    from edgeai.slots import Probation

ENOUGH: Final = 5
"""Results before which nothing is said of what an image takes."""

LEEWAY_MS: Final = 20.0
"""A median may differ by so much whatever the factor: below it a busy machine is slower than a model."""

MORE_WITHHELD: Final = 0.5
"""So much larger than before may the part of the images be of which nothing was stated."""

Verdict = tuple[Literal["goes on", "ends well", "ends badly"], str, str]
"""What is to happen, and with a bad end its code and the reason in one sentence."""


def judge(probation: Probation, rules: Updates, *, deaths: int, last: str) -> Verdict:
    """Whether probation goes on.

    Args:
        probation: what was counted.
        rules: of the profile.
        deaths: of the process by its own doing, since it began.
        last: the last failure, in words.
    """
    if probation.failed + deaths > rules.probation_failures:
        kinds = ((probation.failed, "failed results"), (deaths, "deaths of its process"))
        counted = " and ".join(f"{count} {what}" for count, what in kinds if count)
        allowed = f"{rules.probation_failures} may be" + (f" (the last: {last})" if last else "")
        return "ends badly", "slots.failures", f"on probation it had {counted}, and {allowed}"
    spent = median(probation.spent_ms) if len(probation.spent_ms) >= ENOUGH else 0.0
    if probation.before_ms > 0 and spent > max(probation.before_ms * rules.probation_slowdown, LEEWAY_MS):
        why = f"an image takes {spent:.0f} ms, and took {probation.before_ms:.0f} ms before"
        return "ends badly", "slots.slow", f"{why}: over {rules.probation_slowdown:g} times as long"
    seen = probation.completed + probation.withheld
    if seen >= probation.needed and probation.withheld / seen > probation.before_withheld + MORE_WITHHELD:
        why = f"it made no statement on {probation.withheld} of {seen} images"
        return "ends badly", "slots.withheld", f"{why}, and before on {probation.before_withheld:.0%}"
    return ("ends well", "", "") if probation.completed >= probation.needed else ("goes on", "", "")
