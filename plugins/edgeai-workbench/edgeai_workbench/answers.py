"""What a model says of samples whose truth is known: asked through the same transforms and task as on a device.

What an answer is, the task's judge alone knows (``edgeai.api.judging``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from edgeai.api import Answer, Array, EdgeaiError, EvaluationFailed, Infer, Judge, Task
from edgeai_workbench.prepared import Prepared

_SAID_EVERY = 100


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """What one model says of n samples: their ids, and an answer for each."""

    ids: tuple[str, ...]
    each: tuple[Answer, ...]

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
    for place, context in enumerate(prepared.contexts):
        name = prepared.samples[place].id
        try:
            outputs = infer({name: values[place : place + 1] for name, values in prepared.inputs.items()})
            kept.append(prepared.judge.answer(task.interpret(outputs, context), outputs, context))
        except EdgeaiError as error:
            raise type(error)(f"{name}: {error}", code=error.code, remedy=error.remedy) from error
        if (place + 1) % _SAID_EVERY == 0:
            progress(f"asked {place + 1} of {len(prepared)} samples")
    return Answers(ids=tuple(sample.id for sample in prepared.samples), each=tuple(kept))


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
