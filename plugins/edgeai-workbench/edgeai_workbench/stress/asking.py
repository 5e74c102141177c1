"""A model that is open, asked as a device asks it: through its header, its guards, its engine, its task."""

from __future__ import annotations

from dataclasses import dataclass

from edgeai.api import Answer, EvaluationFailed, Frame, FrameContext, Judge, Outcome
from edgeai.model import Model
from edgeai_workbench.dataset import Sample
from edgeai_workbench.prepared import case_of
from edgeai_workbench.robustness.asking import is_of_image, with_truth
from edgeai_workbench.robustness.frames import Distorted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reply:
    """What became of one image.

    Attributes:
        code: why it got no statement; empty where it got one.
        answer: as the task's judge keeps it, of one with a statement, where it was asked for.
        context: as the model saw it, likewise.
    """

    code: str
    answer: Answer | None = None
    context: FrameContext | None = None


def ask(model: Model, frame: Frame, *, name: str, judge: Judge | None = None) -> Reply:
    """One image.

    Args:
        model: open.
        frame: the image; its ``instance`` is its header.
        name: for messages.
        judge: keeps the answer; ``None``: nobody asks what is stated.

    Raises:
        EvaluationFailed: with the result's code: it failed, and not because of the image.
    """
    result = model.run([frame], frame.instance)
    if result.outcome is not Outcome.COMPLETED:
        why = result.reason
        assert why is not None
        if result.outcome is Outcome.FAILED and not is_of_image(why.code):
            raise EvaluationFailed(f"{name}: {why.message}", code=why.code)
        return Reply(code=why.code)
    if judge is None:
        return Reply(code="")
    tensor, seen = model.pipeline.prepare(frame)
    context = FrameContext(frame=seen, instance=frame.instance)
    outputs = model.own(model.infer({model.pipeline.input.name: tensor}))
    return Reply(
        code="", answer=judge.answer(model.task.interpret(outputs, context), outputs, context), context=context
    )


def stands(judge: Judge, sample: Sample, arrived: Distorted, before: Reply, now: Reply) -> bool | None:
    """Whether nobody is misled by an image that was changed: it is withheld, stated as before, or stated right.

    ``None`` where nobody can say what is true of it now.
    """
    if now.code:
        return True
    moved = with_truth(judge, sample, arrived)
    stays = arrived.moved is None or _same(judge, sample, moved)
    if stays and not before.code and judge.alike(before.answer, now.answer):
        return True
    assert now.context is not None
    assessed = None if moved.truth is None else judge.assessed(case_of(moved, now.context, judge), now.answer)
    if assessed is None:
        return False if stays else None
    return assessed.right and not assessed.withheld


def _same(judge: Judge, sample: Sample, moved: Sample) -> bool:
    """Whether what is true of an image is true of it after it was moved too."""
    known = sample.truth is not None and moved.truth is not None
    return known and judge.digest(sample.truth) == judge.digest(moved.truth)
