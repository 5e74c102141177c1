"""What a new bundle must show before it stays: a decision on figures alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from statistics import median
from typing import TYPE_CHECKING, Final, Literal

from edgeai.api.results import Outcome
from edgeai.owners import owner_of
from edgeai.roles.requirements import is_unasked
from edgeai.roles.stated import shift
from edgeai.spool.updating import WORK

if TYPE_CHECKING:
    from edgeai.api.results import Result
    from edgeai.config import Updates
    from edgeai.slots import Probation, Slots

ENOUGH: Final = 5
"""Results before which nothing is said of what an image takes."""

LEEWAY_MS: Final = 20.0
"""A median may differ by so much whatever the factor: below it a busy machine is slower than a model."""

MOST_KNOWN: Final = 0.99
"""A part that was seen counts as no larger, so that something is always expected to be completed."""

TOO_RARE: Final = 0.01
"""None was completed, and before that would have happened so rarely: it is the bundle's doing."""

TAKES_PLACE: Final = ("adopted", "activated", "rolled-back", "superseded", "ordered-back", "damaged")
"""Moves by which another bundle runs than before."""

_WHATEVER_RUNS: Final = ("input", "dicom", "pixels")
"""Areas of codes that an image gets whichever bundle runs: its header or pixels cannot be used."""

Kind = Literal["completed", "failed", "withheld", ""]
Verdict = tuple[Literal["goes on", "ends well", "ends badly"], str, str]
"""What is to happen, and with a bad end its code and the reason in one sentence."""


def kind_of(result: Result, is_usual: Callable[[str], bool]) -> Kind:
    """What a result says of the bundle that is on probation.

    Args:
        result: of it.
        is_usual: whether what stood before failed with that code too, on the images that come here.

    Returns:
        ``withheld``: nothing was to be said, or the image could not be used; ``failed``: it should have answered;
        nothing of these where somebody stopped it or took its file away, or it was not asked.
    """
    code = result.reason.code if result.reason is not None else ""
    if is_unasked(result):
        return ""
    if result.outcome is not Outcome.FAILED:
        return "completed" if result.outcome is Outcome.COMPLETED else "withheld"
    if code == "job.interrupted" or code.startswith("spool."):
        return ""
    if owner_of(code) != "image":
        return "failed"
    # Eligibility let it in: a step that cannot do this kind of image is the bundle's, unless none here could.
    return "withheld" if code.partition(".")[0] in _WHATEVER_RUNS or is_usual(code) else "failed"


def spent_ms_of(result: Result) -> float:
    """What an image took of work, without its waiting."""
    return sum(result.timings_ms.get(stage, 0.0) for stage in WORK)


def stands_since(slots: Slots, *, back: int = 1) -> float:
    """When what runs took its place, as the clock was; with ``back`` 2 what ran before it; 0 where nobody knows."""
    moves = [move for move in slots.history if move.move in TAKES_PLACE]
    try:
        return datetime.fromisoformat(moves[-back].at).timestamp()
    except (IndexError, ValueError):
        return 0.0


def judge(probation: Probation, rules: Updates, *, deaths: int, last: str, silent: str = "") -> Verdict:
    """Whether probation goes on.

    Args:
        probation: what was counted.
        rules: of the profile.
        deaths: of the process by its own doing, since it began.
        last: the last failure, in words.
        silent: why nothing was stated on the last image of which that is so.
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
    told = f" (the last: {silent})" if silent else ""
    if seen >= probation.needed and probation.withheld / seen > probation.before_withheld + rules.probation_withheld:
        why = f"it made no statement on {probation.withheld} of {seen} images{told}"
        return "ends badly", "slots.withheld", f"{why}, and before on {probation.before_withheld:.0%}"
    if rules.probation_shift and (
        moved := shift(probation.before_stated, probation.before_seen, probation.stated, probation.seen)
    ):
        return "ends badly", "slots.shifted", moved
    if not probation.completed and _is_its_doing(probation):
        told = told or (f" (the last: {last})" if last else "")
        why = f"of {probation.withheld + probation.failed} images it completed none{told}"
        return "ends badly", "slots.withheld", why
    return ("ends well", "", "") if probation.completed >= probation.needed else ("goes on", "", "")


def _is_its_doing(probation: Probation) -> bool:
    """Whether it is the bundle that none of the images was completed by; where nobody knows of before, it is."""
    without = probation.withheld + probation.failed
    is_known = probation.before_withheld < 1.0
    return without >= probation.needed and not (is_known and probation.before_withheld**without >= TOO_RARE)
