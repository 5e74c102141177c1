"""What a task brings for the build host: a ``Judge``, which says what is true of samples and how good answers are.

The host asks models, resamples, compares, gates and reports; it knows of truths and answers no more than that the judge
gave them. A judge is asked on the build host alone: no cart builds one, so it may import what only a build host has,
when it is first needed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from edgeai.api.assessing import Assessed
from edgeai.api.building import Objective
from edgeai.api.drawing import Drawing
from edgeai.api.endings import NoStatement
from edgeai.api.errors import DataRejected
from edgeai.api.imaging import Geometry
from edgeai.api.reliability import Reliability
from edgeai.api.results import Findings
from edgeai.api.specs import FrameContext
from edgeai.api.tensors import Array, Tensors

Truth: TypeAlias = Any
"""What is true of one sample, as the judge read it. Small; the host keeps it and never looks inside."""
Answer: TypeAlias = Any
"""What a model said of one sample, as the judge keeps it. Small, since there are thousands; opaque to the host."""
Flags: TypeAlias = npt.NDArray[np.bool_]
Reals: TypeAlias = npt.NDArray[np.float64]
Weights: TypeAlias = npt.NDArray[np.float64]
"""(resamples, n): how often each resample drew each sample."""
Values: TypeAlias = npt.NDArray[np.float64]
"""(resamples,): a figure of each resample, NaN where it does not determine it."""

HIGHER: Final = "higher"
LOWER: Final = "lower"


# --- truth ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A key that a card's ``[dataset.*.truth]`` may have.

    Attributes:
        name: the key.
        help: what stands there, with its unit.
        kind: ``column``: the card names one column of the table; ``columns``: a list of them; ``setting``: what the
            card says is no column, but how to read one.
    """

    name: str
    help: str
    kind: Literal["column", "columns", "setting"] = "column"


class PictureFile(Protocol):
    """A picture that a table names, read when it is wanted."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    def load(self) -> Array:
        """(rows, columns) or (rows, columns, 3), as it is stored.

        Raises:
            DataRejected: ``data.file-unreadable``.
        """
        ...


class Cells(Protocol):
    """One row of a table, by the names of ``Judge.columns``; every mistake names the file and the line."""

    def has(self, name: str) -> bool:
        """Whether the card gives this key."""
        ...

    def columns(self, name: str) -> tuple[str, ...]:
        """What the table itself calls the column, or the columns."""
        ...

    def text(self, name: str) -> str:
        """A cell."""
        ...

    def number(self, name: str) -> float:
        """A cell that is a finite number. Raises ``DataRejected`` (``data.value-invalid``)."""
        ...

    def flags(self, name: str) -> tuple[bool, ...]:
        """Cells of 0 and 1, of ``columns``. Raises ``DataRejected`` (``data.value-invalid``)."""
        ...

    def picture(self, name: str) -> PictureFile:
        """The picture that a cell names, relative to the table.

        Raises:
            DataRejected: ``data.outside``, ``data.file-missing``.
        """
        ...

    def setting(self, name: str, default: Any = None) -> Any:
        """What the card says, of a ``setting``."""
        ...

    def wrong(self, what: str, *, code: str, remedy: str | None = None) -> DataRejected:
        """The error for this line, to be raised."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """A sample as a judge sees it.

    Attributes:
        id: names it in messages and pictures.
        truth: as ``read`` or ``folders`` of the judge gave it.
        context: the frame as the model saw it (its ``geometry`` maps back), and the instance.
        image: reads the source image's pixels, for pictures.
    """

    id: str
    truth: Truth
    context: FrameContext
    image: Callable[[], Array]


# --- figures ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """``hits`` of ``among``, each (n,): what a sample adds to the one and to the other, mostly 0 or 1."""

    hits: Reals
    among: Reals


@dataclass(frozen=True, slots=True, eq=False)
class Area:
    """The area under a ROC curve: ``truth`` and ``scores``, each (n,); scores should be higher for what is true."""

    truth: Flags
    scores: Reals


@dataclass(frozen=True, slots=True, eq=False)
class AveragePrecision:
    """The area under a precision-recall curve, without interpolation: ``truth`` and ``scores`` as of an ``Area``."""

    truth: Flags
    scores: Reals


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of merit of one model on some samples.

    Attributes:
        name: as reports and gates call it.
        value: of the samples as they are; raises ``FigureUndefined``.
        over: weights (resamples, n) -> values (resamples,), NaN where a resample does not determine it.
        better: ``higher`` or ``lower``.
        unit: ``mm`` or ``px``; empty for a share.
        parts: what it is the plain mean of, where that is known: shares of counted samples, areas under ROC curves, or
            average precisions. The host has sharper intervals and tests for these than resampling.
    """

    name: str
    value: Callable[[], float]
    over: Callable[[Weights], Values]
    better: str = HIGHER
    unit: str = ""
    parts: tuple[Share, ...] | tuple[Area, ...] | tuple[AveragePrecision, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossTable:
    """How often (row) what is true was (column) stated."""

    true: tuple[str, ...]
    stated: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


def _no_point(name: str) -> Figure | None:
    return None


def _no_reliability() -> Sequence[Reliability]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Cases and answers side by side.

    Attributes:
        figures: all that the task has, in the order in which they are shown.
        by_part: part of the question (a label, a landmark) -> figure -> value; empty where it has one part.
        confusion: of statements that exclude one another.
        point: the figure at an operating point that its name spells (``sensitivity@specificity=0.9``), or ``None``
            where the name is none of the judge's; gates may ask for it.
        reliability: what probabilities were worth, before and after they were calibrated; empty where there are none.
    """

    figures: tuple[Figure, ...]
    by_part: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    confusion: CrossTable | None = None
    point: Callable[[str], Figure | None] = _no_point
    reliability: Callable[[], Sequence[Reliability]] = _no_reliability


# --- the judge --------------------------------------------------------------------------------


class Judge(Protocol):
    """What a task knows that the build host has to know: pure, built by ``TaskSpec.judge``.

    Derive from it, and what you leave out has the defaults below.
    """

    columns: tuple[Column, ...]
    """What a table of samples can say; the first is what a sample without truth lacks."""
    main: tuple[str, ...]
    """The main figure: the first of these that the samples determine."""
    labels: tuple[str, ...] = ()
    """The words that it speaks of, for messages; none where it has none."""
    folders: Mapping[str, Truth] = MappingProxyType({})
    """Sub-folder -> what is true of the images in it; empty where no folder can say it."""
    objective: Objective | None = None
    """What training minimises; ``None`` for a task whose models are not trained here."""
    moves_by_truth: bool = False
    """Whether targets of a picture that training moves are made anew, of what ``moved`` says is true; by default those
    that are planes move as the picture does, and others stay. Since 1.4."""

    def read(self, cells: Cells) -> Truth | None:
        """What a row says is true; ``None`` where the card names no column for it.

        Raises:
            DataRejected: a cell makes no sense; see ``Cells.wrong``.
        """
        ...

    def digest(self, truth: Truth) -> bytes:
        """What tells this truth from another: goes into the digest of the data."""
        ...

    def answer(self, findings: Findings, outputs: Tensors, context: FrameContext) -> Answer:
        """What to keep of what a model said of one frame: ``findings`` are what the task made of ``outputs``.

        Raises:
            EvaluationFailed: ``evaluate.no-findings``: there is nothing that could be judged.
        """
        ...

    def judged(self, cases: Sequence[Case], answers: Sequence[Answer]) -> Judged:
        """Put cases and answers side by side; costly figures are computed when their value is asked for.

        The host asks without cases, before anything is trained, what the figures are called that a card's gates bound:
        give all of them then too, or raise (since 1.3).

        Raises:
            EvaluationFailed: ``evaluate.other-labels`` and others: the answers are not of this question.
            DataRejected: a truth that cannot be used.
        """
        ...

    def alike(self, one: Answer, other: Answer) -> bool:
        """Whether both are the same decision: whoever acts on the result would do the same.

        Raises:
            EvaluationFailed: ``evaluate.other-labels``: they do not answer the same question.
        """
        ...

    def targets(self, case: Case) -> Tensors:
        """What training compares the outputs with: output name -> float32 in its shape, without the batch axis.

        Raises:
            DataRejected: ``data.target-missing``: this sample has no such truth.
            ConfigError: ``build.no-target``: no target has the output's shape.
        """
        return {}

    def stratum(self, case: Case) -> Hashable:
        """What resamples and folds keep the share of; by default all are of one kind."""
        return 0

    def subgroups(self, case: Case) -> Mapping[str, str]:
        """Name -> value of what the judge itself can tell samples apart by (``size`` -> ``small``)."""
        return {}

    def choose(self, cases: Sequence[Case], outputs: Sequence[Tensors], wish: Mapping[str, Any]) -> Mapping[str, Any]:
        """Options of the task that these samples choose (a temperature, thresholds); nothing by default. Since 1.3.

        The host asks once without cases, before anything is trained: look at the wish first.

        Args:
            cases: whose truth is known, and which chose no weight of the model that answered for them.
            outputs: what it gave for each, as ``answer`` is given them.
            wish: ``options`` of the card's ``[choice]``.

        Raises:
            ConfigError: ``config.card-choice``: a wish that the task does not have.
            DataRejected: ``data.fold-few``: so few samples do not determine it.
        """
        return {}

    def assessed(self, case: Case, answer: Answer) -> Assessed | None:
        """One answer by itself; ``None``: this task knows figures of many alone. Raises as ``judged``. Since 1.3."""
        return None

    def true_answer(self, case: Case) -> str | None:
        """The one of ``AbstainingTask.alternatives`` that is true; ``None``: not one alone, or not known. Since 1.4."""
        return None

    def unanswered(self, ending: NoStatement, outputs: Tensors, context: FrameContext) -> Answer | None:
        """What to keep of a frame that the task ended without a statement; it is judged as any other answer. Since 1.4.

        ``None``: nobody can say, and models of which a sample ends so are not judged.
        """
        return None

    def moved(self, truth: Truth, geometry: Geometry, extent: tuple[int, int]) -> Truth | None:
        """What is true of the picture once it is turned, cut or resized; ``None``: nobody can say. Since 1.3.

        ``geometry`` takes points of the new picture, (rows, columns) of ``extent``, to the old one, its source.
        """
        return None

    def pictures(
        self, cases: Sequence[Case], answers: Mapping[str, Sequence[Answer]], ships: Collection[str]
    ) -> Sequence[Drawing]:
        """The report's pictures; ``answers`` are each model's: the parent's first, then of what ``ships``."""
        return ()
