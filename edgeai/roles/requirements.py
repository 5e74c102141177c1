"""What a deployment requires of others, of one image: whether they have said it, and what becomes of the image."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from edgeai.api.results import Failure, GuardFigure, Outcome
from edgeai.remedies import remedy_for
from edgeai.selftest import is_selftest

if TYPE_CHECKING:
    from edgeai.api.results import Finding, Result
    from edgeai.config import Deployment, Requirement
    from edgeai.spool import End, Job, Spool

CHECK: Final = "requires"
"""Of the figures that say what was required."""

_OF_THE_IMAGE: Final = ("requires.not-met", "requires.no-statement")
"""Such an image is not for this deployment; with the other codes nobody knows, and it is done again once one may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one requirement came to. ``sentence`` is for people; ``figure`` for the result."""

    code: str
    sentence: str
    figure: GuardFigure


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """The model is asked; ``figures`` of what was required."""

    figures: tuple[GuardFigure, ...] = ()


class Ends(NamedTuple):
    """The model is not asked: what its result says."""

    outcome: Outcome
    reason: Failure
    figures: tuple[GuardFigure, ...]


def judge(
    requirements: Sequence[Requirement], ends: Mapping[str, End], *, waited_s: float, within_s: float
) -> Runs | Ends | None:
    """Of one image: once all have ended, so that it does not matter which of them did first; or after so long.

    Args:
        requirements: of the deployment.
        ends: what the others have come to, by name; who has no job of the image is not there.
        waited_s: for so long, since the last sign of life.
        within_s: as long as it may.

    Returns:
        None while it waits.
    """
    if waited_s < within_s and not all(end.is_over for end in ends.values()):
        return None
    answers = [_answer(each, ends.get(each.deployment), within_s) for each in requirements]
    figures = tuple(answer.figure for answer in answers)
    against = sorted((answer for answer in answers if answer.code), key=lambda answer: answer.code not in _OF_THE_IMAGE)
    if not against:
        return Runs(figures=figures)
    first = against[0]
    outcome = Outcome.NOT_APPLICABLE if first.code in _OF_THE_IMAGE else Outcome.FAILED
    return Ends(outcome, Failure(code=first.code, message=first.sentence, remedy=remedy_for(first.code)), figures)


def _answer(requirement: Requirement, end: End | None, within_s: float) -> Answer:
    if end is None:
        return _silent(requirement, "requires.no-statement", "was not asked: it is not meant for this image")
    if not end.is_over:
        return _silent(
            requirement, "requires.no-answer", f"has ended neither this image nor one before it within {within_s:g} s"
        )
    if end.outcome != Outcome.COMPLETED:
        code = "requires.failed" if end.outcome == Outcome.FAILED else "requires.no-statement"
        return _silent(requirement, code, f"ended {end.outcome} ({end.code})")
    if end.stated is None or requirement.finding not in end.stated:
        return _silent(requirement, "requires.no-answer", "ended before the profile asked for that")
    return _statement(requirement, end.stated[requirement.finding])


def _silent(requirement: Requirement, code: str, what: str) -> Answer:
    sentence = f"{requirement} is required, and {requirement.deployment} {what}"
    return Answer(code=code, sentence=sentence, figure=_figure(requirement, 0.0, requirement.at_least, withheld=True))


def _statement(requirement: Requirement, stated: Any) -> Answer:
    """Of a deployment that completed: what it said of the finding; null where it has none such."""
    told = stated if isinstance(stated, Mapping) else {}
    present, probability = bool(told.get("present")), told.get("probability")
    number = float(probability) if isinstance(probability, int | float) else float(present)
    bound = requirement.at_least
    is_met = present and (bound is None or (probability is not None and number >= bound))
    figure = _figure(requirement, number, bound, withheld=not is_met)
    score = f" ({number:.3g})" if probability is not None else ""
    what = f"states it{score}" if present else f"denies it{score}" if told else "does not state it"
    sentence = f"{requirement} is required, and {requirement.deployment} {what}"
    return Answer(code="" if is_met else "requires.not-met", sentence=sentence, figure=figure)


def _figure(requirement: Requirement, value: float, threshold: float | None, *, withheld: bool) -> GuardFigure:
    name = f"{requirement.deployment} {requirement.finding}"
    return GuardFigure(check=CHECK, name=name, value=value, threshold=threshold, withheld=withheld)


def is_unasked(result: Result) -> bool:
    """Whether the model was not asked since others did not say what is required: it says nothing of the model."""
    return result.reason is not None and result.reason.code.startswith(f"{CHECK}.")


def stated_by(result: Result, asked: Collection[str]) -> str | None:
    """What a result says of the findings ``kind:label`` that others require, as JSON; None where it says nothing.

    Of a label with several findings one about the whole image counts before those about frames, and then the one that
    is stated with the largest probability.
    """
    if not asked or result.outcome is not Outcome.COMPLETED:
        return None
    told: dict[str, dict[str, Any] | None] = {}
    for finding in sorted(asked):
        about = [each for each in result.findings if f"{each.kind}:{each.label}" == finding]
        best = max(about, key=_weight, default=None)
        told[finding] = None if best is None else {"present": best.present, "probability": best.probability}
    return json.dumps(told)


def _weight(finding: Finding) -> tuple[bool, bool, float]:
    return finding.frame_number is None, finding.present, finding.probability or 0.0


class _Waiting(NamedTuple):
    """A job that waits: since when, monotonic seconds; and whose ends it waits for."""

    since: float
    job: Job
    unfinished: frozenset[str]


class Requirements:
    """Of one deployment, while its process lives.

    Args:
        spool: where its jobs are.
        deployment: whose.
        owner: of what it claims.
        beat: says that the role lives.
        event: ``event(kind, message, **facts)``.
    """

    def __init__(
        self, spool: Spool, deployment: Deployment, owner: str, beat: Callable[[], None], event: Callable[..., None]
    ) -> None:
        self._spool, self._name, self._owner, self._beat, self._event = spool, deployment.name, owner, beat, event
        self._is_unanswered = False
        self._all = deployment.requirements
        self._asked = tuple(each.deployment for each in self._all)
        self._within_s = deployment.requires_within_s
        self._waiting: dict[int, _Waiting] = {}
        """The one that waits longest first."""
        self._moved: dict[str, float] = {}
        """Others, and when the last of their ends came that a job waited for, monotonic seconds."""
        self._figures: dict[int, tuple[GuardFigure, ...]] = {}
        """Of jobs that may run."""

    def begin(self) -> None:
        """Nothing is known of any job; call it before the first is claimed."""
        if self._all:
            self._spool.look_anew(self._name)

    def look(self) -> tuple[Job, Ends] | None:
        """At each job that is new, or for which something has ended; what it gives is claimed, and ends without a run.

        Raises:
            SpoolError: the spool cannot be used.
        """
        if not self._all:
            return None
        while (job := self._spool.unseen(self._name) or self._overdue()) is not None:
            self._beat()  # thousands may have waited for this start
            verdict = self._verdict(job)
            if verdict is None:
                self._spool.await_end(job, self._asked)
                continue
            self._waiting.pop(job.id, None)
            if isinstance(verdict, Runs):
                self._figures[job.id] = verdict.figures
                self._spool.clear(job)
                self._is_unanswered = False
            elif (taken := self._spool.take(job, self._owner)) is not None:
                self._tell(verdict)
                return taken, verdict
        return None

    def _overdue(self) -> Job | None:
        first = next(iter(self._waiting.values()), None)
        if first is None or time.monotonic() - self._silent_since(first.since, first.unfinished) < self._within_s:
            return None
        return first.job

    def _silent_since(self, since: float, unfinished: Collection[str]) -> float:
        """Who works through what was there before is not silent: one that is has ended nothing for so long."""
        return max(since, min((self._moved.get(name, 0.0) for name in unfinished), default=0.0))

    def _verdict(self, job: Job) -> Runs | Ends | None:
        if job.code or is_selftest(job.instance):  # its row is damaged; or no patient's image, which the rule is for
            return Runs()
        ends, now = self._spool.ends_of(job, self._asked), time.monotonic()
        unfinished = frozenset(name for name, end in ends.items() if not end.is_over)
        was = self._waiting.get(job.id, _Waiting(now, job, unfinished))
        self._moved.update(dict.fromkeys(was.unfinished - unfinished, now))
        waited_s = now - self._silent_since(was.since, unfinished)
        verdict = judge(self._all, ends, waited_s=waited_s, within_s=self._within_s)
        if verdict is None:
            self._waiting[job.id] = was._replace(unfinished=unfinished)
        return verdict

    def _tell(self, end: Ends) -> None:
        """Once, until an image has its answer in time again."""
        was, self._is_unanswered = self._is_unanswered, end.reason.code == "requires.no-answer"
        if self._is_unanswered and not was:
            told = f"images fail on {self._name}, which waits for another deployment: {end.reason.message}"
            self._event("deployment.unanswered", told, code=end.reason.code, remedy=end.reason.remedy)

    def ended(self, job: Job) -> tuple[GuardFigure, ...]:
        """A job comes to its end: what let it run, for its result."""
        self._waiting.pop(job.id, None)
        return self._figures.pop(job.id, ())
