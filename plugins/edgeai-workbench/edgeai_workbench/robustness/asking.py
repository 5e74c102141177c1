"""Models asked of images that were spoilt on the way: through the card's own transforms and task, as on a device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import numpy as np

from edgeai.api import (
    Answer,
    Array,
    Case,
    EdgeaiError,
    Frame,
    FrameContext,
    Geometry,
    Infer,
    InputRejected,
    Judge,
    Task,
)
from edgeai.bundle.uses import GuardUse
from edgeai.model.looks import Looks
from edgeai.model.sentry import Sentry
from edgeai.model.withheld import Withheld
from edgeai.owners import owner_of
from edgeai.pipeline import Pipeline
from edgeai_workbench.answers import answer_of
from edgeai_workbench.dataset import Sample
from edgeai_workbench.prepared import case_of
from edgeai_workbench.robustness.frames import Distorted
from edgeai_workbench.statistics import Design

Change = Callable[[Frame, str], Distorted]
"""(source frame, name of the sample) -> what arrives in its place."""
REFUSED: Final = object()
"""In place of an answer: the image got none."""
_ITS_OWN: Final = ("input", "dicom", "pixels", "guard", "tensor", "transform", "task")
"""Areas of codes that an image gets for being as it is, where the plain one got none."""


class Eligible(Protocol):
    """The part of a manifest's eligibility that an odd image can break."""

    def too_small(self, rows: int, columns: int) -> str | None:
        """Why so few rows and columns are refused; ``None`` where they are not."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asker:
    """What is needed to ask.

    Attributes:
        samples: images with a truth, or all without.
        models: name -> inference, the one first that others are held against.
        input: name of the image input.
        guard: what stands before the models; what it withholds of odd images, and of plain ones, is withheld.
        sentry: the guard's model, where it has one.
    """

    samples: tuple[Sample, ...]
    models: Mapping[str, Infer]
    pipeline: Pipeline
    task: Task
    judge: Judge
    input: str
    eligibility: Eligible | None = None
    guard: GuardUse | None = None
    sentry: Sentry | None = None

    @property
    def known(self) -> bool:
        """Whether anyone says what is true of them."""
        return all(sample.truth is not None for sample in self.samples)

    @property
    def moves(self) -> bool:
        """Whether the judge says where truth goes; asked of the first sample, which is left as it is."""
        sample = self.samples[0]
        frame = sample.load()[0]
        geometry = Geometry(source_rows=frame.rows, source_columns=frame.columns)
        return self.known and self.judge.moved(sample.truth, geometry, (frame.rows, frame.columns)) is not None


@dataclass(slots=True, kw_only=True, eq=False)
class Replies:
    """What one model said: an answer for each sample, or ``REFUSED``; ``refusals`` counts those by their code."""

    answers: list[Answer] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)

    @property
    def answered(self) -> list[int]:
        """Places of the images that were answered."""
        return [place for place, answer in enumerate(self.answers) if answer is not REFUSED]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """All models of the same images: ``cases`` are ``None`` where nobody says what is true."""

    cases: tuple[Case | None, ...]
    replies: Mapping[str, Replies]


def ask(asker: Asker, change: Change | None, *, told: Callable[[int], None] = lambda count: None) -> Asked:
    """Every model of every image after ``change``, which is told the sample's name; ``None`` leaves images as they are.

    An image that is refused, by eligibility, the guard, a transform or the task, is withheld; what is not the image's
    fault is raised.

    Raises:
        EdgeaiError: a model or its task fails, and not because of the image.
    """
    cases: list[Case | None] = []
    replies = {name: Replies() for name in asker.models}
    for number, sample in enumerate(asker.samples, 1):
        frame = sample.load()[0]
        arrived = Distorted(frame=frame) if change is None else change(frame, sample.id)
        sample = with_truth(asker.judge, sample, arrived)
        context = FrameContext(frame=arrived.frame, instance=arrived.instance)
        try:
            array, seen = _prepared(asker, arrived, plain=change is None)
            context = FrameContext(frame=seen, instance=arrived.instance)
        except EdgeaiError as error:
            for each in replies.values():
                _refused(sample, error, each, plain=change is None)
        else:
            for name, infer in asker.models.items():
                try:
                    replies[name].answers.append(_one(asker, infer, array, context))
                except EdgeaiError as error:
                    _refused(sample, error, replies[name], plain=change is None)
        cases.append(None if sample.truth is None else case_of(sample, context, asker.judge))
        told(number)
    return Asked(cases=tuple(cases), replies=replies)


def is_of_image(code: str) -> bool:
    """Whether an image gets this code for being as it is, and not for what is wrong with machine, engine or plugin."""
    return code.partition(".")[0] in _ITS_OWN and owner_of(code) != "device"


def design_of(asker: Asker, cases: Sequence[Case | None], places: Iterable[int]) -> Design | None:
    """How these samples are drawn; ``None`` where there is nothing to draw from."""
    chosen = list(places)
    known = [cases[place] for place in chosen]
    strata = [0 if case is None else asker.judge.stratum(case) for case in known]
    groups = [asker.samples[place].group or asker.samples[place].id for place in chosen]
    if len(set(groups)) < 2:
        return None
    design = Design.of(strata, groups)
    return design if any(len(units) > 1 for units in design.strata) else None


def spread(samples: Sequence[Sample], count: int) -> tuple[Sample, ...]:
    """At most ``count`` of them, evenly spread."""
    if count >= len(samples):
        return tuple(samples)
    places = np.unique(np.linspace(0, len(samples) - 1, count).round().astype(int))
    return tuple(samples[place] for place in places)


def progress_of(progress: Callable[[str], None], steps: int, samples: int) -> Iterator[Callable[[int], None]]:
    """One after another, what ``ask`` tells how far it is: one percentage for all steps."""
    last = -1
    for step in range(steps):

        def told(count: int, step: int = step) -> None:
            nonlocal last
            percent = int(100 * (step * samples + count) / (steps * samples))
            if percent > last:
                last = percent
                progress(f"robustness: {percent} %")

        yield told


def _prepared(asker: Asker, arrived: Distorted, *, plain: bool) -> tuple[Array, Frame]:
    if asker.eligibility is not None and not plain:
        why = asker.eligibility.too_small(*arrived.extent)
        if why is not None:
            raise InputRejected(why, code="input.not-eligible")
    return Looks(asker.guard, sentry=asker.sentry).prepare_asked(asker.pipeline, arrived.frame)


def _one(asker: Asker, infer: Infer, array: Array, context: FrameContext) -> Answer:
    outputs = infer({asker.input: array})
    return answer_of(asker.judge, asker.task, outputs, context, Counter())


def _refused(sample: Sample, error: EdgeaiError, replies: Replies, *, plain: bool) -> None:
    """Count it; what is not for being an odd image is raised, but for what a guard is there for."""
    if not is_of_image(error.code) or (plain and not isinstance(error, Withheld)):
        raise type(error)(f"{sample.id}: {error}", code=error.code, remedy=error.remedy) from error
    replies.answers.append(REFUSED)
    replies.refusals[error.code] += 1


def with_truth(judge: Judge, sample: Sample, arrived: Distorted) -> Sample:
    """The sample with what is true of what arrived; without truth where nobody can say."""
    if arrived.moved is None or sample.truth is None:
        return sample
    return replace(sample, truth=judge.moved(sample.truth, arrived.moved, arrived.extent))
