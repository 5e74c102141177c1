"""What is left open by a model's answers: a judge that counts it beside what the task's own judge knows.

Figures of the task stay those of all samples, as they are behind every other guard. Beside them stand ``abstained``,
the share of samples that get no statement, and ``set_coverage``, that of those of whose answers the true one is left.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from edgeai.api import (
    HIGHER,
    LOWER,
    Alternatives,
    Answer,
    Assessed,
    Case,
    Cells,
    ConfigError,
    Drawing,
    Figure,
    FigureUndefined,
    Findings,
    FrameContext,
    Geometry,
    Judge,
    Judged,
    NoStatement,
    Share,
    Task,
    TaskFailed,
    Tensors,
    Truth,
)
from edgeai.api.judging import Reals, Values, Weights
from edgeai.bundle.uses import AbstentionUse, GuardUse
from edgeai.model.abstaining import group_of, left_of
from edgeai_workbench.card_parts import UNFITTED

ABSTAINED: Final = "abstained"
COVERED: Final = "set_coverage"
OF_ABSTENTION: Final = (ABSTAINED, COVERED)
_ABSENT: Final = "not stated"
_OPTIONS: Final = "task.options"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """An answer, and what else could have been given.

    Attributes:
        answer: as the task's judge keeps it.
        alternatives: ``None`` where the task made no statement by itself.
        left: answers that are no stranger than the quantile.
        group: value of the attribute that the quantile goes by.
    """

    answer: Answer
    alternatives: Alternatives | None
    left: tuple[str, ...] = ()
    group: str = ""

    @property
    def states(self) -> bool:
        """Whether a cart would make the statement."""
        return self.alternatives is not None and self.left == (self.alternatives.stated,)


class AbstainingJudge(Judge):
    """The judge of a task, of models that a bundle lets abstain."""

    def __init__(self, judge: Judge, alternatives: Callable[[Findings], Alternatives], use: AbstentionUse) -> None:
        self.plain = judge
        self.use = use
        self._alternatives = alternatives
        self.columns, self.main, self.labels = judge.columns, judge.main, judge.labels
        self.folders, self.objective, self.moves_by_truth = judge.folders, judge.objective, judge.moves_by_truth

    def with_use(self, use: AbstentionUse) -> AbstainingJudge:
        """The same with other quantiles."""
        return AbstainingJudge(self.plain, self._alternatives, use)

    def answer(self, findings: Findings, outputs: Tensors, context: FrameContext) -> Weighed:
        """The answer, and what is left beside it."""
        alternatives, group = self._alternatives(findings), group_of(self.use, context.instance)
        return Weighed(
            answer=self.plain.answer(findings, outputs, context),
            alternatives=alternatives,
            left=left_of(alternatives, self.use.quantiles.get(group, self.use.quantile)),
            group=group,
        )

    def unanswered(self, ending: NoStatement, outputs: Tensors, context: FrameContext) -> Weighed | None:
        """What its own judge keeps; it states nothing."""
        kept = self.plain.unanswered(ending, outputs, context)
        return (
            None
            if kept is None
            else Weighed(answer=kept, alternatives=None, group=group_of(self.use, context.instance))
        )

    def alike(self, one: Weighed, other: Weighed) -> bool:
        """Both make no statement, or the same."""
        if not (one.states and other.states):
            return one.states == other.states
        return self.plain.alike(one.answer, other.answer)

    def assessed(self, case: Case, answer: Weighed) -> Assessed | None:
        """Withheld where there is no statement."""
        if not answer.states:
            return Assessed(right=False, withheld=True)
        return self.plain.assessed(case, answer.answer)

    def judged(self, cases: Sequence[Case], answers: Sequence[Weighed]) -> Judged:
        """The task's figures of all samples, then those of what is left open, once that is known."""
        judged = self.plain.judged(cases, [answer.answer for answer in answers])
        if cases and self.use.quantile >= UNFITTED:
            return judged
        return replace(judged, figures=(*judged.figures, *self._figures(cases, answers)))

    def subgroups(self, case: Case) -> Mapping[str, str]:
        """And by the attribute that the quantile goes by."""
        groups = dict(self.plain.subgroups(case))
        if self.use.by is not None:
            groups.setdefault(self.use.by, group_of(self.use, case.context.instance) or _ABSENT)
        return groups

    def pictures(
        self, cases: Sequence[Case], answers: Mapping[str, Sequence[Weighed]], ships: Collection[str]
    ) -> Sequence[Drawing]:
        """Those of the task."""
        return self.plain.pictures(cases, {name: [one.answer for one in each] for name, each in answers.items()}, ships)

    def read(self, cells: Cells) -> Truth | None:
        """As the task's judge."""
        return self.plain.read(cells)

    def digest(self, truth: Truth) -> bytes:
        """As the task's judge."""
        return self.plain.digest(truth)

    def targets(self, case: Case) -> Tensors:
        """As the task's judge."""
        return self.plain.targets(case)

    def stratum(self, case: Case) -> Hashable:
        """As the task's judge."""
        return self.plain.stratum(case)

    def choose(self, cases: Sequence[Case], outputs: Sequence[Tensors], wish: Mapping[str, Any]) -> Mapping[str, Any]:
        """As the task's judge."""
        return self.plain.choose(cases, outputs, wish)

    def true_answer(self, case: Case) -> str | None:
        """As the task's judge."""
        return self.plain.true_answer(case)

    def moved(self, truth: Truth, geometry: Geometry, extent: tuple[int, int]) -> Truth | None:
        """As the task's judge."""
        return self.plain.moved(truth, geometry, extent)

    def _figures(self, cases: Sequence[Case], answers: Sequence[Weighed]) -> tuple[Figure, ...]:
        true = [self.true_answer(case) for case in cases]
        pairs = list(zip(true, answers, strict=True))
        known = [name is not None and one.alternatives is not None for name, one in pairs]
        return (
            _share(ABSTAINED, [not one.states for one in answers], [True] * len(answers), LOWER),
            _share(COVERED, [name in one.left for name, one in pairs], known, HIGHER),
        )


def judge_behind(judge: Judge, task: Task, guard: GuardUse | None) -> Judge:
    """The judge of what a cart says behind this guard.

    Raises:
        ConfigError: ``config.card-abstention``: the task's answers leave nothing open.
    """
    if guard is None or guard.abstention is None:
        return judge
    alternatives: Callable[[Findings], Alternatives] | None = getattr(task, "alternatives", None)
    if alternatives is None:
        raise _cannot("its task does not say what else it could have answered")
    try:
        alternatives(())
    except TaskFailed as error:
        if error.code == _OPTIONS:
            raise _cannot(str(error)) from error
    return AbstainingJudge(judge, alternatives, guard.abstention)


def _cannot(why: str) -> ConfigError:
    return ConfigError(
        f"[guard.abstention] {why}",
        code="config.card-abstention",
        remedy="take [guard.abstention] out of the card, or ask for a task whose answers exclude one another",
    )


def _share(name: str, hits: Sequence[bool], among: Sequence[bool], better: str) -> Figure:
    counted: Reals = np.asarray(among, np.float64)
    hit: Reals = np.asarray(hits, np.float64) * counted

    def value() -> float:
        if not counted.sum():
            raise FigureUndefined(f"{name}: there are no such samples")
        return float(hit.sum() / counted.sum())

    def over(weights: Weights) -> Values:
        with np.errstate(invalid="ignore", divide="ignore"):
            share: Values = (weights @ hit) / (weights @ counted)
        return share

    return Figure(name=name, value=value, over=over, better=better, parts=(Share(hit, counted),))
