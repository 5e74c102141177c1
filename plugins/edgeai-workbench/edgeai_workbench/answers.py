"""What a model says of samples whose truth is known: asked through the same transforms and task as on a device.

What an answer is, the task's judge alone knows (``edgeai.api.judging``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from edgeai.api import (
    Answer,
    Array,
    EdgeaiError,
    EvaluationFailed,
    FrameContext,
    Infer,
    Judge,
    NoStatement,
    Task,
    Tensors,
)
from edgeai_workbench.prepared import Prepared

_SAID_EVERY = 100


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """What one model says of n samples: their ids, an answer for each, and of how many it makes no statement, by code.

    The last are those that its task ended so: answers as all others to its judge.
    """

    ids: tuple[str, ...]
    each: tuple[Answer, ...]
    ended: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def at(self, places: Array | Sequence[int]) -> Answers:
        """Those at these places, in this order."""
        chosen = np.asarray(places, int)
        return Answers(ids=tuple(self.ids[n] for n in chosen), each=tuple(self.each[n] for n in chosen))


def answer(
    prepared: Prepared, infer: Infer, task: Task, *, progress: Callable[[str], None] = lambda step: None
) -> Answers:
    """Ask a model of every sample, one at a time, as a device does.

    Args:
        prepared: the samples, transformed.
        infer: ``Session.run``, or whatever else computes the outputs.
        task: makes findings of them, of which the judge keeps what it needs.
        progress: told how far it is, now and then.

    Raises:
        EvaluationFailed: ``evaluate.no-findings``: the judge finds nothing to judge in the findings.
        EdgeaiError: the model or the task failed on a sample; the message begins with it.
    """
    kept = []
    ended: Counter[str] = Counter()
    for place, context in enumerate(prepared.contexts):
        name = prepared.samples[place].id
        try:
            outputs = infer({name: values[place : place + 1] for name, values in prepared.inputs.items()})
            kept.append(answer_of(prepared.judge, task, outputs, context, ended))
        except EdgeaiError as error:
            raise type(error)(f"{name}: {error}", code=error.code, remedy=error.remedy) from error
        if (place + 1) % _SAID_EVERY == 0:
            progress(f"asked {place + 1} of {len(prepared)} samples")
    return Answers(
        ids=tuple(sample.id for sample in prepared.samples), each=tuple(kept), ended=dict(sorted(ended.items()))
    )


def answer_of(judge: Judge, task: Task, outputs: Tensors, context: FrameContext, ended: Counter[str]) -> Answer:
    """What the judge keeps of one frame; ``ended`` counts it where the task makes no statement of it.

    Raises:
        EvaluationFailed: ``evaluate.no-findings``: the judge has no answer for that.
        EdgeaiError: the task failed.
    """
    try:
        return judge.answer(task.interpret(outputs, context), outputs, context)
    except NoStatement as ending:
        kept = judge.unanswered(ending, outputs, context)
        if kept is None:
            raise EvaluationFailed(
                f"the task makes no statement of it ({ending.code}: {ending}), and its judge knows no such answers",
                code="evaluate.no-findings",
                remedy="Judge.unanswered says what is kept of them",
            ) from ending
        ended[ending.code] += 1
        return kept


def agreement(one: Answers, other: Answers, judge: Judge) -> float:
    """The share of samples that both decide alike, as the judge sees it.

    Raises:
        EvaluationFailed: as ``check_same``; ``evaluate.other-labels``.
    """
    check_same(one, other)
    return float(np.mean([judge.alike(mine, theirs) for mine, theirs in zip(one.each, other.each, strict=True)]))


def check_same(one: Answers, other: Answers) -> None:
    """Nothing, where both were asked of the same samples.

    Raises:
        EvaluationFailed: ``evaluate.other-samples``.
    """
    if one.ids != other.ids:
        raise EvaluationFailed("the two were asked of different samples", code="evaluate.other-samples")


def otherwise(one: Answers, other: Answers, judge: Judge, most: int) -> tuple[str, ...]:
    """Names of the first ``most`` samples that both do not decide alike. Raises as ``agreement``."""
    check_same(one, other)
    pairs = zip(one.ids, one.each, other.each, strict=True)
    return tuple(islice((name for name, mine, theirs in pairs if not judge.alike(mine, theirs)), most))
